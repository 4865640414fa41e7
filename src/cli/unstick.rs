//! `unstick`: pods that should be gone, why they are not, and what is done about it when it is asked for.

use super::{print, session::Session};
use crate::{
    cluster::{self, Unstuck},
    domain::problem::Result,
    report::{self, StuckRow},
    settings::Input,
    steps,
};

pub(super) async fn run(input: Input) -> Result<u8> {
    let mut session = Session::start(input, "unstick")?;
    let plan = session.plan(false, false).await?;
    let settings = &plan.settings.unstick;
    let unstick = cluster::Unstick {
        name: plan.name.clone(),
        pod: settings.pod.clone(),
        finalizer: settings.finalizer.clone(),
        force: settings.force,
    };
    let acts = unstick.force || unstick.finalizer.is_some();
    if acts {
        session.ask(&plan, "unstick").await?;
    }
    let done = steps::cluster_for(&plan, "unstick").await?.unstick(&unstick).await?;
    let rows: Vec<StuckRow> = done.iter().map(row).collect();
    let text = report::stuck(&format!("{}/{}", plan.namespace, plan.name), &rows, acts, &print::style(&session.loaded));
    print::text(&session.redactor.redact(&text));
    Ok(0)
}

fn row(unstuck: &Unstuck) -> StuckRow {
    let taken = unstuck.finalizer_removed.as_ref().map(|name| format!("took finalizer {name} away"));
    let deleted = unstuck.deleted.then(|| "deleted it by force".to_string());
    StuckRow { words: unstuck.pod.words(), hint: unstuck.pod.hint(), done: taken.into_iter().chain(deleted).collect::<Vec<_>>().join(", ") }
}

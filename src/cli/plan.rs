//! `plan`: everything resolved, with its source; the Dockerfile, the manifests, the diff to what runs. Changes nothing.

use super::{job, print, session::Session};
use crate::{
    cluster,
    domain::problem::Result,
    plan::Plan,
    report::{self, PlanView, WarningRecord},
    settings::Input,
    steps::{self, Job, Preview},
};

pub(super) async fn run(input: Input) -> Result<u8> {
    let mut session = Session::start(input, "plan")?;
    let warnings =
        session.loaded.warnings.iter().map(|mistake| WarningRecord { text: mistake.to_string(), hint: mistake.fix.clone() }).collect();
    session.loaded.warnings.clear();
    let plan = session.plan(true, false).await?;
    let preview = steps::preview(&plan).await?;
    let view = view(&plan, preview, warnings);
    print::text(&session.redactor.redact(&report::plan(&view, &print::style(&session.loaded))));
    Ok(0)
}

fn view(plan: &Plan, preview: Preview, mut warnings: Vec<WarningRecord>) -> PlanView {
    if preview.expected && plan.settings.image.dockerfile.is_none() && preview.dockerfile.is_some() {
        warnings.push(WarningRecord {
            text: "nothing is built yet: Dockerfile and manifests are what the pom lets expect".to_string(),
            hint: "run shipway build first to see them exactly".to_string(),
        });
    }
    PlanView {
        header: job::header(Job::Run, plan),
        settings: job::settings(plan),
        warnings,
        dockerfile: preview.dockerfile,
        manifests: preview.manifests,
        diff: preview.diff.map(|diffs| diffs.into_iter().map(object_diff).collect()),
    }
}

fn object_diff(diff: cluster::ObjectDiff) -> report::ObjectDiff {
    report::ObjectDiff { object: format!("{}/{}", diff.kind.to_lowercase(), diff.name), before: diff.live_yaml, after: diff.dry_run_yaml }
}

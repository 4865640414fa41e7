//! An earlier revision, put back and watched like a publish.

use super::{
    errand::{cluster_for, errand},
    hold::in_turn,
    rules,
    run::{Done, Run},
    still_there,
};
use crate::{
    cluster::{self, Pods},
    domain::{problem::Result, step::Step},
};

pub(super) async fn run(run: &Run) -> Result<()> {
    let plan = &run.plan;
    let cluster = cluster_for(plan, "rollback").await?;
    run.watched_step(Step::Rollback, async {
        let settings = &plan.settings.rollback;
        rules::permit(run, "rollback").await?;
        still_there::check(run, &cluster, Pods::Back(settings.to)).await?;
        run.keeper.intent(plan, "rollback").await?;
        let request = cluster::Rollback { errand: errand(plan, settings.timeout), to: settings.to };
        let released = in_turn(run, &cluster, async |cluster| cluster.rollback(&request, &run.events, &run.cancel).await).await?;
        let restored =
            released.restores.map(|revision| format!("revision {revision}")).unwrap_or_else(|| "an earlier revision".to_string());
        let summary = format!("{} in {} runs {restored} again, as revision {}", plan.name, plan.namespace, released.revision);
        run.released(&plan.namespace, &plan.name, &released);
        Ok(Done::new((), summary))
    })
    .await
}

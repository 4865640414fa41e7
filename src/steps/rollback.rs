//! An earlier revision, put back and watched like a publish.

use super::{
    access::connect,
    run::{Done, Run},
};
use crate::{
    cluster,
    domain::{
        problem::{Code, Problem, Result},
        step::Step,
    },
};

pub(super) async fn run(run: &Run) -> Result<()> {
    let plan = &run.plan;
    if !plan.has_cluster() {
        return Err(Problem::new(Code::ClusterMissing, "rollback needs a cluster, but none is configured"));
    }
    run.watched_step(Step::Rollback, async {
        let cluster = connect(plan).await?;
        let request = cluster::Rollback {
            name: plan.name.clone(),
            to: plan.settings.rollback.to,
            timeout: plan.settings.kubernetes.rolling.timeout,
            lock_wait: plan.settings.lock.wait,
            lock_ttl: plan.settings.lock.ttl,
            holder: plan.holder(),
            author: plan.ci.commit.author.clone().or_else(|| plan.host.user.clone()),
            job_url: plan.ci.job_url.clone(),
            evidence: plan.report_dir.join("pods"),
        };
        let released = cluster.rollback(&request, &run.events, &run.cancel).await?;
        let restored =
            released.restores.map(|revision| format!("revision {revision}")).unwrap_or_else(|| "an earlier revision".to_string());
        let summary = format!("{} in {} runs {restored} again, as revision {}", plan.name, plan.namespace, released.revision);
        run.released(&plan.namespace, &plan.name, &released);
        Ok(Done::new((), summary))
    })
    .await
}

//! Changes of an application that runs already: restart, scale, remove, and what all of them are given.

use std::time::Duration;

use super::{
    access::connect,
    hold::in_turn,
    rules,
    run::{Done, Run},
    still_there,
};
use crate::{
    cluster::{self, Cluster, Errand, Pods},
    domain::{
        problem::{Code, Problem, Result},
        step::Step,
    },
    plan::Plan,
    report,
};

/// Who asks, for which application, and how long it may take.
pub(super) fn errand(plan: &Plan, timeout: Duration) -> Errand {
    Errand {
        name: plan.name.clone(),
        timeout,
        budgets: plan.budgets(),
        history: plan.settings.kubernetes.history,
        author: plan.ci.commit.author.clone().or_else(|| plan.host.user.clone()),
        job_url: plan.ci.job_url.clone(),
        preflight: plan.settings.kubernetes.preflight,
        lock_wait: plan.settings.lock.wait,
        lock_ttl: plan.settings.lock.ttl,
        holder: plan.holder(),
        evidence: plan.report_dir.join("pods"),
    }
}

/// The cluster that a command needs.
pub async fn cluster_for(plan: &Plan, command: &str) -> Result<Cluster> {
    if !plan.has_cluster() {
        return Err(Problem::new(Code::ClusterMissing, format!("{command} needs a cluster, but none is configured")));
    }
    connect(plan).await
}

pub(super) async fn restart(run: &Run) -> Result<()> {
    let plan = &run.plan;
    let cluster = cluster_for(plan, "restart").await?;
    run.watched_step(Step::Restart, async {
        rules::permit(run, "restart").await?;
        still_there::check(run, &cluster, Pods::Same).await?;
        run.keeper.intent(plan, "restart").await?;
        let errand = errand(plan, plan.settings.kubernetes.rolling.timeout);
        let force = plan.settings.kubernetes.force_conflicts;
        let released = in_turn(run, &cluster, async |cluster| cluster.restart(&errand, force, &run.events, &run.cancel).await).await?;
        let summary = format!("{} in {} runs with new pods, as revision {}", plan.name, plan.namespace, released.revision);
        run.released(&plan.namespace, &plan.name, &released);
        Ok(Done::new((), summary))
    })
    .await
}

pub(super) async fn scale(run: &Run) -> Result<()> {
    let plan = &run.plan;
    let settings = &plan.settings;
    if settings.scale.to.is_none() && !settings.scale.reset {
        return Err(Problem::new(Code::SettingMissing, "scale needs a number, or --reset")
            .hint("name the number of pods (scale.to), or give it back to the settings with --reset (scale.reset)"));
    }
    let cluster = cluster_for(plan, "scale").await?;
    run.watched_step(Step::Scale, async {
        rules::scale(run, settings.scale.to).await?;
        if let Some(to) = settings.scale.to {
            still_there::check(run, &cluster, Pods::UpTo(to)).await?;
        }
        run.keeper.intent(plan, "scale").await?;
        let errand = errand(plan, settings.kubernetes.rolling.timeout);
        let scaling = cluster::Scaling { errand, to: settings.scale.to, replicas: settings.kubernetes.replicas };
        let scaled = in_turn(run, &cluster, async |cluster| cluster.scale(&scaling, &run.events, &run.cancel).await).await?;
        let release = report::Release {
            namespace: plan.namespace.clone(),
            name: plan.name.clone(),
            revision: scaled.revision.unwrap_or(0),
            previous: None,
            restores: None,
            replicas: scaled.replicas,
        };
        run.recorder.record(|draft| draft.release(release, None));
        let bounds = scaled.bounds.map(|(min, max)| format!("; the autoscaler keeps {min} to {max}")).unwrap_or_default();
        let summary = format!("{} in {}: pods {} → {}{bounds}", plan.name, plan.namespace, scaled.before, scaled.replicas);
        Ok(Done::new((), summary))
    })
    .await
}

pub(super) async fn remove(run: &Run) -> Result<()> {
    let plan = &run.plan;
    let cluster = cluster_for(plan, "remove").await?;
    run.watched_step(Step::Remove, async {
        rules::permit(run, "remove").await?;
        run.keeper.intent(plan, "remove").await?;
        let errand = errand(plan, plan.settings.rollback.timeout);
        let removal =
            cluster::Removal { errand, environment: plan.settings.environment.clone(), namespace: plan.settings.remove.namespace };
        let removed = in_turn(run, &cluster, async |cluster| cluster.remove(&removal, &run.events, &run.cancel).await).await?;
        let (name, namespace) = (&plan.name, &plan.namespace);
        if removed.objects == 0 && !removed.namespace {
            return Ok(Done::skipped((), format!("there is nothing of {name} in {namespace}")));
        }
        run.recorder.record(|draft| draft.removed(report::Removed { others: removed.others }));
        let whole = if removed.namespace { ", and the namespace" } else { "" };
        Ok(Done::new((), format!("{name} is out of {namespace}: {} objects deleted{whole}", removed.objects)))
    })
    .await
}

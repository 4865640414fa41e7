//! Commands that run under a claim: `lock NAME -- CMD` and `lead NAME -- CMD`.
//!
//! Two processes of ours watch over the command, since one that is stopped or killed could not end it in time. The *guard* is the process that
//! was called: it starts the command and passes signals on to it. The *keeper* is its child: it holds the claim, renews it, and tells the
//! guard by lines how long it may be counted on. Either of them ends the command with all its descendants by itself: the guard when that
//! time has passed or the keeper is gone, the keeper when the claim is lost or the guard is gone. See `domain::claim` for the times.

mod guard;
mod keeper;
mod serve;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::{
    guard::{Guarded, guard},
    keeper::keep,
    serve::serve,
};
use super::{errand::cluster_for, run::Run};
use crate::{
    center::{Center, Wanted},
    cluster::Cluster,
    domain::{
        claim::{Claim, Kind, Timing},
        event::Events,
        problem::{Problem, Result},
    },
    plan::Plan,
    settings::LockBackend,
};

/// The address of the centre that is the cluster itself.
pub(super) const KUBERNETES: &str = "kubernetes";

/// The configuration centre, as the settings name it.
pub async fn center(plan: &Plan, command: &str) -> Result<Center> {
    match plan.settings.center.url.expose() {
        KUBERNETES => Ok(Center::Kubernetes(Box::new(cluster_for(plan, command).await?))),
        url => Center::zookeeper(url),
    }
}

/// A lock is waited for as long as `lock.wait` says, the lead for ever.
pub fn wanted(plan: &Plan, claim: Claim, shared: bool) -> Wanted {
    let wait = (claim.kind() == Kind::Lock).then_some(plan.settings.lock.wait);
    Wanted { claim, holder: plan.holder(), wait, timing: Timing { ttl: plan.settings.lock.ttl }, shared }
}

/// Says why a claim could not even be waited for, and waits a little.
async fn again(problem: Problem, wanted: &Wanted, events: &Events, cancel: &CancellationToken) {
    events.warning(problem.message, problem.hint);
    tokio::select! {
        () = cancel.cancelled() => {}
        () = sleep(wanted.timing.renewal()) => {}
    }
}

/// Changes an application under its publish lock. Where that is no Lease of the cluster, it is taken here, first of all, and given back last.
pub(super) async fn in_turn<T>(run: &Run, cluster: &Cluster, change: impl AsyncFnOnce(&Cluster) -> Result<T>) -> Result<T> {
    let plan = &run.plan;
    if plan.settings.lock.backend == LockBackend::Kubernetes {
        return change(cluster).await;
    }
    let center = Center::zookeeper(plan.settings.center.url.expose())?;
    let claim = Claim::publish(&plan.namespace, &plan.name)?;
    let wanted = Wanted { wait: Some(plan.settings.lock.wait), ..wanted(plan, claim, false) };
    let hold = center.claim(&wanted, &run.events, &run.cancel).await?;
    let result = change(&cluster.held(hold.fence())).await;
    hold.release().await;
    result
}

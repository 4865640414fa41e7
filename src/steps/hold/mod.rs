//! Commands that run under a claim: `lock NAME -- CMD` and `lead NAME -- CMD`.
//!
//! Two processes of ours watch over the command, since one that is stopped or killed could not end it in time. The *guard* is the process that
//! was called: it starts the command and passes signals on to it. The *keeper* is its child: it holds the claim, renews it, and tells the
//! guard by lines how long it may be counted on. Either of them ends the command with all its descendants by itself: the guard when that
//! time has passed or the keeper is gone, the keeper when the claim is lost or the guard is gone. See `domain::claim` for the times.

mod guard;
mod keeper;
mod serve;

pub use self::{
    guard::{Guarded, guard},
    keeper::keep,
    serve::serve,
};
use super::errand::cluster_for;
use crate::{
    center::{Center, Wanted},
    cluster::Cluster,
    domain::{
        claim::{Claim, Kind, Timing},
        problem::{Code, Problem, Result},
    },
    plan::Plan,
};

/// Who keeps claims, as the settings name it.
pub async fn center(plan: &Plan, command: &str) -> Result<Center> {
    Ok(Center::Kubernetes(Box::new(central_cluster(plan, command).await?)))
}

/// The cluster, where the centre is that; with two centres, two could hold the same claim.
pub(super) async fn central_cluster(plan: &Plan, command: &str) -> Result<Cluster> {
    if plan.settings.center.url.expose() != "kubernetes" {
        let message = format!("center.url: {command} works on the cluster alone in this version");
        return Err(Problem::new(Code::SettingInvalid, message).hint("remove center.url"));
    }
    cluster_for(plan, command).await
}

/// A lock is waited for as long as `lock.wait` says, the lead for ever.
pub fn wanted(plan: &Plan, claim: Claim) -> Wanted {
    let wait = (claim.kind() == Kind::Lock).then_some(plan.settings.lock.wait);
    Wanted { claim, holder: plan.holder(), wait, timing: Timing { ttl: plan.settings.lock.ttl } }
}

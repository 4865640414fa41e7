//! The configuration centre's side that keeps claims (locks, leads): today the Leases of a cluster. Another kind of centre comes in as
//! another variant of [`Center`] and [`Hold`]; nobody else knows which one it is.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Cluster, Lock},
    domain::{
        claim::{Claim, Tenure, Timing},
        event::Events,
        problem::Result,
    },
};

/// Who keeps claims.
pub enum Center {
    Kubernetes(Box<Cluster>),
}

/// Who wants a claim, and how.
pub struct Wanted {
    pub claim: Claim,
    pub holder: String,
    /// None: as long as it takes.
    pub wait: Option<Duration>,
    pub timing: Timing,
}

/// A claim that is held, and renewed until it is released or dropped.
pub enum Hold {
    Kubernetes(Lock),
}

impl Center {
    /// Waits for a claim and takes it.
    /// Fails with `lock-held` after the wait, with `cancelled` when that comes first.
    pub async fn claim(&self, wanted: &Wanted, events: &Events, cancel: &CancellationToken) -> Result<Hold> {
        let Wanted { claim, holder, wait, timing } = wanted;
        match self {
            Center::Kubernetes(cluster) => cluster.claim(claim, holder, *wait, *timing, events, cancel).await.map(Hold::Kubernetes),
        }
    }
}

impl Hold {
    pub fn tenure(&self) -> Tenure {
        match self {
            Hold::Kubernetes(lock) => Tenure { token: lock.token(), until: lock.until() },
        }
    }

    /// Cancelled when another has taken it, or it cannot be renewed in time.
    pub fn lost(&self) -> &CancellationToken {
        match self {
            Hold::Kubernetes(lock) => lock.lost(),
        }
    }

    /// Gives it back; whoever waits has it in the same moment.
    pub async fn release(self) {
        match self {
            Hold::Kubernetes(lock) => lock.release().await,
        }
    }
}

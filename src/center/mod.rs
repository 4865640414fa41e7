//! The configuration centre: who keeps claims (locks, leads) and pushed configurations. It is the cluster or ZooKeeper; nobody else knows which.

mod zookeeper;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::zookeeper::{Held, Zookeeper};
use crate::{
    cluster::{Cluster, Fence, Lock},
    domain::{
        claim::{Claim, Tenure, Timing},
        config::Config,
        event::Events,
        problem::{Code, Problem, Result},
        pushed::{self, Place, Pushing, Version, Versions},
    },
};

/// Who keeps claims and configurations.
pub enum Center {
    Kubernetes(Box<Cluster>),
    Zookeeper(Zookeeper),
}

/// Who wants a claim, and how.
pub struct Wanted {
    pub claim: Claim,
    pub holder: String,
    /// None: as long as it takes.
    pub wait: Option<Duration>,
    pub timing: Timing,
    /// Together with all others that share it; never together with one that does not.
    pub shared: bool,
}

/// A claim that is held, and renewed until it is released or dropped.
pub enum Hold {
    Kubernetes(Lock),
    Zookeeper(Held),
}

impl Center {
    /// The centre at this address. Connects when it is asked something. Fails with `setting-invalid`.
    pub fn zookeeper(url: &str) -> Result<Self> {
        Zookeeper::new(url).map(Center::Zookeeper)
    }

    /// Waits for a claim and takes it.
    /// Fails with `lock-held` after the wait, with `cancelled` when that comes first.
    pub async fn claim(&self, wanted: &Wanted, events: &Events, cancel: &CancellationToken) -> Result<Hold> {
        let Wanted { claim, holder, wait, timing, shared } = wanted;
        match self {
            Center::Kubernetes(_) if *shared => Err(unshared()),
            Center::Kubernetes(cluster) => cluster.claim(claim, holder, *wait, *timing, events, cancel).await.map(Hold::Kubernetes),
            Center::Zookeeper(zookeeper) => Box::pin(zookeeper.claim(wanted, events, cancel)).await.map(Hold::Zookeeper),
        }
    }

    /// The versions of a configuration that are kept; none when nothing was pushed.
    pub async fn versions(&self, place: &Place) -> Result<Versions> {
        match self {
            Center::Kubernetes(cluster) => cluster.pushed(place).await,
            Center::Zookeeper(zookeeper) => zookeeper.versions(place).await,
        }
    }

    /// The files of a version. Fails with `config-missing` or `revision-unknown`.
    pub async fn pull(&self, place: &Place, wanted: &pushed::Wanted) -> Result<(Version, Config)> {
        match self {
            Center::Kubernetes(cluster) => cluster.pull_config(place, wanted).await,
            Center::Zookeeper(zookeeper) => zookeeper.pull(place, wanted).await,
        }
    }

    /// Tells at first and whenever there may be another current version, and when the centre is away. Comes back only with a problem that will
    /// not go away by itself.
    pub async fn changes(&self, place: &Place, tell: impl Fn(Result<()>)) -> Problem {
        match self {
            Center::Kubernetes(cluster) => cluster.config_changes(place, tell).await,
            Center::Zookeeper(zookeeper) => zookeeper.changes(place, tell).await,
        }
    }

    /// Makes these files the current version; the second value says whether they were not that already. Fails with `lock-held` when another
    /// changed the versions meanwhile.
    pub async fn push(&self, pushing: &Pushing, config: &Config, events: &Events, cancel: &CancellationToken) -> Result<(Version, bool)> {
        match self {
            Center::Kubernetes(cluster) => cluster.push_config(pushing, config, events, cancel).await,
            Center::Zookeeper(zookeeper) => zookeeper.push(pushing, config).await,
        }
    }

    /// Makes an earlier version the current one, as a new version; the last one with other files without a number.
    pub async fn rollback(&self, pushing: &Pushing, to: Option<u64>, events: &Events, cancel: &CancellationToken) -> Result<Version> {
        match self {
            Center::Kubernetes(cluster) => cluster.rollback_config(pushing, to, events, cancel).await,
            Center::Zookeeper(zookeeper) => zookeeper.rollback(pushing, to).await,
        }
    }
}

/// A Lease has one holder; with several objects nobody could take them in one step.
fn unshared() -> Problem {
    Problem::new(Code::SettingInvalid, "--shared: a lock that is a Lease of the cluster cannot be shared")
        .hint("leave --shared out, or set center.url to a ZooKeeper")
}

impl Hold {
    pub fn tenure(&self) -> Tenure {
        match self {
            Hold::Kubernetes(lock) => Tenure { token: lock.token(), until: lock.until() },
            Hold::Zookeeper(held) => Tenure { token: held.token(), until: held.fence().until() },
        }
    }

    /// Says whether it still holds.
    pub fn fence(&self) -> Fence {
        match self {
            Hold::Kubernetes(lock) => lock.fence(),
            Hold::Zookeeper(held) => held.fence().clone(),
        }
    }

    /// Cancelled when another has taken it, or it cannot be renewed in time.
    pub fn lost(&self) -> &CancellationToken {
        match self {
            Hold::Kubernetes(lock) => lock.lost(),
            Hold::Zookeeper(held) => held.fence().lost(),
        }
    }

    /// Gives it back; whoever waits has it in the same moment.
    pub async fn release(self) {
        match self {
            Hold::Kubernetes(lock) => lock.release().await,
            Hold::Zookeeper(held) => held.release().await,
        }
    }
}

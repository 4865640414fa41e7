//! Kubernetes: applies, watches, judges, rolls back.

mod apply;
mod connect;
mod diff;
mod evidence;
mod intent;
mod lock;
mod preflight;
mod problem;
mod publish;
mod records;
mod restore;
mod rollback;
mod status;
mod watch;

use std::{path::PathBuf, time::Duration};

use crate::domain::{secret::Secret, workload::Workload};

pub use connect::{Cluster, connect, server};
pub use diff::{ObjectDiff, render};
pub use rollback::Rollback;

/// Which cluster, and as whom.
#[derive(Clone, Default)]
pub struct Target {
    /// Paths of kubeconfig files, merged as kubectl does; empty with `server` and `token`, or `in_cluster`.
    pub kubeconfig: Vec<PathBuf>,
    pub context: Option<String>,
    pub server: Option<String>,
    pub token: Option<Secret>,
    /// PEM file.
    pub ca: Option<PathBuf>,
    pub in_cluster: bool,
    /// URL of the proxy for the API server, used as it is: who sets it has looked at the exclusions (loopback, `NO_PROXY`) for
    /// [`server`] before. A `proxy-url` in the kubeconfig wins.
    pub proxy: Option<String>,
}

/// One publish.
pub struct Publish {
    pub workload: Workload,
    pub commit: Option<String>,
    pub author: Option<String>,
    pub job_url: Option<String>,
    /// Grows from publish to publish: a kind (`gitlab`, `commit`, …) and its number (pipeline id, seconds of the commit's time). Numbers of
    /// different kinds are never compared.
    pub sequence: (String, u64),
    pub create_namespace: bool,
    pub adopt: bool,
    pub force_conflicts: bool,
    /// Look at everything by a dry run before anything is changed.
    pub preflight: bool,
    /// `docker config` JSON of the pull secret to publish along; None: none.
    pub pull_secret: Option<Secret>,
    /// How long to wait for the lock, and how long it lives without renewal.
    pub lock_wait: Duration,
    pub lock_ttl: Duration,
    /// Who holds the lock: the job's URL, or user@host.
    pub holder: String,
    /// Where whole pod logs go when the rollout fails (`<report.dir>/pods`).
    pub evidence: PathBuf,
}

/// What a publish or rollback reached.
#[derive(Debug, Clone)]
pub struct Released {
    pub revision: u64,
    pub previous: Option<u64>,
    /// The revision that a rollback put back; None for a publish.
    pub restores: Option<u64>,
    pub replicas: i32,
    /// Where the application answers, as well as it is known (`http://name.namespace.svc:80`, `http://node:30080`).
    pub url: Option<String>,
    pub seconds: f64,
}

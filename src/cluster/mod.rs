//! Kubernetes: applies, watches, judges, rolls back.

mod apply;
mod claim;
mod config;
mod connect;
mod describe;
mod diff;
mod evidence;
mod fence;
mod intent;
mod jobs;
mod lease;
mod line;
mod lock;
mod logs;
mod others;
mod preflight;
mod problem;
mod publish;
mod pushed;
mod pushed_watch;
mod put;
mod records;
mod remove;
mod restart;
mod restore;
mod rollback;
mod scale;
mod status;
mod status_watch;
mod unstick;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::domain::{rollout::Budgets, secret::Secret, workload::Workload};

pub use connect::{Cluster, connect};
pub use diff::{ObjectDiff, objects, render};
pub use fence::Fence;
pub use lease::Lock;
pub use logs::{LogLine, LogQuery, LogSource, LogSources};
pub use preflight::Standing;
pub use remove::{Removal, Removed};
pub use rollback::{Pods, Rollback};
pub use scale::{Scaled, Scaling};
pub use unstick::{Unstick, Unstuck};

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
    /// Chooses the proxy for the API server; a `proxy-url` in the kubeconfig wins.
    pub proxy: Option<ProxyChoice>,
}

/// Gives the URL of the proxy that leads to an API server of this URL; None: none does, or it is excluded (loopback, `NO_PROXY`).
pub type ProxyChoice = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

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
    /// The centre's address for the pods, which fetch their configuration there; None: they do not.
    pub center: Option<Secret>,
    /// How long to wait for the lock, and how long it lives without renewal.
    pub lock_wait: Duration,
    pub lock_ttl: Duration,
    /// Who holds the lock: the job's URL, or user@host.
    pub holder: String,
    /// Where whole pod logs go when the rollout fails (`<report.dir>/pods`).
    pub evidence: PathBuf,
    /// Limit of the way back when the rollout fails.
    pub back_timeout: Duration,
    /// Records that are kept.
    pub history: usize,
}

/// A change of an application that runs already, whatever it is.
pub struct Errand {
    /// Name of the Deployment.
    pub name: String,
    /// Limit of the rollout, and of the way back when it fails.
    pub timeout: Duration,
    /// How much of each trouble is borne.
    pub budgets: Budgets,
    /// Records that are kept.
    pub history: usize,
    /// Who asks for it.
    pub author: Option<String>,
    pub job_url: Option<String>,
    /// As for a publish.
    pub preflight: bool,
    pub lock_wait: Duration,
    pub lock_ttl: Duration,
    pub holder: String,
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

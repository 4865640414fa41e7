//! What runs of an application: the cluster tells it, the report shows it.

use serde::Serialize;

use super::{
    release::{Cause, Outcome, Sequence},
    rollout::Progress,
    scale::Scale,
    stuck::StuckPod,
};

/// An application as it is on the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    pub namespace: String,
    pub name: String,
    /// Whether Shipway made it.
    pub ours: bool,
    /// As the Deployment names it: by digest.
    pub image: String,
    pub version: Option<String>,
    /// None: what runs is no release of Shipway's.
    pub revision: Option<u64>,
    pub sequence: Option<Sequence>,
    pub commit: Option<String>,
    pub author: Option<String>,
    pub job_url: Option<String>,
    /// Counts over all pods of the newest template.
    pub replicas: Progress,
    pub pods: Vec<PodStatus>,
    pub autoscale: Option<AutoscaleStatus>,
    /// A number of pods that was asked for by hand.
    pub scale: Option<Scale>,
    pub disruption: Option<DisruptionStatus>,
    /// The object with its configuration files: `configmap/web-config-0a1b2c3d4e`.
    pub config: Option<String>,
    /// Pods that should be gone.
    pub stuck: Vec<StuckPod>,
    /// The recorded releases, newest first.
    pub revisions: Vec<RevisionStatus>,
    pub url: Option<String>,
    /// Since when the API server has not been heard, so that the rest may be old; RFC 3339. Only a watched status knows it.
    pub unheard_since: Option<String>,
}

/// One pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PodStatus {
    pub name: String,
    pub state: String,
    pub ready: bool,
    pub restarts: i32,
    pub node: Option<String>,
    /// RFC 3339.
    pub started: Option<String>,
}

/// Bounds and stand of the autoscaler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AutoscaleStatus {
    pub min: i32,
    pub max: i32,
    pub current: i32,
    pub desired: i32,
}

/// What evictions may take now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DisruptionStatus {
    pub allowed: i32,
    pub healthy: i32,
    pub wanted: i32,
}

/// The recorded releases of an application, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct History {
    pub namespace: String,
    pub name: String,
    /// The revision that the Deployment is at.
    pub live: Option<u64>,
    pub revisions: Vec<RevisionStatus>,
}

/// One recorded release.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RevisionStatus {
    pub revision: u64,
    pub cause: Cause,
    pub outcome: Outcome,
    /// Slug of the problem that ended it.
    pub problem: Option<String>,
    pub image: String,
    pub version: String,
    pub commit: Option<String>,
    pub author: Option<String>,
    pub job_url: Option<String>,
    /// RFC 3339.
    pub started: String,
    pub seconds: Option<f64>,
    /// The revision that it put back.
    pub restores: Option<u64>,
    pub sequence: Option<Sequence>,
    /// Hash of the pod template: the same means the same pods.
    pub spec: String,
    /// Hash of the configuration files.
    pub config: Option<String>,
    /// The version of the pushed configuration that they are.
    pub config_version: Option<u64>,
}

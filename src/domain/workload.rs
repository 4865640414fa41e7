//! What runs on the cluster, as plain data: resolved from settings and facts, before it becomes Kubernetes objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{config::Config, custom::Custom, fetch::Pushed, reference::ImageReference, rollout::Budgets};

/// One application in one namespace, complete: all that Deployment, Service and autoscaler are made of.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Application name (label), such as `order-service`.
    pub app: String,
    /// Product line (label).
    pub line: String,
    /// The environment's name, when there is one.
    pub environment: Option<String>,
    pub namespace: String,
    /// Name of Deployment, Service and autoscaler.
    pub name: String,
    /// By digest, always.
    pub image: ImageReference,
    /// What the image is built for (`linux/amd64`); empty: not known.
    pub platforms: Vec<String>,
    /// Version for people (`app.kubernetes.io/version`): the image's tag.
    pub version: String,
    /// Container port of the application.
    pub port: u16,
    /// Set only when the settings name it; else 2 at creation, and left alone afterwards.
    pub replicas: Option<i32>,
    /// Value of `JAVA_TOOL_OPTIONS`, one option an entry; empty: the variable is not set.
    pub jvm: Vec<String>,
    /// Container arguments.
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Variable name → where its value comes from.
    pub secrets: BTreeMap<String, SecretKey>,
    pub resources: Resources,
    pub probes: Probes,
    pub rolling: Rolling,
    /// None: switched off.
    pub service: Option<ServicePort>,
    /// None: switched off.
    pub autoscale: Option<Autoscale>,
    /// None: not asked for.
    pub disruption: Option<Disruption>,
    /// Configuration files; None: not asked for.
    pub config: Option<Config>,
    /// The pushed version that these files are; None: they are those of the checkout.
    pub pushed: Option<Pushed>,
    pub security: Security,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub service_account: Option<String>,
    /// Name of an image pull secret that exists or that is published along.
    pub pull_secret: Option<String>,
    /// Numeric user of the image (for `runAsUser`); None: the image's own.
    pub user: Option<i64>,
    /// Name of the application's container, when it is set.
    pub container: Option<String>,
    /// Which of all this somebody has set.
    pub given: Given,
    /// The user's own manifests and patches.
    pub custom: Custom,
}

/// The settings that somebody made. All others are defaults, which give way to what is there in a Deployment that is taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Given {
    #[default]
    All,
    /// By their keys, such as `kubernetes.rolling.timeout`.
    Keys(BTreeSet<String>),
}

impl Given {
    /// Whether somebody set this key, or one below it.
    pub fn has(&self, key: &str) -> bool {
        let below = |given: &String| given == key || given.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        match self {
            Given::All => true,
            Given::Keys(keys) => keys.iter().any(below),
        }
    }
}

/// One key of a Secret of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKey {
    pub secret: String,
    pub key: String,
}

/// Container resources as Kubernetes quantities; None: not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    pub requests: BTreeMap<String, String>,
    pub limits: BTreeMap<String, String>,
}

/// The three probes; None: without.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Probes {
    pub startup: Option<Probe>,
    pub readiness: Option<Probe>,
    pub liveness: Option<Probe>,
}

/// One probe of the application's container.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// HTTP GET of this path; a port of its own when management has one.
    Http { path: String, port: u16, timing: Timing },
    /// A TCP connection to this port.
    Tcp { port: u16, timing: Timing },
    /// A whole probe as Kubernetes writes it (settings gave an object).
    Custom(serde_json::Value),
}

/// Times of a probe in seconds, and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    pub period: i32,
    pub timeout: i32,
    pub failure_threshold: i32,
}

/// How pods are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rolling {
    /// A number or a percentage, as Kubernetes takes it.
    pub max_surge: String,
    pub max_unavailable: String,
    pub min_ready_seconds: i32,
    /// The whole rollout's limit; also the progress deadline.
    pub timeout: Duration,
    /// Time between leaving the Service and SIGTERM.
    pub drain: Duration,
    /// How much of each trouble is borne; their `timeout` is the one above.
    pub budgets: Budgets,
}

/// The Service in front of the pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    pub port: u16,
    /// `ClusterIP`, `NodePort` or `LoadBalancer`.
    pub kind: String,
}

/// Bounds and targets of the HorizontalPodAutoscaler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Autoscale {
    pub min: i32,
    pub max: i32,
    /// Percent of the request.
    pub cpu: Option<i32>,
    pub memory: Option<i32>,
    /// Metrics of the pods: name → average of a pod, a quantity.
    pub metrics: BTreeMap<String, String>,
    /// Metrics from outside the cluster: name → share of a pod, a quantity.
    pub external: BTreeMap<String, String>,
}

/// What evictions have to leave: one of the two, a number or a percentage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disruption {
    pub max_unavailable: Option<String>,
    pub min_available: Option<String>,
}

/// The pods' security context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// What a namespace with the restricted Pod Security Standard accepts.
    Restricted,
    /// None is set.
    Off,
}

//! Keys of what runs on the cluster.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::kinds::{self, DurationText, IntOrPercent, ProbeSetting, Quantity};
use crate::domain::workload::SecretKey;

/// What runs on the cluster.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kubernetes {
    /// Namespace of the application.
    #[schemars(extend("x-kind" = "dns-label", "x-default" = "the CI's KUBE_NAMESPACE, else line"))]
    pub namespace: Option<String>,
    /// Name of Deployment, Service and autoscaler.
    #[schemars(extend("x-kind" = "dns-label", "x-default" = "app"))]
    pub name: Option<String>,
    /// Name of the application's container, in a Deployment or manifest that has several.
    #[schemars(extend("x-kind" = "dns-label", "x-default" = "the only one, else the one called app or like the application"))]
    pub container: Option<String>,
    /// Create the namespace when it is missing.
    #[schemars(extend("default" = false))]
    pub create_namespace: bool,
    /// Number of pods; left alone unless it is set.
    #[schemars(range(min = 0, max = 10000), extend("x-default" = "2 at creation, afterwards left alone"))]
    pub replicas: Option<i32>,
    /// Java options, as JAVA_TOOL_OPTIONS.
    #[serde(default)]
    #[schemars(extend("x-kind" = "arguments"))]
    pub jvm: Vec<String>,
    /// Container arguments, instead of the image's.
    #[serde(default)]
    #[schemars(extend("x-kind" = "arguments"))]
    pub args: Vec<String>,
    /// Variables of the container.
    #[serde(default)]
    #[schemars(extend("x-kind" = "environment"))]
    pub env: BTreeMap<String, String>,
    /// Variables from Secrets of the namespace: name of the variable to SECRET/KEY.
    #[serde(default, deserialize_with = "kinds::secret_keys")]
    #[schemars(with = "BTreeMap<String, String>", extend("x-kind" = "secret-keys"))]
    pub secrets: BTreeMap<String, SecretKey>,
    /// CPU and memory of the container.
    pub resources: ResourceSettings,
    /// When the application is up, ready and alive.
    pub probes: ProbeSettings,
    /// How pods are replaced.
    pub rolling: RollingSettings,
    /// The Service in front of the pods.
    pub service: ServiceSettings,
    /// The HorizontalPodAutoscaler.
    pub autoscale: AutoscaleSettings,
    /// The PodDisruptionBudget: what drains of nodes have to leave.
    pub disruption: DisruptionSettings,
    /// Newest releases whose records are kept, each with its configuration; as many good ones with different pods stay for rollbacks.
    #[schemars(range(min = 2, max = 100), extend("default" = 10))]
    pub history: usize,
    /// Security context: restricted is what a restricted namespace accepts.
    #[schemars(extend("default" = "restricted"))]
    pub security: SecuritySetting,
    /// Versioned configuration files.
    pub config: ConfigSettings,
    /// Files with patches for the objects, relative to the checkout: strategic merge or JSON patch (see docs/how-to/manifests.md).
    #[serde(default)]
    #[schemars(extend("x-kind" = "files"))]
    pub patches: Vec<String>,
    /// Files and folders with more objects to publish, relative to the checkout; one of the application's name replaces the generated one.
    #[serde(default)]
    #[schemars(extend("x-kind" = "files"))]
    pub manifests: Vec<String>,
    /// More labels of all objects.
    #[serde(default)]
    #[schemars(extend("x-kind" = "label-map"))]
    pub labels: BTreeMap<String, String>,
    /// More annotations of all objects.
    #[serde(default)]
    #[schemars(extend("x-kind" = "annotation-map"))]
    pub annotations: BTreeMap<String, String>,
    /// ServiceAccount of the pods.
    #[schemars(extend("x-kind" = "dns-name"))]
    pub service_account: Option<String>,
    /// Take over a Deployment of that name which is not ours; what nobody sets here stays as it is there.
    #[schemars(extend("default" = false))]
    pub adopt: bool,
    /// Win against other field managers.
    #[schemars(extend("default" = false))]
    pub force_conflicts: bool,
    /// Look before anything changes.
    #[schemars(extend("default" = true))]
    pub preflight: bool,
}

/// CPU and memory of the container.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceSettings {
    /// What a node has to have free.
    pub requests: RequestSettings,
    /// What the container may use at most.
    pub limits: LimitSettings,
}

/// Resource requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RequestSettings {
    /// CPU request, such as 250m.
    #[schemars(extend("x-default" = "100m"))]
    pub cpu: Option<Quantity>,
    /// Memory request, such as 768Mi.
    #[schemars(extend("x-default" = "the memory limit"))]
    pub memory: Option<Quantity>,
    /// Other resources by their Kubernetes names.
    #[serde(flatten)]
    pub other: BTreeMap<String, Quantity>,
}

/// Resource limits.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct LimitSettings {
    /// CPU limit.
    #[schemars(extend("x-default" = "none"))]
    pub cpu: Option<Quantity>,
    /// Memory limit.
    #[schemars(extend("x-default" = "the memory request, else 1Gi"))]
    pub memory: Option<Quantity>,
    /// Other resources by their Kubernetes names.
    #[serde(flatten)]
    pub other: BTreeMap<String, Quantity>,
}

/// The three probes: a path, `tcp`, `off`, or a whole probe as Kubernetes writes it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeSettings {
    /// Until this succeeds the others wait.
    #[schemars(extend("x-default" = "like readiness, for up to 5 minutes"))]
    pub startup: Option<ProbeSetting>,
    /// Only ready pods get requests.
    #[schemars(extend("x-default" = "the actuator's path when it is on the class path, else tcp"))]
    pub readiness: Option<ProbeSetting>,
    /// A pod that fails this is restarted.
    #[schemars(extend("x-default" = "off"))]
    pub liveness: Option<ProbeSetting>,
}

/// How pods are replaced.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollingSettings {
    /// Pods above the wanted number, or a percentage.
    #[schemars(extend("default" = "1"))]
    pub max_surge: IntOrPercent,
    /// Pods below the wanted number, or a percentage.
    #[schemars(extend("default" = "0"))]
    pub max_unavailable: IntOrPercent,
    /// Seconds that a pod has to be ready before it counts.
    #[schemars(range(min = 0, max = 3600), extend("default" = 10))]
    pub min_ready_seconds: i32,
    /// Limit of the whole rollout.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "10m"))]
    pub timeout: Duration,
    /// Time between leaving the Service and the signal to end.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "5s"))]
    pub drain: Duration,
    /// How much of each trouble is borne before the rollout counts as failed.
    pub budgets: BudgetSettings,
}

/// How much of each trouble is borne before the rollout counts as failed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSettings {
    /// Ends of one container, crashes and kills alike, at which it counts as failed.
    #[schemars(range(min = 1, max = 100), extend("default" = 2))]
    pub restarts: i32,
    /// An image that cannot be pulled for a reason that may pass.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "60s"))]
    pub image_pull: Duration,
    /// A pod that no node can take.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "2m"))]
    pub unschedulable: Duration,
    /// The same while an autoscaler of the cluster makes a node for it.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "10m"))]
    pub scale_up: Duration,
    /// Pods that the cluster refuses to make for a reason that may pass.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "60s"))]
    pub refused: Duration,
    /// A container that is not ready may take so many times its readiness probe's own window, and 30s at least.
    #[schemars(range(min = 1, max = 100), extend("default" = 3))]
    pub readiness: u32,
    /// An init container that does not end.
    #[serde(default, deserialize_with = "kinds::maybe_duration")]
    #[schemars(with = "Option<DurationText>", extend("x-default" = "kubernetes.rolling.timeout"))]
    pub init: Option<Duration>,
}

/// The Service in front of the pods.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// Have a Service.
    #[schemars(extend("default" = true))]
    pub enabled: bool,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535), extend("default" = 80))]
    pub port: u16,
    /// Type of the Service.
    #[serde(rename = "type")]
    #[schemars(extend("default" = "ClusterIP"))]
    pub kind: ServiceType,
}

/// Types of Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ServiceType {
    ClusterIP,
    NodePort,
    LoadBalancer,
}

impl ServiceType {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceType::ClusterIP => "ClusterIP",
            ServiceType::NodePort => "NodePort",
            ServiceType::LoadBalancer => "LoadBalancer",
        }
    }
}

/// The HorizontalPodAutoscaler.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoscaleSettings {
    /// Have an autoscaler.
    #[schemars(extend("default" = false))]
    pub enabled: bool,
    /// Least number of pods.
    #[schemars(range(min = 1, max = 10000), extend("default" = 2))]
    pub min: i32,
    /// Greatest number of pods.
    #[schemars(range(min = 1, max = 10000), extend("default" = 10))]
    pub max: i32,
    /// CPU to aim at, percent of the request.
    #[schemars(range(min = 1, max = 1000), extend("x-default" = "70 when nothing else is set to aim at"))]
    pub cpu: Option<i32>,
    /// Memory to aim at, percent of the request.
    #[schemars(range(min = 1, max = 1000))]
    pub memory: Option<i32>,
    /// Custom metrics of the pods: name to the average of a pod to aim at, such as http_requests_per_second to 100.
    #[serde(default)]
    #[schemars(extend("x-kind" = "metric-map"))]
    pub metrics: BTreeMap<String, String>,
    /// External metrics, such as the length of a queue: name to the share of a pod to aim at.
    #[serde(default)]
    #[schemars(extend("x-kind" = "metric-map"))]
    pub external: BTreeMap<String, String>,
}

/// The PodDisruptionBudget.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisruptionSettings {
    /// Have a budget.
    #[schemars(extend("default" = false))]
    pub enabled: bool,
    /// Pods that may be away at once, or a percentage.
    #[schemars(extend("x-default" = "1 when min_available is not set"))]
    pub max_unavailable: Option<IntOrPercent>,
    /// Pods that have to stay, or a percentage.
    pub min_available: Option<IntOrPercent>,
}

/// The pods' security context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecuritySetting {
    Restricted,
    Off,
}

/// Versioned configuration files.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigSettings {
    /// File or folder of configuration files, relative to the checkout; sub-folders and binary files are welcome, 1 MiB in all.
    #[schemars(extend("x-kind" = "inside"))]
    pub from: Option<String>,
    /// Where the container sees them.
    #[schemars(extend("x-kind" = "absolute", "default" = "/config"))]
    pub mount: String,
    /// Keep them in a Secret instead of a ConfigMap, and never show what they hold.
    #[schemars(extend("default" = false))]
    pub secret: bool,
    /// Give the pods the version that was pushed last (shipway config push) when the publish begins, instead of the files of the checkout.
    #[schemars(extend("default" = false))]
    pub pushed: bool,
    /// The image of Shipway's by which pods fetch a pushed version, when center.url is a ZooKeeper.
    #[schemars(extend("x-kind" = "image", "x-default" = "on GitLab the job's own, when it is one of Shipway's"))]
    pub image: Option<String>,
    /// Pods start without the ZooKeeper, too, with the copy of their version that the release has.
    #[schemars(extend("default" = false))]
    pub offline: bool,
}

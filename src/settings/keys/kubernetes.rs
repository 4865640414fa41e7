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
    /// Security context: restricted is what a restricted namespace accepts.
    #[schemars(extend("default" = "restricted"))]
    pub security: SecuritySetting,
    /// Versioned configuration files.
    pub config: ConfigSettings,
    /// Files with patches for the generated objects, relative to the checkout.
    #[serde(default)]
    #[schemars(extend("x-kind" = "files"))]
    pub patches: Vec<String>,
    /// Files with more objects to publish, relative to the checkout.
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
    /// Take over a Deployment of that name which is not ours.
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
    #[schemars(range(min = 1, max = 1000), extend("x-default" = "70 when memory is not set"))]
    pub cpu: Option<i32>,
    /// Memory to aim at, percent of the request.
    #[schemars(range(min = 1, max = 1000))]
    pub memory: Option<i32>,
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
    /// Folder of the configuration files, relative to the checkout.
    #[schemars(extend("x-kind" = "inside"))]
    pub from: Option<String>,
    /// Where the container sees them.
    #[schemars(extend("x-kind" = "absolute", "default" = "/config"))]
    pub mount: String,
}

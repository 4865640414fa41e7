//! The Kubernetes objects of a workload: Deployment, Service and HorizontalPodAutoscaler, as Shipway applies them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{PodSpec, PodTemplateSpec, Service, ServicePort, ServiceSpec},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use serde_json::Value;

use super::{
    compose::compose,
    containers, fetch,
    problem::{Code, Problem, Result},
    release::Sequence,
    scaling,
    workload::{Rolling, Security, Workload},
};

/// Value of the managed-by label, and the field manager of every apply.
pub const MANAGER: &str = "shipway";
/// Old ReplicaSets that the Deployment keeps; the records have the templates, so few are enough.
const OLD_REPLICA_SETS: i32 = 3;
/// Time that the application has after SIGTERM, beyond the drain.
const SHUTDOWN_SECONDS: i64 = 30;

/// Labels and annotations that Shipway puts on objects.
pub mod keys {
    pub const NAME: &str = "app.kubernetes.io/name";
    pub const INSTANCE: &str = "app.kubernetes.io/instance";
    pub const VERSION: &str = "app.kubernetes.io/version";
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    pub const PART_OF: &str = "app.kubernetes.io/part-of";
    pub const REVISION: &str = "shipway.dev/revision";
    pub const COMMIT: &str = "shipway.dev/commit";
    pub const SEQUENCE: &str = "shipway.dev/sequence";
    pub const JOB: &str = "shipway.dev/job";
    pub const AUTHOR: &str = "shipway.dev/author";
    pub const ENVIRONMENT: &str = "shipway.dev/environment";
    /// On the Deployment: the version of the pushed configuration that its pods have.
    pub const CONFIG_VERSION: &str = "shipway.dev/config-version";
    /// On a Deployment that others made and Shipway took over.
    pub const ADOPTED: &str = "shipway.dev/adopted";
    /// On the Deployment: a number of pods that was asked for by hand.
    pub const SCALE: &str = "shipway.dev/scale";
    /// On the pods: when they were last restarted by hand.
    pub const RESTARTED: &str = "shipway.dev/restarted";
    /// Set by the Deployment controller on Deployments and ReplicaSets.
    pub const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";
}

/// What is applied for one workload; None: switched off.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    pub deployment: Deployment,
    pub service: Option<Service>,
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// The user's other manifests, in the order of applying.
    pub others: Vec<Value>,
    pub disruption: Option<PodDisruptionBudget>,
}

impl Objects {
    /// A Deployment and nothing else.
    pub fn of(deployment: Deployment) -> Self {
        Objects { deployment, service: None, autoscaler: None, disruption: None, others: Vec::new() }
    }
}

/// Which release this is; written on the Deployment only, so that pods do not restart when nothing of theirs changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// 0: not a release (manifests that are only rendered).
    pub revision: u64,
    pub sequence: Option<Sequence>,
    pub commit: Option<String>,
    pub job_url: Option<String>,
    pub author: Option<String>,
}

/// What of the cluster and of the live Deployment shapes the objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    /// The API server knows the `sleep` lifecycle handler (Kubernetes ≥ 1.30).
    pub native_sleep: bool,
    /// Selector of the live Deployment: it cannot be changed, so it is kept.
    pub selector: Option<BTreeMap<String, String>>,
    /// Name of the application's container in the live Deployment.
    pub container: Option<String>,
    /// When the live pods were restarted by hand: it stays, so that the next publish does not restart them again.
    pub restarted: Option<String>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Surroundings { native_sleep: true, selector: None, container: None, restarted: None }
    }
}

/// Makes the objects, with the user's own manifests and patches. `replicas` is set only when the workload or a manifest names a number.
/// Fails with `manifest-invalid` when a custom probe, a quantity, a manifest or a patch cannot be used.
pub fn objects(workload: &Workload, stamp: &Stamp, around: &Surroundings) -> Result<Objects> {
    let selector = around.selector.clone().unwrap_or_else(|| selector(workload));
    let generated = Objects {
        deployment: deployment(workload, stamp, around, &selector)?,
        service: service(workload, &selector),
        autoscaler: workload.autoscale.as_ref().map(|autoscale| scaling::autoscaler(workload, autoscale, metadata(workload))),
        disruption: workload.disruption.as_ref().map(|disruption| scaling::budget(disruption, &selector, metadata(workload))),
        others: Vec::new(),
    };
    if workload.custom.is_empty() { Ok(generated) } else { compose(generated, workload, stamp) }
}

/// The labels that select the pods: the object's own name alone, because a selector can never be changed.
pub fn selector(workload: &Workload) -> BTreeMap<String, String> {
    strings([(keys::INSTANCE, &label_value(&workload.name))])
}

/// Makes a label value of any text (at most 63 characters; letters, digits, `-`, `_`, `.`; letters or digits at both ends).
pub fn label_value(text: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let value: String = text.chars().map(legal).take(63).collect();
    value.trim_matches(['-', '_', '.']).to_string()
}

/// Whether the labels say that Shipway made the object for the application of this name.
pub fn is_ours(meta: &ObjectMeta, name: &str) -> bool {
    let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    label(keys::MANAGED_BY) == Some(MANAGER) && label(keys::INSTANCE) == Some(label_value(name).as_str())
}

/// Labels of every object that belongs to the application of this name.
pub fn common_labels(workload: &Workload) -> BTreeMap<String, String> {
    let mut labels = pod_labels(workload);
    labels.insert(keys::VERSION.to_string(), label_value(&workload.version));
    labels
}

/// Labels of the pods: nothing that changes from release to release when the same thing runs.
pub(super) fn pod_labels(workload: &Workload) -> BTreeMap<String, String> {
    let mut labels = workload.labels.clone();
    labels.extend([
        (keys::NAME.to_string(), label_value(&workload.app)),
        (keys::INSTANCE.to_string(), label_value(&workload.name)),
        (keys::MANAGED_BY.to_string(), MANAGER.to_string()),
        (keys::PART_OF.to_string(), label_value(&workload.line)),
    ]);
    labels
}

fn metadata(workload: &Workload) -> ObjectMeta {
    ObjectMeta {
        name: Some(workload.name.clone()),
        namespace: Some(workload.namespace.clone()),
        labels: Some(common_labels(workload)),
        annotations: some(workload.annotations.clone()),
        ..ObjectMeta::default()
    }
}

fn deployment(workload: &Workload, stamp: &Stamp, around: &Surroundings, selector: &BTreeMap<String, String>) -> Result<Deployment> {
    let mut metadata = metadata(workload);
    metadata.annotations.get_or_insert_default().extend(stamps(workload, stamp));
    let rolling = &workload.rolling;
    Ok(Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: workload.replicas.filter(|_| workload.autoscale.is_none()),
            selector: LabelSelector { match_labels: Some(selector.clone()), match_expressions: None },
            strategy: Some(strategy(rolling)),
            min_ready_seconds: Some(rolling.min_ready_seconds),
            progress_deadline_seconds: Some(progress_deadline(rolling)),
            revision_history_limit: Some(OLD_REPLICA_SETS),
            template: template(workload, around, selector)?,
            paused: None,
        }),
        status: None,
    })
}

pub(super) fn stamps(workload: &Workload, stamp: &Stamp) -> BTreeMap<String, String> {
    let optional = [
        (keys::REVISION, (stamp.revision > 0).then(|| stamp.revision.to_string())),
        (keys::SEQUENCE, stamp.sequence.as_ref().map(Sequence::to_string)),
        (keys::COMMIT, stamp.commit.clone()),
        (keys::JOB, stamp.job_url.clone()),
        (keys::AUTHOR, stamp.author.clone()),
        (keys::ENVIRONMENT, workload.environment.clone()),
        (keys::CONFIG_VERSION, workload.pushed.as_ref().map(|pushed| pushed.version.version.to_string())),
    ];
    optional.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?))).collect()
}

fn strategy(rolling: &Rolling) -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_string()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(number_or_percent(&rolling.max_surge)),
            max_unavailable: Some(number_or_percent(&rolling.max_unavailable)),
        }),
    }
}

/// The API server wants it to be longer than `minReadySeconds`.
fn progress_deadline(rolling: &Rolling) -> i32 {
    let timeout = i32::try_from(rolling.timeout.as_secs()).unwrap_or(i32::MAX);
    timeout.max(rolling.min_ready_seconds.saturating_add(1))
}

fn template(workload: &Workload, around: &Surroundings, selector: &BTreeMap<String, String>) -> Result<PodTemplateSpec> {
    let mut labels = pod_labels(workload);
    labels.extend(selector.clone());
    let name = around.container.as_deref().unwrap_or(containers::NAME);
    let drain = i64::try_from(workload.rolling.drain.as_secs()).unwrap_or(0);
    let mut annotations = workload.annotations.clone();
    annotations.extend(around.restarted.clone().map(|at| (keys::RESTARTED.to_string(), at)));
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), annotations: some(annotations), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            volumes: fetch::volumes(workload),
            init_containers: fetch::init_containers(workload),
            containers: vec![containers::application(workload, name, around.native_sleep)?],
            security_context: matches!(workload.security, Security::Restricted).then(|| containers::pod_security(workload.user)),
            service_account_name: workload.service_account.clone(),
            image_pull_secrets: workload
                .pull_secret
                .as_ref()
                .map(|name| vec![k8s_openapi::api::core::v1::LocalObjectReference { name: name.clone() }]),
            termination_grace_period_seconds: Some(drain + SHUTDOWN_SECONDS),
            ..PodSpec::default()
        }),
    })
}

fn service(workload: &Workload, selector: &BTreeMap<String, String>) -> Option<Service> {
    let service = workload.service.as_ref()?;
    Some(Service {
        metadata: metadata(workload),
        spec: Some(ServiceSpec {
            type_: Some(service.kind.clone()),
            selector: Some(selector.clone()),
            ports: Some(vec![ServicePort {
                name: Some(containers::PORT_NAME.to_string()),
                port: i32::from(service.port),
                protocol: Some("TCP".to_string()),
                target_port: Some(IntOrString::String(containers::PORT_NAME.to_string())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// The rule of both fields of a rolling update: a number, else a percentage.
pub(super) fn number_or_percent(text: &str) -> IntOrString {
    text.trim().parse().map_or_else(|_| IntOrString::String(text.trim().to_string()), IntOrString::Int)
}

pub(super) fn invalid(key: &str, why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::ManifestInvalid, format!("{key} cannot be used: {why}")).hint(format!("correct {key}"))
}

fn strings<const N: usize>(pairs: [(&str, &String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
}

/// An empty map is left out, so that nothing is owned that nobody asked for.
pub(super) fn some<K: Ord, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    (!map.is_empty()).then_some(map)
}

#[cfg(test)]
#[path = "manifests_tests.rs"]
pub(super) mod tests;

//! Kinds of objects: which is which, and the order in which an engineer would apply them.

use std::fmt;

use serde_json::Value;

/// Kinds of the namespace in the order in which they are applied; what is not named comes between Services and workloads, since a pod
/// may need it (a Certificate, an ExternalSecret). With group and the name in API paths, so that nobody has to be asked for them.
const ORDER: &[(&str, &str, &str)] = &[
    ("", "ResourceQuota", "resourcequotas"),
    ("", "LimitRange", "limitranges"),
    ("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    ("", "ServiceAccount", "serviceaccounts"),
    ("", "Secret", "secrets"),
    ("", "ConfigMap", "configmaps"),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("rbac.authorization.k8s.io", "Role", "roles"),
    ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),
    ("", "Service", "services"),
    ("", "Endpoints", "endpoints"),
    ("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    ("", "", ""),
    ("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("apps", "DaemonSet", "daemonsets"),
    ("apps", "StatefulSet", "statefulsets"),
    ("apps", "Deployment", "deployments"),
    ("", "Pod", "pods"),
    ("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("batch", "Job", "jobs"),
    ("batch", "CronJob", "cronjobs"),
    ("networking.k8s.io", "Ingress", "ingresses"),
];

/// Kinds of Kubernetes itself that belong to no namespace.
const CLUSTER_SCOPED: &[(&str, &str)] = &[
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("storage.k8s.io", "StorageClass"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("networking.k8s.io", "IngressClass"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("node.k8s.io", "RuntimeClass"),
];

/// Kinds that hold data which no later publish can bring back: never deleted by Shipway.
pub const KEPT_KINDS: &[&str] = &["PersistentVolumeClaim"];

/// What tells one object of a namespace from another; versions of one group are the same object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub group: String,
    pub kind: String,
    pub name: String,
}

impl Identity {
    /// Of a manifest that has been checked.
    pub fn of(value: &Value) -> Identity {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_string();
        let version = text("/apiVersion");
        let group = version.split_once('/').map(|(group, _)| group.to_string()).unwrap_or_default();
        Identity { group, kind: text("/kind"), name: text("/metadata/name") }
    }

    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    pub fn is_cluster_scoped(&self) -> bool {
        CLUSTER_SCOPED.iter().any(|(group, kind)| self.is(group, kind))
    }

    fn rank(&self) -> usize {
        let named = ORDER.iter().position(|(group, kind, _)| !kind.is_empty() && self.is(group, kind));
        named.or_else(|| ORDER.iter().position(|(_, kind, _)| kind.is_empty())).unwrap_or(ORDER.len())
    }

    /// Whether pods may need it, so that it has to be there before the Deployment is.
    pub fn comes_before_deployments(&self) -> bool {
        let deployment = Identity { group: "apps".to_string(), kind: "Deployment".to_string(), name: String::new() };
        self.rank() < deployment.rank()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The name in API paths of a kind of Kubernetes itself.
pub fn known_resource(group: &str, kind: &str) -> Option<&'static str> {
    ORDER.iter().find(|(g, k, _)| !k.is_empty() && *g == group && *k == kind).map(|(_, _, plural)| *plural)
}

/// In the order of applying; what is of one kind stays in the order of the files.
pub fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by_key(|value| Identity::of(value).rank());
    values
}

/// As a record may keep them: a Secret by its name alone.
pub fn without_secrets(values: &[Value]) -> Vec<Value> {
    let mut values = values.to_vec();
    for value in values.iter_mut().filter(|value| Identity::of(value).is("", "Secret")) {
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|field, _| !["data", "stringData"].contains(&field.as_str()));
        }
    }
    values
}

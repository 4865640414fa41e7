//! What an account has to be permitted, and what of it a rules review does not show.

use k8s_openapi::api::authorization::v1::ResourceRule;

use crate::domain::problem::{Code, Problem};

/// API group, resource, verbs: what a publish calls.
pub type Need = (&'static str, &'static str, &'static [&'static str]);

/// What every publish calls; `plugin/kubernetes/role.yaml` permits it.
pub const NEEDS: &[Need] = &[
    ("apps", "deployments", &["get", "list", "watch", "create", "patch"]),
    ("apps", "replicasets", &["list", "watch"]),
    ("", "pods", &["list", "watch"]),
    ("", "pods/log", &["get"]),
    ("", "events", &["list", "watch"]),
    ("", "services", &["get", "create", "patch", "delete"]),
    ("", "configmaps", &["list", "create", "update", "delete"]),
    ("discovery.k8s.io", "endpointslices", &["list", "watch"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "watch"]),
    ("autoscaling", "horizontalpodautoscalers", &["get", "create", "patch", "delete"]),
];
/// What a publish with an image pull secret of its own calls, too.
pub const NEED_OF_PULL_SECRET: Need = ("", "secrets", &["get", "create", "patch"]);
/// Beside that, one with configuration files, one with secret ones, one with a disruption budget.
pub const NEED_OF_CONFIG: Need = ("", "configmaps", &["get"]);
pub const NEED_OF_SECRET_CONFIG: Need = ("", "secrets", &["get", "create", "delete"]);
pub const NEED_OF_BUDGET: Need = ("policy", "poddisruptionbudgets", &["get", "create", "patch", "delete"]);

/// What a rollback, a restart and a scale call, whatever the application has beside its Deployment.
pub const NEEDS_OF_CHANGE: &[Need] = &[
    ("apps", "deployments", &["get", "list", "watch", "patch"]),
    ("apps", "replicasets", &["list", "watch"]),
    ("", "pods", &["list", "watch"]),
    ("", "services", &["get"]),
    ("", "configmaps", &["list"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "watch"]),
    ("autoscaling", "horizontalpodautoscalers", &["get"]),
];
/// Those that make a new release write its record.
pub const NEED_OF_RECORD: Need = ("", "configmaps", &["create", "update"]);

/// What a removal calls for each of these that is there: autoscaler, disruption budget, Service, Deployment; and for records.
pub const NEEDS_OF_REMOVAL: &[Need] = &[
    ("autoscaling", "horizontalpodautoscalers", &["delete"]),
    ("policy", "poddisruptionbudgets", &["delete"]),
    ("", "services", &["delete"]),
    ("apps", "deployments", &["delete"]),
    ("", "configmaps", &["delete"]),
];

/// One verb on one resource that no rule permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacking {
    pub group: &'static str,
    pub resource: &'static str,
    pub verb: &'static str,
}

impl Lacking {
    /// Resource and subresource, as an access review has them apart.
    pub fn parts(&self) -> (&'static str, Option<&'static str>) {
        match self.resource.split_once('/') {
            Some((resource, part)) => (resource, Some(part)),
            None => (self.resource, None),
        }
    }
}

/// The verbs of a need that the rules do not permit. A rule for single names counts for nothing: a publish creates and lists, too.
pub fn lacking(rules: &[ResourceRule], (group, resource, verbs): &Need) -> Vec<Lacking> {
    let holds = |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|item| item == "*" || item == wanted);
    let general = |rule: &&ResourceRule| rule.resource_names.as_ref().is_none_or(Vec::is_empty);
    let covers = |rule: &ResourceRule| {
        let part = resource.split_once('/').is_some_and(|(_, part)| holds(&rule.resources, &format!("*/{part}")));
        holds(&rule.api_groups, group) && (part || holds(&rule.resources, resource))
    };
    let permits = |rule: &ResourceRule, verb: &str| covers(rule) && rule.verbs.iter().any(|held| held == "*" || held == verb);
    let allowed = |verb: &str| rules.iter().filter(general).any(|rule| permits(rule, verb));
    verbs.iter().copied().filter(|verb| !allowed(verb)).map(|verb| Lacking { group, resource, verb }).collect()
}

/// The one list of what the account may not do; None when it may do everything.
pub fn refusal(lacking: &[Lacking], namespace: &str) -> Option<Problem> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for Lacking { group, resource, verb } in lacking {
        let name = if group.is_empty() { (*resource).to_string() } else { format!("{resource}.{group}") };
        match lines.iter_mut().find(|(held, _)| *held == name) {
            Some((_, verbs)) => verbs.push(verb),
            None => lines.push((name, vec![verb])),
        }
    }
    let missing: Vec<String> = lines.iter().map(|(name, verbs)| format!("{} {name}", verbs.join(", "))).collect();
    let problem =
        || Problem::new(Code::ClusterForbidden, format!("the account may not do in namespace {namespace}: {}", missing.join("; ")));
    let hint = || {
        format!(
            "bind the Role of plugin/kubernetes/role.yaml to the account in namespace {namespace} (and check that the namespace exists)"
        )
    };
    (!missing.is_empty()).then(|| problem().hint(hint()))
}

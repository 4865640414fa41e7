//! Whether the ResourceQuotas of the namespace have room for the pods of a rollout.

use k8s_openapi::api::core::v1::ResourceQuota;

use super::demand::{Amounts, Demand, amounts, show};
use crate::domain::problem::{Code, Problem};

/// Resources that every container has to name when a quota counts them.
const COMPUTE: [&str; 8] =
    ["cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu", "limits.memory"];

/// How the number of pods grows in a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// What a new pod asks for.
    pub new: Demand,
    /// What each of the pods asks for that run now; how many there are.
    pub old: Demand,
    pub running: i32,
    pub desired: i32,
    /// An old pod may go before a new one comes.
    pub old_first: bool,
    /// The template is the same: no pod is replaced.
    pub same: bool,
}

/// What no quota has room for, a problem for each; None of it when `growth` changes no pod.
pub fn without_room(quotas: &[ResourceQuota], growth: &Growth, namespace: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for quota in quotas.iter().filter(|quota| counts(quota)) {
        let name = quota.metadata.name.as_deref().unwrap_or_default();
        let status = quota.status.as_ref();
        let hard = amounts(status.and_then(|status| status.hard.as_ref()).or(quota.spec.as_ref().and_then(|spec| spec.hard.as_ref())));
        let used = amounts(status.and_then(|status| status.used.as_ref()));
        for (resource, hard) in &hard {
            let used = used.get(resource).copied().unwrap_or(0.0);
            if let Some(problem) = unnamed(resource, &growth.new) {
                let message = format!("the quota {name} of namespace {namespace} wants {problem}");
                let setting = format!("kubernetes.resources.{}", settings_name(resource));
                problems.push(Problem::new(Code::QuotaExceeded, message).hint(format!("set {setting}")));
            } else if let Some(why) = excess(resource, used, *hard, growth) {
                let message = format!("the quota {name} of namespace {namespace} has no room for the new pods: {why}");
                problems.push(Problem::new(Code::QuotaExceeded, message).hint(hint(growth)));
            }
        }
    }
    problems
}

/// Quotas for other pods than ours (short-lived ones, ones without any request, ones of a priority) are left alone.
fn counts(quota: &ResourceQuota) -> bool {
    let Some(spec) = &quota.spec else { return true };
    let scopes = spec.scopes.iter().flatten();
    spec.scope_selector.is_none() && scopes.into_iter().all(|scope| matches!(scope.as_str(), "NotTerminating" | "NotBestEffort"))
}

/// A container without a value for a resource that the quota counts.
fn unnamed(resource: &str, new: &Demand) -> Option<String> {
    COMPUTE.contains(&resource).then_some(())?;
    let name = resource.rsplit('.').next()?;
    let limit = resource.starts_with("limits.");
    let missing = new.containers.iter().find(|container| !(if limit { &container.limits } else { &container.requests }).contains_key(name));
    let what = if limit { "a limit" } else { "a request" };
    missing.map(|container| format!("{what} of {name} for every container, but container {} has none", container.name))
}

/// Why the pods do not fit, in the first step or at the end; None when they do.
fn excess(resource: &str, used: f64, hard: f64, growth: &Growth) -> Option<String> {
    let (new, old) = (asked(resource, &growth.new)?, asked(resource, &growth.old).unwrap_or(0.0));
    let (running, desired) = (f64::from(growth.running), f64::from(growth.desired));
    let shown = |amount: f64| show(resource, amount);
    let end = if growth.same { used + (desired - running) * new } else { used - running * old + desired * new };
    if end > hard && desired * new > running * old {
        return Some(format!("{} pods make {resource} {} of {}", growth.desired, shown(end), shown(hard)));
    }
    let freed = if growth.old_first { old } else { 0.0 };
    let first = used + new - freed;
    let grows = !growth.same && growth.running > 0 && growth.desired > 0;
    (grows && first > hard)
        .then(|| format!("{} is used, and one pod more makes {resource} {} of {}", shown(used), shown(first), shown(hard)))
}

/// What one pod adds to a counted resource; None when it adds nothing.
fn asked(resource: &str, pod: &Demand) -> Option<f64> {
    let of = |amounts: &Amounts, name: &str| amounts.get(name).copied();
    match resource {
        "pods" | "count/pods" => Some(1.0),
        _ => match resource.split_once('.') {
            Some(("requests", name)) => of(&pod.requests, name),
            Some(("limits", name)) => of(&pod.limits, name),
            _ => of(&pod.requests, resource).filter(|_| COMPUTE.contains(&resource)),
        },
    }
}

fn settings_name(resource: &str) -> String {
    if resource.contains('.') { resource.to_string() } else { format!("requests.{resource}") }
}

fn hint(growth: &Growth) -> &'static str {
    match growth.old_first || growth.running == 0 {
        true => "have the quota raised, or lower kubernetes.resources or kubernetes.replicas",
        false => "have the quota raised, or let an old pod go first: kubernetes.rolling.max_unavailable: 1",
    }
}

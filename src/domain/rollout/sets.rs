//! What the ReplicaSet and the Deployment say: pods that may not be made, the controller's own deadline.

use std::time::Duration;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentCondition, ReplicaSet, ReplicaSetCondition},
        autoscaling::v2::HorizontalPodAutoscaler,
    },
    apimachinery::pkg::{apis::meta::v1::Time, util::intstr::IntOrString},
};

use super::{Budgets, Finding};
use crate::domain::problem::Code;

/// The default ServiceAccount of a new namespace comes some seconds after it.
const ACCOUNT_GRACE: Duration = Duration::from_secs(10);
const POD_SECURITY: &str = "set kubernetes.security: restricted, or relax the label pod-security.kubernetes.io/enforce of the namespace";

/// The API server's words for a refusal that stays.
const FOR_GOOD: [&str; 4] = ["is invalid", "is forbidden", "forbidden:", "denied the request"];
/// Refusals in the same words that pass by themselves: admission that has just started, a quota whose use is not counted yet.
const FOR_NOW: [&str; 2] = ["not yet ready to handle request", "status unknown for quota"];
const HINTS: &[(&[&str], &str)] = &[
    (&["failed quota", "must specify"], "the quota asks for every resource that its sentence names: set it in kubernetes.resources"),
    (&["usage per Container"], "keep kubernetes.resources within the LimitRange of the namespace"),
    (&["usage per Pod"], "keep kubernetes.resources within the LimitRange of the namespace"),
    (&["limit to request ratio"], "bring request and limit in kubernetes.resources nearer to each other, as the LimitRange asks"),
    (&["admission webhook", "denied the request"], "change what the webhook's sentence names, or ask its owner"),
    (&["failed calling webhook"], "the webhook does not answer: ask its owner; the rest of the cluster waits for it, too"),
    (&["no PriorityClass"], "create the PriorityClass, or name another"),
];

/// The ReplicaSet's condition that its pods cannot be made; None while it is about an earlier number of them.
pub(super) fn failure(set: &ReplicaSet) -> Option<&ReplicaSetCondition> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True").filter(|_| is_current(set))
}

/// Whether the counts of the status are about what the ReplicaSet is to have now.
pub(super) fn is_current(set: &ReplicaSet) -> bool {
    set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0) >= set.metadata.generation.unwrap_or(0)
}

/// Pods that the API server refuses; `quota_from`: from when on a full quota is fatal; `since`: since when it has been so.
pub(super) fn refused(set: &ReplicaSet, quota_from: Duration, since: Duration, budgets: &Budgets, at: Duration) -> Option<Finding> {
    let condition = failure(set).filter(|condition| condition.reason.as_deref() == Some("FailedCreate"))?;
    let sentence = condition.message.as_deref().unwrap_or("no reason was given");
    Some(refusal("the new pods", sentence, quota_from, is_restricted(set), since, budgets, at))
}

/// A ReplicaSet that the Deployment controller may not make.
pub(super) fn no_set(deployment: &Deployment, since: Duration, budgets: &Budgets, at: Duration) -> Option<Finding> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failed = conditions.iter().find(|condition| {
        condition.type_ == "Progressing" && condition.status == "False" && condition.reason.as_deref() == Some("ReplicaSetCreateError")
    })?;
    let sentence = failed.message.as_deref().unwrap_or("no reason was given");
    Some(refusal("the new ReplicaSet", sentence, Duration::ZERO, false, since, budgets, at))
}

/// What the API server's sentence about an object that a controller could not create comes to.
fn refusal(
    what: &str,
    sentence: &str,
    quota_from: Duration,
    restricted: bool,
    since: Duration,
    budgets: &Budgets,
    at: Duration,
) -> Finding {
    let has = |part: &str| sentence.contains(part);
    if has("exceeded quota") {
        return Finding::new(Code::QuotaExceeded, format!("the quota does not let {what} be made: {sentence}")).doomed_at(quota_from, at);
    }
    let finding = Finding::new(Code::PodRejected, format!("the cluster refuses {what}: {sentence}"));
    if has("error looking up service account") {
        return finding.hint("create the ServiceAccount, or correct kubernetes.service_account").doomed_at(since + ACCOUNT_GRACE, at);
    }
    if has("violates PodSecurity") && !restricted {
        return finding.hint(POD_SECURITY).doomed();
    }
    let finding = match hint(sentence) {
        Some(hint) => finding.hint(hint),
        None => finding,
    };
    let any = |sentences: &[&str]| sentences.iter().any(|words| has(words));
    match any(&FOR_GOOD) && !any(&FOR_NOW) {
        true => finding.doomed(),
        false => finding.doomed_at(since + budgets.refused, at),
    }
}

/// What to do about a refusal, from the words of the admission plugin that made it.
fn hint(sentence: &str) -> Option<&'static str> {
    HINTS.iter().find(|(words, _)| words.iter().all(|word| sentence.contains(word))).map(|(_, hint)| *hint)
}

/// Whether the pods have the security context that a restricted namespace accepts already.
fn is_restricted(set: &ReplicaSet) -> bool {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.spec.as_ref());
    pod.and_then(|pod| pod.security_context.as_ref()?.run_as_non_root) == Some(true)
}

/// The controller's own time limit; `before`: the same condition as it was when our patch was answered, which is about an earlier rollout.
pub(super) fn deadline(deployment: &Deployment, before: Option<&Time>) -> Option<Finding> {
    let over = overdue(deployment).filter(|over| before.is_none() || over.last_update_time.as_ref() != before)?;
    let sentence = over.message.as_deref().unwrap_or("the deployment does not progress").trim_end_matches('.');
    Some(Finding::new(Code::DeadlineExceeded, format!("the deployment controller gave up: {sentence}")).doomed())
}

/// The condition that the controller's time limit has passed.
pub(super) fn overdue(deployment: &Deployment) -> Option<&DeploymentCondition> {
    deployment.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| {
        condition.type_ == "Progressing" && condition.status == "False" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    })
}

/// Why an autoscaler does nothing; None when it acts, or merely has no metrics yet.
pub fn idle_autoscaler(autoscaler: &HorizontalPodAutoscaler) -> Option<String> {
    let conditions = autoscaler.status.as_ref()?.conditions.as_ref()?;
    let idle = conditions.iter().find(|condition| condition.type_ == "ScalingActive" && condition.status == "False")?;
    let reason = idle.reason.as_deref().unwrap_or_default();
    let passing = reason.starts_with("FailedGet") || reason == "ScalingDisabled";
    (!passing).then(|| idle.message.clone().unwrap_or_else(|| reason.to_string()))
}

/// How many pods may be missing during the rollout (percentages round down, as the controller does).
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    let Some(spec) = &deployment.spec else { return 0 };
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let desired = spec.replicas.unwrap_or(1);
    match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(percent)) => percent.trim_end_matches('%').parse::<i32>().map_or(0, |percent| desired * percent / 100),
        None => desired / 4,
    }
}

//! What the ReplicaSet and the Deployment say: pods that may not be made, the controller's own deadline.

use std::time::Duration;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetCondition},
        autoscaling::v2::HorizontalPodAutoscaler,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Budgets, Finding};
use crate::domain::problem::Code;

/// The default ServiceAccount of a new namespace comes some seconds after it.
const ACCOUNT_GRACE: Duration = Duration::from_secs(10);
const POD_SECURITY: &str = "set kubernetes.security: restricted, or relax the label pod-security.kubernetes.io/enforce of the namespace";

/// The ReplicaSet's condition that its pods cannot be made.
pub(super) fn failure(set: &ReplicaSet) -> Option<&ReplicaSetCondition> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")
}

/// Pods that the API server refuses; `can_free`: old pods will go and leave quota; `since`: since when it has been so.
pub(super) fn refused(set: &ReplicaSet, can_free: bool, since: Duration, budgets: &Budgets, at: Duration) -> Option<Finding> {
    let condition = failure(set).filter(|condition| condition.reason.as_deref() == Some("FailedCreate"))?;
    let sentence = condition.message.as_deref().unwrap_or("no reason was given");
    let has = |part: &str| sentence.contains(part);
    if has("exceeded quota") {
        let finding = Finding::new(Code::QuotaExceeded, format!("the quota does not let the new pods be made: {sentence}"));
        return Some(if can_free { finding } else { finding.doomed() });
    }
    let finding = Finding::new(Code::PodRejected, format!("the cluster refuses the new pods: {sentence}"));
    Some(if has("error looking up service account") {
        finding.hint("create the ServiceAccount, or correct kubernetes.service_account").doomed_at(since + ACCOUNT_GRACE, at)
    } else if has("violates PodSecurity") {
        match is_restricted(set) {
            true => finding.doomed(),
            false => finding.hint(POD_SECURITY).doomed(),
        }
    } else if has("is invalid") || has("is forbidden") || has("forbidden:") || has("denied the request") {
        finding.doomed()
    } else {
        finding.doomed_at(since + budgets.refused, at)
    })
}

/// Whether the pods have the security context that a restricted namespace accepts already.
fn is_restricted(set: &ReplicaSet) -> bool {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.spec.as_ref());
    pod.and_then(|pod| pod.security_context.as_ref()?.run_as_non_root) == Some(true)
}

/// The controller's own time limit.
pub(super) fn deadline(deployment: &Deployment) -> Option<Finding> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let over = conditions.iter().find(|condition| {
        condition.type_ == "Progressing" && condition.status == "False" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    })?;
    let sentence = over.message.as_deref().unwrap_or("the deployment does not progress").trim_end_matches('.');
    Some(Finding::new(Code::DeadlineExceeded, format!("the deployment controller gave up: {sentence}")).doomed())
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
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    let Some(spec) = &deployment.spec else { return 0 };
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let desired = spec.replicas.unwrap_or(1);
    match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(percent)) => percent.trim_end_matches('%').parse::<i32>().map_or(0, |percent| desired * percent / 100),
        None => desired / 4,
    }
}

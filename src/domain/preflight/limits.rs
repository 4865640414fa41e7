//! LimitRanges of the namespace against what the containers ask for.

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};

use super::demand::{Amounts, Demand, amounts, items, show};
use crate::domain::problem::{Code, Problem};

/// What the LimitRanges do not let the pods have, a problem for each.
pub fn outside_limits(demand: &Demand, ranges: &[LimitRange], namespace: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |who: &str, wrong: Vec<(String, String)>| {
        for (why, setting) in wrong {
            let message = format!("{who} {why}, says a LimitRange of namespace {namespace}");
            problems.push(Problem::new(Code::PodRejected, message).hint(format!("correct {setting}, or have the LimitRange changed")));
        }
    };
    for item in items(ranges, "Container") {
        for container in &demand.containers {
            refuse(&format!("container {}", container.name), outside(item, &container.requests, &container.limits));
        }
    }
    for item in items(ranges, "Pod") {
        refuse("the pod", outside(item, &demand.requests, &demand.limits));
    }
    problems
}

/// What is wrong, and the setting that makes it so.
fn outside(item: &LimitRangeItem, requests: &Amounts, limits: &Amounts) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    for (resource, most) in &amounts(item.max.as_ref()) {
        let shown = show(resource, *most);
        let setting = format!("kubernetes.resources.limits.{resource}");
        match limits.get(resource) {
            None => wrong.push((format!("has to have a limit of {resource}, at most {shown}"), setting)),
            Some(limit) if limit > most => {
                wrong.push((format!("has a limit of {} {resource}, but may have {shown} at most", show(resource, *limit)), setting));
            }
            Some(_) => {}
        }
    }
    for (resource, least) in &amounts(item.min.as_ref()) {
        let request = requests.get(resource).copied().unwrap_or(0.0);
        if request < *least {
            let (asked, shown) = (show(resource, request), show(resource, *least));
            let setting = format!("kubernetes.resources.requests.{resource}");
            wrong.push((format!("asks for {asked} {resource}, but has to ask for {shown} at least"), setting));
        }
    }
    for (resource, ratio) in &amounts(item.max_limit_request_ratio.as_ref()) {
        if let (Some(request), Some(limit)) = (requests.get(resource), limits.get(resource))
            && *request > 0.0
            && limit / request > *ratio
        {
            let setting = format!("kubernetes.resources.requests.{resource}");
            wrong.push((format!("has a limit of {resource} of more than {ratio} times its request"), setting));
        }
    }
    wrong
}

//! What decides how many pods there are: the autoscaler, and the budget that evictions have to keep.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        autoscaling::v2::{
            CrossVersionObjectReference, ExternalMetricSource, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricIdentifier,
            MetricSpec, MetricTarget, PodsMetricSource, ResourceMetricSource,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};

use super::{
    manifests::number_or_percent,
    workload::{Autoscale, Disruption, Workload},
};

pub(super) fn autoscaler(workload: &Workload, autoscale: &Autoscale, metadata: ObjectMeta) -> HorizontalPodAutoscaler {
    let resources = [("cpu", autoscale.cpu), ("memory", autoscale.memory)];
    let resources = resources.into_iter().filter_map(|(name, percent)| Some(utilization(name, percent?)));
    let pods = autoscale.metrics.iter().map(|(name, value)| of_pods(name, value));
    let external = autoscale.external.iter().map(|(name, value)| of_outside(name, value));
    HorizontalPodAutoscaler {
        metadata,
        spec: HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_string()),
                kind: "Deployment".to_string(),
                name: workload.name.clone(),
            },
            min_replicas: Some(autoscale.min),
            max_replicas: autoscale.max,
            metrics: Some(resources.chain(pods).chain(external).collect()),
            behavior: None,
        },
        status: None,
    }
}

/// How many pods a drained node may take away at once. Pods that are not ready never hold up a drain: they serve nobody.
pub(super) fn budget(disruption: &Disruption, selector: &BTreeMap<String, String>, metadata: ObjectMeta) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: disruption.max_unavailable.as_deref().map(number_or_percent),
            min_available: disruption.min_available.as_deref().map(number_or_percent),
            selector: Some(LabelSelector { match_labels: Some(selector.clone()), match_expressions: None }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_string()),
        }),
        status: None,
    }
}

/// Percent of what the pods request.
fn utilization(resource: &str, percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_string(),
        resource: Some(ResourceMetricSource {
            name: resource.to_string(),
            target: MetricTarget { type_: "Utilization".to_string(), average_utilization: Some(percent), ..MetricTarget::default() },
        }),
        ..MetricSpec::default()
    }
}

fn of_pods(name: &str, value: &str) -> MetricSpec {
    let pods = PodsMetricSource { metric: identifier(name), target: average(value) };
    MetricSpec { type_: "Pods".to_string(), pods: Some(pods), ..MetricSpec::default() }
}

fn of_outside(name: &str, value: &str) -> MetricSpec {
    let external = ExternalMetricSource { metric: identifier(name), target: average(value) };
    MetricSpec { type_: "External".to_string(), external: Some(external), ..MetricSpec::default() }
}

fn identifier(name: &str) -> MetricIdentifier {
    MetricIdentifier { name: name.to_string(), selector: None }
}

fn average(value: &str) -> MetricTarget {
    MetricTarget { type_: "AverageValue".to_string(), average_value: Some(Quantity(value.to_string())), ..MetricTarget::default() }
}

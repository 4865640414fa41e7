//! What runs of an application, for people and for the report.

use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Pod, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, api::ListParams};

use super::{apply::Live, connect::Cluster, records::Records};
use crate::domain::{
    config::ConfigReference,
    manifests::{is_ours, keys},
    problem::{Code, Problem, Result},
    release::{Release, position},
    rollout::{Progress, state},
    scale::manual,
    status::{AutoscaleStatus, DisruptionStatus, History, PodStatus, RevisionStatus, Status},
};

impl Cluster {
    /// Reads what runs of the application of this name. Fails with `not-published` when there is nothing.
    pub async fn status(&self, name: &str) -> Result<Status> {
        let live = self.live(name).await?;
        let Some(deployment) = &live.deployment else {
            return Err(Problem::new(Code::NotPublished, format!("there is no deployment {name} in namespace {}", self.namespace)));
        };
        let releases = Records::new(self, name).list().await?;
        let pods = self.pods(deployment).await?;
        let stuck = self.stuck_of(&pods).await?;
        Ok(Status { stuck, ..status_of(name, &live, &pods, releases) })
    }

    /// The recorded releases. Fails with `not-published` when there is none.
    pub async fn history(&self, name: &str) -> Result<History> {
        let (records, deployment) = (Records::new(self, name), self.get::<Deployment>(name).await?);
        let releases = records.list().await?;
        if releases.is_empty() {
            let message = format!("there is no record of a release of {name} in namespace {}", self.namespace);
            return Err(Problem::new(Code::NotPublished, message));
        }
        Ok(History {
            namespace: self.namespace.clone(),
            name: name.to_string(),
            live: deployment.and_then(|deployment| position(&deployment.metadata).revision),
            revisions: releases.into_iter().rev().map(revision).collect(),
        })
    }

    pub(super) async fn pods(&self, deployment: &Deployment) -> Result<Vec<Pod>> {
        let selector = selector(deployment);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods = self.call(("list", "pods", &selector), api.list(&ListParams::default().labels(&selector))).await?;
        Ok(pods.items.into_iter().filter(|pod| is_of(deployment, pod)).collect())
    }
}

/// All of it from objects that were read.
pub(super) fn status_of(name: &str, live: &Live, pods: &[Pod], releases: Vec<Release>) -> Status {
    let deployment = live.deployment.clone().unwrap_or_default();
    let at = position(&deployment.metadata);
    let current = releases.iter().find(|release| Some(release.revision) == at.revision);
    Status {
        namespace: deployment.metadata.namespace.clone().unwrap_or_default(),
        config: current.and_then(|release| release.config.as_ref()).map(ConfigReference::object),
        autoscale: live.autoscaler.as_ref().map(autoscale),
        disruption: live.disruption.as_ref().map(disruption),
        scale: manual(&deployment),
        url: live.service.as_ref().and_then(|service| url(service, pods.iter())),
        pods: pods.iter().map(pod).collect(),
        revisions: releases.into_iter().rev().map(revision).collect(),
        ..of_deployment(name, &deployment)
    }
}

/// The label selector of a Deployment's pods.
pub(super) fn selector(deployment: &Deployment) -> String {
    let selector = deployment.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
    let labels = selector.match_labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.into_iter().flatten().map(|expression| {
        let (key, values) = (expression.key, expression.values.unwrap_or_default().join(","));
        match expression.operator.as_str() {
            "Exists" => key,
            "DoesNotExist" => format!("!{key}"),
            "NotIn" => format!("{key} notin ({values})"),
            _ => format!("{key} in ({values})"),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

/// Whether a pod comes from a ReplicaSet of the Deployment, which is named by both; others may have its labels, too.
pub(super) fn is_of(deployment: &Deployment, pod: &Pod) -> bool {
    let (Some(name), Some(labels)) = (&deployment.metadata.name, &pod.metadata.labels) else { return false };
    let Some(set) = labels.get("pod-template-hash").map(|hash| format!("{name}-{hash}")) else { return false };
    pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "ReplicaSet" && owner.name == set)
}

/// Where the application answers, as well as it is known from inside the namespace.
pub(super) fn url<'a>(service: &Service, pods: impl Iterator<Item = &'a Pod>) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let port = spec.ports.as_ref()?.first()?;
    let (name, namespace) = (service.metadata.name.as_deref()?, service.metadata.namespace.as_deref()?);
    let address = |host: &str, port: i32| if port == 80 { format!("http://{host}") } else { format!("http://{host}:{port}") };
    let inside = || address(&format!("{name}.{namespace}.svc"), port.port);
    match spec.type_.as_deref() {
        Some("NodePort") => {
            let mut pods = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let node = pods.find_map(|pod| pod.status.as_ref()?.host_ip.clone());
            Some(node.zip(port.node_port).map_or_else(inside, |(node, port)| address(&bracketed(&node), port)))
        }
        Some("LoadBalancer") => {
            let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref()?.first().cloned());
            let host = ingress.and_then(|ingress| ingress.hostname.or(ingress.ip));
            Some(host.map_or_else(inside, |host| address(&bracketed(&host), port.port)))
        }
        _ => Some(inside()),
    }
}

/// An IPv6 address in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_string() }
}

fn of_deployment(name: &str, deployment: &Deployment) -> Status {
    let annotation = |key: &str| deployment.metadata.annotations.as_ref()?.get(key).cloned();
    let at = position(&deployment.metadata);
    let spec = deployment.spec.as_ref();
    let status = deployment.status.as_ref();
    let container = spec.and_then(|spec| spec.template.spec.as_ref()?.containers.first());
    Status {
        name: name.to_string(),
        ours: is_ours(&deployment.metadata, name),
        image: container.and_then(|container| container.image.clone()).unwrap_or_default(),
        version: deployment.metadata.labels.as_ref().and_then(|labels| labels.get(keys::VERSION)).cloned(),
        revision: at.revision,
        sequence: at.sequence,
        commit: annotation(keys::COMMIT),
        author: annotation(keys::AUTHOR),
        job_url: annotation(keys::JOB),
        replicas: Progress {
            desired: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            updated: status.and_then(|status| status.updated_replicas).unwrap_or(0),
            ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
            available: status.and_then(|status| status.available_replicas).unwrap_or(0),
        },
        ..Status::default()
    }
}

fn pod(pod: &Pod) -> PodStatus {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let condition = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten().find(|condition| condition.type_ == "Ready");
    PodStatus {
        name: pod.metadata.name.clone().unwrap_or_default(),
        state: state(pod),
        // a pod that is going may answer for a while yet, but no longer counts
        ready: pod.metadata.deletion_timestamp.is_none() && condition.is_some_and(|condition| condition.status == "True"),
        restarts: containers.into_iter().flatten().map(|container| container.restart_count).sum(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        started: status.and_then(|status| status.start_time.as_ref()).map(|time| time.0.to_string()),
    }
}

fn autoscale(autoscaler: &HorizontalPodAutoscaler) -> AutoscaleStatus {
    let status = autoscaler.status.as_ref();
    AutoscaleStatus {
        min: autoscaler.spec.min_replicas.unwrap_or(1),
        max: autoscaler.spec.max_replicas,
        current: status.and_then(|status| status.current_replicas).unwrap_or(0),
        desired: status.map_or(0, |status| status.desired_replicas),
    }
}

fn disruption(budget: &PodDisruptionBudget) -> DisruptionStatus {
    let status = budget.status.clone().unwrap_or_default();
    let number = |count: Option<i32>| count.unwrap_or(0);
    DisruptionStatus {
        allowed: number(status.disruptions_allowed),
        healthy: number(status.current_healthy),
        wanted: number(status.desired_healthy),
    }
}

fn revision(release: Release) -> RevisionStatus {
    RevisionStatus {
        revision: release.revision,
        cause: release.cause,
        outcome: release.outcome,
        problem: release.problem,
        image: release.image,
        version: release.version,
        commit: release.commit,
        author: release.author,
        job_url: release.job_url,
        started: release.started,
        seconds: release.seconds,
        restores: release.restores,
        sequence: release.sequence,
        spec: release.spec_hash,
        config: release.config.map(|config| config.hash),
        config_version: release.pushed.map(|version| version.version),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(selector: serde_json::Value) -> Deployment {
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {"selector": selector, "template": {}}})).unwrap()
    }

    #[test]
    fn a_selector_says_all_that_its_deployment_asks_for() {
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let all = deployment(json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            expression("tier", "In", &["a", "b"]), expression("canary", "NotIn", &["yes"]),
            expression("live", "Exists", &[]), expression("old", "DoesNotExist", &[])]}));
        assert_eq!(selector(&all), "app=web,tier in (a,b),canary notin (yes),live,!old");
        assert_eq!(selector(&deployment(json!({"matchExpressions": [expression("app", "In", &["web"])]}))), "app in (web)");
    }

    #[test]
    fn a_pod_with_the_labels_of_another_owner_is_not_of_the_deployment() {
        let pod = |set: &str, kind: &str| -> Pod {
            let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": set, "uid": "u"});
            serde_json::from_value(json!({"metadata": {"name": "p", "labels": {"pod-template-hash": "abc"}, "ownerReferences": [owner]}}))
                .unwrap()
        };
        let web = deployment(json!({"matchLabels": {"app": "web"}}));
        assert!(is_of(&web, &pod("web-abc", "ReplicaSet")));
        assert!(!is_of(&web, &pod("other-abc", "ReplicaSet")) && !is_of(&web, &pod("web-abc", "Job")) && !is_of(&web, &Pod::default()));
    }
}

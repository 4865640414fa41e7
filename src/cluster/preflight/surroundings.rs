//! What is read of the namespace and the nodes: whether it is there, what pods refer to, quotas, limits, processors.

use std::{collections::BTreeMap, collections::BTreeSet, fmt::Debug};

use futures::{StreamExt, stream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, LimitRange, Namespace, Node, PersistentVolumeClaim, Pod, PodSpec, ResourceQuota, Secret, ServiceAccount},
    },
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, PartialObjectMeta},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Look, Publish};
use crate::{
    cluster::{connect::Cluster, intent::secrets, problem},
    domain::{
        preflight::{self, Growth, Kind, Known, Place, Reference},
        problem::{Code, Problem, Result},
        rollout::sets,
    },
};

/// Objects that are read at the same time.
const AT_ONCE: usize = 8;
/// Nodes that are looked at: so many say what processors there are.
const NODES: u32 = 500;

/// Whether the namespace is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    Missing,
    Terminating,
    /// The account may not look.
    Unknown,
}

impl Cluster {
    pub(super) async fn presence(&self) -> Presence {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let action = ("get", "namespaces", self.namespace.as_str());
        match self.attempt(action, api.get(&self.namespace)).await {
            Ok(Ok(namespace)) => match namespace.metadata.deletion_timestamp {
                Some(_) => Presence::Terminating,
                None => Presence::There,
            },
            Ok(Err(error)) if problem::is_not_found(&error) => Presence::Missing,
            _ => Presence::Unknown,
        }
    }

    /// Objects that the pods cannot start without, but for those that come with the publish.
    pub(super) async fn look_at_references(&self, publish: &Publish, wanted: &Deployment, others: &[Value]) -> Look {
        let mut look = Look::default();
        let Some(pod) = pod(wanted) else { return look };
        let made: Vec<String> = secrets(publish).iter().map(ResourceExt::name_any).collect();
        let own = |reference: &Reference, other: &Value| {
            other["kind"] == reference.kind.to_string() && other["metadata"]["name"] == reference.name.as_str()
        };
        let config = publish.workload.config.as_ref().map(|config| config.reference(&publish.workload.name));
        let configures = |reference: &Reference| {
            let kind = |secret: bool| if secret { Kind::Secret } else { Kind::ConfigMap };
            config.as_ref().is_some_and(|config| reference.name == config.name && reference.kind == kind(config.secret))
        };
        let comes = |reference: &Reference| {
            (reference.kind == Kind::Secret && made.contains(&reference.name))
                || configures(reference)
                || others.iter().any(|other| own(reference, other))
        };
        let references: Vec<Reference> = preflight::references(pod).into_iter().filter(|reference| !comes(reference)).collect();
        let wanted: BTreeSet<(Kind, String)> = references.iter().map(|reference| (reference.kind, reference.name.clone())).collect();
        let read = stream::iter(wanted).map(|(kind, name)| async move { (self.known_of(kind, &name).await, (kind, name)) });
        let known: BTreeMap<(Kind, String), Known> = read.buffered(AT_ONCE).map(|(known, object)| (object, known)).collect().await;
        for ((kind, name), _) in known.iter().filter(|(_, known)| **known == Known::Hidden) {
            look.not_looked_at::<()>(format!("the {kind} {name}"));
        }
        let settings = publish.workload.secrets.keys().cloned().collect();
        // a pod starts without its pull secret, and may need none
        let (pulls, others): (Vec<Reference>, Vec<Reference>) =
            references.into_iter().partition(|reference| reference.place == Place::PullSecret);
        look.problems.extend(preflight::missing(&others, &known, &settings, &self.namespace));
        look.warnings.extend(preflight::missing(&pulls, &known, &settings, &self.namespace));
        look
    }

    async fn known_of(&self, kind: Kind, name: &str) -> Known {
        let none = |_: &PersistentVolumeClaim| BTreeSet::new();
        match kind {
            Kind::Secret => self.keys_of(name, |secret: &Secret| keys(secret.data.as_ref())).await,
            Kind::ConfigMap => {
                let all = |map: &ConfigMap| keys(map.data.as_ref()).into_iter().chain(keys(map.binary_data.as_ref())).collect();
                self.keys_of(name, all).await
            }
            Kind::PersistentVolumeClaim => self.keys_of(name, none).await,
            Kind::ServiceAccount => self.keys_of(name, |_: &ServiceAccount| BTreeSet::new()).await,
        }
    }

    /// What cannot be read for whatever reason is hidden: the rollout will tell.
    async fn keys_of<K>(&self, name: &str, keys: impl Fn(&K) -> BTreeSet<String>) -> Known
    where
        K: k8s_openapi::Resource<Scope = NamespaceResourceScope>
            + Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        match self.attempt(("get", <K as k8s_openapi::Resource>::KIND, name), api.get_opt(name)).await {
            Ok(Ok(Some(object))) => Known::Keys(keys(&object)),
            Ok(Ok(None)) => Known::Absent,
            _ => Known::Hidden,
        }
    }

    /// Room in the quotas, and the bounds of LimitRanges.
    pub(super) async fn look_at_capacity(&self, wanted: &Deployment, live: Option<&Deployment>) -> Look {
        let mut look = Look::default();
        let Some(template) = pod(wanted) else { return look };
        let (quotas, ranges) = tokio::join!(self.all::<ResourceQuota>("resourcequotas"), self.all::<LimitRange>("limitranges"));
        let ranges = ranges.unwrap_or_else(|_| look.not_looked_at("LimitRanges".to_string()));
        let new = preflight::demand(template, &ranges);
        look.problems.extend(preflight::outside_limits(&new, &ranges, &self.namespace));
        let quotas = quotas.unwrap_or_else(|_| look.not_looked_at("ResourceQuotas".to_string()));
        if quotas.is_empty() {
            return look;
        }
        let old = live.and_then(pod).map(|pod| preflight::demand(pod, &ranges)).unwrap_or_default();
        let growth = growth(wanted, live, new, old);
        let full = preflight::without_room(&quotas, &growth, &self.namespace);
        // pods that are going count until they are gone
        match !full.is_empty() && self.some_go(wanted).await {
            true => look.warnings.extend(full),
            false => look.problems.extend(full),
        }
        look
    }

    async fn some_go(&self, deployment: &Deployment) -> bool {
        let labels = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
        let selector = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = ListParams::default().labels(&selector);
        let pods = self.call(("list", "pods", &deployment.name_any()), api.list_metadata(&params)).await;
        pods.is_ok_and(|pods| pods.items.iter().any(|pod| pod.metadata.deletion_timestamp.is_some()))
    }

    async fn all<K>(&self, resource: &str) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(self.call(("list", resource, ""), api.list(&ListParams::default())).await?.items)
    }

    /// The nodes' processors, where nodes may be listed.
    pub(super) async fn look_at_nodes(&self, publish: &Publish) -> Look {
        let (mut look, image) = (Look::default(), &publish.workload.platforms);
        if image.is_empty() {
            return look;
        }
        let api: Api<Node> = Api::all(self.client.clone());
        let params = ListParams::default().limit(NODES);
        let Ok(nodes) = self.call(("list", "nodes", ""), api.list_metadata(&params)).await else {
            look.not_looked_at::<()>("the nodes' processors".to_string());
            return look;
        };
        let platforms = nodes.items.iter().filter_map(platform).collect();
        let (problem, lacking) = preflight::other_platforms(image, &platforms, &publish.workload.image.to_string());
        look.problems.extend(problem);
        if !lacking.is_empty() {
            let message = format!("there are nodes of {}, for which the image is not built", lacking.join(", "));
            let hint = "set image.platforms, or keep the pods from those nodes";
            look.warnings.push(Problem::new(Code::PlatformMissing, message).hint(hint));
        }
        look
    }
}

/// Labels that the kubelet puts on its node.
fn platform(node: &PartialObjectMeta<Node>) -> Option<String> {
    let label = |key: &str| node.metadata.labels.as_ref()?.get(key).cloned();
    Some(format!("{}/{}", label("kubernetes.io/os")?, label("kubernetes.io/arch")?))
}

fn keys<V>(data: Option<&BTreeMap<String, V>>) -> BTreeSet<String> {
    data.into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

fn pod(deployment: &Deployment) -> Option<&PodSpec> {
    deployment.spec.as_ref()?.template.spec.as_ref()
}

fn growth(wanted: &Deployment, live: Option<&Deployment>, new: preflight::Demand, old: preflight::Demand) -> Growth {
    let spec = wanted.spec.as_ref();
    let strategy = spec.and_then(|spec| spec.strategy.as_ref()?.type_.as_deref());
    let live_spec = live.and_then(|live| live.spec.as_ref());
    Growth {
        running: live.and_then(|live| live.status.as_ref()?.replicas).unwrap_or(0),
        desired: spec.and_then(|spec| spec.replicas).or_else(|| live_spec?.replicas).unwrap_or(1),
        old_first: strategy == Some("Recreate") || sets::max_unavailable(wanted) > 0,
        same: live_spec.is_some_and(|live| spec.is_some_and(|spec| spec.template == live.template)),
        new,
        old,
    }
}

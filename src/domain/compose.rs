//! The generated objects with the user's own: a manifest of the application's name stands in for the generated object of its kind,
//! patches change either, all others are published beside them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Container, Service},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    containers::PORT_NAME,
    custom::{Chosen, Identity, Patch, application_container, pin, sorted, typed},
    manifests::{Objects, Stamp, common_labels, pod_labels, stamps},
    problem::{Code, Problem, Result},
    workload::Workload,
};

/// An object on its way: where it comes from, for messages, and what it is.
struct Part {
    place: String,
    value: Value,
    /// Made from the settings.
    generated: bool,
}

/// Puts the user's manifests and patches to the generated objects.
/// Fails with `manifest-invalid` naming file, document and path.
pub(super) fn compose(generated: Objects, workload: &Workload, stamp: &Stamp) -> Result<Objects> {
    let mut parts = Parts::new(&generated, workload)?;
    for document in &workload.custom.manifests {
        parts.put(&document.place, document.value.clone());
    }
    parts.lead_the_service()?;
    for patch in &workload.custom.patches {
        parts.patch(patch)?;
    }
    let mut service: Option<Service> = parts.take("", "Service")?;
    let mut autoscaler: Option<HorizontalPodAutoscaler> = parts.take("autoscaling", "HorizontalPodAutoscaler")?;
    let mut deployment = parts.deployment(stamp, autoscaler.is_some())?;
    label(workload, deployment.metadata.labels.get_or_insert_default(), common_labels);
    for meta in [service.as_mut().map(|service| &mut service.metadata), autoscaler.as_mut().map(|autoscaler| &mut autoscaler.metadata)] {
        let Some(meta) = meta else { continue };
        meta.namespace = Some(workload.namespace.clone());
        label(workload, meta.labels.get_or_insert_default(), common_labels);
    }
    deployment.metadata.namespace = Some(workload.namespace.clone());
    let others = parts.rest(workload)?;
    let brought = others.iter().any(|other| Identity::of(other).is("policy", "PodDisruptionBudget"));
    let mut disruption = generated.disruption.clone().filter(|_| !brought);
    if let (Some(budget), Some(spec)) = (disruption.as_mut().and_then(|budget| budget.spec.as_mut()), &deployment.spec) {
        budget.selector = Some(spec.selector.clone());
    }
    Ok(Objects { deployment, service, autoscaler, disruption, others })
}

/// The number of pods that settings, manifest or patch name; None: nobody does.
pub fn wanted_replicas(workload: &Workload) -> Result<Option<i32>> {
    let objects = super::manifests::objects(workload, &Stamp::default(), &Default::default())?;
    Ok(objects.deployment.spec.and_then(|spec| spec.replicas))
}

/// Labels of the object's own stay, but for those by which Shipway finds its objects.
fn label(workload: &Workload, labels: &mut BTreeMap<String, String>, ours: fn(&Workload) -> BTreeMap<String, String>) {
    use super::manifests::keys::{INSTANCE, MANAGED_BY};
    for (key, value) in ours(workload) {
        if [INSTANCE, MANAGED_BY].contains(&key.as_str()) {
            labels.insert(key, value);
        } else {
            labels.entry(key).or_insert(value);
        }
    }
}

struct Parts<'a> {
    workload: &'a Workload,
    parts: Vec<Part>,
}

impl<'a> Parts<'a> {
    fn new(generated: &Objects, workload: &'a Workload) -> Result<Self> {
        let mut parts = vec![part(&generated.deployment)?];
        parts.extend(generated.service.as_ref().map(part).transpose()?);
        parts.extend(generated.autoscaler.as_ref().map(part).transpose()?);
        Ok(Parts { workload, parts })
    }

    /// A manifest takes the place of the generated object of its kind and name.
    fn put(&mut self, place: &str, value: Value) {
        let identity = Identity::of(&value);
        self.parts.retain(|part| !part.generated || Identity::of(&part.value) != identity);
        self.parts.push(Part { place: place.to_string(), value, generated: false });
    }

    fn find(&self, group: &str, kind: &str) -> Option<usize> {
        let own = |part: &Part| {
            let identity = Identity::of(&part.value);
            identity.is(group, kind) && identity.name == self.workload.name
        };
        self.parts.iter().position(own)
    }

    /// The generated Service leads to the pods of a Deployment that the user brings, whatever their labels and ports are.
    fn lead_the_service(&mut self) -> Result<()> {
        let (Some(deployment), Some(service)) = (self.find("apps", "Deployment"), self.find("", "Service")) else { return Ok(()) };
        if self.parts[deployment].generated || !self.parts[service].generated {
            return Ok(());
        }
        let (place, value) = (&self.parts[deployment].place, &self.parts[deployment].value);
        let read: Deployment = typed(place, value)?;
        let container = self.container(place, &read)?;
        let ports = container.ports.unwrap_or_default();
        let port = ports.iter().find(|port| port.name.as_deref() == Some(PORT_NAME)).or_else(|| ports.first());
        let target = match port {
            Some(port) => port.name.clone().map_or(IntOrString::Int(port.container_port), IntOrString::String),
            None => IntOrString::Int(i32::from(self.workload.port)),
        };
        let selector = value.pointer("/spec/selector/matchLabels").cloned().unwrap_or_default();
        if let Some(spec) = self.parts[service].value.get_mut("spec") {
            spec["selector"] = selector;
            spec["ports"][0]["targetPort"] = serde_json::to_value(target).unwrap_or_default();
        }
        Ok(())
    }

    fn patch(&mut self, patch: &Patch) -> Result<()> {
        let own = &self.workload.name;
        let mut matching = self.parts.iter_mut().filter(|part| patch.is_for(&Identity::of(&part.value), own));
        match (matching.next(), matching.next()) {
            (Some(part), None) => {
                patch.apply(&mut part.value)?;
                check(&patch.place, &part.value)
            }
            (Some(_), Some(_)) => Err(wrong(&patch.place, format!("{} of that name is there in several groups", patch.kind))),
            (None, _) => {
                let name = patch.name.as_deref().unwrap_or(own);
                let all: Vec<String> = self.parts.iter().map(|part| Identity::of(&part.value).to_string()).collect();
                Err(wrong(&patch.place, format!("there is no {} {name} to patch; there are: {}", patch.kind, all.join(", "))))
            }
        }
    }

    fn take<T: Serialize + DeserializeOwned>(&mut self, group: &str, kind: &str) -> Result<Option<T>> {
        let Some(found) = self.find(group, kind) else { return Ok(None) };
        let part = self.parts.remove(found);
        typed(&part.place, &part.value).map(Some)
    }

    /// The application's Deployment: stamped, and its container pinned to the digest.
    fn deployment(&mut self, stamp: &Stamp, autoscaled: bool) -> Result<Deployment> {
        let Some(found) = self.find("apps", "Deployment") else {
            return Err(Problem::bug("the Deployment is gone from among its objects"));
        };
        let mut part = self.parts.remove(found);
        let read: Deployment = typed(&part.place, &part.value)?;
        let container = self.container(&part.place, &read)?.name;
        self.check_image(&part, &read, &container)?;
        pin(&mut part.value, &self.workload.image);
        let mut deployment: Deployment = typed(&part.place, &part.value)?;
        deployment.metadata.annotations.get_or_insert_default().extend(stamps(self.workload, stamp));
        let Some(spec) = deployment.spec.as_mut() else { return Err(wrong(&part.place, "spec is missing".to_string())) };
        if spec.selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty) {
            return Err(wrong(&part.place, "spec.selector.matchLabels is missing, by which the pods are found".to_string()));
        }
        spec.replicas = self.workload.replicas.or(spec.replicas).filter(|_| !autoscaled);
        let pods = spec.template.spec.get_or_insert_default();
        for own in pods.containers.iter_mut().filter(|own| own.name == container) {
            own.image = Some(self.workload.image.to_string());
        }
        Ok(deployment)
    }

    fn container(&self, place: &str, deployment: &Deployment) -> Result<Container> {
        let workload = self.workload;
        let containers =
            deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).map(|pod| &pod.containers[..]).unwrap_or_default();
        let found: Vec<(&str, &str)> =
            containers.iter().map(|container| (container.name.as_str(), container.image.as_deref().unwrap_or_default())).collect();
        let chosen = Chosen { container: workload.container.as_deref(), names: [&workload.app, &workload.name], image: &workload.image };
        Ok(containers[application_container(place, &found, &chosen)?].clone())
    }

    /// In what is generated the image is ours already: another one can only come by a patch, and would not be what was built.
    fn check_image(&self, part: &Part, read: &Deployment, container: &str) -> Result<()> {
        let ours = self.workload.image.to_string();
        let pod = read.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let own = pod.into_iter().flat_map(|pod| &pod.containers).find(|own| own.name == container);
        match own.and_then(|own| own.image.as_deref()) {
            Some(image) if part.generated && image != ours => Err(wrong(
                "kubernetes.patches",
                format!("the image of container {container} is what was built, and cannot be patched to {image}"),
            )),
            _ => Ok(()),
        }
    }

    /// What is published beside the application's own objects.
    fn rest(self, workload: &Workload) -> Result<Vec<Value>> {
        let mut rest = Vec::new();
        for mut part in self.parts {
            pin(&mut part.value, &workload.image);
            let place = &part.place;
            let Some(metadata) = part.value.get_mut("metadata") else { return Err(wrong(place, "metadata is missing".to_string())) };
            let mut labels: BTreeMap<String, String> = match metadata.get("labels") {
                Some(labels) if !labels.is_null() => {
                    serde_json::from_value(labels.clone()).map_err(|error| wrong(place, format!("metadata.labels: {error}")))?
                }
                _ => BTreeMap::new(),
            };
            label(workload, &mut labels, pod_labels);
            metadata["labels"] = json!(labels);
            metadata["namespace"] = json!(workload.namespace);
            rest.push(part.value);
        }
        Ok(sorted(rest))
    }
}

/// A patch that does not fit is told by its own file, not later by the object.
fn check(place: &str, value: &Value) -> Result<()> {
    match Identity::of(value) {
        identity if identity.is("apps", "Deployment") => typed::<Deployment>(place, value).map(drop),
        identity if identity.is("", "Service") => typed::<Service>(place, value).map(drop),
        identity if identity.is("autoscaling", "HorizontalPodAutoscaler") => typed::<HorizontalPodAutoscaler>(place, value).map(drop),
        _ => Ok(()),
    }
}

fn part<T: Serialize>(object: &T) -> Result<Part> {
    let value = serde_json::to_value(object).map_err(|error| Problem::bug(error.to_string()))?;
    Ok(Part { place: "kubernetes.patches".to_string(), value, generated: true })
}

fn wrong(place: &str, why: String) -> Problem {
    Problem::new(Code::ManifestInvalid, format!("{place}: {why}")).hint(format!("correct {place}"))
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;

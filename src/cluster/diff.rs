//! What a publish would change, by server-side dry run; and the objects as YAML.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Service, ServiceSpec},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::Value;
use similar::TextDiff;

use super::{
    Publish,
    apply::{Applied, Live, first_replicas, kept, owns_replicas},
    config::config_text,
    connect::Cluster,
};
use crate::domain::{
    custom::Identity,
    event::{Change, Event, Events},
    manifests::{self, MANAGER, Objects, Stamp, Surroundings, keys},
    problem::{Code, Problem, Result},
    release::position,
    shown::hide,
    workload::Workload,
};

/// Annotations that every publish changes and that change nothing of what runs.
const STAMPS: [&str; 4] = [keys::REVISION, keys::SEQUENCE, keys::JOB, keys::DEPLOYMENT_REVISION];
/// Where `kubectl apply` keeps the whole object once more, with all that is secret in it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Metadata that the API server writes.
const SERVER_FIELDS: [&str; 7] = ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink", "namespace"];

/// One object as it is, and as it would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectDiff {
    pub kind: String,
    pub name: String,
    pub change: Change,
    /// None: it is not there.
    pub live_yaml: Option<String>,
    /// None: it would be deleted.
    pub dry_run_yaml: Option<String>,
}

impl ObjectDiff {
    /// The difference in unified form; empty when there is none.
    pub fn unified(&self) -> String {
        let (before, after) = (self.live_yaml.as_deref().unwrap_or_default(), self.dry_run_yaml.as_deref().unwrap_or_default());
        TextDiff::from_lines(before, after).unified_diff().context_radius(3).header("live", "wanted").to_string()
    }
}

impl Cluster {
    /// What `publish` would change; changes nothing. A namespace that is not there shows every object as created.
    pub async fn diff(&self, publish: &Publish) -> Result<Vec<ObjectDiff>> {
        let live = self.live(&publish.workload.name).await?;
        let at = live.deployment.as_ref().map(|deployment| position(&deployment.metadata)).unwrap_or_default();
        let stamp = Stamp {
            revision: at.revision.unwrap_or(0) + 1,
            sequence: Some(publish.sequence()),
            commit: publish.commit.clone(),
            job_url: publish.job_url.clone(),
            author: publish.author.clone(),
        };
        let objects = kept(self.objects(publish, &live, true, &stamp)?, &live);
        let mut differences = self.differences(&objects, &live).await?;
        if let Some(config) = &publish.workload.config {
            differences.push(self.config_difference(&publish.workload.name, config, live.deployment.as_ref()).await?);
        }
        Ok(differences)
    }

    pub(super) async fn differences(&self, objects: &Objects, live: &Live) -> Result<Vec<ObjectDiff>> {
        let mut deployment = objects.deployment.clone();
        let kept = live
            .deployment
            .as_ref()
            .filter(|live| objects.autoscaler.is_none() && owns_replicas(live))
            .and_then(|live| live.spec.as_ref()?.replicas);
        if let Some(spec) = deployment.spec.as_mut() {
            spec.replicas = spec.replicas.or(kept);
        }
        let mut differences = vec![self.difference(Some(&deployment), live.deployment.as_ref()).await?];
        differences.push(self.difference(objects.service.as_ref(), live.service.as_ref()).await?);
        differences.push(self.difference(objects.autoscaler.as_ref(), live.autoscaler.as_ref()).await?);
        differences.push(self.difference(objects.disruption.as_ref(), live.disruption.as_ref()).await?);
        let mut differences: Vec<ObjectDiff> = differences.into_iter().flatten().collect();
        differences.extend(self.other_differences(&objects.others, &objects.deployment.name_any()).await?);
        Ok(differences)
    }

    async fn difference<K: Applied>(&self, wanted: Option<&K>, live: Option<&K>) -> Result<Option<ObjectDiff>> {
        let kind = <K as k8s_openapi::Resource>::KIND;
        let Some(object) = wanted else {
            let ours = live.filter(|live| manifests::is_ours(live.meta(), &live.name_any()));
            return ours.map(|live| Ok(shown(Some(live), None::<&K>)?.of(kind, &live.name_any()))).transpose();
        };
        let name = object.name_any();
        // a difference is looked at before it is decided who wins
        let params = PatchParams::apply(MANAGER).dry_run().force();
        let patched = self.call(("patch", K::RESOURCE, &name), self.api::<K>().patch(&name, &params, &Patch::Apply(object))).await;
        let shown = match (patched, live) {
            (Ok(after), live) => shown(live, Some(&after))?,
            (Err(problem), None) if problem.code == Code::NamespaceMissing => shown(live, Some(object))?,
            (Err(problem), _) => return Err(problem),
        };
        Ok(Some(shown.of(kind, &name)))
    }
}

/// Tells how an object that was there is different now; a Secret's content is nobody's business.
pub(super) fn tell<K: Applied>(events: &Events, live: Option<&K>, now: &K) {
    let Some(live) = live.filter(|_| K::RESOURCE != "secrets") else { return };
    // Both were read from the API server: they can be written.
    let Ok(Shown { before: Some(before), after: Some(after), .. }) = shown(Some(live), Some(now)) else { return };
    let text = TextDiff::from_lines(&before, &after).unified_diff().context_radius(1).to_string();
    let spec = serde_json::to_value(live).ok().and_then(|mut live| Some(live.get_mut("spec")?.take())).unwrap_or_default();
    let deployment = K::RESOURCE == "deployments";
    let image = spec.pointer("/template/spec/containers/0/image").and_then(Value::as_str).filter(|_| deployment).map(str::to_string);
    let replicas = spec.pointer("/replicas").and_then(Value::as_i64).filter(|_| deployment).and_then(|replicas| replicas.try_into().ok());
    let kind = <K as k8s_openapi::Resource>::KIND.to_string();
    events.emit(Event::Difference { kind, name: now.name_any(), text, image, replicas });
}

/// The objects as one YAML text of several documents, for a run that has no cluster.
pub fn render(workload: &Workload) -> Result<String> {
    let mut objects = manifests::objects(workload, &Stamp::default(), &Surroundings::default())?;
    first_replicas(&mut objects);
    let annotations = &mut objects.deployment.metadata.annotations;
    *annotations = annotations.take().filter(|annotations| !annotations.is_empty());
    let mut documents = vec![text(&objects.deployment)?];
    documents.extend(objects.service.as_ref().map(text).transpose()?);
    documents.extend(objects.autoscaler.as_ref().map(text).transpose()?);
    documents.extend(objects.disruption.as_ref().map(text).transpose()?);
    documents.extend(workload.config.as_ref().map(|config| config_text(config, &workload.name)).transpose()?);
    // a report is no place for a Secret; who applies the file has it where it came from
    let open = objects.others.iter().filter(|other| !Identity::of(other).is("", "Secret"));
    documents.extend(open.map(text).collect::<Result<Vec<_>>>()?);
    Ok(documents.iter().map(|document| format!("---\n{document}")).collect())
}

/// The objects of a workload as JSON, for rules.
pub fn objects(workload: &Workload) -> Result<Vec<Value>> {
    let mut objects = manifests::objects(workload, &Stamp::default(), &Surroundings::default())?;
    first_replicas(&mut objects);
    let json = |object: serde_json::Result<Value>| object.map_err(|error| Problem::bug(error.to_string()));
    let mut values = vec![json(serde_json::to_value(&objects.deployment))?];
    values.extend(objects.autoscaler.as_ref().map(serde_json::to_value).map(json).transpose()?);
    values.extend(objects.others.iter().cloned());
    Ok(values)
}

/// An object before and after, as anyone may see it.
pub(super) struct Shown {
    pub change: Change,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Shown {
    pub fn of(self, kind: &str, name: &str) -> ObjectDiff {
        let Shown { change, before, after } = self;
        ObjectDiff { kind: kind.to_string(), name: name.to_string(), change, live_yaml: before, dry_run_yaml: after }
    }
}

/// What changes is decided with secrets, and shown without them.
pub(super) fn shown(before: Option<&impl serde::Serialize>, after: Option<&impl serde::Serialize>) -> Result<Shown> {
    let (mut before, mut after) = (before.map(bare).transpose()?, after.map(bare).transpose()?);
    let change = match (&before, &after) {
        (None, _) => Change::Created,
        (_, None) => Change::Deleted,
        (before, after) if before == after => Change::Unchanged,
        _ => Change::Configured,
    };
    let hidden = before.as_mut().map(|before| hide(before, None));
    if let Some(after) = &mut after {
        hide(after, hidden.as_ref());
    }
    Ok(Shown { change, before: before.as_ref().map(text).transpose()?, after: after.as_ref().map(text).transpose()? })
}

/// Without what the API server and every publish write anyway.
fn bare(object: &impl serde::Serialize) -> Result<Value> {
    let mut value = serde_json::to_value(object).map_err(|error| Problem::bug(error.to_string()))?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !SERVER_FIELDS.contains(&field.as_str()));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !STAMPS.contains(&key.as_str()) && key != LAST_APPLIED);
        }
        metadata.retain(|field, value| field != "annotations" || value.as_object().is_none_or(|annotations| !annotations.is_empty()));
    }
    Ok(value)
}

pub(super) fn text(object: &impl serde::Serialize) -> Result<String> {
    let text = serde_saphyr::to_string(object).map_err(|error| Problem::bug(format!("an object cannot be written as YAML: {error}")))?;
    Ok(if text.ends_with('\n') { text } else { format!("{text}\n") })
}

/// The Deployment as a record keeps it: what can be applied again.
pub(super) fn snapshot(live: &Deployment) -> Deployment {
    let mut copy = Deployment { metadata: meta_snapshot(&live.metadata), status: None, ..live.clone() };
    if let Some(spec) = copy.spec.as_mut() {
        spec.replicas = None;
        if let Some(template) = spec.template.metadata.as_mut() {
            template.creation_timestamp = None;
        }
    }
    copy
}

/// The Service without what the cluster gave it.
pub(super) fn service_snapshot(live: &Service) -> Service {
    let spec = live.spec.as_ref().map(|spec| ServiceSpec {
        type_: spec.type_.clone(),
        selector: spec.selector.clone(),
        ports: spec.ports.clone(),
        ..ServiceSpec::default()
    });
    Service { metadata: meta_snapshot(&live.metadata), spec, status: None }
}

pub(super) fn disruption_snapshot(live: &PodDisruptionBudget) -> PodDisruptionBudget {
    PodDisruptionBudget { metadata: meta_snapshot(&live.metadata), spec: live.spec.clone(), status: None }
}

pub(super) fn autoscaler_snapshot(live: &HorizontalPodAutoscaler) -> HorizontalPodAutoscaler {
    HorizontalPodAutoscaler { metadata: meta_snapshot(&live.metadata), spec: live.spec.clone(), status: None }
}

fn meta_snapshot(meta: &ObjectMeta) -> ObjectMeta {
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| key != keys::DEPLOYMENT_REVISION && !key.starts_with("kubectl.kubernetes.io/"));
    ObjectMeta {
        name: meta.name.clone(),
        labels: meta.labels.clone(),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..ObjectMeta::default()
    }
}

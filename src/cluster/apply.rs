//! Server-side apply of the objects, and what is read of the live ones for it.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{ConfigMap, Secret, Service},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{connect::Cluster, diff, problem};
use crate::domain::{
    adopt::owned_container,
    custom::{Chosen, application_container},
    event::{Change, Event, Events},
    manifests::{MANAGER, Objects, Surroundings, keys},
    problem::{Code, Problem, Result},
    release::position,
    scale,
    workload::Workload,
};

/// Holds `spec.replicas` when an autoscaler takes it over, so that our next apply does not reset it.
const REPLICAS_MANAGER: &str = "shipway-replicas";
/// Replicas of a new Deployment when nobody says how many.
const REPLICAS: i32 = 2;
/// The Deployment's status changes while pods move; so often a patch is tried again with its newest version.
const ATTEMPTS: u32 = 20;
/// Grows with the first of them, up to `LONGEST_PAUSE`: 1.7 s in all.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What can be applied in the namespace.
pub trait Applied:
    k8s_openapi::Resource<Scope = NamespaceResourceScope>
    + Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
    /// The name of the resource in API paths and roles.
    const RESOURCE: &'static str;
}

impl Applied for Deployment {
    const RESOURCE: &'static str = "deployments";
}
impl Applied for Service {
    const RESOURCE: &'static str = "services";
}
impl Applied for HorizontalPodAutoscaler {
    const RESOURCE: &'static str = "horizontalpodautoscalers";
}
impl Applied for PodDisruptionBudget {
    const RESOURCE: &'static str = "poddisruptionbudgets";
}
impl Applied for Secret {
    const RESOURCE: &'static str = "secrets";
}
impl Applied for ConfigMap {
    const RESOURCE: &'static str = "configmaps";
}

/// How to apply.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mode {
    pub dry_run: bool,
    /// Win against other field managers.
    pub force: bool,
    /// Send no number of replicas even where we own it, because it has just been given away.
    pub leave_replicas: bool,
}

/// The live objects of an application's name.
#[derive(Debug, Clone, Default)]
pub struct Live {
    pub deployment: Option<Deployment>,
    pub service: Option<Service>,
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    pub disruption: Option<PodDisruptionBudget>,
}

impl Cluster {
    pub(super) fn api<K: Applied>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn get<K: Applied>(&self, name: &str) -> Result<Option<K>> {
        self.call(("get", K::RESOURCE, name), self.api::<K>().get_opt(name)).await
    }

    /// The objects of an application, read at the same time.
    pub(super) async fn live(&self, name: &str) -> Result<Live> {
        let (deployment, service, autoscaler, disruption) =
            tokio::try_join!(self.get(name), self.get(name), self.get(name), self.get_if_permitted(name))?;
        Ok(Live { deployment, service, autoscaler, disruption })
    }

    /// An account of an older Role may not read budgets: it has none then.
    async fn get_if_permitted<K: Applied>(&self, name: &str) -> Result<Option<K>> {
        match self.get(name).await {
            Err(problem) if problem.code == Code::ClusterForbidden => Ok(None),
            found => found,
        }
    }

    /// Applies one object and says what became of it.
    pub(super) async fn apply<K: Applied>(&self, object: &K, live: Option<&K>, mode: Mode, events: &Events) -> Result<K> {
        let name = object.name_any();
        let action = ("patch", K::RESOURCE, name.as_str());
        let applied = self.call(action, self.api::<K>().patch(&name, &params(MANAGER, mode), &Patch::Apply(object))).await?;
        if !mode.dry_run {
            say::<K>(events, &name, changed(live.map(Resource::meta), applied.meta()));
            diff::tell(events, live, &applied);
        }
        Ok(applied)
    }

    /// Applies the Deployment on top of the version that was read: the one patch that starts a rollout.
    pub(super) async fn apply_deployment(
        &self,
        wanted: &Deployment,
        live: Option<&Deployment>,
        mode: Mode,
        events: &Events,
    ) -> Result<Deployment> {
        let name = wanted.name_any();
        let action = ("patch", Deployment::RESOURCE, name.as_str());
        let before = live.map(|live| position(&live.metadata));
        let (mut live, mut mode, mut last) = (live.cloned(), mode, None);
        for attempt in 0..ATTEMPTS {
            let mut object = wanted.clone();
            object.metadata.resource_version =
                live.as_ref().and_then(|live| live.metadata.resource_version.clone()).filter(|_| !mode.dry_run);
            if !mode.leave_replicas {
                keep_replicas(&mut object, live.as_ref());
            }
            let answer = self.attempt(action, self.api::<Deployment>().patch(&name, &params(MANAGER, mode), &Patch::Apply(&object))).await;
            let error = match answer {
                Ok(Ok(applied)) => {
                    if !mode.dry_run {
                        say::<Deployment>(events, &name, changed(live.as_ref().map(Resource::meta), applied.meta()));
                        diff::tell(events, live.as_ref(), &applied);
                    }
                    return Ok(applied);
                }
                Ok(Err(error)) => Some(error),
                Err(problem) if mode.dry_run || problem.code != Code::ClusterUnreachable => return Err(problem),
                // no answer in time: the patch may have gone through all the same
                Err(problem) => {
                    last = Some(problem);
                    None
                }
            };
            let fields = error.as_ref().map(problem::conflicting_fields).unwrap_or_default();
            if !fields.is_empty() && fields.iter().all(|field| field == ".spec.replicas") {
                // the settings name a number: it counts, whoever set the present one
                mode.force = true;
                continue;
            }
            if let Some(error) = error.as_ref().filter(|error| problem::is_unclear(error)) {
                last = Some(problem::problem(error, self.action(action)));
            }
            let unclear = !mode.dry_run && error.as_ref().is_none_or(problem::is_unclear);
            if let Some(error) = error.filter(|error| !unclear && !problem::is_stale(error)) {
                return Err(problem::problem(&error, self.action(action)));
            }
            // before the read: what is patched is as new as can be, while pods that are refused come and go many times a second
            tokio::time::sleep((PAUSE * (attempt + 1)).min(LONGEST_PAUSE)).await;
            // what is live says whether our patch went through, or somebody else's, or merely the status changed
            let found: Result<Option<Deployment>> = self.get(&name).await;
            let found = found.map_err(|problem| if unclear { problem.unrestored() } else { problem })?;
            let now = found.as_ref().map(|found| position(&found.metadata));
            match found {
                Some(found) if now == Some(position(&wanted.metadata)) && now != before => return Ok(found),
                Some(_) if now != before => return Err(changed_by_another(&name)),
                found => live = found,
            }
        }
        Err(last.unwrap_or_else(|| Problem::new(Code::ClusterFailed, format!("deployment {name} changes faster than it can be patched"))))
    }

    /// Deletes an object that Shipway made; one that is gone already is fine.
    pub(super) async fn delete<K: Applied>(&self, live: &K, events: &Events) -> Result<()> {
        let name = live.name_any();
        let action = ("delete", K::RESOURCE, name.as_str());
        match self.attempt(action, self.api::<K>().delete(&name, &DeleteParams::default())).await? {
            Err(error) if !problem::is_not_found(&error) => return Err(problem::problem(&error, self.action(action))),
            _ => say::<K>(events, &name, Change::Deleted),
        }
        Ok(())
    }

    /// Gives up `spec.replicas` of a Deployment that was just made with a number: its autoscaler decides from now on.
    pub(super) async fn leave_replicas(&self, wanted: &Deployment, live: &Deployment) -> Result<Deployment> {
        self.hand_over_replicas(live).await?;
        let mut without = wanted.clone();
        without.spec.get_or_insert_default().replicas = None;
        let name = wanted.name_any();
        let action = ("patch", Deployment::RESOURCE, name.as_str());
        self.call(action, self.api::<Deployment>().patch(&name, &params(MANAGER, Mode::default()), &Patch::Apply(&without))).await
    }

    /// Gives `spec.replicas` away at its live value before an autoscaler decides on it.
    pub(super) async fn hand_over_replicas(&self, live: &Deployment) -> Result<()> {
        let name = live.name_any();
        let replicas = live.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(REPLICAS);
        let partial = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas}});
        let mode = Mode { force: true, ..Mode::default() };
        let action = ("patch", Deployment::RESOURCE, name.as_str());
        self.call(action, self.api::<Deployment>().patch(&name, &params(REPLICAS_MANAGER, mode), &Patch::Apply(&partial))).await?;
        Ok(())
    }
}

/// What of the live Deployment the objects have to follow.
/// Fails with `manifest-invalid` when it has several containers and none can be told to be the application's.
pub fn surroundings(workload: &Workload, live: Option<&Deployment>, native_sleep: bool) -> Result<Surroundings> {
    let spec = live.and_then(|live| live.spec.as_ref());
    let selector = spec.and_then(|spec| spec.selector.match_labels.clone());
    let container = match (&workload.container, live) {
        (Some(named), _) => Some(named.clone()),
        (None, Some(live)) => Some(application_of(workload, live)?),
        (None, None) => None,
    };
    Ok(Surroundings { native_sleep, selector, container, restarted: live.and_then(restarted) })
}

/// When the live pods were restarted by hand.
pub fn restarted(live: &Deployment) -> Option<String> {
    live.spec.as_ref()?.template.metadata.as_ref()?.annotations.as_ref()?.get(keys::RESTARTED).cloned()
}

/// The name of the application's container in what is live: the one whose image is ours, else the one that can be told to be it.
pub(super) fn application_of(workload: &Workload, live: &Deployment) -> Result<String> {
    if let Some(owned) = owned_container(live) {
        return Ok(owned);
    }
    let pod = live.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let there: Vec<(&str, &str)> = pod
        .into_iter()
        .flat_map(|pod| &pod.containers)
        .map(|container| (container.name.as_str(), container.image.as_deref().unwrap_or_default()))
        .collect();
    let chosen = Chosen { container: None, names: [&workload.app, &workload.name], image: &workload.image };
    let found = application_container(&format!("deployment {}", live.name_any()), &there, &chosen)?;
    Ok(there[found].0.to_string())
}

/// The objects with a manual scale of the live Deployment kept.
pub fn kept(mut objects: Objects, live: &Live) -> Objects {
    if let Some(scale) = live.deployment.as_ref().and_then(scale::manual) {
        scale::keep(&mut objects, &scale);
    }
    objects
}

/// Sets the number for a new Deployment, when the settings name none.
pub fn first_replicas(objects: &mut Objects) {
    let least = objects.autoscaler.as_ref().and_then(|autoscaler| autoscaler.spec.min_replicas);
    let spec = objects.deployment.spec.get_or_insert_with(DeploymentSpec::default);
    spec.replicas = spec.replicas.or(least).or(Some(REPLICAS));
}

/// Whether our last apply owns `spec.replicas`: leaving it out of the next one would reset it.
pub fn owns_replicas(live: &Deployment) -> bool {
    let ours = |entry: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
    };
    let entries = live.metadata.managed_fields.iter().flatten().filter(ours);
    entries.filter_map(|entry| entry.fields_v1.as_ref()).any(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
}

/// The live number is sent along while we own it; an owner other than us is left alone.
fn keep_replicas(object: &mut Deployment, live: Option<&Deployment>) {
    let Some(live) = live.filter(|live| owns_replicas(live)) else { return };
    if let Some(spec) = object.spec.as_mut() {
        spec.replicas = spec.replicas.or(live.spec.as_ref().and_then(|spec| spec.replicas));
    }
}

pub(super) fn params(manager: &str, mode: Mode) -> PatchParams {
    PatchParams { dry_run: mode.dry_run, force: mode.force, field_manager: Some(manager.to_string()), field_validation: None }
}

pub(super) fn changed(before: Option<&ObjectMeta>, after: &ObjectMeta) -> Change {
    match before {
        None => Change::Created,
        Some(before) if before.resource_version == after.resource_version => Change::Unchanged,
        Some(_) => Change::Configured,
    }
}

pub(super) fn say<K: Applied>(events: &Events, name: &str, change: Change) {
    events.emit(Event::Applied { kind: <K as k8s_openapi::Resource>::KIND.to_string(), name: name.to_string(), change });
}

fn changed_by_another(name: &str) -> Problem {
    Problem::new(Code::Superseded, format!("deployment {name} was published by another run in the same moment"))
        .hint("look at what runs; run this job again when it is this one that is wanted")
}

//! Server-side apply of the objects, and what is read of the live ones for it.

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::Service,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{connect::Cluster, problem};
use crate::domain::{
    containers,
    event::{Change, Event, Events},
    manifests::{MANAGER, Objects, Surroundings},
    problem::{Code, Problem, Result},
    release::position,
};

/// Holds `spec.replicas` when an autoscaler takes it over, so that our next apply does not reset it.
const REPLICAS_MANAGER: &str = "shipway-replicas";
/// Replicas of a new Deployment when nobody says how many.
const REPLICAS: i32 = 2;
/// The Deployment's status changes while pods move; so often a patch is tried again with its newest version.
const ATTEMPTS: usize = 8;

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
impl Applied for k8s_openapi::api::core::v1::Secret {
    const RESOURCE: &'static str = "secrets";
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
}

impl Cluster {
    pub(super) fn api<K: Applied>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn get<K: Applied>(&self, name: &str) -> Result<Option<K>> {
        self.call(("get", K::RESOURCE, name), self.api::<K>().get_opt(name)).await
    }

    /// The three objects, read at the same time.
    pub(super) async fn live(&self, name: &str) -> Result<Live> {
        let (deployment, service, autoscaler) = tokio::try_join!(self.get(name), self.get(name), self.get(name))?;
        Ok(Live { deployment, service, autoscaler })
    }

    /// Applies one object and says what became of it.
    pub(super) async fn apply<K: Applied>(&self, object: &K, live: Option<&K>, mode: Mode, events: &Events) -> Result<K> {
        let name = object.name_any();
        let action = ("patch", K::RESOURCE, name.as_str());
        let applied = self.call(action, self.api::<K>().patch(&name, &params(MANAGER, mode), &Patch::Apply(object))).await?;
        if !mode.dry_run {
            say::<K>(events, &name, changed(live.map(Resource::meta), applied.meta()));
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
        let (mut live, mut mode) = (live.cloned(), mode);
        for _ in 0..ATTEMPTS {
            let mut object = wanted.clone();
            object.metadata.resource_version =
                live.as_ref().and_then(|live| live.metadata.resource_version.clone()).filter(|_| !mode.dry_run);
            if !mode.leave_replicas {
                keep_replicas(&mut object, live.as_ref());
            }
            let answer =
                self.attempt(action, self.api::<Deployment>().patch(&name, &params(MANAGER, mode), &Patch::Apply(&object))).await?;
            let error = match answer {
                Ok(applied) => {
                    if !mode.dry_run {
                        say::<Deployment>(events, &name, changed(live.as_ref().map(Resource::meta), applied.meta()));
                    }
                    return Ok(applied);
                }
                Err(error) => error,
            };
            let fields = problem::conflicting_fields(&error);
            if !fields.is_empty() && fields.iter().all(|field| field == ".spec.replicas") {
                // the settings name a number: it counts, whoever set the present one
                mode.force = true;
                continue;
            }
            if !problem::is_stale(&error) && (mode.dry_run || !problem::is_unclear(&error)) {
                return Err(problem::problem(&error, self.action(action)));
            }
            // what is live says whether our patch went through, or somebody else's, or merely the status changed
            let found: Option<Deployment> = self.get(&name).await?;
            let now = found.as_ref().map(|found| position(&found.metadata));
            match found {
                Some(found) if now == Some(position(&wanted.metadata)) && now != before => return Ok(found),
                Some(_) if now != before => return Err(changed_by_another(&name)),
                found => live = found,
            }
        }
        Err(Problem::new(Code::ClusterFailed, format!("deployment {name} changes faster than it can be patched")))
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
pub fn surroundings(live: Option<&Deployment>, native_sleep: bool) -> Surroundings {
    let spec = live.and_then(|live| live.spec.as_ref());
    let container = spec.and_then(|spec| {
        let names: Vec<&String> = spec.template.spec.iter().flat_map(|pod| &pod.containers).map(|container| &container.name).collect();
        match names[..] {
            [only] if only != containers::NAME => Some(only.clone()),
            _ => None,
        }
    });
    Surroundings { native_sleep, selector: spec.and_then(|spec| spec.selector.match_labels.clone()), container }
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

fn params(manager: &str, mode: Mode) -> PatchParams {
    PatchParams { dry_run: mode.dry_run, force: mode.force, field_manager: Some(manager.to_string()), field_validation: None }
}

fn changed(before: Option<&ObjectMeta>, after: &ObjectMeta) -> Change {
    match before {
        None => Change::Created,
        Some(before) if before.resource_version == after.resource_version => Change::Unchanged,
        Some(_) => Change::Configured,
    }
}

fn say<K: Applied>(events: &Events, name: &str, change: Change) {
    events.emit(Event::Applied { kind: <K as k8s_openapi::Resource>::KIND.to_string(), name: name.to_string(), change });
}

fn changed_by_another(name: &str) -> Problem {
    Problem::new(Code::LockLost, format!("deployment {name} was published by another run in the same moment"))
}

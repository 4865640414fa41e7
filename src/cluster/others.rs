//! The user's other manifests: their kinds found out, applied in their order, put back and taken away with their release.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch},
    core::{ApiResource, GroupVersionKind},
    discovery::{Scope, oneshot},
};
use serde_json::Value;

use super::{
    Publish,
    apply::{Applied, Mode, changed, params},
    connect::Cluster,
    diff::{ObjectDiff, shown},
    lease::Lock,
    preflight::not_ours,
    problem,
    publish::Change as Running,
};
use crate::domain::{
    custom::{Identity, KEPT_KINDS, cluster_scoped, known_resource},
    event::{Change, Event, Events},
    manifests::{MANAGER, is_ours},
    problem::{Code, Problem, Result},
    release::{Release, outgrown},
};

/// One object of the user's own, with what the cluster knows of it.
#[derive(Debug, Clone)]
pub struct Other {
    pub(super) value: Value,
    pub(super) identity: Identity,
    pub(super) resource: ApiResource,
    live: Option<DynamicObject>,
    /// The application that a publish brings it with; None: it is put back, or taken away.
    pub(super) published_with: Option<String>,
}

/// Which of them: those that pods may need come before the Deployment, what stands on it (an Ingress, a CronJob) after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Before,
    After,
}

impl Phase {
    fn has(self, identity: &Identity) -> bool {
        (self == Phase::Before) == identity.comes_before_deployments()
    }
}

/// The content of Secrets is in no record.
fn is_recorded(value: &Value) -> bool {
    !Identity::of(value).is("", "Secret")
}

impl Cluster {
    /// Finds out what the kinds are called in API paths, and what is there of the objects.
    /// Fails with `manifest-invalid` for a kind that the cluster does not know, or that belongs to no namespace.
    pub(super) async fn others(&self, values: &[Value]) -> Result<Vec<Other>> {
        let mut others: Vec<Other> = Vec::new();
        for value in values {
            let other = self.other(value, &others).await?;
            others.push(other);
        }
        Ok(others)
    }

    /// One of them; what kinds are called is known from those `before` it.
    async fn other(&self, value: &Value, before: &[Other]) -> Result<Other> {
        let identity = Identity::of(value);
        let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let same = before.iter().find(|other| other.resource.api_version == version && other.resource.kind == identity.kind);
        let resource = match same {
            Some(other) => other.resource.clone(),
            None => self.resource(&identity, version).await?,
        };
        let api = self.of_kind(&resource);
        let live = self.call(("get", &resource.plural, &identity.name), api.get_opt(&identity.name)).await;
        let live = live.map_err(|problem| needed(problem, &resource, &identity, &self.namespace))?;
        Ok(Other { value: value.clone(), identity, resource, live, published_with: None })
    }

    pub(super) fn of_kind(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, resource)
    }

    /// The names of Kubernetes' own kinds are known; of others the API server is asked.
    async fn resource(&self, identity: &Identity, api_version: &str) -> Result<ApiResource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, &identity.kind);
        if let Some(plural) = known_resource(group, &identity.kind) {
            return Ok(ApiResource::from_gvk_with_plural(&kind, plural));
        }
        let unknown = || {
            Problem::new(Code::ManifestInvalid, format!("the cluster does not know the kind of {identity} in {api_version}"))
                .hint("correct apiVersion and kind, or have the owner of the cluster install what defines it")
        };
        match self.attempt(("get", "the kinds", api_version), oneshot::pinned_kind(&self.client, &kind)).await? {
            Ok((resource, found)) if found.scope == Scope::Namespaced => Ok(resource),
            Ok(_) => Err(cluster_scoped("kubernetes.manifests", identity)),
            Err(kube::Error::Discovery(_)) => Err(unknown()),
            Err(error) if problem::is_not_found(&error) => Err(unknown()),
            Err(error) => Err(problem::problem(&error, self.action(("get", "the kinds of", api_version)))),
        }
    }

    /// As part of the preflight: kinds, owners, and a dry run of each. All that is wrong is told, not the first of it alone.
    pub(super) async fn look_at_others(&self, publish: &Publish, values: &[Value], events: &Events) -> (Vec<Other>, Vec<Problem>) {
        let (mut others, mut problems) = (Vec::new(), Vec::new());
        for value in values {
            match self.look_at_other(publish, value, &others, events).await {
                Ok(other) => others.push(other),
                Err(problem) => {
                    let away = problem.code == Code::ClusterUnreachable;
                    problems.push(problem);
                    if away {
                        break;
                    }
                }
            }
        }
        (others, problems)
    }

    async fn look_at_other(&self, publish: &Publish, value: &Value, before: &[Other], events: &Events) -> Result<Other> {
        let other = Other { published_with: Some(publish.workload.name.clone()), ..self.other(value, before).await? };
        let foreign = other.live.as_ref().filter(|live| !is_ours(&live.metadata, &publish.workload.name));
        if let Some(live) = foreign.filter(|_| !publish.adopt) {
            return Err(not_ours(&other.identity.kind.to_lowercase(), &other.identity.name, &live.metadata, &self.namespace));
        }
        if publish.preflight {
            let mode = Mode { dry_run: true, force: publish.forces(), ..Mode::default() };
            self.apply_other(&other, mode, events).await?;
        }
        Ok(other)
    }

    /// Applies those of one phase, in their order; before each it is asked whether the lock still holds. Gives the versions of Secrets.
    pub(super) async fn apply_others(
        &self,
        others: &[Other],
        phase: Phase,
        mode: Mode,
        lock: &Lock,
        events: &Events,
    ) -> Result<BTreeMap<String, String>> {
        let mut secrets = BTreeMap::new();
        for other in others.iter().filter(|other| phase.has(&other.identity)) {
            lock.hold().await?;
            let applied = self.apply_other(other, mode, events).await?;
            if other.identity.is("", "Secret") {
                secrets.insert(other.identity.name.clone(), applied.resource_version().unwrap_or_default());
            }
        }
        Ok(secrets)
    }

    /// Says which of the user's Secrets are not as this release had them: their content is in no record, so that they stay as they are.
    /// Gives the versions that are there.
    pub(super) async fn say_changed_secrets(&self, release: &Release, events: &Events) -> BTreeMap<String, String> {
        let (mut there, mut changed) = (BTreeMap::new(), Vec::new());
        for (name, version) in &release.secrets {
            // who may not look is not told
            let Ok(live) = self.call(("get", Secret::RESOURCE, name), self.api::<Secret>().get_metadata_opt(name)).await else { continue };
            let now = live.and_then(|live| live.metadata.resource_version);
            if now.as_ref() != Some(version) {
                changed.push(name.as_str());
            }
            there.extend(now.map(|now| (name.clone(), now)));
        }
        if !changed.is_empty() {
            let (revision, names) = (release.revision, changed.join(", "));
            let text =
                format!("Secret {names} is not as revision {revision} published it, and stays as it is: its content is in no record");
            events.warning(text, format!("publish the commit of revision {revision} again if its pods need the Secret of then"));
        }
        there
    }

    async fn apply_other(&self, other: &Other, mode: Mode, events: &Events) -> Result<DynamicObject> {
        let Other { value, identity, resource, live, .. } = other;
        let api = self.of_kind(resource);
        let action = ("patch", resource.plural.as_str(), identity.name.as_str());
        let applied = match self.attempt(action, api.patch(&identity.name, &params(MANAGER, mode), &Patch::Apply(value))).await? {
            Ok(applied) => applied,
            Err(error) if problem::is_not_served(&error) => return Err(self.not_served(identity, resource).await),
            Err(error) => {
                let problem = needed(problem::problem(&error, self.action(action)), resource, identity, &self.namespace);
                return match live {
                    Some(live) if problem.code == Code::FieldImmutable && identity.is("batch", "Job") => {
                        self.renew_job(other, live, mode, problem, events).await
                    }
                    _ => Err(problem),
                };
            }
        };
        if !mode.dry_run {
            let change = changed(live.as_ref().map(|live| &live.metadata), &applied.metadata);
            events.emit(Event::Applied { kind: identity.kind.clone(), name: identity.name.clone(), change });
        }
        Ok(applied)
    }

    /// A kind that the cluster has, but in other versions: old ones are taken away with the years.
    async fn not_served(&self, identity: &Identity, resource: &ApiResource) -> Problem {
        let message = format!("the cluster does not serve {identity} in {}", resource.api_version);
        let versions: Vec<String> = match oneshot::group(&self.client, &resource.group).await {
            Ok(group) => group.versions().map(|version| format!("{}/{version}", resource.group)).collect(),
            Err(_) => Vec::new(),
        };
        let hint = match &versions[..] {
            [] => "correct its apiVersion, or have the owner of the cluster install what defines it".to_string(),
            versions => format!("set its apiVersion to one that the cluster has: {}", versions.join(", ")),
        };
        Problem::new(Code::ManifestInvalid, message).hint(hint)
    }

    /// What the records say was applied, as it can be applied again; the content of Secrets is in no record, so they stay as they are.
    pub(super) async fn recorded_others(&self, release: &Release) -> Result<Vec<Other>> {
        let values: Vec<Value> = release.others.iter().filter(|value| is_recorded(value)).cloned().collect();
        self.others(&values).await
    }

    /// Deletes what one release had and the next has not; what holds data is left, with a word.
    pub(super) async fn drop_outgrown(&self, before: &[Value], now: &[Value], application: &str, events: &Events) -> Result<()> {
        for other in self.others(&outgrown(before, now)).await? {
            let Some(live) = other.live.as_ref().filter(|live| is_ours(&live.metadata, application)) else { continue };
            if KEPT_KINDS.contains(&other.identity.kind.as_str()) {
                events.note(format!("{} is not in kubernetes.manifests any more; it is left, since it holds data", other.identity));
                continue;
            }
            let name = live.name_any();
            let api = self.of_kind(&other.resource);
            let action = ("delete", other.resource.plural.as_str(), name.as_str());
            match self.attempt(action, api.delete(&name, &DeleteParams::background())).await? {
                Err(error) if !problem::is_not_found(&error) => return Err(problem::problem(&error, self.action(action))),
                _ => events.emit(Event::Applied { kind: other.identity.kind.clone(), name, change: Change::Deleted }),
            }
        }
        Ok(())
    }

    /// Those of the release before, as they were then; what only the failed one had goes. What cannot be put back keeps no other from it.
    pub(super) async fn put_back_others(&self, change: &Running<'_>) -> Vec<Problem> {
        let mut problems = self.put_back_phase(change, Phase::Before).await;
        problems.extend(self.put_back_phase(change, Phase::After).await);
        problems.extend(self.drop_new_others(change).await.err());
        problems
    }

    /// Those of one phase alone.
    pub(super) async fn put_back_phase(&self, change: &Running<'_>, phase: Phase) -> Vec<Problem> {
        let Some(previous) = &change.previous else { return Vec::new() };
        let (held, mode, mut problems) = (change.held, Mode { force: true, ..Mode::default() }, Vec::new());
        for value in previous.others.iter().filter(|value| is_recorded(value) && phase.has(&Identity::of(value))) {
            let put = async {
                let others = self.others(std::slice::from_ref(value)).await?;
                self.apply_others(&others, phase, mode, held.lock, held.events).await
            };
            problems.extend(put.await.err());
        }
        problems
    }

    /// What the release brought that was not there before it goes.
    pub(super) async fn drop_new_others(&self, change: &Running<'_>) -> Result<()> {
        change.held.lock.hold().await?;
        let there = || change.others.iter().filter(|other| other.live.is_some()).map(|other| other.value.clone()).collect();
        let before: Vec<Value> = change.previous.as_ref().map_or_else(there, |previous| previous.others.clone());
        self.drop_outgrown(&change.release.others, &before, change.name, change.held.events).await
    }

    /// What a publish would change of them.
    pub(super) async fn other_differences(&self, values: &[Value], application: &str) -> Result<Vec<ObjectDiff>> {
        let mut differences = Vec::new();
        for other in self.others(values).await? {
            let other = Other { published_with: Some(application.to_string()), ..other };
            let mode = Mode { dry_run: true, force: true, ..Mode::default() };
            let live = other.live.as_ref();
            let shown = match (self.apply_other(&other, mode, &Events::none()).await, live) {
                (Ok(after), live) => shown(live, Some(&after))?,
                (Err(problem), None) if problem.code == Code::NamespaceMissing => shown(live, Some(&other.value))?,
                (Err(problem), _) => return Err(problem),
            };
            differences.push(shown.of(&other.identity.kind, &other.identity.name));
        }
        Ok(differences)
    }
}

/// The delivered Role knows the generated objects only.
fn needed(problem: Problem, resource: &ApiResource, identity: &Identity, namespace: &str) -> Problem {
    if problem.code != Code::ClusterForbidden {
        return problem;
    }
    let ApiResource { group, plural, .. } = resource;
    let name = if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") };
    problem.hint(format!(
        "kubernetes.manifests has {identity}: add get, create, patch and delete of {name} to the account's Role in namespace {namespace}"
    ))
}

//! Judges a rollout from what is observed of it: done, doomed, or going on. Pure: times are handed in, measured from the start of
//! the watch, so that clocks of other machines do not matter.

mod containers;
mod ends;
pub mod java;
mod pods;
mod probes;
mod pulls;
pub mod sets;
mod verdict;
mod waiting;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::{Event, Pod},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use super::{manifests::keys, problem::Code};
pub use pods::{WatchedPod, state};
pub use probes::probe_target;

/// How much of each trouble is borne before the rollout counts as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Ends of one container.
    pub restarts: i32,
    /// Failing pulls that are neither "not found" nor "denied".
    pub image_pull: Duration,
    /// Pulls that are denied.
    pub denied_pulls: u32,
    /// No node for a pod; longer when the cluster is growing.
    pub unschedulable: Duration,
    pub scale_up: Duration,
    /// Pods that cannot be created for an unknown reason.
    pub refused: Duration,
    /// The readiness window of the probe times this, but at least `readiness_least`.
    pub readiness: u32,
    pub readiness_least: Duration,
    /// An init container that does not end; None: as long as the whole rollout may take.
    pub init: Option<Duration>,
    /// The whole rollout.
    pub timeout: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            restarts: 2,
            image_pull: Duration::from_secs(60),
            denied_pulls: 2,
            unschedulable: Duration::from_secs(120),
            scale_up: Duration::from_secs(600),
            refused: Duration::from_secs(60),
            readiness: 3,
            readiness_least: Duration::from_secs(30),
            init: None,
            timeout: Duration::from_secs(600),
        }
    }
}

/// What the rollout has to reach.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expect {
    /// Generation of the Deployment that our patch made.
    pub generation: i64,
    /// A Service must have the pods as ready endpoints.
    pub service: bool,
    /// Container and image, as our patch left them; empty: whatever there is.
    pub images: Vec<(String, String)>,
    /// The controller's time limit had passed already for the rollout before: when it said so.
    pub overdue: Option<Time>,
}

impl Expect {
    /// What has to come of this Deployment, as the API server answered our patch.
    pub fn of(deployment: &Deployment, service: bool) -> Self {
        Expect {
            generation: deployment.metadata.generation.unwrap_or(0),
            service,
            images: images(deployment),
            overdue: sets::overdue(deployment).and_then(|over| over.last_update_time.clone()),
        }
    }
}

/// Something that is wrong: fatal (`doomed`), or not yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub code: Code,
    /// Lower case, no final period.
    pub message: String,
    /// A better next action than the code's own.
    pub hint: Option<String>,
    pub pod: Option<String>,
    pub container: Option<String>,
    pub doomed: bool,
    /// When it becomes fatal if nothing changes.
    pub until: Option<Duration>,
}

impl Finding {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Finding { code, message: message.into(), hint: None, pod: None, container: None, doomed: false, until: None }
    }

    fn doomed(mut self) -> Self {
        self.doomed = true;
        self
    }

    /// Fatal from this time on.
    fn doomed_at(mut self, deadline: Duration, now: Duration) -> Self {
        self.doomed = now >= deadline;
        self.until = (!self.doomed).then_some(deadline);
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Counts of the newest ReplicaSet against the Deployment's wish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    pub desired: i32,
    pub updated: i32,
    pub ready: i32,
    pub available: i32,
}

/// What is to be said and done now.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Done,
    Going,
    Doomed(Finding),
}

/// The verdict, what is still waited for (reads on after "waiting for"; empty when done), troubles that do not doom the rollout, and when to look again without news.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub waiting: String,
    pub warnings: Vec<Finding>,
    pub wake: Duration,
}

/// The newest state of everything that belongs to one rollout.
#[derive(Debug, Clone)]
pub struct Rollout {
    expect: Expect,
    budgets: Budgets,
    deployment: Option<Deployment>,
    /// It was there and is not any longer.
    deleted: bool,
    /// Since when the controller has been at our generation without a ReplicaSet for it.
    without_set: Option<Duration>,
    sets: BTreeMap<String, ReplicaSet>,
    /// Since when a ReplicaSet has been refused its pods.
    refused: BTreeMap<String, Duration>,
    pods: BTreeMap<String, WatchedPod>,
    slices: BTreeMap<String, EndpointSlice>,
    events: BTreeMap<String, Event>,
    /// When a pod was last seen on its way out.
    last_going: Option<Duration>,
    /// Pods whose events are read, when not those of all can be.
    followed: Option<Vec<String>>,
}

impl Rollout {
    pub fn new(expect: Expect, budgets: Budgets) -> Self {
        Rollout {
            expect,
            budgets,
            deployment: None,
            deleted: false,
            without_set: None,
            sets: BTreeMap::new(),
            refused: BTreeMap::new(),
            pods: BTreeMap::new(),
            slices: BTreeMap::new(),
            events: BTreeMap::new(),
            last_going: None,
            followed: None,
        }
    }

    /// None: it is gone. `at`: time since the watch began.
    pub fn see_deployment(&mut self, deployment: Option<Deployment>, at: Duration) {
        self.deleted = deployment.is_none() && (self.deleted || self.deployment.is_some());
        self.deployment = deployment;
        let without = self.current().is_some() && self.newest().is_none();
        self.without_set = without.then(|| self.without_set.unwrap_or(at));
    }

    /// The events of these pods (uids) are read, and of no others: there are too many in trouble.
    pub fn follows_only(&mut self, pods: Vec<String>) {
        self.followed = Some(pods);
    }

    /// The events of all pods in trouble are read.
    pub fn follows_all(&mut self) {
        self.followed = None;
    }

    pub fn see_set(&mut self, set: ReplicaSet, at: Duration) {
        if sets::failure(&set).is_some() {
            self.refused.entry(uid(&set.metadata)).or_insert(at);
        } else {
            self.refused.remove(&uid(&set.metadata));
        }
        self.sets.insert(uid(&set.metadata), set);
    }

    pub fn see_slice(&mut self, slice: EndpointSlice) {
        self.slices.insert(uid(&slice.metadata), slice);
    }

    pub fn see_event(&mut self, event: Event) {
        self.events.insert(uid(&event.metadata), event);
    }

    /// `at`: time since the watch began.
    pub fn see_pod(&mut self, pod: Pod, at: Duration) {
        if pod.metadata.deletion_timestamp.is_some() {
            self.last_going = Some(at);
        }
        self.pods.entry(uid(&pod.metadata)).or_insert_with(|| WatchedPod::new(at)).see(pod, at);
    }

    /// Whatever has this uid does not exist any longer; gives the name of the pod, if it was one.
    pub fn gone(&mut self, uid: &str) -> Option<String> {
        self.sets.remove(uid);
        self.slices.remove(uid);
        self.pods.remove(uid).map(|pod| pod.name().to_string())
    }

    /// Everything of these kinds that is not in `uids` is gone (after a watch was listed anew).
    pub fn keep_pods(&mut self, uids: &[String]) {
        self.pods.retain(|uid, _| uids.contains(uid));
    }

    pub fn keep_sets(&mut self, uids: &[String]) {
        self.sets.retain(|uid, _| uids.contains(uid));
    }

    pub fn keep_slices(&mut self, uids: &[String]) {
        self.slices.retain(|uid, _| uids.contains(uid));
    }

    pub fn deployment(&self) -> Option<&Deployment> {
        self.deployment.as_ref()
    }

    /// All pods, old and new.
    pub fn pods(&self) -> impl Iterator<Item = &WatchedPod> {
        self.pods.values()
    }

    /// The pods of the newest ReplicaSet.
    pub fn new_pods(&self) -> impl Iterator<Item = &WatchedPod> {
        let newest = self.newest().map(|set| uid(&set.metadata));
        self.pods.values().filter(move |pod| newest.is_some() && pod.owner() == newest.as_deref())
    }

    /// Whether a pod belongs to an earlier ReplicaSet.
    pub fn is_old(&self, pod: &Pod) -> bool {
        let owner = pods::owner(pod);
        self.newest().is_some_and(|set| owner != Some(uid(&set.metadata).as_str()))
    }

    /// Uids of the pods of the newest ReplicaSet whose events are worth reading: stuck, or longer not ready than most starts take.
    pub fn troubled(&self, at: Duration) -> Vec<String> {
        let troubled = |pod: &&WatchedPod| !pod.is_ready() && !pod.is_terminating() && pod.is_stuck(at);
        self.new_pods().filter(troubled).map(|pod| pod.uid().to_string()).collect()
    }

    /// The newest ReplicaSet: the one whose revision the Deployment has, once the controller has seen our generation.
    pub fn newest(&self) -> Option<&ReplicaSet> {
        let deployment = self.current()?;
        let revision = annotation(&deployment.metadata, keys::DEPLOYMENT_REVISION)?;
        let owner = uid(&deployment.metadata);
        self.sets
            .values()
            .find(|set| owned_by(&set.metadata, &owner) && annotation(&set.metadata, keys::DEPLOYMENT_REVISION) == Some(revision))
    }

    pub fn progress(&self) -> Progress {
        let status = self.newest().and_then(|set| set.status.as_ref());
        Progress {
            desired: self.desired(),
            updated: status.map_or(0, |status| status.replicas),
            ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
            available: status.and_then(|status| status.available_replicas).unwrap_or(0),
        }
    }

    /// Judges what was seen until now.
    pub fn judge(&self, at: Duration) -> Judgement {
        let findings = self.findings(at);
        // without news somebody has to look at the events of a pod that does not get on
        let stuck = self.new_pods().filter(|pod| !pod.is_ready() && !pod.is_terminating()).map(WatchedPod::stuck_from);
        let budgets = findings.iter().filter_map(|finding| finding.until);
        let wake = budgets.chain(stuck).chain([self.budgets.timeout]).filter(|wake| *wake > at).min();
        let waiting = self.waiting();
        let verdict = match (&waiting, self.fatal(&findings, at)) {
            // what is up need not be what we published
            (None, _) => self.overtaken().map_or(Verdict::Done, Verdict::Doomed),
            (Some(_), Some(finding)) => Verdict::Doomed(finding),
            (Some(_), None) => Verdict::Going,
        };
        let waiting = waiting.map(|waiting| self.waiting_for(waiting, findings.first())).unwrap_or_default();
        // a volume that cannot be mounted yet often cannot be mounted at all
        let warnings = findings.into_iter().filter(|finding| finding.doomed || finding.code == Code::VolumeMissing).collect();
        Judgement { verdict, waiting, warnings, wake: wake.unwrap_or(at + Duration::from_secs(1)) }
    }

    /// The Deployment, when its controller has acted upon our generation.
    fn current(&self) -> Option<&Deployment> {
        let deployment = self.deployment.as_ref()?;
        let generation = deployment.metadata.generation.unwrap_or(0);
        let observed = deployment.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
        (generation >= self.expect.generation && observed >= generation).then_some(deployment)
    }

    fn desired(&self) -> i32 {
        self.deployment.as_ref().and_then(|deployment| deployment.spec.as_ref()?.replicas).unwrap_or(1)
    }

    /// All troubles, the fatal ones first.
    fn findings(&self, at: Duration) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.overtaken().into_iter().collect();
        if let (Some(since), Some(deployment)) = (self.without_set, self.current()) {
            findings.extend(sets::no_set(deployment, since, &self.budgets, at));
        }
        if let Some(set) = self.newest() {
            let since = self.refused.get(&uid(&set.metadata)).copied().unwrap_or(at);
            findings.extend(sets::refused(set, self.quota_fatal_from(since), since, &self.budgets, at));
        }
        for pod in self.new_pods().filter(|pod| !pod.is_terminating() && !pod.was_displaced()) {
            let events = self.events_of(pod.uid());
            findings.extend(pods::finding(pod, &events, &self.budgets, at));
        }
        findings.extend(self.current().and_then(|deployment| sets::deadline(deployment, self.expect.overdue.as_ref())));
        findings.sort_by_key(|finding| !finding.doomed);
        findings
    }

    fn events_of(&self, uid: &str) -> Vec<&Event> {
        self.events.values().filter(|event| event.involved_object.uid.as_deref() == Some(uid)).collect()
    }
}

/// Containers of a Deployment with their images.
fn images(deployment: &Deployment) -> Vec<(String, String)> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.into_iter().flat_map(|pod| &pod.containers);
    containers.map(|container| (container.name.clone(), container.image.clone().unwrap_or_default())).collect()
}

/// The uid of an object; its name where a fixture has none.
pub fn uid(meta: &ObjectMeta) -> String {
    meta.uid.clone().or_else(|| meta.name.clone()).unwrap_or_default()
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

fn owned_by(meta: &ObjectMeta, owner: &str) -> bool {
    meta.owner_references.iter().flatten().any(|reference| reference.uid == owner)
}

#[cfg(test)]
mod tests;

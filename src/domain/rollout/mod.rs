//! Judges a rollout from what is observed of it: done, doomed, or going on. Pure: times are handed in, measured from the start of
//! the watch, so that clocks of other machines do not matter.

mod containers;
pub mod java;
mod pods;
mod probes;
pub mod sets;
mod waiting;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::{Event, Pod},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};

use super::{manifests::keys, problem::Code, units::format_duration};
pub use pods::{WatchedPod, state};

/// How much of each trouble is borne before the rollout counts as failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Budgets {
    /// Ends of one container.
    pub crashes: i32,
    /// Failing pulls that are neither "not found" nor "denied".
    pub pull: Duration,
    /// Pulls that are denied.
    pub denied_pulls: u32,
    /// No node for a pod; longer when the cluster is growing.
    pub unschedulable: Duration,
    pub scale_up: Duration,
    /// Pods that cannot be created for an unknown reason.
    pub refused: Duration,
    /// The readiness window of the probe times this, but at least `readiness_least`.
    pub readiness_factor: u32,
    pub readiness_least: Duration,
    /// The whole rollout.
    pub timeout: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            crashes: 2,
            pull: Duration::from_secs(60),
            denied_pulls: 2,
            unschedulable: Duration::from_secs(120),
            scale_up: Duration::from_secs(600),
            refused: Duration::from_secs(60),
            readiness_factor: 3,
            readiness_least: Duration::from_secs(30),
            timeout: Duration::from_secs(600),
        }
    }
}

/// What the rollout has to reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// Generation of the Deployment that our patch made.
    pub generation: i64,
    /// A Service must have the pods as ready endpoints.
    pub service: bool,
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
    sets: BTreeMap<String, ReplicaSet>,
    /// Since when a ReplicaSet has been refused its pods.
    refused: BTreeMap<String, Duration>,
    pods: BTreeMap<String, WatchedPod>,
    slices: BTreeMap<String, EndpointSlice>,
    events: BTreeMap<String, Event>,
}

impl Rollout {
    pub fn new(expect: Expect, budgets: Budgets) -> Self {
        Rollout {
            expect,
            budgets,
            deployment: None,
            sets: BTreeMap::new(),
            refused: BTreeMap::new(),
            pods: BTreeMap::new(),
            slices: BTreeMap::new(),
            events: BTreeMap::new(),
        }
    }

    /// None: it is gone.
    pub fn see_deployment(&mut self, deployment: Option<Deployment>) {
        self.deployment = deployment;
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

    /// Pods that should be gone by now: they do not keep a rollout from its end, but somebody has to look at them.
    pub fn stuck(&self, now: Timestamp) -> Vec<pods::Stuck> {
        self.pods.values().filter_map(|pod| pods::stuck(&pod.pod, now)).collect()
    }

    /// Pods of the newest ReplicaSet whose events are worth reading, with their uids: not ready for some seconds, or stuck.
    pub fn troubled(&self, at: Duration) -> Vec<(String, String)> {
        let troubled = |pod: &&WatchedPod| !pod.is_ready() && !pod.is_terminating() && pod.is_stuck(at);
        self.new_pods().filter(troubled).map(|pod| (pod.uid().to_string(), pod.name().to_string())).collect()
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
        let wake = findings.iter().filter_map(|finding| finding.until).chain([self.budgets.timeout]).filter(|wake| *wake > at).min();
        let waiting = self.waiting();
        let verdict = match (&waiting, self.fatal(&findings, at)) {
            (None, _) => Verdict::Done,
            (Some(_), Some(finding)) => Verdict::Doomed(finding),
            (Some(_), None) => Verdict::Going,
        };
        let waiting = waiting.map(|waiting| self.waiting_for(waiting, findings.first())).unwrap_or_default();
        let warnings = findings.into_iter().filter(|finding| finding.doomed).collect();
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
        let mut findings = Vec::new();
        if let Some(set) = self.newest() {
            let since = self.refused.get(&uid(&set.metadata)).copied().unwrap_or(at);
            findings.extend(sets::refused(set, self.can_free_quota(), since, &self.budgets, at));
        }
        for pod in self.new_pods().filter(|pod| !pod.is_terminating() && !pod.was_displaced()) {
            let events = self.events_of(pod.uid());
            findings.extend(pods::finding(pod, &events, &self.budgets, at));
        }
        findings.extend(self.current().and_then(sets::deadline));
        findings.sort_by_key(|finding| !finding.doomed);
        findings
    }

    fn events_of(&self, uid: &str) -> Vec<&Event> {
        self.events.values().filter(|event| event.involved_object.uid.as_deref() == Some(uid)).collect()
    }

    /// The trouble that ends the rollout: one of the whole ReplicaSet, or one that every new pod has, or the time limit.
    fn fatal(&self, findings: &[Finding], at: Duration) -> Option<Finding> {
        let doomed = || findings.iter().filter(|finding| finding.doomed);
        if let Some(whole) = doomed().find(|finding| finding.pod.is_none()) {
            // the controller's own deadline says less than what a pod says
            let pod = findings.iter().find(|finding| finding.pod.is_some()).filter(|_| whole.code == Code::DeadlineExceeded);
            return Some(if pod.is_some() { self.timed_out(findings, at) } else { whole.clone() });
        }
        let mut pods = self.new_pods().filter(|pod| !pod.is_terminating() && !pod.was_displaced()).peekable();
        let any = pods.peek().is_some();
        let all = pods.all(|pod| doomed().any(|finding| finding.pod.as_deref() == Some(pod.name())));
        if any && all {
            return doomed().next().cloned();
        }
        (at >= self.budgets.timeout).then(|| self.timed_out(findings, at))
    }

    /// What is known of a rollout that took too long: the trouble of a pod when there is one, whatever its budget.
    fn timed_out(&self, findings: &[Finding], at: Duration) -> Finding {
        let Progress { desired, available, .. } = self.progress();
        let limit = format_duration(Duration::from_secs(at.as_secs()));
        let stand = format!("{available} of {desired} new pods were available after {limit}");
        match findings.iter().find(|finding| finding.pod.is_some()) {
            Some(first) => Finding { message: format!("{}; {stand}", first.message), doomed: true, until: None, ..first.clone() },
            None => {
                let waiting = self.waiting().map(|waiting| self.waiting_for(waiting, findings.first())).unwrap_or_default();
                Finding::new(Code::DeadlineExceeded, format!("{stand}, waiting for {waiting}")).doomed()
            }
        }
    }

    /// Whether old pods will go by themselves and leave room in the quota.
    fn can_free_quota(&self) -> bool {
        let newest = self.newest().map(|set| uid(&set.metadata));
        let old = || self.pods.values().filter(|pod| pod.owner() != newest.as_deref());
        let unavailable = self.deployment.as_ref().map_or(0, sets::max_unavailable);
        let available = self.deployment.as_ref().and_then(|deployment| deployment.status.as_ref()?.available_replicas).unwrap_or(0);
        let terminating = self.pods.values().any(WatchedPod::is_terminating);
        let unhealthy = old().any(|pod| !pod.is_ready());
        terminating || unhealthy || (old().next().is_some() && available > self.desired() - unavailable)
    }
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

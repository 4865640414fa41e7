//! What one pod says: scheduling, volumes, its phase; its containers are judged next door.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodCondition};

use super::{Budgets, Finding, containers};
use crate::domain::problem::Code;

/// A pod that is not ready for so long has its events read; one whose volumes and network are not there after the second time, too.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// The readiness probe looks at once when the startup probe is content.
const READY_AFTER: Duration = Duration::from_secs(2);
/// A JVM takes its time.
const STARTED_AFTER: Duration = Duration::from_secs(20);
const UNPREPARED_AFTER: Duration = Duration::from_secs(1);
/// Reasons of a failed pod that are the node's, not the application's.
const DISPLACED: [&str; 13] = [
    "Evicted",
    "Preempting",
    "Preempted",
    "NodeShutdown",
    "Terminated",
    "NodeLost",
    "NodeAffinity",
    "UnexpectedAdmissionError",
    "TopologyAffinityError",
    // the scheduler and the kubelet counted differently
    "OutOfcpu",
    "OutOfmemory",
    "OutOfpods",
    "OutOfephemeral-storage",
];
/// The kubelet's words for a pod that it evicts for writing more than its own limits allow: no fault of the node.
const OWN_LIMIT: [&str; 3] = ["exceeds the limit", "exceeds the total limit of containers", "exceeded its local ephemeral storage limit"];
/// Events of autoscalers (the cluster's own, Karpenter) that make a node for the pod.
const GROWING: [&str; 2] = ["TriggeredScaleUp", "Nominated"];

/// A pod with what has to be remembered of its past.
#[derive(Debug, Clone)]
pub struct WatchedPod {
    pub pod: Pod,
    /// When it was first seen.
    pub since: Duration,
    pub(super) unschedulable_since: Option<Duration>,
    pub(super) containers: BTreeMap<String, containers::Past>,
}

impl WatchedPod {
    pub(super) fn new(at: Duration) -> Self {
        WatchedPod { pod: Pod::default(), since: at, unschedulable_since: None, containers: BTreeMap::new() }
    }

    pub(super) fn see(&mut self, pod: Pod, at: Duration) {
        let ready = is_ready(&pod);
        for status in statuses(&pod) {
            // a container that was up before we came may have restarted in its earlier life
            let past = self.containers.entry(status.name.clone()).or_insert_with(|| containers::Past::new(status, ready));
            past.see(containers::image(&pod, status), status, at);
        }
        self.unschedulable_since = unschedulable_condition(&pod).map(|_| self.unschedulable_since.unwrap_or(at));
        self.pod = pod;
    }

    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_else(|| self.name())
    }

    pub fn owner(&self) -> Option<&str> {
        owner(&self.pod)
    }

    pub fn is_ready(&self) -> bool {
        is_ready(&self.pod)
    }

    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// All of it has ended, for whatever reason, and its ReplicaSet makes another.
    pub(super) fn has_failed(&self) -> bool {
        self.pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed")
    }

    /// It failed for its node's sake, and is replaced by another.
    pub fn was_displaced(&self) -> bool {
        let reason = self.pod.status.as_ref().and_then(|status| status.reason.as_deref());
        if exceeded_limit(&self.pod).is_some() {
            return false;
        }
        // evicted, preempted or drained, whatever its containers made of it
        let disrupted = condition(&self.pod, "DisruptionTarget").is_some_and(|condition| condition.status == "True");
        disrupted || (self.has_failed() && reason.is_some_and(|reason| DISPLACED.contains(&reason)))
    }

    /// Its node does not answer: what the containers last said is old, and another pod will come for it.
    pub(super) fn is_lost(&self, events: &[&Event]) -> bool {
        !self.is_ready() && events.iter().any(|event| event.reason.as_deref() == Some("NodeNotReady"))
    }

    pub(super) fn is_stuck(&self, at: Duration) -> bool {
        at >= self.stuck_from()
    }

    /// From when on its events are worth reading, if it is not ready then.
    pub(super) fn stuck_from(&self) -> Duration {
        let mut reasons = statuses(&self.pod).filter_map(|status| containers::waiting(status));
        let unprepared = condition(&self.pod, "PodReadyToStartContainers").is_some_and(|condition| condition.status == "False");
        match reasons.any(|(reason, _)| !containers::is_beginning(reason)) {
            true => self.since,
            false if unprepared => self.since + UNPREPARED_AFTER,
            false if self.is_starting() => self.since + STARTED_AFTER,
            false => (self.since + STUCK_AFTER).max(self.started().map_or(Duration::ZERO, |at| at + READY_AFTER)),
        }
    }

    /// All containers run, for the first time, and a startup probe gives one of them its time: an application on its way up.
    fn is_starting(&self) -> bool {
        let all: Vec<&ContainerStatus> = statuses(&self.pod).filter(|status| !containers::is_init(&self.pod, &status.name)).collect();
        let starting = all.iter().any(|status| status.started == Some(false));
        starting && all.iter().all(|status| status.restart_count == 0 && is_running(status))
    }

    /// When the first of the containers that are up and not ready was so.
    fn started(&self) -> Option<Duration> {
        self.containers.values().filter_map(|past| past.unready_since).min()
    }
}

/// A word for where the pod is.
pub fn state(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    if pod.metadata.deletion_timestamp.is_some() {
        return "terminating".to_string();
    }
    if let Some((reason, _)) = statuses(pod).filter_map(containers::waiting).find(|(reason, _)| !containers::is_beginning(reason)) {
        return reason.to_string();
    }
    if let Some(init) = statuses(pod).find(|status| is_running(status) && containers::is_init(pod, &status.name)) {
        return format!("init container {} runs", init.name);
    }
    let restarts: i32 = statuses(pod).map(|status| status.restart_count).sum();
    let started = statuses(pod).all(|status| status.started != Some(false));
    match status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending") {
        "Pending" if unschedulable_condition(pod).is_some() => "unschedulable".to_string(),
        "Pending" if statuses(pod).next().is_some() => "creating".to_string(),
        "Pending" => "pending".to_string(),
        "Running" if is_ready(pod) => "ready".to_string(),
        "Running" if restarts > 0 => format!("running, restarted {restarts}×"),
        "Running" if !started => "starting".to_string(),
        "Running" => "running".to_string(),
        phase => status.and_then(|status| status.reason.clone()).unwrap_or_else(|| phase.to_lowercase()),
    }
}

/// The worst trouble of this pod.
pub(super) fn finding(pod: &WatchedPod, events: &[&Event], budgets: &Budgets, at: Duration) -> Option<Finding> {
    if pod.is_lost(events) {
        let node = pod.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("of no name");
        let message = format!("node {node} of pod {} does not answer; the cluster moves the pod in its time", pod.name());
        return Some(Finding { pod: Some(pod.name().to_string()), ..Finding::new(Code::PodFailed, message) });
    }
    let own = [failed(pod), unschedulable(pod, events, budgets, at), gated(pod), volume(pod, events)];
    let inside = statuses(&pod.pod).filter_map(|status| containers::finding(pod, status, events, budgets, at));
    let mut findings: Vec<Finding> = own.into_iter().flatten().chain(inside).collect();
    findings.sort_by_key(|finding| !finding.doomed);
    let worst = findings.into_iter().next()?;
    Some(Finding { pod: Some(pod.name().to_string()), ..worst })
}

/// Statuses of init containers first, as they run first.
pub(super) fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    init.chain(status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten())
}

pub(super) fn owner(pod: &Pod) -> Option<&str> {
    pod.metadata.owner_references.iter().flatten().find(|reference| reference.kind == "ReplicaSet").map(|reference| reference.uid.as_str())
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

fn unschedulable_condition(pod: &Pod) -> Option<&PodCondition> {
    condition(pod, "PodScheduled").filter(|condition| condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable"))
}

/// Why the kubelet evicted the pod, when that was for what the pod itself wrote.
fn exceeded_limit(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Failed"))?;
    let message = status.message.as_deref().filter(|_| status.reason.as_deref() == Some("Evicted"))?;
    OWN_LIMIT.iter().any(|words| message.contains(words)).then_some(message)
}

/// It failed as a whole: its ReplicaSet makes another, so that its number counts, and not that no pod is left.
fn failed(pod: &WatchedPod) -> Option<Finding> {
    let status = pod.pod.status.as_ref()?;
    if !pod.has_failed() || pod.was_displaced() {
        return None;
    }
    if let Some(why) = exceeded_limit(&pod.pod) {
        let message = format!("pod {} was evicted for what it wrote: {}", pod.name(), containers::short(why));
        let hint = "let the application write less, or raise the limit that the sentence names (ephemeral-storage in kubernetes.resources.limits, or the volume's sizeLimit)";
        return Some(Finding::new(Code::PodFailed, message).hint(hint).doomed());
    }
    let words = [status.reason.as_deref(), status.message.as_deref()];
    let why = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
    let why = if why.is_empty() { "no reason was given".to_string() } else { why };
    Some(Finding::new(Code::PodFailed, format!("pod {} failed: {why}", pod.name())).doomed())
}

fn unschedulable(pod: &WatchedPod, events: &[&Event], budgets: &Budgets, at: Duration) -> Option<Finding> {
    let condition = unschedulable_condition(&pod.pod)?;
    let sentence = condition.message.as_deref().unwrap_or("the scheduler gives no reason").trim_end_matches('.');
    if let Some(object) = missing_object(sentence) {
        let message = format!("pod {} cannot be scheduled: {object} does not exist", pod.name());
        return Some(Finding::new(Code::VolumeMissing, message).hint(format!("create {object}")).doomed());
    }
    let growing = events.iter().any(|event| event.reason.as_deref().is_some_and(|reason| GROWING.contains(&reason)));
    let grace = if growing { budgets.scale_up } else { budgets.unschedulable };
    let since = pod.unschedulable_since.unwrap_or(at);
    Some(Finding::new(Code::Unschedulable, format!("no node can take pod {}: {sentence}", pod.name())).doomed_at(since + grace, at))
}

/// Something holds the pod back on purpose, and lets it go when it likes.
fn gated(pod: &WatchedPod) -> Option<Finding> {
    let gates = pod.pod.spec.as_ref()?.scheduling_gates.as_ref()?;
    let held = condition(&pod.pod, "PodScheduled").filter(|condition| condition.reason.as_deref() == Some("SchedulingGated"))?;
    let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
    let (name, names) = (pod.name(), names.join(", "));
    let finding = Finding::new(Code::Unschedulable, format!("pod {name} is held back by its scheduling gates: {names}"));
    (held.status == "False").then(|| finding.hint("ask the owner of those gates; the scheduler does not look at the pod before"))
}

/// How the attach controller begins when another node has the volume (`reportMultiAttachError` in its reconciler).
const ELSEWHERE: &str = "Multi-Attach error";
/// The way out of a volume for one node, whose old pod is kept until the new one is up.
const NOT_SHARED: &str = "another node has the volume, and it is for one node at a time: stop the old pod first (kubernetes.rolling.max_surge 0, \
     kubernetes.rolling.max_unavailable 1), or take a volume that is ReadWriteMany";

fn volume(pod: &WatchedPod, events: &[&Event]) -> Option<Finding> {
    let running = pod.pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let mounts = |event: &&&Event| matches!(event.reason.as_deref(), Some("FailedMount" | "FailedAttachVolume"));
    let fatal = |event: &Event| event.message.as_deref().is_some_and(|text| missing_object(text).or_else(|| missing_key(text)).is_some());
    // events have whole seconds: of two in the same one, that which says more counts
    let order = |event: &&&Event| (event.last_timestamp.as_ref().map(|time| time.0), fatal(event));
    let event = events.iter().filter(mounts).max_by_key(order).filter(|_| !running)?;
    let sentence = event.message.as_deref().unwrap_or_default();
    let cannot = format!("pod {} cannot mount a volume", pod.name());
    Some(match (missing_object(sentence), missing_key(sentence)) {
        (Some(object), _) => {
            Finding::new(Code::VolumeMissing, format!("{cannot}: {object} does not exist")).hint(format!("create {object}")).doomed()
        }
        (None, Some(key)) => Finding::new(Code::VolumeMissing, format!("{cannot}: {key}"))
            .hint("add that key to the object, or correct the volume that names it")
            .doomed(),
        (None, None) => Finding::new(Code::VolumeMissing, format!("{cannot}: {}", containers::short(sentence))).hint(
            match sentence.starts_with(ELSEWHERE) {
                true => NOT_SHARED,
                false => "the node tries again; if it goes on, look at the storage that the sentence names",
            },
        ),
    })
}

/// The key in `MountVolume.SetUp failed for volume "c" : references non-existent config key: x`.
fn missing_key(sentence: &str) -> Option<String> {
    let (_, rest) = sentence.split_once("references non-existent ")?;
    let (kind, key) = rest.split_once(" key: ")?;
    let kind = if kind == "secret" { "Secret" } else { "ConfigMap" };
    Some(format!("its {kind} has no key {}", key.trim()))
}

/// The object in `… secret "x" not found`: its kind and name, as a phrase.
pub(super) fn missing_object(sentence: &str) -> Option<String> {
    let (before, _) = sentence.split_once("\" not found")?;
    let (words, name) = before.rsplit_once('"')?;
    let kind = match words.trim_end().rsplit(|c: char| !c.is_ascii_alphabetic()).next()? {
        "secret" | "secrets" => "the Secret",
        "configmap" | "configmaps" => "the ConfigMap",
        "persistentvolumeclaim" | "persistentvolumeclaims" => "the PersistentVolumeClaim",
        "serviceaccount" | "serviceaccounts" => "the ServiceAccount",
        _ => return None,
    };
    Some(format!("{kind} {name}"))
}

//! What a rollout still waits for, in words that read on after "waiting for".

use super::{Finding, Progress, Rollout, owned_by, pods::WatchedPod, probes, sets, state, uid};

/// How a phrase begins that a pod can say more about.
const NEW_PODS: &str = "new pods: ";

impl Rollout {
    /// `missing` with what is known of its cause: the worst trouble, else what the first pod that is not ready says.
    pub(super) fn waiting_for(&self, missing: String, worst: Option<&Finding>) -> String {
        match worst {
            Some(Finding { pod: Some(pod), message, .. }) => {
                // the pod is named once
                let message = message.replace(&format!(" of pod {pod}"), "").replace(&format!("pod {pod}"), "it");
                format!("pod {pod} to get ready: {message}")
            }
            Some(finding) => format!("{missing}; {}", finding.message),
            None if missing.starts_with(NEW_PODS) => self.unready().unwrap_or(missing),
            None => missing,
        }
    }

    /// The pods that are not ready, and what the probes of the first one answered.
    fn unready(&self) -> Option<String> {
        let told = |pod: &WatchedPod| probes::answer(&pod.pod, &self.events_of(pod.uid()), None, "probe");
        let unready: Vec<&WatchedPod> =
            self.new_pods().filter(|pod| !pod.is_ready() && !pod.is_terminating() && !pod.was_displaced()).collect();
        let first = unready.iter().find(|pod| told(pod).is_some()).or(unready.first())?;
        let others = match unready.len() - 1 {
            0 => String::new(),
            1 => " and 1 other".to_string(),
            count => format!(" and {count} others"),
        };
        let why = told(first).unwrap_or_else(|| state(&first.pod));
        Some(format!("pod {}{others} to get ready: {why}", first.name()))
    }

    /// What is missing for "done"; None when nothing is.
    pub(super) fn waiting(&self) -> Option<String> {
        let Some(set) = self.newest() else {
            if self.deployment.as_ref().and_then(|deployment| deployment.spec.as_ref()?.paused).unwrap_or(false) {
                return Some("the deployment to be resumed: somebody has paused it (kubectl rollout resume)".to_string());
            }
            return Some("the deployment controller to make the new ReplicaSet".to_string());
        };
        if !sets::is_current(set) {
            return Some("the ReplicaSet controller to count the new pods".to_string());
        }
        let Progress { desired, updated, ready, available } = self.progress();
        if set.spec.as_ref().and_then(|spec| spec.replicas) != Some(desired) || updated != desired {
            return Some(format!("{NEW_PODS}{updated} of {desired} are made"));
        }
        if ready != desired {
            return Some(format!("{NEW_PODS}{ready} of {desired} are ready"));
        }
        if available != desired {
            return Some(format!("new pods: {available} of {desired} have been ready for min_ready_seconds"));
        }
        let old = self.old_pods();
        if old > 0 {
            return Some(format!("{old} old pods to be stopped"));
        }
        let endpoints = self.ready_endpoints();
        let short = self.expect.service && endpoints < usize::try_from(desired).unwrap_or(0);
        short.then(|| format!("the service: {endpoints} of {desired} endpoints are ready"))
    }

    /// Pods of earlier ReplicaSets that have not been told to go. Each says so itself, before its ReplicaSet and then the Deployment count it
    /// out; where none is in sight, what the ReplicaSet counts holds.
    fn old_pods(&self) -> i32 {
        let owner = self.deployment.as_ref().map(|deployment| uid(&deployment.metadata)).unwrap_or_default();
        let newest = self.newest().map(|set| uid(&set.metadata));
        let old = self.sets.iter().filter(|(id, set)| newest.as_ref() != Some(*id) && owned_by(&set.metadata, &owner));
        let counts = old.map(|(id, set)| {
            let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
            let pods: Vec<&WatchedPod> = self.pods.values().filter(|pod| pod.owner() == Some(id.as_str())).collect();
            let staying = match pods.is_empty() {
                true => set.status.as_ref().map_or(0, |status| status.replicas),
                false => pods.iter().filter(|pod| !pod.is_terminating() && !pod.has_failed()).count().try_into().unwrap_or(i32::MAX),
            };
            wanted.max(staying)
        });
        counts.sum()
    }

    /// New pods that the Service sends requests to.
    fn ready_endpoints(&self) -> usize {
        let endpoints = self.slices.values().filter_map(|slice| slice.endpoints.as_ref()).flatten();
        let ready = endpoints.filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
        let targets: Vec<&str> = ready.filter_map(|endpoint| endpoint.target_ref.as_ref()?.uid.as_deref()).collect();
        self.new_pods().filter(|pod| targets.contains(&pod.uid())).count()
    }
}

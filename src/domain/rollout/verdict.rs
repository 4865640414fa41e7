//! What ends a rollout: a trouble of the whole, the same fate of all new pods, somebody else's change, the time limit.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;

use super::{Finding, Progress, Rollout, images, pods::WatchedPod, sets, state, uid};
use crate::domain::{problem::Code, units::format_duration};

/// Least time in which the ReplicaSet controller tries again to make pods that a quota refused.
const RETRY: Duration = Duration::from_secs(10);

/// For a rollout that went on to the end of its time.
const SLOW: &str = "no pod is in trouble: give it more time (kubernetes.rolling.timeout), or let more pods start at once \
     (kubernetes.rolling.max_surge)";

impl Rollout {
    /// The trouble that ends the rollout: one of the whole ReplicaSet, or one that every new pod has, or the time limit.
    pub(super) fn fatal(&self, findings: &[Finding], at: Duration) -> Option<Finding> {
        let doomed = || findings.iter().filter(|finding| finding.doomed);
        if let Some(whole) = doomed().find(|finding| finding.pod.is_none()) {
            // the controller's own deadline says less than what a pod says
            let pod = findings.iter().find(|finding| finding.pod.is_some()).filter(|_| whole.code == Code::DeadlineExceeded);
            return Some(if pod.is_some() { self.timed_out(findings, at) } else { whole.clone() });
        }
        // a pod that failed as a whole is replaced at once: of those it is the number that tells
        let failed: Vec<&Finding> = doomed().filter(|finding| finding.code == Code::PodFailed).collect();
        let too_many = failed.len() >= usize::try_from(self.budgets.restarts).unwrap_or(0).max(1);
        if let Some(first) = failed.first().filter(|_| too_many && !self.new_pods().any(WatchedPod::is_ready)) {
            return Some((*first).clone());
        }
        let counts = |pod: &&WatchedPod| !pod.is_terminating() && !pod.was_displaced() && !pod.has_failed();
        let mut pods = self.new_pods().filter(counts).peekable();
        let any = pods.peek().is_some();
        let is_doomed = |pod: &WatchedPod| doomed().any(|finding| finding.pod.as_deref() == Some(pod.name()));
        let fates: Vec<String> = self.new_pods().filter(|pod| is_doomed(pod)).map(|pod| state(&pod.pod)).collect();
        if any && doomed().next().is_some() && pods.all(|pod| is_doomed(pod) || self.shares_fate(pod, &fates, at)) {
            return doomed().next().cloned();
        }
        (at >= self.budgets.timeout).then(|| self.timed_out(findings, at))
    }

    /// Whether a pod in trouble, whose events are not read, has to be taken for one like those whose events are: it is where they are.
    fn shares_fate(&self, pod: &WatchedPod, fates: &[String], at: Duration) -> bool {
        let unread = self.followed.as_ref().is_some_and(|followed| !followed.iter().any(|uid| uid == pod.uid()));
        unread && !pod.is_ready() && pod.is_stuck(at) && fates.contains(&state(&pod.pod))
    }

    /// Somebody else deleted the Deployment, or gave its containers other images, while we watch.
    pub(super) fn overtaken(&self) -> Option<Finding> {
        let hint = "find out who did it; what they made of it is left as it is";
        let finding = |message: String| Some(Finding::new(Code::ReleaseStateUnknown, message).hint(hint).doomed());
        if self.deleted {
            return finding("the deployment was deleted while it was rolled out".to_string());
        }
        let deployment = self.deployment.as_ref()?;
        let newer = deployment.metadata.generation.unwrap_or(0) > self.expect.generation;
        let now = images(deployment);
        let other = now.iter().find(|image| !self.expect.images.contains(image)).filter(|_| newer && !self.expect.images.is_empty())?;
        let (who, (container, image)) = (last_writer(deployment), other);
        finding(format!("the deployment was changed{who} while it was rolled out: container {container} is to run {image} now"))
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
                let finding = Finding::new(Code::DeadlineExceeded, format!("{stand}, waiting for {waiting}")).doomed();
                if available > 0 && available < desired { finding.hint(SLOW) } else { finding }
            }
        }
    }

    /// From when on a quota that is full counts as fatal; `since`: since when pods are refused.
    pub(super) fn quota_fatal_from(&self, since: Duration) -> Duration {
        if self.can_free_quota() {
            return self.budgets.timeout;
        }
        // the controller's pauses between its attempts double, so that the next comes when as much time has passed again
        let patience = |going: Duration| going + going.saturating_sub(since).max(RETRY);
        self.last_going.map_or(Duration::ZERO, patience)
    }

    /// Whether old pods will go by themselves and leave room in the quota.
    fn can_free_quota(&self) -> bool {
        let newest = self.newest().map(|set| uid(&set.metadata));
        let old = || self.pods.values().filter(|pod| pod.owner() != newest.as_deref());
        let unavailable = self.deployment.as_ref().map_or(0, sets::max_unavailable);
        let available = self.deployment.as_ref().and_then(|deployment| deployment.status.as_ref()?.available_replicas).unwrap_or(0);
        let terminating = self.pods.values().any(WatchedPod::is_terminating);
        let unhealthy = old().any(|pod| !pod.is_ready());
        // a new pod that gets ready lets an old one go
        let coming = self.new_pods().any(|pod| !pod.is_ready());
        terminating || unhealthy || (old().next().is_some() && (coming || available > self.desired() - unavailable))
    }
}

/// ` by NAME`: the field manager that wrote last, other than the controllers' status.
fn last_writer(deployment: &Deployment) -> String {
    let entries = deployment.metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let last = entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0)).and_then(|entry| entry.manager.as_deref());
    last.map(|manager| format!(" by {manager}")).unwrap_or_default()
}

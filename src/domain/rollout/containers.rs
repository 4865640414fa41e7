//! What the containers of a pod say: their configuration, init containers that do not end; images, ends and probes have their own files.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Event, Pod};

use super::{
    Budgets, Finding, ends,
    pods::{self, WatchedPod},
    probes,
    pulls::{self, Pulls},
};
use crate::domain::{problem::Code, units::format_duration};

/// What has to be remembered of a container.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// Restarts before this rollout.
    baseline: i32,
    pulls: Pulls,
    /// Restarts at the last sight: a new life has new times.
    restarts: i32,
    /// Since when it has run, in this life.
    running_since: Option<Duration>,
    /// Since when it has been started (its startup probe succeeded) and not ready, in this life.
    pub(super) unready_since: Option<Duration>,
}

impl Past {
    pub fn new(status: &ContainerStatus, ready: bool) -> Self {
        Past { baseline: if ready { status.restart_count } else { 0 }, ..Past::default() }
    }

    pub fn see(&mut self, image: &str, status: &ContainerStatus, at: Duration) {
        if self.restarts != status.restart_count {
            (self.restarts, self.running_since, self.unready_since) = (status.restart_count, None, None);
        }
        let running = status.state.as_ref().is_some_and(|state| state.running.is_some());
        self.running_since = running.then(|| self.running_since.unwrap_or(at));
        let unready = status.started == Some(true) && !status.ready;
        self.unready_since = unready.then(|| self.unready_since.unwrap_or(at));
        self.pulls.see(image, status, at);
    }
}

/// The worst trouble of this container.
pub(super) fn finding(pod: &WatchedPod, status: &ContainerStatus, events: &[&Event], budgets: &Budgets, at: Duration) -> Option<Finding> {
    let past = pod.containers.get(&status.name)?;
    let image = image(&pod.pod, status);
    let found = pulls::finding(pod.name(), image, status, &past.pulls, budgets, at)
        .or_else(|| configuration(pod, status))
        .or_else(|| ends::finding(pod, status, past.baseline, events, budgets))
        .or_else(|| endless(pod, status, past.running_since?, budgets, at))
        .or_else(|| probes::never_ready(pod, status, past.unready_since?, events, budgets, at))?;
    Some(Finding { container: Some(status.name.clone()), ..found })
}

/// Reason and message of a waiting container.
pub(super) fn waiting(status: &ContainerStatus) -> Option<(&str, &str)> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.as_deref()?, waiting.message.as_deref().unwrap_or_default()))
}

/// Waiting reasons that every container goes through.
pub(super) fn is_beginning(reason: &str) -> bool {
    matches!(reason, "ContainerCreating" | "PodInitializing")
}

pub(super) fn contains_any(text: &str, parts: &[&str]) -> bool {
    let text = text.to_lowercase();
    parts.iter().any(|part| text.contains(part))
}

/// The image that the pod names for a container; its status may name another spelling of it.
pub(super) fn image<'a>(pod: &'a Pod, status: &'a ContainerStatus) -> &'a str {
    container(pod, &status.name).and_then(|container| container.image.as_deref()).unwrap_or(&status.image)
}

pub(super) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|container| container.name == name)
}

/// Whether the others wait for this container's end (a sidecar among the init containers is not waited for).
pub(super) fn is_init(pod: &Pod, name: &str) -> bool {
    let init = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    init.into_iter().flatten().any(|container| container.name == name && container.restart_policy.as_deref() != Some("Always"))
}

fn configuration(pod: &WatchedPod, status: &ContainerStatus) -> Option<Finding> {
    let (reason, message) = waiting(status)?;
    let telling = matches!(
        reason,
        "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError"
    );
    if !telling {
        return None;
    }
    let who = format!("container {} of pod {}", status.name, pod.name());
    if let Some(finding) = ends::no_program(&who, message) {
        return Some(finding);
    }
    // the kubelet's cache comes by itself, and 128 is what a runtime gives in passing, too: the budget of restarts covers it
    let passing = message.contains("failed to sync") || ends::last_end(status).is_some_and(|end| end.exit_code == 128);
    if passing {
        return None;
    }
    let finding = Finding::new(Code::ContainerConfig, format!("{who} cannot be created: {}", short(message)));
    Some(Finding { hint: configuration_hint(message), ..finding }.doomed())
}

fn configuration_hint(message: &str) -> Option<String> {
    let missing = || pods::missing_object(message).map(|object| format!("create {object}, or correct kubernetes.secrets"));
    let hint = if message.contains("couldn't find key") {
        "add the key that the message names, or correct kubernetes.secrets"
    } else if message.contains("runAsNonRoot") {
        "let the image run as a user by number (USER 10001), or set kubernetes.security: off"
    } else {
        return missing();
    };
    Some(hint.to_string())
}

/// An init container that runs; fatal only with a budget of its own, else it is what the whole time limit names.
fn endless(pod: &WatchedPod, status: &ContainerStatus, since: Duration, budgets: &Budgets, at: Duration) -> Option<Finding> {
    if !is_init(&pod.pod, &status.name) {
        return None;
    }
    let waited = format_duration(Duration::from_secs(at.saturating_sub(since).as_secs()));
    let message = format!("init container {} of pod {} has not ended after {waited}, and the others wait for it", status.name, pod.name());
    let finding = Finding::new(Code::InitStuck, message);
    Some(match budgets.init {
        Some(limit) => finding.doomed_at(since + limit, at),
        None => finding,
    })
}

/// One line, at most 400 characters.
pub(super) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches('.');
    match line.char_indices().nth(400) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_string(),
    }
}

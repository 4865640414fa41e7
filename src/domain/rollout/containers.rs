//! What the containers of a pod say: images, configuration, ends, memory, probes.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Event, Pod};

use super::{Budgets, Finding, java, pods::WatchedPod, probes};
use crate::domain::problem::Code;

/// What has to be remembered of a container.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// Restarts before this rollout.
    baseline: i32,
    /// Since when its image cannot be pulled, how often that was denied, and the kubelet's last telling sentence.
    pull_since: Option<Duration>,
    denied: u32,
    pull_message: String,
    pulling_failed: bool,
    /// When its startup probe succeeded (or it started, without one), in this life.
    started_at: Option<Duration>,
}

impl Past {
    pub fn new(status: &ContainerStatus, ready: bool) -> Self {
        Past { baseline: if ready { status.restart_count } else { 0 }, ..Past::default() }
    }

    pub fn see(&mut self, status: &ContainerStatus, at: Duration) {
        self.started_at = (status.started == Some(true)).then(|| self.started_at.unwrap_or(at));
        let Some((reason, message)) = waiting(status).filter(|(reason, _)| is_pull(reason)) else {
            if status.state.as_ref().is_some_and(|state| state.running.is_some()) {
                self.pull_since = None;
            }
            self.pulling_failed = false;
            return;
        };
        self.pull_since.get_or_insert(at);
        if !is_back_off(reason) || self.pull_message.is_empty() {
            self.pull_message = message.to_string();
        }
        let failed = !is_back_off(reason);
        // the first failure may have turned into its back-off before it was seen
        let first = self.denied == 0;
        if ((failed && !self.pulling_failed) || first) && is_denied(message) {
            self.denied += 1;
        }
        self.pulling_failed = failed;
    }
}

/// The worst trouble of this container.
pub(super) fn finding(pod: &WatchedPod, status: &ContainerStatus, events: &[&Event], budgets: &Budgets, at: Duration) -> Option<Finding> {
    let past = pod.containers.get(&status.name)?;
    let found = pull(pod, status, past, budgets, at)
        .or_else(|| configuration(pod, status))
        .or_else(|| ends(pod, status, past, events, budgets))
        .or_else(|| probes::never_ready(pod, status, past.started_at, events, budgets, at))?;
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

fn is_pull(reason: &str) -> bool {
    matches!(
        reason,
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" | "RegistryUnavailable"
    )
}

fn is_back_off(reason: &str) -> bool {
    reason == "ImagePullBackOff"
}

pub(super) fn contains_any(text: &str, parts: &[&str]) -> bool {
    let text = text.to_lowercase();
    parts.iter().any(|part| text.contains(part))
}

fn is_denied(message: &str) -> bool {
    contains_any(
        message,
        &[
            "401",
            "403 forbidden",
            "unauthorized",
            "denied",
            "failed to authorize",
            "authorization failed",
            "authentication required",
            "no basic auth",
            "insufficient_scope",
        ],
    )
}

fn is_absent(message: &str) -> bool {
    contains_any(message, &["not found", "manifest unknown", "name unknown", "does not exist", "manifest_unknown", "name_unknown"])
}

fn pull(pod: &WatchedPod, status: &ContainerStatus, past: &Past, budgets: &Budgets, at: Duration) -> Option<Finding> {
    let (reason, _) = waiting(status).filter(|(reason, _)| is_pull(reason))?;
    let image = container(&pod.pod, &status.name).and_then(|container| container.image.as_deref()).unwrap_or(&status.image);
    let why = short(pull_cause(&past.pull_message, image));
    let name = pod.name();
    let since = past.pull_since.unwrap_or(at);
    Some(match reason {
        "InvalidImageName" => Finding::new(Code::ImageNotFound, format!("{image} is no valid image name: {why}")).doomed(),
        "ErrImageNeverPull" => {
            Finding::new(Code::ImageNotFound, format!("{image} is not on the node of pod {name}, and must not be pulled")).doomed()
        }
        _ if is_denied(&past.pull_message) => {
            let finding = Finding::new(Code::ImagePullDenied, format!("the registry does not let the node pull {image}: {why}"));
            if past.denied >= budgets.denied_pulls { finding.doomed() } else { finding.doomed_at(since + budgets.pull, at) }
        }
        _ if is_absent(&past.pull_message) => {
            Finding::new(Code::ImageNotFound, format!("the node cannot find image {image}: {why}")).doomed()
        }
        _ => Finding::new(Code::ImagePullFailed, format!("the node cannot pull {image}: {why}")).doomed_at(since + budgets.pull, at),
    })
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
    // the kubelet's cache comes by itself, and 128 is what a runtime gives in passing, too: the crash budget covers it
    let passing = message.contains("failed to sync") || last_end(status).is_some_and(|end| end.exit_code == 128);
    if !telling || passing {
        return None;
    }
    let finding = Finding::new(
        Code::ContainerConfig,
        format!("container {} of pod {} cannot be created: {}", status.name, pod.name(), short(message)),
    );
    let missing = super::pods::missing_object(message).map(|object| format!("create {object}, or correct kubernetes.secrets"));
    let key =
        message.contains("couldn't find key").then(|| "add the key that the message names, or correct kubernetes.secrets".to_string());
    Some(Finding { hint: missing.or(key), ..finding }.doomed())
}

/// The last end of the container, whether it waits for its next start or not.
fn last_end(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    now.or_else(|| status.last_state.as_ref().and_then(|state| state.terminated.as_ref()))
}

fn ends(pod: &WatchedPod, status: &ContainerStatus, past: &Past, events: &[&Event], budgets: &Budgets) -> Option<Finding> {
    let restarts = status.restart_count - past.baseline;
    let down = waiting(status).is_some_and(|(reason, _)| reason == "CrashLoopBackOff")
        || status.state.as_ref().is_some_and(|state| state.terminated.as_ref().is_some_and(|end| end.exit_code != 0));
    let count = restarts + i32::from(down);
    let end = last_end(status).filter(|_| count > 0)?;
    let finding = classify(pod, status, end, events, count);
    Some(if finding.doomed || count >= budgets.crashes { finding.doomed() } else { finding })
}

fn classify(pod: &WatchedPod, status: &ContainerStatus, end: &ContainerStateTerminated, events: &[&Event], count: i32) -> Finding {
    let (container_name, pod_name, times) = (&status.name, pod.name(), times(count));
    let reason = end.reason.as_deref().unwrap_or_default();
    let spec = container(&pod.pod, container_name);
    if reason == "OOMKilled" {
        let limit = spec.and_then(memory_limit);
        let most = limit.as_ref().map(|limit| format!(" of {limit}")).unwrap_or_default();
        let message = format!("container {container_name} of pod {pod_name} was killed {times}for using more memory than its limit{most}");
        let hint = spec.map(|spec| java::memory_hint(limit.as_deref(), &java::options(spec)));
        return Finding { hint, ..Finding::new(Code::OomKilled, message) };
    }
    if let Some(finding) = probes::kill(&format!("container {container_name} of pod {pod_name} was ended {times}"), spec, events) {
        return finding;
    }
    if matches!(reason, "StartError" | "ContainerCannotRun" | "ContainerStatusUnknown") {
        let why = short(end.message.as_deref().unwrap_or("the runtime gives no reason"));
        return Finding::new(Code::ContainerConfig, format!("container {container_name} of pod {pod_name} cannot start: {why}"));
    }
    let said = end.message.as_deref().map(|message| format!(": {}", short(message))).unwrap_or_default();
    let message = format!("container {container_name} of pod {pod_name} ended {times}with exit code {}{said}", end.exit_code);
    let finding = Finding::new(Code::CrashLoop, message);
    if end.exit_code == 0 { finding.hint("a service must not end by itself: check the main class and kubernetes.args") } else { finding }
}

pub(super) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|container| container.name == name)
}

fn memory_limit(container: &Container) -> Option<String> {
    container.resources.as_ref()?.limits.as_ref()?.get("memory").map(|quantity| quantity.0.clone())
}

fn times(count: i32) -> String {
    match count {
        1 => String::new(),
        2 => "twice ".to_string(),
        count => format!("{count} times "),
    }
}

/// The innermost part of containerd's `failed to pull and unpack image "…": failed to resolve reference "…": …`.
fn pull_cause<'a>(message: &'a str, image: &str) -> &'a str {
    let inner = message.rsplit("\": ").next().filter(|inner| inner.len() > 8).unwrap_or(message);
    inner.strip_prefix(image).map_or(inner, |rest| rest.trim_start_matches([':', ' ']))
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

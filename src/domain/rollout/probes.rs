//! What the probes of a container say, and how long each may take.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Event, Probe};

use super::{
    Budgets, Finding,
    containers::{container, contains_any, short},
    pods::WatchedPod,
};
use crate::domain::{problem::Code, units::format_duration};

/// A startup probe that bears failures for so long was all the grace the application gets.
const LONG_START: Duration = Duration::from_secs(60);

/// A container that a probe ended; `ended`: the sentence's beginning. Fatal by itself after a startup probe with a long window.
pub(super) fn kill(ended: &str, spec: Option<&Container>, events: &[&Event]) -> Option<Finding> {
    let name = spec.map(|spec| spec.name.as_str());
    let killed =
        |probe: &str| events.iter().find(|event| event.reason.as_deref() == Some("Killing") && is_of(event, name) && says(event, &[probe]));
    if let Some(event) = killed("failed startup probe") {
        let window = spec.and_then(|spec| spec.startup_probe.as_ref()).map(startup_window).unwrap_or_default();
        let had = if window.is_zero() { String::new() } else { format!(", which had {}", format_duration(window)) };
        let why = answer(events, name, "startup probe").unwrap_or_else(|| sentence(event));
        let finding = Finding::new(Code::ProbeFailed, format!("{ended}by its startup probe{had}: {why}"));
        return Some(if window >= LONG_START { finding.doomed() } else { finding });
    }
    let event = killed("failed liveness probe")?;
    let why = answer(events, name, "liveness probe").unwrap_or_else(|| sentence(event));
    Some(Finding::new(Code::ProbeFailed, format!("{ended}by its liveness probe: {why}")))
}

/// A container that runs but does not get ready within the window of its readiness probe, counted from its start.
pub(super) fn never_ready(
    pod: &WatchedPod,
    status: &ContainerStatus,
    started: Option<Duration>,
    events: &[&Event],
    budgets: &Budgets,
    at: Duration,
) -> Option<Finding> {
    let started = started.filter(|_| !status.ready)?;
    let probe = container(&pod.pod, &status.name)?.readiness_probe.as_ref()?;
    let looks = given(probe.failure_threshold, 3) + given(probe.success_threshold, 1);
    let window =
        probe.initial_delay_seconds.unwrap_or(0) + looks.saturating_mul(given(probe.period_seconds, 10)) + given(probe.timeout_seconds, 1);
    let window = (seconds(window) * budgets.readiness_factor).max(budgets.readiness_least);
    let why = answer(events, Some(&status.name), "readiness probe").map(|why| format!(": {why}")).unwrap_or_default();
    let waited = format_duration(Duration::from_secs(at.saturating_sub(started).as_secs()));
    let message = format!("container {} of pod {} runs but is not ready after {waited}{why}", status.name, pod.name());
    Some(Finding::new(Code::NeverReady, message).doomed_at(started + window, at))
}

/// What a probe (`startup probe`, or any: `probe`) last answered, as in `startup probe failed: connection refused (10.0.0.7:8080)`.
pub(super) fn answer(events: &[&Event], container: Option<&str>, probe: &str) -> Option<String> {
    let told =
        events.iter().filter(|event| event.reason.as_deref() == Some("Unhealthy") && is_of(event, container) && says(event, &[probe]));
    told.max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0)).map(|event| sentence(event))
}

/// How long the startup probe bears failures.
fn startup_window(probe: &Probe) -> Duration {
    seconds(given(probe.failure_threshold, 3).saturating_mul(given(probe.period_seconds, 10)))
}

/// The API server's default where a number is not given.
fn given(value: Option<i32>, default: i32) -> i32 {
    value.filter(|value| *value > 0).unwrap_or(default)
}

fn seconds(value: i32) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or(0))
}

fn says(event: &Event, parts: &[&str]) -> bool {
    contains_any(event.message.as_deref().unwrap_or_default(), parts)
}

/// The kubelet names the container as `spec.containers{app}`; an event without a name is taken for everyone's.
fn is_of(event: &Event, container: Option<&str>) -> bool {
    let path = event.involved_object.field_path.as_deref();
    match (path.and_then(|path| path.split_once('{')), container) {
        (Some((_, name)), Some(container)) => name.trim_end_matches('}') == container,
        _ => true,
    }
}

/// The event's sentence, lower case, with what a failed connection came to in front of where it went.
fn sentence(event: &Event) -> String {
    let text = short(event.message.as_deref().unwrap_or_default());
    let dialled = text.split_once(": ").and_then(|(what, rest)| {
        let (_, connection) = rest.split_once("dial tcp ")?;
        let (address, why) = connection.split_once(": ")?;
        Some(format!("{what}: {} ({address})", why.strip_prefix("connect: ").unwrap_or(why)))
    });
    let text = dialled.unwrap_or(text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

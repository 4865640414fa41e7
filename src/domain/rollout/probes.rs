//! What the probes of a container say, and how long each may take.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Event, Pod, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    Budgets, Finding,
    containers::{container, contains_any, short},
    pods::WatchedPod,
};
use crate::domain::{problem::Code, units::format_duration};

/// A startup probe that bears failures for so long was all the grace the application gets.
const LONG_START: Duration = Duration::from_secs(60);
/// The kubelet's words for an answer that is no success; it does not say who answered.
const STATUS_CODE: &str = "HTTP probe failed with statuscode: ";

/// A container that a probe ended; `ended`: the sentence's beginning. Fatal by itself after a startup probe with a long window.
pub(super) fn kill(ended: &str, pod: &Pod, spec: Option<&Container>, events: &[&Event]) -> Option<Finding> {
    let name = spec.map(|spec| spec.name.as_str());
    let killed =
        |probe: &str| events.iter().find(|event| event.reason.as_deref() == Some("Killing") && is_of(event, name) && says(event, &[probe]));
    if let Some(event) = killed("failed startup probe") {
        let window = spec.and_then(|spec| spec.startup_probe.as_ref()).map(startup_window).unwrap_or_default();
        let had = if window.is_zero() { String::new() } else { format!(", which had {}", format_duration(window)) };
        let why = answer(pod, events, name, "startup probe").unwrap_or_else(|| sentence(pod, event));
        let finding = Finding::new(Code::ProbeFailed, format!("{ended}by its startup probe{had}: {why}"));
        return Some(if window >= LONG_START { finding.doomed() } else { finding });
    }
    let event = killed("failed liveness probe")?;
    let why = answer(pod, events, name, "liveness probe").unwrap_or_else(|| sentence(pod, event));
    let finding = Finding::new(Code::ProbeFailed, format!("{ended}by its liveness probe: {why}"));
    let slow_start = spec.is_some_and(|spec| spec.startup_probe.is_none());
    let hint = "the liveness probe begins with the container: give a slow start a kubernetes.probes.startup, or set liveness: off";
    Some(if slow_start { finding.hint(hint) } else { finding })
}

/// A container that runs but does not get ready within the window of its readiness probe; `since`: it has been so.
pub(super) fn never_ready(
    pod: &WatchedPod,
    status: &ContainerStatus,
    since: Duration,
    events: &[&Event],
    budgets: &Budgets,
    at: Duration,
) -> Option<Finding> {
    let probe = container(&pod.pod, &status.name)?.readiness_probe.as_ref()?;
    let looks = given(probe.failure_threshold, 3) + given(probe.success_threshold, 1);
    let window =
        probe.initial_delay_seconds.unwrap_or(0) + looks.saturating_mul(given(probe.period_seconds, 10)) + given(probe.timeout_seconds, 1);
    let window = (seconds(window) * budgets.readiness).max(budgets.readiness_least);
    let why = answer(&pod.pod, events, Some(&status.name), "readiness probe").map(|why| format!(": {why}")).unwrap_or_default();
    let waited = format_duration(Duration::from_secs(at.saturating_sub(since).as_secs()));
    let message = format!("container {} of pod {} runs but is not ready after {waited}{why}", status.name, pod.name());
    Some(Finding::new(Code::NeverReady, message).doomed_at(since + window, at))
}

/// What a probe (`startup probe`, or any: `probe`) last answered, as in `startup probe failed: connection refused (10.0.0.7:8080)`.
pub(super) fn answer(pod: &Pod, events: &[&Event], container: Option<&str>, probe: &str) -> Option<String> {
    let told =
        events.iter().filter(|event| event.reason.as_deref() == Some("Unhealthy") && is_of(event, container) && says(event, &[probe]));
    told.max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0)).map(|event| sentence(pod, event))
}

/// Where the probe that an event is about looks: `readiness probe of app: http://10.0.0.7:8080/health`.
pub fn probe_target(pod: &Pod, event: &Event) -> Option<String> {
    let container = subject(pod, event)?;
    let which = which(event)?;
    let target = target(pod, container, probe_of(container, which)?)?;
    Some(format!("{which} probe of {}: {target}", container.name))
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

/// The name in `spec.containers{app}`.
fn named(event: &Event) -> Option<&str> {
    let (_, name) = event.involved_object.field_path.as_deref()?.split_once('{')?;
    Some(name.trim_end_matches('}'))
}

/// An event without a name is taken for everyone's.
fn is_of(event: &Event, container: Option<&str>) -> bool {
    match (named(event), container) {
        (Some(name), Some(container)) => name == container,
        _ => true,
    }
}

/// The container that an event is about; the only one when it does not say.
fn subject<'a>(pod: &'a Pod, event: &Event) -> Option<&'a Container> {
    match named(event) {
        Some(name) => container(pod, name),
        None => pod.spec.as_ref()?.containers.first().filter(|_| pod.spec.as_ref().is_some_and(|spec| spec.containers.len() == 1)),
    }
}

fn which(event: &Event) -> Option<&'static str> {
    ["startup", "readiness", "liveness"].into_iter().find(|which| says(event, &[&format!("{which} probe")]))
}

fn probe_of<'a>(container: &'a Container, which: &str) -> Option<&'a Probe> {
    match which {
        "startup" => container.startup_probe.as_ref(),
        "readiness" => container.readiness_probe.as_ref(),
        _ => container.liveness_probe.as_ref(),
    }
}

/// Address, URL or command of a probe.
fn target(pod: &Pod, container: &Container, probe: &Probe) -> Option<String> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or("pod");
    let at = |host: Option<&String>, port: &IntOrString| {
        let host = host.map_or(address, String::as_str);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
        format!("{host}:{}", port_number(container, port))
    };
    if let Some(get) = &probe.http_get {
        let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
        return Some(format!("{scheme}://{}{}", at(get.host.as_ref(), &get.port), get.path.as_deref().unwrap_or("/")));
    }
    if let Some(socket) = &probe.tcp_socket {
        return Some(format!("tcp {}", at(socket.host.as_ref(), &socket.port)));
    }
    if let Some(grpc) = &probe.grpc {
        let service = grpc.service.as_deref().map(|service| format!(" ({service})")).unwrap_or_default();
        return Some(format!("grpc {}{service}", at(None, &IntOrString::Int(grpc.port))));
    }
    let command = probe.exec.as_ref()?.command.as_ref()?;
    Some(format!("exec {}", command.join(" ")))
}

/// A port by its number, also where the probe has its name.
fn port_number(container: &Container, port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => {
            let found = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            found.map_or_else(|| name.clone(), |port| port.container_port.to_string())
        }
    }
}

/// The event's sentence, lower case, with what an answer or a failed connection came to in front of where it went.
fn sentence(pod: &Pod, event: &Event) -> String {
    let text = short(event.message.as_deref().unwrap_or_default());
    let text = answered(pod, event, &text).or_else(|| unanswered(&text)).unwrap_or(text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

/// `… failed: HTTP 503 from http://10.0.0.7:8080/health`, which the kubelet says without the address.
fn answered(pod: &Pod, event: &Event, text: &str) -> Option<String> {
    let (what, code) = text.split_once(STATUS_CODE)?;
    let container = subject(pod, event)?;
    let target = target(pod, container, probe_of(container, which(event)?)?)?;
    Some(format!("{what}HTTP {code} from {target}"))
}

/// `… failed: connection refused (http://10.0.0.7:8080/)`.
fn unanswered(text: &str) -> Option<String> {
    let (what, rest) = text.split_once(": ")?;
    if let Some((url, why)) = rest.strip_prefix("Get \"").and_then(|rest| rest.split_once("\": ")) {
        return Some(format!("{what}: {} ({url})", plain(why)));
    }
    let (_, connection) = rest.split_once("dial tcp ")?;
    let (address, why) = connection.split_once(": ")?;
    Some(format!("{what}: {} ({address})", why.strip_prefix("connect: ").unwrap_or(why)))
}

/// Go's words for a failed request in plain ones.
fn plain(why: &str) -> &str {
    if contains_any(why, &["context deadline exceeded", "client.timeout"]) {
        return "no answer within the probe's timeout";
    }
    let connection = why.split_once("dial tcp ").and_then(|(_, connection)| connection.split_once(": "));
    connection.map_or(why, |(_, why)| why.strip_prefix("connect: ").unwrap_or(why))
}

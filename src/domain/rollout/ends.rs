//! Containers that end: crashes, kills for memory or by a probe, programs that cannot be started.

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Event};

use super::{
    Budgets, Finding,
    containers::{container, contains_any, short, waiting},
    java,
    pods::WatchedPod,
    probes,
};
use crate::domain::problem::Code;

/// What the runtime says when the program itself is the trouble; it will say so each time.
const NO_PROGRAM: [&str; 4] = ["executable file not found", "no such file or directory", "permission denied", "exec format error"];

/// A container that ended, fatal when it did so too often; `baseline`: its restarts before this rollout.
pub(super) fn finding(pod: &WatchedPod, status: &ContainerStatus, baseline: i32, events: &[&Event], budgets: &Budgets) -> Option<Finding> {
    let restarts = status.restart_count - baseline;
    let down = waiting(status).is_some_and(|(reason, _)| reason == "CrashLoopBackOff")
        || status.state.as_ref().is_some_and(|state| state.terminated.as_ref().is_some_and(|end| end.exit_code != 0));
    let count = restarts + i32::from(down);
    let end = last_end(status).filter(|_| count > 0)?;
    let finding = classify(pod, status, end, events, count);
    Some(if finding.doomed || count >= budgets.restarts { finding.doomed() } else { finding })
}

/// The last end of the container, whether it waits for its next start or not.
pub(super) fn last_end(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    now.or_else(|| status.last_state.as_ref().and_then(|state| state.terminated.as_ref()))
}

/// A program that cannot be started, from the runtime's sentence: `… exec: "/app": stat /app: no such file or directory: unknown`.
pub(super) fn no_program(who: &str, message: &str) -> Option<Finding> {
    let at = message.find("exec: \"").or_else(|| message.find("exec "))?;
    let why = &message[at..];
    if !contains_any(why, &NO_PROGRAM) {
        return None;
    }
    let why = short(why.trim_end_matches(": unknown"));
    let hint = match why.contains("exec format error") {
        true => java::OTHER_PROCESSOR,
        false => "the image has no such program: correct the ENTRYPOINT of the image (kubernetes.args holds its arguments only)",
    };
    Some(Finding::new(Code::ContainerConfig, format!("{who} cannot start: {why}")).hint(hint).doomed())
}

fn classify(pod: &WatchedPod, status: &ContainerStatus, end: &ContainerStateTerminated, events: &[&Event], count: i32) -> Finding {
    let who = format!("container {} of pod {}", status.name, pod.name());
    let times = times(count);
    let reason = end.reason.as_deref().unwrap_or_default();
    let spec = container(&pod.pod, &status.name);
    if reason == "OOMKilled" {
        return out_of_memory(&format!("{who} was killed {times}"), spec);
    }
    if let Some(finding) = probes::kill(&format!("{who} was ended {times}"), &pod.pod, spec, events) {
        return finding;
    }
    let said = end.message.as_deref().map(short).filter(|said| !said.is_empty());
    if matches!(reason, "StartError" | "ContainerCannotRun" | "ContainerStatusUnknown") {
        let why = said.unwrap_or_else(|| "the runtime gives no reason".to_string());
        let general = || Finding::new(Code::ContainerConfig, format!("{who} cannot start: {why}"));
        return end.message.as_deref().and_then(|message| no_program(&who, message)).unwrap_or_else(general);
    }
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    let finding = Finding::new(Code::CrashLoop, format!("{who} ended {times}with exit code {}{said}", end.exit_code));
    match hint(end.exit_code) {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

fn out_of_memory(killed: &str, spec: Option<&Container>) -> Finding {
    let limit = spec.and_then(memory_limit);
    let most = limit.as_ref().map(|limit| format!(" of {limit}")).unwrap_or_default();
    let heap = spec.and_then(|spec| java::heap(limit.as_deref(), &java::options(spec))).map(|heap| format!("; {heap}")).unwrap_or_default();
    let hint = spec.map(|spec| java::memory_hint(limit.as_deref(), &java::options(spec)));
    Finding { hint, ..Finding::new(Code::OomKilled, format!("{killed}for using more memory than its limit{most}{heap}")) }
}

/// What an exit code says by itself (POSIX shells: 126, 127, and 128 + signal).
fn hint(exit_code: i32) -> Option<&'static str> {
    match exit_code {
        0 => Some("a service must not end by itself: check the main class and kubernetes.args"),
        126 => Some("the start script calls a program that it may not run: check its permissions in the image"),
        127 => Some("the start script calls a program that the image does not have"),
        137 => Some("something killed it, and not its own limit: its node was short of memory, or it did not end in its grace period"),
        _ => None,
    }
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

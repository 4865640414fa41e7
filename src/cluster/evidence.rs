//! Evidence of a failed rollout, gathered before anything is put back: events, log lines, whole logs.

use std::{collections::BTreeSet, path::Path, time::Duration};

use futures::{AsyncReadExt, future::join_all};
use k8s_openapi::{
    api::core::v1::{Event, Pod},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

use super::{connect::Cluster, problem};
use crate::domain::{
    problem::{Evidence, EvidenceKind},
    rollout::{Finding, Rollout, WatchedPod, java, probe_target, uid},
};

/// Lines of a log that go into the report.
const LINES: usize = 50;
/// Longest line there.
const LINE_LENGTH: usize = 1000;
/// Bytes of a log's end from which those lines are taken.
const TAIL: usize = 128 * 1024;
/// Bytes of a log that are kept in a file.
const FILE_LIMIT: usize = 20 * 1024 * 1024;
/// What stands at the end of a log that was longer.
const CUT: &[u8] = b"\n... cut here: the log is longer than 20 MiB\n";
const READ_LIMIT: Duration = Duration::from_secs(15);
/// Pods whose logs are kept.
const PODS: usize = 3;
/// Pods whose events are read.
const EVENTS_OF: usize = 10;
const EVENTS: usize = 20;
/// How long the warnings of the pod in trouble may be late: the kubelet sends them beside the state that shows the trouble.
const LATE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(250);

/// What was gathered, best first, and the finding made sharper by the logs.
pub struct Gathered {
    pub finding: Finding,
    pub evidence: Vec<Evidence>,
}

impl Cluster {
    /// Gathers what the pods in trouble say; whole logs go to `folder`. What cannot be read is left out: the cause must not be lost
    /// for the sake of its evidence.
    pub(super) async fn gather(&self, rollout: &Rollout, finding: Finding, folder: &Path) -> Gathered {
        let mut pods: Vec<&WatchedPod> =
            rollout.new_pods().filter(|pod| !pod.is_ready() || finding.pod.as_deref() == Some(pod.name())).collect();
        pods.sort_by_key(|pod| finding.pod.as_deref() != Some(pod.name()));
        let mut evidence = Vec::new();
        let mut refined = finding.clone();
        if let Some(set) = rollout.newest().filter(|_| finding.pod.is_none()) {
            let source = format!("replicaset/{}", set.metadata.name.as_deref().unwrap_or_default());
            evidence.extend(told(&self.events_of(&uid(&set.metadata), &source).await, None, &source));
        }
        let (logs, events) = tokio::join!(
            join_all(pods.iter().take(PODS).map(|pod| self.logs(&pod.pod, finding.container.as_deref(), folder))),
            join_all(pods.iter().take(EVENTS_OF).map(|pod| self.events_of_pod(pod, finding.pod.as_deref() == Some(pod.name())))),
        );
        let first = logs.into_iter().next().unwrap_or_default();
        for log in &first {
            refined = if refined == finding { java::refine(finding.clone(), &log.text) } else { refined };
        }
        evidence.extend(first.into_iter().filter(|log| !log.text.is_empty()));
        evidence.extend(events_of_pods(&pods, &events));
        Gathered { finding: refined, evidence }
    }

    /// The events of a pod; those of the one in trouble when a warning is among them, or none came in time.
    async fn events_of_pod(&self, pod: &WatchedPod, troubled: bool) -> Vec<Event> {
        let until = Instant::now() + LATE;
        loop {
            let events = self.events_of(pod.uid(), pod.name()).await;
            if !troubled || events.iter().any(is_warning) || Instant::now() >= until {
                return events;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The events of one object, oldest first; none where they cannot be read.
    async fn events_of(&self, uid: &str, name: &str) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let Ok(found) = self.call(("list", "events", name), api.list(&params)).await else { return Vec::new() };
        let mut events = found.items;
        events.sort_by_key(when);
        events
    }

    /// The last lines of each container's current and previous life; the container in trouble comes first.
    async fn logs(&self, pod: &Pod, troubled: Option<&str>, folder: &Path) -> Vec<Evidence> {
        let statuses = pod.status.as_ref();
        let init = statuses.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
        let mut all: Vec<_> = init.chain(statuses.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten()).collect();
        all.sort_by_key(|status| Some(status.name.as_str()) != troubled);
        let mut logs: Vec<Evidence> = Vec::new();
        for status in all {
            let ran = status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some());
            let ran_before = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
            for previous in [false, true] {
                let there = if previous { ran_before } else { ran || ran_before };
                if !there {
                    continue;
                }
                // while a container waits for its next start, both names mean the same last life
                if let Some(log) = self.log(pod, &status.name, previous, folder).await
                    && !logs.iter().any(|other| other.text == log.text)
                {
                    logs.push(log);
                }
            }
        }
        logs
    }

    async fn log(&self, pod: &Pod, container: &str, previous: bool, folder: &Path) -> Option<Evidence> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let life = if previous { "-previous" } else { "" };
        let file = folder.join(format!("{name}-{container}{life}.log"));
        let tail = match timeout(READ_LIMIT, self.copy_log(&name, container, previous, &file)).await {
            Ok(Ok(tail)) => tail,
            Ok(Err(error)) => {
                tracing::debug!(error, pod = name, container, "a log cannot be read");
                return None;
            }
            Err(_) => return None,
        };
        if is_no_log(&tail) {
            let _ = tokio::fs::remove_file(&file).await;
            return None;
        }
        let source = if previous { format!("pod/{name}/{container} (previous)") } else { format!("pod/{name}/{container}") };
        Some(Evidence { kind: EvidenceKind::Log, source, text: last_lines(&tail) })
    }

    /// Streams a log into its file and gives its end; an endless line does no harm, as nothing is read by lines.
    async fn copy_log(&self, pod: &str, container: &str, previous: bool, file: &Path) -> Result<Vec<u8>, String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = LogParams { container: Some(container.to_string()), previous, ..LogParams::default() };
        let mut log = std::pin::pin!(api.log_stream(pod, &params).await.map_err(|error| error.to_string())?);
        let mut out = create(file).await;
        let (mut tail, mut buffer, mut written) = (Vec::new(), vec![0; 16 * 1024], 0);
        loop {
            let count = log.read(&mut buffer).await.map_err(|error| error.to_string())?;
            let chunk = &buffer[..count];
            if count == 0 {
                break;
            }
            tail.extend_from_slice(chunk);
            if tail.len() > 2 * TAIL {
                tail.drain(..tail.len() - TAIL);
            }
            if let Some(out) = out.as_mut().filter(|_| written < FILE_LIMIT) {
                written += count;
                // the report must not fail for its attachments
                let _ = out.write_all(chunk).await;
            }
        }
        if let Some(mut out) = out {
            if written >= FILE_LIMIT {
                let _ = out.write_all(CUT).await;
            }
            let _ = out.flush().await;
        }
        Ok(tail)
    }
}

/// Events of the first pod in whole; of the others what theirs say that the first one's do not.
fn events_of_pods(pods: &[&WatchedPod], events: &[Vec<Event>]) -> Vec<Evidence> {
    let mut said = BTreeSet::new();
    let (mut evidence, mut alike) = (Vec::new(), Vec::new());
    for (pod, events) in pods.iter().zip(events) {
        let news = events.iter().map(|event| gist(event, &pod.pod)).filter(|gist| said.insert(gist.clone())).count();
        match news {
            0 => alike.push(pod.name()),
            _ => evidence.extend(told(events, Some(&pod.pod), &format!("pod/{}", pod.name()))),
        }
    }
    if !alike.is_empty() && !evidence.is_empty() {
        let text = format!("the events of {} say the same", alike.join(", "));
        evidence.push(Evidence { kind: EvidenceKind::Event, source: "other pods".to_string(), text });
    }
    evidence
}

/// The last events as one text, and what the probe that failed last looked at.
fn told(events: &[Event], pod: Option<&Pod>, source: &str) -> Vec<Evidence> {
    let lines: Vec<String> = events[events.len().saturating_sub(EVENTS)..].iter().map(line).collect();
    let piece = |kind, text: String| (!text.is_empty()).then(|| Evidence { kind, source: source.to_string(), text });
    let probes: Vec<String> = ["startup probe", "liveness probe", "readiness probe"]
        .into_iter()
        .filter_map(|probe| events.iter().rfind(|event| is_failure_of(event, probe)))
        .map(|event| {
            let target = pod.and_then(|pod| probe_target(pod, event)).map(|target| format!("{target}\n"));
            format!("{}{}", target.unwrap_or_default(), line(event))
        })
        .collect();
    let probe = piece(EvidenceKind::Probe, probes.join("\n"));
    probe.into_iter().chain(piece(EvidenceKind::Event, lines.join("\n"))).collect()
}

fn is_warning(event: &Event) -> bool {
    event.type_.as_deref() == Some("Warning")
}

fn is_failure_of(event: &Event, probe: &str) -> bool {
    let message = event.message.as_deref().unwrap_or_default().to_lowercase();
    event.reason.as_deref() == Some("Unhealthy") && message.starts_with(probe)
}

/// What an event says, whichever pod it is about.
fn gist(event: &Event, pod: &Pod) -> String {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    let own = [pod.metadata.name.as_deref(), pod.metadata.uid.as_deref(), address];
    let message = event.message.clone().unwrap_or_default();
    let message = own.into_iter().flatten().filter(|own| !own.is_empty()).fold(message, |message, own| message.replace(own, "…"));
    format!("{} {message}", event.reason.as_deref().unwrap_or_default())
}

/// The scheduler writes events of the newer kind, which have their times elsewhere.
fn when(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    last.or(series).or(event.event_time.as_ref().map(|time| time.0)).or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// The kubelet answers with this sentence, and with success, for a container that it has removed meanwhile.
fn is_no_log(text: &[u8]) -> bool {
    text.starts_with(b"unable to retrieve container logs for ") && text.iter().filter(|&&byte| byte == b'\n').count() <= 1
}

async fn create(file: &Path) -> Option<tokio::fs::File> {
    if let Some(folder) = file.parent() {
        tokio::fs::create_dir_all(folder).await.ok()?;
    }
    tokio::fs::File::create(file).await.ok()
}

fn last_lines(tail: &[u8]) -> String {
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| capped(line)).collect::<Vec<_>>().join("\n")
}

fn capped(line: &str) -> String {
    match line.char_indices().nth(LINE_LENGTH) {
        Some((cut, _)) => format!("{}… ({} characters cut)", &line[..cut], line[cut..].chars().count()),
        None => line.to_string(),
    }
}

fn line(event: &Event) -> String {
    let times = event.count.filter(|count| *count > 1).map(|count| format!(" (×{count})")).unwrap_or_default();
    let message = problem::clean(event.message.as_deref().unwrap_or_default());
    format!("{} {}{times}: {message}", event.type_.as_deref().unwrap_or_default(), event.reason.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_line_is_cut_and_says_so() {
        let text = last_lines("x".repeat(5000).as_bytes());
        assert!(text.ends_with("… (4000 characters cut)"), "{text}");
    }

    fn pod(name: &str) -> WatchedPod {
        let mut rollout = Rollout::new(Default::default(), Default::default());
        let yaml = format!(
            "metadata: {{name: {name}, uid: {name}}}
spec: {{containers: [{{name: app, readinessProbe: {{httpGet: {{path: /health, port: http}}}}, ports: [{{name: http, containerPort: 8080}}]}}]}}
status: {{podIP: 10.0.0.7}}"
        );
        rollout.see_pod(serde_saphyr::from_str(&yaml).unwrap(), Duration::ZERO);
        rollout.pods().next().unwrap().clone()
    }

    fn event(reason: &str, message: &str) -> Event {
        let yaml =
            format!("metadata: {{}}\ninvolvedObject: {{fieldPath: 'spec.containers{{app}}'}}\nreason: {reason}\nmessage: '{message}'");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    #[test]
    fn events_that_say_the_same_of_many_pods_are_told_once() {
        let pods: Vec<WatchedPod> = ["a-1", "a-2", "a-3", "a-4"].map(pod).into();
        let back_off = |name: &str| event("BackOff", &format!("Back-off restarting failed container app in pod {name}"));
        let events = vec![vec![back_off("a-1")], vec![back_off("a-2")], vec![back_off("a-3")], vec![event("FailedMount", "no disk")]];
        let told = events_of_pods(&pods.iter().collect::<Vec<_>>(), &events);
        assert_eq!(told.iter().map(|piece| piece.source.as_str()).collect::<Vec<_>>(), ["pod/a-1", "pod/a-4", "other pods"]);
        assert_eq!(told[2].text, "the events of a-2, a-3 say the same");
    }

    #[test]
    fn a_probe_is_told_with_its_url() {
        let pod = pod("a-1");
        let told = told(&[event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")], Some(&pod.pod), "pod/a-1");
        assert_eq!(told[0].kind, EvidenceKind::Probe);
        assert!(told[0].text.starts_with("readiness probe of app: http://10.0.0.7:8080/health\n"), "{}", told[0].text);
    }

    #[test]
    fn the_last_fifty_lines_are_kept() {
        let log: String = (1..=80).map(|number| format!("line {number}\n")).collect();
        let text = last_lines(log.as_bytes());
        assert!(text.starts_with("line 31\n") && text.ends_with("line 80"), "{text}");
    }
}

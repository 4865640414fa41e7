//! Evidence of a failed rollout, gathered before anything is put back: events, log lines, whole logs.

use std::{path::Path, time::Duration};

use futures::AsyncReadExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{connect::Cluster, problem};
use crate::domain::{
    problem::{Evidence, EvidenceKind},
    rollout::{Finding, Rollout, WatchedPod, java, uid},
};

/// Lines of a log that go into the report.
const LINES: usize = 50;
/// Longest line there.
const LINE_LENGTH: usize = 1000;
/// Bytes of a log's end from which those lines are taken.
const TAIL: usize = 128 * 1024;
/// Bytes of a log that are kept in a file.
const FILE_LIMIT: usize = 20 * 1024 * 1024;
const READ_LIMIT: Duration = Duration::from_secs(15);
/// Pods whose logs are kept.
const PODS: usize = 3;
const EVENTS: usize = 20;

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
        for (number, pod) in pods.into_iter().take(PODS).enumerate() {
            let logs = self.logs(&pod.pod, folder).await;
            if number > 0 {
                continue;
            }
            for log in &logs {
                refined = if refined == finding { java::refine(finding.clone(), &log.text) } else { refined };
            }
            evidence.extend(logs.into_iter().filter(|log| !log.text.is_empty()));
            evidence.extend(self.events_of(pod.uid(), &format!("pod/{}", pod.name())).await);
        }
        if evidence.is_empty()
            && let Some(set) = rollout.newest()
        {
            let source = format!("replicaset/{}", set.metadata.name.as_deref().unwrap_or_default());
            evidence.extend(self.events_of(&uid(&set.metadata), &source).await);
        }
        Gathered { finding: refined, evidence }
    }

    async fn events_of(&self, uid: &str, source: &str) -> Vec<Evidence> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let Ok(found) = self.call(("list", "events", source), api.list(&params)).await else { return Vec::new() };
        let mut events = found.items;
        events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
        let lines: Vec<String> = events.iter().rev().take(EVENTS).rev().map(line).collect();
        let text = lines.join("\n");
        let probe = events.iter().rfind(|event| event.reason.as_deref() == Some("Unhealthy"));
        let probe = probe.map(|event| Evidence { kind: EvidenceKind::Probe, source: source.to_string(), text: line(event) });
        let all = (!text.is_empty()).then(|| Evidence { kind: EvidenceKind::Event, source: source.to_string(), text });
        probe.into_iter().chain(all).collect()
    }

    /// The last lines of each container's current and previous life.
    async fn logs(&self, pod: &Pod, folder: &Path) -> Vec<Evidence> {
        let statuses = pod.status.as_ref();
        let init = statuses.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
        let all = init.chain(statuses.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten());
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
            let _ = out.flush().await;
        }
        Ok(tail)
    }
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

    #[test]
    fn the_last_fifty_lines_are_kept() {
        let log: String = (1..=80).map(|number| format!("line {number}\n")).collect();
        let text = last_lines(log.as_bytes());
        assert!(text.starts_with("line 31\n") && text.ends_with("line 80"), "{text}");
    }
}

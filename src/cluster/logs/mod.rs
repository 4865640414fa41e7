//! What the pods of an application say: every container, its life before too, as one stream in the order of time.

mod follow;
mod lines;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    io::Write,
    time::Duration,
};

use futures::AsyncReadExt;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::{ContainerStatus, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ListParams, LogParams},
};

use self::lines::{Lines, Reader};
use super::{connect::Cluster, problem, records::Records, status::selector};
use crate::domain::{
    manifests::keys,
    problem::{Code, Problem, Result},
    release::{Outcome, Release, position},
    rollout::uid,
};

/// Lives of containers that are read at the same time; each takes a connection and a buffer.
const MOST: usize = 100;

/// Whose logs, and from when on.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Name of the Deployment.
    pub name: String,
    /// Only pods of this revision.
    pub revision: Option<u64>,
    /// Not older than this.
    pub since: Option<Duration>,
}

/// One life of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogSource {
    pub pod: String,
    pub container: String,
    /// The life before the present one.
    pub previous: bool,
}

impl LogSource {
    /// A name of its own in an archive: `web-5d9c-x/app-previous.log`.
    pub fn file(&self) -> String {
        let life = if self.previous { "-previous" } else { "" };
        format!("{}/{}{life}.log", self.pod, self.container)
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When the container said it, by its node's clock.
    pub at: Timestamp,
    pub pod: String,
    pub container: String,
    pub text: String,
}

/// All lives that can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogSources {
    pub sources: Vec<LogSource>,
    /// So many more there are, which is too much at a time.
    pub left_out: usize,
}

/// The revision whose pods alone are wanted.
struct Wanted {
    /// Uids of the ReplicaSets that had its pods.
    sets: BTreeSet<String>,
    release: Release,
    /// It is the one that runs, so that pods of it may come.
    live: bool,
}

impl Cluster {
    /// Lives of containers that have something to say, those of the newest pods first. Fails with `not-published` where there is none, or
    /// with `revision-unknown` where no record has the revision.
    pub async fn log_sources(&self, query: &LogQuery) -> Result<LogSources> {
        let deployment = self.logged(&query.name).await?;
        let wanted = self.wanted(&deployment, query).await?;
        let mut pods = self.pods(&deployment).await?;
        pods.retain(|pod| of_sets(pod, wanted.as_ref()));
        pods.sort_by_key(|pod| Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
        let mut sources: Vec<LogSource> = pods.iter().flat_map(lives).collect();
        if sources.is_empty() {
            return Err(silent(query, &self.namespace, !pods.is_empty(), wanted.map(|wanted| wanted.release).as_ref()));
        }
        let left_out = sources.len().saturating_sub(MOST);
        sources.truncate(MOST);
        Ok(LogSources { sources, left_out })
    }

    /// Gives the lines of these lives to `each`, in the order of time, holding one line of each at a time.
    pub async fn read_logs(&self, sources: &[LogSource], since: Option<Duration>, each: &mut dyn FnMut(LogLine)) -> Result<()> {
        let mut opened = Vec::new();
        for source in sources {
            let params = LogParams { since_seconds: since.map(seconds), ..params(source) };
            opened.extend(self.open(source, &params).await?.map(|reader| Lines::new(reader, source)));
        }
        let mut heads = BinaryHeap::new();
        let mut waiting: Vec<Option<LogLine>> = vec![None; opened.len()];
        for number in 0..opened.len() {
            advance(&mut opened, &mut waiting, &mut heads, number).await;
        }
        while let Some(Reverse((_, number))) = heads.pop() {
            if let Some(line) = waiting.get_mut(number).and_then(Option::take) {
                each(line);
            }
            advance(&mut opened, &mut waiting, &mut heads, number).await;
        }
        Ok(())
    }

    /// Copies the log of one life as it is, each line with its time; gives the bytes. What is gone meanwhile has none.
    pub async fn copy_whole_log(&self, source: &LogSource, since: Option<Duration>, out: &mut dyn Write) -> Result<u64> {
        let params = LogParams { since_seconds: since.map(seconds), ..params(source) };
        let Some(mut reader) = self.open(source, &params).await? else { return Ok(0) };
        let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0);
        loop {
            let cut = |error: std::io::Error| Problem::new(Code::ClusterFailed, format!("the log of {} was cut: {error}", source.file()));
            let count = reader.read(&mut buffer).await.map_err(cut)?;
            if count == 0 {
                return Ok(bytes);
            }
            out.write_all(&buffer[..count]).map_err(|error| Problem::io("write", "the log", &error))?;
            bytes += count as u64;
        }
    }

    pub(super) async fn logged(&self, name: &str) -> Result<Deployment> {
        let missing = || Problem::new(Code::NotPublished, format!("there is no deployment {name} in namespace {}", self.namespace));
        self.get::<Deployment>(name).await?.ok_or_else(missing)
    }

    /// None: all pods are wanted.
    async fn wanted(&self, deployment: &Deployment, query: &LogQuery) -> Result<Option<Wanted>> {
        let Some(revision) = query.revision else { return Ok(None) };
        let records = Records::new(self, &query.name).list().await?;
        let Some(record) = records.iter().find(|record| record.revision == revision) else {
            let known: Vec<String> = records.iter().map(|record| record.revision.to_string()).collect();
            let message = format!("there is no record of revision {revision}; there are {}", known.join(", "));
            return Err(Problem::new(Code::RevisionUnknown, message));
        };
        // the controller copies the Deployment's annotations to its newest ReplicaSet, so each has the last revision that used it
        let same: BTreeSet<u64> = records.iter().filter(|other| other.spec_hash == record.spec_hash).map(|other| other.revision).collect();
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let labels = selector(deployment);
        let sets = self.call(("list", "replicasets", &labels), api.list(&ListParams::default().labels(&labels))).await?.items;
        let at = |set: &ReplicaSet| set.metadata.annotations.as_ref()?.get(keys::REVISION)?.parse::<u64>().ok();
        let named = |wanted: &dyn Fn(u64) -> bool| -> BTreeSet<String> {
            sets.iter().filter(|set| at(set).is_some_and(wanted)).map(|set| uid(&set.metadata)).collect()
        };
        let exact = named(&|at| at == revision);
        let sets = if exact.is_empty() { named(&|at| same.contains(&at)) } else { exact };
        Ok(Some(Wanted { sets, release: record.clone(), live: position(&deployment.metadata).revision == Some(revision) }))
    }

    /// None: it has no log, or none any longer.
    async fn open(&self, source: &LogSource, params: &LogParams) -> Result<Option<Reader>> {
        let action = ("get", "pods/log", source.pod.as_str());
        match self.attempt(action, self.pod_api().log_stream(&source.pod, params)).await? {
            Ok(reader) => Ok(Some(Box::pin(reader))),
            // a container that has not started, or that has no life before; a pod that is gone
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => Ok(None),
            Err(error) => Err(problem::problem(&error, self.action(action))),
        }
    }
}

/// A log that is cut ends; the others go on.
async fn advance(
    opened: &mut [Lines],
    waiting: &mut [Option<LogLine>],
    heads: &mut BinaryHeap<Reverse<(Timestamp, usize)>>,
    number: usize,
) {
    let Some(lines) = opened.get_mut(number) else { return };
    match lines.next().await {
        Ok(Some(line)) => {
            heads.push(Reverse((line.at, number)));
            waiting[number] = Some(line);
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "a log was cut"),
    }
}

fn params(source: &LogSource) -> LogParams {
    LogParams { container: Some(source.container.clone()), previous: source.previous, timestamps: true, ..LogParams::default() }
}

/// Rounded up: the API takes whole seconds.
fn seconds(since: Duration) -> i64 {
    i64::try_from(since.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX).max(1)
}

fn of_sets(pod: &Pod, wanted: Option<&Wanted>) -> bool {
    let Some(Wanted { sets, .. }) = wanted else { return true };
    pod.metadata.owner_references.iter().flatten().any(|owner| sets.contains(&owner.uid))
}

/// Nothing can be read: there is no such pod any longer, or none has begun to say anything.
fn silent(query: &LogQuery, namespace: &str, pods: bool, release: Option<&Release>) -> Problem {
    let whose = release.map_or_else(|| query.name.clone(), |release| format!("revision {} of {}", release.revision, query.name));
    if pods {
        let message = format!("no container of {whose} in namespace {namespace} has a log yet");
        return Problem::new(Code::NotPublished, message).hint("shipway status shows what its pods wait for");
    }
    let problem = Problem::new(Code::NotPublished, format!("no pod of {whose} is left in namespace {namespace}"));
    let Some(release) = release else { return problem.hint("shipway status shows what runs; shipway scale brings pods back") };
    match (&release.job_url, release.outcome) {
        (Some(job), Outcome::Failed | Outcome::RolledBack) => problem.hint(format!("what its pods said is in the report of {job} (pods/)")),
        (None, Outcome::Failed | Outcome::RolledBack) => {
            problem.hint("what its pods said is in the report of the run that published it (pods/)")
        }
        _ => problem.hint("shipway logs without --revision shows the pods that run"),
    }
}

/// Init containers first, and the life before in front of the present one.
fn lives(pod: &Pod) -> Vec<LogSource> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let mut found = Vec::new();
    for status in statuses(pod) {
        let life = |previous| LogSource { pod: name.clone(), container: status.name.clone(), previous };
        if has_previous(status) {
            found.push(life(true));
        }
        if has_log(status) {
            found.push(life(false));
        }
    }
    found
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    init.chain(status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten())
}

/// While a container waits for its next start, both names mean its last life: then it is read as the one before.
fn has_log(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

fn has_previous(status: &ContainerStatus) -> bool {
    status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
}

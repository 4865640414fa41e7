//! Logs as they grow: pods that come are read, containers that start again too, and lines that come together are put in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll, unfold},
};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    api::LogParams,
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{LogLine, LogQuery, LogSource, has_log, has_previous, lines::Lines, of_sets, params, seconds, statuses};
use crate::{
    cluster::{
        connect::Cluster,
        problem,
        status::{is_of, selector},
    },
    domain::{
        problem::{Code, Result},
        rollout::uid,
    },
};

/// Lines that come within this time are put into their order before they are given on.
const WINDOW: Duration = Duration::from_millis(300);
/// More lines than that are given on at once.
const MOST_HELD: usize = 2000;
/// Before a log that was cut is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// One life of a container: its pod's uid, its name, how often it was started again.
type Life = (String, String, i32);

enum Piece {
    Line(Life, LogLine),
    End(Life),
}

struct Following<'a> {
    cluster: &'a Cluster,
    since: Option<Duration>,
    pods: BTreeMap<String, Pod>,
    begun: BTreeSet<Life>,
    /// Time of the last line of each life, from which on a log that was cut is read again.
    last: BTreeMap<Life, Timestamp>,
    streams: SelectAll<BoxStream<'static, Piece>>,
    held: BTreeMap<(Timestamp, u64), LogLine>,
    count: u64,
    flush: Option<Instant>,
}

impl Cluster {
    /// Gives what the pods say, and go on to say, to `each`, until it is cancelled. Fails as `log_sources` does for a revision of which no
    /// pod can come any more.
    pub async fn follow_logs(&self, query: &LogQuery, cancel: &CancellationToken, each: &mut dyn FnMut(LogLine)) -> Result<()> {
        let deployment = self.logged(&query.name).await?;
        let wanted = self.wanted(&deployment, query).await?;
        if wanted.as_ref().is_some_and(|wanted| !wanted.live) {
            self.log_sources(query).await?;
        }
        let ours = |pod: &Pod| is_of(&deployment, pod) && of_sets(pod, wanted.as_ref());
        let config = watcher::Config::default().labels(&selector(&deployment));
        let mut pods = watcher::watcher(self.pod_api(), config).default_backoff().boxed();
        let mut following = Following {
            cluster: self,
            since: query.since,
            pods: BTreeMap::new(),
            begun: BTreeSet::new(),
            last: BTreeMap::new(),
            streams: SelectAll::new(),
            held: BTreeMap::new(),
            count: 0,
            flush: None,
        };
        loop {
            let flush = following.flush.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                () = cancel.cancelled() => {
                    following.give(each);
                    return Ok(());
                }
                () = sleep_until(flush) => following.give(each),
                change = pods.next() => match change {
                    Some(Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) if ours(&pod) => following.see(pod),
                    Some(Ok(watcher::Event::Delete(pod))) => drop(following.pods.remove(&uid(&pod.metadata))),
                    Some(Err(error)) => self.bear(&error)?,
                    _ => {}
                },
                Some(piece) = following.streams.next() => {
                    following.take(piece);
                    if following.held.len() >= MOST_HELD {
                        following.give(each);
                    }
                }
            }
        }
    }

    /// What is refused for good ends the work; hiccups are borne, the stream comes back by itself.
    pub(in crate::cluster) fn bear(&self, error: &watcher::Error) -> Result<()> {
        let (watcher::Error::InitialListFailed(inner) | watcher::Error::WatchStartFailed(inner)) = error else { return Ok(()) };
        let problem = problem::problem(inner, self.action(("watch", "pods", "")));
        match problem.code {
            Code::ClusterForbidden | Code::ClusterUnauthorized => Err(problem),
            _ => Ok(()),
        }
    }
}

impl Following<'_> {
    /// Begins with the lives of a pod that are new.
    fn see(&mut self, pod: Pod) {
        let id = uid(&pod.metadata);
        let name = pod.metadata.name.clone().unwrap_or_default();
        for status in statuses(&pod) {
            let source = |previous| LogSource { pod: name.clone(), container: status.name.clone(), previous };
            let life = |restarts| (id.clone(), status.name.clone(), restarts);
            let (now, before) = (life(status.restart_count), life(status.restart_count - 1));
            if has_previous(status) && self.begun.insert(before.clone()) {
                let params = LogParams { since_seconds: self.since.map(seconds), ..params(&source(true)) };
                self.streams.push(stream(self.cluster.clone(), source(true), before, params, Duration::ZERO));
            }
            if has_log(status) && self.begun.insert(now.clone()) {
                // a life that began while we look is read whole
                let since = self.since.filter(|_| !self.pods.contains_key(&id)).map(seconds);
                let params = LogParams { since_seconds: since, follow: true, ..params(&source(false)) };
                self.streams.push(stream(self.cluster.clone(), source(false), now, params, Duration::ZERO));
            }
        }
        self.pods.insert(id, pod);
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Line(life, line) => {
                // what was given already comes again with the first second of a log that is opened anew
                if self.last.get(&life).is_some_and(|last| line.at < *last) {
                    return;
                }
                self.last.insert(life, line.at);
                self.count += 1;
                self.held.insert((line.at, self.count), line);
                self.flush.get_or_insert_with(|| Instant::now() + WINDOW);
            }
            Piece::End(life) => self.again(life),
        }
    }

    /// A container that still runs has not said its last word: the connection was cut.
    fn again(&mut self, life: Life) {
        let (id, container, restarts) = &life;
        let Some(pod) = self.pods.get(id) else { return };
        let runs = statuses(pod).any(|status| {
            status.name == *container
                && status.restart_count == *restarts
                && status.state.as_ref().is_some_and(|state| state.running.is_some())
        });
        if !runs || pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        let source = LogSource { pod: pod.metadata.name.clone().unwrap_or_default(), container: container.clone(), previous: false };
        let last = self.last.get(&life).and_then(|last| last.checked_add(Duration::from_nanos(1)).ok());
        if let Some(last) = last {
            self.last.insert(life.clone(), last);
        }
        let params = LogParams { since_time: last, follow: true, ..params(&source) };
        self.streams.push(stream(self.cluster.clone(), source, life, params, PAUSE));
    }

    fn give(&mut self, each: &mut dyn FnMut(LogLine)) {
        self.flush = None;
        std::mem::take(&mut self.held).into_values().for_each(each);
    }
}

enum State {
    Closed,
    Open(Box<Lines>),
    Ended,
}

/// Opens the log when it is first asked for a line.
fn stream(cluster: Cluster, source: LogSource, life: Life, params: LogParams, pause: Duration) -> BoxStream<'static, Piece> {
    let next = move |mut state: State| {
        let (cluster, source, life, params) = (cluster.clone(), source.clone(), life.clone(), params.clone());
        async move {
            if let State::Closed = state {
                sleep(pause).await;
                state = match cluster.open(&source, &params).await {
                    Ok(Some(reader)) => State::Open(Box::new(Lines::new(reader, &source))),
                    Ok(None) => State::Ended,
                    Err(problem) => {
                        tracing::debug!(%problem, "a log cannot be read");
                        return Some((Piece::End(life), State::Ended));
                    }
                };
            }
            let State::Open(mut lines) = state else { return None };
            match lines.next().await {
                Ok(Some(line)) => Some((Piece::Line(life, line), State::Open(lines))),
                Ok(None) | Err(_) => Some((Piece::End(life), State::Ended)),
            }
        }
    };
    unfold(State::Closed, next).boxed()
}

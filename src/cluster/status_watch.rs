//! What runs of an application, told anew whenever it changes: from watches alone.

use std::{collections::BTreeMap, time::Duration};

use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{ConfigMap, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Config, Event as Change},
    },
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    apply::Live,
    connect::Cluster,
    records::{self, read},
    status::{selector, status_of},
};
use crate::domain::{
    problem::{Code, Problem, Result},
    release::Release,
    status::Status,
    stuck::StuckPod,
};

/// Changes that come together are told together.
const SETTLE: Duration = Duration::from_millis(200);
/// So often it is told again without any change, because ages grow and pods get late.
const TICK: Duration = Duration::from_secs(10);

enum Seen {
    Deployment(Change<Deployment>),
    Pod(Change<Pod>),
    Autoscaler(Change<HorizontalPodAutoscaler>),
    Record(Change<ConfigMap>),
}

type Stream = BoxStream<'static, watcher::Result<Seen>>;

struct Board<'a> {
    cluster: &'a Cluster,
    name: &'a str,
    live: Live,
    pods: BTreeMap<String, Pod>,
    records: BTreeMap<String, Release>,
    stuck: Vec<StuckPod>,
    /// Whether Deployment and autoscaler were in the list that is coming in: what was deleted while no watch stood is in none.
    listed: (bool, bool),
}

impl Cluster {
    /// Tells `each` what runs, now and after every change, until it is cancelled. Fails with `not-published` when there is nothing, or
    /// no longer.
    pub async fn watch_status(&self, name: &str, cancel: &CancellationToken, each: &mut dyn FnMut(&Status)) -> Result<()> {
        let live = self.live(name).await?;
        let Some(deployment) = &live.deployment else { return Err(self.nothing(name)) };
        let mut streams: SelectAll<Stream> = SelectAll::new();
        let named = Config::default().fields(&format!("metadata.name={name}"));
        streams.push(self.seen(named.clone(), Seen::Deployment));
        streams.push(self.seen(Config::default().labels(&selector(deployment)), Seen::Pod));
        streams.push(self.seen(named, Seen::Autoscaler));
        streams.push(self.seen(Config::default().labels(&records::selector(name)), Seen::Record));
        let (pods, records) = (BTreeMap::new(), BTreeMap::new());
        let mut board = Board { cluster: self, name, live, pods, records, stuck: Vec::new(), listed: (false, false) };
        let mut tell = Instant::now() + SETTLE;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = sleep_until(tell) => {
                    board.look_for_stuck().await;
                    each(&board.status());
                    tell = Instant::now() + TICK;
                }
                seen = streams.next() => match seen {
                    Some(Ok(seen)) => {
                        board.see(seen)?;
                        tell = tell.min(Instant::now() + SETTLE);
                    }
                    Some(Err(error)) => self.bear(&error)?,
                    None => return Err(Problem::bug("the watches ended")),
                },
            }
        }
    }

    fn nothing(&self, name: &str) -> Problem {
        Problem::new(Code::NotPublished, format!("there is no deployment {name} in namespace {}", self.namespace))
    }

    fn seen<K>(&self, config: Config, seen: fn(Change<K>) -> Seen) -> Stream
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + 'static,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        watcher::watcher(api, config).default_backoff().map(move |change| change.map(seen)).boxed()
    }
}

impl Board<'_> {
    fn see(&mut self, seen: Seen) -> Result<()> {
        match seen {
            Seen::Deployment(Change::Init) => self.listed.0 = false,
            Seen::Deployment(Change::Apply(deployment) | Change::InitApply(deployment)) => {
                (self.live.deployment, self.listed.0) = (Some(deployment), true);
            }
            Seen::Deployment(Change::InitDone) if self.listed.0 => {}
            Seen::Deployment(Change::Delete(_) | Change::InitDone) => return Err(self.cluster.nothing(self.name)),
            Seen::Autoscaler(Change::Init) => self.listed.1 = false,
            Seen::Autoscaler(Change::Apply(autoscaler) | Change::InitApply(autoscaler)) => {
                (self.live.autoscaler, self.listed.1) = (Some(autoscaler), true);
            }
            Seen::Autoscaler(Change::InitDone) if self.listed.1 => {}
            Seen::Autoscaler(Change::Delete(_) | Change::InitDone) => self.live.autoscaler = None,
            Seen::Pod(Change::Init) => self.pods.clear(),
            Seen::Pod(Change::Apply(pod) | Change::InitApply(pod)) => drop(self.pods.insert(pod.name_any(), pod)),
            Seen::Pod(Change::Delete(pod)) => drop(self.pods.remove(&pod.name_any())),
            Seen::Record(Change::Init) => self.records.clear(),
            Seen::Record(Change::Apply(map) | Change::InitApply(map)) => {
                if let Some(release) = read(&map) {
                    self.records.insert(map.name_any(), release);
                }
            }
            Seen::Record(Change::Delete(map)) => drop(self.records.remove(&map.name_any())),
            Seen::Pod(Change::InitDone) | Seen::Record(Change::InitDone) => {}
        }
        Ok(())
    }

    /// Nodes and events are asked for only when another pod is late than before.
    async fn look_for_stuck(&mut self) {
        let now = Timestamp::now();
        let late: Vec<Pod> = self.pods.values().filter(|pod| StuckPod::look(pod, None, now).is_some()).cloned().collect();
        if !late.iter().map(|pod| pod.name_any()).eq(self.stuck.iter().map(|stuck| stuck.name.clone())) {
            self.stuck = self.cluster.stuck_of(&late).await.unwrap_or_default();
        }
    }

    fn status(&self) -> Status {
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        let mut releases: Vec<Release> = self.records.values().cloned().collect();
        releases.sort_by_key(|release| release.revision);
        Status { stuck: self.stuck.clone(), ..status_of(self.name, &self.live, &pods, releases) }
    }
}

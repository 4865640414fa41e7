//! What runs of an application, told anew whenever it changes: from watches alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll, unfold},
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{ConfigMap, Pod, Service},
        policy::v1::PodDisruptionBudget,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Resource,
    runtime::{
        reflector::store::Writer,
        watcher::{self, Config, Event as Change},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    apply::{Applied, Live},
    connect::Cluster,
    problem,
    records::{self, read},
    status::{is_of, selector, status_of},
};
use crate::domain::{
    problem::{Code, Problem, Result},
    release::Release,
    status::Status,
    stuck::{NodeState, StuckPod, node_name},
};

/// Changes that come together are told together.
const SETTLE: Duration = Duration::from_millis(200);
/// So often it is told again without any change, because ages grow and pods get late.
const TICK: Duration = Duration::from_secs(10);
/// Before a watch that failed begins anew, with a list.
const PAUSE: Duration = Duration::from_secs(1);
/// A watch that is cut is back at once, as a rule: only after this time it is worth a word.
const PATIENCE: Duration = Duration::from_secs(3);

/// A kind as API paths and roles call it.
type Kind = &'static str;
const PODS: Kind = "pods";
/// What an account of an older Role may not watch; it is read at each tick instead.
const MAY_BE_REFUSED: [Kind; 2] = [Service::RESOURCE, PodDisruptionBudget::RESOURCE];

enum Seen {
    Deployment(Change<Deployment>),
    Service(Change<Service>),
    Autoscaler(Change<HorizontalPodAutoscaler>),
    Disruption(Change<PodDisruptionBudget>),
    Pod(Change<Pod>),
    Record(Change<ConfigMap>),
}

type Watch = BoxStream<'static, watcher::Result<Seen>>;

/// A watch that begins anew, with a list, after each error: with the list's end it is known that it stands again.
struct Feed {
    kind: Kind,
    begin: Box<dyn Fn() -> Watch + Send + Sync>,
    stands: Option<Watch>,
    failed: bool,
    refused: bool,
}

impl Feed {
    async fn next(mut self) -> Option<((Kind, watcher::Result<Seen>), Self)> {
        if self.refused {
            return None;
        }
        if self.stands.is_none() && self.failed {
            sleep(PAUSE).await;
        }
        let begin = &self.begin;
        let seen = self.stands.get_or_insert_with(begin).next().await?;
        if let Err(error) = &seen {
            (self.stands, self.failed, self.refused) = (None, true, is_refused(error));
        }
        Some(((self.kind, seen), self))
    }
}

/// For good: asking again would bring the same answer.
fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            matches!(status.code, 401 | 403)
        }
        _ => false,
    }
}

/// What the watches have brought. A list that comes in takes the place of what was there when it is whole.
#[derive(Default)]
struct Stores {
    deployments: Writer<Deployment>,
    services: Writer<Service>,
    autoscalers: Writer<HorizontalPodAutoscaler>,
    disruptions: Writer<PodDisruptionBudget>,
    pods: Writer<Pod>,
    records: Writer<ConfigMap>,
}

struct Board<'a> {
    cluster: &'a Cluster,
    name: &'a str,
    stores: Stores,
    /// Kinds whose first list is not in.
    awaited: BTreeSet<Kind>,
    /// Kinds whose watch does not stand, and since when.
    lost: BTreeMap<Kind, Timestamp>,
    /// Kinds that may not be watched.
    refused: BTreeSet<Kind>,
    stuck: Vec<StuckPod>,
    /// When nodes, events and what may not be watched were asked for last.
    asked: Option<Instant>,
}

impl Cluster {
    /// Tells `each` what runs, now and after every change, until it is cancelled. Fails with `not-published` when there is nothing, or
    /// no longer.
    pub async fn watch_status(&self, name: &str, cancel: &CancellationToken, each: &mut dyn FnMut(&Status)) -> Result<()> {
        let Some(deployment) = self.get::<Deployment>(name).await? else { return Err(self.nothing(name)) };
        let named = Config::default().fields(&format!("metadata.name={name}"));
        let mut streams = SelectAll::new();
        streams.push(self.feed(Deployment::RESOURCE, named.clone(), Seen::Deployment));
        streams.push(self.feed(Service::RESOURCE, named.clone(), Seen::Service));
        streams.push(self.feed(HorizontalPodAutoscaler::RESOURCE, named.clone(), Seen::Autoscaler));
        streams.push(self.feed(PodDisruptionBudget::RESOURCE, named, Seen::Disruption));
        streams.push(self.feed(PODS, Config::default().labels(&selector(&deployment)), Seen::Pod));
        streams.push(self.feed(ConfigMap::RESOURCE, Config::default().labels(&records::selector(name)), Seen::Record));
        let mut board = Board::new(self, name);
        let mut tell = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = sleep_until(tell), if board.awaited.is_empty() => {
                    board.ask().await;
                    each(&board.status());
                    tell = Instant::now() + if board.lost.is_empty() { TICK } else { PATIENCE };
                }
                seen = streams.next() => match seen {
                    Some((kind, Ok(seen))) => {
                        board.see(kind, seen)?;
                        tell = tell.min(Instant::now() + SETTLE);
                    }
                    Some((kind, Err(error))) => {
                        board.lose(kind, &error)?;
                        tell = tell.min(Instant::now() + PATIENCE);
                    }
                    None => return Err(Problem::bug("the watches ended")),
                },
            }
        }
    }

    fn nothing(&self, name: &str) -> Problem {
        Problem::new(Code::NotPublished, format!("there is no deployment {name} in namespace {}", self.namespace))
    }

    fn feed<K>(&self, kind: Kind, config: Config, seen: fn(Change<K>) -> Seen) -> BoxStream<'static, (Kind, watcher::Result<Seen>)>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let begin = move || watcher::watcher(api.clone(), config.clone()).map(move |change| change.map(seen)).boxed();
        let feed = Feed { kind, begin: Box::new(begin), stands: None, failed: false, refused: false };
        unfold(feed, Feed::next).boxed()
    }
}

impl<'a> Board<'a> {
    fn new(cluster: &'a Cluster, name: &'a str) -> Self {
        let own = [Deployment::RESOURCE, HorizontalPodAutoscaler::RESOURCE, PODS, ConfigMap::RESOURCE];
        let awaited = own.into_iter().chain(MAY_BE_REFUSED).collect();
        Board {
            cluster,
            name,
            stores: Stores::default(),
            awaited,
            lost: BTreeMap::new(),
            refused: BTreeSet::new(),
            stuck: Vec::new(),
            asked: None,
        }
    }

    fn see(&mut self, kind: Kind, seen: Seen) -> Result<()> {
        let stores = &mut self.stores;
        let whole = match seen {
            Seen::Deployment(change) => take(&mut stores.deployments, &change),
            Seen::Service(change) => take(&mut stores.services, &change),
            Seen::Autoscaler(change) => take(&mut stores.autoscalers, &change),
            Seen::Disruption(change) => take(&mut stores.disruptions, &change),
            Seen::Pod(change) => take(&mut stores.pods, &change),
            Seen::Record(change) => take(&mut stores.records, &change),
        };
        if whole {
            self.awaited.remove(kind);
            self.lost.remove(kind);
        }
        let listed = !self.awaited.contains(Deployment::RESOURCE);
        if listed && one(&self.stores.deployments).is_none() {
            return Err(self.cluster.nothing(self.name));
        }
        Ok(())
    }

    /// What is refused for good ends the work, but for what can be read instead; everything else is borne, and said.
    fn lose(&mut self, kind: Kind, error: &watcher::Error) -> Result<()> {
        if is_refused(error) && MAY_BE_REFUSED.contains(&kind) {
            self.awaited.remove(kind);
            self.lost.remove(kind);
            self.refused.insert(kind);
            self.asked = None;
            return Ok(());
        }
        match error {
            watcher::Error::InitialListFailed(inner) | watcher::Error::WatchStartFailed(inner)
                if is_refused(error) || self.awaited.contains(kind) =>
            {
                Err(problem::problem(inner, self.cluster.action(("watch", kind, ""))))
            }
            _ => {
                self.lost.entry(kind).or_insert_with(Timestamp::now);
                Ok(())
            }
        }
    }

    /// Asks for what no watch tells: nodes and events of pods that are late, when there is another one, and again at each tick.
    async fn ask(&mut self) {
        let pods = self.pods();
        let now = Timestamp::now();
        let late: Vec<Pod> = pods.into_iter().filter(|pod| StuckPod::look(pod, None, now).is_some()).collect();
        let same = late.iter().map(|pod| pod.metadata.name.as_deref()).eq(self.stuck.iter().map(|stuck| Some(stuck.name.as_str())));
        let due = self.asked.is_none_or(|asked| asked.elapsed() >= TICK);
        // while nobody answers, the question would only hold up the screen
        let heard = self.lost.is_empty();
        if heard && due {
            self.read_refused().await;
            self.asked = Some(Instant::now());
        }
        let asked = if heard && (due || !same) { self.cluster.stuck_of(&late).await.ok() } else { None };
        self.stuck = asked.unwrap_or_else(|| late.iter().filter_map(|pod| known(pod, &self.stuck, now)).collect());
    }

    async fn read_refused(&mut self) {
        let (cluster, name) = (self.cluster, self.name);
        if self.refused.contains(Service::RESOURCE)
            && let Ok(service) = cluster.get(name).await
        {
            put(&mut self.stores.services, service);
        }
        if self.refused.contains(PodDisruptionBudget::RESOURCE)
            && let Ok(disruption) = cluster.get(name).await
        {
            put(&mut self.stores.disruptions, disruption);
        }
    }

    fn pods(&self) -> Vec<Pod> {
        let Some(deployment) = one(&self.stores.deployments) else { return Vec::new() };
        let mut pods: Vec<Pod> = all(&self.stores.pods).filter(|pod| is_of(&deployment, pod)).map(|pod| pod.as_ref().clone()).collect();
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        pods
    }

    fn status(&self) -> Status {
        let stores = &self.stores;
        let live = Live {
            deployment: one(&stores.deployments),
            service: one(&stores.services),
            autoscaler: one(&stores.autoscalers),
            disruption: one(&stores.disruptions),
        };
        let mut releases: Vec<Release> = all(&stores.records).filter_map(|map| read(&map)).collect();
        releases.sort_by_key(|release| release.revision);
        Status { stuck: self.stuck.clone(), unheard_since: self.unheard_since(), ..status_of(self.name, &live, &self.pods(), releases) }
    }

    fn unheard_since(&self) -> Option<String> {
        let since = *self.lost.values().min()?;
        let silent = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
        (silent >= PATIENCE).then(|| Timestamp::from_second(since.as_second()).unwrap_or(since).to_string())
    }
}

/// Whether a list is whole with it.
fn take<K>(store: &mut Writer<K>, change: &Change<K>) -> bool
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.apply_watcher_event(change);
    matches!(change, Change::InitDone)
}

/// In the place of all that was there.
fn put<K>(store: &mut Writer<K>, object: Option<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let objects = object.into_iter().map(Change::InitApply);
    [Change::Init].into_iter().chain(objects).chain([Change::InitDone]).for_each(|change| store.apply_watcher_event(&change));
}

fn all<K>(store: &Writer<K>) -> impl Iterator<Item = Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.as_reader().state().into_iter()
}

fn one<K>(store: &Writer<K>) -> Option<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    all(store).next().map(|object| object.as_ref().clone())
}

/// A late pod as it is now, with what was known of its node.
fn known(pod: &Pod, before: &[StuckPod], now: Timestamp) -> Option<StuckPod> {
    let before = before.iter().find(|stuck| Some(&stuck.name) == pod.metadata.name.as_ref());
    let node = match before {
        Some(before) => before.node_state.clone(),
        None => node_name(pod).map(|_| NodeState::Hidden),
    };
    Some(StuckPod { event: before.and_then(|before| before.event.clone()), ..StuckPod::look(pod, node, now)? })
}

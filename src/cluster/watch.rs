//! Watches a rollout: lists and watches of this one application, and the verdict of `domain::rollout` on what they bring.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event as CoreEvent, Pod},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Config, Event as Change},
    },
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{connect::Cluster, lease::Lock, problem, status::selector};
use crate::domain::{
    event::{Event, Events},
    problem::{Code, Problem, Result},
    rollout::{Budgets, Expect, Finding, Judgement, Progress, Rollout, Verdict, state, uid},
};

/// How often it is said what is waited for.
const REMIND: Duration = Duration::from_secs(20);
/// Pods whose events are followed, at most.
const FOLLOWED: usize = 3;
/// Lists that have to be complete before the first verdict: Deployment, ReplicaSets, pods, and EndpointSlices with a Service.
const LISTS: usize = 3;
/// How long what could be watched before may be forbidden: an API server that has just started does not know its roles yet.
const FORBIDDEN: Duration = Duration::from_secs(30);

/// How the watch ended.
#[derive(Debug)]
pub enum Ended {
    Done,
    Doomed(Box<Finding>),
    Cancelled,
    LockLost,
}

/// What to watch.
pub struct Watch<'a> {
    /// The Deployment as the API server answered our patch.
    pub deployment: &'a Deployment,
    pub service: bool,
    pub budgets: Budgets,
    pub lock: &'a Lock,
    pub events: &'a Events,
    pub cancel: &'a CancellationToken,
}

enum Seen {
    Deployment(Change<Deployment>),
    Set(Change<ReplicaSet>),
    Pod(Change<Pod>),
    Slice(Change<EndpointSlice>),
    Event(Change<CoreEvent>),
}

type Stream = BoxStream<'static, watcher::Result<Seen>>;

impl Cluster {
    /// Watches until the rollout is done or doomed; the last state seen goes back with it, for the evidence.
    pub(super) async fn watch(&self, watch: &Watch<'_>) -> Result<(Ended, Rollout)> {
        let expect = Expect::of(watch.deployment, watch.service);
        let mut watching = Watching {
            cluster: self,
            watch,
            rollout: Rollout::new(expect, watch.budgets.clone()),
            streams: self.streams(watch),
            listing: BTreeMap::new(),
            listed: BTreeSet::new(),
            there: false,
            followed: BTreeMap::new(),
            pods: BTreeMap::new(),
            progress: None,
            warned: BTreeSet::new(),
            began: Instant::now(),
            forbidden: None,
        };
        let ended = watching.run().await?;
        Ok((ended, watching.rollout))
    }

    fn streams(&self, watch: &Watch<'_>) -> SelectAll<Stream> {
        let name = watch.deployment.name_any();
        let selector = selector(watch.deployment);
        let mut streams = SelectAll::new();
        streams.push(self.stream(Config::default().fields(&format!("metadata.name={name}")), Seen::Deployment));
        streams.push(self.stream(Config::default().labels(&selector), Seen::Set));
        streams.push(self.stream(Config::default().labels(&selector), Seen::Pod));
        if watch.service {
            streams.push(self.stream(Config::default().labels(&format!("kubernetes.io/service-name={name}")), Seen::Slice));
        }
        streams
    }

    /// Lists, then watches, and lists anew when the watch is cut for good; pauses grow while the API server fails.
    fn stream<K>(&self, config: Config, seen: fn(Change<K>) -> Seen) -> Stream
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

struct Watching<'a> {
    cluster: &'a Cluster,
    watch: &'a Watch<'a>,
    rollout: Rollout,
    streams: SelectAll<Stream>,
    /// Uids of a list that is coming in, by kind.
    listing: BTreeMap<&'static str, Vec<String>>,
    listed: BTreeSet<&'static str>,
    /// The Deployment was in the list that is coming in.
    there: bool,
    /// Pods whose events are read; the watch of one ends with its guard.
    followed: BTreeMap<String, DropGuard>,
    /// What was last said of each pod: name, state, ready.
    pods: BTreeMap<String, (String, String, bool)>,
    progress: Option<Progress>,
    warned: BTreeSet<String>,
    began: Instant,
    /// Since when it has been forbidden to watch what could be watched before.
    forbidden: Option<Instant>,
}

impl Watching<'_> {
    async fn run(&mut self) -> Result<Ended> {
        let mut remind = self.began + REMIND;
        loop {
            let mut wake = remind;
            if self.is_complete() {
                let judgement = self.rollout.judge(self.began.elapsed());
                self.say();
                match judgement.verdict {
                    Verdict::Done => return Ok(Ended::Done),
                    Verdict::Doomed(finding) => return Ok(Ended::Doomed(Box::new(finding))),
                    Verdict::Going => {}
                }
                self.warn(&judgement);
                self.follow();
                if Instant::now() >= remind {
                    let seconds = self.began.elapsed().as_secs();
                    self.watch.events.emit(Event::Waiting { what: judgement.waiting.clone(), seconds });
                    remind = Instant::now() + REMIND;
                }
                wake = remind.min(self.began + judgement.wake);
            } else if self.began.elapsed() >= self.watch.budgets.timeout {
                let finding = Problem::new(Code::ReleaseStateUnknown, "the API server did not let the rollout be watched in time");
                return Err(finding.unrestored());
            }
            tokio::select! {
                biased;
                () = self.watch.lock.lost().cancelled() => return Ok(Ended::LockLost),
                () = self.watch.cancel.cancelled() => return Ok(Ended::Cancelled),
                seen = self.streams.next() => match seen {
                    Some(Ok(seen)) => self.see(seen),
                    Some(Err(error)) => self.bear(&error)?,
                    None => return Err(Problem::bug("the watches ended")),
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.listed.len() >= LISTS + usize::from(self.watch.service)
    }

    fn see(&mut self, seen: Seen) {
        self.forbidden = None;
        let at = self.began.elapsed();
        match seen {
            Seen::Deployment(change) => match change {
                Change::Apply(deployment) | Change::InitApply(deployment) => {
                    self.there = true;
                    self.rollout.see_deployment(Some(deployment), at);
                }
                Change::Delete(_) => self.rollout.see_deployment(None, at),
                Change::Init => self.there = false,
                Change::InitDone => {
                    if !self.there {
                        self.rollout.see_deployment(None, at);
                    }
                    self.listed.insert("deployment");
                }
            },
            Seen::Set(change) => {
                if let Some(set) = self.track("set", change, Rollout::keep_sets) {
                    self.rollout.see_set(set, at);
                }
            }
            Seen::Slice(change) => {
                if let Some(slice) = self.track("slice", change, Rollout::keep_slices) {
                    self.rollout.see_slice(slice);
                }
            }
            Seen::Pod(change) => {
                if let Some(pod) = self.track("pod", change, Rollout::keep_pods) {
                    self.rollout.see_pod(pod, at);
                }
            }
            Seen::Event(Change::Apply(event) | Change::InitApply(event)) => self.rollout.see_event(event),
            Seen::Event(_) => {}
        }
    }

    /// Keeps book of lists and deletions; gives the object of any other change.
    fn track<K: Resource>(&mut self, kind: &'static str, change: Change<K>, keep: fn(&mut Rollout, &[String])) -> Option<K> {
        match change {
            Change::Init => {
                self.listing.insert(kind, Vec::new());
                None
            }
            Change::InitDone => {
                keep(&mut self.rollout, &self.listing.remove(kind).unwrap_or_default());
                self.listed.insert(kind);
                None
            }
            Change::Delete(object) => {
                self.rollout.gone(&uid(object.meta()));
                None
            }
            Change::InitApply(object) => {
                self.listing.entry(kind).or_default().push(uid(object.meta()));
                Some(object)
            }
            Change::Apply(object) => Some(object),
        }
    }

    /// What is refused for good ends the watch; hiccups are borne, the streams come back by themselves.
    fn bear(&mut self, error: &watcher::Error) -> Result<()> {
        let inner = match error {
            watcher::Error::InitialListFailed(inner) | watcher::Error::WatchStartFailed(inner) => inner,
            other => {
                tracing::debug!(%other, "a watch was cut");
                return Ok(());
            }
        };
        let action = self.cluster.action(("watch", "deployments, replicasets, pods and endpointslices", ""));
        let problem = problem::problem(inner, action);
        tracing::debug!(%problem, "a watch failed");
        match problem.code {
            Code::ClusterForbidden if self.is_complete() && self.forbidden.get_or_insert_with(Instant::now).elapsed() < FORBIDDEN => Ok(()),
            Code::ClusterForbidden | Code::ClusterUnauthorized => Err(problem.unrestored()),
            _ => Ok(()),
        }
    }

    /// Pods and counts that changed since the last word about them.
    fn say(&mut self) {
        if self.rollout.newest().is_none() {
            return;
        }
        let mut present = BTreeSet::new();
        for watched in self.rollout.pods() {
            present.insert(watched.uid().to_string());
            let now = (watched.name().to_string(), state(&watched.pod), watched.is_ready());
            let old = self.rollout.is_old(&watched.pod);
            let before = self.pods.insert(watched.uid().to_string(), now.clone());
            if before.as_ref() != Some(&now) && !(old && before.is_none()) {
                self.watch.events.emit(Event::Pod { name: now.0, state: now.1, ready: now.2, old });
            }
        }
        let gone: Vec<String> = self.pods.keys().filter(|uid| !present.contains(*uid)).cloned().collect();
        for (name, _, _) in gone.iter().filter_map(|uid| self.pods.remove(uid)) {
            self.watch.events.emit(Event::Pod { name, state: "gone".to_string(), ready: false, old: true });
        }
        let progress = self.rollout.progress();
        if self.progress.replace(progress) != Some(progress) {
            let Progress { desired, updated, ready, available } = progress;
            self.watch.events.emit(Event::Rollout { desired, updated, ready, available });
        }
    }

    fn warn(&mut self, judgement: &Judgement) {
        for finding in &judgement.warnings {
            let key = format!("{} {}", finding.pod.as_deref().unwrap_or_default(), finding.code.slug());
            if self.warned.insert(key) {
                self.watch.events.warning(finding.message.clone(), finding.hint.clone().unwrap_or_else(|| finding.code.fix().to_string()));
            }
        }
    }

    /// Events are read of pods in trouble alone, each by a watch on that one pod.
    fn follow(&mut self) {
        let troubled = self.rollout.troubled(self.began.elapsed());
        // a pod that got ready makes room for another
        self.followed.retain(|uid, _| troubled.contains(uid));
        for uid in troubled {
            if self.followed.contains_key(&uid) {
                continue;
            }
            if self.followed.len() >= FOLLOWED {
                self.rollout.follows_only(self.followed.keys().cloned().collect());
                return;
            }
            let config = Config::default().fields(&format!("involvedObject.uid={uid}"));
            let end = CancellationToken::new();
            self.streams.push(self.cluster.stream(config, Seen::Event).take_until(end.clone().cancelled_owned()).boxed());
            self.followed.insert(uid, end.drop_guard());
        }
        self.rollout.follows_all();
    }
}

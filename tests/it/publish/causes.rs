//! How causes are provoked on the real kubelet and measured: a good release, then a broken one, watched from outside as well.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ContainerStatus, Event as CoreEvent, Pod},
};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use shipway::{
    cluster::Publish,
    domain::{
        event::{Event, Events},
        problem::{EvidenceKind, Problem},
        workload::Workload,
    },
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, NAME, image};
use crate::support::lab::lab;

const CANNOT_PULL: &[&str] = &["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"];
const CANNOT_START: &[&str] = &["CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff"];

/// What the cluster shows when the cause is there.
pub enum Sign {
    Pod(fn(&Pod) -> bool),
    Set(fn(&ReplicaSet) -> bool),
    Deployment(fn(&Deployment) -> bool),
    Event(fn(&CoreEvent) -> bool),
}

/// What came of a broken release.
pub struct Broken {
    pub problem: Problem,
    /// From the moment that the cluster shows the cause to our verdict with its evidence.
    pub seconds: f64,
}

impl Broken {
    pub fn evidence(&self, kind: EvidenceKind) -> String {
        let of_kind = self.problem.evidence.iter().filter(|evidence| evidence.kind == kind);
        of_kind.map(|evidence| format!("{}\n{}\n", evidence.source, evidence.text)).collect()
    }

    /// Classes that are fatal at once: long before the shortest budget, 30 seconds, could have run out. How soon it really is, is measured
    /// by `benches/verdicts.sh`, on a machine that does nothing else.
    pub fn at_once(self) -> Self {
        assert!(self.seconds <= 15.0, "{}: {:.2} s from the cause to the verdict", self.problem.code.slug(), self.seconds);
        self
    }

    pub fn code(self, slug: &str) -> Self {
        assert_eq!(self.problem.code.slug(), slug, "{:?}", self.problem);
        self
    }

    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.problem.message.contains(word), "{word:?} is not in: {}", self.problem.message);
        }
        self
    }

    pub fn hints(self, words: &str) -> Self {
        assert!(self.problem.hint.contains(words), "{words:?} is not in: {}", self.problem.hint);
        self
    }

    pub fn shows(self, kind: EvidenceKind, words: &str) -> Self {
        assert!(self.evidence(kind).contains(words), "{words:?} is not in: {:#?}", self.problem.evidence);
        self
    }
}

/// A pod that is not the good release's has a container of which this is true.
pub fn container(pod: &Pod, is: impl Fn(&ContainerStatus) -> bool) -> bool {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    init.chain(status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten()).any(is)
}

/// It waits for this reason.
pub fn waits(status: &ContainerStatus, reasons: &[&str]) -> bool {
    let reason = status.state.as_ref().and_then(|state| state.waiting.as_ref()?.reason.as_deref());
    reason.is_some_and(|reason| reasons.contains(&reason))
}

/// It has ended twice: the budget.
pub fn ended_twice(status: &ContainerStatus) -> bool {
    let down = waits(status, &["CrashLoopBackOff"]) || status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    status.restart_count + i32::from(down) >= 2
}

pub fn pull_fails() -> Sign {
    Sign::Pod(|pod| container(pod, |status| waits(status, CANNOT_PULL)))
}

pub fn start_fails() -> Sign {
    Sign::Pod(|pod| container(pod, |status| waits(status, CANNOT_START)))
}

pub fn ends_twice() -> Sign {
    Sign::Pod(|pod| container(pod, ended_twice))
}

pub fn refused() -> Sign {
    Sign::Set(|set| {
        let conditions = set.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")
    })
}

/// Makes an object of the ground's namespace.
pub async fn create<K>(ground: &Ground, object: Value)
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object).unwrap();
    ground.api::<K>().await.create(&PostParams::default(), &object).await.unwrap();
}

/// Publishes something good, then what is broken, and expects the good one back, verified. The preflight is off: it would find most of
/// this before anything changes. The line that is printed goes into the table of `benches/verdicts.sh`.
pub async fn broken(ground: &Ground, class: &str, sign: Sign, change: impl FnOnce(&mut Workload)) -> Broken {
    ground.publish_tag("1", 1).await.unwrap();
    broken_next(ground, class, sign, change).await
}

/// The broken release alone, on top of what was published as number 1.
pub async fn broken_next(ground: &Ground, class: &str, sign: Sign, change: impl FnOnce(&mut Workload)) -> Broken {
    let mut workload = ground.workload("1");
    change(&mut workload);
    let publish = Publish { preflight: false, ..ground.publish_of(workload, 2) };
    let shown = Arc::new(Mutex::new(None));
    let watching = tokio::spawn(look_out(ground.namespace.name.clone(), sign, shown.clone()));
    let beside = Arc::new(Mutex::new(None));
    let rules = tokio::spawn(doomed_by_polling_rules(ground.namespace.name.clone(), ground.pod_names().await, beside.clone()));
    let judged = Arc::new(Mutex::new(None));
    let (sink, said) = (judged.clone(), ground.events.clone());
    let events = Events::new(move |event| {
        if matches!(event, Event::RollingBack { revision: 1, .. }) {
            sink.lock().unwrap().get_or_insert_with(Instant::now);
        }
        said.emit(event);
    });
    let problem = ground.cluster().await.publish(&publish, &events, &CancellationToken::new()).await.unwrap_err();
    watching.abort();
    rules.abort();
    let (shown, judged) = (*shown.lock().unwrap(), *judged.lock().unwrap());
    let judged = judged.unwrap_or_else(|| panic!("it was not rolled back: {problem:?}"));
    let shown = shown.unwrap_or_else(|| panic!("the cluster did not show the cause: {problem:?}"));
    let seconds = judged.saturating_duration_since(shown).as_secs_f64();
    let beside = *beside.lock().unwrap();
    let beside = beside.map_or("-".to_string(), |beside: Instant| format!("{:.2}", beside.saturating_duration_since(shown).as_secs_f64()));
    println!("verdict\t{class}\t{}\t{seconds:.2}\t{beside}\t{}", problem.code.slug(), problem.message);
    is_back(ground, &problem).await;
    Broken { problem, seconds }
}

async fn is_back(ground: &Ground, problem: &Problem) {
    assert_eq!(problem.exit_code(), 50, "{problem:?}");
    assert!(problem.message.contains("revision 1 (version 1) is back and verified"), "{}", problem.message);
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
    assert_eq!(ground.deployment().await.metadata.annotations.unwrap()["shipway.dev/revision"], "1");
    let status = ground.cluster().await.status(NAME).await.unwrap();
    assert_eq!(status.revisions[0].problem.as_deref(), Some(problem.code.slug()));
}

/// Keeps the time at which the cluster showed the sign, as its own watch saw it.
async fn look_out(namespace: String, sign: Sign, shown: Arc<Mutex<Option<Instant>>>) {
    let found = match sign {
        Sign::Pod(is) => seen(&namespace, is).await,
        Sign::Set(is) => seen(&namespace, is).await,
        Sign::Deployment(is) => seen(&namespace, is).await,
        Sign::Event(is) => seen(&namespace, is).await,
    };
    *shown.lock().unwrap() = Some(found);
}

/// When all new pods were doomed by the rules that Krane has (`Pod` and `Container` in its sources), which a poll every three seconds then
/// finds; for the table of `benches/verdicts.sh`.
async fn doomed_by_polling_rules(namespace: String, old: Vec<String>, when: Arc<Mutex<Option<Instant>>>) {
    let api: Api<Pod> = Api::namespaced(lab().client().await, &namespace);
    let mut objects = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
    let mut pods = BTreeMap::new();
    while let Some(next) = objects.next().await {
        let Ok(pod) = next else { continue };
        let name = pod.metadata.name.clone().unwrap_or_default();
        if old.contains(&name) || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        pods.insert(name, pod);
        if pods.values().all(is_doomed_by_polling_rules) {
            when.lock().unwrap().get_or_insert_with(Instant::now);
            return;
        }
    }
}

fn is_doomed_by_polling_rules(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let failed = status.and_then(|status| status.phase.as_deref()) == Some("Failed");
    let passing = status.and_then(|status| status.reason.as_deref()).is_some_and(|reason| ["Evicted", "Preempting"].contains(&reason));
    let doomed = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default().to_lowercase();
        let ended = state.and_then(|state| state.terminated.as_ref());
        let before = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        // what has ended twice, or cannot be started, is told to crash again and again within seconds
        let crashes = ended_twice(status) || waits(status, &["CrashLoopBackOff", "RunContainerError"]);
        let absent = waits(status, &["ErrImagePull"]) && message.contains("not found");
        let unconfigured = waits(status, &["CreateContainerConfigError"]) && !message.contains("failed to sync");
        let unstarted =
            [ended, before].into_iter().flatten().any(|end| end.reason.as_deref() == Some("ContainerCannotRun") && end.exit_code != 128);
        crashes || absent || unconfigured || unstarted
    };
    (failed && !passing) || container(pod, doomed)
}

async fn seen<K>(namespace: &str, is: fn(&K) -> bool) -> Instant
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<K> = Api::namespaced(lab().client().await, namespace);
    let mut objects = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
    loop {
        match objects.try_next().await {
            Ok(Some(object)) if is(&object) => return Instant::now(),
            Ok(Some(_)) => {}
            // the watcher comes back by itself
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Gives the live Deployment fields that Shipway does not own, as somebody with kubectl would, and waits until it is up with them.
pub async fn edit(ground: &Ground, patch: Value) {
    let api = ground.api::<Deployment>().await;
    let params = PatchParams { field_manager: Some("kubectl-edit".to_string()), ..PatchParams::default() };
    api.patch(NAME, &params, &Patch::Strategic(&patch)).await.unwrap();
    for _ in 0..600 {
        let live = api.get(NAME).await.unwrap();
        let (generation, status) = (live.metadata.generation, live.status.unwrap_or_default());
        let up = [status.updated_replicas, status.available_replicas, status.replicas] == [Some(2); 3];
        if up && status.observed_generation == generation {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the edited deployment did not come up");
}

//! The publish lock: one Lease for each application, renewed in the background, taken over when its holder is gone.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions, WatchEvent, WatchParams},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{connect::Cluster, problem};
use crate::domain::{
    event::{Event, Events},
    manifests::{MANAGER, keys, label_value},
    problem::{Code, Problem, Result},
    units::format_duration,
};

/// Tells two runs with the same holder apart (a retried job, two shells of one person).
const RUN: &str = "shipway.dev/run";
/// Clocks of two runners may differ so much before a Lease that looks expired is believed to be so at first sight.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// How often it is said for whom we wait.
const REMIND: Duration = Duration::from_secs(20);
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);

/// Who wants the lock, for how long it lives without renewal, and how long to wait for it.
pub struct Wanted<'a> {
    pub application: &'a str,
    pub holder: &'a str,
    pub wait: Duration,
    pub ttl: Duration,
}

/// The lock, held. Dropping it without [`Lock::release`] lets it expire.
pub struct Lock {
    cluster: Cluster,
    name: String,
    fence: Fence,
    /// Ends the renewal when the lock goes out of scope.
    stop: DropGuard,
    renewal: JoinHandle<Lease>,
}

impl Cluster {
    /// Waits for the lock of an application and takes it.
    /// Fails with `lock-held` after the wait, with `cancelled` when that comes first.
    pub(super) async fn lock(&self, wanted: &Wanted<'_>, events: &Events, cancel: &CancellationToken) -> Result<Lock> {
        let name = lease_name(wanted.application);
        let run = format!("{:016x}", RandomState::new().build_hasher().finish());
        let mut queue =
            Queue { cluster: self, api: Api::namespaced(self.client.clone(), &self.namespace), name, run, wanted, events, cancel };
        let lease = queue.acquire().await?;
        let stop = CancellationToken::new();
        let Queue { api, run, name, .. } = queue;
        let fence = Fence::new(&name, wanted.ttl);
        let renewal = tokio::spawn(renew(api, lease, run, fence.clone(), stop.clone()));
        Ok(Lock { cluster: self.clone(), name, fence, stop: stop.drop_guard(), renewal })
    }
}

/// Says whether the lock still holds: nothing is changed any more once it does not.
#[derive(Clone)]
pub struct Fence {
    name: Arc<str>,
    lost: CancellationToken,
    /// When the last renewal that succeeded was sent.
    renewed: Arc<Mutex<Instant>>,
    ttl: Duration,
}

impl Fence {
    fn new(name: &str, ttl: Duration) -> Self {
        Fence { name: name.into(), lost: CancellationToken::new(), renewed: Arc::new(Mutex::new(Instant::now())), ttl }
    }

    fn age(&self) -> Duration {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn renew(&self, at: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Fails with `lock-lost`. A process that was stopped for a while finds out here, before its renewal does.
    pub fn check(&self) -> Result<()> {
        if self.lost.is_cancelled() || self.age() >= self.ttl { Err(lost(&self.name)) } else { Ok(()) }
    }
}

impl Lock {
    /// Cancelled when another run has taken the lock, or it can no longer be renewed.
    pub fn lost(&self) -> &CancellationToken {
        &self.fence.lost
    }

    /// What keeps a connection from changing anything when the lock is lost.
    pub(super) fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Asked before each change of the cluster.
    pub fn check(&self) -> Result<()> {
        self.fence.check()
    }

    /// Gives the lock back, as the last thing of a run. A failure only means that the next run waits until it expires.
    pub async fn release(self) {
        drop(self.stop);
        let Ok(mut lease) = self.renewal.await else { return };
        if self.fence.lost.is_cancelled() {
            return;
        }
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(now());
        let api: Api<Lease> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let action = ("update", "leases", self.name.as_str());
        if let Err(problem) = self.cluster.call(action, api.replace(&self.name, &PostParams::default(), &lease)).await {
            tracing::warn!(%problem, lease = self.name, "the lock was not released and will expire");
        }
    }

    /// Deletes the Lease, while nobody else can have it: the application is gone.
    pub async fn dispose(self) -> Result<()> {
        drop(self.stop);
        let Ok(lease) = self.renewal.await else { return Ok(()) };
        self.fence.check()?;
        let ours = Preconditions { uid: lease.metadata.uid, resource_version: lease.metadata.resource_version };
        let params = DeleteParams { preconditions: Some(ours), ..DeleteParams::default() };
        let api: Api<Lease> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let action = ("delete", "leases", self.name.as_str());
        match self.cluster.attempt(action, api.delete(&self.name, &params)).await? {
            Err(error) if !problem::is_not_found(&error) => Err(problem::problem(&error, self.cluster.action(action))),
            _ => Ok(()),
        }
    }
}

/// The problem of a lock that was lost: whoever has it now decides what becomes of what we began.
pub fn lost(name: &str) -> Problem {
    Problem::new(Code::LockLost, format!("the lock (lease {name}) was lost to another run, or could not be renewed")).unrestored()
}

/// Name of an application's Lease.
pub fn lease_name(application: &str) -> String {
    format!("shipway-{application}")
}

struct Queue<'a> {
    cluster: &'a Cluster,
    api: Api<Lease>,
    name: String,
    run: String,
    wanted: &'a Wanted<'a>,
    events: &'a Events,
    cancel: &'a CancellationToken,
}

impl Queue<'_> {
    async fn acquire(&mut self) -> Result<Lease> {
        let deadline = Instant::now() + self.wanted.wait;
        loop {
            let found = self.cluster.call(("get", "leases", &self.name), self.api.get_opt(&self.name)).await?;
            let current = match found {
                Some(lease) if is_free(&lease) => Some(lease),
                Some(lease) => self.wait(lease, deadline).await?,
                None => None,
            };
            if let Some(lease) = self.take(current).await? {
                return Ok(lease);
            }
        }
    }

    /// None: somebody else was faster.
    async fn take(&self, current: Option<Lease>) -> Result<Option<Lease>> {
        let params = PostParams::default();
        let answer = match current {
            None => self.cluster.attempt(("create", "leases", &self.name), self.api.create(&params, &self.lease(None))).await?,
            Some(lease) => {
                let ours = self.lease(Some(lease));
                self.cluster.attempt(("update", "leases", &self.name), self.api.replace(&self.name, &params, &ours)).await?
            }
        };
        match answer {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if problem::is_stale(&error) || problem::already_exists(&error) => Ok(None),
            Err(error) => Err(problem::problem(&error, self.cluster.action(("create", "leases", &self.name)))),
        }
    }

    /// The Lease as we want it; an existing one keeps its resourceVersion, so that two takers cannot both win.
    fn lease(&self, current: Option<Lease>) -> Lease {
        let mut lease = current
            .unwrap_or_else(|| Lease { metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }, spec: None });
        let labels = lease.metadata.labels.get_or_insert_default();
        labels.insert(keys::MANAGED_BY.to_string(), MANAGER.to_string());
        labels.insert(keys::INSTANCE.to_string(), label_value(self.wanted.application));
        lease.metadata.annotations.get_or_insert_default().insert(RUN.to_string(), self.run.clone());
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.wanted.holder.to_string()),
            lease_duration_seconds: Some(i32::try_from(self.wanted.ttl.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: Some(now()),
            renew_time: Some(now()),
            lease_transitions: Some(transitions.saturating_add(1)),
            ..LeaseSpec::default()
        });
        lease
    }

    /// Waits, woken by the watch and by times alone, until the Lease can be taken; None: it is gone.
    async fn wait(&self, mut lease: Lease, deadline: Instant) -> Result<Option<Lease>> {
        let since = Instant::now();
        let mut remind = since;
        let mut expires = expiry(&lease, since);
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let watch = self.cluster.call(("watch", "leases", &self.name), self.api.watch(&params, &version)).await?;
        let mut watch = watch.boxed();
        loop {
            let moment = Instant::now();
            if is_free(&lease) {
                return Ok(Some(lease));
            }
            if moment >= expires {
                self.events
                    .warning(format!("took over the lock of {}, which was not renewed", holder(&lease)), "look at what became of that run");
                return Ok(Some(lease));
            }
            if moment >= deadline {
                return Err(self.held(&lease));
            }
            if moment >= remind {
                let what = format!("the lock of {}, held by {}", self.wanted.application, holder(&lease));
                self.events.emit(Event::Waiting { what, seconds: since.elapsed().as_secs() });
                remind = moment + REMIND;
            }
            tokio::select! {
                () = self.cancel.cancelled() => return Err(Problem::new(Code::Cancelled, "cancelled while waiting for the lock; nothing was changed")),
                () = sleep_until(expires.min(deadline).min(remind)) => {}
                next = watch.try_next() => match next {
                    Ok(Some(WatchEvent::Added(next) | WatchEvent::Modified(next))) => {
                        expires = expiry(&next, Instant::now());
                        lease = next;
                    }
                    Ok(Some(WatchEvent::Deleted(_))) => return Ok(None),
                    Ok(Some(WatchEvent::Bookmark(_))) => {}
                    // cut, or too old: what counts is read anew, and a taker with an old version loses
                    Ok(Some(WatchEvent::Error(_)) | None) | Err(_) => {
                        sleep_until(deadline.min(Instant::now() + Duration::from_secs(1))).await;
                        return Ok(Some(lease).filter(is_free));
                    }
                },
            }
        }
    }

    fn held(&self, lease: &Lease) -> Problem {
        let waited = format_duration(self.wanted.wait);
        let message =
            format!("{} is being published by {} (waited {waited} for lease {})", self.wanted.application, holder(lease), self.name);
        Problem::new(Code::LockHeld, message)
    }
}

async fn renew(api: Api<Lease>, mut lease: Lease, run: String, fence: Fence, stop: CancellationToken) -> Lease {
    let name = lease.metadata.name.clone().unwrap_or_default();
    let ttl = fence.ttl;
    let mut next = Instant::now() + ttl / 3;
    loop {
        tokio::select! {
            () = stop.cancelled() => return lease,
            () = sleep_until(next) => {}
        }
        let mut wanted = lease.clone();
        wanted.spec.get_or_insert_default().renew_time = Some(now());
        let began = Instant::now();
        match timeout(RENEWAL_LIMIT.min(ttl), api.replace(&name, &PostParams::default(), &wanted)).await {
            Ok(Ok(answer)) => {
                lease = answer;
                fence.renew(began);
                next = began + ttl / 3;
                continue;
            }
            Ok(Err(error)) if problem::is_stale(&error) || problem::is_not_found(&error) => match api.get_opt(&name).await {
                // our own renewal whose answer was lost
                Ok(Some(found)) if is_run(&found, &run) => lease = found,
                Ok(_) => {
                    fence.lost.cancel();
                    return lease;
                }
                Err(_) => {}
            },
            Ok(Err(_)) | Err(_) => {}
        }
        if fence.age() >= ttl {
            fence.lost.cancel();
            return lease;
        }
        next = Instant::now() + (ttl / 10).min(Duration::from_secs(1));
    }
}

fn is_run(lease: &Lease, run: &str) -> bool {
    lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(RUN)).is_some_and(|found| found == run)
}

fn is_free(lease: &Lease) -> bool {
    holder_of(lease).is_none()
}

fn holder_of(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn holder(lease: &Lease) -> String {
    problem::clean(holder_of(lease).unwrap_or("nobody"))
}

/// When a Lease that was last seen changed at `seen` may be taken: after its duration by our own clock; at once when its times are
/// so far back that no difference of clocks explains it.
fn expiry(lease: &Lease, seen: Instant) -> Instant {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(15);
    let duration = Duration::from_secs(seconds);
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref().or(spec.acquire_time.as_ref()));
    let age = renewed.and_then(|time| Duration::try_from(Timestamp::now().duration_since(time.0)).ok()).unwrap_or_default();
    if age > duration + CLOCK_SKEW { seen } else { seen + duration }
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

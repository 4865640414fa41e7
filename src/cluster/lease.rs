//! A Lease that one process holds: taken with a bounded wait, renewed in the background, taken over when its holder is gone. The
//! publish lock, `shipway lock` and `shipway lead` stand on it.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
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

use super::{connect::Cluster, fence::Fence, problem};
use crate::{
    domain::{
        event::{Event, Events},
        problem::{Code, Problem, Result},
        units::format_duration,
    },
    process::uptime,
};

/// Tells two runs with the same holder apart (a retried job, two shells of one person).
const RUN: &str = "shipway.dev/run";
/// Clocks of two runners may differ so much before a Lease that looks expired is believed to be so at first sight.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// How often it is said for whom we wait.
const REMIND: Duration = Duration::from_secs(20);
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);
/// As good as never.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What is wanted: which Lease, by whom, for how long it lives without renewal, and how long to wait for it.
pub(super) struct Terms {
    /// Name of the Lease.
    pub lease: String,
    pub labels: BTreeMap<String, String>,
    pub holder: String,
    /// What it is, for people who wait: `the lock of web`.
    pub what: String,
    /// Before the holder's name, when it is taken over: `the lock of`.
    pub taken: String,
    /// Before the holder's name, when the wait is over: `web is being published by`.
    pub held: String,
    /// None: as long as it takes.
    pub wait: Option<Duration>,
    pub ttl: Duration,
    /// How long after its last renewal the holder counts on it; the rest of `ttl` is there to end what runs under it.
    pub tenure: Duration,
    /// Time between renewals.
    pub renewal: Duration,
    /// Whether it outlives a time in which it could not be renewed, as long as no other has taken it: nothing is changed meanwhile.
    pub patient: bool,
    /// Whether a Lease whose own times are long past is taken at first sight, by the wall clocks of two machines.
    pub trusts_clocks: bool,
}

/// The Lease, held. Dropping it without [`Lock::release`] lets it expire.
pub struct Lock {
    cluster: Cluster,
    name: String,
    fence: Fence,
    token: u64,
    /// None: another holds it for us, and gives it back.
    renewal: Option<Renewal>,
}

struct Renewal {
    /// Ends the renewal when the lock goes out of scope.
    stop: DropGuard,
    task: JoinHandle<Lease>,
}

impl Cluster {
    /// Waits for a Lease and takes it. Fails with `lock-held` after the wait, with `cancelled` when that comes first.
    pub(super) async fn take(&self, terms: &Terms, events: &Events, cancel: &CancellationToken) -> Result<Lock> {
        let run = format!("{:016x}", RandomState::new().build_hasher().finish());
        let api = Api::namespaced(self.client.clone(), &self.namespace);
        let mut queue = Queue { cluster: self, api, run, terms, events, cancel, seen: None };
        let (lease, sent) = queue.acquire().await?;
        let stop = CancellationToken::new();
        let Queue { api, run, .. } = queue;
        let fence = Fence::with(&format!("lease {}", terms.lease), terms.tenure, terms.patient, sent);
        let token = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        let renewal = tokio::spawn(renew(api, lease, run, terms.renewal, fence.clone(), stop.clone()));
        let renewal = Some(Renewal { stop: stop.drop_guard(), task: renewal });
        Ok(Lock { cluster: self.clone(), name: terms.lease.clone(), fence, token, renewal })
    }
}

impl Lock {
    /// What another holds for us.
    pub(super) fn elsewhere(cluster: &Cluster, fence: Fence) -> Self {
        Lock { cluster: cluster.clone(), name: fence.name.to_string(), fence, token: 0, renewal: None }
    }

    /// Cancelled when another run has taken the lock, or (but for a patient one) it can no longer be renewed.
    pub fn lost(&self) -> &CancellationToken {
        self.fence.lost()
    }

    /// Grows whenever the Lease passes to another: what it guards can refuse whoever brings an older one.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Until when it may be counted on, by [`uptime`], unless it is renewed before.
    pub fn until(&self) -> Duration {
        self.fence.until()
    }

    /// What keeps a connection from changing anything when the lock is lost.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Asked before each change of the cluster. Fails with `lock-lost`.
    pub async fn hold(&self) -> Result<()> {
        self.fence.hold().await
    }

    /// Gives the lock back, as the last thing of a run. A failure only means that the next run waits until it expires.
    pub async fn release(mut self) {
        let Some(Renewal { stop, task }) = self.renewal.take() else { return };
        drop(stop);
        let Ok(lease) = task.await else { return };
        if self.fence.lost().is_cancelled() {
            return;
        }
        if let Err(problem) = self.give_back(lease).await {
            tracing::warn!(%problem, lease = self.name, "the lock was not released and will expire");
        }
    }

    /// A renewal whose answer came too late has made another version of it: that is ours, too.
    async fn give_back(&self, mut lease: Lease) -> Result<()> {
        let api: Api<Lease> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let (name, run) =
            (self.name.as_str(), lease.metadata.annotations.as_ref().and_then(|all| all.get(RUN)).cloned().unwrap_or_default());
        loop {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = None;
            spec.renew_time = Some(now());
            let action = ("update", "leases", name);
            match self.cluster.attempt(action, api.replace(name, &PostParams::default(), &lease)).await? {
                Ok(_) => return Ok(()),
                Err(error) if problem::is_stale(&error) => match self.cluster.call(("get", "leases", name), api.get_opt(name)).await? {
                    Some(found) if is_run(&found, &run) && !is_free(&found) => lease = found,
                    _ => return Ok(()),
                },
                Err(error) => return Err(problem::problem(&error, self.cluster.action(action))),
            }
        }
    }

    /// Deletes the Lease, while nobody else can have it: the application is gone.
    pub async fn dispose(self) -> Result<()> {
        let Some(Renewal { stop, task }) = self.renewal else { return Ok(()) };
        drop(stop);
        let Ok(lease) = task.await else { return Ok(()) };
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

struct Queue<'a> {
    cluster: &'a Cluster,
    api: Api<Lease>,
    run: String,
    terms: &'a Terms,
    events: &'a Events,
    cancel: &'a CancellationToken,
    /// The version of the Lease that was last seen, when it was first (a watch that is cut begins no new wait for its expiry), and whether
    /// it was another before.
    seen: Option<(String, Instant, bool)>,
}

impl Queue<'_> {
    /// The Lease, and when the request that took it was sent.
    async fn acquire(&mut self) -> Result<(Lease, Duration)> {
        let deadline = self.terms.wait.map(|wait| Instant::now() + wait);
        let name = &self.terms.lease;
        let mut sent = uptime();
        loop {
            let found = self.cluster.call(("get", "leases", name), self.api.get_opt(name)).await?;
            let current = match found {
                // our own request, which was done though its answer did not come
                Some(lease) if is_run(&lease, &self.run) => return Ok((lease, sent)),
                Some(lease) if is_free(&lease) => Some(lease),
                Some(lease) => match self.wait(lease, deadline).await? {
                    Waited::Takeable(lease) => Some(*lease),
                    Waited::Gone => None,
                    Waited::LookAgain => continue,
                },
                None => None,
            };
            sent = uptime();
            if let Some(lease) = self.take(current).await? {
                return Ok((lease, sent));
            }
        }
    }

    /// None: somebody else was faster.
    async fn take(&self, current: Option<Lease>) -> Result<Option<Lease>> {
        let (params, name) = (PostParams::default(), self.terms.lease.as_str());
        let answer = match current {
            None => self.cluster.attempt(("create", "leases", name), self.api.create(&params, &self.lease(None))).await?,
            Some(lease) => {
                let ours = self.lease(Some(lease));
                self.cluster.attempt(("update", "leases", name), self.api.replace(name, &params, &ours)).await?
            }
        };
        match answer {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if problem::is_stale(&error) || problem::already_exists(&error) => Ok(None),
            Err(error) => Err(problem::problem(&error, self.cluster.action(("create", "leases", name)))),
        }
    }

    /// The Lease as we want it; an existing one keeps its resourceVersion, so that two takers cannot both win.
    fn lease(&self, current: Option<Lease>) -> Lease {
        let metadata = || ObjectMeta { name: Some(self.terms.lease.clone()), ..ObjectMeta::default() };
        let mut lease = current.unwrap_or_else(|| Lease { metadata: metadata(), spec: None });
        lease.metadata.labels.get_or_insert_default().extend(self.terms.labels.clone());
        lease.metadata.annotations.get_or_insert_default().insert(RUN.to_string(), self.run.clone());
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.terms.holder.clone()),
            lease_duration_seconds: Some(i32::try_from(self.terms.ttl.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: Some(now()),
            renew_time: Some(now()),
            lease_transitions: Some(transitions.saturating_add(1)),
            ..LeaseSpec::default()
        });
        lease
    }

    /// Waits, woken by the watch and by times alone, until the Lease can be taken.
    async fn wait(&mut self, mut lease: Lease, deadline: Option<Instant>) -> Result<Waited> {
        let (name, terms) = (&self.terms.lease, self.terms);
        let since = Instant::now();
        let far = since + FAR;
        let deadline = deadline.unwrap_or(far);
        let mut remind = since;
        let mut expires = self.expiry(&lease);
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let watch = self.cluster.call(("watch", "leases", name), self.api.watch(&params, &version)).await?;
        let mut watch = watch.boxed();
        loop {
            let moment = Instant::now();
            if is_free(&lease) {
                return Ok(Waited::Takeable(Box::new(lease)));
            }
            if moment >= expires {
                let text = format!("took over {} {}, which was not renewed", terms.taken, holder(&lease));
                self.events.warning(text, "look at what became of that run");
                return Ok(Waited::Takeable(Box::new(lease)));
            }
            if moment >= deadline {
                return Err(self.held(&lease));
            }
            if moment >= remind {
                let what = format!("{}, held by {}", terms.what, holder(&lease));
                self.events.emit(Event::Waiting { what, seconds: since.elapsed().as_secs() });
                remind = moment + REMIND;
            }
            tokio::select! {
                () = self.cancel.cancelled() => return Err(Problem::new(Code::Cancelled, "cancelled while waiting for the lock; nothing was changed")),
                () = sleep_until(expires.min(deadline).min(remind)) => {}
                next = watch.try_next() => match next {
                    Ok(Some(WatchEvent::Added(next) | WatchEvent::Modified(next))) => {
                        expires = self.expiry(&next);
                        lease = next;
                    }
                    Ok(Some(WatchEvent::Deleted(_))) => return Ok(Waited::Gone),
                    Ok(Some(WatchEvent::Bookmark(_))) => {}
                    // cut, or too old: what counts is read anew
                    Ok(Some(WatchEvent::Error(_)) | None) | Err(_) => {
                        sleep_until(deadline.min(expires).min(Instant::now() + Duration::from_secs(1))).await;
                        return Ok(Waited::LookAgain);
                    }
                },
            }
        }
    }

    /// When a Lease may be taken: after its duration without a change, by our own clock; where clocks are trusted, and its times are so far
    /// back that hardly a difference of clocks explains it, as soon as a renewal is overdue. A holder that was seen to renew it lives.
    fn expiry(&mut self, lease: &Lease) -> Instant {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let (seen, renews) = match &self.seen {
            Some((before, seen, renews)) if *before == version => (*seen, *renews),
            before => (Instant::now(), before.is_some()),
        };
        self.seen = Some((version, seen, renews));
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(15);
        let duration = Duration::from_secs(seconds);
        let renewed = spec.and_then(|spec| spec.renew_time.as_ref().or(spec.acquire_time.as_ref()));
        let age = renewed.and_then(|time| Duration::try_from(Timestamp::now().duration_since(time.0)).ok()).unwrap_or_default();
        let gone = self.terms.trusts_clocks && age > duration + CLOCK_SKEW && !renews;
        seen + if gone { duration / 2 } else { duration }
    }

    fn held(&self, lease: &Lease) -> Problem {
        let Terms { held, lease: name, wait, .. } = self.terms;
        let waited = wait.map(format_duration).unwrap_or_default();
        Problem::new(Code::LockHeld, format!("{held} {} (waited {waited} for lease {name})", holder(lease)))
    }
}

/// What a wait came to.
enum Waited {
    Takeable(Box<Lease>),
    Gone,
    LookAgain,
}

async fn renew(api: Api<Lease>, mut lease: Lease, run: String, every: Duration, fence: Fence, stop: CancellationToken) -> Lease {
    let name = lease.metadata.name.clone().unwrap_or_default();
    let mut next = Instant::now() + every;
    loop {
        tokio::select! {
            () = stop.cancelled() => return lease,
            () = sleep_until(next) => {}
        }
        let mut wanted = lease.clone();
        wanted.spec.get_or_insert_default().renew_time = Some(now());
        let (began, sent) = (Instant::now(), uptime());
        // an answer that comes after the tenure is of no use any more, but to a patient lock
        let limit = RENEWAL_LIMIT.min(fence.tenure / 2).min(if fence.patient { fence.tenure } else { fence.left() });
        match timeout(limit, api.replace(&name, &PostParams::default(), &wanted)).await {
            Ok(Ok(answer)) => {
                lease = answer;
                fence.renew(sent);
                next = began + every;
                continue;
            }
            Ok(Err(error)) if problem::is_stale(&error) || problem::is_not_found(&error) => {
                match timeout(limit, api.get_opt(&name)).await {
                    // our own renewal whose answer was lost
                    Ok(Ok(Some(found))) if is_run(&found, &run) => lease = found,
                    Ok(Ok(_)) => {
                        fence.lost().cancel();
                        return lease;
                    }
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            Ok(Err(_)) | Err(_) => {}
        }
        if fence.left().is_zero() && !fence.patient {
            fence.lost().cancel();
            return lease;
        }
        let pause = (every / 3).min(Duration::from_secs(1));
        next = Instant::now() + if fence.patient { pause } else { pause.min(fence.left()) };
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

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

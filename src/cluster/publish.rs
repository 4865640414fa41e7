//! A publish: preflight, lock, intent, apply, watch, verdict; on failure evidence first, then back to the last good release.

use std::{path::Path, time::Duration};

use futures::future::maybe_done;
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Pod, Secret, Service},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Publish, Released,
    apply::{Live, Mode, kept},
    connect::Cluster,
    diff,
    fence::lost,
    intent::{found, intent, is_complete, secrets, stamp, with_replicas},
    lease::Lock,
    lock::Wanted,
    others::Other,
    preflight::Found,
    problem,
    put::{Placed, Put},
    records::Records,
    watch::{Ended, Watch},
};
use crate::domain::{
    config::Config,
    containers::can_drain,
    event::Events,
    manifests::{Objects, is_ours},
    problem::{Code, Problem, Result},
    release::{Outcome, Position, Release, Sequence, check_sequence, interrupted, next_revision, position, previous_good},
    rollout::{Budgets, Expect, Finding, Rollout, sets},
    scale,
};

/// One change of what runs, under the lock: a publish or a rollback.
pub(super) struct Change<'a> {
    pub name: &'a str,
    pub objects: Objects,
    /// Of the objects those that the user brought.
    pub others: Vec<Other>,
    pub live: Live,
    pub release: Release,
    /// Where to go back to.
    pub previous: Option<Release>,
    /// What the pods need beside it, and comes with it.
    pub secrets: Vec<Secret>,
    /// Configuration files that are new with this release; None: there are none, or its object is there already.
    pub config: Option<&'a Config>,
    pub force: bool,
    pub timeout: Duration,
    pub budgets: Budgets,
    /// Limit of the way back.
    pub back_timeout: Duration,
    /// Records that are kept.
    pub history: usize,
    pub evidence: &'a Path,
    /// The records before this one.
    pub known: Vec<Release>,
    pub held: Held<'a>,
}

/// What a run under the lock needs at every step.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub lock: &'a Lock,
    pub events: &'a Events,
    pub cancel: &'a CancellationToken,
    pub began: Instant,
}

impl Publish {
    pub(super) fn sequence(&self) -> Sequence {
        Sequence { kind: self.sequence.0.clone(), number: self.sequence.1 }
    }

    /// Taking over an object means to win against who made it.
    pub(super) fn forces(&self) -> bool {
        self.force_conflicts || self.adopt
    }
}

impl Cluster {
    /// Applies the workload and watches it until it is really up; on failure gathers evidence and puts the previous revision back.
    pub async fn publish(&self, publish: &Publish, events: &Events, cancel: &CancellationToken) -> Result<Released> {
        let began = Instant::now();
        let found = tokio::select! {
            () = cancel.cancelled() => return Err(nothing_changed()),
            found = Box::pin(self.preflight(publish, events)) => found?,
        };
        let name = &publish.workload.name;
        let wanted = Wanted { application: name, holder: &publish.holder, wait: publish.lock_wait, ttl: publish.lock_ttl };
        let lock = self.lock(&wanted, events, cancel).await?;
        let held = Held { lock: &lock, events, cancel, began };
        let fenced = self.under(&lock);
        let result = match Box::pin(fenced.intend(publish, found, held)).await {
            Ok(change) => Box::pin(fenced.carry_out(change)).await,
            Err(problem) => Err(problem),
        };
        lock.release().await;
        result
    }

    /// Under the lock: reads the real state, and writes down what is going to happen.
    async fn intend<'a>(&self, publish: &'a Publish, found: Found, held: Held<'a>) -> Result<Change<'a>> {
        let Found { live, native_sleep, others } = found;
        let Held { lock, events, cancel, .. } = held;
        let name = &publish.workload.name;
        let records = Records::new(self, name);
        let mut known = records.list().await?;
        let live = self.live_now(live, name, &known).await?;
        self.check_owner(publish, &live)?;
        let at = live.deployment.as_ref().map(|live| position(&live.metadata)).unwrap_or_default();
        check_sequence(&at, &publish.sequence())?;
        Box::pin(self.end_interrupted(&records, &mut known, live.deployment.as_ref(), &at, events)).await?;
        known.extend(self.baseline(&records, &known, &live, &at).await?);
        let stamp = stamp(publish, next_revision(&known, &at));
        let wanted = self.objects(publish, &live, native_sleep, &stamp)?;
        say_scale(live.deployment.as_ref(), events);
        if !can_drain(&publish.workload, native_sleep) {
            events.note("no preStop sleep: the cluster is older than 1.30; requests may fail while pods stop");
        }
        let release = intent(publish, &stamp, &wanted)?;
        if cancel.is_cancelled() {
            return Err(nothing_changed());
        }
        lock.hold().await?;
        records.create(&release).await?;
        let previous =
            previous_good(&known, release.revision).cloned().map(|previous| with_replicas(previous, publish, live.deployment.as_ref()));
        Ok(Change {
            name,
            objects: kept(wanted, &live),
            others,
            previous,
            release,
            secrets: secrets(publish),
            config: publish.workload.config.as_ref(),
            force: publish.forces(),
            timeout: publish.workload.rolling.timeout,
            budgets: publish.workload.rolling.budgets.clone(),
            back_timeout: publish.back_timeout,
            history: publish.history,
            evidence: &publish.evidence,
            live,
            known,
            held,
        })
    }

    /// What is live under the lock. Whoever had it since the preflight has left a record, or what the preflight saw.
    async fn live_now(&self, seen: Live, name: &str, known: &[Release]) -> Result<Live> {
        let deployment: Option<Deployment> = self.get(name).await?;
        let at = |deployment: &Option<Deployment>| {
            let meta = &deployment.as_ref()?.metadata;
            Some((meta.uid.clone(), position(meta).revision))
        };
        let last = known.last().map(|release| release.revision);
        if at(&deployment) == at(&seen.deployment) && at(&deployment).and_then(|(_, revision)| revision) == last {
            return Ok(Live { deployment, ..seen });
        }
        self.live(name).await
    }

    /// Ends the records of killed runs by what is really there.
    pub(super) async fn end_interrupted(
        &self,
        records: &Records<'_>,
        known: &mut [Release],
        live: Option<&Deployment>,
        at: &Position,
        events: &Events,
    ) -> Result<()> {
        let open: Vec<u64> = interrupted(known).map(|release| release.revision).collect();
        for release in known.iter_mut().filter(|release| open.contains(&release.revision)) {
            let up = at.revision == Some(release.revision) && live.is_some_and(|live| is_complete(live) && release.is_what_runs(live));
            release.outcome = if up { Outcome::Succeeded } else { Outcome::Interrupted };
            let who = release.job_url.as_deref().map(|url| format!(" by {url}")).unwrap_or_default();
            let became = if up { "it is up, and counts as good" } else { "it is not what runs, or not fully up, and is taken over" };
            events.note(format!("revision {} was begun{who} and never ended: {became}", release.revision));
            records.update(release).await?;
        }
        Ok(())
    }

    /// A record of what runs when there is none (taken over from others, or lost), so that a failure can go back to it.
    pub(super) async fn baseline(&self, records: &Records<'_>, known: &[Release], live: &Live, at: &Position) -> Result<Option<Release>> {
        let recorded = known.iter().any(|release| Some(release.revision) == at.revision);
        let Some(deployment) = live.deployment.as_ref().filter(|deployment| !recorded && is_complete(deployment)) else { return Ok(None) };
        let release = Release {
            service: live.service.as_ref().map(diff::service_snapshot),
            autoscaler: live.autoscaler.as_ref().map(diff::autoscaler_snapshot),
            disruption: live.disruption.as_ref().map(diff::disruption_snapshot),
            ..found(deployment, at.revision.unwrap_or_else(|| next_revision(known, at)), at)
        };
        records.create(&release).await?;
        Ok(Some(release))
    }

    /// Applies, watches, and ends the release one way or the other.
    pub(super) async fn carry_out(&self, mut change: Change<'_>) -> Result<Released> {
        let records = Records::new(self, change.name);
        let Placed { deployment, service, missing, secrets, .. } = match Box::pin(self.start(&change)).await {
            Ok(placed) => placed,
            Err(problem) if problem.unrestored => return Err(problem),
            Err(problem) => return Err(self.not_started(&change, &records, problem).await),
        };
        change.release.secrets.extend(secrets);
        let budgets = Budgets { timeout: change.timeout, ..change.budgets.clone() };
        match missing {
            Some(problem) if problem.code == Code::LockLost => return Err(problem.unrestored()),
            Some(problem) => {
                let unseen = Rollout::new(Expect::default(), budgets);
                return Err(Box::pin(self.fail(&mut change, &records, problem, &unseen)).await);
            }
            None => {}
        }
        let watch = Watch {
            deployment: &deployment,
            service: change.objects.service.is_some(),
            budgets,
            lock: change.held.lock,
            events: change.held.events,
            cancel: change.held.cancel,
        };
        // while the pods start, so that it does not stand between them and the verdict
        let all = change.known.iter().chain([&change.release]).cloned().collect();
        let mut tidy = Box::pin(maybe_done(tidy(&records, all, change.history, change.held.events)));
        let mut watched = Box::pin(self.watch(&watch));
        let ended = tokio::select! {
            ended = &mut watched => ended,
            () = &mut tidy => watched.await,
        };
        let (problem, rollout) = match ended {
            Ok((Ended::Done, rollout)) => return tokio::join!(self.succeed(&mut change, &records, &rollout, service), tidy).0,
            // somebody else's change is not undone
            Ok((Ended::Doomed(finding), _)) if finding.code == Code::ReleaseStateUnknown => {
                return Err(self.overtaken(&mut change, &records, &finding).await);
            }
            Ok((Ended::Doomed(finding), rollout)) => {
                let gathered = Box::pin(self.gather(&rollout, *finding, change.evidence)).await;
                let mut problem = problem::doomed(&gathered.finding);
                problem.evidence = gathered.evidence;
                (problem, rollout)
            }
            Ok((Ended::Cancelled, rollout)) => (Problem::new(Code::Cancelled, "cancelled during the rollout"), rollout),
            Ok((Ended::LockLost, _)) => return Err(lost(&format!("of {}", change.name))),
            Err(problem) => return Err(problem.unrestored()),
        };
        Err(Box::pin(self.fail(&mut change, &records, problem, &rollout)).await)
    }

    /// Somebody else's change came in between: it is not ours to undo, and what runs is not this release.
    async fn overtaken(&self, change: &mut Change<'_>, records: &Records<'_>, finding: &Finding) -> Problem {
        let problem = problem::doomed(finding).unrestored();
        change.release.outcome = Outcome::Failed;
        change.release.problem = Some(problem.code.slug().to_string());
        change.release.seconds = Some(change.held.began.elapsed().as_secs_f64());
        if let Err(second) = records.update(&change.release).await {
            tracing::warn!(%second, "the record of a release that was overtaken was not completed");
        }
        problem
    }

    /// All changes of a release: what its pods need, then its objects.
    async fn start(&self, change: &Change<'_>) -> Result<Placed> {
        let Change { name, objects, live, held, .. } = change;
        if held.cancel.is_cancelled() {
            return Err(nothing_changed());
        }
        held.lock.hold().await?;
        for secret in &change.secrets {
            self.apply(secret, None, Mode { force: true, ..Mode::default() }, held.events).await?;
        }
        if let Some(config) = change.config {
            self.put_config(name, config, false, held.events).await?;
        }
        let put = Put { name, objects, live, others: &change.others, force: change.force, back: false, held: *held };
        let placed = self.put(&put).await?;
        if placed.same {
            held.events.note("nothing of what runs changes: no pod is restarted");
        }
        Ok(placed)
    }

    /// The Deployment was not touched: the intent is withdrawn, and what was changed before it already is put back.
    async fn not_started(&self, change: &Change<'_>, records: &Records<'_>, problem: Problem) -> Problem {
        if change.held.lock.hold().await.is_err() {
            return problem;
        }
        let (mode, quiet) = (Mode { force: true, ..Mode::default() }, Events::none());
        if let Some(service) = change.previous.as_ref().and_then(|previous| previous.service.as_ref())
            && let Err(second) = self.apply(service, None, mode, &quiet).await
        {
            tracing::warn!(%second, "the service was not put back");
        }
        for second in self.put_back_others(change).await {
            tracing::warn!(%second, "the other manifests were not put back");
        }
        if let Err(second) = self.drop_new_service(change).await {
            tracing::warn!(%second, "the service of a release that did not start stays");
        }
        let dropped =
            change.live.autoscaler.as_ref().filter(|live| change.objects.autoscaler.is_none() && is_ours(&live.metadata, change.name));
        if let Some(autoscaler) = dropped.map(diff::autoscaler_snapshot)
            && let Err(second) = self.apply(&autoscaler, None, mode, &quiet).await
        {
            tracing::warn!(%second, "the autoscaler was not put back");
        }
        if let Err(second) = records.withdraw(&change.release, &change.known).await {
            tracing::warn!(%second, "the record of a release that did not start stays");
        }
        problem
    }

    /// A Service that was not there before this release.
    async fn drop_new_service(&self, change: &Change<'_>) -> Result<()> {
        if change.live.service.is_some() || change.objects.service.is_none() {
            return Ok(());
        }
        self.drop_ours(self.get::<Service>(change.name).await?.as_ref(), change.name, &Events::none()).await
    }

    async fn succeed(
        &self,
        change: &mut Change<'_>,
        records: &Records<'_>,
        rollout: &Rollout,
        service: Option<Service>,
    ) -> Result<Released> {
        let seconds = change.held.began.elapsed().as_secs_f64();
        change.release.outcome = Outcome::Succeeded;
        change.release.seconds = Some(seconds);
        // the pods are up: a record that cannot be written must not turn that into a failure
        // of the last good release, and of those after it that were killed half-way
        let since = change.previous.as_ref().map_or(0, |previous| previous.revision);
        let before: Vec<_> = change.known.iter().filter(|known| known.revision >= since).flat_map(|known| known.others.clone()).collect();
        if let Err(problem) = self.drop_outgrown(&before, &change.release.others, change.name, change.held.events).await {
            change.held.events.warning(format!("what the release does not have any more was not removed: {problem}"), problem.hint.clone());
        }
        let (completed, ()) = tokio::join!(self.complete(change, records), self.look_around(change, rollout));
        if let Err(problem) = completed {
            change.held.events.warning(format!("the release's record was not completed: {problem}"), problem.hint.clone());
        }
        let replicas = rollout.progress().desired;
        if replicas == 0 {
            change.held.events.note("scaled to 0: no pod runs, so nothing of this release was tried; shipway scale brings pods back");
        }
        Ok(Released {
            revision: change.release.revision,
            previous: change.previous.as_ref().map(|previous| previous.revision),
            restores: change.release.restores,
            replicas,
            url: service.as_ref().and_then(|service| super::status::url(service, rollout.pods().map(|pod| &pod.pod))),
            seconds,
        })
    }

    /// Says what is not well beside a rollout that is done.
    async fn look_around(&self, change: &Change<'_>, rollout: &Rollout) {
        let pods: Vec<Pod> = rollout.pods().map(|pod| pod.pod.clone()).collect();
        for stuck in self.stuck_of(&pods).await.unwrap_or_default() {
            change.held.events.warning(stuck.words(), stuck.hint());
        }
        if change.objects.autoscaler.is_some()
            && let Ok(Some(autoscaler)) = self.get::<HorizontalPodAutoscaler>(change.name).await
            && let Some(why) = sets::idle_autoscaler(&autoscaler)
        {
            change.held.events.warning(format!("the autoscaler does not act: {why}"), "correct kubernetes.autoscale");
        }
    }

    async fn complete(&self, change: &Change<'_>, records: &Records<'_>) -> Result<()> {
        change.held.lock.hold().await?;
        records.update(&change.release).await
    }
}

/// Drops the records that are more than are kept; `all`: with the one of this release.
async fn tidy(records: &Records<'_>, all: Vec<Release>, kept: usize, events: &Events) {
    let newest = all.last().map(|release| release.revision);
    if let Err(problem) = records.prune(&all, kept, newest).await {
        events.warning(format!("the oldest records stay: {problem}"), problem.hint.clone());
    }
}

/// Says that a manual scale is kept.
pub(super) fn say_scale(live: Option<&Deployment>, events: &Events) {
    if let Some(scale) = live.and_then(scale::manual) {
        events.note(format!("{}: that stays; shipway scale --reset gives the number back to the settings", scale.words()));
    }
}

fn nothing_changed() -> Problem {
    Problem::new(Code::Cancelled, "cancelled before anything was changed")
}

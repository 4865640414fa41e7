//! The way back after a failure: the last good release, verified; the first cause stays the problem whatever comes of that.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    apply::kept,
    connect::Cluster,
    fence::lost,
    others::Phase,
    problem,
    publish::Change,
    put::Put,
    records::Records,
    watch::{Ended, Watch},
};
use crate::domain::{
    event::Event,
    manifests::keys,
    problem::{Code, Evidence, EvidenceKind, Problem, Result},
    release::{Outcome, Release, Sequence},
    rollout::{Budgets, Rollout},
};

/// After a cancellation, so long may going back take before it is left to the cluster.
const GRACE: Duration = Duration::from_secs(25);
/// So long before the end of the limit the release that does not come back is judged.
const GATHERING: Duration = Duration::from_secs(5);
/// After so long it is tried again while the API server cannot be reached.
const AGAIN: Duration = Duration::from_secs(1);

impl Cluster {
    /// Puts the last good release back and verifies it; the first cause stays the problem whatever comes of that.
    pub(super) async fn fail(&self, change: &mut Change<'_>, records: &Records<'_>, problem: Problem, rollout: &Rollout) -> Problem {
        let cancelled = problem.code == Code::Cancelled;
        change.release.problem = Some(problem.code.slug().to_string());
        change.release.seconds = Some(change.held.began.elapsed().as_secs_f64());
        let (problem, outcome) = match change.previous.clone() {
            None => (self.left_in_place(change, problem), Outcome::Failed),
            Some(previous) => {
                change.held.events.emit(Event::RollingBack { revision: previous.revision, because: problem.message.clone() });
                let limit = if cancelled { GRACE.min(change.back_timeout) } else { change.back_timeout };
                match self.restore_within(change, &previous, limit).await {
                    Ok(()) => (restored(problem, &previous), Outcome::RolledBack),
                    Err(second) => (both(problem, second, &previous, change.name, &self.namespace, rollout), Outcome::Failed),
                }
            }
        };
        change.release.outcome = outcome;
        if change.held.lock.hold().await.is_ok()
            && let Err(second) = records.update(&change.release).await
        {
            tracing::warn!(%second, "the record of a failed release was not completed");
        }
        problem
    }

    fn left_in_place(&self, change: &Change<'_>, problem: Problem) -> Problem {
        let hint = format!(
            "{}; there is no good release to go back to, so it is left in place: publish again, or take {} out of namespace {} with shipway remove",
            problem.hint, change.name, self.namespace
        );
        problem.hint(hint).unrestored()
    }

    async fn restore_within(&self, change: &Change<'_>, previous: &Release, limit: Duration) -> Result<()> {
        let over = |_| Problem::new(Code::RollbackFailed, format!("it was not up again after {} s", limit.as_secs()));
        let end = Instant::now() + limit;
        let restored = async {
            loop {
                match Box::pin(self.restore(change, previous, end)).await {
                    Err(problem) if problem.code == Code::ClusterUnreachable => {
                        tracing::warn!(%problem, "going back is begun anew");
                        sleep(AGAIN).await;
                    }
                    ended => return ended,
                }
            }
        };
        timeout(limit, restored).await.map_err(over)?
    }

    /// `end`: when it has to be up again.
    async fn restore(&self, change: &Change<'_>, previous: &Release, end: Instant) -> Result<()> {
        let held = change.held;
        held.lock.hold().await?;
        self.check_config(previous.config.as_ref(), previous.revision).await?;
        let live = self.live(change.name).await?;
        // the old pods may need them, and may have all that they need without
        let mut problems = self.put_back_phase(change, Phase::Before).await;
        let mut objects = kept(previous.objects(), &live);
        overtake(&mut objects.deployment, change.release.sequence.as_ref());
        let put = Put { name: change.name, objects: &objects, live: &live, others: &[], force: true, back: true, held };
        let placed = self.put(&put).await?;
        problems.extend(placed.missing);
        problems.extend(self.put_back_phase(change, Phase::After).await);
        problems.extend(self.drop_new_others(change).await.err());
        self.say_changed_secrets(previous, held.events).await;
        let never = CancellationToken::new();
        // what stands in its way is gathered within the limit, too
        let left = end.saturating_duration_since(Instant::now());
        let limit = left.saturating_sub(GATHERING.min(left / 5));
        let watch = Watch {
            deployment: &placed.deployment,
            service: previous.service.is_some(),
            budgets: Budgets { timeout: limit, ..change.budgets.clone() },
            lock: held.lock,
            events: held.events,
            cancel: &never,
        };
        match Box::pin(self.watch(&watch)).await? {
            (Ended::Done, _) => pods_alone(problems, previous),
            (Ended::Doomed(finding), rollout) => {
                let gathered = Box::pin(self.gather(&rollout, *finding, &change.evidence.join("rollback"))).await;
                Err(Problem { evidence: gathered.evidence, ..problem::doomed(&gathered.finding) })
            }
            (Ended::LockLost | Ended::Cancelled, _) => Err(lost(&format!("of {}", change.name))),
        }
    }
}

/// The failed release keeps its place in the order: a pipeline that is older than it stays overtaken, though its content is gone.
fn overtake(deployment: &mut Deployment, sequence: Option<&Sequence>) {
    if let Some(sequence) = sequence {
        deployment.metadata.annotations.get_or_insert_default().insert(keys::SEQUENCE.to_string(), sequence.to_string());
    }
}

/// The pods are up; what else did not come back is told.
fn pods_alone(mut problems: Vec<Problem>, previous: &Release) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let first = problems.remove(0);
    let more = if problems.is_empty() { String::new() } else { format!(", and {} more", problems.len()) };
    let message = format!("its pods are up, but not all of revision {} is back: {}{more}", previous.revision, first.message);
    Err(Problem { message, ..first })
}

fn restored(problem: Problem, previous: &Release) -> Problem {
    let message = format!("{}; revision {} (version {}) is back and verified", problem.message, previous.revision, previous.version);
    Problem { message, ..problem }.restored()
}

/// Both failures are kept: the first is the cause, the second says what runs now.
fn both(problem: Problem, second: Problem, previous: &Release, name: &str, namespace: &str, rollout: &Rollout) -> Problem {
    let message = format!("{}; going back to revision {} failed, too: {}", problem.message, previous.revision, second.message);
    let old = rollout.pods().filter(|pod| pod.is_ready()).count();
    let mut evidence = problem.evidence;
    evidence.push(Evidence { kind: EvidenceKind::Event, source: "rollback".to_string(), text: second.message });
    evidence.extend(second.evidence.into_iter().map(|seen| Evidence { source: format!("rollback: {}", seen.source), ..seen }));
    let hint =
        format!("look at what runs now ({old} pods were ready before going back): kubectl -n {namespace} describe deployment {name}");
    Problem { message, evidence, hint, ..Problem::new(problem.code, "") }.unrestored()
}

//! A number of pods by hand: set, held against publishes and the autoscaler, and given back.

use k8s_openapi::{
    api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Errand,
    apply::Mode,
    connect::Cluster,
    diff,
    fence::lost,
    problem,
    publish::Held,
    rollback::Running,
    watch::{Ended, Watch},
};
use crate::domain::{
    event::{Change, Event, Events},
    manifests::{is_ours, keys},
    problem::{Code, Problem, Result},
    release::Release,
    rollout::Budgets,
    scale::{self, Scale, manual},
};

/// Who has scaled, as field manager.
const SCALER: &str = "shipway-scale";

/// One manual scale, or its end.
pub struct Scaling {
    pub errand: Errand,
    /// None: forget what was asked for before.
    pub to: Option<i32>,
    /// `kubernetes.replicas`, which a reset goes back to.
    pub replicas: Option<i32>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    pub before: i32,
    /// The number that the Deployment has now.
    pub replicas: i32,
    /// Bounds of the autoscaler, when there is one.
    pub bounds: Option<(i32, i32)>,
    pub revision: Option<u64>,
    pub seconds: f64,
}

/// What is to be set on Deployment and autoscaler.
struct Aim {
    /// None: the autoscaler decides.
    replicas: Option<i32>,
    autoscaler: Option<HorizontalPodAutoscaler>,
    note: Option<Scale>,
}

impl Cluster {
    /// Sets the number of pods and watches until they are there. With an autoscaler its lower bound moves (and the upper one when it
    /// was below); 0 makes it rest. Fails with `not-published`, or `not-ours` when an autoscaler of others decides. When the pods do not
    /// come up, the number stays: those that came are of more use than none.
    pub async fn scale(&self, scaling: &Scaling, events: &Events, cancel: &CancellationToken) -> Result<Scaled> {
        self.locked(&scaling.errand, false, events, cancel, async |cluster, held| {
            let running = cluster.running(&scaling.errand.name, held).await?;
            Box::pin(cluster.scale_to(scaling, &running, held)).await
        })
        .await
    }

    async fn scale_to(&self, scaling: &Scaling, running: &Running, held: Held<'_>) -> Result<Scaled> {
        let name = &scaling.errand.name;
        self.check_autoscalers(name, running.live.autoscaler.as_ref()).await?;
        let before = replicas(&running.deployment);
        let aim = match (scaling.to, manual(&running.deployment)) {
            (Some(to), earlier) => aim(to, before, earlier, scaling, running),
            (None, Some(earlier)) => reset(&earlier, before, scaling.replicas, running),
            (None, None) => {
                held.events.note("nothing was scaled by hand: there is nothing to reset");
                Aim { replicas: None, autoscaler: None, note: None }
            }
        };
        held.lock.hold().await?;
        if let Some(autoscaler) = &aim.autoscaler {
            let mode = Mode { force: true, ..Mode::default() };
            self.apply(autoscaler, running.live.autoscaler.as_ref(), mode, held.events).await?;
        }
        let deployment = self.set_scale(&running.deployment, &aim, held.events).await?;
        let bounds = aim.autoscaler.as_ref().or(running.live.autoscaler.as_ref()).map(bounds);
        self.watch_scale(scaling, running, &deployment, held).await?;
        Ok(Scaled {
            before,
            replicas: replicas(&deployment),
            bounds,
            revision: running.at.revision,
            seconds: held.began.elapsed().as_secs_f64(),
        })
    }

    /// Any autoscaler but ours would set the number back within seconds.
    async fn check_autoscalers(&self, name: &str, live: Option<&HorizontalPodAutoscaler>) -> Result<()> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = match self.call(("list", "horizontalpodautoscalers", ""), api.list(&ListParams::default())).await {
            Ok(found) => found.items,
            // an account of an older Role sees the one of our name only
            Err(problem) if problem.code == Code::ClusterForbidden => live.cloned().into_iter().collect(),
            Err(problem) => return Err(problem),
        };
        let ours = |other: &HorizontalPodAutoscaler| other.metadata.name.as_deref() == Some(name) && is_ours(&other.metadata, name);
        let target = |other: &&HorizontalPodAutoscaler| {
            let target = &other.spec.scale_target_ref;
            target.kind == "Deployment" && target.name == name
        };
        match all.iter().filter(target).find(|other| !ours(other)) {
            None => Ok(()),
            Some(other) => {
                let other = other.metadata.name.as_deref().unwrap_or_default();
                let message = format!(
                    "horizontalpodautoscaler {other}, which shipway did not make, decides on the number of pods of {name} and would set it back"
                );
                Err(Problem::new(Code::NotOurs, message)
                    .hint(format!("change the bounds of horizontalpodautoscaler {other}, or delete it")))
            }
        }
    }

    /// One patch of number and note, on the version that was read.
    async fn set_scale(&self, live: &Deployment, aim: &Aim, events: &Events) -> Result<Deployment> {
        let name = live.metadata.name.as_deref().unwrap_or_default();
        let note = match &aim.note {
            Some(scale) => Value::String(serde_json::to_string(scale).map_err(|error| Problem::bug(error.to_string()))?),
            None => Value::Null,
        };
        let mut patch = json!({"metadata": {"resourceVersion": live.metadata.resource_version, "annotations": {keys::SCALE: note}}});
        if let Some(replicas) = aim.replicas {
            patch["spec"] = json!({"replicas": replicas});
        }
        let params = PatchParams { field_manager: Some(SCALER.to_string()), ..PatchParams::default() };
        let mut live = live.clone();
        loop {
            patch["metadata"]["resourceVersion"] = json!(live.metadata.resource_version);
            let action = ("patch", "deployments", name);
            match self.attempt(action, self.api::<Deployment>().patch(name, &params, &Patch::Merge(&patch))).await? {
                Ok(patched) => {
                    let same = patched.metadata.resource_version == live.metadata.resource_version;
                    let change = if same { Change::Unchanged } else { Change::Configured };
                    events.emit(Event::Applied { kind: "Deployment".to_string(), name: name.to_string(), change });
                    return Ok(patched);
                }
                // its status changed meanwhile: the lock keeps other runs of ours away
                Err(error) if problem::is_stale(&error) => match self.get(name).await? {
                    Some(found) => live = found,
                    None => return Err(Problem::new(Code::NotPublished, format!("deployment {name} was deleted meanwhile"))),
                },
                Err(error) => return Err(problem::problem(&error, self.action(action))),
            }
        }
    }

    async fn watch_scale(&self, scaling: &Scaling, running: &Running, deployment: &Deployment, held: Held<'_>) -> Result<()> {
        let watch = Watch {
            deployment,
            service: running.live.service.as_ref().is_some_and(|service| is_ours(&service.metadata, &scaling.errand.name)),
            budgets: Budgets { timeout: scaling.errand.timeout, ..scaling.errand.budgets.clone() },
            lock: held.lock,
            events: held.events,
            cancel: held.cancel,
        };
        let (ended, rollout) = Box::pin(self.watch(&watch)).await?;
        let stays = format!("the number stays {}", replicas(deployment));
        match ended {
            Ended::Done => Ok(()),
            Ended::Cancelled => Err(Problem::new(Code::Cancelled, format!("cancelled while the pods change; {stays}")).unrestored()),
            Ended::LockLost => Err(lost(&format!("of {}", scaling.errand.name))),
            Ended::Doomed(finding) => {
                let available = rollout.progress().available;
                let gathered = Box::pin(self.gather(&rollout, *finding, &scaling.errand.evidence)).await;
                let problem = problem::doomed(&gathered.finding);
                let message = format!("{}; {stays}, and {available} are available", problem.message);
                Err(Problem { message, evidence: gathered.evidence, ..problem }.unrestored())
            }
        }
    }
}

/// A number: with an autoscaler at least so many at once, and 0 makes it rest.
fn aim(to: i32, before: i32, earlier: Option<Scale>, scaling: &Scaling, running: &Running) -> Aim {
    let note = Scale {
        to,
        from: earlier.map_or(before, |earlier| earlier.from),
        by: scaling.errand.author.clone(),
        at: Timestamp::now().to_string(),
    };
    let autoscaler = running.live.autoscaler.as_ref().map(|live| {
        let mut autoscaler = published(running).unwrap_or_else(|| diff::autoscaler_snapshot(live));
        scale::bound(&mut autoscaler, to);
        autoscaler
    });
    let replicas = match autoscaler {
        Some(_) if to > 0 => to.max(before),
        _ => to,
    };
    Aim { replicas: Some(replicas), autoscaler, note: Some(note) }
}

/// The end of a manual scale: the settings' number, else the one before it; an autoscaler has its own bounds again.
fn reset(earlier: &Scale, before: i32, set: Option<i32>, running: &Running) -> Aim {
    let recorded = running.release().and_then(|release| release.deployment.spec.as_ref()?.replicas);
    let autoscaler = running.live.autoscaler.as_ref().and_then(|_| published(running));
    let replicas = match (&running.live.autoscaler, &autoscaler) {
        (None, _) => set.or(recorded).or(Some(earlier.from)),
        // an autoscaler rests at 0 until somebody wakes it
        (Some(live), own) if before == 0 => Some(own.as_ref().unwrap_or(live).spec.min_replicas.unwrap_or(1)),
        (Some(_), _) => None,
    };
    Aim { replicas, autoscaler, note: None }
}

/// The autoscaler as it was published.
fn published(running: &Running) -> Option<HorizontalPodAutoscaler> {
    running.release().and_then(|release: &Release| release.autoscaler.clone())
}

fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn bounds(autoscaler: &HorizontalPodAutoscaler) -> (i32, i32) {
    (autoscaler.spec.min_replicas.unwrap_or(1), autoscaler.spec.max_replicas)
}

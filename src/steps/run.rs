//! What the steps of one run share.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{access::connect, ledger::Keeper};
use crate::{
    cluster::{self, Cluster},
    domain::{
        event::{Event, Events},
        policy::Rules,
        problem::{Code, Problem, Result},
        redact::Redactor,
        step::{Step, StepState},
    },
    plan::Plan,
    registry,
    report::{self, Attachments, Recorder},
};

/// One run: its plan, and where its events and results go.
pub struct Run {
    pub plan: Plan,
    pub events: Events,
    pub recorder: Recorder,
    /// Knows the secrets of the run.
    pub redactor: Redactor,
    /// Cancelled by SIGTERM and SIGINT.
    pub cancel: CancellationToken,
    /// One client for all registries, so that connections and tokens are shared.
    pub registry: registry::Client,
    /// What the report shows beside itself.
    pub attachments: Mutex<Attachments>,
    /// What the target's repository was seen to hold before the build.
    pub look: Mutex<Option<registry::Look>>,
    /// The connection, made once: a kubeconfig is read and its credential plugin is asked only when it has to be.
    pub cluster: OnceCell<Cluster>,
    /// Writes changes into the ledger.
    pub keeper: Arc<Keeper>,
    /// The company's rules, read once.
    pub rules: OnceCell<Vec<Rules>>,
    /// Whoever asks may do what this run does; decided once.
    pub permitted: OnceCell<()>,
}

/// What a step made, and what it says of itself.
pub struct Done<T> {
    pub value: T,
    /// In a phrase: `compiled 42 classes with JDK 17`.
    pub summary: String,
    pub state: StepState,
}

impl<T> Done<T> {
    pub fn new(value: T, summary: impl Into<String>) -> Self {
        Done { value, summary: summary.into(), state: StepState::Succeeded }
    }

    /// The step had nothing to do, because of `why`.
    pub fn skipped(value: T, why: impl Into<String>) -> Self {
        Done { value, summary: why.into(), state: StepState::Skipped }
    }
}

impl Run {
    /// The connection to the cluster that the settings name.
    pub(super) async fn cluster(&self) -> Result<&Cluster> {
        self.cluster.get_or_try_init(|| connect(&self.plan)).await
    }

    pub(super) fn attach(&self, set: impl FnOnce(&mut Attachments)) {
        set(&mut self.attachments.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What the report shows beside itself.
    pub fn attachments(&self) -> Attachments {
        self.attachments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the target's repository was seen to hold before the build.
    pub(super) fn look(&self) -> Option<registry::Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records what runs on the cluster now.
    pub(super) fn released(&self, namespace: &str, name: &str, released: &cluster::Released) {
        let release = report::Release {
            namespace: namespace.to_string(),
            name: name.to_string(),
            revision: released.revision,
            previous: released.previous,
            restores: released.restores,
            replicas: released.replicas,
        };
        self.recorder.record(|draft| draft.release(release, released.url.clone()));
    }

    /// A step that may simply be dropped when the run is cancelled: its children die with it, nothing outside is left half done.
    pub(super) async fn step<T>(&self, step: Step, work: impl Future<Output = Result<Done<T>>>) -> Result<T> {
        let cancellable = async {
            tokio::select! {
                biased;
                done = work => done,
                () = self.cancel.cancelled() => Err(cancelled(step.name())),
            }
        };
        self.watched_step(step, Box::pin(cancellable)).await
    }

    /// A step that sees to its own end when the run is cancelled.
    pub(super) async fn watched_step<T>(&self, step: Step, work: impl Future<Output = Result<Done<T>>>) -> Result<T> {
        record(&self.events, step, Box::pin(work)).await
    }
}

/// The end of a run that was asked to stop before anything of the cluster was changed.
pub fn cancelled(during: &str) -> Problem {
    Problem::new(Code::Cancelled, format!("cancelled during {during}; nothing was published"))
}

/// Tells begin and end of a step around its work.
pub(super) async fn record<T>(events: &Events, step: Step, work: impl Future<Output = Result<Done<T>>>) -> Result<T> {
    let started = Instant::now();
    events.emit(Event::StepStarted { step });
    let result = work.await;
    let seconds = started.elapsed().as_secs_f64();
    let (state, summary) = match &result {
        Ok(done) => (done.state, done.summary.clone()),
        Err(problem) => (StepState::Failed, problem.message.clone()),
    };
    events.emit(Event::StepFinished { step, state, seconds, summary });
    result.map(|done| done.value)
}

//! What happens during a run, as data: the outside systems say it, `report` words it.

use std::{fmt, sync::Arc};

use super::{
    digest::Digest,
    step::{Step, StepState},
};

/// Something that happened and that the owner may want to see.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A step begins.
    StepStarted { step: Step },
    /// A step ended; `summary` is what it did, in a phrase.
    StepFinished { step: Step, state: StepState, seconds: f64, summary: String },
    /// A program was started; nothing secret is in `argv`.
    CommandStarted { argv: Vec<String> },
    /// Maven reached a plugin's goal in a module.
    MavenGoal { goal: String, module: String },
    /// A line of a build's output that is worth seeing at once.
    BuildLine { line: String },
    /// A layer is on its way: so many of its bytes were sent.
    Sending { digest: Digest, size: u64, role: LayerRole, sent: u64 },
    /// A layer is where it has to be.
    Layer { digest: Digest, size: u64, role: LayerRole, transfer: Transfer },
    /// An image is complete in its registry under this name.
    ImagePushed { reference: String, digest: Digest },
    /// An object of the cluster was changed (or was found as it should be).
    Applied { kind: String, name: String, change: Change },
    /// How an object that was there is now different; `text` is a unified difference, `image` and `replicas` are a Deployment's before.
    Difference { kind: String, name: String, text: String, image: Option<String>, replicas: Option<i32> },
    /// A pod of the rollout came, changed or went.
    Pod { name: String, state: String, ready: bool, old: bool },
    /// How far the rollout is.
    Rollout { desired: i32, updated: i32, ready: i32, available: i32 },
    /// We wait for something outside, since `seconds`.
    Waiting { what: String, seconds: u64 },
    /// The rollout failed and the previous revision is put back.
    RollingBack { revision: u64, because: String },
    /// Something that is worth knowing and no failure.
    Note { text: String },
    /// Something that should be changed, but does not stop the run.
    Warning { text: String, hint: String },
}

/// What a layer holds; from rarely to often changing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerRole {
    Base,
    Dependencies,
    SnapshotDependencies,
    Application,
    Other,
}

/// How a layer came to be in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// It was there already.
    Present,
    /// The registry mounted it from another repository.
    Mounted,
    /// Its bytes were sent.
    Sent,
}

/// What became of an object of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Created,
    Configured,
    Unchanged,
    Deleted,
}

/// Where events go; cheap to clone and to pass on.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Events(Arc::new(sink))
    }

    /// Drops everything.
    pub fn none() -> Self {
        Events::new(|_| {})
    }

    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note { text: text.into() });
    }

    pub fn warning(&self, text: impl Into<String>, hint: impl Into<String>) {
        self.emit(Event::Warning { text: text.into(), hint: hint.into() });
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

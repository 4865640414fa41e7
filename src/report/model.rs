//! The report of a run: the shape of `report.json`, schema 1. Fields are only ever added; times are RFC 3339, durations seconds,
//! sizes bytes.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    domain::{
        digest::Digest,
        event::{Change, LayerRole, Transfer},
        problem::{Class, Code, EvidenceKind, Problem},
        step::{Step, StepState},
    },
    settings::Sourced,
};

/// The version of the report's shape.
pub const SCHEMA: u32 = 1;

/// Everything that is known of one run when it is over. Made by [`super::Draft::finish`] alone, so that result, exit code and problem
/// cannot contradict each other.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub(super) schema: u32,
    pub(super) result: Outcome,
    pub(super) exit_code: u8,
    /// None when the settings could not be read.
    pub app: Option<String>,
    pub line: Option<String>,
    pub environment: Option<String>,
    /// Version of Shipway.
    pub version: String,
    /// The command that ran, such as `run`.
    pub command: String,
    pub started: Timestamp,
    pub seconds: f64,
    pub ci: Option<Ci>,
    pub commit: Option<Commit>,
    pub steps: Vec<StepRecord>,
    pub image: Option<Image>,
    pub release: Option<Release>,
    /// The revision that was put back when the rollout failed or was cancelled.
    pub restored: Option<u64>,
    /// Where the application answers, as well as it is known.
    pub url: Option<String>,
    pub(super) problem: Option<ProblemRecord>,
    pub warnings: Vec<WarningRecord>,
    /// What a full run does and this one did not, and which setting would do it.
    pub not_done: Vec<NotDone>,
    /// Objects of the cluster that were changed, or found as they should be.
    pub changes: Vec<ChangeRecord>,
    /// How the objects that were there differ from before.
    pub differences: Vec<DifferenceRecord>,
    /// What ran before; None when nothing did.
    pub before: Option<Before>,
    /// Every state that a pod of the rollout was seen in, in order.
    pub pods: Vec<PodMoment>,
    pub settings: Vec<SettingRecord>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed,
    /// The rollout failed, and the previous revision runs again.
    RolledBack,
    /// A newer pipeline had published already.
    Superseded,
    Cancelled,
}

/// The CI job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ci {
    /// `gitlab`, `drone`, `woodpecker` or `shell`.
    pub kind: String,
    pub job_url: Option<String>,
    pub pipeline: Option<u64>,
}

/// The commit that was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Commit {
    pub sha: String,
    /// Branch or tag.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    pub author: Option<String>,
    /// First line of the message: foreign text.
    pub title: Option<String>,
}

/// One step as it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRecord {
    pub name: Step,
    pub state: StepState,
    pub started: Timestamp,
    pub seconds: f64,
    pub summary: String,
}

/// The image that was built or published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Name with tag; where an OCI layout was written instead, the name that it would have.
    pub reference: String,
    pub digest: Option<Digest>,
    /// Compressed size of all layers.
    pub size: u64,
    /// HTTP requests to registries.
    pub requests: u64,
    pub layers: Vec<ImageLayer>,
    /// The base image.
    pub base: Option<String>,
    /// Folder of the OCI layout when no registry is configured.
    pub layout: Option<String>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageLayer {
    pub digest: Digest,
    pub size: u64,
    pub role: LayerRole,
    /// Its bytes were sent in this run.
    pub transferred: bool,
    /// How it came to be in the registry.
    pub transfer: Transfer,
}

/// What runs on the cluster now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Release {
    pub namespace: String,
    pub name: String,
    pub revision: u64,
    pub previous: Option<u64>,
    /// The revision that a rollback put back.
    pub restores: Option<u64>,
    pub replicas: i32,
}

/// Why a run failed, as [`Problem`] says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemRecord {
    pub class: Class,
    /// The slug of the code.
    pub code: String,
    pub message: String,
    pub hint: String,
    pub evidence: Vec<EvidenceRecord>,
    /// The step that failed, when one had begun.
    pub step: Option<Step>,
    /// The cluster was changed and is not back at its previous release.
    pub unrestored: bool,
    /// Its page in the documentation, where help.url says where that is served.
    pub page: Option<String>,
}

/// Something that was seen when things went wrong: foreign text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceRecord {
    pub kind: EvidenceKind,
    pub source: String,
    pub text: String,
}

/// Something that should be changed, but did not stop the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WarningRecord {
    pub text: String,
    pub hint: String,
}

/// Something that a full run does and this one did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotDone {
    /// In a phrase: `the image was not pushed`.
    pub what: String,
    /// What was done in its place, when anything was: `it is an OCI layout at shipway-report/image`.
    pub instead: Option<String>,
    /// The setting that would do it: `registry.url`.
    pub setting: String,
}

/// What became of an object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeRecord {
    /// `deployment/order-service`.
    pub object: String,
    /// `created`, `configured`, `unchanged` or `deleted`.
    pub change: &'static str,
}

/// How an object of the cluster differs from before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferenceRecord {
    /// `deployment/order-service`.
    pub object: String,
    /// In unified form.
    pub text: String,
}

/// What ran before the publish.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Before {
    pub image: Option<String>,
    pub replicas: Option<i32>,
}

/// A report in the making, for those who are told while the run goes on: how it ends is not known.
#[derive(Debug, Clone)]
pub struct SoFar(pub(super) Report);

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It builds.
    Started,
    /// The cluster replaces its pods.
    Rolling,
    /// The rollout failed, and the previous revision is put back.
    RollingBack,
}

/// A state of a pod from this moment on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PodMoment {
    pub name: String,
    /// Seconds since the run began.
    pub at: f64,
    pub state: String,
    pub ready: bool,
    /// It belongs to the revision that was there before.
    pub old: bool,
}

/// One setting with where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingRecord {
    pub key: String,
    pub value: String,
    pub source: String,
}

impl SettingRecord {
    pub fn new(key: impl Into<String>, value: impl Into<String>, source: impl Into<String>) -> Self {
        SettingRecord { key: key.into(), value: value.into(), source: source.into() }
    }

    /// A setting whose value must not be shown.
    pub fn secret(key: impl Into<String>, source: impl Into<String>) -> Self {
        SettingRecord::new(key, crate::domain::redact::SECRET, source)
    }
}

impl NotDone {
    /// The image was not pushed, for want of a registry.
    pub fn no_registry(layout: &str) -> Self {
        NotDone {
            what: "the image was not pushed: no registry is configured".to_string(),
            instead: Some(format!("it is an OCI image layout at {layout}")),
            setting: "registry.url".to_string(),
        }
    }

    /// The image was not pushed: the pipeline of a fork has no password for the registry, on purpose.
    pub fn no_secrets(layout: &str) -> Self {
        NotDone {
            what: "the image was not pushed: this is a fork's merge request, which gets no secrets".to_string(),
            instead: Some(format!("it is an OCI image layout at {layout}")),
            setting: "registry.password".to_string(),
        }
    }

    /// Nothing was published, for want of a cluster.
    pub fn no_cluster(manifests: &str) -> Self {
        NotDone {
            what: "nothing was published: no cluster is configured".to_string(),
            instead: Some(format!("the manifests are at {manifests}")),
            setting: "cluster.kubeconfig".to_string(),
        }
    }

    /// Nothing was published, because `publish` says so: `because` names the rule (`the branch is not the default branch`).
    pub fn publish_off(because: &str) -> Self {
        NotDone { what: format!("nothing was published: {because}"), instead: None, setting: "publish".to_string() }
    }

    /// The run ended after the build.
    pub fn library() -> Self {
        let what = "no image was built and nothing was published: this is a library";
        NotDone { what: what.to_string(), instead: None, setting: "kind".to_string() }
    }
}

impl From<&Sourced> for SettingRecord {
    fn from(setting: &Sourced) -> Self {
        SettingRecord::new(&setting.key, &setting.value, setting.source.to_string())
    }
}

impl Report {
    pub fn result(&self) -> Outcome {
        self.result
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    pub fn problem(&self) -> Option<&ProblemRecord> {
        self.problem.as_ref()
    }

    /// The image by digest: what is deployed, and what a later job takes as `image.ref`. None without a registry.
    pub fn image_by_digest(&self) -> Option<String> {
        let image = self.image.as_ref().filter(|image| image.layout.is_none())?;
        let reference: crate::domain::reference::ImageReference = image.reference.parse().ok()?;
        Some(reference.with_digest(image.digest.as_ref()?).to_string())
    }
}

impl Outcome {
    /// What a problem makes of the run.
    pub(super) fn of(problem: Option<&Problem>) -> Self {
        match problem {
            None => Outcome::Succeeded,
            Some(problem) if problem.unrestored => Outcome::Failed,
            Some(problem) if problem.code == Code::Superseded => Outcome::Superseded,
            Some(problem) => match problem.class() {
                Class::Rollout => Outcome::RolledBack,
                Class::Cancelled => Outcome::Cancelled,
                _ => Outcome::Failed,
            },
        }
    }

    /// In words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled back",
            Outcome::Superseded => "superseded",
            Outcome::Cancelled => "cancelled",
        }
    }
}

impl ProblemRecord {
    pub(super) fn new(problem: &Problem, step: Option<Step>) -> Self {
        let evidence = problem.evidence.iter();
        ProblemRecord {
            class: problem.class(),
            code: problem.code.slug().to_string(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            evidence: evidence.map(|e| EvidenceRecord { kind: e.kind, source: e.source.clone(), text: e.text.clone() }).collect(),
            step,
            unrestored: problem.unrestored,
            page: None,
        }
    }
}

/// The page of a problem in the documentation, which is served at `help`.
pub fn page_of(help: &str, slug: &str) -> String {
    format!("{}/problems.html#{slug}", help.trim_end_matches('/'))
}

/// The word for what became of an object, as kubectl says it.
pub(super) fn change_word(change: Change) -> &'static str {
    match change {
        Change::Created => "created",
        Change::Configured => "configured",
        Change::Unchanged => "unchanged",
        Change::Deleted => "deleted",
    }
}

/// What a layer holds, in words.
pub(super) fn role_words(role: LayerRole) -> &'static str {
    match role {
        LayerRole::Base => "base",
        LayerRole::Dependencies => "dependencies",
        LayerRole::SnapshotDependencies => "snapshot dependencies",
        LayerRole::Application => "application",
        LayerRole::Other => "other",
    }
}

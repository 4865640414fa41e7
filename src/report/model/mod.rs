//! The report of a run: the shape of `report.json`, schema 1. Fields are only ever added; times are RFC 3339, durations seconds,
//! sizes bytes.

mod words;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

pub use self::words::page_of;
pub(super) use self::words::{change_word, role_words};
use super::schema;

use crate::domain::{
    digest::Digest,
    event::{LayerRole, Transfer},
    problem::{Class, EvidenceKind},
    step::{Step, StepState},
};

/// The version of the report's shape.
pub const SCHEMA: u32 = 1;

/// Everything that is known of one run when it is over. Made by [`super::Draft::finish`] alone, so that result, exit code and problem
/// cannot contradict each other.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    /// Version of this shape.
    pub(super) schema: u32,
    /// How the run ended.
    pub(super) result: Outcome,
    /// The process's exit code.
    pub(super) exit_code: u8,
    /// The application; null when the settings could not be read.
    pub app: Option<String>,
    /// The product line of the application.
    pub line: Option<String>,
    /// The environment, when one is named.
    pub environment: Option<String>,
    /// Version of Shipway.
    pub version: String,
    /// The command that ran, such as `run`.
    pub command: String,
    /// When the run began.
    #[schemars(schema_with = "schema::time")]
    pub started: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// The CI job.
    pub ci: Option<Ci>,
    /// What was built.
    pub commit: Option<Commit>,
    /// The steps in their order.
    pub steps: Vec<StepRecord>,
    /// The image that was built or published.
    pub image: Option<Image>,
    /// What was published; null when nothing was, or when it did not come up.
    pub release: Option<Release>,
    /// The revision that was put back when the rollout failed or was cancelled.
    pub restored: Option<u64>,
    /// Seconds since the run began when the rollback did.
    pub rollback_at: Option<f64>,
    /// Where the application answers, as well as it is known.
    pub url: Option<String>,
    /// Where the page of this report can be opened, when a setting says so.
    pub report_url: Option<String>,
    /// What `remove` took away; for those who are told, as the step says it in words.
    #[serde(skip)]
    pub removed: Option<Removed>,
    /// Why the run failed; null when it did not.
    pub(super) problem: Option<ProblemRecord>,
    /// What should be changed, but did not stop the run.
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
    /// Every setting that has a value.
    pub settings: Vec<SettingRecord>,
}

/// An application that was taken out of its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Other applications of ours are still in that environment.
    pub others: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ci {
    /// `gitlab`, `drone`, `woodpecker` or `shell`.
    pub kind: String,
    /// Its page.
    pub job_url: Option<String>,
    /// Number of the pipeline.
    pub pipeline: Option<u64>,
}

/// The commit that was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Commit {
    /// Whole hash.
    pub sha: String,
    /// Branch or tag.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Author.
    pub author: Option<String>,
    /// First line of the message: foreign text.
    pub title: Option<String>,
}

/// One step as it went.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StepRecord {
    /// Which step it is.
    #[schemars(schema_with = "schema::steps")]
    pub name: Step,
    /// How it ended.
    #[schemars(schema_with = "schema::step_states")]
    pub state: StepState,
    /// When it began.
    #[schemars(schema_with = "schema::time")]
    pub started: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// What it did, in a phrase.
    pub summary: String,
}

/// The image that was built or published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Image {
    /// Name with tag; where an OCI layout was written instead, the name that it would have.
    pub reference: String,
    /// Digest of its manifest; what is deployed.
    #[schemars(with = "Option<String>")]
    pub digest: Option<Digest>,
    /// Compressed size of all layers.
    pub size: u64,
    /// HTTP requests to registries.
    pub requests: u64,
    /// Its layers, the base first.
    pub layers: Vec<ImageLayer>,
    /// The base image.
    pub base: Option<String>,
    /// Folder of the OCI layout when no registry is configured.
    pub layout: Option<String>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageLayer {
    /// Its digest.
    #[schemars(with = "String")]
    pub digest: Digest,
    /// Compressed size.
    pub size: u64,
    /// What it holds.
    #[schemars(schema_with = "schema::roles")]
    pub role: LayerRole,
    /// Its bytes were sent in this run.
    pub transferred: bool,
    /// How it came to be in the registry.
    #[schemars(schema_with = "schema::transfers")]
    pub transfer: Transfer,
}

/// What runs on the cluster now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Release {
    /// Its namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub name: String,
    /// Shipway's number of the release, counted from 1.
    pub revision: u64,
    /// The one before it.
    pub previous: Option<u64>,
    /// The revision that a rollback put back.
    pub restores: Option<u64>,
    /// Pods that are wanted.
    pub replicas: i32,
}

/// Why a run failed, as [`Problem`] says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProblemRecord {
    /// Its kind, which decides the exit code.
    #[schemars(schema_with = "schema::classes")]
    pub class: Class,
    /// The slug of the code.
    pub code: String,
    /// What happened, in a sentence.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// What was seen, best first.
    pub evidence: Vec<EvidenceRecord>,
    /// The step that failed, when one had begun.
    #[schemars(schema_with = "schema::maybe_step")]
    pub step: Option<Step>,
    /// The cluster was changed and is not back at its previous release.
    pub unrestored: bool,
    /// Its page in the documentation, where `help.url` says where that is served.
    pub page: Option<String>,
}

/// Something that was seen when things went wrong: foreign text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EvidenceRecord {
    /// What it is.
    #[schemars(schema_with = "schema::evidence_kinds")]
    pub kind: EvidenceKind,
    /// Where it comes from: a container, a pod, a file.
    pub source: String,
    /// The text itself.
    pub text: String,
}

/// Something that should be changed, but did not stop the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WarningRecord {
    /// What it is.
    pub text: String,
    /// What to do.
    pub hint: String,
}

/// Something that a full run does and this one did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotDone {
    /// In a phrase: `the image was not pushed`.
    pub what: String,
    /// What was done in its place, when anything was: `it is an OCI layout at shipway-report/image`.
    pub instead: Option<String>,
    /// The setting that would do it: `registry.url`.
    pub setting: String,
}

/// What became of an object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangeRecord {
    /// `deployment/order-service`.
    pub object: String,
    /// `created`, `configured`, `unchanged` or `deleted`.
    #[schemars(schema_with = "schema::changes")]
    pub change: &'static str,
    /// The rollback did it, which puts the object back as it was.
    pub by_rollback: bool,
}

/// How an object of the cluster differs from before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DifferenceRecord {
    /// `deployment/order-service`.
    pub object: String,
    /// In unified form.
    pub text: String,
}

/// What ran before the publish.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Before {
    /// Its image.
    pub image: Option<String>,
    /// Its pods.
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
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PodMoment {
    /// Name of the pod.
    pub name: String,
    /// Seconds since the run began.
    pub at: f64,
    /// A word for it: `pending`, `creating`, `starting`, `running`, `ready`, `terminating`, `gone`, or Kubernetes' own reason, such as `CrashLoopBackOff`.
    pub state: String,
    /// It takes requests.
    pub ready: bool,
    /// It belongs to the revision that was there before.
    pub old: bool,
}

/// One setting with where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SettingRecord {
    /// Its key.
    pub key: String,
    /// Its value; `(secret)` when it is one.
    pub value: String,
    /// Where the value comes from: `default`, a variable, a file.
    pub source: String,
}

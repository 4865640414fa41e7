//! What a message broker is told of a run: an event in the form of CloudEvents 1.0 for the start and the end of each step, and one for
//! the end of the run.

use jiff::Timestamp;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::Value;

use super::{
    foreign,
    model::{Ci, Commit, Outcome, Release, Report, SoFar},
    schema,
};
use crate::domain::{
    redact::Redactor,
    step::{Step, StepState},
};

/// Longest summary, columns.
const LONGEST: usize = 1000;

/// One event; the envelope is that of CloudEvents 1.0 in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CloudEvent {
    /// Version of the envelope: `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: &'static str,
    /// The run, and the number of the event in it, from 1: an event that arrives twice has the same one.
    pub id: String,
    /// `/shipway/<line>/<app>`.
    pub source: String,
    /// `shipway.step.started`, `shipway.step.succeeded`, `shipway.step.failed`, `shipway.step.skipped`, or `shipway.run.finished`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["shipway.step.started", "shipway.step.succeeded", "shipway.step.failed", "shipway.step.skipped", "shipway.run.finished"]))]
    pub kind: String,
    /// Name of the step, or `run`.
    pub subject: String,
    /// When it happened.
    #[schemars(schema_with = "schema::time")]
    pub time: Timestamp,
    /// `application/json`.
    pub datacontenttype: &'static str,
    /// What happened to which application.
    pub data: Data,
}

/// What happened to which application.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Data {
    /// Version of these fields; they are only ever added: `1`.
    pub schema: u32,
    /// The same in all events of one run.
    pub run: String,
    /// The command.
    pub command: String,
    /// Name of the application.
    pub app: Option<String>,
    /// Its product line.
    pub line: Option<String>,
    /// The environment.
    pub environment: Option<String>,
    /// What is built.
    pub commit: Option<Commit>,
    /// The CI's job.
    pub ci: Option<Ci>,
    /// The step that began or ended; null at the end of the run.
    pub step: Option<StepNews>,
    /// How the run ended; null before.
    pub end: Option<End>,
}

/// A step that began or ended.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StepNews {
    /// Its name.
    #[schemars(schema_with = "schema::steps")]
    pub name: Step,
    /// How long it took; null at its start.
    pub seconds: Option<f64>,
    /// What it did, or what went wrong; null at its start.
    pub summary: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct End {
    /// In a word.
    pub result: Outcome,
    /// The exit code.
    pub exit_code: u8,
    /// How long it took.
    pub seconds: f64,
    /// Name of the image.
    pub image: Option<String>,
    /// Digest of the image.
    pub digest: Option<String>,
    /// What runs now.
    pub release: Option<Release>,
    /// The slug of what went wrong.
    pub code: Option<String>,
    /// What went wrong, in a sentence.
    pub message: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// Which event of which run.
#[derive(Debug, Clone, Copy)]
pub struct Number<'a> {
    pub run: &'a str,
    /// From 1.
    pub number: u64,
    pub time: Timestamp,
}

impl CloudEvent {
    /// The start of a step.
    pub fn started(number: Number<'_>, so_far: &SoFar, step: Step) -> CloudEvent {
        let news = StepNews { name: step, seconds: None, summary: None };
        CloudEvent::new(number, &so_far.0, "step.started", Some(news), None)
    }

    /// The end of a step.
    pub fn ended(
        number: Number<'_>,
        so_far: &SoFar,
        (step, state): (Step, StepState),
        seconds: f64,
        summary: &str,
        redactor: &Redactor,
    ) -> CloudEvent {
        let kind = match state {
            StepState::Succeeded => "step.succeeded",
            StepState::Failed => "step.failed",
            StepState::Skipped => "step.skipped",
        };
        let summary = foreign::line(&foreign::safe(summary, redactor), LONGEST);
        let seconds = (seconds * 1000.0).round() / 1000.0;
        let news = StepNews { name: step, seconds: Some(seconds), summary: Some(summary) };
        CloudEvent::new(number, &so_far.0, kind, Some(news), None)
    }

    /// The end of the run.
    pub fn finished(number: Number<'_>, report: &Report) -> CloudEvent {
        let problem = report.problem();
        let end = End {
            result: report.result(),
            exit_code: report.exit_code(),
            seconds: report.seconds,
            image: report.image.as_ref().map(|image| image.reference.clone()),
            digest: report.image.as_ref().and_then(|image| Some(image.digest.as_ref()?.as_str().to_string())),
            release: report.release.clone(),
            code: problem.map(|problem| problem.code.clone()),
            message: problem.map(|problem| problem.message.clone()),
            hint: problem.map(|problem| problem.hint.clone()),
        };
        CloudEvent::new(number, report, "run.finished", None, Some(end))
    }

    fn new(number: Number<'_>, report: &Report, kind: &str, step: Option<StepNews>, end: Option<End>) -> CloudEvent {
        let (line, app) = (report.line.as_deref().unwrap_or("-"), report.app.as_deref().unwrap_or("-"));
        CloudEvent {
            specversion: "1.0",
            id: format!("{}/{}", number.run, number.number),
            source: format!("/shipway/{line}/{app}"),
            kind: format!("shipway.{kind}"),
            subject: step.as_ref().map_or("run", |step| step.name.name()).to_string(),
            time: number.time,
            datacontenttype: "application/json",
            data: Data {
                schema: 1,
                run: number.run.to_string(),
                command: report.command.clone(),
                app: report.app.clone(),
                line: report.line.clone(),
                environment: report.environment.clone(),
                commit: report.commit.clone(),
                ci: report.ci.clone(),
                step,
                end,
            },
        }
    }

    /// `<line>.<app>.<step or run>.<what happened>`: what queues are bound with.
    pub fn routing_key(&self) -> String {
        let word = |text: &Option<String>| text.as_deref().unwrap_or("-").replace('.', "-");
        let what = self.kind.rsplit('.').next().unwrap_or_default();
        format!("{}.{}.{}.{what}", word(&self.data.line), word(&self.data.app), self.subject)
    }
}

/// The JSON schema (draft 2020-12) of an event.
pub fn event_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<CloudEvent>();
    schema.insert("title".to_string(), "Event of a run".into());
    schema.insert("description".to_string(), "What a message broker is told of a run of Shipway: an event of CloudEvents 1.0.".into());
    schema.to_value()
}

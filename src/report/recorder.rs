//! Gathers a run into its report.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::model::{
    self, Before, ChangeRecord, DifferenceRecord, ImageLayer, NotDone, Outcome, PodMoment, ProblemRecord, Report, SoFar, StepRecord,
    WarningRecord,
};
use crate::domain::{
    event::{Event, Transfer},
    problem::Problem,
    redact::Redactor,
    step::{Step, StepState},
};

/// Most moments of pods that are kept: a rollout of some hundred pods; what comes later is dropped.
const MOST_MOMENTS: usize = 4000;

/// Most warnings that are kept: a worker lives for months, and nobody reads its report.
const MOST_WARNINGS: usize = 1000;

/// A report in the making: steps, layers, warnings, changes and pods come from events, the rest is set as it becomes known.
pub struct Draft {
    report: Report,
    layers: Vec<ImageLayer>,
    running: Option<(Step, Timestamp)>,
    failed: Option<Step>,
    /// Where the documentation is served.
    help: Option<String>,
}

impl Draft {
    pub fn new(version: impl Into<String>, command: impl Into<String>, started: Timestamp) -> Self {
        let report = Report {
            schema: model::SCHEMA,
            result: Outcome::Succeeded,
            exit_code: 0,
            app: None,
            line: None,
            environment: None,
            version: version.into(),
            command: command.into(),
            started: to_millis(started),
            seconds: 0.0,
            ci: None,
            commit: None,
            steps: Vec::new(),
            image: None,
            release: None,
            restored: None,
            rollback_at: None,
            url: None,
            report_url: None,
            removed: None,
            problem: None,
            warnings: Vec::new(),
            not_done: Vec::new(),
            changes: Vec::new(),
            differences: Vec::new(),
            before: None,
            pods: Vec::new(),
            settings: Vec::new(),
        };
        Draft { report, layers: Vec::new(), running: None, failed: None, help: None }
    }

    pub fn app(&mut self, app: impl Into<String>, line: impl Into<String>) {
        self.report.app = Some(app.into());
        self.report.line = Some(line.into());
    }

    pub fn environment(&mut self, environment: Option<String>) {
        self.report.environment = environment;
    }

    pub fn ci(&mut self, ci: model::Ci) {
        self.report.ci = Some(ci);
    }

    /// Where `report.html` can be opened.
    pub fn report_url(&mut self, url: Option<String>) {
        self.report.report_url = url;
    }

    pub fn commit(&mut self, commit: model::Commit) {
        self.report.commit = Some(commit);
    }

    pub fn help(&mut self, help: Option<String>) {
        self.help = help;
    }

    pub fn settings(&mut self, settings: Vec<model::SettingRecord>) {
        self.report.settings = settings;
    }

    /// The image that was built; its layers may stay empty, they come from the events.
    pub fn image(&mut self, image: model::Image) {
        self.report.image = Some(image);
    }

    pub fn release(&mut self, release: model::Release, url: Option<String>) {
        self.report.release = Some(release);
        self.report.url = url;
    }

    /// Says that the application is out of its environment.
    pub fn removed(&mut self, removed: model::Removed) {
        self.report.removed = Some(removed);
    }

    /// Says what a full run does and this one did not.
    pub fn not_done(&mut self, not_done: NotDone) {
        self.report.not_done.push(not_done);
    }

    /// Takes in what happened at `now`.
    pub fn event(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::StepStarted { step } => self.running = Some((step, to_millis(now))),
            Event::StepFinished { step, state, seconds, summary } => self.step_finished(step, state, seconds, summary, now),
            Event::Layer { digest, size, role, transfer } => {
                self.layers.push(ImageLayer { digest, size, role, transferred: transfer == Transfer::Sent, transfer });
            }
            Event::Applied { kind, name, change } => {
                let object = format!("{}/{name}", kind.to_lowercase());
                let by_rollback = self.report.restored.is_some();
                self.report.changes.push(ChangeRecord { object, change: model::change_word(change), by_rollback });
            }
            Event::Difference { kind, name, text, image, replicas } => self.difference(&kind, &name, text, Before { image, replicas }),
            Event::Pod { name, state, ready, old } => self.pod(name, state, ready, old, now),
            Event::RollingBack { revision, .. } => {
                self.report.restored = Some(revision);
                self.report.rollback_at = Some(seconds_between(self.report.started, now));
            }
            Event::Warning { text, hint } => {
                let warning = WarningRecord { text, hint };
                if self.report.warnings.len() < MOST_WARNINGS && !self.report.warnings.contains(&warning) {
                    self.report.warnings.push(warning);
                }
            }
            _ => {}
        }
    }

    /// The finished report: result, exit code and problem follow from how the run ended; every text is made safe.
    pub fn finish(mut self, problem: Option<&Problem>, ended: Timestamp, redactor: &Redactor) -> Report {
        if let Some((step, started)) = self.running.take() {
            let state = if problem.is_some() { StepState::Failed } else { StepState::Succeeded };
            let seconds = seconds_between(started, ended);
            self.step_finished(step, state, seconds, problem.map(|p| p.message.clone()).unwrap_or_default(), ended);
        }
        let mut report = self.report;
        report.result = Outcome::of(problem);
        report.exit_code = problem.map_or(0, Problem::exit_code);
        report.problem = problem.map(|problem| ProblemRecord {
            page: self.help.as_ref().map(|help| model::page_of(help, problem.code.slug())),
            ..ProblemRecord::new(problem, self.failed)
        });
        report.seconds = seconds_between(report.started, ended);
        // A rollback that failed, too, has restored nothing.
        report.restored = report.restored.filter(|_| problem.is_some_and(|problem| !problem.unrestored));
        take_layers(&mut report, self.layers);
        report.make_safe(redactor);
        report
    }

    /// What is known by now, made safe.
    fn so_far(&self, now: Timestamp, redactor: &Redactor) -> SoFar {
        let mut report = self.report.clone();
        report.seconds = seconds_between(report.started, now);
        take_layers(&mut report, self.layers.clone());
        report.make_safe(redactor);
        SoFar(report)
    }

    /// What a rollback changes back is no difference of this run.
    fn difference(&mut self, kind: &str, name: &str, text: String, before: Before) {
        if self.report.restored.is_some() {
            return;
        }
        let object = format!("{}/{name}", kind.to_lowercase());
        if before != Before::default() {
            self.report.before = Some(before);
        }
        if !text.is_empty() {
            self.report.differences.push(DifferenceRecord { object, text });
        }
    }

    fn step_finished(&mut self, step: Step, state: StepState, seconds: f64, summary: String, now: Timestamp) {
        let started = match self.running.take() {
            Some((running, started)) if running == step => started,
            _ => to_millis(now - duration(seconds)),
        };
        if state == StepState::Failed {
            self.failed = Some(step);
        }
        self.report.steps.push(StepRecord { name: step, state, started, seconds: round(seconds), summary });
    }

    fn pod(&mut self, name: String, state: String, ready: bool, old: bool, now: Timestamp) {
        let at = seconds_between(self.report.started, now);
        let pods = &mut self.report.pods;
        let known = pods.iter().rev().find(|pod| pod.name == name).is_some_and(|pod| pod.state == state && pod.ready == ready);
        if !known && pods.len() < MOST_MOMENTS {
            pods.push(PodMoment { name, at, state, ready, old });
        }
    }
}

/// A draft that the events' sink and the steps share; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    draft: Arc<Mutex<Option<Draft>>>,
    clock: fn() -> Timestamp,
}

impl Recorder {
    /// A recorder on the system's clock; the run begins now.
    pub fn new(version: impl Into<String>, command: impl Into<String>) -> Self {
        Recorder::with_clock(version, command, Timestamp::now)
    }

    /// A recorder on another clock.
    pub fn with_clock(version: impl Into<String>, command: impl Into<String>, clock: fn() -> Timestamp) -> Self {
        Recorder { draft: Arc::new(Mutex::new(Some(Draft::new(version, command, clock())))), clock }
    }

    pub fn event(&self, event: Event) {
        let now = (self.clock)();
        self.record(|draft| draft.event(event, now));
    }

    /// Sets what has become known; does nothing once the report is made.
    pub fn record(&self, set: impl FnOnce(&mut Draft)) {
        let mut draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        draft.as_mut().map(set).unwrap_or_default();
    }

    /// What is known by now; None once the report is made.
    pub fn so_far(&self, redactor: &Redactor) -> Option<SoFar> {
        let draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        Some(draft.as_ref()?.so_far((self.clock)(), redactor))
    }

    /// Ends the recording; None when it was ended before.
    pub fn finish(&self, problem: Option<&Problem>, redactor: &Redactor) -> Option<Report> {
        let draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(draft.finish(problem, (self.clock)(), redactor))
    }
}

/// The layers come from the events, unless the image brought its own.
fn take_layers(report: &mut Report, layers: Vec<ImageLayer>) {
    if let Some(image) = report.image.as_mut().filter(|image| image.layers.is_empty()) {
        image.layers = layers;
    }
}

fn to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    round(to.duration_since(from).as_secs_f64().max(0.0))
}

fn duration(seconds: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// To milliseconds: more is noise in a report.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

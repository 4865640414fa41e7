//! The job log: what the owner reads while it happens. It is the user interface: every change is named, the summary comes last.

mod json;
mod problem;
mod style;
mod summary;
mod text;

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

pub use self::style::{Format, Header, Intent, Level, Style, command_line};
pub(super) use self::summary::headline_words;
use super::{foreign, model::Report};
use crate::domain::{
    event::{Change, Event},
    problem::Problem,
    redact::Redactor,
};

/// The job log; cheap to clone. Writing to a closed pipe does nothing.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Inner>>);

struct Inner {
    out: Box<dyn Write + Send>,
    printer: Printer,
    redactor: Redactor,
    clock: fn() -> Timestamp,
    closed: bool,
}

enum Printer {
    Text(text::Text),
    Json(json::Json),
}

impl Log {
    pub fn new(out: Box<dyn Write + Send>, style: Style, redactor: Redactor) -> Self {
        Log::with_clock(out, style, redactor, Timestamp::now)
    }

    /// A log on another clock.
    pub fn with_clock(out: Box<dyn Write + Send>, style: Style, redactor: Redactor, clock: fn() -> Timestamp) -> Self {
        let printer = match style.format {
            Format::Text => Printer::Text(text::Text::new(style)),
            Format::Json => Printer::Json(json::Json::new(style.level)),
        };
        Log(Arc::new(Mutex::new(Inner { out, printer, redactor, clock, closed: false })))
    }

    /// The first lines: which application, which commit, what will happen.
    pub fn header(&self, header: &Header) {
        let redactor = self.redactor();
        let safe = |text: &str| foreign::safe(text, &redactor);
        let will: Vec<String> = header.intents.iter().map(|intent| safe(&intent.words())).collect();
        let mut header = Header { version: safe(&header.version), command: safe(&header.command), intents: Vec::new(), ..header.clone() };
        let mut maybe = [&mut header.app, &mut header.line, &mut header.environment];
        maybe.iter_mut().filter_map(|text| text.as_mut()).for_each(|text| *text = safe(text));
        header.commit.iter_mut().for_each(|commit| commit.each_text(&mut |text| *text = safe(text)));
        self.write(|printer, now| match printer {
            Printer::Text(text) => text.header(&header, &will),
            Printer::Json(json) => json.header(&header, &will, now),
        });
    }

    /// What happened.
    pub fn event(&self, event: &Event) {
        let mut event = event.clone();
        let redactor = self.redactor();
        each_text(&mut event, &mut |text| *text = foreign::safe(text, &redactor));
        self.write(|printer, now| match printer {
            Printer::Text(text) => text.event(&event, now),
            Printer::Json(json) => json.event(&event, now),
        });
    }

    /// The last lines of a run: the problem when there is one, what was reached, where the report is (`dir`).
    pub fn summary(&self, report: &Report, dir: Option<&Path>) {
        self.write(|printer, now| match printer {
            Printer::Text(text) => text.summary(report, dir, now),
            Printer::Json(json) => json.summary(report, dir, now),
        });
    }

    /// A problem of a command that makes no report, or of a start that came to no run.
    pub fn problem(&self, problem: &Problem) {
        let mut record = super::model::ProblemRecord::new(problem, None);
        let redactor = self.redactor();
        record.each_text(&mut |text| *text = foreign::safe(text, &redactor));
        let exit_code = problem.exit_code();
        self.write(|printer, now| match printer {
            Printer::Text(text) => text.problem(&record, exit_code, now),
            Printer::Json(json) => json.problem(&record, exit_code, now),
        });
    }

    /// What a command answers, such as a plan or a status: as it is, but for secrets.
    pub fn print(&self, answer: &str) {
        self.write(|_, _| answer.to_string());
    }

    fn redactor(&self) -> Redactor {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).redactor.clone()
    }

    fn write(&self, words: impl FnOnce(&mut Printer, Timestamp) -> String) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (inner.clock)();
        let words = words(&mut inner.printer, now);
        if words.is_empty() || inner.closed {
            return;
        }
        let text = inner.redactor.redact(&words).into_owned();
        inner.closed = inner.out.write_all(text.as_bytes()).and_then(|()| inner.out.flush()).is_err();
    }
}

/// The level from which on an event is told.
fn level(event: &Event) -> Level {
    match event {
        Event::Warning { .. } | Event::RollingBack { .. } => Level::Warn,
        Event::Applied { change: Change::Unchanged, .. } | Event::Difference { .. } => Level::Debug,
        _ => Level::Info,
    }
}

/// Visits every text of an event, so that secrets go before anything is cut.
fn each_text(event: &mut Event, visit: &mut dyn FnMut(&mut String)) {
    match event {
        Event::StepStarted { .. } | Event::Layer { .. } | Event::Rollout { .. } => {}
        Event::StepFinished { summary: text, .. }
        | Event::BuildLine { line: text }
        | Event::ImagePushed { reference: text, .. }
        | Event::Waiting { what: text, .. }
        | Event::RollingBack { because: text, .. }
        | Event::Note { text } => visit(text),
        Event::CommandStarted { argv } => argv.iter_mut().for_each(visit),
        Event::Difference { kind, name, text, image, .. } => {
            [Some(kind), Some(name), Some(text), image.as_mut()].into_iter().flatten().for_each(visit)
        }
        Event::MavenGoal { goal: a, module: b }
        | Event::Applied { kind: a, name: b, .. }
        | Event::Pod { name: a, state: b, .. }
        | Event::Warning { text: a, hint: b } => {
            visit(a);
            visit(b);
        }
    }
}

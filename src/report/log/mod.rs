//! The job log: what the owner reads while it happens. It is the user interface: every change is named, the summary comes last.

mod going;
mod json;
mod live;
mod problem;
mod style;
mod summary;
mod text;

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

pub use self::live::Size;
pub use self::style::{Format, Header, Intent, Level, Style, command_line};
pub(super) use self::summary::headline_words;
use self::{going::Going, live::Screen};
use super::{foreign, model::Report, paint::Paint};
use crate::domain::{
    event::{Change, Event},
    problem::Problem,
    redact::Redactor,
};

/// A log that is never redrawn says after so long a silence what is waited for, and says that no oftener.
const HEARTBEAT: i64 = 20;
/// How often a terminal is drawn anew, and how often any other log looks whether it has been silent.
const REDRAW: Duration = Duration::from_millis(100);
const LISTEN: Duration = Duration::from_secs(1);

/// The job log; cheap to clone. Writing to a closed pipe does nothing.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Inner>>);

struct Inner {
    out: Box<dyn Write + Send>,
    printer: Printer,
    redactor: Redactor,
    clock: fn() -> Timestamp,
    closed: bool,
    going: Going,
    screen: Option<Screen>,
    paint: Paint,
    /// When a line was last written, and when one that says what is waited for.
    wrote: Timestamp,
    waited: Option<Timestamp>,
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
        let paint = Paint::new(&style);
        let printer = match style.format {
            Format::Text => Printer::Text(text::Text::new(style)),
            Format::Json => Printer::Json(json::Json::new(style.level)),
        };
        let (going, wrote) = (Going::default(), clock());
        Log(Arc::new(Mutex::new(Inner { out, printer, redactor, clock, closed: false, going, screen: None, paint, wrote, waited: None })))
    }

    /// On a terminal of this size what goes on stands in rows below the lines, which are drawn anew by [`Log::beat`].
    pub fn on_screen(self, size: fn() -> Option<Size>) -> Self {
        {
            let mut inner = self.lock();
            if let Printer::Text(text) = &mut inner.printer {
                text.live();
                inner.screen = Some(Screen::new(size));
            }
        }
        self
    }

    /// How often [`Log::beat`] is to be called.
    pub fn pulse(&self) -> Duration {
        if self.lock().screen.is_some() { REDRAW } else { LISTEN }
    }

    /// Draws a terminal anew; elsewhere, says what is waited for when nothing has been said for a while.
    pub fn beat(&self) {
        self.write(|inner, now| match inner.screen {
            Some(_) => String::new(),
            None if now.duration_since(inner.wrote).as_secs() < HEARTBEAT => String::new(),
            None => {
                inner.going.waited_for(now).map(|(what, seconds)| inner.event(&Event::Waiting { what, seconds }, now)).unwrap_or_default()
            }
        });
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
        self.write(|inner, now| match &mut inner.printer {
            Printer::Text(text) => text.header(&header, &will),
            Printer::Json(json) => json.header(&header, &will, now),
        });
    }

    /// What happened.
    pub fn event(&self, event: &Event) {
        let mut event = event.clone();
        let redactor = self.redactor();
        each_text(&mut event, &mut |text| *text = foreign::safe(text, &redactor));
        self.write(|inner, now| {
            let last_look = match (&event, &inner.screen) {
                (Event::StepFinished { .. }, Some(_)) => live::last_look(&inner.going, now, inner.paint),
                _ => String::new(),
            };
            inner.going.event(&event, now);
            last_look + &inner.event(&event, now)
        });
    }

    /// The last lines of a run: the problem when there is one, what was reached, where the report is (`dir`).
    pub fn summary(&self, report: &Report, dir: Option<&Path>) {
        self.write(|inner, now| {
            // a step that a bug has ended never said so
            inner.going = Going::default();
            match &mut inner.printer {
                Printer::Text(text) => text.summary(report, dir, now),
                Printer::Json(json) => json.summary(report, dir, now),
            }
        });
    }

    /// A problem of a command that makes no report, or of a start that came to no run.
    pub fn problem(&self, problem: &Problem) {
        let mut record = super::model::ProblemRecord::new(problem, None);
        let redactor = self.redactor();
        record.each_text(&mut |text| *text = foreign::safe(text, &redactor));
        let exit_code = problem.exit_code();
        self.write(|inner, now| match &mut inner.printer {
            Printer::Text(text) => text.problem(&record, exit_code, now),
            Printer::Json(json) => json.problem(&record, exit_code, now),
        });
    }

    /// What a command answers, such as a plan or a status: as it is, but for secrets.
    pub fn print(&self, answer: &str) {
        self.write(|_, _| answer.to_string());
    }

    fn redactor(&self) -> Redactor {
        self.lock().redactor.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, words: impl FnOnce(&mut Inner, Timestamp) -> String) {
        let mut inner = self.lock();
        let now = (inner.clock)();
        let words = words(&mut inner, now);
        inner.put(words, now);
    }
}

impl Inner {
    /// An event in this log's words; of waiting it speaks now and then only.
    fn event(&mut self, event: &Event, now: Timestamp) -> String {
        if let Event::Waiting { .. } = event {
            if self.waited.is_some_and(|waited| now.duration_since(waited).as_secs() < HEARTBEAT) {
                return String::new();
            }
            self.waited = Some(now);
        }
        match &mut self.printer {
            Printer::Text(text) => text.event(event, now),
            Printer::Json(json) => json.event(event, now),
        }
    }

    fn put(&mut self, words: String, now: Timestamp) {
        if !words.is_empty() {
            self.wrote = now;
        }
        let text = match &mut self.screen {
            Some(screen) => screen.draw(&words, &self.going, now, self.paint),
            None => words,
        };
        if text.is_empty() || self.closed {
            return;
        }
        let text = self.redactor.redact(&text).into_owned();
        self.closed = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).is_err();
    }
}

/// The level from which on an event is told.
fn level(event: &Event) -> Level {
    match event {
        Event::Warning { .. } | Event::RollingBack { .. } => Level::Warn,
        Event::Applied { change: Change::Unchanged, .. } | Event::Difference { .. } | Event::Sending { .. } => Level::Debug,
        _ => Level::Info,
    }
}

/// Visits every text of an event, so that secrets go before anything is cut.
fn each_text(event: &mut Event, visit: &mut dyn FnMut(&mut String)) {
    match event {
        Event::StepStarted { .. } | Event::Sending { .. } | Event::Layer { .. } | Event::Rollout { .. } => {}
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

//! The job log, word for word.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use shipway::{
    domain::{event::Event, redact::Redactor, secret::Secret},
    report::{Format, Level, Log, Style},
};

use super::{golden, sample};

/// A writer that can be read.
#[derive(Clone, Default)]
pub struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn log(run: &sample::Run, style: Style) -> String {
    let paper = Paper::default();
    let log = Log::with_clock(Box::new(paper.clone()), style, Redactor::default(), sample::begin);
    log.header(&run.header);
    run.events.iter().for_each(|(_, event)| log.event(event));
    log.summary(&run.report(), Some(Path::new("shipway-report")));
    paper.text()
}

#[test]
fn a_good_run() {
    golden::check("succeeded.log", &log(&sample::succeeded(), Style::default()));
}

#[test]
fn a_run_that_was_rolled_back() {
    golden::check("rolled_back.log", &log(&sample::rolled_back(), Style::default()));
    let ascii = log(&sample::rolled_back(), Style { unicode: false, ..Style::default() });
    assert!(ascii.is_ascii(), "{ascii}");
}

#[test]
fn a_run_without_any_configuration() {
    golden::check("nothing_configured.log", &log(&sample::nothing_configured(), Style::default()));
}

#[test]
fn a_gitlab_job_folds_its_steps() {
    let text = log(&sample::rolled_back(), Style { sections: true, color: true, ..Style::default() });
    golden::check("rolled_back.gitlab.log", &text);
    assert_eq!(text.matches("section_start:1767323045:").count(), text.matches("section_end:1767323045:").count());
}

#[test]
fn json_is_one_object_a_line() {
    let text = log(&sample::rolled_back(), Style { format: Format::Json, ..Style::default() });
    golden::check("rolled_back.jsonl", &text);
    for line in text.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(object["time"].is_string() && object["level"].is_string() && object["event"].is_string(), "{line}");
    }
}

#[test]
fn levels_leave_out_what_is_below_them() {
    let at = |level| log(&sample::succeeded(), Style { level, ..Style::default() });
    let (error, warn, info, debug) = (at(Level::Error), at(Level::Warn), at(Level::Info), at(Level::Debug));
    assert!(!error.contains("readiness probe") && error.contains("order-service is up"), "{error}");
    assert!(warn.contains("readiness probe") && !warn.contains("deployment/order-service"), "{warn}");
    assert!(info.contains("deployment/order-service configured") && !info.contains("unchanged"), "{info}");
    assert!(debug.contains("service/order-service unchanged"), "{debug}");
}

/// Takes some bytes, then is closed.
struct Pipe(usize);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let run = sample::rolled_back();
    let log = Log::new(Box::new(Pipe(300)), Style::default(), Redactor::default());
    log.header(&run.header);
    run.events.iter().for_each(|(_, event)| log.event(event));
    log.summary(&run.report(), None);
}

#[test]
fn foreign_text_cannot_act_on_the_terminal() {
    let paper = Paper::default();
    let secret = Secret::new("hunter2-hunter2");
    let log = Log::new(Box::new(paper.clone()), Style::default(), Redactor::new([&secret]));
    let evil = "a\u{1b}[2J\u{1b}]0;x\u{7}\r\u{202e}b\nfake: all is well hunter2\u{1b}[0m-hunter2";
    for event in [
        Event::BuildLine { line: evil.into() },
        Event::Note { text: evil.into() },
        Event::Warning { text: evil.into(), hint: evil.into() },
        Event::Waiting { what: evil.into(), seconds: 3 },
        Event::Pod { name: evil.into(), state: evil.into(), ready: true, old: false },
        Event::MavenGoal { goal: evil.into(), module: evil.into() },
        Event::CommandStarted { argv: vec![evil.into()] },
        Event::RollingBack { revision: 1, because: evil.into() },
    ] {
        log.event(&event);
    }
    let text = paper.text();
    assert!(text.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{text:?}");
    assert!(!text.contains("hunter2-hunter2"), "{text}");
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with("  ")), "{text}");
}

#[test]
fn an_endless_line_is_cut() {
    let paper = Paper::default();
    let log = Log::new(Box::new(paper.clone()), Style::default(), Redactor::default());
    log.event(&Event::BuildLine { line: "x".repeat(1 << 20) });
    assert!(paper.text().len() < 500);
}

//! The log as one JSON object a line: `time`, `level`, `event`, and what belongs to that event.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    super::model::{ProblemRecord, Report, change_word},
    Header, Level,
};
use crate::domain::event::Event;

pub struct Json {
    level: Level,
}

impl Json {
    pub fn new(level: Level) -> Self {
        Json { level }
    }

    pub fn header(&self, header: &Header, will: &[String], now: Timestamp) -> String {
        let fields = json!({"version": header.version, "command": header.command, "app": header.app, "line": header.line,
            "environment": header.environment, "commit": header.commit, "will": will});
        self.line(Level::Info, "header", fields, now)
    }

    pub fn event(&self, event: &Event, now: Timestamp) -> String {
        let (name, fields) = match event {
            Event::StepStarted { step } => ("step_started", json!({"step": step})),
            Event::StepFinished { step, state, seconds, summary } => {
                let fields = json!({"step": step, "state": state, "seconds": seconds, "summary": summary});
                ("step_finished", fields)
            }
            Event::CommandStarted { argv } => ("command_started", json!({"argv": argv})),
            Event::MavenGoal { goal, module } => ("maven_goal", json!({"goal": goal, "module": module})),
            Event::BuildLine { line } => ("build_line", json!({"line": line})),
            Event::Sending { digest, size, role, sent } => ("sending", json!({"digest": digest, "size": size, "role": role, "sent": sent})),
            Event::Layer { digest, size, role, transfer } => {
                ("layer", json!({"digest": digest, "size": size, "role": role, "transfer": transfer}))
            }
            Event::ImagePushed { reference, digest } => ("image_pushed", json!({"reference": reference, "digest": digest})),
            Event::Applied { kind, name, change } => ("applied", json!({"kind": kind, "name": name, "change": change_word(*change)})),
            Event::Difference { kind, name, text, .. } => ("difference", json!({"kind": kind, "name": name, "text": text})),
            Event::Pod { name, state, ready, old } => ("pod", json!({"name": name, "state": state, "ready": ready, "old": old})),
            Event::Rollout { desired, updated, ready, available } => {
                ("rollout", json!({"desired": desired, "updated": updated, "ready": ready, "available": available}))
            }
            Event::Waiting { what, seconds } => ("waiting", json!({"what": what, "seconds": seconds})),
            Event::RollingBack { revision, because } => ("rolling_back", json!({"revision": revision, "because": because})),
            Event::Note { text } => ("note", json!({"text": text})),
            Event::Warning { text, hint } => ("warning", json!({"text": text, "hint": hint})),
        };
        self.line(super::level(event), name, fields, now)
    }

    pub fn summary(&self, report: &Report, dir: Option<&Path>, now: Timestamp) -> String {
        let fields = json!({"result": report.result(), "exit_code": report.exit_code(), "app": report.app, "image": report.image_by_digest(),
            "release": report.release, "url": report.url, "problem": report.problem(), "not_done": report.not_done,
            "seconds": report.seconds, "report": dir.map(|dir| dir.join("report.json").display().to_string())});
        self.line(Level::Error, "summary", fields, now)
    }

    pub fn problem(&self, problem: &ProblemRecord, exit_code: u8, now: Timestamp) -> String {
        self.line(Level::Error, "problem", json!({"exit_code": exit_code, "problem": problem}), now)
    }

    fn line(&self, level: Level, event: &str, fields: Value, now: Timestamp) -> String {
        if level > self.level {
            return String::new();
        }
        let word = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        let mut object = json!({"time": now, "level": word, "event": event});
        if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
            object.extend(fields);
        }
        format!("{object}\n")
    }
}

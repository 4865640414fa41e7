//! The card that Drone shows on the page of a build: data for the template of `plugin/drone/card.json` (Adaptive Cards).

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    message::{self, calm},
    model::{Outcome, Report},
    paint::seconds,
};
use crate::domain::{redact::Redactor, step::StepState};

/// The template, for those who serve it nowhere: it travels inside of the card.
const TEMPLATE: &str = include_str!("../../plugin/drone/card.json");
/// Where a card goes into the log itself instead of a file.
pub const LOG: &str = "/dev/stdout";

/// The card's JSON: where its template is, and what stands in it. Drone takes it before it masks secrets, so that they go here.
pub fn render(report: &Report, template: Option<&str>, redactor: &Redactor) -> String {
    let schema = template.map_or_else(|| format!("data:application/json;base64,{}", BASE64_STANDARD.encode(TEMPLATE)), str::to_string);
    let mut data = data(report);
    clean(&mut data, redactor);
    json!({"schema": schema, "data": data}).to_string()
}

/// The card as a line of the log, by which Drone takes it out again: one write.
pub fn escaped(card: &str) -> String {
    format!("\u{1b}]1338;{}\u{1b}]0m\n", BASE64_STANDARD.encode(card))
}

fn data(report: &Report) -> Value {
    let message = message::message(report);
    let mut facts: Vec<Value> = message.facts.iter().map(|(label, text)| json!({"title": label, "value": text})).collect();
    if let Some(release) = &report.release {
        facts.push(json!({"title": "Revision", "value": release.revision.to_string()}));
    }
    let steps = report.steps.iter().map(|step| {
        let state = match step.state {
            StepState::Succeeded => "✓",
            StepState::Failed => "✗",
            StepState::Skipped => "–",
        };
        json!({"name": step.name.name(), "state": state, "seconds": seconds(step.seconds)})
    });
    let color = match report.result() {
        Outcome::Succeeded => "Good",
        Outcome::Superseded | Outcome::Cancelled => "Warning",
        Outcome::Failed | Outcome::RolledBack => "Attention",
    };
    json!({
        "title": message.title,
        "color": color,
        "result": report.result().words(),
        "app": calm(report.app.as_deref().unwrap_or("shipway")),
        "facts": facts,
        "steps": steps.collect::<Vec<_>>(),
        "links": message.links.iter().map(|(label, url)| json!({"title": label, "url": url})).collect::<Vec<_>>(),
    })
}

fn clean(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::String(text) => *text = redactor.redact(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| clean(item, redactor)),
        Value::Object(fields) => fields.values_mut().for_each(|field| clean(field, redactor)),
        _ => {}
    }
}

//! The shape of `report.json` as data: its JSON schema, and the reference that is made of it.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::Serialize;
use serde_json::Value;

use super::model::Report;
use crate::domain::{
    event::{Change, LayerRole, Transfer},
    problem::{Class, EvidenceKind},
    step::{Step, StepState},
};

/// The JSON schema (draft 2020-12) of `report.json`.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Report>();
    schema.insert("title".to_string(), "report.json".into());
    schema.insert("description".to_string(), "What one run of Shipway did, and how it ended.".into());
    schema.to_value()
}

/// Every field with its meaning: `docs/report-json.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# report.json\n\n\
        `schema` is 1. Fields are only ever added. Times are RFC 3339 in UTC, durations seconds, sizes bytes. A field that is not known is `null`\n\
        or an empty list; it is never left out. The same as a JSON schema: `plugin/report.schema.json`.\n\n\
        This page is made by `shipway reference report`.\n\n\
        | field | meaning |\n|---|---|\n",
    );
    rows(&schema(), "", &mut text);
    text
}

fn rows(schema: &Value, path: &str, text: &mut String) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        *text += &format!("| `{path}` | {}{} |\n", meaning(field), words_of(field));
        rows(object(field), &path, text);
        let items = &object(field)["items"];
        rows(object(items), &format!("{path}[]"), text);
    }
}

/// What a field is when it is not null.
fn object(field: &Value) -> &Value {
    let choices = field["anyOf"].as_array();
    choices.and_then(|choices| choices.iter().find(|choice| choice["type"] != "null")).unwrap_or(field)
}

/// The first sentence stands without its full stop, as all cells of tables do.
fn meaning(field: &Value) -> String {
    let description = field["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    let mut letters = description.trim_end_matches('.').chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// The words that a field may be.
fn words_of(field: &Value) -> String {
    let field = object(field);
    let of_enum = field["enum"].as_array().map(|words| words.iter().collect::<Vec<_>>());
    let of_choices = field["oneOf"].as_array().map(|choices| {
        let listed = |choice: &Value| choice["enum"].as_array().cloned().unwrap_or_else(|| vec![choice["const"].clone()]);
        choices.iter().flat_map(listed).collect::<Vec<_>>()
    });
    let of_choices = of_choices.unwrap_or_default();
    let words = of_enum.unwrap_or_else(|| of_choices.iter().collect());
    let words: Vec<String> = words.iter().filter_map(|word| Some(format!("`{}`", word.as_str()?))).collect();
    if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) }
}

fn words(all: &[impl Serialize]) -> Schema {
    json_schema!({"type": "string", "enum": all})
}

pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

pub(super) fn steps(_: &mut SchemaGenerator) -> Schema {
    words(Step::ALL)
}

pub(super) fn maybe_step(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [words(Step::ALL), {"type": "null"}]})
}

pub(super) fn step_states(_: &mut SchemaGenerator) -> Schema {
    words(&[StepState::Succeeded, StepState::Failed, StepState::Skipped])
}

pub(super) fn roles(_: &mut SchemaGenerator) -> Schema {
    use LayerRole::{Application, Base, Dependencies, Other, SnapshotDependencies};
    words(&[Base, Dependencies, SnapshotDependencies, Application, Other])
}

pub(super) fn transfers(_: &mut SchemaGenerator) -> Schema {
    words(&[Transfer::Present, Transfer::Mounted, Transfer::Sent])
}

pub(super) fn classes(_: &mut SchemaGenerator) -> Schema {
    words(Class::ALL)
}

pub(super) fn evidence_kinds(_: &mut SchemaGenerator) -> Schema {
    words(&[EvidenceKind::Log, EvidenceKind::Event, EvidenceKind::Probe, EvidenceKind::Diff])
}

pub(super) fn changes(_: &mut SchemaGenerator) -> Schema {
    words(&[Change::Created, Change::Configured, Change::Unchanged, Change::Deleted].map(super::model::change_word))
}

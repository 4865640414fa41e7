//! The documents of the report say what the code does.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use shipway::report::{cloud_event::event_schema, exit_codes_reference, json, problems_reference, report_reference, report_schema};

use super::sample;

/// Compares a document that is made from the code; `UPDATE_GOLDEN=1` writes it anew.
fn check(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, made).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap_or_default() == made, "{name} is not what the code makes: UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn the_references_are_current() {
    check("docs/problems.md", &problems_reference());
    check("docs/exit-codes.md", &exit_codes_reference());
    check("docs/report-json.md", &report_reference());
    check("plugin/report.schema.json", &format!("{:#}\n", report_schema()));
    check("plugin/event.schema.json", &format!("{:#}\n", event_schema()));
}

#[test]
fn exit_codes_never_take_78() {
    let text = exit_codes_reference();
    for code in [0, 2, 10, 20, 30, 40, 50, 51, 60, 70, 143] {
        assert!(text.contains(&format!("\n| {code} |")), "{code} is missing");
    }
    assert!(!text.contains("\n| 78 |"));
}

/// `steps[].name` for every field of a report, nulls included.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                found.insert(path.clone());
                fields(value, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, &format!("{path}[]"), found)),
        _ => {}
    }
}

#[test]
fn every_field_of_the_report_is_documented() {
    let mut real = BTreeSet::new();
    for run in [sample::succeeded(), sample::rolled_back(), sample::nothing_configured()] {
        fields(&serde_json::from_str(&json::render(&run.report()).unwrap()).unwrap(), "", &mut real);
    }
    let text = report_reference();
    let table: Vec<(&str, &str)> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | ")).collect();
    let documented: BTreeSet<String> = table.iter().map(|(field, _)| (*field).to_string()).collect();
    assert_eq!(documented, real);
    assert!(table.iter().all(|(_, meaning)| meaning.trim_end_matches(" |").len() > 5), "a field without a meaning:\n{text}");
}

/// A reader that knows nothing but what the schema says, as far as a report needs it.
pub fn fits(value: &Value, schema: &Value, path: &str) {
    if let Some(choices) = schema["anyOf"].as_array() {
        let choice = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null());
        return fits(value, choice.unwrap_or_else(|| panic!("{path}: {value} is none of {choices:?}")), path);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = [&schema["type"]].into_iter().chain(schema["type"].as_array().into_iter().flatten());
    let known = kinds.clone().any(|known| known == kind || (known == "number" && kind == "integer"));
    assert!(known || schema.get("oneOf").is_some() || schema.get("type").is_none(), "{path}: {value} is {kind}, not {}", schema["type"]);
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{path}: {value} is none of {words:?}");
    }
    for required in schema["required"].as_array().into_iter().flatten().filter(|_| value.is_object()) {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{path}: no {required}");
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let field_schema = schema["properties"].get(name).unwrap_or_else(|| panic!("{path}: {name} is not in the schema"));
        fits(field, field_schema, &format!("{path}.{name}"));
    }
    value.as_array().into_iter().flatten().for_each(|item| fits(item, &schema["items"], &format!("{path}[]")));
}

#[test]
fn every_report_fits_its_schema() {
    let schema = report_schema();
    for run in [sample::succeeded(), sample::rolled_back(), sample::nothing_configured()] {
        fits(&serde_json::from_str(&json::render(&run.report()).unwrap()).unwrap(), &schema, "report");
    }
}

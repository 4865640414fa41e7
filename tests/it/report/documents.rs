//! The documents of the report say what the code does.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use shipway::report::{exit_codes_reference, json, problems_reference};

use super::sample;

/// Compares a document that is made from the code; `UPDATE_GOLDEN=1` writes it anew.
fn check(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, made).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == made,
        "docs/{name} is not what the code makes: UPDATE_GOLDEN=1 writes it anew"
    );
}

#[test]
fn the_references_are_current() {
    check("problems.md", &problems_reference());
    check("exit-codes.md", &exit_codes_reference());
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
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.md")).unwrap();
    let table = text.split("## report.json").nth(1).unwrap();
    let documented: BTreeSet<String> =
        table.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_string())).collect();
    assert_eq!(documented, real);
}

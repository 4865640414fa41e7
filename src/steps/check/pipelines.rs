//! Steps of Drone's and Woodpecker's pipelines that run us: their settings, before a pipeline meets them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::{
    domain::{
        custom::positions::{Part, positions},
        finding::Finding,
        problem::Problem,
    },
    settings::{self, CiKind},
};

/// Looks at the pipelines of a checkout; gives the files with a step of ours, and what is wrong in them.
pub(super) fn check(dir: &Path) -> (Vec<String>, Vec<Finding>) {
    let (mut files, mut findings) = (Vec::new(), Vec::new());
    for (path, server) in pipelines(dir) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        // what is no YAML at all is the CI's to tell
        let (Ok(values), Ok(parts)) = (serde_saphyr::from_multiple::<Value>(&text), positions(&text)) else { continue };
        let steps: Vec<(Step<'_>, &Part)> =
            values.iter().zip(&parts).flat_map(|(value, part)| steps(value).map(move |step| (step, part))).collect();
        if steps.is_empty() {
            continue;
        }
        findings.extend(steps.iter().flat_map(|(step, part)| step.check(server, &name, part)));
        files.push(name);
    }
    (files, findings)
}

fn pipelines(dir: &Path) -> Vec<(PathBuf, CiKind)> {
    let mut found = vec![(dir.join(".drone.yml"), CiKind::Drone)];
    found.extend([".woodpecker.yml", ".woodpecker.yaml"].map(|name| (dir.join(name), CiKind::Woodpecker)));
    let folder = fs::read_dir(dir.join(".woodpecker")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut inside: Vec<PathBuf> = folder.filter(|path| path.extension().is_some_and(|end| end == "yml" || end == "yaml")).collect();
    inside.sort();
    found.extend(inside.into_iter().map(|path| (path, CiKind::Woodpecker)));
    found.retain(|(path, _)| path.is_file());
    found
}

/// A step that runs us: where it stands in its document, and its settings.
struct Step<'a> {
    path: String,
    settings: &'a Map<String, Value>,
}

/// Both servers write steps as a list, Woodpecker also as a map.
fn steps(document: &Value) -> impl Iterator<Item = Step<'_>> {
    let all: Vec<(String, &Value)> = match document.get("steps") {
        Some(Value::Array(steps)) => steps.iter().enumerate().map(|(at, step)| (format!("steps[{at}]"), step)).collect(),
        Some(Value::Object(steps)) => steps.iter().map(|(name, step)| (format!("steps.{name}"), step)).collect(),
        _ => Vec::new(),
    };
    all.into_iter().filter_map(|(path, step)| {
        let image = step.get("image")?.as_str()?;
        let name = image.rsplit('/').next().unwrap_or_default();
        let settings = step.get("settings")?.as_object()?;
        name.starts_with("shipway").then_some(Step { path, settings })
    })
}

impl Step<'_> {
    fn check(&self, server: CiKind, file: &str, part: &Part) -> Vec<Finding> {
        let variables: Vec<(String, Option<String>)> =
            self.settings.iter().map(|(key, value)| (variable(server, key), made(value))).collect();
        let mistakes = settings::check_step(&variables).into_iter().map(|mistake| {
            let key = self.settings.keys().find(|key| variable(server, key) == mistake.source);
            let at = key.map_or(part.at, |key| part.find(&format!("{}.settings.{key}", self.path)));
            let what = mistake.what.replace(&mistake.source, key.map_or(&mistake.source, |key| key));
            let fix = written(&mistake.fix);
            Finding::new(file, Some(at), &Problem::new(mistake.code, what).hint(fix))
        });
        mistakes.collect()
    }
}

/// A hint that names a variable, as a step writes it.
fn written(fix: &str) -> String {
    fix.split(' ')
        .map(|word| match word.strip_prefix("PLUGIN_") {
            Some(name) => name.to_lowercase(),
            None => word.to_string(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The variable that the server makes of a setting; Drone keeps dashes.
fn variable(server: CiKind, key: &str) -> String {
    let name = key.to_uppercase();
    format!("PLUGIN_{}", if server == CiKind::Drone { name } else { name.replace(['-', '.'], "_") })
}

/// What the server makes of a value; None where a secret is somewhere in it.
fn made(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            Some(items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_string)).collect::<Vec<_>>().join(","))
        }
        other => Some(other.to_string()).filter(|text| !text.contains("\"from_secret\"")),
    }
}

//! What comes out: defaults filled in, the typed settings, and the source of every value.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    coerce::plain,
    keys::Settings,
    mistake::{Mistake, Mistakes},
    reader::{Entries, Entry},
    shape::{self, Leaf, Secrecy, Section, Shape},
    source::{Source, Sourced},
};
use crate::domain::{problem::Code, redact::SECRET};

/// Fills in the fixed defaults, and lists every key that has a value, in the order of the reference.
pub fn sources(entries: &mut Entries) -> Vec<Sourced> {
    for leaf in shape::root().leaves() {
        if let Some(default) = &leaf.default {
            let entry = || Entry { value: default.clone(), source: Source::Default, place: None };
            entries.entry(leaf.path.clone()).or_insert_with(entry);
        }
    }
    let mut sources = Vec::new();
    list(shape::root(), entries, &mut sources);
    sources
}

fn list(section: &Section, entries: &Entries, sources: &mut Vec<Sourced>) {
    for (_, shape) in &section.fields {
        match shape {
            Shape::Section(section) => list(section, entries, sources),
            Shape::Leaf(leaf) => sources.extend(below(&leaf.path, entries).map(|(path, entry)| sourced(path, entry, leaf.secrecy))),
        }
    }
    if section.other.is_some() {
        let other = |path: &[String]| path.len() == section.path.len() + 1 && path.last().is_some_and(|name| section.field(name).is_none());
        let entries = below(&section.path, entries).filter(|(path, _)| other(path));
        sources.extend(entries.map(|(path, entry)| sourced(path, entry, Secrecy::Open)));
    }
}

/// The entries at a path and below it.
fn below<'a>(path: &'a [String], entries: &'a Entries) -> impl Iterator<Item = (&'a Vec<String>, &'a Entry)> {
    entries.range(path.to_vec()..).take_while(move |(key, _)| key.starts_with(path))
}

fn sourced(path: &[String], entry: &Entry, secrecy: Secrecy) -> Sourced {
    let value = match secrecy {
        Secrecy::Open => plain(&entry.value),
        Secrecy::Secret => SECRET.to_string(),
        Secrecy::WithCredentials => without_credentials(&plain(&entry.value)),
    };
    Sourced { key: path.join("."), value, source: entry.source.clone() }
}

/// An address whose user name and password are not shown.
fn without_credentials(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            match authority.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://{SECRET}@{host}{}", path.split('?').next().unwrap_or_default()),
                None => address.to_string(),
            }
        }
        None => address.to_string(),
    }
}

/// The typed settings; what the keys' rules took fits the types, so that a refusal here is our own mistake.
pub fn settings(entries: &Entries) -> Result<Settings, Mistakes> {
    let mut tree = Map::new();
    sections(shape::root(), &mut tree);
    for (path, entry) in entries {
        insert(&mut tree, path, entry.value.clone());
    }
    Settings::deserialize(Value::Object(tree)).map_err(|error| {
        Mistakes(vec![Mistake {
            code: Code::Bug,
            setting: String::new(),
            source: "settings".to_string(),
            place: None,
            what: format!("settings that were checked do not fit: {error}"),
            fix: "report this as a bug".to_string(),
        }])
    })
}

/// Every section is there, even when nothing in it is set.
fn sections(section: &Section, tree: &mut Map<String, Value>) {
    for (name, shape) in &section.fields {
        if let Shape::Section(section) = shape {
            let mut below = Map::new();
            sections(section, &mut below);
            tree.insert(name.clone(), Value::Object(below));
        }
    }
}

fn insert(tree: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => {
            tree.insert(name.clone(), value);
        }
        [name, rest @ ..] => {
            let below = tree.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(below) = below {
                insert(below, rest, value);
            }
        }
    }
}

/// The leaf that an entry belongs to.
pub fn leaf_of(path: &[String]) -> Option<&'static Leaf> {
    shape::root().leaves().into_iter().find(|leaf| path.starts_with(&leaf.path))
}

//! The files and folders of the checkout that a settings file names, in all of its sections.

use std::collections::BTreeMap;

use super::{coerce::plain, file, mistake::Place, shape};

/// The texts of a key in a settings file, outside of its sections, with the names of their entries when the key is a map; `name` is for
/// places.
pub fn texts(text: &str, name: &str, key: &str) -> BTreeMap<String, String> {
    let key: Vec<&str> = key.split('.').collect();
    let top = file::parse(name, text, &mut Vec::new()).top;
    let below = top.iter().filter(|(path, _)| path.iter().map(String::as_str).take(key.len()).eq(key.iter().copied()));
    below.map(|(path, entry)| (path[key.len()..].join("."), plain(&entry.value))).collect()
}

/// A path in the checkout, with the key that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub key: String,
    pub path: String,
    /// Where the settings file says so.
    pub place: Option<Place>,
}

/// What a settings file names; `name` is for places.
pub fn named(text: &str, name: &str) -> Vec<Named> {
    let file = file::parse(name, text, &mut Vec::new());
    let sections = std::iter::once(&file.top).chain(file.sections.iter().map(|section| &section.entries));
    let leaves: Vec<_> = shape::root().leaves().into_iter().filter(|leaf| matches!(leaf.rule.as_str(), "inside" | "files")).collect();
    let mut found = Vec::new();
    for entries in sections {
        for leaf in &leaves {
            let Some(entry) = entries.get(&leaf.path) else { continue };
            let paths = match &entry.value {
                serde_json::Value::Array(items) => items.iter().map(plain).collect(),
                one => vec![plain(one)],
            };
            for path in paths {
                let named = Named { key: leaf.key(), path, place: entry.place.clone() };
                if !found.contains(&named) {
                    found.push(named);
                }
            }
        }
    }
    found
}

//! `PLUGIN_` and `SHIPWAY_` variables: a whole name is matched against the keys, however many underscores it has.

use std::{collections::BTreeMap, fs, io::Read};

use super::{
    coerce::Wrong,
    mistake::Mistake,
    nearest::nearest,
    raw::Node,
    reader::{Entries, Reader},
    shape::{self, Form, Leaf, Section},
    source::Source,
};
use crate::domain::problem::Code;

/// The two prefixes; the first wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    Plugin,
    Shipway,
}

impl Prefix {
    pub fn text(self) -> &'static str {
        match self {
            Prefix::Plugin => "PLUGIN_",
            Prefix::Shipway => "SHIPWAY_",
        }
    }

    fn source(self, name: &str) -> Source {
        match self {
            Prefix::Plugin => Source::Plugin(name.to_string()),
            Prefix::Shipway => Source::Variable(name.to_string()),
        }
    }
}

/// What a variable's name stands for.
#[derive(Clone, Copy)]
enum Target {
    Section(&'static Section),
    Leaf(&'static Leaf),
    /// The value is the name of a file that holds the leaf's value.
    File(&'static Leaf),
    /// drone-docker's `tags`: the first is the tag, the others extra ones.
    Tags,
}

/// What drone-docker's users have, and the key that it means.
const DRONE_DOCKER: &[(&str, &str)] = &[("USERNAME", "registry.username"), ("PASSWORD", "registry.password"), ("REPO", "image.repository")];

/// Greatest size of a secret's file.
const MAX_SECRET: u64 = 64 * 1024;

/// Reads all variables of one prefix; mistakes and, for unknown SHIPWAY_ names, warnings are added.
pub fn read(
    prefix: Prefix,
    environment: &[(String, String)],
    entries: &mut Entries,
    mistakes: &mut Vec<Mistake>,
    warnings: &mut Vec<Mistake>,
) {
    let known = known(prefix);
    let mut found: Vec<(usize, &str, &str, Target)> = Vec::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(prefix.text()) else { continue };
        // Drone keeps `-` and `.` of a setting's name; Woodpecker makes `_` of them.
        let rest = rest.replace(['-', '.'], "_");
        match known.get(&rest) {
            Some((depth, target)) => found.push((*depth, name, value, *target)),
            None if ignored(prefix, &rest) || value.is_empty() => {}
            None if prefix == Prefix::Plugin => mistakes.push(unknown(prefix, name, &rest, &known)),
            None => warnings.push(unknown(prefix, name, &rest, &known)),
        }
    }
    // A leaf beats its parent's JSON, so parents are read first.
    found.sort_by_key(|(depth, name, ..)| (*depth, *name));
    twice(&found, mistakes);
    for (_, name, value, target) in found {
        let mut reader = Reader {
            source: prefix.source(name),
            name: name.to_string(),
            file: false,
            in_section: false,
            entries: &mut *entries,
            mistakes: &mut *mistakes,
        };
        apply(&mut reader, prefix, value, target);
        comma_joined(prefix, name, value, target, warnings);
    }
}

/// Every name of a prefix: what it stands for, and how deep that is.
fn known(prefix: Prefix) -> BTreeMap<String, (usize, Target)> {
    let mut names = BTreeMap::new();
    for section in shape::root().sections().into_iter().filter(|section| !section.path.is_empty()) {
        names.insert(shape::variable(&section.path), (section.path.len(), Target::Section(section)));
    }
    for leaf in shape::root().leaves() {
        names.insert(leaf.variable(), (leaf.path.len(), Target::Leaf(leaf)));
        if leaf.has_file() {
            names.insert(format!("{}_FILE", leaf.variable()), (leaf.path.len(), Target::File(leaf)));
        }
    }
    if prefix == Prefix::Plugin {
        names.insert("TAGS".into(), (0, Target::Tags));
        for (name, key) in DRONE_DOCKER {
            let Some(leaf) = leaf(key) else { continue };
            names.insert(name.to_string(), (0, Target::Leaf(leaf)));
            if leaf.has_file() {
                names.insert(format!("{name}_FILE"), (0, Target::File(leaf)));
            }
        }
    }
    names
}

fn leaf(key: &str) -> Option<&'static Leaf> {
    shape::root().leaves().into_iter().find(|leaf| leaf.key() == key)
}

fn apply(reader: &mut Reader<'_>, prefix: Prefix, value: &str, target: Target) {
    match target {
        Target::Leaf(leaf) => reader.leaf(leaf, None, &Node::text(value)),
        Target::File(leaf) => match secret_file(value.trim()) {
            Ok(text) => reader.leaf(leaf, None, &Node::text(text)),
            Err(wrong) => reader.wrong(&leaf.path, None, wrong),
        },
        Target::Tags => tags(reader, value),
        Target::Section(section) if prefix == Prefix::Plugin && section.path == ["registry"] && !value.trim_start().starts_with('{') => {
            // drone-docker's `registry` is the host.
            if let Some(shape::Shape::Leaf(leaf)) = section.field("url") {
                reader.leaf(leaf, None, &Node::text(value));
            }
        }
        Target::Section(section) => reader.section(section, &Node::text(value)),
    }
}

fn tags(reader: &mut Reader<'_>, value: &str) {
    let (Some(tag), Some(extra)) = (leaf("image.tag"), leaf("image.extra_tags")) else { return };
    reader.leaf(extra, None, &Node::text(value));
    let Some(mut entry) = reader.entries.remove(&extra.path) else { return };
    let serde_json::Value::Array(mut tags) = entry.value else { return };
    let first = tags.remove(0);
    if !tags.is_empty() {
        entry.value = serde_json::Value::Array(tags);
        reader.entries.insert(extra.path.clone(), entry);
    }
    reader.leaf(tag, None, &Node::from_json(first));
}

/// An empty name means: not set.
fn secret_file(name: &str) -> Result<String, Wrong> {
    if name.is_empty() {
        return Ok(String::new());
    }
    let read = || {
        let mut text = Vec::new();
        fs::File::open(name)?.take(MAX_SECRET + 1).read_to_end(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let bytes = read().map_err(|error| {
        Wrong::new(format!("the file {name:?} cannot be read: {error}"), "name a file that is there and that this user may read")
    })?;
    match String::from_utf8(bytes) {
        _ if fs::metadata(name).is_ok_and(|file| file.len() > MAX_SECRET) => {
            Err(Wrong::new(format!("the file {name:?} is larger than {MAX_SECRET} bytes"), "name a file that holds the secret alone"))
        }
        Ok(text) if text.trim().is_empty() => Err(Wrong::new(format!("the file {name:?} is empty"), "put the secret into it")),
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_string()),
        Err(_) => Err(Wrong::new(format!("the file {name:?} is not UTF-8 text"), "name a file that holds the secret as text")),
    }
}

/// A secret by value and by file at once: nobody can say which is meant.
fn twice(found: &[(usize, &str, &str, Target)], mistakes: &mut Vec<Mistake>) {
    let set = |other: &str| found.iter().any(|(_, name, value, _)| *name == other && !value.trim().is_empty());
    for (_, name, _, target) in found.iter().filter(|(_, _, value, _)| !value.trim().is_empty()) {
        if let (Target::File(leaf), Some(plain)) = (target, name.strip_suffix("_FILE"))
            && set(plain)
        {
            mistakes.push(Mistake {
                code: Code::SettingInvalid,
                setting: leaf.key(),
                source: name.to_string(),
                place: None,
                what: format!("{name} and {plain} are both set"),
                fix: "keep one of them".to_string(),
            });
        }
    }
}

/// Drone joins a YAML list with commas, which an argument list must not be split on.
fn comma_joined(prefix: Prefix, name: &str, value: &str, target: Target, warnings: &mut Vec<Mistake>) {
    let Target::Leaf(leaf) = target else { return };
    let joined =
        leaf.form == Form::List && leaf.rule == "arguments" && !value.trim_start().starts_with('[') && !value.trim().contains('\n');
    if prefix == Prefix::Plugin && joined && value.contains(",-") {
        warnings.push(Mistake {
            code: Code::SettingInvalid,
            setting: leaf.key(),
            source: name.to_string(),
            place: None,
            what: format!("{} is taken as one argument, although it looks like a list that the CI joined with commas", leaf.key()),
            fix: "write one argument a line (a block text with |), or JSON".to_string(),
        });
    }
}

/// Names that the CI servers or we ourselves set.
fn ignored(prefix: Prefix, rest: &str) -> bool {
    match prefix {
        Prefix::Plugin => false,
        Prefix::Shipway => rest.starts_with("OUT_") || rest == "FENCING_TOKEN",
    }
}

fn unknown(prefix: Prefix, name: &str, rest: &str, known: &BTreeMap<String, (usize, Target)>) -> Mistake {
    let meant = nearest(rest, known.keys().map(String::as_str)).map(|known| format!("{}{known}", prefix.text()));
    let service = prefix == Prefix::Shipway && (rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_"));
    let fix = match (meant, rest) {
        _ if service => "nothing: Kubernetes sets it in each pod beside a Service named shipway; it is ignored".to_string(),
        (_, "ENVIRONMENTS") => format!("sections of environments stand in shipway.yaml; {}ENVIRONMENT selects one", prefix.text()),
        (Some(meant), _) => format!("did you mean {meant}?"),
        (None, _) => "remove it, or see the settings reference for the names that there are".to_string(),
    };
    Mistake {
        code: Code::SettingUnknown,
        setting: name.to_string(),
        source: name.to_string(),
        place: None,
        what: format!("{name} is not a setting"),
        fix,
    }
}

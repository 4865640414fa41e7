//! Walks what one source says along the keys: finds the leaf of each value, or says what is wrong with it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    coerce::{self, Wrong},
    mistake::{Mistake, Place},
    nearest::nearest,
    raw::{At, Node, Raw},
    rules,
    shape::{self, Form, Leaf, Secrecy, Section, Shape},
    source::Source,
};
use crate::domain::problem::Code;

/// A value with where it comes from.
#[derive(Clone)]
pub struct Entry {
    pub value: Value,
    pub source: Source,
    pub place: Option<Place>,
}

/// What a source says: leaves, and entries of maps one by one (so that maps merge and lists replace).
pub type Entries = BTreeMap<Vec<String>, Entry>;

/// Reads one source.
pub struct Reader<'a> {
    pub source: Source,
    /// The variable, flag or file, for messages.
    pub name: String,
    /// What is read is a file: values have a place, and secrets are refused.
    pub file: bool,
    /// Inside a section of `environments`.
    pub in_section: bool,
    pub entries: &'a mut Entries,
    pub mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    /// Reads what stands at a section; an empty one says nothing.
    pub fn section(&mut self, section: &Section, node: &Node) {
        match &node.raw {
            Raw::Null => {}
            Raw::Map(fields) => fields.iter().for_each(|(name, at, node)| self.field(section, name, *at, node)),
            Raw::Text(text) if text.trim().is_empty() => {}
            Raw::Text(text) if text.trim_start().starts_with('{') => match coerce::json(text.trim()) {
                Ok(node) => self.section(section, &node),
                Err(wrong) => self.wrong(&section.path, node.at, wrong),
            },
            _ => {
                let names: Vec<&str> = section.fields.iter().map(|(name, _)| name.as_str()).take(4).collect();
                let what = format!("{} is {}, where keys are wanted", key(&section.path), node.form());
                self.wrong(&section.path, node.at, Wrong::new(what, format!("write its keys below it: {}, …", names.join(", "))));
            }
        }
    }

    fn field(&mut self, section: &Section, name: &str, at: Option<At>, node: &Node) {
        match (section.field(name), &section.other) {
            (Some(Shape::Section(section)), _) => self.section(section, node),
            (Some(Shape::Leaf(leaf)), _) => self.leaf(leaf, at, node),
            (None, Some(other)) => self.entry(other, &section.path, name, at, node),
            (None, None) => self.unknown(section, name, at),
        }
    }

    /// Reads the value of one leaf.
    pub fn leaf(&mut self, leaf: &Leaf, at: Option<At>, node: &Node) {
        let at = node.at.or(at);
        if let Some(wrong) = self.forbidden(leaf, node) {
            return self.wrong(&leaf.path, at, wrong);
        }
        if leaf.form == Form::Map {
            return self.map(leaf, node);
        }
        match coerce::value(leaf, node) {
            Ok(Some(value)) => self.set(leaf.path.clone(), value, at),
            Ok(None) => {}
            Err(wrong) => self.wrong(&leaf.path, at, wrong),
        }
    }

    fn forbidden(&self, leaf: &Leaf, node: &Node) -> Option<Wrong> {
        if leaf.baked && self.in_section && !matches!(node.raw, Raw::Null) {
            let what = format!("{} cannot differ by environment", leaf.key());
            let why = match leaf.path[0].as_str() {
                "image" => "set it at the top of the file: it is baked into the image, and one digest travels from test to production",
                _ => "set it at the top of the file, or by a variable",
            };
            return Some(Wrong::new(what, why));
        }
        if leaf.outside && self.file && !matches!(node.raw, Raw::Null) {
            let what = format!("{} cannot be set in a file of the repository", leaf.key());
            return Some(Wrong::new(what, format!("who keeps the rules sets SHIPWAY_{} at the runner or the group", leaf.variable())));
        }
        let Raw::Text(text) = &node.raw else { return None };
        let secret = match leaf.secrecy {
            Secrecy::Open => false,
            Secrecy::Secret => !text.trim().is_empty(),
            Secrecy::WithCredentials => rules::has_credentials(text),
        };
        (secret && (self.file || self.source == Source::Flag)).then(|| {
            let place = if self.file { "a file" } else { "the command line" };
            let variable = format!("SHIPWAY_{}", leaf.variable());
            Wrong::new(
                format!("{} is secret and must not stand in {place}", leaf.key()),
                format!("set {variable} or {variable}_FILE, and renew the secret"),
            )
        })
    }

    fn map(&mut self, leaf: &Leaf, node: &Node) {
        match &node.raw {
            Raw::Null => {}
            Raw::Map(fields) => fields.iter().for_each(|(name, at, node)| self.entry(leaf, &leaf.path, name, *at, node)),
            Raw::Text(text) if text.trim().is_empty() => {}
            Raw::Text(text) if text.trim_start().starts_with('{') => match coerce::json(text.trim()) {
                Ok(node) => self.map(leaf, &node),
                Err(wrong) => self.wrong(&leaf.path, node.at, wrong),
            },
            _ => {
                let what = format!("{} is {}, where a map is wanted", leaf.key(), node.form());
                self.wrong(
                    &leaf.path,
                    node.at,
                    Wrong::new(what, "write it as JSON, such as {\"NAME\": \"value\"}, or as a map in the file"),
                );
            }
        }
    }

    /// One entry of a free map; an empty text is a value here, null is none.
    fn entry(&mut self, leaf: &Leaf, path: &[String], name: &str, at: Option<At>, node: &Node) {
        let path: Vec<String> = path.iter().cloned().chain([name.to_string()]).collect();
        let at = node.at.or(at);
        let checked = match &node.raw {
            Raw::Null => return,
            Raw::Text(text) => rules::check_name(&leaf.rule, name).and_then(|()| rules::check(&leaf.rule, text)),
            _ => Err(Wrong::new(format!("it is {}", node.form()), "write a text")),
        };
        match checked {
            Ok(text) => self.set(path, Value::String(text), at),
            Err(wrong) => self.wrong(&path, at, Wrong::new(format!("{}: {}", key(&path), wrong.what), wrong.fix)),
        }
    }

    fn set(&mut self, path: Vec<String>, value: Value, at: Option<At>) {
        let place = self.place(at);
        self.entries.insert(path, Entry { value, source: self.source.clone(), place });
    }

    fn unknown(&mut self, section: &Section, name: &str, at: Option<At>) {
        let path: Vec<String> = section.path.iter().cloned().chain([name.to_string()]).collect();
        let fix = match suggestion(section, name) {
            Some(known) => format!("did you mean {known}?"),
            None => format!(
                "{} has: {}",
                key(&section.path),
                section.fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        };
        let what = format!("{} is not a setting", key(&path));
        self.mistake(Code::SettingUnknown, &path, at, Wrong::new(what, fix));
    }

    /// Notes that a value cannot be used.
    pub fn wrong(&mut self, path: &[String], at: Option<At>, wrong: Wrong) {
        self.mistake(Code::SettingInvalid, path, at, wrong);
    }

    fn mistake(&mut self, code: Code, path: &[String], at: Option<At>, wrong: Wrong) {
        let place = self.place(at);
        let mistake = Mistake { code, setting: path.join("."), source: self.name.clone(), place, what: wrong.what, fix: wrong.fix };
        self.mistakes.push(mistake);
    }

    fn place(&self, at: Option<At>) -> Option<Place> {
        at.filter(|_| self.file).map(|(line, column)| Place { file: self.name.clone(), line, column })
    }
}

fn key(path: &[String]) -> String {
    if path.is_empty() { "the file".to_string() } else { path.join(".") }
}

/// What was meant by an unknown name: a key beside it, else a key of that name elsewhere, else a similar one anywhere.
fn suggestion(section: &Section, name: &str) -> Option<String> {
    let beside = nearest(name, section.fields.iter().map(|(field, _)| field.as_str()));
    let prefix = section.path.iter().map(|part| format!("{part}.")).collect::<String>();
    if let Some(field) = beside {
        return Some(format!("{prefix}{field}"));
    }
    let keys: Vec<String> = shape::root().leaves().into_iter().map(Leaf::key).collect();
    let elsewhere = keys.iter().find(|key| key.rsplit('.').next() == Some(name));
    elsewhere.cloned().or_else(|| nearest(&format!("{prefix}{name}"), keys.iter().map(String::as_str)).map(str::to_string))
}

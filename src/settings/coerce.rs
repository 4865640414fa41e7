//! From what was written to what a key holds: booleans, numbers, lists and argument lists by the contract's rules.

use serde_json::Value;

use super::{
    nearest::nearest,
    raw::{Node, Raw},
    rules,
    shape::{Form, Leaf, Secrecy},
};

/// Why a value cannot be used, and what to do.
#[derive(Debug)]
pub struct Wrong {
    pub what: String,
    pub fix: String,
}

impl Wrong {
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Wrong { what: what.into(), fix: fix.into() }
    }
}

/// The value of a leaf that is no map; None: not set (empty).
pub fn value(leaf: &Leaf, node: &Node) -> Result<Option<Value>, Wrong> {
    if let Raw::Text(text) = &node.raw
        && is_masked(text.trim())
    {
        let what = format!("{} is what a CI's log shows in the place of a secret", leaf.key());
        return Err(Wrong::new(what, "set the secret itself, not what was copied from a log"));
    }
    match (&leaf.form, &node.raw) {
        (_, Raw::Null) => Ok(None),
        (Form::List, _) => list(leaf, node),
        (Form::Probe, Raw::Map(_)) => Ok(Some(node.to_json())),
        (form, Raw::Text(text)) => {
            let text = text.trim();
            if text.is_empty() { Ok(None) } else { scalar(leaf, form, text).map(Some) }
        }
        _ => Err(Wrong::new(format!("{} is {}, not a single value", leaf.key(), node.form()), format!("write {}", example(leaf)))),
    }
}

/// GitLab's mask, and the stars of Drone and Woodpecker.
fn is_masked(text: &str) -> bool {
    text.contains("[MASKED]") || (text.len() >= 3 && text.bytes().all(|byte| byte == b'*'))
}

/// JSON of a variable or flag; the message tells the place, never the content.
pub fn json(text: &str) -> Result<Node, Wrong> {
    serde_json::from_str(text).map(Node::from_json).map_err(|error| {
        Wrong::new(
            format!("the JSON is broken at line {} column {}", error.line(), error.column()),
            "correct the JSON there: quotes, commas, brackets",
        )
    })
}

fn scalar(leaf: &Leaf, form: &Form, text: &str) -> Result<Value, Wrong> {
    match form {
        Form::Boolean => match boolean(text) {
            Some(flag) => Ok(Value::Bool(flag)),
            None => {
                Err(Wrong::new(format!("{} is {}, which is neither true nor false", leaf.key(), shown(leaf, text)), "write true or false"))
            }
        },
        Form::Integer { min, max } => integer(leaf, text, *min, *max),
        Form::Choice(choices) => choice(leaf, text, choices),
        Form::Probe if text.starts_with('{') => json(text).map(|node| node.to_json()),
        _ => checked(leaf, text).map(Value::String),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn integer(leaf: &Leaf, text: &str, min: i64, max: i64) -> Result<Value, Wrong> {
    let range = match (min, max) {
        (min, i64::MAX) => format!("a whole number from {min}"),
        (min, max) => format!("a whole number from {min} to {max}"),
    };
    match text.parse::<i64>() {
        Ok(number) if number >= min && number <= max => Ok(Value::from(number)),
        _ => Err(Wrong::new(format!("{} is {}, which is not {range}", leaf.key(), shown(leaf, text)), format!("write {range}"))),
    }
}

/// A word of a fixed set. Drone's YAML makes `off` false before it reaches us, so false means off where there is one.
fn choice(leaf: &Leaf, text: &str, choices: &[Value]) -> Result<Value, Wrong> {
    let takes_flags = choices.contains(&Value::Bool(true));
    let has_off = choices.contains(&Value::from("off"));
    let found = match boolean(text) {
        Some(flag) if takes_flags => Some(Value::Bool(flag)),
        Some(false) if has_off => Some(Value::from("off")),
        _ => choices.iter().find(|choice| choice.as_str().is_some_and(|word| word.eq_ignore_ascii_case(text))).cloned(),
    };
    found.ok_or_else(|| {
        let words: Vec<String> = choices.iter().map(plain).collect();
        let fix = match nearest(text, words.iter().map(String::as_str)) {
            Some(word) => format!("did you mean {word}? it takes {}", words.join(", ")),
            None => format!("it takes {}", words.join(", ")),
        };
        Wrong::new(format!("{} is {}, which it does not take", leaf.key(), shown(leaf, text)), fix)
    })
}

fn list(leaf: &Leaf, node: &Node) -> Result<Option<Value>, Wrong> {
    let texts: Vec<String> = match &node.raw {
        Raw::Text(text) if text.trim_start().starts_with('[') => return list(leaf, &json(text.trim())?),
        Raw::Text(text) => split(leaf, text),
        Raw::List(items) => items
            .iter()
            .map(|item| match &item.raw {
                Raw::Text(text) => Ok(text.clone()),
                _ => Err(Wrong::new(
                    format!("{} holds {}, where a text is wanted", leaf.key(), item.form()),
                    format!("write {}", example(leaf)),
                )),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(Wrong::new(format!("{} is {}, not a list", leaf.key(), node.form()), format!("write {}", example(leaf)))),
    };
    let items =
        texts.iter().filter(|text| !text.is_empty()).map(|text| checked(leaf, text).map(Value::String)).collect::<Result<Vec<_>, _>>()?;
    Ok((!items.is_empty()).then_some(Value::Array(items)))
}

/// Lists are split on newlines, else on commas; argument lists on newlines alone, as arguments may hold commas.
fn split(leaf: &Leaf, text: &str) -> Vec<String> {
    let separator = if leaf.rule == "arguments" || text.trim().contains('\n') { '\n' } else { ',' };
    text.split(separator).map(|item| item.trim().to_string()).filter(|item| !item.is_empty()).collect()
}

fn checked(leaf: &Leaf, text: &str) -> Result<String, Wrong> {
    rules::check(&leaf.rule, text)
        .map_err(|wrong| Wrong::new(format!("{} is {}: {}", leaf.key(), shown(leaf, text), wrong.what), wrong.fix))
}

/// A value for messages: quoted, capped, and never a secret.
pub fn shown(leaf: &Leaf, text: &str) -> String {
    let address = matches!(leaf.rule.as_str(), "url" | "registry" | "repository");
    match leaf.secrecy {
        Secrecy::Open if leaf.rule == "kubeconfig" => "not usable (it is not shown)".to_string(),
        Secrecy::Open if address && text.contains('@') => "not usable (it may hold a password)".to_string(),
        Secrecy::Open if text.chars().count() > 80 => format!("{:?}…", text.chars().take(80).collect::<String>()),
        Secrecy::Open => format!("{text:?}"),
        _ => "not usable (its value is secret)".to_string(),
    }
}

/// A constant as people write it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn example(leaf: &Leaf) -> String {
    match &leaf.form {
        Form::List => format!("{}: [one, two]", leaf.key()),
        Form::Probe => format!("{}: a path, tcp, off, or a whole probe", leaf.key()),
        _ => format!("{}: VALUE", leaf.key()),
    }
}

//! Input as it was written, before any key says what it has to be: YAML, JSON and variables meet here.

use serde_json::Value;

/// Line and column, from 1.
pub type At = (usize, usize);

/// A value with its place, when it stands in a file.
#[derive(Clone)]
pub struct Node {
    pub raw: Raw,
    pub at: Option<At>,
}

/// The forms of a value. Scalars stay text, so that `1.10` and `010` are not rounded and `yes` stays a word.
#[derive(Clone)]
pub enum Raw {
    /// Absent: YAML's null, or nothing.
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Option<At>, Node)>),
}

impl Node {
    pub fn text(text: impl Into<String>) -> Self {
        Node { raw: Raw::Text(text.into()), at: None }
    }

    /// What it is, for messages.
    pub fn form(&self) -> &'static str {
        match self.raw {
            Raw::Null => "nothing",
            Raw::Text(_) => "a single value",
            Raw::List(_) => "a list",
            Raw::Map(_) => "a map",
        }
    }

    /// From JSON of a variable or flag.
    pub fn from_json(value: Value) -> Self {
        let raw = match value {
            Value::Null => Raw::Null,
            Value::Bool(flag) => Raw::Text(flag.to_string()),
            Value::Number(number) => Raw::Text(number.to_string()),
            Value::String(text) => Raw::Text(text),
            Value::Array(items) => Raw::List(items.into_iter().map(Node::from_json).collect()),
            Value::Object(fields) => Raw::Map(fields.into_iter().map(|(key, value)| (key, None, Node::from_json(value))).collect()),
        };
        Node { raw, at: None }
    }

    /// As JSON, with numbers and booleans where a text is plainly one: for parts that are passed on as they are, such as a whole probe.
    pub fn to_json(&self) -> Value {
        match &self.raw {
            Raw::Null => Value::Null,
            Raw::Text(text) => match (text.as_str(), text.parse::<i64>()) {
                ("true", _) => Value::Bool(true),
                ("false", _) => Value::Bool(false),
                (_, Ok(number)) if number.to_string() == *text => Value::from(number),
                _ => Value::String(text.clone()),
            },
            Raw::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Raw::Map(fields) => Value::Object(fields.iter().map(|(key, _, node)| (key.clone(), node.to_json())).collect()),
        }
    }
}

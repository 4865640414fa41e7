//! Kinds of values that JSON does not know by itself, with their schema and the way they are read.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::domain::{secret::Secret, units, workload::SecretKey};

/// `auto`, `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    Auto,
    Yes,
    No,
}

impl<'de> Deserialize<'de> for Auto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(true) => Ok(Auto::Yes),
            Value::Bool(false) => Ok(Auto::No),
            Value::String(text) if text == "auto" => Ok(Auto::Auto),
            _ => Err(D::Error::custom("not auto, true or false")),
        }
    }
}

/// An address with a scheme, without credentials; checked when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Url(String);

impl std::ops::Deref for Url {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A Kubernetes quantity as it was written: `250m`, `768Mi`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Quantity(String);

impl Quantity {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A number of pods or a percentage, as Kubernetes takes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct IntOrPercent(String);

impl IntOrPercent {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for IntOrPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One probe: `off`, `tcp`, a path, or a whole probe as Kubernetes writes it.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeSetting {
    Off,
    Tcp,
    Path(String),
    Custom(serde_json::Map<String, Value>),
}

impl<'de> Deserialize<'de> for ProbeSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) if text == "off" => Ok(ProbeSetting::Off),
            Value::String(text) if text == "tcp" => Ok(ProbeSetting::Tcp),
            Value::String(text) if text.starts_with('/') => Ok(ProbeSetting::Path(text)),
            Value::Object(probe) => Ok(ProbeSetting::Custom(probe)),
            _ => Err(D::Error::custom("not a path, tcp, off or a probe")),
        }
    }
}

/// The schema of a duration; the value itself is a [`Duration`].
pub struct DurationText;

/// Reads a duration of a settings tree.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::parse_duration(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not a duration")))
}

/// Reads a duration that may be left out.
pub fn maybe_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    units::parse_duration(&text).map(Some).ok_or_else(|| D::Error::custom(format!("{text:?} is not a duration")))
}

/// Reads `SECRET/KEY` values.
pub fn secret_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, SecretKey>, D::Error> {
    let split = |(name, text): (String, String)| match text.split_once('/') {
        Some((secret, key)) => Ok((name, SecretKey { secret: secret.to_string(), key: key.to_string() })),
        None => Err(D::Error::custom(format!("{text:?} is not SECRET/KEY"))),
    };
    BTreeMap::<String, String>::deserialize(deserializer)?.into_iter().map(split).collect()
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

macro_rules! schemas {
    ($($kind:ty => $schema:tt;)+) => {$(
        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

schemas! {
    Auto => {"enum": ["auto", true, false]};
    Secret => {"type": "string"};
    Url => {"type": "string", "x-kind": "url"};
    DurationText => {"type": "string", "pattern": "^([0-9]+|([0-9]+(ms|s|m|h|d))+)$", "x-kind": "duration"};
    Quantity => {"type": ["string", "number"], "pattern": "^[0-9.]+([eE][0-9]+|[numkMGTPE]|[KMGTPE]i)?$", "x-kind": "quantity"};
    IntOrPercent => {"type": ["string", "integer"], "pattern": "^[0-9]+%?$", "minimum": 0, "x-kind": "int-or-percent"};
    ProbeSetting => {"anyOf": [{"type": "string", "pattern": "^(tcp|off|/.*)$"}, {"type": "object"}], "x-kind": "probe"};
}

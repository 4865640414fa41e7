//! The tree of keys, read from the JSON schema of [`Settings`]: what reading, merging, schema and reference walk along.

use std::sync::LazyLock;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::keys::Settings;

/// A key that has keys below it.
pub struct Section {
    pub path: Vec<String>,
    pub description: String,
    pub fields: Vec<(String, Shape)>,
    /// What keys that are not among the fields hold, when such are permitted.
    pub other: Option<Box<Leaf>>,
}

pub enum Shape {
    Section(Section),
    Leaf(Leaf),
}

/// A key that has a value.
pub struct Leaf {
    pub path: Vec<String>,
    pub description: String,
    pub form: Form,
    /// The finer kind, from `x-kind`: which rule its text has to keep.
    pub rule: String,
    pub secrecy: Secrecy,
    /// What it is when nobody sets it.
    pub default: Option<Value>,
    /// The default in words, when it depends on the repository or the CI.
    pub default_words: Option<String>,
    /// Not permitted under `environments`.
    pub baked: bool,
    /// Not permitted in a repository's file, nor in what the ledger has of an application.
    pub outside: bool,
}

/// Forms of values.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    Text,
    Boolean,
    Integer { min: i64, max: i64 },
    Choice(Vec<Value>),
    List,
    Map,
    Probe,
}

/// How far a value is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    Open,
    Secret,
    /// An address: secret when it holds credentials.
    WithCredentials,
}

impl Leaf {
    /// `kubernetes.rolling.timeout`.
    pub fn key(&self) -> String {
        self.path.join(".")
    }

    /// The part of a variable's name after its prefix: `KUBERNETES_ROLLING_TIMEOUT`.
    pub fn variable(&self) -> String {
        variable(&self.path)
    }

    /// May be given as a file's name in a variable that ends in `_FILE`.
    pub fn has_file(&self) -> bool {
        self.secrecy != Secrecy::Open
    }
}

/// The part of a variable's name after its prefix.
pub fn variable(path: &[String]) -> String {
    path.join("_").to_uppercase()
}

/// All keys.
pub fn root() -> &'static Section {
    static ROOT: LazyLock<Section> = LazyLock::new(|| section(&schema_of::<Settings>(), Vec::new()));
    &ROOT
}

impl Section {
    pub fn field(&self, name: &str) -> Option<&Shape> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, shape)| shape)
    }

    /// All leaves below, in the order of their definition.
    pub fn leaves(&self) -> Vec<&Leaf> {
        self.fields
            .iter()
            .flat_map(|(_, shape)| match shape {
                Shape::Leaf(leaf) => vec![leaf],
                Shape::Section(section) => section.leaves(),
            })
            .collect()
    }

    /// This section and all below it.
    pub fn sections(&self) -> Vec<&Section> {
        let below = self.fields.iter().filter_map(|(_, shape)| match shape {
            Shape::Section(section) => Some(section.sections()),
            Shape::Leaf(_) => None,
        });
        std::iter::once(self).chain(below.flatten()).collect()
    }
}

/// The schema of a type as one self-contained value.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Takes away what says "may be left out" in Rust's way: every key may be left out, and null is no value.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // the list of the schema, not a key of that name
            if object.get("required").is_some_and(Value::is_array) {
                object.remove("required");
            }
            if object
                .get("default")
                .is_some_and(|default| default.is_null() || *default == Value::Array(vec![]) || *default == Value::Object(Map::new()))
            {
                object.remove("default");
            }
            without_null(object);
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    if let Some(Value::Array(any)) = object.get_mut("anyOf") {
        any.retain(|schema| schema.get("type") != Some(&Value::from("null")));
        if let [Value::Object(only)] = any.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

fn text(schema: &Value, name: &str) -> Option<String> {
    schema.get(name).and_then(Value::as_str).map(str::to_string)
}

fn description(schema: &Value) -> String {
    text(schema, "description").unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn section(schema: &Value, path: Vec<String>) -> Section {
    let properties = schema.get("properties").and_then(Value::as_object);
    let fields = properties.into_iter().flatten().map(|(name, schema)| {
        let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
        let shape = match schema.get("properties") {
            Some(_) => Shape::Section(section(schema, path)),
            None => Shape::Leaf(leaf(schema, path)),
        };
        (name.clone(), shape)
    });
    let fields = fields.collect();
    let other = schema.get("additionalProperties").filter(|schema| schema.is_object()).map(|schema| Box::new(leaf(schema, path.clone())));
    Section { path, description: description(schema), fields, other }
}

fn leaf(schema: &Value, path: Vec<String>) -> Leaf {
    let secrecy = match schema.get("x-secret") {
        Some(Value::Bool(true)) => Secrecy::Secret,
        Some(_) => Secrecy::WithCredentials,
        None => Secrecy::Open,
    };
    Leaf {
        path,
        description: description(schema),
        form: form(schema),
        rule: text(schema, "x-kind").unwrap_or_default(),
        secrecy,
        default: schema.get("default").cloned(),
        default_words: text(schema, "x-default"),
        baked: schema.get("x-baked").is_some(),
        outside: schema.get("x-outside").is_some(),
    }
}

fn form(schema: &Value) -> Form {
    let choices = schema.get("enum").and_then(Value::as_array).cloned().or_else(|| one_of(schema));
    if let Some(choices) = choices {
        return Form::Choice(choices);
    }
    if schema.get("anyOf").is_some() {
        return Form::Probe;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => Form::Boolean,
        Some("array") => Form::List,
        Some("object") => Form::Map,
        Some("integer") => {
            let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
            Form::Integer { min: bound("minimum").unwrap_or(i64::MIN), max: bound("maximum").unwrap_or(i64::MAX) }
        }
        _ => Form::Text,
    }
}

/// Enums whose variants have descriptions come as `oneOf` constants.
fn one_of(schema: &Value) -> Option<Vec<Value>> {
    schema.get("oneOf")?.as_array()?.iter().map(|choice| choice.get("const").cloned()).collect()
}

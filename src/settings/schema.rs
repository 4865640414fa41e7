//! The JSON schema of `shipway.yaml`, for editors and other tools: the keys' own schema, with the sections of `environments`.

use serde_json::{Map, Value, json};

use super::{
    keys::Settings,
    shape::{self, Leaf, Secrecy},
};

/// The JSON schema (draft 2020-12) of `shipway.yaml`.
pub fn schema() -> Value {
    let mut top = shape::schema_of::<Settings>();
    let mut section = top.clone();
    publish(&mut top, &[], false);
    publish(&mut section, &[], true);
    if let Value::Object(section) = &mut section {
        section.retain(|key, _| matches!(key.as_str(), "properties" | "additionalProperties"));
        section.insert("type".into(), json!(["object", "null"]));
        section
            .insert("description".into(), "What differs in this environment; maps merge with the top of the file, lists replace.".into());
    }
    if let Some(properties) = top.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("environments".into(), environments());
    }
    let mut schema = Map::new();
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), "shipway.yaml".into());
    schema
        .insert("description".into(), "Settings of Shipway: from a commit to running pods in one CI step. Everything is optional.".into());
    for key in ["type", "properties", "additionalProperties"] {
        schema.extend(top.get_mut(key).map(|value| (key.to_string(), value.take())));
    }
    schema.insert("$defs".into(), json!({ "section": section }));
    Value::Object(schema)
}

fn environments() -> Value {
    json!({
        "description": "Sections by the environment's name, or by a pattern such as review/*; the setting environment selects one.",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/section"}
    })
}

/// Takes out what is only for ourselves, what a section must not have, and says of secrets where they belong.
fn publish(schema: &mut Value, path: &[String], in_section: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    describe(object, path);
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        if in_section {
            properties.retain(|_, property| property.get("x-baked").is_none());
        }
        for (name, property) in properties.iter_mut() {
            let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
            publish(property, &path, in_section);
        }
    }
    if object.get("x-kind").and_then(Value::as_str) == Some("dns-label") {
        object.insert("pattern".into(), "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$".into());
    }
    object.retain(|key, _| !key.starts_with("x-"));
    // Scalars are taken as they are written, so that `tag: 1.10` and `user: 10001` need no quotes.
    if object.get("type").is_some_and(|kind| kind == "string") && !object.contains_key("enum") {
        object.insert("type".into(), json!(["string", "number"]));
    }
    for part in ["additionalProperties", "items"] {
        if let Some(part) = object.get_mut(part) {
            publish(part, &[], in_section);
        }
    }
    if let Some(Value::Object(values)) = object.get_mut("additionalProperties")
        && values.get("type") == Some(&json!(["string", "number"]))
        && !values.contains_key("pattern")
    {
        values.insert("type".into(), json!(["string", "number", "boolean"]));
    }
}

fn describe(object: &mut Map<String, Value>, path: &[String]) {
    let Some(description) = object.get("description").and_then(Value::as_str) else { return };
    let mut description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(words) = object.get("x-default").and_then(Value::as_str) {
        description.push_str(&format!(" Default: {words}."));
    }
    if object.get("x-secret") == Some(&Value::Bool(true)) {
        let variable = shape::variable(path);
        description.push_str(&format!(" Secret: never in the file; set SHIPWAY_{variable} or SHIPWAY_{variable}_FILE."));
        object.clear();
        object.insert("not".into(), json!({}));
    }
    if object.contains_key("x-outside") {
        object.clear();
        object.insert("not".into(), json!({}));
    }
    object.insert("description".into(), description.into());
}

impl Leaf {
    /// Whether the file may hold it.
    pub fn in_file(&self) -> bool {
        self.secrecy != Secrecy::Secret
    }
}

//! Values into types of Kubernetes without losing a field: a misspelt one would be dropped in silence.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::document::wrong;
use crate::domain::problem::Result;

/// Reads a value as the type; fails with the path of what the type does not know.
pub fn typed<T: Serialize + DeserializeOwned>(place: &str, value: &Value) -> Result<T> {
    let read: T = serde_path_to_error::deserialize(value)
        .map_err(|error| wrong(place, &format!("{} of {}: {}", error.path(), kind(value), error.inner())))?;
    let back = serde_json::to_value(&read).map_err(|error| wrong(place, &error.to_string()))?;
    match lost(value, &back, String::new()) {
        Some(path) => Err(wrong(place, &format!("a {} has no field {}", kind(value), path.trim_start_matches('.')))),
        None => Ok(read),
    }
}

fn kind(value: &Value) -> &str {
    value.get("kind").and_then(Value::as_str).unwrap_or("object")
}

/// The path of the first field that was there before and is not any more; nulls and empty maps and lists say nothing.
fn lost(before: &Value, after: &Value, path: String) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().filter(|(_, value)| says(value)).find_map(|(field, value)| {
            let path = format!("{path}.{field}");
            match after.get(field) {
                Some(after) => lost(value, after, path),
                None => Some(path),
            }
        }),
        (Value::Array(before), Value::Array(after)) => {
            before.iter().zip(after).enumerate().find_map(|(index, (before, after))| lost(before, after, format!("{path}[{index}]")))
        }
        _ => None,
    }
}

fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    }
}

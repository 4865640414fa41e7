//! Strategic merge as kubectl and kustomize do it: maps by key, lists of the known keys by their items' names, other lists replaced.
//!
//! The rules of the lists are those that the API's own types carry (patchStrategy, patchMergeKey of Kubernetes 1.36).

use serde_json::{Map, Value};

/// A field that is merged by the key of its items: the field's name, what its parent is (empty: any), the key.
const LISTS: &[(&str, &str, &str)] = &[
    ("containers", "", "name"),
    ("initContainers", "", "name"),
    ("ephemeralContainers", "", "name"),
    ("env", "", "name"),
    ("ports", "containers", "containerPort"),
    ("ports", "initContainers", "containerPort"),
    ("ports", "ephemeralContainers", "containerPort"),
    ("ports", "spec", "port"),
    ("volumeMounts", "", "mountPath"),
    ("volumeDevices", "", "devicePath"),
    ("volumes", "", "name"),
    ("imagePullSecrets", "", "name"),
    ("hostAliases", "", "ip"),
    ("topologySpreadConstraints", "", "topologyKey"),
    ("resourceClaims", "spec", "name"),
    ("schedulingGates", "", "name"),
    ("secrets", "", "name"),
    ("ownerReferences", "metadata", "uid"),
];

/// Lists of texts that are joined instead of replaced.
const SETS: &[(&str, &str)] = &[("finalizers", "metadata")];

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Merges the patch into the target; an error is a path and what is wrong there.
pub(super) fn merge(target: &mut Value, patch: &Value) -> Result<(), (String, String)> {
    object(target, patch, &mut Path::default())
}

/// Where in the object we are.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn parent(&self) -> &str {
        self.0.iter().rev().find(|part| !part.starts_with('[')).map_or("", String::as_str)
    }

    fn wrong(&self, why: impl Into<String>) -> (String, String) {
        (self.0.join(".").replace(".[", "["), why.into())
    }

    fn within<T>(&mut self, part: String, inside: impl FnOnce(&mut Path) -> T) -> T {
        self.0.push(part);
        let done = inside(self);
        self.0.pop();
        done
    }
}

fn object(target: &mut Value, patch: &Value, path: &mut Path) -> Result<(), (String, String)> {
    let Value::Object(changes) = patch else { return Err(path.wrong("a map is expected")) };
    match changes.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            *target = Value::Object(plain(changes));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Null;
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(path.wrong(format!("{DIRECTIVE} is {other:?}; it can be merge, replace or delete"))),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return Ok(()) };
    if let Some(Value::Array(kept)) = changes.get(RETAIN) {
        fields.retain(|field, _| kept.iter().any(|kept| kept == field));
    }
    for (field, change) in changes {
        if let Some(list) = field.strip_prefix(DELETE) {
            remove_texts(fields, list, change);
        } else if !field.starts_with('$') {
            path.within(field.clone(), |path| member(fields, field, change, path))?;
        }
    }
    Ok(())
}

/// One field of a map; a null takes it away.
fn member(fields: &mut Map<String, Value>, field: &str, change: &Value, path: &mut Path) -> Result<(), (String, String)> {
    match change {
        Value::Null => {
            fields.shift_remove(field);
        }
        Value::Object(_) => {
            let target = fields.entry(field).or_insert(Value::Null);
            object(target, change, path)?;
            if target.is_null() {
                fields.shift_remove(field);
            }
        }
        Value::Array(items) => {
            let target = fields.entry(field).or_insert_with(|| Value::Array(Vec::new()));
            list(target, items, path)?;
        }
        other => drop(fields.insert(field.to_string(), other.clone())),
    }
    Ok(())
}

fn list(target: &mut Value, changes: &[Value], path: &mut Path) -> Result<(), (String, String)> {
    let Value::Array(items) = target else {
        *target = Value::Array(changes.to_vec());
        return Ok(());
    };
    let field = path.0.last().cloned().unwrap_or_default();
    let parent = path.0[..path.0.len().saturating_sub(1)].iter().rev().find(|part| !part.starts_with('[')).cloned().unwrap_or_default();
    if SETS.iter().any(|(name, below)| *name == field && *below == parent) {
        items.extend(changes.iter().filter(|change| !items.contains(change)).cloned().collect::<Vec<_>>());
        return Ok(());
    }
    let key = LISTS.iter().find(|(name, below, _)| *name == field && (below.is_empty() || *below == parent)).map(|(_, _, key)| *key);
    let replaced = changes.iter().any(|change| change.get(DIRECTIVE).and_then(Value::as_str) == Some("replace"));
    let Some(key) = key.filter(|_| !replaced) else {
        *items = changes.iter().filter(|change| change.get(DIRECTIVE).is_none()).cloned().collect();
        return Ok(());
    };
    for (index, change) in changes.iter().enumerate() {
        path.within(format!("[{index}]"), |path| item(items, change, key, path))?;
    }
    Ok(())
}

fn item(items: &mut Vec<Value>, change: &Value, key: &str, path: &mut Path) -> Result<(), (String, String)> {
    let Some(name) = change.get(key).filter(|name| !name.is_null()) else {
        return Err(path.wrong(format!("{key} is missing, which says which item of {} is meant", path.parent())));
    };
    let found = items.iter().position(|item| item.get(key) == Some(name));
    if change.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
        items.retain(|item| item.get(key) != Some(name));
        return Ok(());
    }
    match found {
        Some(found) => object(&mut items[found], change, path),
        None => {
            let mut fresh = Value::Null;
            object(&mut fresh, change, path)?;
            items.push(fresh);
            Ok(())
        }
    }
}

fn remove_texts(fields: &mut Map<String, Value>, list: &str, change: &Value) {
    let (Some(Value::Array(items)), Value::Array(gone)) = (fields.get_mut(list), change) else { return };
    items.retain(|item| !gone.contains(item));
}

/// Without directives.
fn plain(changes: &Map<String, Value>) -> Map<String, Value> {
    changes
        .iter()
        .filter(|(field, _)| !field.starts_with('$') || !is_directive(field))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect()
}

fn is_directive(field: &str) -> bool {
    [DIRECTIVE, RETAIN].contains(&field) || field.starts_with(ORDER) || field.starts_with(DELETE)
}

//! Patches for objects: strategic-merge documents that look like the object, or RFC 6902 operations with a target.

use serde_json::Value;

use super::{File, document, kinds::Identity, merge::merge};
use crate::domain::problem::Result;

/// What no patch may change: by it an object is found again.
const FIXED: [&str; 4] = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"];

/// One patch and what it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// File, and document when it has several.
    pub place: String,
    pub kind: String,
    /// None: the application's own object of that kind.
    pub name: Option<String>,
    change: Change,
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    Strategic(Value),
    Operations(json_patch::Patch),
}

/// Reads a file of patches. A document is one of
/// - a piece of the object with its `kind` (and `metadata.name`, where it is not the application's own);
/// - `target: {kind, name}` with `patch:`, a list of operations or a piece of the object (as kustomize has it, also as text);
/// - a bare list of operations, for the Deployment.
pub fn patches(file: &File) -> Result<Vec<Patch>> {
    document::values(file)?.into_iter().map(|(place, value)| read(place, value)).collect()
}

pub(super) fn read(place: String, value: Value) -> Result<Patch> {
    if value.is_array() {
        let change = operations(&place, value)?;
        return Ok(Patch { place, kind: "Deployment".to_string(), name: None, change });
    }
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_string);
    let Some(target) = value.get("target") else {
        let kind = text("/kind").ok_or_else(|| document::wrong(&place, "a patch says for which kind it is: kind is missing"))?;
        return Ok(Patch { place, kind, name: text("/metadata/name"), change: Change::Strategic(value) });
    };
    let kind = text("/target/kind").ok_or_else(|| document::wrong(&place, "target.kind is missing"))?;
    let strange = target.as_object().into_iter().flatten().map(|(field, _)| field);
    if let Some(field) = strange.into_iter().find(|field| !["kind", "name", "group", "version"].contains(&field.as_str())) {
        return Err(document::wrong(&place, &format!("target.{field} is not understood; a target has kind and name")));
    }
    let name = text("/target/name");
    let patch = match value.get("patch") {
        Some(Value::String(text)) => {
            let inner = document::values(&File { path: format!("{place}, patch"), text: text.clone() })?;
            let [(_, inner)] = &inner[..] else { return Err(document::wrong(&place, "patch is not one document")) };
            inner.clone()
        }
        Some(patch) => patch.clone(),
        None => return Err(document::wrong(&place, "patch is missing")),
    };
    let change = if patch.is_array() { operations(&place, patch)? } else { Change::Strategic(patch) };
    Ok(Patch { place, kind, name, change })
}

fn operations(place: &str, value: Value) -> Result<Change> {
    for (index, operation) in value.as_array().into_iter().flatten().enumerate() {
        serde_json::from_value::<json_patch::PatchOperation>(operation.clone())
            .map_err(|error| document::wrong(place, &format!("operation {} is not one of RFC 6902: {error}", index + 1)))?;
    }
    let read = serde_json::from_value(value).map_err(|error| document::wrong(place, &error.to_string()))?;
    Ok(Change::Operations(read))
}

impl Patch {
    /// Whether it is for this object; `own` is the name of the application's objects.
    pub fn is_for(&self, object: &Identity, own: &str) -> bool {
        self.kind == object.kind && self.name.as_deref().unwrap_or(own) == object.name
    }

    /// Changes the object; fails with the file, the document and the path.
    pub fn apply(&self, object: &mut Value) -> Result<()> {
        let before = object.clone();
        match &self.change {
            Change::Strategic(patch) => merge(object, patch).map_err(|(path, why)| self.wrong(&path, &why))?,
            Change::Operations(operations) => json_patch::patch(object, operations)
                .map_err(|error| self.wrong(&format!("operation {}, {}", error.operation + 1, error.path), &error.kind.to_string()))?,
        }
        match FIXED.iter().find(|path| before.pointer(path) != object.pointer(path)) {
            Some(path) => Err(self.wrong(path.trim_start_matches('/'), "a patch cannot change this")),
            None => Ok(()),
        }
    }

    fn wrong(&self, path: &str, why: &str) -> crate::domain::problem::Problem {
        document::wrong(&self.place, &format!("{path}: {why}"))
    }
}

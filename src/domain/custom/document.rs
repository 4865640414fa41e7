//! Documents of YAML files: read in bounds, with `List` kinds taken apart, and checked for what every Kubernetes object has.

use serde_json::{Map, Value};

use super::{File, kinds::Identity};
use crate::domain::problem::{Code, Problem, Result};

/// Values in one file, with those that aliases repeat.
const MAX_NODES: usize = 200_000;
const MAX_DEPTH: usize = 64;
/// What the API server writes into an object; it comes along when somebody saves `kubectl get -o yaml`.
const SERVER_FIELDS: [&str; 7] =
    ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink", "deletionTimestamp"];

/// One Kubernetes object of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// `deploy/service.yaml`, with the document's number when the file has several.
    pub place: String,
    pub value: Value,
}

impl Document {
    pub fn identity(&self) -> Identity {
        Identity::of(&self.value)
    }
}

/// The values of a file's documents, each with its place; empty documents are left out.
pub(super) fn values(file: &File) -> Result<Vec<(String, Value)>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_depth: MAX_DEPTH, },
        // a file mode is written 0644 in manifests, and every other tool reads it as an octal number
        legacy_octal_numbers: true,
        reject_unsupported_tags: true,
    };
    let read: Vec<Value> =
        serde_saphyr::from_multiple_with_options(&file.text, options).map_err(|error| not_yaml(file, &error.to_string()))?;
    let several = read.iter().filter(|value| !value.is_null()).count() > 1;
    let place = |index: usize| if several { format!("{} (document {})", file.path, index + 1) } else { file.path.clone() };
    Ok(read.into_iter().enumerate().filter(|(_, value)| !value.is_null()).map(|(index, value)| (place(index), value)).collect())
}

/// The objects of a file.
pub fn documents(file: &File) -> Result<Vec<Document>> {
    let mut found = Vec::new();
    for (place, value) in values(file)? {
        unfold(place, value, &mut found)?;
    }
    Ok(found)
}

/// A `List` (or `ConfigMapList`, …) stands for its items.
pub(super) fn unfold(place: String, value: Value, found: &mut Vec<Document>) -> Result<()> {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !kind.ends_with("List") || value.get("items").is_none() {
        found.push(Document { value: cleaned(&place, value)?, place });
        return Ok(());
    }
    let Some(Value::Array(items)) = value.get("items").cloned() else {
        return Err(wrong(&place, "items of a List is not a list"));
    };
    for (index, item) in items.into_iter().enumerate() {
        unfold(format!("{place} (item {})", index + 1), item, found)?;
    }
    Ok(())
}

/// What every object must have is there; what only the server writes is taken out.
fn cleaned(place: &str, value: Value) -> Result<Value> {
    let Value::Object(mut object) = value else { return Err(wrong(place, "a manifest is a map with apiVersion, kind and metadata")) };
    for field in ["apiVersion", "kind"] {
        if object.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(wrong(place, &format!("{field} is missing")));
        }
    }
    if object.get("kind").and_then(Value::as_str) == Some("Kustomization") {
        return Err(wrong(place, "this is a kustomization, which is not rendered here")
            .hint("name what `kubectl kustomize` makes of it in kubernetes.manifests"));
    }
    object.remove("status");
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return Err(wrong(place, "metadata is missing")) };
    metadata.retain(|field, _| !SERVER_FIELDS.contains(&field.as_str()));
    match metadata.get("name") {
        Some(Value::String(name)) if !name.is_empty() => {}
        Some(_) => return Err(wrong(place, "metadata.name is not a text")),
        None if metadata.contains_key("generateName") => {
            return Err(wrong(place, "metadata.generateName would make another object at every publish").hint("give it a metadata.name"));
        }
        None => return Err(wrong(place, "metadata.name is missing")),
    }
    for map in ["labels", "annotations"] {
        check_texts(place, map, metadata.get(map))?;
    }
    Ok(Value::Object(object))
}

fn check_texts(place: &str, map: &str, value: Option<&Value>) -> Result<()> {
    let empty = Map::new();
    let entries = match value {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(wrong(place, &format!("metadata.{map} is not a map"))),
    };
    match entries.iter().find(|(_, value)| !value.is_string()) {
        Some((key, value)) => Err(wrong(place, &format!("metadata.{map}.{key} is {value}, not a text; write it in quotes"))),
        None => Ok(()),
    }
}

/// Rules between documents: one object once, and all in the application's namespace.
pub(super) fn check(documents: &[Document], namespace: &str) -> Result<()> {
    for (index, document) in documents.iter().enumerate() {
        let identity = document.identity();
        if let Some(other) = documents[..index].iter().find(|other| other.identity() == identity) {
            return Err(wrong(&document.place, &format!("{identity} is in {} already", other.place)).hint("keep one of the two"));
        }
        match document.value.pointer("/metadata/namespace").and_then(Value::as_str) {
            Some(other) if other != namespace => {
                let message = format!("{identity} is for namespace {other}, but the application is published to {namespace}");
                return Err(wrong(&document.place, &message).hint("remove metadata.namespace, or set kubernetes.namespace"));
            }
            _ => {}
        }
        if identity.is_cluster_scoped() {
            return Err(cluster_scoped(&document.place, &identity));
        }
    }
    Ok(())
}

/// A publish and its rollback act on one namespace; what all share is not one application's to change.
pub fn cluster_scoped(place: &str, identity: &Identity) -> Problem {
    let hint = match identity.kind.as_str() {
        "Namespace" => "remove it; kubernetes.create_namespace makes the namespace",
        _ => "let the owner of the cluster apply it, and remove it from kubernetes.manifests",
    };
    wrong(place, &format!("{identity} belongs to the whole cluster, not to a namespace")).hint(hint)
}

pub(super) fn not_yaml(file: &File, error: &str) -> Problem {
    let first = error.lines().next().unwrap_or_default();
    let problem = Problem::new(Code::ManifestInvalid, format!("{}: this is not YAML: {first}", file.path));
    match file.text.contains("{{") {
        true => problem.hint("templates are not rendered here: name what the templating tool makes of it"),
        false => problem.hint("correct the line"),
    }
}

pub(super) fn wrong(place: &str, why: &str) -> Problem {
    Problem::new(Code::ManifestInvalid, format!("{place}: {why}")).hint(format!("correct {place}"))
}

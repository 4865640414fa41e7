//! Objects of the namespace that pods refer to: Secrets, ConfigMaps, their keys, claims, the ServiceAccount, pull secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::core::v1::{Container, KeyToPath, PodSpec, Volume};

use crate::domain::problem::{Code, Problem};

/// Kinds of objects that pods refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Secret,
    ConfigMap,
    PersistentVolumeClaim,
    ServiceAccount,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a reference stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A variable of a container; a name with `*` stands for a whole object.
    Variable {
        container: String,
        name: String,
    },
    Volume(String),
    ServiceAccount,
    PullSecret,
}

/// One object, or one key of it, that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub kind: Kind,
    pub name: String,
    pub key: Option<String>,
    pub place: Place,
}

/// What was found of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    Absent,
    /// With these keys; objects without any have none.
    Keys(BTreeSet<String>),
    /// It may not be read.
    Hidden,
}

/// Everything that the pods cannot start without; what is marked optional is left out.
pub fn references(pod: &PodSpec) -> Vec<Reference> {
    let containers = pod.init_containers.iter().flatten().chain(&pod.containers);
    let mut found: Vec<Reference> = containers.flat_map(of_container).collect();
    found.extend(pod.volumes.iter().flatten().flat_map(of_volume));
    let account = pod.service_account_name.iter().filter(|name| !name.is_empty() && *name != "default");
    found.extend(account.map(|name| Reference { kind: Kind::ServiceAccount, name: name.clone(), key: None, place: Place::ServiceAccount }));
    let secrets = pod.image_pull_secrets.iter().flatten();
    found.extend(secrets.map(|secret| Reference { kind: Kind::Secret, name: secret.name.clone(), key: None, place: Place::PullSecret }));
    found
}

/// What is missing, a problem for each; `known` tells of every object that could be looked at, `from_settings` the settings' variables.
pub fn missing(
    references: &[Reference],
    known: &BTreeMap<(Kind, String), Known>,
    from_settings: &BTreeSet<String>,
    namespace: &str,
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for reference in references {
        let what = match (known.get(&(reference.kind, reference.name.clone())), &reference.key) {
            (Some(Known::Absent), _) => format!("does not exist in namespace {namespace}"),
            (Some(Known::Keys(keys)), Some(key)) if !keys.contains(key) => format!("has no key {key}{}", there(keys)),
            _ => continue,
        };
        let Reference { kind, name, place, .. } = reference;
        let setting = setting(place, from_settings);
        let problem = Problem::new(Code::ReferenceMissing, format!("{setting} names the {kind} {name}, which {what}"));
        let act = if what.starts_with("has no key") { "add the key to it" } else { "create it" };
        problems.push(problem.hint(format!("{act}, or correct {setting}")));
    }
    problems.dedup();
    problems
}

/// The names of keys are no secret, and a misspelt one is seen at once.
fn there(keys: &BTreeSet<String>) -> String {
    match keys.len() {
        0 => " (it has none)".to_string(),
        1..=8 => format!(" (it has {})", keys.iter().cloned().collect::<Vec<_>>().join(", ")),
        count => format!(" (it has {count} others)"),
    }
}

/// The key of the settings that the reference comes from, else its place in the pod.
fn setting(place: &Place, from_settings: &BTreeSet<String>) -> String {
    match place {
        Place::Variable { name, .. } if from_settings.contains(name) => format!("kubernetes.secrets.{name}"),
        Place::Variable { container, name } if name == "*" => format!("envFrom of container {container}"),
        Place::Variable { container, name } => format!("variable {name} of container {container}"),
        Place::Volume(name) => format!("volume {name}"),
        Place::ServiceAccount => "kubernetes.service_account".to_string(),
        Place::PullSecret => "imagePullSecrets".to_string(),
    }
}

fn of_container(container: &Container) -> Vec<Reference> {
    let place = |name: &str| Place::Variable { container: container.name.clone(), name: name.to_string() };
    let mut found = Vec::new();
    for variable in container.env.iter().flatten() {
        let Some(source) = &variable.value_from else { continue };
        if let Some(from) = source.secret_key_ref.as_ref().filter(|from| from.optional != Some(true)) {
            found.push(reference(Kind::Secret, &from.name, Some(&from.key), place(&variable.name)));
        }
        if let Some(from) = source.config_map_key_ref.as_ref().filter(|from| from.optional != Some(true)) {
            found.push(reference(Kind::ConfigMap, &from.name, Some(&from.key), place(&variable.name)));
        }
    }
    for source in container.env_from.iter().flatten() {
        if let Some(from) = source.secret_ref.as_ref().filter(|from| from.optional != Some(true)) {
            found.push(reference(Kind::Secret, &from.name, None, place("*")));
        }
        if let Some(from) = source.config_map_ref.as_ref().filter(|from| from.optional != Some(true)) {
            found.push(reference(Kind::ConfigMap, &from.name, None, place("*")));
        }
    }
    found
}

fn of_volume(volume: &Volume) -> Vec<Reference> {
    let place = || Place::Volume(volume.name.clone());
    let mut found = Vec::new();
    if let Some(secret) = volume.secret.as_ref().filter(|secret| secret.optional != Some(true)) {
        let name = secret.secret_name.clone().unwrap_or_default();
        found.extend(keyed(Kind::Secret, &name, secret.items.as_deref(), &place()));
    }
    if let Some(map) = volume.config_map.as_ref().filter(|map| map.optional != Some(true)) {
        found.extend(keyed(Kind::ConfigMap, &map.name, map.items.as_deref(), &place()));
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        found.push(reference(Kind::PersistentVolumeClaim, &claim.claim_name, None, place()));
    }
    for source in volume.projected.iter().flat_map(|projected| &projected.sources).flatten() {
        if let Some(secret) = source.secret.as_ref().filter(|secret| secret.optional != Some(true)) {
            found.extend(keyed(Kind::Secret, &secret.name, secret.items.as_deref(), &place()));
        }
        if let Some(map) = source.config_map.as_ref().filter(|map| map.optional != Some(true)) {
            found.extend(keyed(Kind::ConfigMap, &map.name, map.items.as_deref(), &place()));
        }
    }
    found
}

/// The object, and each key that is picked from it.
fn keyed(kind: Kind, name: &str, items: Option<&[KeyToPath]>, place: &Place) -> Vec<Reference> {
    match items {
        None | Some([]) => vec![reference(kind, name, None, place.clone())],
        Some(items) => items.iter().map(|item| reference(kind, name, Some(&item.key), place.clone())).collect(),
    }
}

fn reference(kind: Kind, name: &str, key: Option<&str>, place: Place) -> Reference {
    Reference { kind, name: name.to_string(), key: key.map(str::to_string), place }
}

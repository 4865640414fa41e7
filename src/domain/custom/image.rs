//! The container that is the application's: found among others, and its image pinned to the digest.

use serde_json::Value;

use crate::domain::{
    containers,
    problem::{Code, Problem, Result},
    reference::ImageReference,
};

/// What may tell which container is the application's.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'a> {
    /// `kubernetes.container`.
    pub container: Option<&'a str>,
    /// Name of application and Deployment.
    pub names: [&'a str; 2],
    pub image: &'a ImageReference,
}

/// The application's container among these (name and image of each): the one that is named, the only one, the one called `app` or as
/// the application is, the one of the same repository. `place` says where they are.
pub fn application_container(place: &str, found: &[(&str, &str)], chosen: &Chosen<'_>) -> Result<usize> {
    let called = |name: &str| found.iter().position(|(container, _)| *container == name);
    if let Some(name) = chosen.container {
        return called(name).ok_or_else(|| unclear(place, found, &format!("there is no container {name}")));
    }
    let same = || {
        let mut same = found.iter().enumerate().filter(|(_, (_, image))| is_of(image, chosen.image));
        same.next().map(|(index, _)| index).filter(|_| same.next().is_none())
    };
    let only = (found.len() == 1).then_some(0);
    let by_name = || [containers::NAME, chosen.names[0], chosen.names[1]].into_iter().find_map(called);
    only.or_else(by_name).or_else(same).ok_or_else(|| unclear(place, found, "it is not clear which container is the application's"))
}

fn unclear(place: &str, found: &[(&str, &str)], why: &str) -> Problem {
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let list = if names.is_empty() { "it has none".to_string() } else { format!("it has {}", names.join(", ")) };
    Problem::new(Code::ManifestInvalid, format!("{place}: {why}; {list}")).hint("set kubernetes.container to its name")
}

/// Whether an image is of the same repository, whatever its tag.
fn is_of(image: &str, ours: &ImageReference) -> bool {
    image.parse::<ImageReference>().is_ok_and(|image| image.registry == ours.registry && image.repository == ours.repository)
}

/// In any object with pods: each container of the application's repository gets its digest, so that a CronJob beside the
/// Deployment runs the same code.
pub fn pin(value: &mut Value, ours: &ImageReference) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| pin(item, ours)),
        Value::Object(fields) => {
            for (field, value) in fields.iter_mut() {
                match value {
                    Value::Array(items) if matches!(field.as_str(), "containers" | "initContainers") => {
                        items.iter_mut().for_each(|container| pin_container(container, ours));
                    }
                    other => pin(other, ours),
                }
            }
        }
        _ => {}
    }
}

fn pin_container(container: &mut Value, ours: &ImageReference) {
    let same = container.get("image").and_then(Value::as_str).is_some_and(|image| is_of(image, ours));
    if let Some(fields) = container.as_object_mut().filter(|_| same) {
        fields.insert("image".to_string(), Value::String(ours.to_string()));
    }
}

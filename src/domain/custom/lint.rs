//! Manifests and patches looked at without a cluster: what is no YAML, no object, or has fields that its kind does not know; all of it, each
//! with its line and column.

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::{CronJob, Job},
    core::v1::{ConfigMap, LimitRange, PersistentVolumeClaim, Pod, ResourceQuota, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
    rbac::v1::{Role, RoleBinding},
};
use serde_json::Value;

use super::{
    File, document, patch,
    positions::{At, Part, positions},
    strict::typed,
};
use crate::domain::problem::{Code, Problem, Result};

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub at: At,
    pub problem: Problem,
}

/// What is wrong with a file of manifests.
pub fn manifests(file: &File) -> Vec<Fault> {
    each(file, &|place, value| {
        let mut objects = Vec::new();
        document::unfold(place, value, &mut objects)?;
        objects.iter().try_for_each(|object| known_kind(&object.place, &object.value))
    })
}

/// What is wrong with a file of patches.
pub fn patches(file: &File) -> Vec<Fault> {
    each(file, &|place, value| patch::read(place, value).map(drop))
}

/// Looks at each document by itself, so that one mistake does not hide the next document's.
fn each(file: &File, look: &dyn Fn(String, Value) -> Result<()>) -> Vec<Fault> {
    let parts = match positions(&file.text) {
        Ok(parts) => parts,
        Err((at, why)) => {
            let problem = document::not_yaml(file, &why);
            return vec![Fault { at, problem: Problem { message: bare(&problem.message, &file.path), ..problem } }];
        }
    };
    let values = match document::values(file) {
        Ok(values) => values,
        Err(problem) => return vec![Fault { at: (1, 1), problem: Problem { message: bare(&problem.message, &file.path), ..problem } }],
    };
    let mut faults = Vec::new();
    for (place, value) in values {
        let part = part_of(&parts, &place);
        if let Err(problem) = look(place.clone(), value) {
            let message = bare(&problem.message, &place);
            let hint =
                if problem.hint == format!("correct {place}") { Code::ManifestInvalid.fix().to_string() } else { problem.hint.clone() };
            faults.push(Fault { at: part.map_or((1, 1), |part| at(part, &message)), problem: Problem { message, hint, ..problem } });
        }
    }
    faults
}

/// `file (document 3)` is the third part; a file of one document may begin with empty ones.
fn part_of<'a>(parts: &'a [Part], place: &str) -> Option<&'a Part> {
    let number = place.rsplit_once("(document ").and_then(|(_, rest)| rest.trim_end_matches(')').parse::<usize>().ok());
    match number {
        Some(number) => parts.get(number - 1),
        None => parts.last().filter(|_| parts.len() == 1).or_else(|| parts.first()),
    }
}

/// The message without its place, which the line says better.
fn bare(message: &str, place: &str) -> String {
    message.strip_prefix(place).map_or(message, |rest| rest.trim_start_matches(": ")).to_string()
}

/// Where the path stands that a message names; else where the document begins.
fn at(part: &Part, message: &str) -> At {
    let path = message.split_whitespace().map(|word| word.trim_end_matches([',', ';', ':'])).find(|word| part.begins(word));
    path.map_or(part.at, |path| part.find(path))
}

/// Reads an object of a kind that every cluster has; others are known to the cluster alone.
fn known_kind(place: &str, value: &Value) -> Result<()> {
    macro_rules! kinds {
        ($($version:literal $kind:ident)*) => {
            match (text(value, "apiVersion"), text(value, "kind")) {
                $(($version, stringify!($kind)) => typed::<$kind>(place, value).map(drop),)*
                _ => Ok(()),
            }
        };
    }
    kinds! {
        "v1" ConfigMap "v1" LimitRange "v1" PersistentVolumeClaim "v1" Pod "v1" ResourceQuota "v1" Secret "v1" Service "v1" ServiceAccount
        "apps/v1" DaemonSet "apps/v1" Deployment "apps/v1" ReplicaSet "apps/v1" StatefulSet
        "autoscaling/v2" HorizontalPodAutoscaler
        "batch/v1" CronJob "batch/v1" Job
        "networking.k8s.io/v1" Ingress "networking.k8s.io/v1" NetworkPolicy
        "policy/v1" PodDisruptionBudget
        "rbac.authorization.k8s.io/v1" Role "rbac.authorization.k8s.io/v1" RoleBinding
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(faults: Vec<Fault>) -> Vec<(At, String)> {
        faults.into_iter().map(|fault| (fault.at, fault.problem.message)).collect()
    }

    fn file(text: &str) -> File {
        File { path: "deploy/x.yaml".into(), text: text.into() }
    }

    #[test]
    fn each_mistake_of_a_manifest_has_its_line_and_column() {
        let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n    - prot: 80\n---\nkind: ConfigMap\nmetadata: {name: b}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: c\nspec:\n  replicas: two\n  selector: {}\n  template: {}\n";
        let found = found(manifests(&file(text)));
        assert_eq!(found[0], ((7, 7), "a Service has no field spec.ports[0].prot".to_string()), "{found:?}");
        assert_eq!(found[1], ((9, 1), "apiVersion is missing".to_string()), "{found:?}");
        assert_eq!(found[2].0, (17, 3), "{found:?}");
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn what_is_no_yaml_and_what_is_a_template() {
        let faults = manifests(&file("apiVersion: v1\nkind: [\n"));
        assert!(faults.len() == 1 && faults[0].at.0 >= 2 && faults[0].problem.message.starts_with("this is not YAML"), "{faults:?}");
        let faults = manifests(&file("kind: {{ .Values.kind }}\n"));
        assert!(faults[0].problem.hint.contains("templates"), "{faults:?}");
    }

    #[test]
    fn good_files_and_kinds_of_others_are_fine() {
        let text = "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {a: b}\n---\napiVersion: example.test/v1\nkind: Thing\nmetadata: {name: t}\nspec: {any: thing}\n";
        assert_eq!(found(manifests(&file(text))), []);
    }

    #[test]
    fn patches_are_looked_at_too() {
        let found = found(patches(&file("target:\n  kind: Deployment\n  label: x\npatch: []\n")));
        assert_eq!(found, [((3, 3), "target.label is not understood; a target has kind and name".to_string())]);
    }
}

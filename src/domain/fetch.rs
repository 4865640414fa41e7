//! Pushed configurations as pods get them. The publish keeps the files of the version in an object of the release, as it does with files of
//! the checkout, so that a rollback has them whatever was pushed since. Where the centre is the cluster, pods mount that object. Where it is a
//! ZooKeeper, an init container, Shipway itself, fetches that very content before the application starts.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, ResourceRequirements, SecretKeySelector, Volume, VolumeMount},
    apimachinery::pkg::api::resource::Quantity,
};

use super::{
    config::{Config, VOLUME},
    containers,
    pushed::Version,
    workload::{Security, Workload},
};

/// Name of the init container.
const CONTAINER: &str = "config";
/// Name of the volume with the release's own copy.
pub const COPY: &str = "config-copy";
/// Where the init container has the volumes. A folder is fetched as a whole, which no mount point can be.
const FOLDER: &str = "/shipway";
const COPY_FOLDER: &str = "/shipway-copy";
/// The fetched folder in the volume, which the application mounts.
const FILES: &str = "files";
/// The key of the Secret with the centre's address.
pub const ADDRESS: &str = "url";

/// The version of a pushed configuration that a release has.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    pub version: Version,
    /// None: pods mount the release's copy.
    pub fetch: Option<Fetch>,
}

/// How pods fetch it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    /// An image of Shipway's.
    pub image: String,
    /// A start without the centre has the copy.
    pub offline: bool,
}

/// Name of the Secret that tells the pods of this application where the centre is.
pub fn address_secret(name: &str) -> String {
    format!("{name}-center")
}

/// How the pods of a workload fetch their configuration; None: they mount it, or have none.
fn fetch(workload: &Workload) -> Option<(&Pushed, &Fetch, &Config)> {
    let pushed = workload.pushed.as_ref()?;
    Some((pushed, pushed.fetch.as_ref()?, workload.config.as_ref()?))
}

/// The volumes of the pods.
pub(super) fn volumes(workload: &Workload) -> Option<Vec<Volume>> {
    let config = workload.config.as_ref()?;
    let own = config.volume(&workload.name);
    if fetch(workload).is_none() {
        return Some(vec![own]);
    }
    let memory = config.secret.then(|| "Memory".to_string());
    let fetched = EmptyDirVolumeSource { medium: memory, size_limit: None };
    let volume = Volume { name: VOLUME.to_string(), empty_dir: Some(fetched), ..Volume::default() };
    Some(vec![volume, Volume { name: COPY.to_string(), ..own }])
}

/// What the application's container mounts.
pub(super) fn mounts(workload: &Workload) -> Option<Vec<VolumeMount>> {
    let mount = workload.config.as_ref()?.volume_mount();
    Some(vec![VolumeMount { sub_path: fetch(workload).map(|_| FILES.to_string()), ..mount }])
}

/// The init containers of the pods.
pub(super) fn init_containers(workload: &Workload) -> Option<Vec<Container>> {
    let (pushed, fetch, _) = fetch(workload)?;
    let content = &pushed.version.config.hash;
    let words = ["shipway", "config", "pull", "--to", &format!("{FOLDER}/{FILES}"), "--content", content, "--copy", COPY_FOLDER];
    let command = words.into_iter().chain(fetch.offline.then_some("--offline")).map(String::from).collect();
    let mount = |name: &str, path: &str, read_only: Option<bool>| VolumeMount {
        name: name.to_string(),
        mount_path: path.to_string(),
        read_only,
        ..VolumeMount::default()
    };
    Some(vec![Container {
        name: CONTAINER.to_string(),
        image: Some(fetch.image.clone()),
        command: Some(command),
        env: Some(environment(workload)),
        resources: Some(resources()),
        volume_mounts: Some(vec![mount(VOLUME, FOLDER, None), mount(COPY, COPY_FOLDER, Some(true))]),
        security_context: matches!(workload.security, Security::Restricted).then(containers::container_security),
        ..Container::default()
    }])
}

/// Whose configuration it is, and where; the address may hold a password.
fn environment(workload: &Workload) -> Vec<EnvVar> {
    let plain = [
        ("SHIPWAY_APP", Some(&workload.app)),
        ("SHIPWAY_KUBERNETES_NAMESPACE", Some(&workload.namespace)),
        ("SHIPWAY_KUBERNETES_NAME", Some(&workload.name)),
        ("SHIPWAY_ENVIRONMENT", workload.environment.as_ref()),
    ];
    let plain = plain
        .into_iter()
        .filter_map(|(name, value)| Some(EnvVar { name: name.to_string(), value: Some(value?.clone()), value_from: None }));
    let reference = SecretKeySelector { name: address_secret(&workload.name), key: ADDRESS.to_string(), optional: None };
    let address = EnvVar {
        name: "SHIPWAY_CENTER_URL".to_string(),
        value: None,
        value_from: Some(EnvVarSource { secret_key_ref: Some(reference), ..EnvVarSource::default() }),
    };
    plain.chain([address]).collect()
}

/// Little enough to be free beside the application's own, which a pod needs only after it.
fn resources() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, amount)| ((*name).to_string(), Quantity((*amount).to_string())));
        Some(pairs.collect::<BTreeMap<_, _>>())
    };
    let (requests, limits) = (quantities(&[("cpu", "50m"), ("memory", "64Mi")]), quantities(&[("memory", "128Mi")]));
    ResourceRequirements { requests, limits, claims: None }
}

#[cfg(test)]
mod tests {
    use super::{super::manifests::tests::workload, *};
    use crate::domain::manifests::{Stamp, objects};

    fn pushed(secret: bool, fetch: Option<Fetch>) -> Workload {
        let files = BTreeMap::from([("application.yml".to_string(), b"limit: 1\n".to_vec())]);
        let config = Config::new("config/", "/config", secret, files).unwrap();
        let version = serde_json::json!({"version": 3, "config": config.reference("web.pushed"), "files": 1, "time": ""});
        let version = serde_json::from_value(version).unwrap();
        Workload { config: Some(config), pushed: Some(Pushed { version, fetch }), ..workload() }
    }

    fn pod(workload: &Workload) -> serde_json::Value {
        let objects = objects(workload, &Stamp::default(), &Default::default()).unwrap();
        serde_json::to_value(objects.deployment.spec.unwrap().template.spec).unwrap()
    }

    #[test]
    fn what_is_fetched_is_named_by_its_content_and_the_address_comes_from_a_secret() {
        let workload = pushed(false, Some(Fetch { image: "r/shipway:1".to_string(), offline: false }));
        let pod = pod(&workload);
        let init = &pod["initContainers"][0];
        let hash = &workload.pushed.as_ref().unwrap().version.config.hash;
        let command: Vec<&str> = init["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert_eq!(command[..4], ["shipway", "config", "pull", "--to"]);
        assert!(command.contains(&hash.as_str()) && !command.contains(&"--offline"), "{command:?}");
        let address = init["env"].as_array().unwrap().iter().find(|one| one["name"] == "SHIPWAY_CENTER_URL").unwrap();
        assert!(address["value"].is_null() && address["valueFrom"]["secretKeyRef"]["key"] == "url", "{address}");
        assert_eq!(pod["containers"][0]["volumeMounts"][0]["subPath"], "files");
        assert!(pod["volumes"][0]["emptyDir"].is_object() && pod["volumes"][1]["configMap"]["name"].is_string(), "{}", pod["volumes"]);
    }

    #[test]
    fn a_start_without_the_centre_is_asked_for_and_secrets_stay_in_memory() {
        let pod = pod(&pushed(true, Some(Fetch { image: "r/shipway:1".to_string(), offline: true })));
        let command = pod["initContainers"][0]["command"].to_string();
        assert!(command.contains("--offline"), "{command}");
        assert_eq!(pod["volumes"][0]["emptyDir"]["medium"], "Memory");
        assert!(pod["volumes"][1]["secret"].is_object());
    }

    #[test]
    fn in_the_cluster_pods_mount_the_releases_own_object() {
        let pod = pod(&pushed(false, None));
        assert!(pod["initContainers"].is_null() && pod["volumes"].as_array().unwrap().len() == 1, "{pod}");
        assert!(pod["containers"][0]["volumeMounts"][0]["subPath"].is_null());
    }
}

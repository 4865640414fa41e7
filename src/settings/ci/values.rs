//! What the CI's own variables mean as settings: the layer below the file.

use serde_json::Value;

use super::super::{
    mistake::Mistake,
    reader::{Entries, Entry},
    rules,
    source::Source,
};
use super::{Ci, CiRegistry};
use crate::domain::{problem::Code, reference::ImageReference};

/// Variables that name the environment, in their order, for any CI.
const ENVIRONMENT: &[&str] = &["CI_ENVIRONMENT_NAME", "DRONE_DEPLOY_TO", "CI_PIPELINE_DEPLOY_TARGET"];

/// The environment that the CI names.
pub fn environment(environment: &[(String, String)]) -> Entries {
    let found = ENVIRONMENT.iter().find_map(|name| Some((*name, set(environment, name)?)));
    found.map(|(name, value)| one("environment", value, name)).into_iter().collect()
}

/// Everything else that the CI's variables say, where `said` (flags, variables, file) leaves room for it.
pub fn entries(ci: &Ci, variables: &[(String, String)], said: &Entries, mistakes: &mut Vec<Mistake>) -> Entries {
    let mut entries = environment(variables);
    for (key, name) in [("kubernetes.namespace", "KUBE_NAMESPACE"), ("cluster.kubeconfig", "KUBECONFIG")] {
        entries.extend(set(variables, name).map(|value| one(key, value, name)));
    }
    if names_cluster(said) || has(said, "cluster.kubeconfig") {
        entries.remove(&path("cluster.kubeconfig"));
    }
    if let Some(Err(wrong)) = text(&entries, "cluster.kubeconfig").map(|value| rules::kubeconfig(&value)) {
        entries.remove(&path("cluster.kubeconfig"));
        let (setting, source) = ("cluster.kubeconfig".to_string(), "KUBECONFIG".to_string());
        let what = format!("KUBECONFIG cannot be used: {}", wrong.what);
        mistakes.push(Mistake { code: Code::SettingInvalid, setting, source, place: None, what, fix: wrong.fix });
    }
    if has(said, "kubernetes.config.pushed")
        && let Some(image) = set(variables, "CI_JOB_IMAGE").filter(|image| is_shipway(image))
    {
        entries.extend([one("kubernetes.config.image", image, "CI_JOB_IMAGE")]);
    }
    if let Some(registry) = ci.registry.as_ref().filter(|registry| applies(registry, said)) {
        entries.extend(registry_entries(registry, said));
        if let Some(token) = &ci.deploy_token
            && !has(said, "registry.pull_username")
            && !has(said, "registry.pull_password")
        {
            entries.extend([
                one("registry.pull_username", token.username.clone(), "CI_DEPLOY_USER"),
                one("registry.pull_password", token.password.expose().to_string(), "CI_DEPLOY_PASSWORD"),
            ]);
        }
        if let Some(ca) = &ci.server_ca {
            entries.extend([one("registry.ca", ca.display().to_string(), "CI_SERVER_TLS_CA_FILE")]);
        }
    }
    entries
}

/// Whether an image is one of ours by its name; a job may as well run in another one that brought our binary along.
fn is_shipway(image: &str) -> bool {
    image.parse::<ImageReference>().is_ok_and(|image| image.repository.rsplit('/').next().is_some_and(|name| name.starts_with("shipway")))
}

/// The CI's registry counts only when the image does not go to another one: its credentials are for nobody else.
fn applies(registry: &CiRegistry, said: &Entries) -> bool {
    let host = |name: &str| name.trim_start_matches("https://").split('/').next().unwrap_or_default().to_string();
    let own = host(&registry.url);
    let url = text(said, "registry.url").map(|url| host(&url));
    let image = text(said, "image.repository").and_then(|image| Some(image.parse::<ImageReference>().ok()?.registry));
    url.is_none_or(|url| url == own) && image.is_none_or(|image| image == own)
}

/// User name and password belong together: one of them alone is never completed by the CI's.
fn registry_entries(registry: &CiRegistry, said: &Entries) -> Entries {
    let mut entries = Entries::new();
    if rules::check("registry", &registry.url).is_ok() {
        entries.extend([one("registry.url", registry.url.clone(), "CI_REGISTRY")]);
    }
    if let Some(credentials) = &registry.credentials
        && !has(said, "registry.username")
        && !has(said, "registry.password")
    {
        entries.extend([
            one("registry.username", credentials.username.clone(), "CI_REGISTRY_USER"),
            one("registry.password", credentials.password.expose().to_string(), "CI_REGISTRY_PASSWORD"),
        ]);
    }
    entries
}

fn names_cluster(said: &Entries) -> bool {
    let in_cluster = said.get(&path("cluster.in_cluster")).is_some_and(|entry| entry.value == Value::Bool(true));
    in_cluster || has(said, "cluster.server")
}

fn set(variables: &[(String, String)], name: &str) -> Option<String> {
    variables.iter().find(|(key, value)| key == name && !value.trim().is_empty()).map(|(_, value)| value.trim().to_string())
}

fn path(key: &str) -> Vec<String> {
    key.split('.').map(str::to_string).collect()
}

fn has(entries: &Entries, key: &str) -> bool {
    entries.contains_key(&path(key))
}

fn text(entries: &Entries, key: &str) -> Option<String> {
    entries.get(&path(key))?.value.as_str().map(str::to_string)
}

fn one(key: &str, value: String, name: &str) -> (Vec<String>, Entry) {
    (path(key), Entry { value: Value::String(value), source: Source::Ci(name.to_string()), place: None })
}

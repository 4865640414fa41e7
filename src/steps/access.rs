//! How registries and the cluster are reached, from the plan.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    cluster::{self, Cluster},
    domain::{
        event::Events,
        problem::{Code, Problem, Result},
        secret::Credentials,
    },
    forge,
    net::{self, Identity},
    plan::Plan,
    registry::{self, Access, Cache},
    settings::{Ci, Host, Settings},
};

/// The one client for all registries: the credentials that are set, then those of docker's and podman's files.
pub fn registry_client(plan: &Plan, events: &Events) -> Result<registry::Client> {
    registry::Client::with_cache(network(&plan.host, &plan.ci), accesses(plan)?, cache(plan, events))
}

/// Where the cache is; None when it is switched off or there is no home.
pub(super) fn cache_dir(plan: &Plan) -> Option<PathBuf> {
    match &plan.settings.image.cache {
        Some(off) if off.as_os_str() == "off" => None,
        Some(set) => Some(plan.facts.work_dir.join(set)),
        None => Some(plan.host.cache.as_ref()?.join("shipway/images")),
    }
}

/// A cache that cannot be used slows a run down, and does not stop it.
fn cache(plan: &Plan, events: &Events) -> Option<Cache> {
    let dir = cache_dir(plan)?;
    match Cache::open(&dir) {
        Ok(cache) => Some(cache),
        Err(problem) if plan.settings.image.cache.is_some() => {
            events.warning(format!("image.cache is not used: {problem}"), "set image.cache to a folder that can be written, or to off");
            None
        }
        Err(_) => None,
    }
}

/// How the outside is reached: the machine's roots and proxies, and the authority of the CI's server.
pub(super) fn network(host: &Host, ci: &Ci) -> net::Options {
    let proxies = &host.proxies;
    net::Options {
        roots_file: host.cert_file.clone(),
        roots_dir: host.cert_dirs.first().cloned(),
        ca: ci.server_ca.iter().cloned().collect(),
        http_proxy: proxies.http.clone(),
        https_proxy: proxies.https.clone(),
        no_proxy: proxies.no_proxy.clone(),
        ..net::Options::default()
    }
}

/// How the code host is reached: as the outside, with the authority that its setting names, relative to `dir`.
pub(super) fn forge_network(settings: &Settings, host: &Host, ci: &Ci, dir: &Path) -> net::Options {
    let mut options = network(host, ci);
    options.ca.extend(settings.forge.ca.as_ref().map(|ca| dir.join(ca)));
    forge::network(options)
}

/// How each registry is reached: the credentials that are set stand first.
pub(super) fn accesses(plan: &Plan) -> Result<Vec<Access>> {
    let settings = &plan.settings.registry;
    let credentials = match (&settings.username, &settings.password) {
        (Some(username), Some(password)) => Some(Credentials { username: username.clone(), password: password.clone() }),
        (None, None) => None,
        (Some(_), None) if plan.lacks_secrets() => None,
        (None, Some(_)) => return Err(Problem::new(Code::SettingMissing, "registry.password is set, but registry.username is not")),
        (Some(_), None) => return Err(Problem::new(Code::SettingMissing, "registry.username is set, but registry.password is not")),
    };
    let mut accesses = Vec::new();
    if plan.pushes {
        accesses.push(Access {
            prefix: plan.target.registry.clone(),
            credentials,
            helper: None,
            ca: settings.ca.clone().map(|ca| plan.facts.dir.join(ca)),
            identity: identity(plan),
            insecure: settings.insecure,
            token_server: token_server(plan),
            credentials_source: source_of(plan, "registry.username"),
        });
    }
    let helper_env = plan.host.helper_env();
    if let Some(content) = &plan.host.registry_config {
        accesses.extend(registry::docker_config(content.expose(), "DOCKER_AUTH_CONFIG", &helper_env)?);
    }
    for path in &plan.host.registry_configs {
        let text = fs::read_to_string(path).map_err(|error| Problem::io("read", path, &error))?;
        accesses.extend(registry::docker_config(&text, &path.display().to_string(), &helper_env)?);
    }
    Ok(accesses)
}

/// The CI says which server gives the tokens of its own registry.
fn token_server(plan: &Plan) -> Option<String> {
    let registry = plan.ci.registry.as_ref()?;
    let host = registry.url.trim_start_matches("https://").split('/').next()?;
    (host == plan.target.registry).then(|| registry.token_server.clone())?
}

/// Our certificate at the registry, when both halves are set.
fn identity(plan: &Plan) -> Option<Identity> {
    let settings = &plan.settings.registry;
    let below = |path: &PathBuf| plan.facts.dir.join(path);
    Some(Identity { certificate: below(settings.client_certificate.as_ref()?), key: below(settings.client_key.as_ref()?) })
}

/// `registry.username (CI_REGISTRY_USER)`: the key, and where its value stands.
fn source_of(plan: &Plan, key: &str) -> String {
    match plan.sources.iter().rev().find(|sourced| sourced.key == key) {
        Some(sourced) => format!("{key} ({})", sourced.source),
        None => key.to_string(),
    }
}

/// Connects to the cluster that the settings name; talks to nobody yet.
pub async fn connect(plan: &Plan) -> Result<Cluster> {
    let network = network(&plan.host, &plan.ci);
    let proxy = move |server: &str| net::proxy_for(&network, server).map(|proxy| proxy.expose().to_string());
    let target = cluster::Target { proxy: Some(Arc::new(proxy)), ..target(plan) };
    cluster::connect(&target, &plan.namespace).await
}

fn target(plan: &Plan) -> cluster::Target {
    let settings = &plan.settings.cluster;
    let named = settings
        .kubeconfig
        .as_deref()
        .map(|paths| paths.split(':').filter(|path| !path.is_empty()).map(|path| plan.facts.dir.join(path)).collect());
    let kubeconfig: Vec<PathBuf> = named.unwrap_or_else(|| plan.host.kubeconfig.clone());
    let direct = settings.server.is_some() || settings.in_cluster;
    cluster::Target {
        kubeconfig: if direct && settings.kubeconfig.is_none() { Vec::new() } else { kubeconfig },
        context: settings.context.clone(),
        server: settings.server.clone(),
        token: settings.token.clone(),
        ca: settings.ca.clone().map(|ca| plan.facts.dir.join(ca)),
        in_cluster: settings.in_cluster,
        proxy: None,
    }
}

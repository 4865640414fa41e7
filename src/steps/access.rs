//! How registries and the cluster are reached, from the plan.

use std::{fs, path::PathBuf};

use crate::{
    cluster::{self, Cluster},
    domain::{
        problem::{Code, Problem, Result},
        secret::Credentials,
    },
    net,
    plan::Plan,
    registry::{self, Access},
};

/// The one client for all registries: the credentials that are set, then those of docker's and podman's files.
pub fn registry_client(plan: &Plan) -> Result<registry::Client> {
    registry::Client::new(network(plan), accesses(plan)?)
}

fn network(plan: &Plan) -> net::Options {
    let proxies = &plan.host.proxies;
    net::Options {
        roots_file: plan.host.cert_file.clone(),
        roots_dir: plan.host.cert_dirs.first().cloned(),
        ca: plan.ci.server_ca.iter().cloned().collect(),
        http_proxy: proxies.http.clone(),
        https_proxy: proxies.https.clone(),
        no_proxy: proxies.no_proxy.clone(),
        ..net::Options::default()
    }
}

fn accesses(plan: &Plan) -> Result<Vec<Access>> {
    let settings = &plan.settings.registry;
    let credentials = match (&settings.username, &settings.password) {
        (Some(username), Some(password)) => Some(Credentials { username: username.clone(), password: password.clone() }),
        (None, None) => None,
        (None, Some(_)) => return Err(Problem::new(Code::SettingMissing, "registry.password is set, but registry.username is not")),
        (Some(_), None) => return Err(Problem::new(Code::SettingMissing, "registry.username is set, but registry.password is not")),
    };
    let mut accesses = Vec::new();
    if plan.pushes {
        accesses.push(Access {
            prefix: plan.target.registry.clone(),
            credentials,
            ca: settings.ca.clone().map(|ca| plan.facts.dir.join(ca)),
            insecure: settings.insecure,
            credentials_source: source_of(plan, "registry.username"),
        });
    }
    if let Some(content) = &plan.host.registry_config {
        accesses.extend(registry::docker_config(content.expose(), "DOCKER_AUTH_CONFIG")?);
    }
    for path in &plan.host.registry_configs {
        let text = fs::read_to_string(path).map_err(|error| Problem::io("read", path, &error))?;
        accesses.extend(registry::docker_config(&text, &path.display().to_string())?);
    }
    Ok(accesses)
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
    let mut target = target(plan);
    target.proxy = net::proxy_for(&network(plan), &cluster::server(&target).await?).map(|proxy| proxy.expose().to_string());
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

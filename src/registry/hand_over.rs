//! Credentials for other programs that read docker's `config.json`.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Access, auth::IDENTITY_TOKEN_USER};
use crate::domain::{
    reference::DEFAULT_REGISTRY,
    secret::{Credentials, Secret},
};

/// The key under which docker and buildah keep Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A `config.json` with all credentials of these accesses, and the names of the helpers that have others; None when there are none.
/// What stands first counts, as everywhere.
pub fn config_of(accesses: &[Access]) -> Option<Secret> {
    let (mut auths, mut helpers): (BTreeMap<String, Value>, BTreeMap<String, Value>) = Default::default();
    let mut store = Value::Null;
    for access in accesses {
        let helper = access.helper.as_ref().map(|helper| json!(helper.name));
        if access.prefix.is_empty() {
            store = if store.is_null() { helper.unwrap_or_default() } else { store };
            continue;
        }
        for key in
            keys(&access.prefix).into_iter().filter(|key| !auths.contains_key(*key) && !helpers.contains_key(*key)).collect::<Vec<_>>()
        {
            auths.extend(access.credentials.as_ref().map(|credentials| (key.to_string(), entry(credentials))));
            helpers.extend(helper.as_ref().filter(|_| access.credentials.is_none()).map(|name| (key.to_string(), name.clone())));
        }
    }
    let empty = auths.is_empty() && helpers.is_empty() && store.is_null();
    (!empty).then(|| Secret::new(json!({"auths": auths, "credHelpers": helpers, "credsStore": store}).to_string()))
}

/// docker looks for hosts alone; buildah for the longest prefix.
fn keys(prefix: &str) -> BTreeSet<&str> {
    let host = prefix.split('/').next().unwrap_or_default();
    match host {
        DEFAULT_REGISTRY | "index.docker.io" | "registry-1.docker.io" => [DOCKER_HUB].into(),
        _ => [prefix, host].into(),
    }
}

fn entry(credentials: &Credentials) -> Value {
    let password = credentials.password.expose();
    match credentials.username.as_str() {
        IDENTITY_TOKEN_USER => json!({"identitytoken": password}),
        user => json!({"auth": STANDARD.encode(format!("{user}:{password}"))}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::docker_config;

    #[test]
    fn what_is_handed_over_reads_back() {
        let text = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:a:b")},
            "registry.test/trade": {"auth": STANDARD.encode("trade:w")},
            "token.test": {"identitytoken": "idt"},
            "helped.test": {"auth": STANDARD.encode("written:w")},
        }, "credHelpers": {"helped.test": "cloud"}, "credsStore": "pass"});
        let accesses = docker_config(&text.to_string(), "x", &[]).ok().unwrap();
        let handed: Value = serde_json::from_str(config_of(&accesses).unwrap().expose()).unwrap();
        assert_eq!(handed["auths"][DOCKER_HUB], text["auths"][DOCKER_HUB]);
        assert_eq!(handed["auths"]["registry.test"], text["auths"]["registry.test/trade"]);
        assert_eq!(handed["auths"]["token.test"]["identitytoken"], "idt");
        assert_eq!((handed["credHelpers"]["helped.test"].as_str(), handed["credsStore"].as_str()), (Some("cloud"), Some("pass")));
        assert!(config_of(&[]).is_none());
    }
}

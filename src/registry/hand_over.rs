//! Credentials for other programs that read docker's `config.json`.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Access, auth::IDENTITY_TOKEN_USER};
use crate::domain::{reference::DEFAULT_REGISTRY, secret::Secret};

/// The key under which docker and buildah keep Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A `config.json` with all credentials of these accesses that are known without a helper; None when there are none. What stands first
/// counts, as everywhere.
pub fn config_of(accesses: &[Access]) -> Option<Secret> {
    let mut auths: BTreeMap<String, Value> = BTreeMap::new();
    for access in accesses {
        let Some(credentials) = access.credentials.as_ref().filter(|_| !access.prefix.is_empty()) else { continue };
        let password = credentials.password.expose();
        let entry = match credentials.username.as_str() {
            IDENTITY_TOKEN_USER => json!({"identitytoken": password}),
            user => json!({"auth": STANDARD.encode(format!("{user}:{password}"))}),
        };
        // docker looks for hosts alone; buildah for the longest prefix.
        let host = access.prefix.split('/').next().unwrap_or_default();
        let hub = matches!(host, DEFAULT_REGISTRY | "index.docker.io" | "registry-1.docker.io");
        let keys = if hub { vec![DOCKER_HUB] } else { vec![access.prefix.as_str(), host] };
        for key in keys {
            auths.entry(key.to_string()).or_insert_with(|| entry.clone());
        }
    }
    (!auths.is_empty()).then(|| Secret::new(json!({"auths": auths}).to_string()))
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
        }});
        let accesses = docker_config(&text.to_string(), "x", &[]).ok().unwrap();
        let handed: Value = serde_json::from_str(config_of(&accesses).unwrap().expose()).unwrap();
        assert_eq!(handed["auths"][DOCKER_HUB], text["auths"][DOCKER_HUB]);
        assert_eq!(handed["auths"]["registry.test"], text["auths"]["registry.test/trade"]);
        assert_eq!(handed["auths"]["token.test"]["identitytoken"], "idt");
        assert!(config_of(&[]).is_none());
    }
}

//! Which credentials and rules hold for a repository.

use std::path::PathBuf;

use crate::{
    domain::{reference::DEFAULT_REGISTRY, secret::Credentials},
    net::is_loopback,
};

/// How one registry is reached. The longest matching `prefix` counts; the first of equal ones.
#[derive(Clone)]
pub struct Access {
    /// `host[:port]`, with an optional path prefix. Empty: every registry.
    pub prefix: String,
    pub credentials: Option<Credentials>,
    /// PEM file of a CA to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// Plain http allowed (loopback always is), certificates not verified never.
    pub insecure: bool,
    /// Where the credentials come from, for messages: `registry.username`, `~/.docker/config.json`.
    pub credentials_source: String,
}

/// How the `credentials_source` of an access begins whose credentials only a helper program could give.
pub(super) const KEPT_BY_HELPER: &str = "kept by docker-credential-";

/// Who asks for a repository.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub credentials: Option<Credentials>,
    /// Where the credentials come from; without credentials, which helper would have them, or nothing.
    pub source: String,
}

impl Login {
    pub fn username(&self) -> &str {
        self.credentials.as_ref().map_or("", |credentials| &credentials.username)
    }
}

/// The login for a repository: of the longest prefix that has one.
pub(super) fn login(accesses: &[Access], registry: &str, repository: &str) -> Login {
    let mut best: Option<(&Access, usize)> = None;
    let tells = |access: &&Access| access.credentials.is_some() || access.credentials_source.starts_with(KEPT_BY_HELPER);
    for access in accesses.iter().filter(tells) {
        let Some(length) = matches(&access.prefix, registry, repository) else { continue };
        let better = match best {
            None => true,
            // An entry that has no credentials only explains why there are none.
            Some((held, held_length)) => (access.credentials.is_some(), length) > (held.credentials.is_some(), held_length),
        };
        if better {
            best = Some((access, length));
        }
    }
    best.map(|(access, _)| Login { credentials: access.credentials.clone(), source: access.credentials_source.clone() }).unwrap_or_default()
}

/// Whether plain http may be spoken with a registry.
pub(super) fn plain_http_allowed(accesses: &[Access], registry: &str) -> bool {
    let named = |access: &Access| canonical(access.prefix.split('/').next().unwrap_or_default()) == canonical(registry);
    is_loopback(host_of(registry)) || accesses.iter().any(|access| access.insecure && named(access))
}

/// Hosts for which there are credentials: their owner trusts them.
pub(super) fn trusted_hosts(accesses: &[Access]) -> Vec<String> {
    let with_credentials = accesses.iter().filter(|access| access.credentials.is_some());
    with_credentials.filter_map(|access| access.prefix.split('/').next()).filter(|host| !host.is_empty()).map(str::to_string).collect()
}

/// Docker Hub goes by several names; one of them is used in comparisons.
pub(super) fn canonical(registry: &str) -> &str {
    match registry {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DEFAULT_REGISTRY,
        other => other,
    }
}

/// Host and port where a registry's API is served.
pub(super) fn endpoint(registry: &str) -> &str {
    match canonical(registry) {
        DEFAULT_REGISTRY => "registry-1.docker.io",
        other => other,
    }
}

/// `host[:port]` without the port.
fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    }
}

/// How much of the name the prefix covers; None when it is another registry or path.
fn matches(prefix: &str, registry: &str, repository: &str) -> Option<usize> {
    if prefix.is_empty() {
        return Some(0);
    }
    let (host, path) = prefix.trim_end_matches('/').split_once('/').unwrap_or((prefix.trim_end_matches('/'), ""));
    let below = path.is_empty() || repository == path || repository.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    (canonical(host).eq_ignore_ascii_case(canonical(registry)) && below).then(|| 1 + path.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    fn access(prefix: &str, username: &str) -> Access {
        let credentials = (!username.is_empty()).then(|| Credentials { username: username.to_string(), password: Secret::new("word") });
        let credentials_source = format!("{KEPT_BY_HELPER}x for {prefix:?}");
        Access { prefix: prefix.to_string(), credentials, ca: None, insecure: false, credentials_source }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let accesses = [
            access("", ""),
            access("registry.test", "all"),
            access("registry.test/trade", "trade"),
            access("registry.test/trade", "second"),
            access("docker.io", "hub"),
        ];
        for (registry, repository, username) in [
            ("registry.test", "other/app", "all"),
            ("registry.test", "trade/app", "trade"),
            ("registry.test", "trade", "trade"),
            ("registry.test", "trader/app", "all"),
            ("registry.test:5000", "trade/app", ""),
            ("index.docker.io", "library/x", "hub"),
        ] {
            assert_eq!(login(&accesses, registry, repository).username(), username, "{registry}/{repository}");
        }
        assert_eq!(login(&accesses, "other.test", "x").source, "kept by docker-credential-x for \"\"");
        let without = Access { credentials_source: "registry.username".to_string(), ..access("other.test", "") };
        assert_eq!(login(&[without], "other.test", "x").source, "");
    }

    #[test]
    fn plain_http_for_loopback_and_where_it_is_allowed() {
        let accesses = [Access { insecure: true, ..access("plain.test:5000/trade", "") }];
        for (registry, allowed) in [
            ("127.0.0.1:5000", true),
            ("localhost", true),
            ("[::1]:5000", true),
            ("plain.test:5000", true),
            ("plain.test", false),
            ("docker.io", false),
        ] {
            assert_eq!(plain_http_allowed(&accesses, registry), allowed, "{registry}");
        }
    }

    #[test]
    fn docker_hub_is_served_elsewhere() {
        assert_eq!(endpoint("docker.io"), "registry-1.docker.io");
        assert_eq!(endpoint("index.docker.io"), "registry-1.docker.io");
        assert_eq!(endpoint("registry.test:5000"), "registry.test:5000");
    }
}

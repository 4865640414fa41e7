//! Which credentials and rules hold for a repository.

use std::path::PathBuf;

use super::helper::{Answers, Helper, Told};
use crate::{
    domain::{reference::DEFAULT_REGISTRY, secret::Credentials},
    net::{HostTls, Identity, is_loopback},
};

/// How one registry is reached. The longest matching `prefix` counts; the first of equal ones.
#[derive(Clone, Default)]
pub struct Access {
    /// `host[:port]`, with an optional path prefix. Empty: every registry.
    pub prefix: String,
    pub credentials: Option<Credentials>,
    /// Has the credentials instead; asked when the registry is first needed.
    pub helper: Option<Helper>,
    /// PEM file of a CA to trust beside the system's, for this registry alone.
    pub ca: Option<PathBuf>,
    /// Our certificate, for a registry that asks for one.
    pub identity: Option<Identity>,
    /// Plain http allowed (loopback always is), certificates not verified never.
    pub insecure: bool,
    /// `host[:port]` of a server that is trusted to give this registry's tokens, though it may be of another domain.
    pub token_server: Option<String>,
    /// Where the credentials come from, for messages: `registry.username`, `~/.docker/config.json`.
    pub credentials_source: String,
}

/// Who asks for a repository.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub credentials: Option<Credentials>,
    /// Where the credentials come from; without credentials nothing, or which helper should have given them, and why it did not.
    pub source: String,
}

impl Login {
    pub fn username(&self) -> &str {
        self.credentials.as_ref().map_or("", |credentials| &credentials.username)
    }
}

/// The login for a repository: of the longest prefix that has one. A helper is a program, and is run only when it is its turn.
pub(super) async fn login(accesses: &[Access], helpers: &Answers, registry: &str, repository: &str) -> Login {
    let mut matching: Vec<(&Access, usize)> =
        accesses.iter().filter_map(|access| Some((access, matches(&access.prefix, registry, repository)?))).collect();
    // Stable: the first of equal ones stays the first.
    matching.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    let mut silent = String::new();
    for (access, _) in matching {
        if let Some(credentials) = &access.credentials {
            return Login { credentials: Some(credentials.clone()), source: access.credentials_source.clone() };
        }
        let Some(helper) = &access.helper else { continue };
        let source = format!("{} ({})", helper.program(), access.credentials_source);
        let why = match helpers.get(helper, registry).await {
            Told::Credentials(credentials) => return Login { credentials: Some(credentials), source },
            Told::Nothing => "has none for it".to_string(),
            Told::Failed(why) => why,
        };
        tracing::debug!("{source} {why}");
        if silent.is_empty() {
            silent = format!("{source} {why}");
        }
    }
    Login { credentials: None, source: silent }
}

/// What TLS with an access's registry needs beside the usual.
pub(super) fn tls(access: &Access) -> Option<HostTls> {
    let special = access.ca.is_some() || access.identity.is_some();
    let host = endpoint(access.prefix.split('/').next().unwrap_or_default()).to_string();
    special.then(|| HostTls { host, ca: access.ca.iter().cloned().collect(), identity: access.identity.clone() })
}

/// Whether plain http may be spoken with a registry.
pub(super) fn plain_http_allowed(accesses: &[Access], registry: &str) -> bool {
    is_loopback(host_of(registry)) || accesses.iter().any(|access| access.insecure && is_of(access, registry))
}

/// Hosts that may give tokens for a registry: their owner trusts them, for there are credentials for them, or they are named.
pub(super) fn trusted_hosts(accesses: &[Access], registry: &str) -> Vec<String> {
    let with_credentials = accesses.iter().filter(|access| access.credentials.is_some() || access.helper.is_some());
    let named = accesses.iter().filter(|access| is_of(access, registry)).filter_map(|access| access.token_server.as_deref());
    let hosts = with_credentials.filter_map(|access| access.prefix.split('/').next()).chain(named);
    hosts.filter(|host| !host.is_empty()).map(str::to_string).collect()
}

fn is_of(access: &Access, registry: &str) -> bool {
    canonical(access.prefix.split('/').next().unwrap_or_default()) == canonical(registry)
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
        Access { prefix: prefix.to_string(), credentials, ..Access::default() }
    }

    async fn found(accesses: &[Access], registry: &str, repository: &str) -> Login {
        login(accesses, &Answers::default(), registry, repository).await
    }

    #[tokio::test]
    async fn the_longest_prefix_counts() {
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
            assert_eq!(found(&accesses, registry, repository).await.username(), username, "{registry}/{repository}");
        }
        assert_eq!(found(&accesses, "other.test", "x").await.source, "");
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_says_so_and_others_are_asked() {
        let helped = |prefix: &str| Access {
            prefix: prefix.to_string(),
            helper: Some(Helper::new("no-such", &[])),
            credentials_source: "config.json".to_string(),
            ..Access::default()
        };
        let login = found(&[helped("registry.test")], "registry.test", "x").await;
        assert!(login.credentials.is_none());
        assert!(login.source.starts_with("docker-credential-no-such (config.json) cannot be started: "), "{}", login.source);
        let accesses = [helped("registry.test"), access("registry.test", "written"), helped("")];
        assert_eq!(found(&accesses, "registry.test", "x").await.username(), "written");
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
    fn a_token_server_is_trusted_for_the_registry_that_it_is_named_for() {
        let named = Access { token_server: Some("gitlab.lan".to_string()), ..access("registry.test:5000", "") };
        let accesses = [named, access("", "nobody's"), access("other.test/team", "me")];
        assert_eq!(trusted_hosts(&accesses, "registry.test:5000"), ["other.test", "gitlab.lan"]);
        assert_eq!(trusted_hosts(&accesses, "other.test"), ["other.test"]);
    }

    #[test]
    fn docker_hub_is_served_elsewhere() {
        assert_eq!(endpoint("docker.io"), "registry-1.docker.io");
        assert_eq!(endpoint("index.docker.io"), "registry-1.docker.io");
        assert_eq!(endpoint("registry.test:5000"), "registry.test:5000");
    }
}

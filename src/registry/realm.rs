//! Where a registry may send its clients for a token. A registry, or who sits in between, names the realm; the credentials go there,
//! so the name is not believed (CVE-2020-15157 and its followers).

use url::{Host, Url};

use crate::net::{display_url, is_local_host, is_loopback};

/// What is known about the registry that named the realm.
pub(super) struct Asker<'a> {
    /// The registry's own URL.
    pub registry: &'a Url,
    /// Plain http is allowed for this registry.
    pub insecure: bool,
    /// Credentials would be sent along.
    pub with_credentials: bool,
    /// Hosts (`host[:port]`) for which settings hold credentials: their owner trusts them.
    pub trusted: &'a [String],
}

/// Second-level labels under which a country's registry sells names, as in `co.uk`.
const SECOND_LEVEL: [&str; 16] = ["ac", "co", "com", "edu", "go", "gob", "gov", "gr", "ltd", "mil", "ne", "net", "nom", "or", "org", "plc"];

/// The realm's URL when a token may be asked for there, else why not.
pub(super) fn check(realm: &str, asker: &Asker) -> Result<Url, String> {
    let url = Url::parse(realm).map_err(|_| "it is no URL".to_string())?;
    let shown = display_url(&url);
    let Some(host) = url.host() else { return Err(format!("{shown} has no host")) };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{shown} comes with user info"));
    }
    let same_host = asker.registry.host() == Some(host.clone());
    if is_local_host(&url) && !same_host {
        return Err(format!("{shown} is a link-local or metadata address"));
    }
    let loopback = is_loopback(&host.to_string());
    match url.scheme() {
        "https" => {}
        "http" if same_host && (loopback || asker.insecure) => {}
        // Where the registry may speak it, so may the server beside it that gives the tokens.
        "http" if asker.insecure && belongs(&url, asker) => {}
        _ => return Err(format!("{shown} is not https")),
    }
    if loopback && !same_host {
        return Err(format!("{shown} is this machine, and the registry is not"));
    }
    if asker.with_credentials && !belongs(&url, asker) {
        return Err(format!("{shown} belongs to another domain than the registry, and the credentials are not sent there"));
    }
    Ok(url)
}

/// Whether it is the registry's own host, one of its domain, or one that is trusted.
pub(super) fn belongs(url: &Url, asker: &Asker) -> bool {
    let trusted = || asker.trusted.iter().any(|trusted| is_host(url, trusted));
    url.host() == asker.registry.host() || same_domain(asker.registry, url) || trusted()
}

fn is_host(url: &Url, trusted: &str) -> bool {
    match Url::parse(&format!("{}://{trusted}/", url.scheme())) {
        Ok(trusted) => trusted.host() == url.host() && trusted.port_or_known_default() == url.port_or_known_default(),
        Err(_) => false,
    }
}

/// Whether both are names below the same registrable domain. Approximated without the public suffix list: the last two labels, three
/// under a country's second level.
fn same_domain(one: &Url, other: &Url) -> bool {
    match (one.host(), other.host()) {
        (Some(Host::Domain(one)), Some(Host::Domain(other))) => match (registrable(one), registrable(other)) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        },
        _ => false,
    }
}

fn registrable(host: &str) -> Option<String> {
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let count = labels.len();
    let country = count >= 2 && labels[count - 1].len() == 2 && SECOND_LEVEL.contains(&labels[count - 2]);
    let needed = if country { 3 } else { 2 };
    (count >= needed).then(|| labels[count - needed..].join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(registry: &str, realm: &str, insecure: bool, with_credentials: bool) -> Result<Url, String> {
        let registry = Url::parse(registry).unwrap();
        check(realm, &Asker { registry: &registry, insecure, with_credentials, trusted: &["login.other.test".to_string()] })
    }

    #[test]
    fn the_usual_realms_are_allowed() {
        for (registry, realm) in [
            ("https://registry-1.docker.io/", "https://auth.docker.io/token"),
            ("https://registry.gitlab.test/", "https://gitlab.test/jwt/auth"),
            ("https://harbor.test:8443/", "https://harbor.test/service/token"),
            ("https://registry.shop.co.uk/", "https://auth.shop.co.uk/token"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:3000/v2/token"),
            ("https://localhost:5000/", "http://localhost:5001/token"),
            ("https://registry.test/", "https://login.other.test/token"),
        ] {
            assert!(verdict(registry, realm, false, true).is_ok(), "{registry} → {realm}: {:?}", verdict(registry, realm, false, true));
        }
        for realm in ["http://registry.test:5001/token", "http://gitlab.registry.test/jwt/auth", "http://login.other.test/token"] {
            assert!(verdict("http://registry.test:5000/", realm, true, true).is_ok(), "{realm}");
            assert!(verdict("https://registry.test:5000/", realm, false, true).is_err(), "{realm}");
        }
        assert!(verdict("http://registry.lan:5000/", "http://gitlab.lan/jwt/auth", true, true).is_err(), "a domain of one label");
    }

    #[test]
    fn foreign_realms_get_no_credentials() {
        for (realm, why) in [
            ("https://evil.test/token", "another domain"),
            ("https://registry.corp.test.evil.test/token", "another domain"),
            ("https://evilcorp.test/token", "another domain"),
            ("http://registry.corp.test/token", "not https"),
            ("http://auth.corp.test/token", "not https"),
            ("ftp://registry.corp.test/token", "not https"),
            ("https://169.254.169.254/latest", "metadata"),
            ("https://[fe80::1]/token", "link-local"),
            ("https://metadata.google.internal/token", "metadata"),
            ("https://127.0.0.1/token", "this machine"),
            ("https://10.0.0.7/token", "another domain"),
            ("https://registry.corp.test@evil.test/token", "user info"),
            ("https://login.other.test:8443/token", "another domain"),
            ("token", "no URL"),
            ("data:text/plain,x", "no host"),
        ] {
            let refused = verdict("https://registry.corp.test/", realm, false, true).unwrap_err();
            assert!(refused.contains(why), "{realm}: {refused}");
        }
        for (registry, realm) in [
            ("https://a.co.uk/", "https://b.co.uk/token"),
            ("https://registry/", "https://auth/token"),
            ("https://10.0.0.1/", "https://10.0.0.2/token"),
            ("https://a.com.cn/", "https://b.com.cn/token"),
        ] {
            assert!(verdict(registry, realm, true, true).is_err(), "{registry} → {realm}");
        }
    }

    #[test]
    fn what_is_the_registrys_belongs_to_it() {
        let registry = Url::parse("https://registry.corp.test:5000/").unwrap();
        let asker =
            Asker { registry: &registry, insecure: false, with_credentials: false, trusted: &["login.other.test:8443".to_string()] };
        for (url, ours) in [
            ("https://registry.corp.test/token", true),
            ("https://auth.corp.test/token", true),
            ("https://login.other.test:8443/token", true),
            ("https://login.other.test/token", false),
            ("https://tokens.test/token", false),
        ] {
            assert_eq!(belongs(&Url::parse(url).unwrap(), &asker), ours, "{url}");
        }
    }

    #[test]
    fn without_credentials_other_domains_may_be_asked() {
        assert!(verdict("https://registry.corp.test/", "https://tokens.test/t", false, false).is_ok());
        assert!(verdict("https://registry.corp.test/", "http://tokens.test/t", false, false).is_err());
        assert!(verdict("https://registry.corp.test/", "https://169.254.169.254/t", false, false).is_err());
        assert!(verdict("https://registry.corp.test/", "https://localhost/t", false, false).is_err());
    }
}

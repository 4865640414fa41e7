//! Which hosts are the own machine, and which must never be asked because of a foreign server's word.

use std::net::IpAddr;

use url::{Host, Url};

/// Names under which clouds serve their instances' credentials.
const METADATA_NAMES: [&str; 3] = ["metadata", "metadata.google.internal", "instance-data"];

/// Whether `host` (with or without brackets) is this machine.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
    }
}

/// Whether a foreign server that names this host wants to reach what only this machine reaches: link-local and metadata addresses.
pub fn is_local_host(url: &Url) -> bool {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical(),
        Some(Host::Domain(name)) => return METADATA_NAMES.contains(&name.trim_end_matches('.').to_ascii_lowercase().as_str()),
        None => return true,
    };
    match address {
        // 100.100.100.200 is Alibaba Cloud's metadata service.
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast() || v4.octets() == [100, 100, 100, 200],
        // fe80::/10, and fd00:ec2::254, the metadata service of EC2.
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.segments()[..2] == [0xfd00, 0x0ec2],
    }
}

/// Whether a server at `from` that names `to` wants to reach what only this machine reaches, and is not there itself.
pub fn leads_inside(from: &Url, to: &Url) -> bool {
    let loopback = |url: &Url| url.host_str().is_some_and(is_loopback);
    from.host() != to.host() && (is_local_host(to) || (loopback(to) && !loopback(from)))
}

/// Same scheme, host and port: the only place where credentials may follow.
pub fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        for host in ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "[::1]", "::1", "a.localhost", "::ffff:127.0.0.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.test", "registry.test", "128.0.0.1", "notlocalhost"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn metadata_addresses() {
        for url in [
            "http://169.254.169.254/",
            "https://[fe80::1]/x",
            "https://[::ffff:169.254.169.254]/",
            "https://metadata.google.internal/",
            "http://0xa9fea9fe/",
            "http://0.0.0.0/",
            "http://[fd00:ec2::254]/",
        ] {
            assert!(is_local_host(&Url::parse(url).unwrap()), "{url}");
        }
        assert!(!is_local_host(&Url::parse("https://10.0.0.1/").unwrap()));
        assert!(!is_local_host(&Url::parse("https://auth.test/").unwrap()));
    }

    #[test]
    fn a_server_leads_to_its_own_machine_alone() {
        let inside = |from: &str, to: &str| leads_inside(&Url::parse(from).unwrap(), &Url::parse(to).unwrap());
        for to in ["https://127.0.0.1/x", "https://localhost:6443/", "https://[::1]/", "https://169.254.169.254/", "http://0.0.0.0/"] {
            assert!(inside("https://registry.test/", to), "{to}");
        }
        assert!(!inside("https://registry.test/", "https://10.0.0.1/"));
        assert!(!inside("http://127.0.0.1:5000/", "http://localhost:5001/"));
        assert!(inside("http://127.0.0.1:5000/", "http://169.254.169.254/"));
        assert!(!inside("https://169.254.1.1/", "https://169.254.1.1/y"));
    }

    #[test]
    fn origins() {
        let same = |a: &str, b: &str| same_origin(&Url::parse(a).unwrap(), &Url::parse(b).unwrap());
        assert!(same("https://a.test/x", "https://a.test:443/y"));
        assert!(!same("https://a.test/", "http://a.test/"));
        assert!(!same("https://a.test/", "https://a.test:8443/"));
        assert!(!same("https://a.test/", "https://b.a.test/"));
    }
}

//! Where ZooKeeper is: `zookeeper://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/PATH`.

use crate::domain::{
    problem::{Code, Problem, Result},
    secret::Secret,
};

const SCHEME: &str = "zookeeper://";
/// Below which node ours are, when the address names none.
const ROOT: &str = "/shipway";
/// ZooKeeper's own nodes.
const RESERVED: &str = "/zookeeper";

/// The servers, what everything of ours is below, and who we are.
#[derive(Clone)]
pub struct Address {
    /// `HOST:PORT,HOST:PORT`.
    pub hosts: String,
    /// An absolute path without a slash at its end.
    pub root: String,
    /// `USER:PASSWORD`, for the scheme `digest`.
    pub digest: Option<Secret>,
}

impl Address {
    /// Fails with `setting-invalid`; the message never holds the address, which may hold a password.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix(SCHEME).ok_or_else(|| invalid("it is neither kubernetes nor zookeeper://HOST:PORT/PATH"))?;
        let (before, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (digest, hosts) = match before.rsplit_once('@') {
            Some((digest, hosts)) => (Some(digest), hosts),
            None => (None, before),
        };
        if digest.is_some_and(|digest| digest.split_once(':').is_none_or(|(user, password)| user.is_empty() || password.is_empty())) {
            return Err(invalid("before the @ it needs USER:PASSWORD"));
        }
        if hosts.is_empty() || !hosts.split(',').all(is_host) {
            return Err(invalid("its hosts are no HOST:PORT, with commas between them"));
        }
        let root = path.trim_end_matches('/');
        let part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        if !root.is_empty() && !root[1..].split('/').all(part) {
            return Err(invalid("its path is no path of ZooKeeper"));
        }
        if root == RESERVED || root.starts_with("/zookeeper/") {
            return Err(invalid("what is below /zookeeper belongs to ZooKeeper itself"));
        }
        let root = if root.is_empty() { ROOT } else { root };
        Ok(Address { hosts: hosts.to_string(), root: root.to_string(), digest: digest.map(Secret::new) })
    }
}

/// A name or address without a port is at port 2181.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    !name.is_empty() && name.chars().all(legal) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn invalid(why: &str) -> Problem {
    Problem::new(Code::SettingInvalid, format!("center.url: {why}")).hint("write it like zookeeper://h1:2181,h2:2181/shipway")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_hosts_a_root_and_who_we_are() {
        let read =
            |url: &str| Address::parse(url).map(|found| (found.hosts, found.root, found.digest.map(|digest| digest.expose().to_string())));
        let some = |hosts: &str, root: &str, digest: Option<&str>| Some((hosts.to_string(), root.to_string(), digest.map(String::from)));
        assert_eq!(read("zookeeper://h1").ok(), some("h1", "/shipway", None));
        assert_eq!(read("zookeeper://h1:2181,h2:2182/").ok(), some("h1:2181,h2:2182", "/shipway", None));
        assert_eq!(read("zookeeper://ada:p@ss:w@h1:1,h2/a/b").ok(), some("h1:1,h2", "/a/b", Some("ada:p@ss:w")));
        assert_eq!(read("zookeeper://[::1]:2181").ok(), some("[::1]:2181", "/shipway", None));
        for bad in [
            "zookeeper://",
            "http://h1",
            "zookeeper://h1:x",
            "zookeeper://h1:0",
            "zookeeper://h1,,h2",
            "zookeeper://h1/a//b",
            "zookeeper://h1/../x",
            "zookeeper://h1/zookeeper",
            "zookeeper://ada@h1",
            "zookeeper://:secret@h1",
            "zookeeper://h 1",
            "consul://h1",
        ] {
            let problem = Address::parse(bad).err().unwrap();
            assert!(problem.code == Code::SettingInvalid && !problem.message.contains("secret"), "{bad}: {}", problem.message);
        }
    }
}

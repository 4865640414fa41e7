//! The configuration centre on a real ZooKeeper: what is kept there, who holds what, and what happens when it fails.

mod claims;
mod config;
mod watch;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    shipway::{Shipway, shipway},
    zookeeper::Zookeeper,
};

/// A server, and a folder in which commands leave their marks. There is no cluster.
struct Site {
    server: Zookeeper,
    folder: tempfile::TempDir,
    ttl: &'static str,
}

impl Site {
    /// With a TTL that no busy machine misses.
    fn new() -> Self {
        Site { server: Zookeeper::start(), folder: tempfile::tempdir().unwrap(), ttl: "30s" }
    }

    /// With a TTL that is worth waiting for.
    fn short() -> Self {
        Site { ttl: "8s", ..Site::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, content).unwrap();
    }

    fn through(&self, url: &str, person: &str) -> Shipway {
        let run = shipway(self.folder.path()).own_group().env("SHIPWAY_CENTER_URL", url).env("USER", person).env("HOSTNAME", "test");
        run.env("SHIPWAY_KUBERNETES_NAMESPACE", "trade").env("SHIPWAY_LOCK_TTL", self.ttl).env("SHIPWAY_APP", "web")
    }

    fn shipway(&self, person: &str) -> Shipway {
        self.through(&self.server.url(), person)
    }

    /// Holds the lock `nightly` with a script.
    fn lock(&self, person: &str, script: &str) -> Shipway {
        self.shipway(person).args(["lock", "nightly", "--", "sh", "-c", script])
    }
}

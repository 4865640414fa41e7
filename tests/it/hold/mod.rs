//! `lock` and `lead` on a real API server: who holds what, and what happens to a command whose watchers or network fail.

mod faults;
mod lead;
mod lock;
mod soak;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api as Objects;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    block_on,
    lab::{Namespace, lab},
    shipway::{Shipway, shipway},
};

/// A namespace, and a folder in which commands leave their marks.
struct Site {
    namespace: Namespace,
    folder: tempfile::TempDir,
    ttl: &'static str,
}

impl Site {
    /// With a TTL that no busy machine misses.
    fn new(test: &str) -> Self {
        Site { namespace: lab().namespace(test), folder: tempfile::tempdir().unwrap(), ttl: "30s" }
    }

    /// With a TTL that is worth waiting for.
    fn short(test: &str) -> Self {
        Site { ttl: "8s", ..Site::new(test) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn mark(&self, name: &str) {
        fs::write(self.path(name), "").unwrap();
    }

    /// Shipway with a kubeconfig of its own.
    fn through(&self, kubeconfig: &Path, holder: &str) -> Shipway {
        let run = shipway(self.folder.path()).own_group().env("KUBECONFIG", kubeconfig).env("USER", holder).env("HOSTNAME", "test");
        run.env("SHIPWAY_KUBERNETES_NAMESPACE", &self.namespace.name).env("SHIPWAY_LOCK_TTL", self.ttl)
    }

    fn shipway(&self, holder: &str) -> Shipway {
        self.through(&self.namespace.kubeconfig, holder)
    }

    /// Holds the lock `nightly` with a script.
    fn lock(&self, holder: &str, script: &str) -> Shipway {
        self.shipway(holder).args(["lock", "nightly", "--", "sh", "-c", script])
    }

    fn lease(&self, name: &str) -> Option<Lease> {
        block_on(async { self.leases().await.get_opt(name).await.unwrap() })
    }

    async fn leases(&self) -> Objects<Lease> {
        Objects::namespaced(lab().client().await, &self.namespace.name)
    }

    fn holder(&self, name: &str) -> Option<String> {
        self.lease(name)?.spec?.holder_identity
    }
}

/// A command that stays until the file `go` is there, and an orphan in a session of its own that ignores SIGTERM; both leave their ids.
pub(crate) const FAMILY: &str = "(setsid sh -c 'trap \"\" TERM; echo $$ >orphan; while :; do sleep 0.05; done' &) ; \
     echo $$ >command; while [ ! -e orphan ]; do sleep 0.05; done; echo token $SHIPWAY_FENCING_TOKEN; echo begun; \
     while [ ! -e go ]; do sleep 0.05; done; exit 7";

/// A command that fails when one of [`FAMILY`] still lives when it is started; a zombie has no command line.
pub(crate) const ALONE: &str = "for id in $(cat command orphan); do \
       [ -z \"$(tr -d '\\0' </proc/$id/cmdline 2>/dev/null)\" ] || { echo $id still runs; exit 3; }; done; \
     echo alone with token $SHIPWAY_FENCING_TOKEN";

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// The process that keeps the claim of this guard: its child that is the same program.
pub(crate) fn keeper(guard: u32) -> u32 {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let mut ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let found = ids.find(|id| parent(*id) == Some(guard) && environment(*id).contains("_SHIPWAY_KEEPER=1"));
        if let Some(keeper) = found {
            return keeper;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("process {guard} has no keeper");
}

fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

fn environment(id: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{id}/environ")).unwrap_or_default()).into_owned()
}

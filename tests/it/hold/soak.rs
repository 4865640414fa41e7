//! Random faults among three replicas that stand for one lead: never do two of their commands run at once.
//! `LEAD_ROUNDS` (500) faults with the choices of `LEAD_SEED`.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{keeper, signal};
use crate::support::{
    api::Api,
    lab::{Namespace, lab},
    shipway::{Running, shipway},
    zookeeper::{Line, Zookeeper},
};

/// Looks whether a command of one of the leaders before it still lives when it begins; any two that run together have one that began later. A process
/// is who it was as long as it has the same number and began at the same time; a zombie has no command line.
const LEADER: &str = "began() { sed 's/.*) //' /proc/$1/stat 2>/dev/null | cut -d' ' -f20; }; \
     tail -n 5 leaders | while read id began name; do \
       [ \"$(began $id)\" != $began ] || [ -z \"$(tr -d '\\0' </proc/$id/cmdline 2>/dev/null)\" ] || echo $id of $name still runs >>together; \
     done; \
     echo $$ $(began $$) $USER >>leaders; while :; do sleep 0.2; done";

const NAMES: [&str; 3] = ["ada", "bob", "eve"];

/// What happens to a leader. Both of its watchers at once is left out: then nobody is left to end the command (see the how-to).
#[derive(Debug, Clone, Copy)]
enum Fault {
    PoliteEnd,
    GuardKilled,
    KeeperKilled,
    KeeperStopped,
    CommandKilled,
    NetworkCut,
}

const FAULTS: [Fault; 6] =
    [Fault::PoliteEnd, Fault::GuardKilled, Fault::KeeperKilled, Fault::KeeperStopped, Fault::CommandKilled, Fault::NetworkCut];

/// Who keeps the lead.
enum Backend {
    Kubernetes(Namespace),
    Zookeeper(Zookeeper),
}

/// A replica's own way there.
enum Way {
    Kubernetes(Api),
    Zookeeper(Line),
}

impl Way {
    fn cut(&self) {
        match self {
            Way::Kubernetes(api) => api.down(true),
            Way::Zookeeper(line) => line.drop_all(),
        }
    }
}

struct Replica {
    way: Way,
    running: Running,
}

impl Replica {
    fn start(backend: &Backend, folder: &Path, name: &str) -> Self {
        let run = shipway(folder).own_group().env("USER", name).env("HOSTNAME", "test").env("SHIPWAY_LOCK_TTL", "8s");
        let (way, run) = match backend {
            Backend::Kubernetes(namespace) => {
                let api = Api::before(&namespace.kubeconfig);
                let run = run.env("KUBECONFIG", &api.kubeconfig).env("SHIPWAY_KUBERNETES_NAMESPACE", &namespace.name);
                (Way::Kubernetes(api), run)
            }
            Backend::Zookeeper(server) => {
                let line = Line::before(server.port);
                let run = run.env("SHIPWAY_CENTER_URL", line.url()).env("SHIPWAY_KUBERNETES_NAMESPACE", "trade");
                (Way::Zookeeper(line), run)
            }
        };
        let running = run.args(["lead", "scheduler", "--", "sh", "-c", LEADER]).limit(Duration::from_secs(36_000)).spawn();
        Replica { way, running }
    }
}

/// The commands that ever led, and whose they were.
fn leaders(folder: &Path) -> Vec<(u32, String)> {
    let text = fs::read_to_string(folder.join("leaders")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let command = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.parse().ok()?, words.next_back()?.to_string()))
    };
    whole.lines().map(|line| command(line).unwrap()).collect()
}

fn wait_for_leaders(folder: &Path, count: usize, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while leaders(folder).len() < count {
        assert!(Instant::now() < deadline, "nobody leads after {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn soak(backend: &Backend) {
    let (rounds, mut seed) = (number("LEAD_ROUNDS", 500), number("LEAD_SEED", 1));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("leaders"), "").unwrap();
    let mut replicas: Vec<Replica> = NAMES.iter().map(|name| Replica::start(backend, folder, name)).collect();
    wait_for_leaders(folder, 1, "the start");
    let mut figures: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for round in 1..=rounds {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let fault = FAULTS[(seed >> 33) as usize % FAULTS.len()];
        let led = leaders(folder);
        let (command, name) = led.last().unwrap();
        let at = NAMES.iter().position(|known| known == name).unwrap();
        let begun = Instant::now();
        let guard = replicas[at].running.id();
        match fault {
            Fault::PoliteEnd => replicas[at].running.terminate(),
            Fault::GuardKilled => replicas[at].running.kill(),
            Fault::KeeperKilled => signal(keeper(guard), Signal::KILL),
            Fault::KeeperStopped => signal(keeper(guard), Signal::STOP),
            Fault::CommandKilled => signal(*command, Signal::KILL),
            Fault::NetworkCut => replicas[at].way.cut(),
        }
        wait_for_leaders(folder, led.len() + 1, &format!("{fault:?}"));
        println!("round {round}: {fault:?}, led again after {:.2?}", begun.elapsed());
        figures.entry(format!("{fault:?}")).or_default().push(begun.elapsed());
        let together = fs::read_to_string(folder.join("together")).unwrap_or_default();
        assert!(together.is_empty(), "round {round}, {fault:?}: two ran at once: {together}");
        let old = std::mem::replace(&mut replicas[at], Replica::start(backend, folder, NAMES[at]));
        old.running.wait();
    }
    for (fault, mut took) in figures {
        took.sort_unstable();
        println!("{fault}: {} times, median {:.2?}, longest {:.2?}", took.len(), took[took.len() / 2], took[took.len() - 1]);
    }
    for replica in replicas {
        replica.running.terminate();
        replica.running.wait();
    }
}

#[test]
#[ignore = "takes an hour; make soak-lead"]
fn never_two_at_once() {
    soak(&Backend::Kubernetes(lab().namespace("lead soak")));
}

#[test]
#[ignore = "takes an hour; make soak-lead"]
fn never_two_at_once_on_zookeeper() {
    soak(&Backend::Zookeeper(Zookeeper::start()));
}

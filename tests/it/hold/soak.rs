//! Random faults among three replicas that stand for one lead: never do two of their commands run at once.
//! `LEAD_ROUNDS` (500) faults with the choices of `LEAD_SEED`.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{Site, keeper, signal};
use crate::support::{api::Api, shipway::Running};

/// Looks whether a command of an earlier leader still lives when it begins; any two that run together have one that began later.
const LEADER: &str = "for id in $(cat leaders 2>/dev/null); do \
       [ -z \"$(tr -d '\\0' </proc/$id/cmdline 2>/dev/null)\" ] || echo $id still runs >>together; done; \
     echo $$ >>leaders; while :; do sleep 0.05; done";

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

struct Replica {
    api: Api,
    running: Running,
}

impl Replica {
    fn start(site: &Site, name: &str) -> Self {
        let api = Api::before(&site.namespace.kubeconfig);
        let running = site
            .through(&api.kubeconfig, name)
            .args(["lead", "scheduler", "--", "sh", "-c", LEADER])
            .limit(Duration::from_secs(36_000))
            .spawn();
        Replica { api, running }
    }
}

/// The commands that ever led, and whose holder's name the Lease has.
fn leaders(site: &Site) -> Vec<u32> {
    let text = fs::read_to_string(site.path("leaders")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn wait_for_leaders(site: &Site, count: usize, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while leaders(site).len() < count {
        assert!(Instant::now() < deadline, "nobody leads after {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
#[ignore = "takes an hour; make soak-lead"]
fn never_two_at_once() {
    let (rounds, mut seed) = (number("LEAD_ROUNDS", 500), number("LEAD_SEED", 1));
    let site = Site::short("lead soak");
    let mut replicas: Vec<Replica> = NAMES.iter().map(|name| Replica::start(&site, name)).collect();
    wait_for_leaders(&site, 1, "the start");
    for round in 1..=rounds {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let fault = FAULTS[(seed >> 33) as usize % FAULTS.len()];
        let led = leaders(&site);
        let holder = site.holder("shipway-lead.scheduler").unwrap();
        let at = NAMES.iter().position(|name| holder == format!("{name}@test")).unwrap();
        let begun = Instant::now();
        let guard = replicas[at].running.id();
        match fault {
            Fault::PoliteEnd => replicas[at].running.terminate(),
            Fault::GuardKilled => replicas[at].running.kill(),
            Fault::KeeperKilled => signal(keeper(guard), Signal::KILL),
            Fault::KeeperStopped => signal(keeper(guard), Signal::STOP),
            Fault::CommandKilled => signal(*led.last().unwrap(), Signal::KILL),
            Fault::NetworkCut => replicas[at].api.down(true),
        }
        wait_for_leaders(&site, led.len() + 1, &format!("{fault:?}"));
        println!("round {round}: {fault:?}, led again after {:.1?}", begun.elapsed());
        let together = fs::read_to_string(site.path("together")).unwrap_or_default();
        assert!(together.is_empty(), "round {round}, {fault:?}: two ran at once: {together}");
        let old = std::mem::replace(&mut replicas[at], Replica::start(&site, NAMES[at]));
        old.running.wait();
    }
    for replica in replicas {
        replica.running.terminate();
        replica.running.wait();
    }
}

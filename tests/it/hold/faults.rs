//! Whatever fails, the command of the one is gone before the command of the next begins.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use rustix::process::Signal;

use super::{ALONE, FAMILY, Site, keeper, signal};
use crate::support::{api::Api, clock::Clock, shipway::Running};

const LOST: i32 = 51;

/// Somebody who waits for the lock, and fails when anything of the first holder still runs when it is had.
fn next_in_line(site: &Site) -> Running {
    let mut next = site.lock("bob", ALONE).spawn();
    next.wait_for("held by ada@test");
    next
}

fn holding(site: &Site) -> Running {
    let mut first = site.lock("ada", FAMILY).spawn();
    first.wait_for("token 1\n");
    first
}

#[test]
fn a_network_that_is_cut() {
    let site = Site::short("hold cut");
    let api = Api::before(&site.namespace.kubeconfig);
    let mut first = site.through(&api.kubeconfig, "ada").args(["lock", "nightly", "--", "sh", "-c", FAMILY]).spawn();
    first.wait_for("token 1\n");
    let next = next_in_line(&site);
    api.down(true);
    first.wait().expect_code(LOST).expect_text(&["lock nightly was lost", "what ran under it was ended", "[lock-lost]"]);
    next.wait().expect_code(0).expect_text(&["took over lock nightly of ada@test", "alone with token 2\n"]);
}

#[test]
fn a_keeper_that_is_stopped() {
    let site = Site::short("hold stopped");
    let first = holding(&site);
    let next = next_in_line(&site);
    signal(keeper(first.id()), Signal::STOP);
    first.wait().expect_code(LOST).expect_text(&["the process that renewed it is gone or does not answer"]);
    next.wait().expect_code(0).expect_text(&["took over lock nightly of ada@test", "alone with token 2\n"]);
}

#[test]
fn a_keeper_that_is_killed() {
    let site = Site::short("hold keeper");
    let first = holding(&site);
    let next = next_in_line(&site);
    signal(keeper(first.id()), Signal::KILL);
    first.wait().expect_code(LOST).expect_text(&["the process that renewed it is gone"]);
    next.wait().expect_code(0).expect_text(&["took over lock nightly of ada@test", "alone with token 2\n"]);
}

/// The keeper ends the command, and gives the lock back without anybody having to wait until it expires.
#[test]
fn a_guard_that_is_killed() {
    let site = Site::short("hold guard");
    let mut first = holding(&site);
    let next = next_in_line(&site);
    first.kill();
    let next = next.wait().expect_code(0).expect_text(&["alone with token 2\n"]);
    assert!(!next.text().contains("took over"), "{}", next.text());
    first.wait().expect_code(128 + 9);
}

/// While the keeper renews the lock, the command runs under it, whether its guard does or not.
#[test]
fn a_guard_that_is_stopped() {
    let site = Site::short("hold guard stop");
    let first = holding(&site);
    signal(first.id(), Signal::STOP);
    let late = site.shipway("eve").args(["lock", "nightly", "--wait", "12s", "--", "touch", "never"]).run();
    signal(first.id(), Signal::CONT);
    late.expect_code(40);
    assert!(!site.path("never").exists());
    site.mark("go");
    first.wait().expect_code(7);
}

/// As when the whole machine is gone.
#[test]
fn all_that_is_killed() {
    let site = Site::short("hold all");
    let mut first = holding(&site);
    let next = next_in_line(&site);
    let keeper = keeper(first.id());
    // neither may get to do anything about the other's end
    signal(first.id(), Signal::STOP);
    signal(keeper, Signal::KILL);
    for name in ["command", "orphan"] {
        let id = std::fs::read_to_string(site.path(name)).unwrap();
        signal(id.trim().parse().unwrap(), Signal::KILL);
    }
    first.kill();
    next.wait().expect_code(0).expect_text(&["took over lock nightly of ada@test", "alone with token 2\n"]);
    first.wait().expect_code(128 + 9);
}

#[test]
fn a_lease_that_somebody_deletes() {
    let site = Site::short("hold deleted");
    let first = holding(&site);
    let deleted = std::process::Command::new(crate::support::lab::lab().program("kubectl"))
        .args(["-n", &site.namespace.name, "delete", "lease", "shipway-lock.nightly"])
        .env("KUBECONFIG", crate::support::lab::lab().kubeconfig())
        .output()
        .unwrap();
    assert!(deleted.status.success(), "{deleted:?}");
    first.wait().expect_code(LOST).expect_text(&["lock nightly was lost"]);
    site.lock("bob", ALONE).run().expect_code(0).expect_text(&["alone with token"]);
}

/// Seconds by which the holder's wall clock, as its latest renewal tells it, is before the right one.
fn ahead(site: &Site) -> i64 {
    let renewed = site.lease("shipway-lock.nightly").unwrap().spec.unwrap().renew_time.unwrap();
    renewed.0.as_second() - Timestamp::now().as_second()
}

/// Renewals, tenures and takeovers go by clocks that never jump: neither a holder whose wall clock is set nor one who waits for it notices.
#[test]
fn a_wall_clock_that_jumps() {
    let site = Site::short("hold clock");
    // without TLS, whose certificates have times, too
    let api = Api::before(&site.namespace.kubeconfig);
    let clocks = ["ada", "bob"].map(|name| Clock::new(site.folder.path(), name));
    let run = |at: usize, name: &str, script: &str| {
        let run = site.through(&api.kubeconfig, name).args(["lock", "nightly", "--", "sh", "-c", script]);
        clocks[at].of(run).spawn()
    };
    let mut first = run(0, "ada", FAMILY);
    first.wait_for("token 1\n");
    let mut next = run(1, "bob", ALONE);
    next.wait_for("held by ada@test");
    for (jumps, hours) in [(["+5h", "-90d"], 5), (["-7h", "+900d"], -7), (["+3000d", "-3000d"], 72000)] {
        clocks.iter().zip(jumps).for_each(|(clock, jump)| clock.jump(jump));
        // the holder has renewed the lock by its new time, more than once
        for _ in 0..2 {
            let (deadline, mark) =
                (Instant::now() + Duration::from_secs(20), site.lease("shipway-lock.nightly").unwrap().metadata.resource_version);
            while (ahead(&site) - hours * 3600).abs() > 600 || site.lease("shipway-lock.nightly").unwrap().metadata.resource_version == mark
            {
                assert!(Instant::now() < deadline, "{} s ahead\n{}\n{}", ahead(&site), first.printed(), next.printed());
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    assert!(!next.printed().contains("alone"), "{}", next.printed());
    signal(keeper(first.id()), Signal::STOP);
    clocks.iter().zip(["-1d", "+2d"]).for_each(|(clock, jump)| clock.jump(jump));
    first.wait().expect_code(LOST);
    next.wait().expect_code(0).expect_text(&["alone with token 2\n"]);
}

/// All of it stands still, the command and both of its watchers. Nobody can end it in time, so the next holder has a higher token; when it
/// wakes, it is ended.
#[test]
fn a_machine_that_is_suspended() {
    let site = Site::short("hold suspended");
    let first = holding(&site);
    let mut next = site.lock("bob", "echo next with token $SHIPWAY_FENCING_TOKEN").spawn();
    next.wait_for("held by ada@test");
    let number = |name: &str| std::fs::read_to_string(site.path(name)).unwrap().trim().parse().unwrap();
    let all = [first.id(), keeper(first.id()), number("command"), number("orphan")];
    all.iter().for_each(|id| signal(*id, Signal::STOP));
    next.wait().expect_code(0).expect_text(&["took over lock nightly of ada@test", "next with token 2\n"]);
    all.iter().rev().for_each(|id| signal(*id, Signal::CONT));
    first.wait().expect_code(LOST);
    site.lock("eve", ALONE).run().expect_code(0).expect_text(&["alone with token 3\n"]);
}

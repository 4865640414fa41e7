//! `lead`: one of several replicas.

use std::time::{Duration, Instant};

use super::{Site, keeper, signal};
use crate::support::{api::Api, block_on, free_port, shipway::Running};
use rustix::process::Signal;

/// Runs until it is told to end, and fails at once when another one runs: a folder can be made only once.
const LEADER: &str = "mkdir leading || { echo another leads; exit 3; }; trap 'rmdir leading; exit 0' TERM; \
     echo leader with token $SHIPWAY_FENCING_TOKEN; while :; do sleep 0.05; done";

fn stand(site: &Site, name: &str) -> Running {
    site.shipway(name).args(["lead", "scheduler", "--", "sh", "-c", LEADER]).spawn()
}

#[test]
fn one_of_three_leads_and_a_polite_end_hands_over() {
    let site = Site::new("lead");
    let mut first = stand(&site, "ada");
    first.wait_for("leader with token 1\n");
    let mut second = stand(&site, "bob");
    second.wait_for("waiting for lead scheduler, held by ada@test");
    first.terminate();
    first.wait().expect_code(0);
    second.wait_for("leader with token 2\n");
    let mut third = stand(&site, "eve");
    third.wait_for("held by bob@test");
    second.terminate();
    second.wait().expect_code(0);
    third.wait_for("leader with token 3\n");
    assert!(!third.printed().contains("took over"), "{}", third.printed());
    third.terminate();
    third.wait().expect_code(0);
    assert_eq!(site.holder("shipway-lead.scheduler"), None);
}

#[test]
fn a_leader_whose_keeper_is_killed_ends_before_the_next_begins() {
    let site = Site::short("lead killed");
    let mut first = stand(&site, "ada");
    first.wait_for("leader with token 1\n");
    let mut second = stand(&site, "bob");
    second.wait_for("held by ada@test");
    signal(keeper(first.id()), Signal::KILL);
    first.wait().expect_code(51).expect_text(&["lead scheduler was lost"]);
    second.wait_for("leader with token 2\n");
    second.terminate();
    second.wait().expect_code(0);
}

/// One replica that tells at an address whether it leads.
struct Told {
    running: Running,
    port: u16,
}

impl Told {
    fn start(site: &Site, kubeconfig: &std::path::Path, name: &str) -> Told {
        let port = free_port();
        let mut running = site.through(kubeconfig, name).args(["lead", "scheduler", "--http", &format!("127.0.0.1:{port}")]).spawn();
        running.wait_for("/leader tells whether lead scheduler is ours");
        Told { running, port }
    }

    /// Status and text at `/leader`.
    fn answer(&self) -> (u16, String) {
        self.ask("/leader")
    }

    fn ask(&self, path: &str) -> (u16, String) {
        block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client.get(format!("http://127.0.0.1:{}{path}", self.port)).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }
}

/// Asks both until `done`; never may both lead.
fn until(one: &Told, other: &Told, what: &str, done: impl Fn(bool, bool) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // `other` is asked while the answer of `one` still holds, so that two that lead would both be seen
        let (first, second) = (one.answer().0 == 200, other.answer().0 == 200);
        assert!(!(first && second && one.answer().0 == 200), "both lead");
        if done(first, second) {
            return;
        }
        assert!(Instant::now() < deadline, "not {what}:\n{}\n{}", one.running.printed(), other.running.printed());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_address_tells_who_leads() {
    let site = Site::short("lead http");
    let api = Api::before(&site.namespace.kubeconfig);
    let first = Told::start(&site, &api.kubeconfig, "ada");
    let deadline = Instant::now() + Duration::from_secs(60);
    while first.answer().0 != 200 {
        assert!(Instant::now() < deadline, "{}", first.running.printed());
    }
    let second = Told::start(&site, &site.namespace.kubeconfig, "bob");
    let text: serde_json::Value = serde_json::from_str(&first.answer().1).unwrap();
    assert!(text["leader"] == true && text["token"] == 1 && text["seconds"].as_f64().unwrap() > 0.0, "{text}");
    assert_eq!(second.answer(), (503, "{\"leader\":false}\n".to_string()));
    // what waits is as well as what leads
    assert_eq!((second.ask("/healthz").0, second.ask("/other").0), (200, 404));

    api.down(true);
    until(&first, &second, "the other leading", |first, second| !first && second);
    api.down(false);
    // a replica that was cut off stands for the lead again, and has it when the other ends politely
    second.running.terminate();
    second.running.wait().expect_code(0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while first.answer().0 != 200 {
        assert!(Instant::now() < deadline, "{}", first.running.printed());
        std::thread::sleep(Duration::from_millis(50));
    }
    first.running.terminate();
    first.running.wait().expect_code(0).expect_text(&["lead scheduler was lost", "with fencing token 3"]);
}

#[test]
fn an_address_that_cannot_be_listened_at_is_named() {
    let site = Site::new("lead address");
    let wrong = site.shipway("ada").args(["lead", "scheduler", "--http", "nowhere"]).run().expect_code(2);
    wrong.expect_text(&["cannot listen at nowhere", "[setting-invalid]"]);
    site.shipway("ada").args(["lead", "scheduler", "--http", ":8099", "--", "true"]).run().expect_code(2);
}

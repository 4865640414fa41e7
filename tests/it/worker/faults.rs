//! Workers and brokers that end in the midst of builds.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

/// A build that waits until a file is there, so that a test can act in its midst.
fn waiting(dir: &Path) -> String {
    format!("[sh, -c, 'touch {0}/begun-$$; while ! test -e {0}/go; do sleep 0.05; done']", dir.display())
}

pub fn begun(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("begun-")).count()
}

pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "not {what} within {SOON:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub async fn waiting_site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let ledger = format!("sqlite:{}", dir.path().join("ledger.db").display());
    let build = waiting(dir.path());
    Site::with(&build, dir, ledger).await
}

#[tokio::test]
async fn a_worker_that_is_killed_loses_no_build_and_takes_its_process_along() {
    let mut site = waiting_site().await;
    let mut first = site.start();
    site.ask("one", json!({})).await;
    wait_for("begun", || begun(site.dir.path()) == 1);
    let build: u32 = std::fs::read_dir(site.dir.path())
        .unwrap()
        .find_map(|file| file.unwrap().file_name().to_str()?.strip_prefix("begun-")?.parse().ok())
        .unwrap();
    first.kill();
    wait_for("gone with its worker", || !Path::new(&format!("/proc/{build}")).exists());
    let second = site.start();
    wait_for("begun again", || begun(site.dir.path()) == 2);
    std::fs::write(site.path("go"), "").unwrap();
    site.ended(1, SOON).await;
    assert_eq!(site.answer("one")["result"]["result"], "succeeded");
    second.terminate();
    second.wait().expect_code(0);
    assert_eq!(builds_of(&site.path("ledger.db")), [("one".to_string(), 2, true)]);
    assert_eq!(site.rooms(), 0, "what the first one left is gone, too");
}

#[tokio::test]
async fn a_broker_that_is_killed_neither_ends_nor_doubles_a_build() {
    let mut site = waiting_site().await;
    let mut worker = site.start();
    site.ask("one", json!({})).await;
    wait_for("begun", || begun(site.dir.path()) == 1);
    site.broker.kill();
    worker.wait_for("is gone");
    site.broker.up();
    worker.wait_for("the broker is back");
    std::fs::write(site.path("go"), "").unwrap();
    // the build's own answer, and that to the message when it came again
    site.done(2, SOON).await;
    worker.terminate();
    worker.wait().expect_code(0);
    assert_eq!(begun(site.dir.path()), 1);
    assert_eq!(builds_of(&site.path("ledger.db")), [("one".to_string(), 1, true)]);
    assert!(site.broker.take(QUEUE).await.is_empty(), "the message is acknowledged");
}

#[tokio::test]
async fn a_drain_ends_what_runs_and_begins_nothing() {
    let mut site = waiting_site().await;
    let mut worker = site.start();
    for id in ["one", "two", "three"] {
        site.ask(id, json!({})).await;
    }
    wait_for("begun", || begun(site.dir.path()) == 1);
    worker.terminate();
    worker.wait_for("no new builds are begun");
    std::fs::write(site.path("go"), "").unwrap();
    worker.wait().expect_code(0);
    site.ended(1, SOON).await;
    assert_eq!(begun(site.dir.path()), 1);
    assert_eq!(builds_of(&site.path("ledger.db")), [("one".to_string(), 1, true)]);
    assert_eq!(site.broker.take(QUEUE).await.len(), 2, "the others wait for another worker");
}

#[tokio::test]
async fn a_drain_that_takes_too_long_gives_the_build_back_at_once() {
    let mut site = waiting_site().await;
    let worker = site.worker().env("SHIPWAY_WORKER_DRAIN", "1s").env("SHIPWAY_LOCK_TTL", "10m").spawn();
    site.ask("one", json!({})).await;
    wait_for("begun", || begun(site.dir.path()) == 1);
    worker.terminate();
    worker.wait().expect_code(0);
    let second = site.start();
    std::fs::write(site.path("go"), "").unwrap();
    // long before the first one's claim would have passed
    site.ended(1, SOON).await;
    assert_eq!(site.answer("one")["result"]["result"], "succeeded");
    second.terminate();
    second.wait().expect_code(0);
    assert_eq!(begun(site.dir.path()), 2);
}

#[tokio::test]
async fn a_build_that_ends_its_worker_again_and_again_is_given_up() {
    let mut site = waiting_site().await;
    site.ask("one", json!({})).await;
    for attempt in 1..=2 {
        let mut worker = site.worker().env("SHIPWAY_WORKER_ATTEMPTS", "2").spawn();
        wait_for("begun", || begun(site.dir.path()) == attempt);
        worker.kill();
    }
    let worker = site.worker().env("SHIPWAY_WORKER_ATTEMPTS", "2").spawn();
    site.ended(1, SOON).await;
    assert_eq!(site.answer("one")["result"]["problem"]["code"], "order-given-up");
    worker.terminate();
    worker.wait().expect_code(0);
    assert_eq!(site.dead().await.iter().map(|(slug, _)| slug.as_str()).collect::<Vec<_>>(), ["order-given-up"]);
    assert_eq!(begun(site.dir.path()), 2);
}

#[tokio::test]
async fn a_ledger_that_is_away_holds_a_message_until_it_is_back() {
    let mut postgres = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    let build = waiting(dir.path());
    let mut site = Site::with(&build, dir, postgres.url()).await;
    let mut worker = site.start();
    site.ask("one", json!({})).await;
    wait_for("begun", || begun(site.dir.path()) == 1);
    postgres.kill();
    std::fs::write(site.path("go"), "").unwrap();
    worker.wait_for("waits for the ledger");
    postgres.restart();
    site.ended(1, SOON).await;
    worker.terminate();
    worker.wait().expect_code(0);
    assert_eq!(postgres.ask("SELECT key, attempt, ended IS NOT NULL FROM builds"), "one|1|t");
    assert!(site.broker.take(QUEUE).await.is_empty());
}

/// So many messages for two workers; they and the broker are killed `kills` times.
async fn each_is_done_exactly_once(builds: usize, kills: usize, limit: Duration) {
    let postgres = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    let mut site = Site::with(&format!("[sh, -c, 'echo run >> {}']", runs.display()), dir, postgres.url()).await;
    for number in 0..builds {
        site.ask(&format!("b{number}"), json!({})).await;
    }
    let start =
        |site: &Site| site.worker().envs([("SHIPWAY_WORKER_PARALLEL", "2"), ("SHIPWAY_WORKER_ATTEMPTS", "100")]).limit(limit).spawn();
    let mut workers = vec![start(&site), start(&site)];
    workers.iter_mut().for_each(|worker| worker.wait_for("waits for builds"));
    let ended = |count: usize| postgres.ask("SELECT count(*) FROM builds WHERE ended IS NOT NULL").parse::<usize>().unwrap() >= count;
    for kill in 1..=kills {
        let deadline = Instant::now() + limit;
        while !ended(builds * kill / (kills + 1)) {
            assert!(Instant::now() < deadline, "the builds before kill {kill} do not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if kill % 2 == 1 {
            let at = kill / 2 % workers.len();
            workers[at].kill();
            workers[at] = start(&site);
        } else {
            site.broker.kill();
            site.broker.up();
        }
    }
    site.ended(builds, limit).await;
    workers.iter().for_each(Running::terminate);
    workers.into_iter().for_each(|worker| drop(worker.wait().expect_code(0)));
    let done = postgres.ask("SELECT count(*), count(ended), count(DISTINCT key) FROM builds");
    assert_eq!(done, format!("{builds}|{builds}|{builds}"));
    let (attempts, again) =
        (postgres.ask("SELECT sum(attempt) FROM builds"), postgres.ask("SELECT count(*) FROM builds WHERE attempt > 1"));
    let runs = std::fs::read_to_string(runs).unwrap().lines().count();
    println!("{builds} builds, {kills} kills: {attempts} attempts, {again} builds begun anew, {runs} real runs of the build's command");
    // whoever is killed takes along what it had begun: each kill of a worker, at most all of its two places
    assert!((builds..=builds + 2 * kills).contains(&runs), "{runs} runs");
    assert!(site.dead().await.is_empty());
}

#[tokio::test]
async fn each_of_many_is_done_exactly_once_whoever_is_killed() {
    each_is_done_exactly_once(24, 4, Duration::from_secs(240)).await;
}

#[tokio::test]
#[ignore = "takes half an hour; make soak-worker"]
async fn a_thousand_are_done_exactly_once() {
    let number = |name: &str, default: usize| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    each_is_done_exactly_once(number("WORKER_BUILDS", 1000), number("WORKER_KILLS", 20), Duration::from_secs(7200)).await;
}

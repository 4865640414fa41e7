//! Runs that publish, with a ledger that is there, away, required or not.

use serde_json::Value;

use crate::support::{
    fixture::{Checkout, empty_checkout},
    free_port,
    job::publishing,
    lab::{Namespace, lab},
    postgres::Postgres,
    shipway::{Shipway, report, shipway},
};

fn publish(checkout: &Checkout, namespace: &Namespace, pipeline: u64, ledger: &str) -> Shipway {
    publishing(checkout, namespace, pipeline)
        .env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health")
        .env("SHIPWAY_LEDGER_URL", ledger)
        .env("SHIPWAY_LEDGER_TIMEOUT", "2s")
        .args(["publish", "-e", "prod", "--image", &lab().web("1")])
}

fn history(ledger: &str, arguments: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let run = shipway(folder.path()).env("SHIPWAY_LEDGER_URL", ledger).args(["history", "--all", "--json"]).args(arguments);
    serde_json::from_str(&run.run().expect_code(0).stdout).unwrap()
}

#[test]
fn a_publish_is_in_the_ledger_and_in_its_tables() {
    let (checkout, namespace) = (empty_checkout("ledger-file"), lab().namespace("ledger file"));
    let dir = tempfile::tempdir().unwrap();
    let ledger = format!("sqlite:{}", dir.path().join("ledger.db").display());
    publish(&checkout, &namespace, 1, &ledger).run().expect_code(0);
    publishing(&checkout, &namespace, 2).env("SHIPWAY_LEDGER_URL", &ledger).args(["rollback", "--to", "9"]).run().expect_code(2);
    let changes = history(&ledger, &[]);
    let told: Vec<_> = changes.iter().map(|change| (change["action"].as_str().unwrap(), change["result"].as_str().unwrap())).collect();
    assert_eq!(told, [("rollback", "failed"), ("publish", "succeeded")]);
    let published = &changes[1];
    assert_eq!(published["environment"], "prod");
    assert_eq!((published["revision"].as_u64(), published["author"].as_str()), (Some(1), Some("Ada Example")));
    assert!(published["image"].as_str().unwrap().contains("@sha256:"), "{published}");
    assert_eq!(history(&ledger, &["--result", "failed", "--since", "1h"]).len(), 1);
    let query =
        |arguments: &[&str]| shipway(dir.path()).env("SHIPWAY_LEDGER_URL", &ledger).args(arguments).run().expect_code(0).stdout.clone();
    let csv = query(&["history", "--all", "--csv", "-e", "prod"]);
    assert_eq!((csv.lines().count(), csv.starts_with("began,seconds,app,")), (2, true), "{csv}");
    assert!(query(&["history", "--all"]).contains("failed: revision-unknown"));
    let apps: Value = serde_json::from_str(&query(&["app", "list", "--json"])).unwrap();
    assert_eq!((apps[0]["line"].as_str(), apps[0]["latest"]["action"].as_str()), (Some(namespace.name.as_str()), Some("rollback")));
    let steps = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    let steps: i64 =
        steps.query_row("SELECT COUNT(*) FROM steps WHERE name = 'publish' AND state = 'succeeded'", [], |row| row.get(0)).unwrap();
    assert_eq!(steps, 1);
}

#[test]
fn a_required_ledger_that_is_away_stops_a_publish_before_anything_changes() {
    let (checkout, namespace) = (empty_checkout("ledger-required"), lab().namespace("ledger required"));
    let ledger = format!("postgres://shipway:s3cret-word@127.0.0.1:{}/postgres", free_port());
    let run = publish(&checkout, &namespace, 1, &ledger).env("SHIPWAY_LEDGER_REQUIRED", "true").run().expect_code(20);
    let message = report(&checkout.path())["problem"]["message"].to_string();
    assert!(message.contains("nothing was changed, since ledger.required is set"), "{message}");
    assert!(!run.stdout.contains("s3cret-word") && !run.stderr.contains("s3cret-word"));
    publishing(&checkout, &namespace, 1).args(["status"]).run().expect_code(10);
}

#[test]
fn what_a_ledger_missed_is_sent_by_the_next_run() {
    let (checkout, namespace) = (empty_checkout("ledger-away"), lab().namespace("ledger away"));
    let mut postgres = Postgres::start();
    let ledger = postgres.url();
    postgres.kill();
    let cache = tempfile::tempdir().unwrap();
    let run = publish(&checkout, &namespace, 1, &ledger).env("XDG_CACHE_HOME", cache.path()).run().expect_code(0);
    run.expect_text(&["the ledger does not have the result yet", "shipway/ledger/"]);
    // what a repository brings along is no record
    checkout.write("shipway-report/ledger/forged.json", "{}");
    postgres.restart();
    let restart = publishing(&checkout, &namespace, 2).envs([("SHIPWAY_LEDGER_URL", ledger.as_str())]).env("XDG_CACHE_HOME", cache.path());
    let restart = restart.args(["restart"]).run().expect_code(0);
    assert!(!restart.text().contains("is no record"), "{}", restart.text());
    let changes = history(&ledger, &[]);
    let told: Vec<_> = changes.iter().map(|change| (change["action"].as_str().unwrap(), change["result"].as_str().unwrap())).collect();
    assert_eq!(told, [("restart", "succeeded"), ("publish", "succeeded")]);
    let outbox = std::fs::read_dir(cache.path().join("shipway/ledger")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read_dir(outbox).unwrap().count(), 0, "the outbox is empty");
}

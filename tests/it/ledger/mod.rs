//! The ledger in a file and in a real PostgreSQL: many writers, and a database that is killed, frozen and away.

mod company;
mod permissions;
mod runs;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rustls::RootCertStore;
use serde_json::json;
use shipway::{
    domain::{
        problem::{Code, Problem, Result},
        record::{End, Filter, Record},
    },
    ledger::{Application, Begun, Event, Finished, Ledger, Place},
    net,
};

use crate::support::{block_on, postgres::Postgres, shipway::shipway};

const WRITERS: usize = 200;
const TTL: Duration = Duration::from_secs(60);

fn place(url: &str) -> Place {
    Place::of(url, Path::new("/"), RootCertStore::empty()).unwrap()
}

async fn open(url: &str) -> Result<Ledger> {
    net::install_crypto();
    Ledger::open(&place(url), TTL).await
}

fn change(id: &str, app: &str, end: Option<&str>) -> Record {
    let end = end.map(|result| End { at: 2_000, result: result.into(), revision: Some(3), ..End::default() });
    let action = "publish".to_string();
    Record { id: id.into(), app: app.into(), line: "trade".into(), action, began: 1_000, deadline: i64::MAX / 4, end, ..Record::default() }
}

fn all() -> Filter {
    Filter { limit: 10_000, ..Filter::default() }
}

/// What both databases have to do the same.
async fn does_what_a_ledger_does(url: &str) {
    let ledger = open(url).await.unwrap();
    ledger.record(&change("1", "orders", None)).await.unwrap();
    let open = ledger.changes(&all()).await.unwrap().remove(0);
    assert_eq!((open.app.as_str(), open.result.as_str(), open.seconds), ("orders", "running", None));
    for _ in 0..2 {
        ledger.record(&change("1", "orders", Some("succeeded"))).await.unwrap();
    }
    ledger.record(&change("1", "orders", Some("failed"))).await.unwrap();
    ledger.record(&Record { environment: "prod".into(), began: 5_000, ..change("2", "bills\0", Some("rolled_back")) }).await.unwrap();
    ledger.record(&Record { deadline: 7_000, began: 6_000, ..change("3", "lost", None) }).await.unwrap();
    let changes = ledger.changes(&all()).await.unwrap();
    let seen: Vec<_> = changes.iter().map(|change| (change.app.as_str(), change.result.as_str(), change.seconds)).collect();
    assert_eq!(seen, [("lost", "unknown", None), ("bills", "rolled_back", Some(-3.0)), ("orders", "succeeded", Some(1.0))]);
    let ids = async |filter: Filter| {
        let found = ledger.changes(&Filter { limit: 10, ..filter }).await.unwrap();
        found.iter().map(|change| change.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(Filter { app: "orders".into(), ..all() }).await, ["1"]);
    assert_eq!(ids(Filter { environment: "prod".into(), ..all() }).await, ["2"]);
    assert_eq!(ids(Filter { result: "unknown".into(), ..all() }).await, ["3"]);
    assert_eq!(ids(Filter { result: "succeeded".into(), ..all() }).await, ["1"]);
    for (result, id) in [("succeeded", "1"), ("rolled_back", "2"), ("unknown", "3")] {
        let found = ledger.changes(&Filter { result: result.into(), limit: 1, ..all() }).await.unwrap();
        assert_eq!(found.iter().map(|change| change.id.as_str()).collect::<Vec<_>>(), [id], "later ones of another result do not count");
    }
    assert_eq!(ids(Filter { since: 5_500, ..all() }).await, ["3"]);
    assert_eq!(ids(Filter { line: "other".into(), ..all() }).await, Vec::<String>::new());

    let settings = json!({"line": "money", "build": {"jdk": 17}}).as_object().unwrap().clone();
    let entry = Application { app: "orders".into(), owners: vec!["ada".into()], settings };
    ledger.set_applications(std::slice::from_ref(&entry), "bo").await.unwrap();
    assert_eq!(ledger.application("orders").await.unwrap(), Some(entry));
    let known = ledger.known("money").await.unwrap();
    assert_eq!((known.len(), known[0].latest.as_ref().unwrap().result.as_str()), (1, "succeeded"));

    let event = Event {
        id: "e".into(),
        kind: "rules".into(),
        app: "orders".into(),
        environment: "prod".into(),
        author: "ada".into(),
        detail: json!({"allowed": false}),
    };
    ledger.event(&event).await.unwrap();
    ledger.event(&event).await.unwrap();
    ledger.prune(1).await.unwrap();
    assert_eq!(ledger.changes(&all()).await.unwrap().len(), 1, "what is open stays");
}

async fn a_build_is_done_once(url: &str) {
    let ledger = open(url).await.unwrap();
    assert_eq!(ledger.begin("k", "content", "a", TTL).await.unwrap(), Begun::New { attempt: 1 });
    assert!(
        matches!(ledger.begin("k", "content", "b", TTL).await.unwrap(), Begun::AlreadyRunning { holder, left } if holder == "a" && left <= TTL)
    );
    assert_eq!(ledger.finish("k", "b", &json!(1)).await.unwrap(), Finished::Lost);
    assert!(ledger.keep("k", "a", TTL).await.unwrap());
    ledger.give_up("k", "a").await.unwrap();
    assert_eq!(ledger.begin("k", "content", "b", TTL).await.unwrap(), Begun::New { attempt: 1 }, "what was given up does not count");
    assert!(!ledger.keep("k", "a", TTL).await.unwrap(), "the claim has passed on");
    for _ in 0..2 {
        assert_eq!(ledger.finish("k", "b", &json!({"exit_code": 0})).await.unwrap(), Finished::Recorded);
    }
    assert_eq!(ledger.finish("k", "a", &json!(2)).await.unwrap(), Finished::Already(json!({"exit_code": 0})));
    assert_eq!(ledger.begin("k", "content", "c", TTL).await.unwrap(), Begun::AlreadyDone(json!({"exit_code": 0})));
    assert_eq!(ledger.begin("k", "other", "c", TTL).await.unwrap(), Begun::Another, "nobody gets the result of something else");
    assert!(ledger.knows("k").await.unwrap() && !ledger.knows("l").await.unwrap());
    for _ in 0..2 {
        assert_eq!(
            ledger.begin("l", "content", "a", TTL).await.unwrap(),
            Begun::New { attempt: 1 },
            "asked again, since the answer was lost"
        );
    }
    assert_eq!(ledger.begin("l", "other", "b", TTL).await.unwrap(), Begun::Another);
    builds_that_nobody_takes_up_are_forgotten(&ledger).await;
}

/// A claim that nobody keeps goes with what ended as long ago, and one that is held stays.
async fn builds_that_nobody_takes_up_are_forgotten(ledger: &Ledger) {
    let left = async |key: &str, ttl: Duration| ledger.begin(key, "content", "a", ttl).await.unwrap();
    left("left", Duration::from_millis(1)).await;
    left("held", TTL).await;
    let forgotten = async {
        while ledger.knows("left").await.unwrap() {
            ledger.prune(0).await.unwrap();
        }
    };
    tokio::time::timeout(TTL, forgotten).await.unwrap();
    assert!(ledger.knows("held").await.unwrap());
}

/// Each writer has a connection of its own, makes the tables if it is the first, and claims the one build.
async fn many_write_at_once(url: &str) {
    let begun = Instant::now();
    let writers = (0..WRITERS).map(|number| {
        let url = url.to_string();
        tokio::spawn(async move {
            let id = format!("w{number}");
            let ledger = open(&url).await?;
            ledger.record(&change(&id, &format!("app-{}", number % 20), None)).await?;
            let claimed = matches!(ledger.begin("one", "content", &id, TTL).await?, Begun::New { .. });
            ledger.record(&change(&id, &format!("app-{}", number % 20), Some("succeeded"))).await?;
            Ok::<bool, Problem>(claimed)
        })
    });
    let mut claims = 0;
    for writer in futures::future::join_all(writers).await {
        claims += usize::from(writer.unwrap().unwrap());
    }
    println!("{WRITERS} writers: {:.2} s", begun.elapsed().as_secs_f64());
    assert_eq!(claims, 1);
    let changes = open(url).await.unwrap().changes(&all()).await.unwrap();
    assert_eq!(changes.iter().filter(|change| change.result == "succeeded").count(), WRITERS);
}

fn file(dir: &tempfile::TempDir) -> String {
    format!("sqlite:{}", dir.path().join("ledger.db").display())
}

#[tokio::test]
async fn a_file_does_what_a_ledger_does() {
    let dir = tempfile::tempdir().unwrap();
    does_what_a_ledger_does(&file(&dir)).await;
    a_build_is_done_once(&file(&dir)).await;
}

#[tokio::test]
async fn postgres_does_what_a_ledger_does() {
    let postgres = Postgres::start();
    does_what_a_ledger_does(&postgres.url()).await;
    a_build_is_done_once(&postgres.url()).await;
}

#[tokio::test]
async fn two_hundred_write_into_one_file() {
    let dir = tempfile::tempdir().unwrap();
    many_write_at_once(&file(&dir)).await;
}

/// The server has fewer connections than there are writers.
#[tokio::test]
async fn two_hundred_write_into_one_postgres() {
    let postgres = Postgres::start();
    many_write_at_once(&postgres.url()).await;
}

#[tokio::test]
async fn a_postgres_that_is_killed_and_frozen_loses_and_doubles_nothing() {
    let mut postgres = Postgres::start();
    let ledger = open(&postgres.url()).await.unwrap();
    for round in 0..6 {
        let writers: Vec<_> = (0..40)
            .map(|number| {
                let ledger = ledger.clone();
                tokio::spawn(async move { ledger.record(&change(&format!("{round}-{number}"), "orders", Some("succeeded"))).await })
            })
            .collect();
        // in the midst of them
        while postgres.ask(&format!("SELECT count(*) FROM releases WHERE id LIKE '{round}-%'")) == "0" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if round % 2 == 0 {
            postgres.kill();
            postgres.restart();
        } else {
            postgres.freeze();
            postgres.thaw();
        }
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
    }
    assert_eq!(postgres.ask("SELECT count(*), count(DISTINCT id), count(ended) FROM releases"), "240|240|240");
}

#[tokio::test]
async fn a_postgres_that_does_not_answer_is_given_up_in_time() {
    let postgres = Postgres::start();
    let ledger = Ledger::open(&place(&postgres.url()), Duration::from_secs(2)).await.unwrap();
    postgres.freeze();
    let begun = Instant::now();
    let problem = ledger.record(&change("1", "orders", None)).await.unwrap_err();
    assert_eq!((problem.code, problem.exit_code()), (Code::LedgerUnreachable, 20));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    postgres.thaw();
    ledger.record(&change("1", "orders", None)).await.unwrap();
}

#[test]
fn what_cannot_be_used_is_told_without_its_password() {
    net::install_crypto();
    let postgres = Postgres::start();
    let told = |url: &str| {
        let opened = block_on(async { Ledger::open(&place(url), Duration::from_secs(1)).await });
        let problem = opened.err().unwrap();
        assert!(!format!("{problem:?}").contains("wrong-word"), "{problem:?}");
        (problem.code, problem.exit_code())
    };
    assert_eq!(told(&postgres.url().replace("s3cret-word", "wrong-word")), (Code::LedgerDenied, 30));
    assert_eq!(told(&postgres.url().replace("/postgres?", "/nowhere?")), (Code::LedgerDenied, 30));
    assert_eq!(told(&postgres.url_with_tls()), (Code::LedgerDenied, 30), "in clear text only where it is asked for");
    assert_eq!(told("postgres://a:wrong-word@127.0.0.1:9/x"), (Code::LedgerUnreachable, 20));
    assert_eq!(told("sqlite:/nowhere/ledger.db"), (Code::LedgerDenied, 30));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ledger.db"), "no database at all, but long enough to be looked at as one by SQLite").unwrap();
    assert_eq!(told(&file(&dir)).1, 30);
    let invalid = Place::of("postgres://shipway:wrong-word@[::/x", Path::new("/"), RootCertStore::empty()).err().unwrap();
    assert!(!invalid.message.contains("wrong-word"));
    assert_eq!(Place::of("mysql://h/x", Path::new("/"), RootCertStore::empty()).err().unwrap().exit_code(), 2);
}

#[test]
fn a_server_with_tls_is_trusted_by_its_authority_alone() {
    let postgres = Postgres::start_with_tls();
    let folder = tempfile::tempdir().unwrap();
    let history = || shipway(folder.path()).env("SHIPWAY_LEDGER_URL", postgres.url_with_tls()).args(["history", "--all", "--json"]);
    assert_eq!(history().env("SHIPWAY_LEDGER_CA", postgres.ca()).run().expect_code(0).stdout.trim(), "[]");
    history().run().expect_code(30).expect_text(&["certificate", "ledger.ca"]);
}

#[tokio::test]
async fn tables_of_a_later_version_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(&file(&dir)).await.unwrap();
    let database = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    database.execute_batch("INSERT INTO shipway_schema VALUES (99)").unwrap();
    let postgres = Postgres::start();
    open(&postgres.url()).await.unwrap();
    postgres.ask("INSERT INTO shipway_schema VALUES (99)");
    for url in [file(&dir), postgres.url()] {
        let problem = open(&url).await.err().unwrap();
        assert_eq!((problem.code, problem.exit_code()), (Code::LedgerNewer, 2));
        assert!(problem.message.contains("99"), "{}", problem.message);
    }
}

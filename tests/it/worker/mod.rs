//! `worker`: a real RabbitMQ and both ledgers; messages of all sorts, and workers and brokers that are killed.

mod faults;
mod hostile;
mod identity;
mod messages;
mod permissions;

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{
    broker::Broker,
    fixture::{self, Checkout},
    postgres::Postgres,
    shipway::{Running, Shipway, shipway},
};

const QUEUE: &str = "shipway.builds";
const DEAD: &str = "shipway.builds.dead";
const REPLIES: &str = "replies";
/// Claims outlive their worker for so long.
const TTL: &str = "5s";

/// A broker, a ledger, and a repository whose build is this argv.
struct Site {
    broker: Broker,
    dir: tempfile::TempDir,
    checkout: Checkout,
    ledger: String,
    answers: Vec<Value>,
}

impl Site {
    async fn new(build: &str) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let ledger = format!("sqlite:{}", dir.path().join("ledger.db").display());
        Site::with(build, dir, ledger).await
    }

    async fn with(build: &str, dir: tempfile::TempDir, ledger: String) -> Site {
        let checkout = fixture::empty_checkout("web");
        checkout.write("shipway.yaml", &format!("app: web\nline: trade\nkind: library\nbuild: {{command: {build}}}\n"));
        checkout.commit("Add the application");
        let mut broker = Broker::start();
        broker.declare(QUEUE).await;
        broker.declare(REPLIES).await;
        std::fs::create_dir_all(dir.path().join("home")).unwrap();
        Site { broker, dir, checkout, ledger, answers: Vec::new() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A worker with its own home; its rooms are in a folder that all share.
    fn worker(&self) -> Shipway {
        let repositories = format!("file://{}/*", self.checkout.path().parent().unwrap().display());
        shipway(self.path("home"))
            .envs([("SHIPWAY_QUEUE_URL", self.broker.url().as_str()), ("SHIPWAY_LEDGER_URL", &self.ledger), ("SHIPWAY_LOCK_TTL", TTL)])
            .envs([("SHIPWAY_WORKER_REPOSITORIES", repositories.as_str()), ("SHIPWAY_LEDGER_TIMEOUT", "5s")])
            .env("SHIPWAY_WORKER_DIR", self.path("rooms"))
            .arg("worker")
    }

    fn start(&self) -> Running {
        let mut worker = self.worker().spawn();
        worker.wait_for("waits for builds");
        worker
    }

    fn order(&self, id: &str, changes: Value) -> Value {
        let url = format!("file://{}", self.checkout.path().display());
        let mut order = json!({"id": id, "time": Timestamp::now(), "url": url, "ref": "main"});
        order.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        order
    }

    async fn ask(&mut self, id: &str, changes: Value) {
        let order = self.order(id, changes).to_string();
        self.broker.send(QUEUE, order.as_bytes(), Some((REPLIES, id))).await;
    }

    /// Reads answers until so many different builds have ended.
    async fn ended(&mut self, count: usize, limit: Duration) -> BTreeSet<String> {
        let ids = |answers: &[Value]| {
            answers.iter().filter(|answer| is_last(answer)).map(|answer| answer["id"].to_string()).collect::<BTreeSet<_>>()
        };
        self.read(limit, |answers| ids(answers).len() >= count).await;
        ids(&self.answers)
    }

    /// Reads answers until so many say the end of a build, be it the same.
    async fn done(&mut self, count: usize, limit: Duration) {
        self.read(limit, |answers| answers.iter().filter(|answer| is_last(answer)).count() >= count).await;
    }

    async fn read(&mut self, limit: Duration, enough: impl Fn(&[Value]) -> bool) {
        let begun = Instant::now();
        loop {
            self.answers.extend(self.broker.take(REPLIES).await.into_iter().map(|(_, answer)| answer));
            if enough(&self.answers) {
                return;
            }
            assert!(begun.elapsed() < limit, "not all builds have ended: {:#?}", self.answers);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The last answer to a build.
    fn answer(&self, id: &str) -> &Value {
        self.answers.iter().rev().find(|answer| answer["id"] == id).unwrap_or_else(|| panic!("no answer to {id}: {:#?}", self.answers))
    }

    /// The dead letters: slug and sentence of each.
    async fn dead(&mut self) -> Vec<(String, String)> {
        let letters = self.broker.take_whole(DEAD).await;
        let text = |letter: &lapin::message::Delivery, name: &str| {
            let headers = letter.properties.headers().as_ref().unwrap().inner().clone();
            headers.get(name).and_then(|value| value.as_long_string()).unwrap().to_string()
        };
        letters.iter().map(|letter| (text(letter, "x-shipway-code"), text(letter, "x-shipway-reason"))).collect()
    }

    fn rooms(&self) -> usize {
        std::fs::read_dir(self.path("rooms")).map_or(0, Iterator::count)
    }
}

fn is_last(answer: &Value) -> bool {
    answer["state"] == "done" || answer["state"] == "refused"
}

const SOON: Duration = Duration::from_secs(90);

/// The rows of the table of builds: key, attempts, whether it has ended.
fn builds_of(file: &Path) -> Vec<(String, i64, bool)> {
    let database = rusqlite::Connection::open(file).unwrap();
    let mut rows = database.prepare("SELECT key, attempt, ended IS NOT NULL FROM builds ORDER BY key").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_build_is_done_answered_and_recorded_once() {
    let mut site = Site::new("[sh, -c, 'env | sort > $TMPDIR/../../../seen; test ! -e fail']").await;
    let worker = site.start();
    site.ask("one", json!({"app": "orders", "environment": "prod", "jvm": ["-Xss1m"]})).await;
    // whoever asks twice gets the answer twice, and one build
    site.ask("one", json!({"app": "orders", "environment": "prod", "jvm": ["-Xss1m"]})).await;
    site.done(2, SOON).await;
    let answers = site.answers.clone();
    let states: Vec<&str> = answers.iter().filter_map(|answer| answer["state"].as_str()).collect();
    assert_eq!(states[0], "started", "{states:?}");
    let steps: Vec<_> =
        answers.iter().filter_map(|answer| Some((answer["step"]["name"].as_str()?, answer["step"]["state"].as_str()?))).collect();
    assert_eq!(steps, [("checkout", "started"), ("checkout", "succeeded"), ("build", "started"), ("build", "succeeded")]);
    let result = &site.answer("one")["result"];
    assert_eq!((&result["result"], &result["exit_code"], &result["app"]), (&"succeeded".into(), &0.into(), &"orders".into()));
    assert_eq!(result["commit"]["sha"], site.checkout.head());
    let seen = std::fs::read_to_string(site.path("rooms/seen")).unwrap();
    let has = |start: &str| seen.lines().any(|line| line.starts_with(start));
    assert!(has("TMPDIR=") && !has("SHIPWAY_") && !seen.contains("guest"), "the build sees no settings: {seen}");
    site.checkout.write("fail", "");
    site.checkout.commit("Fail");
    site.ask("two", json!({})).await;
    site.ended(2, SOON).await;
    assert_eq!(site.answer("two")["result"]["problem"]["code"], "build-failed");
    worker.terminate();
    worker.wait().expect_code(0);
    assert_eq!(builds_of(&site.path("ledger.db")), [("one".to_string(), 1, true), ("two".to_string(), 1, true)]);
    assert!(site.dead().await.is_empty() && site.broker.take(QUEUE).await.is_empty());
    std::fs::remove_file(site.path("rooms/seen")).unwrap();
    assert_eq!(site.rooms(), 0, "the rooms are gone");
}

#[tokio::test]
async fn what_is_no_build_is_put_aside_with_the_reason() {
    let mut site = Site::new("['true']").await;
    let worker = site.start();
    for (id, changes, slug) in [
        ("ref", json!({"ref": "--upload-pack=touch /tmp/x"}), "order-invalid"),
        ("else", json!({"url": "https://git.example.test/other/x"}), "order-denied"),
        ("old", json!({"time": "2020-01-01T00:00:00Z"}), "order-expired"),
    ] {
        site.ask(id, changes).await;
        site.done(site.answers.len() + 1, SOON).await;
        assert_eq!((&site.answer(id)["state"], &site.answer(id)["problem"]["code"]), (&"refused".into(), &slug.into()));
    }
    for body in [&b"\xff\xfe{"[..], b"[1]", &vec![b'x'; 200_000]] {
        site.broker.send(QUEUE, body, None).await;
    }
    site.ask("fine", json!({})).await;
    site.ended(4, SOON).await;
    let slugs: Vec<String> = site.dead().await.into_iter().map(|(slug, _)| slug).collect();
    let invalid = "order-invalid";
    assert_eq!(slugs, [invalid, "order-denied", "order-expired", invalid, invalid, invalid]);
    worker.terminate();
    worker.wait().expect_code(0);
    assert_eq!(builds_of(&site.path("ledger.db")), [("fine".to_string(), 1, true)]);
    let database = rusqlite::Connection::open(site.path("ledger.db")).unwrap();
    let denied = "SELECT COUNT(*) FROM events WHERE kind = 'order' AND detail LIKE '%git.example.test/other/x%'";
    assert_eq!(database.query_row(denied, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[tokio::test]
async fn time_and_disk_are_limited() {
    let mut site = Site::new("[sh, -c, 'test -e hang || head -c 50M /dev/zero > large; sleep 600']").await;
    let worker = site.worker().envs([("SHIPWAY_WORKER_DISK", "20Mi"), ("SHIPWAY_WORKER_TIMEOUT", "30s")]).spawn();
    site.ask("large", json!({})).await;
    site.ended(1, SOON).await;
    let problem = site.answer("large")["result"]["problem"].clone();
    assert_eq!(problem["code"], "order-too-large", "{problem}");
    site.checkout.write("hang", "");
    site.checkout.commit("Hang");
    site.ask("hang", json!({})).await;
    site.ended(2, SOON).await;
    let result = &site.answer("hang")["result"];
    assert_eq!((&result["problem"]["code"], &result["exit_code"]), (&"build-timeout".into(), &10.into()), "{result}");
    worker.terminate();
    worker.wait().expect_code(0);
    assert_eq!(site.rooms(), 0);
}

#[tokio::test]
async fn a_worker_without_what_it_needs_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = |settings: &[(&str, &str)]| shipway(dir.path()).envs(settings.iter().copied()).arg("worker").run();
    let (broker, ledger) = (("SHIPWAY_QUEUE_URL", "amqp://127.0.0.1:1"), ("SHIPWAY_LEDGER_URL", "sqlite:ledger.db"));
    let some = ("SHIPWAY_WORKER_REPOSITORIES", "https://git.example.test/trade/*");
    run(&[]).expect_code(2).expect_text(&["queue.url"]);
    run(&[broker, ledger]).expect_code(2).expect_text(&["worker.repositories"]);
    run(&[broker, some]).expect_code(2).expect_text(&["ledger.url"]);
    run(&[broker, ledger, ("SHIPWAY_WORKER_REPOSITORIES", "*")]).expect_code(2).expect_text(&["does not name one host"]);
    run(&[broker, ledger, some]).expect_code(20).expect_text(&["did not connect"]);
}

//! What a message broker is told of a run: a real RabbitMQ, up, away and back.

use std::path::Path;

use serde_json::Value;
use shipway::report::cloud_event::event_schema;

use crate::{
    report::fits,
    support::{
        broker::Broker,
        fixture::{self, Checkout},
        shipway::{Finished, shipway},
    },
};

const EXCHANGE: &str = "builds";
const QUEUE: &str = "all";

/// An application whose build is this argv.
fn checkout(build: &str) -> Checkout {
    let checkout = fixture::empty_checkout("web");
    checkout.write("shipway.yaml", &format!("app: web\nline: trade\nkind: library\nbuild: {{command: {build}}}\n"));
    checkout.commit("Add the application");
    checkout
}

fn run(checkout: &Checkout, url: &str, outbox: &Path) -> Finished {
    shipway(checkout.path())
        .envs([("SHIPWAY_QUEUE_URL", url), ("SHIPWAY_QUEUE_EXCHANGE", EXCHANGE)])
        .env("SHIPWAY_QUEUE_OUTBOX", outbox)
        .arg("build")
        .run()
}

fn keys(messages: &[(String, Value)]) -> Vec<&str> {
    messages.iter().map(|(key, _)| key.as_str()).collect()
}

fn build_files(folder: &Path) -> usize {
    let Ok(brokers) = std::fs::read_dir(folder) else { return 0 };
    let files = brokers.flat_map(|broker| std::fs::read_dir(broker.unwrap().path()).unwrap());
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "jsonl")).count()
}

#[tokio::test]
async fn each_step_is_told_in_order_and_fits_the_schema() {
    let mut broker = Broker::start();
    broker.listen(EXCHANGE, QUEUE).await;
    let outbox = broker.folder().join("outbox");
    run(&checkout("['true']"), &broker.url(), &outbox).expect_code(0);
    run(&checkout("['false']"), &broker.url(), &outbox).expect_code(10);
    let messages = broker.take(QUEUE).await;
    let good = ["trade.web.checkout.started", "trade.web.checkout.succeeded", "trade.web.build.started", "trade.web.build.succeeded"];
    let bad = ["trade.web.checkout.started", "trade.web.checkout.succeeded", "trade.web.build.started", "trade.web.build.failed"];
    let end = ["trade.web.run.finished"];
    assert_eq!(keys(&messages), [&good[..], &end, &bad, &end].concat());
    let schema = event_schema();
    for (at, (_, event)) in messages.iter().enumerate() {
        fits(event, &schema, "event");
        let run = event["data"]["run"].as_str().unwrap();
        assert_eq!(event["id"], format!("{run}/{}", at % 5 + 1));
        assert_eq!((&event["source"], &event["specversion"]), (&Value::from("/shipway/trade/web"), &Value::from("1.0")));
    }
    let last = &messages[9].1["data"]["end"];
    assert_eq!((&last["result"], &last["exit_code"], &last["code"]), (&"failed".into(), &10.into(), &"build-failed".into()));
    assert_eq!(build_files(&outbox), 0);
}

#[tokio::test]
async fn a_broker_that_is_away_fails_no_run_and_gets_all_of_it_later_in_order() {
    let mut broker = Broker::start();
    broker.listen(EXCHANGE, QUEUE).await;
    let outbox = broker.folder().join("outbox");
    broker.kill();
    let (first, second) = (checkout("['true']"), checkout("['false']"));
    let done = run(&first, &broker.url(), &outbox).expect_code(0);
    assert!(done.text().contains("5 events of this run wait in") && done.text().contains("outbox"), "{}", done.text());
    run(&second, &broker.url(), &outbox).expect_code(10);
    assert_eq!(build_files(&outbox), 2);
    broker.up();
    run(&first, &broker.url(), &outbox).expect_code(0);
    let messages = broker.take(QUEUE).await;
    let ends: Vec<&Value> = [4, 9, 14].iter().map(|at: &usize| &messages[*at].1["data"]["end"]["result"]).collect();
    assert_eq!((ends, messages.len()), (vec![&"succeeded".into(), &"failed".into(), &"succeeded".into()], 15));
    for (at, (_, event)) in messages.iter().enumerate() {
        assert!(event["id"].as_str().unwrap().ends_with(&format!("/{}", at % 5 + 1)), "out of order: {event}");
    }
    assert_eq!(build_files(&outbox), 0);
}

#[tokio::test]
async fn secrets_are_in_no_message_and_in_no_warning() {
    let mut broker = Broker::start();
    broker.listen(EXCHANGE, QUEUE).await;
    let outbox = broker.folder().join("outbox");
    let secret = "queue-canary-5551212";
    let denied = run(&checkout("['true']"), &broker.url_of(&format!("guest:{secret}")), &outbox).expect_code(0);
    assert!(denied.text().contains("refused to connect"), "{}", denied.text());
    assert!(!denied.text().contains(secret) && broker.take(QUEUE).await.is_empty());
    let checkout = checkout(&format!("['ls', '/nowhere/{secret}']"));
    let run = shipway(checkout.path()).envs([("SHIPWAY_QUEUE_URL", broker.url().as_str()), ("SHIPWAY_QUEUE_EXCHANGE", EXCHANGE)]);
    run.env("SHIPWAY_QUEUE_OUTBOX", &outbox).env("SHIPWAY_FORGE_TOKEN", secret).arg("build").run().expect_code(10);
    let messages = broker.take(QUEUE).await;
    // the events of the first run come with the second: another password is the same broker
    assert_eq!(messages.len(), 10, "{messages:?}");
    let all: String = messages.iter().map(|(_, event)| event.to_string()).collect();
    assert!(!all.contains(secret), "{all}");
}

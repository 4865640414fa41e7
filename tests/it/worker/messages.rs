//! Messages that come again, late, twice, or under another's name; and builds whose worker stands still or ends beside them.

use serde_json::json;

use super::{
    faults::{begun, wait_for, waiting_site},
    *,
};

#[tokio::test]
async fn an_id_stands_for_one_build() {
    let mut site = Site::new("['true']").await;
    let worker = site.start();
    site.ask("one", json!({"app": "orders"})).await;
    site.ended(1, SOON).await;
    site.ask("one", json!({"app": "bills"})).await;
    site.done(2, SOON).await;
    let refused = site.answer("one");
    assert_eq!((&refused["state"], &refused["problem"]["code"]), (&"refused".into(), &"order-taken".into()), "{refused}");
    let same = site.order("one", json!({"app": "orders"})).to_string();
    site.broker.send_as(QUEUE, same.as_bytes(), Some((REPLIES, "one")), Some("guest")).await.unwrap();
    site.done(3, SOON).await;
    assert_eq!(site.answer("one")["problem"]["code"], "order-taken", "somebody else asks for it");
    worker.terminate();
    worker.wait().expect_code(0);
    assert_eq!(builds_of(&site.path("ledger.db")), [("one".to_string(), 1, true)]);
    assert_eq!(site.dead().await.iter().map(|(slug, _)| slug.as_str()).collect::<Vec<_>>(), ["order-taken", "order-taken"]);
}

#[tokio::test]
async fn what_is_too_old_when_it_comes_again_gets_its_result() {
    let mut site = Site::new("['true']").await;
    let age = ("SHIPWAY_WORKER_MAX_AGE", "20s");
    let worker = site.worker().envs([age]).spawn();
    let time = Timestamp::now();
    site.ask("one", json!({"time": time})).await;
    site.ended(1, SOON).await;
    worker.terminate();
    worker.wait().expect_code(0);
    wait_for("too old", || Timestamp::now().duration_since(time).as_secs() > 20);
    let worker = site.worker().envs([age]).spawn();
    for id in ["one", "two"] {
        site.ask(id, json!({"time": time})).await;
    }
    site.done(3, SOON).await;
    assert_eq!(site.answer("one")["result"]["result"], "succeeded", "{}", site.answer("one"));
    assert_eq!(site.answer("two")["problem"]["code"], "order-expired");
    worker.terminate();
    worker.wait().expect_code(0);
}

#[tokio::test]
async fn answers_do_not_go_round_and_large_messages_are_cut() {
    let mut site = Site::new("['true']").await;
    let worker = site.start();
    for (id, queue) in [("round", QUEUE), ("dead", DEAD)] {
        let order = site.order(id, json!({})).to_string();
        site.broker.send(QUEUE, order.as_bytes(), Some((queue, id))).await;
    }
    site.broker.send(QUEUE, &vec![b'x'; 3 << 20], None).await;
    site.ask("fine", json!({})).await;
    site.ended(1, SOON).await;
    worker.terminate();
    worker.wait().expect_code(0);
    assert_eq!(builds_of(&site.path("ledger.db")).len(), 3);
    let dead = site.broker.take_whole(DEAD).await;
    assert_eq!(dead.iter().map(|letter| letter.data.len()).collect::<Vec<_>>(), [64 << 10]);
    let headers = dead[0].properties.headers().as_ref().unwrap().inner().clone();
    assert_eq!(headers["x-shipway-length"], lapin::types::AMQPValue::LongLongInt(3 << 20));
    assert!(site.broker.take(QUEUE).await.is_empty());
}

#[tokio::test]
async fn a_worker_that_stood_still_records_nothing_over_the_one_that_took_over() {
    let mut site = waiting_site().await;
    let mut frozen = site.start();
    site.ask("one", json!({})).await;
    wait_for("begun", || begun(site.dir.path()) == 1);
    frozen.freeze();
    // the broker does not know that nobody is there: another copy is what a redelivery would be
    let second = site.start();
    site.ask("one", json!({})).await;
    wait_for("begun by the other one, when the claim has passed", || begun(site.dir.path()) == 2);
    std::fs::write(site.path("go"), "").unwrap();
    site.ended(1, SOON).await;
    let recorded = result_of(&site.path("ledger.db"), "one");
    frozen.thaw();
    // its own copy of the message gets the result that is recorded
    site.done(2, SOON).await;
    assert_eq!(result_of(&site.path("ledger.db"), "one"), recorded);
    frozen.terminate();
    frozen.wait_until("its end", |printed| printed.contains("no new builds"));
    frozen.wait().expect_code(0);
    second.terminate();
    second.wait().expect_code(0);
    assert_eq!(builds_of(&site.path("ledger.db")), [("one".to_string(), 2, true)]);
    assert!(site.broker.take(QUEUE).await.is_empty());
}

/// The result and when it was recorded.
fn result_of(file: &Path, key: &str) -> (String, i64) {
    let database = rusqlite::Connection::open(file).unwrap();
    database.query_row("SELECT result, ended FROM builds WHERE key = ?1", [key], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[tokio::test]
async fn workers_share_what_there_is() {
    let mut site = waiting_site().await;
    std::fs::write(site.path("url"), &site.ledger).unwrap();
    // the other one reads its secrets from files
    let by_file = site.worker().env("SHIPWAY_LEDGER_URL", "").env("SHIPWAY_LEDGER_URL_FILE", site.path("url"));
    let mut by_file = by_file.spawn();
    by_file.wait_for("waits for builds");
    let workers = [site.start(), by_file];
    for id in ["one", "two"] {
        site.ask(id, json!({})).await;
    }
    wait_for("both begun", || begun(site.dir.path()) == 2);
    std::fs::write(site.path("go"), "").unwrap();
    site.ended(2, SOON).await;
    let by: BTreeSet<&str> =
        site.answers.iter().filter(|answer| is_last(answer)).map(|answer| answer["worker"].as_str().unwrap()).collect();
    assert_eq!(by.len(), 2, "each has done one: {by:?}");
    for worker in workers {
        worker.terminate();
        worker.wait().expect_code(0);
    }
}

#[tokio::test]
async fn a_copy_that_waits_keeps_nobody_from_other_work() {
    let mut site = waiting_site().await;
    let first = site.start();
    site.ask("one", json!({})).await;
    wait_for("begun", || begun(site.dir.path()) == 1);
    let second = site.start();
    // the second worker gets the copies, and has one place
    for id in ["one", "one", "two"] {
        site.ask(id, json!({})).await;
    }
    wait_for("begun beside the copies", || begun(site.dir.path()) == 2);
    std::fs::write(site.path("go"), "").unwrap();
    site.done(4, SOON).await;
    for worker in [first, second] {
        worker.terminate();
        worker.wait().expect_code(0);
    }
    let done = |id: &str| (id.to_string(), 1, true);
    assert_eq!(builds_of(&site.path("ledger.db")), [done("one"), done("two")]);
    assert!(site.broker.take(QUEUE).await.is_empty());
}

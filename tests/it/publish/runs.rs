//! Runs beside and after each other: the lock, killed runs, cancelled runs.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use shipway::domain::event::Event;
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, NAME, image};

async fn lease(ground: &Ground, renewed: &str) {
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let renewed = if renewed == "now" { now.as_str() } else { renewed };
    let lease: Value = json!({"metadata": {"name": "shipway-web"}, "spec": {"holderIdentity": "https://ci.test/jobs/other",
        "leaseDurationSeconds": 30, "acquireTime": renewed, "renewTime": renewed}});
    let lease: Lease = serde_json::from_value(lease).unwrap();
    ground.api::<Lease>().await.create(&PostParams::default(), &lease).await.unwrap();
}

async fn holder(ground: &Ground) -> Option<String> {
    let lease: Lease = ground.api::<Lease>().await.get("shipway-web").await.unwrap();
    lease.spec.unwrap().holder_identity
}

#[tokio::test]
async fn a_lock_that_another_holds_is_waited_for_in_bounds() {
    let ground = Ground::new("lock held");
    lease(&ground, "now").await;
    let mut publish = ground.publish_of(ground.workload("1"), 1);
    publish.lock_wait = Duration::from_secs(3);
    let problem = ground.publish(&publish).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("lock-held", 40));
    assert!(problem.message.contains("https://ci.test/jobs/other"), "{}", problem.message);
    assert!(ground.said().iter().any(|event| matches!(event, Event::Waiting { what, .. } if what.contains("jobs/other"))));
    assert!(ground.pod_names().await.is_empty());
    assert_eq!(holder(&ground).await.as_deref(), Some("https://ci.test/jobs/other"));
}

#[tokio::test]
async fn a_lock_that_expired_is_taken_over_and_given_back() {
    let ground = Ground::new("lock expired");
    lease(&ground, "2026-01-02T03:04:05.000000Z").await;
    ground.publish_tag("1", 1).await.unwrap();
    assert!(ground.notes().iter().any(|note| note.contains("took over the lock of https://ci.test/jobs/other")));
    assert_eq!(holder(&ground).await, None);
}

#[tokio::test]
async fn two_runs_at_the_same_moment_publish_one_after_the_other() {
    let ground = Ground::new("two runs");
    let (first, second) = tokio::join!(ground.publish_tag("1", 1), ground.publish_tag("2", 2));
    let second = second.unwrap();
    match first {
        Ok(first) => assert_ne!(first.revision, second.revision),
        Err(problem) => assert_eq!(problem.code.slug(), "superseded"),
    }
    assert_eq!(ground.running().await, vec![image("2").to_string(); 2]);
}

#[tokio::test]
async fn a_killed_run_is_seen_and_taken_over() {
    let ground = Ground::new("killed run");
    ground.publish_tag("1", 1).await.unwrap();
    // dropped in the midst of the rollout: nothing is tidied up, as with SIGKILL
    let killed = tokio::time::timeout(Duration::from_secs(4), ground.publish_tag("never-ready", 2)).await;
    assert!(killed.is_err());
    assert_eq!(ground.deployment().await.metadata.annotations.unwrap()["shipway.dev/revision"], "2");
    let next = ground.publish_tag("2", 3).await.unwrap();
    assert_eq!((next.revision, next.previous), (3, Some(1)));
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.contains("took over the lock")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("revision 2 was begun by https://ci.test/jobs/2 and never ended")), "{notes:?}");
    assert_eq!(ground.running().await, vec![image("2").to_string(); 2]);
}

#[tokio::test]
async fn a_cancelled_rollout_is_reverted() {
    let ground = Ground::new("cancelled");
    ground.publish_tag("1", 1).await.unwrap();
    let cluster = ground.cluster().await;
    let cancel = CancellationToken::new();
    let before = CancellationToken::new();
    before.cancel();
    let publish = ground.publish_of(ground.workload("never-ready"), 2);
    let problem = cluster.publish(&publish, &ground.events, &before).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("cancelled", 143));
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        later.cancel();
    });
    let problem = cluster.publish(&publish, &ground.events, &cancel).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("cancelled", 143), "{problem:?}");
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
    assert_eq!(holder(&ground).await, None);
}

#[tokio::test]
async fn a_lost_lock_stops_the_run() {
    let ground = Ground::new("lock lost");
    ground.publish_tag("1", 1).await.unwrap();
    let leases: Api<Lease> = ground.api().await;
    let thief = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let mut lease = leases.get("shipway-web").await.unwrap();
        lease.spec.as_mut().unwrap().holder_identity = Some("thief".to_string());
        lease.metadata.annotations.as_mut().unwrap().insert("shipway.dev/run".to_string(), "thief".to_string());
        leases.replace("shipway-web", &PostParams::default(), &lease).await
    };
    let (problem, stolen) = tokio::join!(ground.publish_tag("never-ready", 2), thief);
    stolen.unwrap();
    let problem = problem.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("lock-lost", 51));
    assert_eq!(holder(&ground).await.as_deref(), Some("thief"));
    assert_eq!(ground.deployment().await.metadata.name.as_deref(), Some(NAME));
}

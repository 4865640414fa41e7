//! Publishes on the real kubelet: what works, what fails, and what is put back.

mod adopt;
mod bench;
mod causes;
mod certain;
mod custom;
mod failures;
mod going;
mod ground;
mod half;
mod jobs;
mod killed;
mod killed_errands;
mod misfortune;
mod neighbours;
mod preflight;
mod print;
mod releases;
mod reproduced;
mod restarted;
mod rough;
mod runs;
mod scaling;
mod shown;
mod soak;
mod watching;

use std::time::Duration;

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::api::{Api, ListParams};
use shipway::{
    cluster::Publish,
    domain::{
        event::{Change, Event},
        workload::Workload,
    },
};
use tokio_util::sync::CancellationToken;

use ground::{Ground, NAME, image};

use crate::support::traffic::Traffic;

/// Requests of a publish beyond its preflight and its watches.
const MOST_REQUESTS: usize = 12;
/// The version and four live objects: what safety needs.
const LEAST_PREFLIGHT: usize = 5;
/// Rights, namespace, two dry runs, quotas, limits, nodes beside that.
const PREFLIGHT: usize = LEAST_PREFLIGHT + 7;
/// Four lists and four watches.
const WATCHES: usize = 8;
/// A list and a watch of the events of each of two pods that are slow to start, as on a busy machine they are.
const EVENTS: usize = 4;

#[tokio::test]
async fn a_first_publish_and_an_update() {
    let ground = Ground::new("happy path");
    let first = ground.publish_tag("1", 1).await.unwrap();
    assert_eq!((first.revision, first.previous, first.restores, first.replicas), (1, None, None, 2));
    assert_eq!(first.url.as_deref(), Some(format!("http://web.{}.svc", ground.namespace.name).as_str()));
    let said = ground.said();
    let created =
        |kind: &str| said.iter().any(|event| matches!(event, Event::Applied { kind: k, change: Change::Created, .. } if k == kind));
    assert!(created("Deployment") && created("Service"), "{said:?}");
    assert!(said.contains(&Event::Rollout { desired: 2, updated: 2, ready: 2, available: 2 }), "{said:?}");

    let cluster = ground.cluster().await;
    // a lock that lives long is not renewed meanwhile, however slow the machine is
    let publish = Publish { lock_ttl: Duration::from_secs(120), ..ground.publish_of(ground.workload("2"), 2) };
    let second = cluster.publish(&publish, &ground.events, &CancellationToken::new()).await.unwrap();
    println!("update: {:.2} s, {} requests", second.seconds, cluster.requests());
    assert!(cluster.requests() <= MOST_REQUESTS + PREFLIGHT + WATCHES + EVENTS, "{} requests", cluster.requests());
    assert_eq!((second.revision, second.previous, second.replicas), (2, Some(1), 2));
    assert_eq!(ground.running().await, vec![image("2").to_string(); 2]);
    let slices = ground.api::<EndpointSlice>().await.list(&ListParams::default()).await.unwrap().items;
    let endpoints = slices.into_iter().filter_map(|slice| slice.endpoints).flatten();
    assert!(endpoints.filter(|endpoint| endpoint.conditions.as_ref().unwrap().ready == Some(true)).count() >= 2);

    let status = cluster.status(NAME).await.unwrap();
    assert_eq!((status.revision, status.image.as_str(), status.version.as_deref()), (Some(2), image("2").to_string().as_str(), Some("2")));
    assert_eq!(status.pods.iter().filter(|pod| pod.ready).count(), 2);
    assert_eq!(status.revisions.iter().map(|release| release.revision).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(status.author.as_deref(), Some("Ada"));
}

#[tokio::test]
async fn the_same_again_restarts_no_pod() {
    let ground = Ground::new("no change");
    ground.publish_tag("1", 1).await.unwrap();
    let before = ground.pod_names().await;
    let mut workload = ground.workload("1");
    workload.version = "1.0-another-tag".to_string();
    let again = ground.publish(&ground.publish_of(workload, 2)).await.unwrap();
    assert_eq!(again.revision, 2);
    assert_eq!(ground.pod_names().await, before);
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.contains("no pod is restarted")), "{notes:?}");
}

#[tokio::test]
async fn a_node_port_answers_at_the_url() {
    let ground = Ground::new("node port");
    let mut workload = ground.workload("1");
    workload.service.as_mut().unwrap().kind = "NodePort".to_string();
    let released = ground.publish(&ground.publish_of(workload, 1)).await.unwrap();
    let url = released.url.unwrap();
    let output = std::process::Command::new("curl").args(["-fsS", "--retry", "5", "--retry-all-errors", "-m", "5", &url]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("version 1"), "{url}: {output:?}");
}

#[tokio::test]
async fn no_request_fails_during_an_update_a_rollback_and_a_scale_down() {
    let ground = Ground::new("requests");
    let drain = Duration::from_secs(5);
    let at = |tag: &str, number| {
        let mut workload = ground.workload(tag);
        workload.service.as_mut().unwrap().kind = "NodePort".to_string();
        workload.rolling.drain = drain;
        ground.publish_of(workload, number)
    };
    let url = ground.publish(&at("1", 1)).await.unwrap().url.unwrap();
    let traffic = Traffic::begin(&url);
    // the image ends at SIGTERM at once, without a word to whoever is connected
    ground.publish(&at("2", 2)).await.unwrap();
    let cluster = ground.cluster().await;
    cluster.rollback(&ground.rollback_of(None), &ground.events, &CancellationToken::new()).await.unwrap();
    let one = serde_json::json!({"spec": {"replicas": 1}});
    let deployments = ground.api::<k8s_openapi::api::apps::v1::Deployment>().await;
    deployments.patch(NAME, &Default::default(), &kube::api::Patch::Merge(&one)).await.unwrap();
    // pods drain until after what ended them is done
    tokio::time::sleep(drain + Duration::from_secs(1)).await;
    let answers = traffic.end();
    println!("{} requests during update, rollback and scale-down, {} failed", answers.asked(), answers.failed.len());
    assert!(answers.failed.is_empty(), "of {} requests: {:?}", answers.asked(), answers.failed);
    let of = |version: &str| answers.good.iter().filter(|answer| answer.contains(version)).count();
    assert!(of("version 1") > 0 && of("version 2") > 0 && answers.asked() > 50);
}

#[tokio::test]
async fn an_older_pipeline_is_superseded() {
    let ground = Ground::new("superseded");
    ground.publish_tag("2", 20).await.unwrap();
    let before = ground.deployment().await.metadata.resource_version;
    let problem = ground.publish_tag("1", 19).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("superseded", 40));
    assert_eq!(ground.deployment().await.metadata.resource_version, before);
    ground.publish_tag("2", 20).await.unwrap();
}

#[tokio::test]
async fn a_rollback_runs_the_last_good_image_and_stays_ahead_of_old_pipelines() {
    let ground = Ground::new("rollback");
    ground.publish_tag("1", 1).await.unwrap();
    ground.publish_tag("2", 2).await.unwrap();
    let cluster = ground.cluster().await;
    let none = CancellationToken::new();
    let unknown = cluster.rollback(&ground.rollback_of(Some(7)), &ground.events, &none).await.unwrap_err();
    assert_eq!(unknown.code.slug(), "revision-unknown");
    let back = cluster.rollback(&ground.rollback_of(None), &ground.events, &none).await.unwrap();
    assert_eq!((back.revision, back.previous, back.restores), (3, Some(2), Some(1)));
    let notes = ground.notes();
    let chosen = format!("rolling back to revision 1 (the last good one that does not run already): version 1, {}", image("1"));
    assert!(notes.contains(&chosen), "{notes:?}");
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
    let status = cluster.status(NAME).await.unwrap();
    assert_eq!((status.revisions[0].restores, status.sequence.unwrap().number), (Some(1), 2));
    assert_eq!(ground.publish_tag("2", 1).await.unwrap_err().code.slug(), "superseded");
}

#[tokio::test]
async fn a_diff_shows_what_would_change_and_changes_nothing() {
    let ground = Ground::new("diff");
    let cluster = ground.cluster().await;
    let created = cluster.diff(&ground.publish_of(ground.workload("1"), 1)).await.unwrap();
    assert!(created.iter().all(|diff| diff.change == Change::Created && diff.live_yaml.is_none()), "{created:?}");
    let bare = shipway::cluster::render(&Workload { environment: None, ..ground.workload("1") }).unwrap();
    assert!(bare.contains("kind: Deployment") && !bare.contains("annotations"), "{bare}");
    assert!(ground.pod_names().await.is_empty());
    ground.publish_tag("1", 1).await.unwrap();
    let same = cluster.diff(&ground.publish_of(ground.workload("1"), 2)).await.unwrap();
    assert!(same.iter().all(|diff| diff.change == Change::Unchanged), "{:#?}", same.iter().map(|diff| diff.unified()).collect::<Vec<_>>());
    let changed = cluster.diff(&ground.publish_of(ground.workload("2"), 2)).await.unwrap();
    let deployment = changed.iter().find(|diff| diff.kind == "Deployment").unwrap();
    assert!(
        deployment.unified().contains(&format!("+        image: {}", image("2"))) || deployment.unified().contains(&image("2").to_string())
    );
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
}

#[tokio::test]
async fn a_service_that_is_switched_off_goes() {
    let ground = Ground::new("service off");
    ground.publish_tag("1", 1).await.unwrap();
    let mut workload = ground.workload("1");
    workload.service = None;
    let released = ground.publish(&ground.publish_of(workload, 2)).await.unwrap();
    assert_eq!(released.url, None);
    let services: Api<Service> = ground.api().await;
    assert!(services.get_opt(NAME).await.unwrap().is_none());
}

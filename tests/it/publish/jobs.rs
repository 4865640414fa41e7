//! A Job among the user's manifests: made anew with each image, never while it runs, never on the way back.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use shipway::domain::event::Change;
use tokio_util::sync::CancellationToken;

use super::{
    custom::{may_more, with},
    ground::{Ground, image},
};

/// It ends by its limit, since the image never does; seconds, or nothing.
fn manifest(limit: &str) -> String {
    let spec = format!(
        "{limit}backoffLimit: 0, template: {{spec: {{restartPolicy: Never, containers: [{{name: app, image: '{}'}}]}}}}",
        image("1").name()
    );
    format!("apiVersion: batch/v1\nkind: Job\nmetadata: {{name: migrate}}\nspec: {{{spec}}}")
}

async fn job(ground: &Ground) -> Job {
    ground.api::<Job>().await.get("migrate").await.unwrap()
}

fn what_it_runs(job: &Job) -> Option<String> {
    job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].image.clone()
}

async fn ended(ground: &Ground) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        let over =
            |job: Job| job.status.and_then(|status| status.conditions).into_iter().flatten().any(|condition| condition.type_ == "Failed");
        while !over(job(ground).await) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.expect("the Job's limit ends it");
}

#[tokio::test]
async fn a_job_that_has_ended_is_made_anew_for_another_image_and_left_on_the_way_back() {
    let ground = Ground::pretended("job").await;
    may_more(&ground).await;
    let short = manifest("activeDeadlineSeconds: 1, ");
    ground.publish(&ground.publish_of(with(&ground, "1", &short, ""), 1)).await.unwrap();
    let first = job(&ground).await;
    assert_eq!(what_it_runs(&first), Some(image("1").to_string()));
    ended(&ground).await;
    ground.publish(&ground.publish_of(with(&ground, "1", &short, ""), 2)).await.unwrap();
    assert_eq!(job(&ground).await.metadata.uid, first.metadata.uid, "the same image again runs nothing again");

    let second = ground.publish_of(with(&ground, "2", &short, ""), 3);
    let diff = ground.cluster().await.diff(&second).await.unwrap().pop().unwrap();
    assert_eq!((diff.kind.as_str(), diff.name.as_str(), diff.change), ("Job", "migrate", Change::Configured));
    assert_eq!(job(&ground).await.metadata.uid, first.metadata.uid, "looking changes nothing");
    ground.said();
    ground.publish(&second).await.unwrap();
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.contains("Job migrate has ended") && note.contains("made anew")), "{notes:?}");
    let anew = job(&ground).await;
    assert_eq!(what_it_runs(&anew), Some(image("2").to_string()));
    assert_ne!(anew.metadata.uid, first.metadata.uid);

    let cluster = ground.cluster().await;
    cluster.rollback(&ground.rollback_of(None), &ground.events, &CancellationToken::new()).await.unwrap();
    assert_eq!(job(&ground).await.metadata.uid, anew.metadata.uid, "a migration of then is not run again");
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.contains("Job migrate stays as it is")), "{notes:?}");
}

#[tokio::test]
async fn a_job_that_runs_is_never_touched() {
    let ground = Ground::new("job runs");
    may_more(&ground).await;
    ground.publish(&ground.publish_of(with(&ground, "1", &manifest(""), ""), 1)).await.unwrap();
    let before = job(&ground).await;
    let problem = ground.publish(&ground.publish_of(with(&ground, "2", &manifest(""), ""), 2)).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("field-immutable", 10), "{problem:?}");
    assert!(problem.message.contains("Job migrate") && problem.message.contains("still runs"), "{problem:?}");
    assert!(problem.hint.contains("publish again when it has ended"), "{}", problem.hint);
    assert_eq!(job(&ground).await.metadata.uid, before.metadata.uid);
    assert_eq!(
        ground.running().await.iter().filter(|image| **image != super::ground::image("1").to_string()).count(),
        0,
        "nothing changed"
    );
}

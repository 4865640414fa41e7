//! What a release is made of, kept in its record, pruned, and put back together.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Secret, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::api::{Api, DeleteParams, ListParams};
use shipway::{
    cluster::{ObjectDiff, Publish},
    domain::{
        config::Config,
        event::Change,
        release::{Cause, Outcome},
        workload::{Autoscale, Disruption, ServicePort},
    },
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, NAME, image};

pub fn config(secret: bool, text: &str) -> Option<Config> {
    let files = [("app.yml", text.as_bytes()), ("db/pool.properties", b"size=3"), ("logo.bin", b"\x00\xff\x01")];
    let files = files.into_iter().map(|(path, content)| (path.to_string(), content.to_vec())).collect();
    Some(Config::new("config/", "/config", secret, files).unwrap())
}

/// Everything that can differ from the plain workload.
fn rich(ground: &Ground, tag: &str, number: u64) -> Publish {
    let mut workload = ground.workload(tag);
    workload.service = Some(ServicePort { port: 8081, kind: "ClusterIP".to_string() });
    workload.autoscale = Some(Autoscale { min: 1, max: 4, cpu: Some(70), ..Autoscale::default() });
    workload.disruption = Some(Disruption { max_unavailable: Some("1".to_string()), min_available: None });
    workload.config = config(false, "mode: two");
    workload.env = BTreeMap::from([("COLOUR".to_string(), "two".to_string())]);
    ground.publish_of(workload, number)
}

fn plain(ground: &Ground, tag: &str, number: u64) -> Publish {
    let mut workload = ground.workload(tag);
    workload.config = config(false, "mode: one");
    workload.env = BTreeMap::from([("COLOUR".to_string(), "one".to_string())]);
    ground.publish_of(workload, number)
}

/// Service port, whether there is an autoscaler and a budget, the variable, the mounted configuration.
async fn shape(ground: &Ground) -> (i32, bool, bool, String, String) {
    let service = ground.api::<Service>().await.get(NAME).await.unwrap().spec.unwrap();
    let autoscaler = ground.api::<HorizontalPodAutoscaler>().await.get_opt(NAME).await.unwrap();
    let budget = ground.api::<PodDisruptionBudget>().await.get_opt(NAME).await.unwrap();
    let pod = ground.deployment().await.spec.unwrap().template.spec.unwrap();
    let mode = pod.containers[0].env.as_ref().unwrap()[0].value.clone().unwrap();
    let mounted = pod.volumes.unwrap().remove(0).config_map.unwrap().name;
    (service.ports.unwrap()[0].port, autoscaler.is_some(), budget.is_some(), mode, mounted)
}

async fn configs(ground: &Ground) -> Vec<String> {
    let maps = ground.api::<ConfigMap>().await.list(&ListParams::default().labels("shipway.dev/config=files")).await.unwrap().items;
    maps.into_iter().filter_map(|map| map.metadata.name).collect()
}

#[tokio::test]
async fn what_goes_back_is_everything_together() {
    let ground = Ground::new("all together");
    ground.publish(&plain(&ground, "1", 1)).await.unwrap();
    let first = shape(&ground).await;
    assert_eq!((first.0, first.1, first.2, first.3.as_str()), (80, false, false, "one"));
    // a release that fails takes all of it back
    let problem = ground.publish(&rich(&ground, "crash", 2)).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("crash-loop", 50), "{problem:?}");
    assert_eq!(shape(&ground).await, first);
    // one that is good is what it says
    ground.publish(&rich(&ground, "2", 3)).await.unwrap();
    let third = shape(&ground).await;
    assert_eq!((third.0, third.1, third.2, third.3.as_str()), (8081, true, true, "two"));
    assert_ne!(third.4, first.4);
    // and goes back by command, and forth again
    let cluster = ground.cluster().await;
    let none = CancellationToken::new();
    let back = cluster.rollback(&ground.rollback_of(None), &ground.events, &none).await.unwrap();
    assert_eq!((back.revision, back.restores), (4, Some(1)));
    assert_eq!(shape(&ground).await, first);
    cluster.rollback(&ground.rollback_of(Some(3)), &ground.events, &none).await.unwrap();
    assert_eq!(shape(&ground).await, third);

    let history = cluster.history(NAME).await.unwrap();
    assert_eq!(history.live, Some(5));
    let told: Vec<_> =
        history.revisions.iter().map(|release| (release.revision, release.cause, release.outcome, release.restores)).collect();
    assert_eq!(
        told,
        [
            (5, Cause::Rollback, Outcome::Succeeded, Some(3)),
            (4, Cause::Rollback, Outcome::Succeeded, Some(1)),
            (3, Cause::Publish, Outcome::Succeeded, None),
            (2, Cause::Publish, Outcome::RolledBack, None),
            (1, Cause::Publish, Outcome::Succeeded, None),
        ]
    );
    let (newest, oldest) = (&history.revisions[0], &history.revisions[4]);
    assert_eq!((newest.author.as_deref(), oldest.author.as_deref()), (Some("Grace"), Some("Ada")));
    assert_eq!(oldest.commit.as_deref(), Some("1a2b3c4d5e6f"));
    assert_eq!(oldest.job_url.as_deref(), Some("https://ci.test/jobs/1"));
    assert!(oldest.image.contains("@sha256:") && oldest.seconds.is_some() && !oldest.spec.is_empty(), "{oldest:?}");
    assert!(newest.config.is_some() && newest.config != oldest.config && newest.config == history.revisions[2].config);
}

#[tokio::test]
async fn a_configuration_alone_is_a_publish_and_what_nobody_needs_is_pruned() {
    let ground = Ground::new("configuration");
    let cluster = ground.cluster().await;
    let at = |number: u64, text: &str| {
        let mut workload = ground.workload("1");
        workload.replicas = Some(1);
        workload.config = config(false, text);
        Publish { history: 2, ..ground.publish_of(workload, number) }
    };
    ground.publish(&at(1, "mode: one")).await.unwrap();
    let first = ground.pod_names().await;
    let diff = cluster.diff(&at(2, "mode: two")).await.unwrap();
    let changed = |diff: &[ObjectDiff], kind: &str| diff.iter().find(|object| object.kind == kind).map(|object| object.unified()).unwrap();
    assert!(
        changed(&diff, "ConfigMap").contains("+  app.yml: 'mode: two'") || changed(&diff, "ConfigMap").contains("mode: two"),
        "{diff:?}"
    );
    ground.publish(&at(2, "mode: two")).await.unwrap();
    assert_ne!(ground.pod_names().await, first, "new pods see the new files");
    let map = ground.api::<ConfigMap>().await.get(&configs_of(&ground).await).await.unwrap();
    assert_eq!(map.immutable, Some(true));
    assert_eq!(map.data.unwrap()["app.yml"], "mode: two");
    assert_eq!(map.binary_data.unwrap().len(), 1);
    let mounts = ground.deployment().await.spec.unwrap().template.spec.unwrap();
    let items = mounts.volumes.unwrap().remove(0).config_map.unwrap().items.unwrap();
    assert!(items.iter().any(|item| item.path == "db/pool.properties"), "{items:?}");
    assert_eq!(mounts.containers[0].volume_mounts.as_ref().unwrap()[0].read_only, Some(true));
    assert_eq!(configs(&ground).await.len(), 2);

    let before = ground.pod_names().await;
    ground.publish(&at(3, "mode: two")).await.unwrap();
    assert_eq!(ground.pod_names().await, before, "the same files restart nothing");
    let kept = async || cluster.history(NAME).await.unwrap().revisions.iter().map(|release| release.revision).collect::<Vec<u64>>();
    assert_eq!(kept().await, [3, 2, 1], "2 has the pods of 3: 1 is the way back");
    assert_eq!(configs(&ground).await.len(), 2);

    // what a rollback needs and somebody deleted is missed before anything changes
    ground.publish(&at(4, "mode: four")).await.unwrap();
    assert_eq!(kept().await, [4, 3]);
    assert_eq!(configs(&ground).await.len(), 2, "the first went with the last record that had it");
    let old = config(false, "mode: two").unwrap().reference(NAME).name;
    ground.api::<ConfigMap>().await.delete(&old, &DeleteParams::default()).await.unwrap();
    let problem = cluster.rollback(&ground.rollback_of(Some(3)), &ground.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("config-missing", 10));
    assert!(problem.message.contains(&old), "{}", problem.message);
    assert_eq!(cluster.history(NAME).await.unwrap().live, Some(4));
}

/// The configuration that is mounted now.
async fn configs_of(ground: &Ground) -> String {
    let pod = ground.deployment().await.spec.unwrap().template.spec.unwrap();
    pod.volumes.unwrap().remove(0).config_map.unwrap().name
}

#[tokio::test]
async fn secret_files_are_mounted_and_never_told() {
    let ground = Ground::new("secret files");
    let mut workload = ground.workload("1");
    workload.replicas = Some(1);
    workload.config = config(true, "password: hidden-in-here");
    let rendered = shipway::cluster::render(&workload).unwrap();
    assert!(!rendered.contains("hidden") && rendered.contains("kind: Secret") && rendered.contains("app.yml"), "{rendered}");
    let publish = ground.publish_of(workload, 1);
    let diff = ground.cluster().await.diff(&publish).await.unwrap();
    let told = diff.iter().find(|object| object.kind == "Secret").unwrap();
    assert!(told.change == Change::Created && !format!("{diff:?}").contains("hidden"), "{diff:?}");
    ground.publish(&publish).await.unwrap();
    let secrets: Api<Secret> = ground.api().await;
    let name = config(true, "password: hidden-in-here").unwrap().reference(NAME).name;
    let secret = secrets.get(&name).await.unwrap();
    assert_eq!((secret.immutable, secret.data.unwrap()["app.yml"].0.as_slice()), (Some(true), b"password: hidden-in-here".as_slice()));
    assert!(!format!("{:?}", ground.said()).contains("hidden"));
    let records = ground.api::<ConfigMap>().await.list(&ListParams::default()).await.unwrap().items;
    assert!(!format!("{records:?}").contains("hidden"), "no record holds it");
}

#[tokio::test]
async fn a_rollback_that_fails_too_keeps_both_errors() {
    let ground = Ground::new("both fail");
    let mut first = ground.workload("1");
    first.config = config(false, "mode: one");
    ground.publish(&ground.publish_of(first, 1)).await.unwrap();
    // what revision 1 needs is gone when the next one fails
    let old = config(false, "mode: one").unwrap().reference(NAME).name;
    ground.api::<ConfigMap>().await.delete(&old, &DeleteParams::default()).await.unwrap();
    let problem = ground.publish_tag("crash", 2).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("crash-loop", 51), "{problem:?}");
    assert!(problem.message.contains("going back to revision 1 failed, too") && problem.message.contains(&old), "{}", problem.message);
    assert!(problem.evidence.iter().any(|seen| seen.source == "rollback"), "{:?}", problem.evidence);
    assert!(problem.evidence.iter().any(|seen| seen.source.contains("pod/web-")), "the first failure's evidence is there");
    let history = ground.cluster().await.history(NAME).await.unwrap();
    assert_eq!((history.live, history.revisions[0].outcome), (Some(2), Outcome::Failed));
}

#[tokio::test]
async fn a_rollback_has_its_own_limit_and_is_watched() {
    let ground = Ground::new("rollback limit");
    let mut first = ground.publish_of(ground.workload("1"), 1);
    (first.workload.replicas, first.workload.rolling.min_ready_seconds) = (Some(1), 8);
    ground.publish(&first).await.unwrap();
    ground.publish_tag("2", 2).await.unwrap();
    // the pods of revision 1 count only after 8 seconds
    let mut rollback = ground.rollback_of(Some(1));
    rollback.errand.timeout = std::time::Duration::from_secs(5);
    let problem = ground.cluster().await.rollback(&rollback, &ground.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("deadline-exceeded", 50), "{problem:?}");
    assert!(problem.message.contains("revision 2 (version 2) is back and verified"), "{}", problem.message);
    assert!(ground.running().await.iter().all(|running| *running == image("2").to_string()));
    let history = ground.cluster().await.history(NAME).await.unwrap();
    assert_eq!((history.live, history.revisions[0].restores, history.revisions[0].outcome), (Some(2), Some(1), Outcome::RolledBack));
}

#[tokio::test]
async fn a_restart_gives_new_pods_and_is_not_repeated_by_the_next_publish() {
    let ground = Ground::new("restart");
    ground.publish_tag("1", 1).await.unwrap();
    let (before, cluster) = (ground.pod_names().await, ground.cluster().await);
    let again = cluster.restart(&ground.errand(), false, &ground.events, &CancellationToken::new()).await.unwrap();
    assert_eq!((again.revision, again.previous, again.replicas), (2, Some(1), 2));
    let after = ground.pod_names().await;
    assert!(after.iter().all(|pod| !before.contains(pod)) && after.len() == 2, "{before:?} {after:?}");
    let history = cluster.history(NAME).await.unwrap();
    assert_eq!((history.revisions[0].cause, history.revisions[0].author.as_deref()), (Cause::Restart, Some("Grace")));
    assert_eq!(history.revisions[0].spec, history.revisions[1].spec, "the same pods but for their time");
    ground.publish_tag("1", 3).await.unwrap();
    assert_eq!(ground.pod_names().await, after);
    let nothing = cluster.rollback(&ground.rollback_of(None), &ground.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(nothing.code.slug(), "nothing-to-roll-back-to", "a restart is nothing to go back from");
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
}

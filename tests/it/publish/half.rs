//! Never half a release: what fails between the first change and the last is taken back whole, and a server that restarts at any request
//! ends no run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Service},
};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use shipway::{
    cluster::{self, Publish, Released, Target},
    domain::{
        custom::{Custom, File},
        problem::Result,
        release::Outcome,
        workload::Autoscale,
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    custom::may_more,
    ground::{Ground, NAME, image, record},
};
use crate::support::api::{Act, Api, Seen};

fn changes(seen: &Seen, method: &str, path: &str) -> bool {
    seen.change > 0 && seen.method == method && seen.path.ends_with(path)
}

fn failure(code: u16, reason: &str) -> Act {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code});
    Act::Answer(code, Vec::new(), status.to_string())
}

async fn through(api: &Api, ground: &Ground, publish: &Publish) -> Result<Released> {
    let target = Target { kubeconfig: vec![api.kubeconfig.clone()], ..Target::default() };
    let cluster = cluster::connect(&target, &ground.namespace.name).await?;
    cluster.publish(publish, &ground.events, &CancellationToken::new()).await
}

/// With an autoscaler, which is applied after the Deployment.
fn scaled(ground: &Ground, tag: &str, number: u64) -> Publish {
    let mut publish = ground.publish_of(ground.workload(tag), number);
    publish.workload.autoscale = Some(Autoscale { min: 2, max: 4, cpu: Some(70), ..Autoscale::default() });
    publish
}

fn with_settings(ground: &Ground, mut publish: Publish, colour: &str) -> Publish {
    let text = format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: settings}}, data: {{colour: {colour}}}}}");
    let file = File { path: "deploy/settings.yaml".to_string(), text };
    publish.workload.custom = Custom::read(&[file], &[], &ground.namespace.name).unwrap();
    publish
}

async fn outcomes(ground: &Ground) -> Vec<(u64, Outcome)> {
    let history = ground.cluster().await.history(NAME).await.unwrap();
    history.revisions.iter().map(|release| (release.revision, release.outcome)).collect()
}

#[tokio::test]
async fn what_fails_after_the_patch_is_taken_back_and_stays_newer_than_what_was_overtaken() {
    let ground = Ground::pretended("half after").await;
    ground.publish_tag("1", 68).await.unwrap();
    let api = Api::with(&ground.namespace.kubeconfig, |seen| match changes(seen, "PATCH", "/horizontalpodautoscalers/web") {
        true => failure(500, "InternalError"),
        false => Act::Pass,
    });
    let problem = through(&api, &ground, &scaled(&ground, "2", 70)).await.unwrap_err();
    assert!(problem.message.contains("revision 1 (version 1) is back and verified"), "{problem:?}");
    assert_eq!(problem.exit_code(), 50, "whatever the cause: {problem:?}");
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
    assert!(ground.api::<HorizontalPodAutoscaler>().await.get_opt(NAME).await.unwrap().is_none());
    assert_eq!(outcomes(&ground).await, [(2, Outcome::RolledBack), (1, Outcome::Succeeded)]);
    let older = ground.publish_tag("2", 69).await.unwrap_err();
    assert_eq!((older.code.slug(), older.exit_code()), ("superseded", 40), "70 failed, and is newer all the same");
    assert_eq!(ground.publish_tag("2", 70).await.unwrap().revision, 3, "the same one may be tried again");
}

#[tokio::test]
async fn the_pods_go_back_though_something_else_cannot() {
    let ground = Ground::pretended("half back").await;
    may_more(&ground).await;
    ground.publish(&with_settings(&ground, ground.publish_of(ground.workload("1"), 1), "red")).await.unwrap();
    let patched = AtomicBool::new(false);
    let api = Api::with(&ground.namespace.kubeconfig, move |seen| {
        if changes(seen, "PATCH", "/deployments/web") {
            patched.store(true, Ordering::SeqCst);
        }
        match patched.load(Ordering::SeqCst) {
            true if changes(seen, "PATCH", "/horizontalpodautoscalers/web") => failure(500, "InternalError"),
            true if seen.path.ends_with("/configmaps/settings") => failure(403, "Forbidden"),
            _ => Act::Pass,
        }
    });
    let problem = through(&api, &ground, &with_settings(&ground, scaled(&ground, "2", 2), "blue")).await.unwrap_err();
    assert_eq!(problem.exit_code(), 51, "{problem:?}");
    assert!(problem.message.contains("its pods are up, but not all of revision 1 is back"), "{problem:?}");
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
    assert_eq!(outcomes(&ground).await, [(2, Outcome::Failed), (1, Outcome::Succeeded)]);
}

#[tokio::test]
async fn a_release_that_did_not_start_leaves_nothing_new() {
    let ground = Ground::pretended("half before").await;
    may_more(&ground).await;
    let api = Api::with(&ground.namespace.kubeconfig, |seen| match changes(seen, "PATCH", "/deployments/web") {
        true => failure(403, "Forbidden"),
        false => Act::Pass,
    });
    let first = with_settings(&ground, ground.publish_of(ground.workload("1"), 1), "red");
    let problem = through(&api, &ground, &first).await.unwrap_err();
    assert_eq!(problem.exit_code(), 30, "{problem:?}");
    let tried = |path: &str| api.seen().iter().any(|seen| changes(seen, "PATCH", path));
    assert!(tried("/services/web") && tried("/configmaps/settings"), "both come before the Deployment");
    assert!(ground.api::<Service>().await.get_opt(NAME).await.unwrap().is_none());
    assert!(ground.api::<ConfigMap>().await.get_opt("settings").await.unwrap().is_none());
    ground.publish(&first).await.unwrap();
}

#[tokio::test]
async fn a_killed_release_whose_image_somebody_changed_is_not_good() {
    let ground = Ground::pretended("half foreign").await;
    ground.publish_tag("1", 1).await.unwrap();
    ground.publish_tag("2", 2).await.unwrap();
    // as the kill leaves it, and then: kubectl set image
    let records = ground.api::<ConfigMap>().await;
    let text = record(&records.get("shipway-web-r2").await.unwrap()).replace("\"succeeded\"", "\"pending\"");
    // not packed, as the first releases of shipway wrote it
    let pending = json!({"data": {"release.json": text}, "binaryData": null});
    records.patch("shipway-web-r2", &PatchParams::default(), &Patch::Merge(&pending)).await.unwrap();
    let name = ground.deployment().await.spec.unwrap().template.spec.unwrap().containers[0].name.clone();
    let foreign = json!({"spec": {"template": {"spec": {"containers": [{"name": name, "image": image("1").to_string()}]}}}});
    let deployments = ground.api::<k8s_openapi::api::apps::v1::Deployment>().await;
    deployments.patch(NAME, &PatchParams::default(), &Patch::Strategic(&foreign)).await.unwrap();
    let settled = async {
        loop {
            let live = ground.deployment().await;
            let (generation, status) = (live.metadata.generation, live.status.unwrap_or_default());
            let counts = [status.updated_replicas, status.replicas, status.available_replicas];
            if status.observed_generation == generation && counts == [Some(2); 3] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled).await.unwrap();
    let next = Publish { force_conflicts: true, ..ground.publish_of(ground.workload("never-ready"), 3) };
    assert_eq!(ground.publish(&next).await.unwrap().previous, Some(1), "2 is nothing to go back to");
    assert_eq!(outcomes(&ground).await[1], (2, Outcome::Interrupted));
}

#[tokio::test]
async fn a_lock_that_was_taken_though_nobody_said_so_is_not_waited_for() {
    let ground = Ground::pretended("half lock").await;
    let taken = AtomicBool::new(false);
    let api = Api::with(&ground.namespace.kubeconfig, move |seen| {
        match changes(seen, "POST", "/leases") && !taken.swap(true, Ordering::SeqCst) {
            true => Act::Swallow(Arc::new(|| {})),
            false => Act::Pass,
        }
    });
    let publish =
        Publish { lock_wait: Duration::from_secs(3), lock_ttl: Duration::from_secs(60), ..ground.publish_of(ground.workload("1"), 1) };
    through(&api, &ground, &publish).await.unwrap();
    assert_eq!(outcomes(&ground).await, [(1, Outcome::Succeeded)]);
}

/// Cut at this request beyond the preflight, and away for a while; gives how many requests there were beyond it.
async fn with_a_restart_at(request: usize, ground: &Ground, publish: &Publish) -> usize {
    let (api, count) = (Arc::new(Api::before(&ground.namespace.kubeconfig)), Arc::new(AtomicUsize::new(0)));
    let (restarted, counted) = (Arc::downgrade(&api), count.clone());
    api.rule(move |seen| {
        let begun = counted.load(Ordering::SeqCst) > 0 || seen.path.ends_with("/leases/shipway-web");
        if !begun || seen.is_watch() || counted.fetch_add(1, Ordering::SeqCst) + 1 != request {
            return Act::Pass;
        }
        if let Some(api) = restarted.upgrade() {
            api.down(true);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(2));
                api.down(false);
            });
        }
        Act::HangUp
    });
    let released = through(&api, ground, publish).await;
    released.unwrap_or_else(|problem| panic!("at request {request}: {problem:?}"));
    count.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_server_that_restarts_at_any_request_ends_no_run() {
    let ground = Ground::pretended("half restarts").await;
    ground.publish_tag("1", 1).await.unwrap();
    let mut request = 1;
    loop {
        let tag = if request % 2 == 1 { "2" } else { "1" };
        let number = 1 + u64::try_from(request).unwrap();
        let publish = Publish { lock_ttl: Duration::from_secs(15), ..ground.publish_of(ground.workload(tag), number) };
        let requests = with_a_restart_at(request, &ground, &publish).await;
        assert_eq!(ground.running().await, vec![image(tag).to_string(); 2], "at request {request}");
        if requests < request {
            break;
        }
        request += 1;
    }
    assert!(request > 8, "lock, records, Service, Deployment, lists, record, lock: {request}");
    assert!(outcomes(&ground).await.iter().all(|(_, outcome)| *outcome == Outcome::Succeeded));
}

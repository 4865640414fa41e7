//! False success and false failure, the worst that a verdict can be, on the real kubelet: pods that are up and then are not, pods that go
//! for no fault of the release, and classes that the shortest test of a cause does not meet.

use std::{process::Command, time::Duration};

use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::Pod,
};
use kube::api::{Api, DeleteParams, EvictParams, PostParams};
use serde_json::json;
use shipway::domain::{event::Event, problem::EvidenceKind, workload::Workload};

use super::{
    causes::{Sign, broken, broken_next, ends_twice, pull_fails, refused},
    ground::{Ground, image, image_that_starts, java_image, patched, quantities},
};
use crate::support::lab::lab;

/// The application's container runs this in place of the image's own program.
fn runs(workload: &mut Workload, script: &str) {
    let container = json!({"name": "app", "command": ["/bin/sh", "-c", script]});
    patched(workload, json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [container]}}}}));
}

#[tokio::test]
async fn a_new_pod_that_is_ready_and_dies_within_min_ready_seconds() {
    let ground = Ground::new("dies young");
    let broken = broken(&ground, "ready, then dies (2nd end)", ends_twice(), |workload| {
        runs(workload, "/start & sleep 3; echo fatal: lost the database; exit 3");
        workload.rolling.min_ready_seconds = 30;
    })
    .await;
    broken
        .at_once()
        .code("crash-loop")
        .says(&["ended twice with exit code 3", "lost the database"])
        .shows(EvidenceKind::Log, "lost the database");
    let said = ground.said();
    let was_ready = said.iter().any(|event| matches!(event, Event::Pod { ready: true, old: false, .. }));
    let available = said.iter().any(|event| matches!(event, Event::Rollout { updated: 1, ready: 1, available: 0, .. }));
    assert!(was_ready && available, "the pod was ready, and never counted: {said:?}");
}

#[tokio::test]
async fn a_new_pod_that_is_evicted_is_replaced_and_no_failure() {
    let ground = Ground::new("evicted");
    ground.publish_tag("1", 1).await.unwrap();
    let mut workload = ground.workload("2");
    workload.rolling.min_ready_seconds = 3;
    let pods: Api<Pod> = ground.api().await;
    let evict = async {
        let name = first_ready(&pods, &image("2").to_string()).await;
        pods.evict(&name, &EvictParams::default()).await.unwrap();
        name
    };
    let publish = ground.publish_of(workload, 2);
    let (released, evicted) = tokio::join!(ground.publish(&publish), evict);
    assert_eq!(released.unwrap().revision, 2);
    let names = ground.pod_names().await;
    assert!(names.len() == 2 && !names.contains(&evicted), "{evicted} was not replaced: {names:?}");
    assert_eq!(ground.running().await, vec![image("2").to_string(); 2]);
}

/// The name of the first pod with this image that gets ready.
async fn first_ready(pods: &Api<Pod>, image: &str) -> String {
    for _ in 0..600 {
        for pod in pods.list(&Default::default()).await.unwrap().items {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            if ready && pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image) {
                return pod.metadata.name.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no pod of {image} gets ready");
}

#[tokio::test]
async fn pods_that_write_more_than_they_may_are_told_though_others_come_for_them() {
    let ground = Ground::new("writes too much");
    let evicted = Sign::Pod(|pod| pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted"));
    let broken = broken(&ground, "evicted for its own writing (1st pod)", evicted, |workload| {
        runs(workload, "/start & i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789 >> /tmp/log; i=$((i + 1)); done; sleep 3600");
        workload.resources.limits.insert("ephemeral-storage".to_string(), "200Ki".to_string());
        workload.rolling.min_ready_seconds = 80;
        // each takes the kubelet many seconds
        workload.rolling.budgets.restarts = 1;
    })
    .await;
    broken.at_once().code("pod-failed").says(&["was evicted for what it wrote: ", "ephemeral"]).hints("kubernetes.resources.limits");
}

#[tokio::test]
async fn pods_that_their_node_does_not_take_are_told_before_there_are_many() {
    let ground = Ground::new("refused by its node");
    let failed = Sign::Pod(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed"));
    let broken = broken(&ground, "refused by its node (2nd pod)", failed, |workload| {
        let pod = json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}});
        patched(workload, json!({"kind": "Deployment", "spec": {"template": {"spec": pod}}}));
    })
    .await;
    broken.at_once().code("pod-failed").says(&["pod web-", " failed: SysctlForbidden", "kernel.msgmax"]);
}

#[tokio::test]
async fn classes_that_are_too_new_for_the_images_java() {
    let ground = Ground::new("java too old");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Main.java"), "public class Main { public static void main(String[] a) {} }").unwrap();
    let compile =
        Command::new(lab().jdk(25).join("bin/javac")).args(["--release", "25", "Main.java"]).current_dir(&folder).output().unwrap();
    assert!(compile.status.success(), "{}", String::from_utf8_lossy(&compile.stderr));
    let image = java_image(17, &folder.path().join("Main.class")).await;
    let broken = broken(&ground, "classes newer than the image's Java", ends_twice(), |workload| {
        workload.image = image;
        workload.resources.limits = quantities(&[("memory", "256Mi")]);
    })
    .await;
    broken
        .at_once()
        .code("java-too-old")
        .says(&["the application is compiled for Java 25, but the image runs Java 17"])
        .hints("set image.base to a Java 25 image, or build.jdk to 17")
        .shows(EvidenceKind::Log, "UnsupportedClassVersionError");
}

#[tokio::test]
async fn an_image_that_the_node_must_not_pull() {
    let ground = Ground::new("never pull");
    let image = image_that_starts("/start").await;
    let broken = broken(&ground, "image must not be pulled", pull_fails(), |workload| {
        workload.image = image;
        let container = json!({"name": "app", "imagePullPolicy": "Never"});
        patched(workload, json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [container]}}}}));
    })
    .await;
    broken.at_once().code("image-not-found").says(&["is not on the node of pod web-", "must not be pulled"]);
}

#[tokio::test]
async fn the_controllers_own_limit_is_told_with_the_pods_trouble() {
    let ground = Ground::new("progress deadline");
    let over = Sign::Deployment(|deployment| {
        let conditions = deployment.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.reason.as_deref() == Some("ProgressDeadlineExceeded"))
    });
    let broken = broken(&ground, "progress deadline of the Deployment (5 s)", over, |workload| {
        workload.image = image("never-ready");
        workload.probes.startup = None;
        workload.rolling.budgets.readiness_least = Duration::from_secs(60);
        patched(workload, json!({"kind": "Deployment", "spec": {"progressDeadlineSeconds": 5}}));
    })
    .await;
    broken.at_once().code("never-ready").says(&["is not ready after", "connection refused", "0 of 2 new pods were available after"]);
}

#[tokio::test]
async fn a_policy_that_lets_no_pod_be_made() {
    let ground = Ground::new("policy");
    ground.publish_tag("1", 1).await.unwrap();
    let (policies, bindings) = policy(&ground).await;
    let broken =
        broken_next(&ground, "admission policy denies the pods", refused(), |workload| drop(workload.env.insert("A".into(), "b".into())))
            .await;
    bindings.delete(&ground.namespace.name, &DeleteParams::default()).await.unwrap();
    policies.delete(&ground.namespace.name, &DeleteParams::default()).await.unwrap();
    broken
        .at_once()
        .code("pod-rejected")
        .says(&["the cluster refuses the new pods", "pods need an owner"])
        .shows(EvidenceKind::Event, "FailedCreate");
}

/// A policy of the cluster's own that denies pods with the variable A in the ground's namespace; back when the API server knows it.
async fn policy(ground: &Ground) -> (Api<ValidatingAdmissionPolicy>, Api<ValidatingAdmissionPolicyBinding>) {
    let (name, client) = (ground.namespace.name.as_str(), lab().client().await);
    let denied = "!object.spec.containers.exists(c, has(c.env) && c.env.exists(e, e.name == 'A'))";
    let policy = json!({"metadata": {"name": name}, "spec": {"failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
        "validations": [{"expression": denied, "message": "pods need an owner"}]}});
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}}});
    let (policies, bindings) = (Api::all(client.clone()), Api::all(client));
    policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let container = json!({"name": "a", "image": "nowhere.test/a:1", "env": [{"name": "A", "value": "b"}]});
    let probe: Pod = serde_json::from_value(json!({"metadata": {"name": "probe"}, "spec": {"containers": [container]}})).unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let pods: Api<Pod> = ground.api().await;
    for _ in 0..200 {
        if pods.create(&dry, &probe).await.is_err() {
            return (policies, bindings);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the API server does not ask the policy");
}

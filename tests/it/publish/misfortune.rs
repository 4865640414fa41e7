//! What befalls some pods of a rollout and is not the release's fault: one bad pod of ten, a node that is lost. On pretended nodes, where
//! it can be arranged.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use shipway::{
    cluster::Publish,
    domain::{problem::Problem, workload::Workload},
};

use super::ground::{Ground, image, patched};
use crate::support::{lab::lab, unique};

/// Pods that run this tag's image, are ready, and stay.
async fn ready(pods: &Api<Pod>, tag: &str) -> Vec<Pod> {
    let image = image(tag).to_string();
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    let of_it =
        |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(&image);
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    all.into_iter().filter(|pod| of_it(pod) && is_ready(pod)).collect()
}

async fn await_ready(pods: &Api<Pod>, tag: &str, least: usize) -> Vec<Pod> {
    for _ in 0..600 {
        let found = ready(pods, tag).await;
        if found.len() >= least {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no {least} pods of {tag} get ready");
}

/// Ten pods that are all replaced at once, and count when they have been ready for so long.
fn ten(ground: &Ground, tag: &str, number: u64, min_ready_seconds: i32) -> Publish {
    let mut workload = ground.workload(tag);
    workload.replicas = Some(10);
    workload.rolling.max_surge = "10".to_string();
    workload.rolling.min_ready_seconds = min_ready_seconds;
    ground.publish_of(workload, number)
}

/// Makes a pretended pod one whose application crashes again and again.
async fn crash(pods: &Api<Pod>, pod: &str) {
    let unready = |kind: &str| json!({"type": kind, "status": "False"});
    let container = json!({"name": "app", "image": "x", "imageID": "", "ready": false, "started": false, "restartCount": 5,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}});
    let status = json!({"status": {"conditions": [unready("Ready"), unready("ContainersReady")], "containerStatuses": [container]}});
    pods.patch_status(pod, &PatchParams::default(), &Patch::Strategic(&status)).await.unwrap();
}

#[tokio::test]
async fn one_bad_pod_of_ten_is_a_warning_and_its_replacement_the_end() {
    let ground = Ground::pretended("one of ten").await;
    ground.publish(&ten(&ground, "1", 1, 0)).await.unwrap();
    let pods: Api<Pod> = ground.api().await;
    let publish = ten(&ground, "2", 2, 8);
    let misfortune = async {
        let bad = await_ready(&pods, "2", 10).await.remove(0).name_any();
        crash(&pods, &bad).await;
        let told = async {
            while !ground.notes().iter().any(|note| note.contains(&bad) && note.contains("exit code 1")) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is warned of");
        pods.delete(&bad, &DeleteParams::default()).await.unwrap();
    };
    let (released, ()) = tokio::join!(ground.publish(&publish), misfortune);
    assert_eq!(released.unwrap().revision, 2);
    assert_eq!(ready(&pods, "2").await.len(), 10);
}

#[tokio::test]
async fn a_bad_pod_that_stays_is_what_the_limit_names() {
    let ground = Ground::pretended("stays bad").await;
    ground.publish(&ten(&ground, "1", 1, 0)).await.unwrap();
    let pods: Api<Pod> = ground.api().await;
    let mut publish = ten(&ground, "2", 2, 8);
    publish.workload.rolling.timeout = Duration::from_secs(15);
    let misfortune = async {
        let bad = await_ready(&pods, "2", 10).await.remove(0).name_any();
        crash(&pods, &bad).await;
        bad
    };
    let (ended, bad) = tokio::join!(ground.publish(&publish), misfortune);
    let problem: Problem = ended.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("crash-loop", 50), "{problem:?}");
    assert!(problem.message.contains(&bad) && problem.message.contains("9 of 10 new pods were available"), "{}", problem.message);
}

/// A node that KWOK pretends for this test alone: others do not tolerate it.
async fn own_node(label: &str, name: &str) {
    let room = json!({"cpu": "64", "memory": "64Gi", "pods": "100"});
    let node: Value = json!({"metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"lab/of": label, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
        "spec": {"taints": [{"key": "lab/of", "value": label, "effect": "NoSchedule"}]}, "status": {"allocatable": room, "capacity": room}});
    let nodes: Api<Node> = Api::all(lab().client().await);
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
}

/// Its pods go to the nodes of this label.
fn on_own_nodes(workload: &mut Workload, label: &str) {
    let pod = json!({"nodeSelector": {"lab/of": label}, "tolerations": [{"key": "lab/of", "operator": "Exists", "effect": "NoSchedule"}]});
    patched(workload, json!({"kind": "Deployment", "spec": {"template": {"spec": pod}}}));
}

#[tokio::test]
async fn a_node_that_is_lost_in_a_rollout_is_no_failure() {
    let ground = Ground::new("node lost");
    let label = unique("nodes");
    let nodes: Api<Node> = Api::all(lab().client().await);
    let names = ["a", "b"].map(|side| format!("{label}-{side}"));
    for name in &names {
        own_node(&label, name).await;
    }
    let at = |tag: &str, number| {
        let mut workload = ground.workload(tag);
        workload.rolling.min_ready_seconds = 5;
        on_own_nodes(&mut workload, &label);
        ground.publish_of(workload, number)
    };
    ground.publish(&at("1", 1)).await.unwrap();
    let pods: Api<Pod> = ground.api().await;
    let publish = at("2", 2);
    let misfortune = async {
        let first = await_ready(&pods, "2", 1).await.remove(0);
        let node = first.spec.as_ref().unwrap().node_name.clone().unwrap();
        // what a cloud does with a machine that died: its pods are taken from it, then it is gone
        let taint =
            json!({"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]}});
        nodes.patch(&node, &PatchParams::default(), &Patch::Merge(&taint)).await.unwrap();
        let taken = async {
            while pods.get_opt(&first.name_any()).await.unwrap().is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), taken).await.expect("the pods are taken from the node");
        nodes.delete(&node, &DeleteParams::default()).await.unwrap();
        node
    };
    let (released, lost) = tokio::join!(ground.publish(&publish), misfortune);
    let up = ready(&pods, "2").await;
    for name in names.iter().filter(|name| **name != lost) {
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }
    assert_eq!(released.unwrap().revision, 2);
    assert!(up.len() == 2 && up.iter().all(|pod| pod.spec.as_ref().unwrap().node_name.as_deref() != Some(&lost)), "{up:?}");
}

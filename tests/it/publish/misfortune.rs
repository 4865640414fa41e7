//! What befalls some pods of a rollout and is not the release's fault: one bad pod of ten, a node that is lost. On pretended nodes, where
//! it can be arranged.

use std::time::Duration;

use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::VolumeAttachment,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use shipway::{
    cluster::Publish,
    domain::{problem::Problem, workload::Workload},
};

use super::{
    causes::create,
    ground::{Ground, image, patched},
};
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

#[tokio::test]
async fn a_way_back_that_takes_too_long_says_what_keeps_it() {
    let ground = Ground::new("no way back");
    let (label, nodes) = (unique("cordoned"), Api::<Node>::all(lab().client().await));
    own_node(&label, &label).await;
    let alone = |tag: &str| {
        let mut workload = ground.workload(tag);
        workload.replicas = Some(1);
        (workload.rolling.max_surge, workload.rolling.max_unavailable) = ("0".to_string(), "1".to_string());
        workload
    };
    let mut good = alone("1");
    on_own_nodes(&mut good, &label);
    ground.publish(&ground.publish_of(good, 1)).await.unwrap();
    nodes.patch(&label, &PatchParams::default(), &Patch::Merge(&json!({"spec": {"unschedulable": true}}))).await.unwrap();
    let publish = Publish { back_timeout: Duration::from_secs(10), ..ground.publish_of(alone("crash"), 2) };
    let problem: Problem = ground.publish(&publish).await.unwrap_err();
    nodes.delete(&label, &Default::default()).await.unwrap();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("crash-loop", 51), "{problem:?}");
    let (first, second) = problem.message.split_once("; going back to revision 1 failed, too: ").unwrap();
    assert!(first.contains("ended twice"), "{first}");
    assert!(second.contains("no node can take pod web-") && second.contains("0 of 1 new pods were available after "), "{second}");
    assert!(problem.evidence.iter().any(|seen| seen.source.starts_with("rollback: pod/web-")), "{:#?}", problem.evidence);
}

/// What another node has: an attached volume for one node at a time, the classic of rolling updates.
#[tokio::test]
async fn a_volume_that_another_node_has_is_told_with_the_way_out() {
    let ground = Ground::new("another node has it");
    let (label, client) = (unique("attached"), lab().client().await);
    own_node(&label, &label).await;
    let nodes: Api<Node> = Api::all(client.clone());
    // the attach controller sees to nodes that ask for it, as a kubelet does for its own
    let asks = json!({"metadata": {"annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}}});
    nodes.patch(&label, &PatchParams::default(), &Patch::Merge(&asks)).await.unwrap();
    let disks: Api<PersistentVolume> = Api::all(client.clone());
    let spec = json!({"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
        "csi": {"driver": "disks.example.test", "volumeHandle": label},
        "claimRef": {"namespace": ground.namespace.name, "name": "disk"}});
    let disk: PersistentVolume = serde_json::from_value(json!({"metadata": {"name": label}, "spec": spec})).unwrap();
    disks.create(&PostParams::default(), &disk).await.unwrap();
    let claim = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "volumeName": label,
        "resources": {"requests": {"storage": "1Mi"}}});
    create::<PersistentVolumeClaim>(&ground, json!({"metadata": {"name": "disk"}, "spec": claim})).await;
    let with_disk = |mut pod: Value| {
        pod["volumes"] = json!([{"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}]);
        pod["containers"] = json!([{"name": "app", "volumeMounts": [{"name": "disk", "mountPath": "/disk"}]}]);
        json!({"kind": "Deployment", "spec": {"template": {"spec": pod}}})
    };
    let there =
        json!({"nodeSelector": {"lab/of": label}, "tolerations": [{"key": "lab/of", "operator": "Exists", "effect": "NoSchedule"}]});
    let mut workload = ground.workload("1");
    patched(&mut workload, with_disk(there));
    let first = ground.publish_of(workload, 1);
    let (released, ()) = tokio::join!(ground.publish(&first), attach(&label));
    released.unwrap();
    let mut workload = ground.workload("1");
    patched(&mut workload, with_disk(json!({})));
    workload.rolling.timeout = Duration::from_secs(20);
    let problem: Problem = ground.publish(&ground.publish_of(workload, 2)).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("volume-missing", 50), "{problem:?}");
    assert!(
        problem.message.contains("Multi-Attach error for volume") && problem.hint.contains("kubernetes.rolling.max_surge 0"),
        "{problem:?}"
    );
    assert!(problem.message.contains("is back and verified"), "{problem:?}");
    nodes.delete(&label, &Default::default()).await.unwrap();
    disks.delete(&label, &Default::default()).await.unwrap();
}

/// Says of a volume, in place of its driver, that its node has it.
async fn attach(volume: &str) {
    let attachments: Api<VolumeAttachment> = Api::all(lab().client().await);
    for _ in 0..600 {
        let all = attachments.list(&Default::default()).await.unwrap().items;
        if let Some(found) = all.into_iter().find(|found| found.spec.source.persistent_volume_name.as_deref() == Some(volume)) {
            let status = json!({"status": {"attached": true}});
            attachments.patch_status(&found.metadata.name.unwrap(), &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{volume} is attached to no node");
}

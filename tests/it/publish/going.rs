//! What goes: pods that do not, and whole applications.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service},
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    jiff::Timestamp,
};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use shipway::{
    cluster::{self, Removal, Removed, Unstick},
    domain::{
        event::{Change, Event},
        problem::Result,
        status::Status,
        stuck::{NodeState, StuckPod},
        workload::{Autoscale, Disruption},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    ground::{Ground, NAME},
    releases::config,
};
use crate::support::{lab::lab, others::guard, unique};

/// A pod of the application on a node that does not exist, deleted, with this finalizer.
async fn ghost(ground: &Ground, name: &str, node: &str, finalizers: &[&str]) {
    let pods: Api<Pod> = ground.api().await;
    let labels = json!({"app.kubernetes.io/instance": NAME, "app.kubernetes.io/managed-by": "shipway", "pod-template-hash": "old"});
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{NAME}-old"), "uid": "gone", "controller": true});
    let pod = json!({"metadata": {"name": name, "finalizers": finalizers, "labels": labels, "ownerReferences": [owner]},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "app", "image": super::ground::image("1").to_string()}],
            "tolerations": [{"operator": "Exists"}]}});
    let params = PostParams { field_manager: Some("mesh".to_string()), ..PostParams::default() };
    pods.create(&params, &serde_json::from_value(pod).unwrap()).await.unwrap();
    pods.delete(name, &DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() }).await.unwrap();
}

async fn unstick(ground: &Ground, unstick: Unstick) -> Result<Vec<cluster::Unstuck>> {
    ground.cluster().await.unstick(&Unstick { name: NAME.to_string(), ..unstick }).await
}

async fn there(ground: &Ground, name: &str) -> bool {
    ground.api::<Pod>().await.get_opt(name).await.unwrap().is_some()
}

/// Lets the publisher look at nodes, as plugin/kubernetes/nodes.yaml does.
async fn see_nodes(ground: &Ground) {
    let client = lab().client().await;
    let role: ClusterRole = serde_json::from_value(yaml(include_str!("../../../plugin/kubernetes/nodes.yaml"))).unwrap();
    let params = PatchParams::apply("lab").force();
    Api::<ClusterRole>::all(client.clone()).patch("shipway-nodes", &params, &Patch::Apply(&role)).await.unwrap();
    // it goes with the namespace's end as little as it harms: its account is gone then
    let binding = json!({"metadata": {"name": ground.namespace.name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "shipway-nodes"},
        "subjects": [{"kind": "ServiceAccount", "name": "shipway", "namespace": ground.namespace.name}]});
    Api::<ClusterRoleBinding>::all(client).create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
}

fn yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap()
}

#[tokio::test]
async fn pods_that_stay_are_named_and_go_only_by_command() {
    let ground = Ground::new("stuck pods");
    let gone = unique("gone");
    ghost(&ground, "left-behind", &gone, &[]).await;
    ghost(&ground, "held", &gone, &["mesh.test/drain"]).await;
    let nodes: Api<Node> = Api::all(lab().client().await);
    let real = nodes.list(&ListParams::default()).await.unwrap().items.remove(0).metadata.name.unwrap();
    ghost(&ground, "on-a-node", &real, &["other.test/x"]).await;
    let early = unstick(&ground, Unstick::default()).await.unwrap();
    assert!(early.is_empty(), "within the slack of clocks: {early:?}");
    tokio::time::timeout(Duration::from_secs(30), async {
        while unstick(&ground, Unstick::default()).await.unwrap().len() < 3 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await
    .unwrap();
    let hidden = unstick(&ground, Unstick::default()).await.unwrap();
    assert!(hidden.iter().all(|stuck| stuck.pod.node_state == Some(NodeState::Hidden) && !stuck.pod.is_left_behind()), "{hidden:?}");

    see_nodes(&ground).await;
    let state = |found: &[cluster::Unstuck], name: &str| found.iter().find(|stuck| stuck.pod.name == name).map(|stuck| stuck.pod.clone());
    let seen = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let seen = unstick(&ground, Unstick::default()).await.unwrap();
            if state(&seen, "left-behind").is_some_and(|pod| pod.node_state == Some(NodeState::Gone)) {
                return seen;
            }
        }
    })
    .await
    .unwrap();
    let held = state(&seen, "held").unwrap();
    assert_eq!(held.finalizers[0].owner.as_deref(), Some("mesh"));
    assert!(held.words().contains(&format!("its node {gone} is gone; finalizer mesh.test/drain, set by mesh")), "{}", held.words());
    assert_eq!(state(&seen, "on-a-node").unwrap().node_state, Some(NodeState::Ready));
    assert!(
        there(&ground, "left-behind").await && there(&ground, "held").await && there(&ground, "on-a-node").await,
        "looking changes nothing"
    );

    let forced = unstick(&ground, Unstick { force: true, ..Unstick::default() }).await.unwrap();
    assert!(forced.iter().all(|stuck| stuck.deleted == (stuck.pod.name == "left-behind")), "{forced:?}");
    assert!(!there(&ground, "left-behind").await && there(&ground, "held").await && there(&ground, "on-a-node").await);
    let finalizer = Some("mesh.test/drain".to_string());
    let taken = unstick(&ground, Unstick { finalizer, force: true, ..Unstick::default() }).await.unwrap();
    let taken: Vec<_> = taken.iter().map(|stuck| (stuck.pod.name.as_str(), stuck.finalizer_removed.as_deref())).collect();
    assert_eq!(taken, [("held", Some("mesh.test/drain")), ("on-a-node", None)]);
    assert!(!there(&ground, "held").await && there(&ground, "on-a-node").await);
    let unknown = unstick(&ground, Unstick { pod: Some("nobody".to_string()), ..Unstick::default() }).await.unwrap_err();
    assert_eq!(unknown.code.slug(), "not-published");
    let named = Unstick { pod: Some("on-a-node".to_string()), finalizer: Some("other.test/x".to_string()), ..Unstick::default() };
    assert!(unstick(&ground, named).await.unwrap()[0].finalizer_removed.is_some());
    assert!(!there(&ground, "on-a-node").await);
    let bindings: Api<ClusterRoleBinding> = Api::all(lab().client().await);
    bindings.delete(&ground.namespace.name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn publish_and_status_name_a_pod_that_stays() {
    let ground = Ground::new("stuck told");
    let mut workload = ground.workload("1");
    workload.replicas = Some(1);
    ghost(&ground, "held", &unique("gone"), &["mesh.test/drain"]).await;
    let pods: Api<Pod> = ground.api().await;
    let over = pods.get("held").await.unwrap().metadata.deletion_timestamp.unwrap().0;
    while Timestamp::now().duration_since(over).as_secs() < 12 {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    ground.publish(&ground.publish_of(workload, 1)).await.unwrap();
    let notes = ground.notes();
    assert!(
        notes.iter().any(|note| note.contains("pod held on node") && note.contains("finalizer mesh.test/drain, set by mesh")),
        "{notes:?}"
    );
    let status = ground.cluster().await.status(NAME).await.unwrap();
    assert_eq!(status.stuck.iter().map(|stuck| stuck.name.as_str()).collect::<Vec<_>>(), ["held"]);
    unstick(&ground, Unstick { finalizer: Some("mesh.test/drain".to_string()), ..Unstick::default() }).await.unwrap();
}

#[tokio::test]
async fn a_watched_status_looks_anew_at_a_pod_that_stays_and_the_binary_frees_it() {
    let ground = Ground::pretended("stuck watched").await;
    ground.publish_tag("1", 1).await.unwrap();
    let gone = unique("gone");
    ghost(&ground, "held", &gone, &["mesh.test/drain"]).await;
    ghost(&ground, "left-behind", &gone, &[]).await;
    let seen: Arc<Mutex<Vec<StuckPod>>> = Arc::default();
    let (cluster, cancel, sink) = (ground.cluster().await, CancellationToken::new(), seen.clone());
    let stop = cancel.clone();
    let mut tell = |status: &Status| sink.lock().unwrap().extend(status.stuck.iter().find(|pod| pod.name == "held").cloned());
    let watching = async { cluster.watch_status(NAME, &stop, &mut tell).await.unwrap() };
    let until = async |state: NodeState| {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while seen.lock().unwrap().last().is_none_or(|pod| pod.node_state.as_ref() != Some(&state)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("the node is not {state:?}"));
        seen.lock().unwrap().last().unwrap().seconds
    };
    let acting = async {
        let first = until(NodeState::Hidden).await;
        see_nodes(&ground).await;
        assert!(until(NodeState::Gone).await > first, "seconds grow");
        cancel.cancel();
    };
    tokio::join!(watching, acting);

    let listed = ground.binary(&["unstick"]).run().expect_code(0);
    listed.expect_text(&[
        "pod held on node",
        "finalizer mesh.test/drain, set by mesh",
        "pod left-behind on node",
        "unstick --force deletes it",
    ]);
    ground.binary(&["unstick", "--force"]).run().expect_code(0).expect_text(&["left-behind", "deleted it by force"]);
    assert!(!there(&ground, "left-behind").await && there(&ground, "held").await);
    let freed = ground.binary(&["unstick", "--finalizer", "mesh.test/drain", "--force"]).run().expect_code(0);
    freed.expect_text(&["took finalizer mesh.test/drain away"]);
    assert!(!there(&ground, "held").await);
    let bindings: Api<ClusterRoleBinding> = Api::all(lab().client().await);
    bindings.delete(&ground.namespace.name, &DeleteParams::default()).await.unwrap();
}

async fn remove(ground: &Ground, namespace: bool) -> Result<Removed> {
    let removal = Removal { errand: ground.errand(), environment: None, namespace };
    ground.cluster().await.remove(&removal, &ground.events, &CancellationToken::new()).await
}

#[tokio::test]
async fn an_application_goes_with_all_that_is_ours_and_nothing_else() {
    let ground = Ground::new("remove");
    let mut workload = ground.workload("1");
    workload.replicas = Some(1);
    workload.config = config(true, "x: 1");
    ground.publish(&ground.publish_of(workload.clone(), 1)).await.unwrap();
    workload.config = config(false, "x: 1");
    workload.autoscale = Some(Autoscale { min: 1, max: 2, cpu: Some(70), ..Autoscale::default() });
    workload.disruption = Some(Disruption { max_unavailable: Some("1".to_string()), min_available: None });
    ground.publish(&ground.publish_of(workload, 2)).await.unwrap();
    let metadata = || ObjectMeta { name: Some("theirs".to_string()), ..ObjectMeta::default() };
    ground.api().await.create(&PostParams::default(), &ConfigMap { metadata: metadata(), ..ConfigMap::default() }).await.unwrap();
    ground.api().await.create(&PostParams::default(), &Secret { metadata: metadata(), ..Secret::default() }).await.unwrap();
    let refused = remove(&ground, true).await.unwrap_err();
    assert!(refused.code.slug() == "cluster-forbidden" || refused.code.slug() == "not-ours", "{refused:?}");
    ground.said();

    let removed = remove(&ground, false).await.unwrap();
    assert_eq!(removed, Removed { objects: 8, namespace: false, others: false }, "4 objects, 2 configurations, 2 records");
    let said = ground.said();
    for kind in ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ConfigMap", "Secret"] {
        let deleted = said.iter().any(|event| matches!(event, Event::Applied { kind: k, change: Change::Deleted, .. } if k == kind));
        assert!(deleted, "{kind} was not told: {said:?}");
    }
    let all = ListParams::default();
    assert!(ground.api::<Deployment>().await.list(&all).await.unwrap().items.is_empty());
    assert!(ground.api::<Service>().await.list(&all).await.unwrap().items.is_empty());
    assert!(ground.api::<PodDisruptionBudget>().await.list(&all).await.unwrap().items.is_empty());
    assert!(ground.api::<Lease>().await.list(&all).await.unwrap().items.is_empty());
    assert!(ground.api::<Pod>().await.list(&all).await.unwrap().items.is_empty(), "their end was waited for");
    let left = |names: Vec<Option<String>>| names.into_iter().flatten().filter(|name| name != "kube-root-ca.crt").collect::<Vec<_>>();
    let maps = ground.api::<ConfigMap>().await.list(&all).await.unwrap().items;
    assert_eq!(left(maps.into_iter().map(|map| map.metadata.name).collect()), ["theirs"]);
    let secrets = ground.api::<Secret>().await.list(&all).await.unwrap().items;
    assert_eq!(left(secrets.into_iter().map(|secret| secret.metadata.name).collect()), ["theirs"]);

    assert_eq!(remove(&ground, false).await.unwrap(), Removed::default(), "again is fine");
    crate::support::others::deployment_async(&ground.namespace.name, NAME).await;
    let theirs = remove(&ground, false).await.unwrap_err();
    assert_eq!((theirs.code.slug(), theirs.exit_code()), ("not-ours", 10));
    assert_eq!(ground.deployment().await.metadata.name.as_deref(), Some(NAME));
}

#[tokio::test]
async fn a_namespace_goes_only_when_it_is_ours_and_empty() {
    let ground = Ground::new("remove namespace");
    let ours = unique("review");
    let _guard = guard(&ours);
    let target = cluster::Target { kubeconfig: vec![lab().kubeconfig()], ..cluster::Target::default() };
    let admin = cluster::connect(&target, &ours).await.unwrap();
    let none = CancellationToken::new();
    let removal = Removal { errand: ground.errand(), environment: None, namespace: true };
    assert_eq!(admin.remove(&removal, &ground.events, &none).await.unwrap(), Removed::default(), "it is not there");
    let mut workload = ground.workload("1");
    (workload.namespace, workload.replicas) = (ours.clone(), Some(1));
    let mut publish = ground.publish_of(workload, 1);
    publish.create_namespace = true;
    admin.publish(&publish, &ground.events, &none).await.unwrap();
    crate::support::others::deployment_async(&ours, "neighbour").await;
    let problem = admin.remove(&removal, &ground.events, &none).await.unwrap_err();
    assert!(problem.code.slug() == "not-ours" && problem.message.contains("neighbour"), "{problem:?}");
    let api: Api<Deployment> = Api::namespaced(lab().client().await, &ours);
    api.delete("neighbour", &DeleteParams::default()).await.unwrap();
    assert!(admin.remove(&removal, &ground.events, &none).await.unwrap().namespace);
    let namespaces: Api<Namespace> = Api::all(lab().client().await);
    let left = namespaces.get_opt(&ours).await.unwrap();
    assert!(left.is_none_or(|left| left.metadata.deletion_timestamp.is_some()));

    let elsewhere = cluster::connect(&target, &ground.namespace.name).await.unwrap();
    let problem = elsewhere.remove(&removal, &ground.events, &none).await.unwrap_err();
    assert!(problem.code.slug() == "not-ours" && problem.message.contains("was not created by shipway"), "{problem:?}");
}

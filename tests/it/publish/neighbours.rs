//! Objects and fields of others: what is theirs stays, and what is not ours is not touched.

use base64::Engine;
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Secret as CoreSecret, Service},
};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use shipway::{
    cluster,
    domain::{problem::EvidenceKind, reference::ImageReference, secret::Secret, workload::Autoscale},
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, NAME, image};
use crate::support::lab::lab;

async fn patch<K>(ground: &Ground, manager: &str, patch: Value)
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let params = PatchParams { field_manager: Some(manager.to_string()), ..PatchParams::default() };
    ground.api::<K>().await.patch(NAME, &params, &Patch::Merge(&patch)).await.unwrap();
}

fn foreign(ground: &Ground) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": NAME, "namespace": ground.namespace.name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"run": "theirs"}}, "template": {
            "metadata": {"labels": {"run": "theirs"}},
            "spec": {"containers": [{"name": "server", "image": image("1").to_string()}]}}},
    }))
    .unwrap()
}

#[tokio::test]
async fn a_deployment_of_others_is_refused_then_adopted_on_request() {
    let ground = Ground::new("not ours");
    let api: Api<Deployment> = ground.api().await;
    api.create(&PostParams::default(), &foreign(&ground)).await.unwrap();
    for _ in 0..100 {
        if api.get(NAME).await.unwrap().status.and_then(|status| status.available_replicas) == Some(1) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let before = ground.deployment().await.metadata.generation;
    let mut publish = ground.publish_of(ground.workload("2"), 1);
    let problem = ground.publish(&publish).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("not-ours", 10));
    assert!(problem.hint.contains("kubernetes.adopt"), "{}", problem.hint);
    let diff = problem.evidence.iter().find(|evidence| evidence.kind == EvidenceKind::Diff).unwrap();
    assert!(
        diff.text.contains(&format!("-          image: {}", image("1"))) || diff.text.contains(&image("2").to_string()),
        "{}",
        diff.text
    );
    assert_eq!(ground.deployment().await.metadata.generation, before);

    publish.adopt = true;
    publish.workload.image = image("crash");
    let failed = ground.publish(&publish).await.unwrap_err();
    assert_eq!((failed.code.slug(), failed.exit_code()), ("crash-loop", 50), "{failed:?}");
    assert_eq!(ground.running().await, vec![image("1").to_string()], "what was adopted is a good release to go back to");
    publish.workload.image = image("2");
    ground.publish(&publish).await.unwrap();
    let adopted = ground.deployment().await.spec.unwrap();
    assert_eq!(adopted.selector.match_labels.unwrap()["run"], "theirs");
    assert_eq!(adopted.template.spec.unwrap().containers.len(), 1);
    publish.adopt = false;
    ground.publish(&publish).await.unwrap();
}

#[tokio::test]
async fn what_others_set_survives() {
    let ground = Ground::new("foreign fields");
    let mut workload = ground.workload("1");
    workload.service.as_mut().unwrap().kind = "NodePort".to_string();
    ground.publish(&ground.publish_of(workload.clone(), 1)).await.unwrap();
    patch::<Deployment>(&ground, "someone", json!({"metadata": {"annotations": {"their/note": "stays"}}})).await;
    patch::<Service>(
        &ground,
        "someone",
        json!({"metadata": {"annotations": {"their/note": "stays"}}, "spec": {"sessionAffinity": "ClientIP"}}),
    )
    .await;
    let before: Service = ground.api::<Service>().await.get(NAME).await.unwrap();
    workload.image = image("2");
    ground.publish(&ground.publish_of(workload, 2)).await.unwrap();
    assert_eq!(ground.deployment().await.metadata.annotations.unwrap()["their/note"], "stays");
    let after: Service = ground.api::<Service>().await.get(NAME).await.unwrap();
    assert_eq!(after.metadata.annotations.unwrap()["their/note"], "stays");
    let (before, after) = (before.spec.unwrap(), after.spec.unwrap());
    assert_eq!(after.cluster_ip, before.cluster_ip);
    assert_eq!(after.session_affinity.as_deref(), Some("ClientIP"));
    assert_eq!(after.ports.unwrap()[0].node_port, before.ports.unwrap()[0].node_port);
}

#[tokio::test]
async fn a_field_of_another_manager_is_a_conflict_until_forced() {
    let ground = Ground::new("conflict");
    ground.publish_tag("1", 1).await.unwrap();
    patch::<Deployment>(&ground, "kubectl-edit", json!({"spec": {"minReadySeconds": 3}})).await;
    let mut publish = ground.publish_of(ground.workload("2"), 2);
    let problem = ground.publish(&publish).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("field-conflict", 10));
    assert!(problem.message.contains("minReadySeconds") && problem.message.contains("kubectl-edit"), "{}", problem.message);
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
    publish.force_conflicts = true;
    ground.publish(&publish).await.unwrap();
    assert_eq!(ground.deployment().await.spec.unwrap().min_ready_seconds.unwrap_or(0), 0);
}

#[tokio::test]
async fn replicas_belong_to_whoever_scales() {
    let ground = Ground::new("replicas");
    ground.publish_tag("1", 1).await.unwrap();
    patch::<Deployment>(&ground, "kubectl-scale", json!({"spec": {"replicas": 3}})).await;
    assert_eq!(ground.publish_tag("2", 2).await.unwrap().replicas, 3, "a manual scale survives");

    let mut workload = ground.workload("2");
    workload.autoscale = Some(Autoscale { min: 1, max: 4, cpu: Some(70), ..Autoscale::default() });
    assert_eq!(
        ground.publish(&ground.publish_of(workload.clone(), 3)).await.unwrap().replicas,
        3,
        "an autoscaler starts at the live number"
    );
    let autoscaler = ground.api::<HorizontalPodAutoscaler>().await.get(NAME).await.unwrap();
    assert_eq!((autoscaler.spec.min_replicas, autoscaler.spec.max_replicas), (Some(1), 4));
    patch::<Deployment>(&ground, "kube-controller-manager", json!({"spec": {"replicas": 1}})).await;
    workload.image = image("1");
    assert_eq!(ground.publish(&ground.publish_of(workload, 4)).await.unwrap().replicas, 1, "the autoscaler's number is not overwritten");

    let mut set = ground.workload("1");
    set.replicas = Some(2);
    assert_eq!(ground.publish(&ground.publish_of(set, 5)).await.unwrap().replicas, 2, "the settings name a number");
    assert!(ground.api::<HorizontalPodAutoscaler>().await.get_opt(NAME).await.unwrap().is_none(), "switched off and ours: gone");
}

#[tokio::test]
async fn an_autoscaler_takes_over_the_number_that_we_set() {
    let ground = Ground::new("hand over");
    ground.publish_tag("1", 1).await.unwrap();
    let mut workload = ground.workload("1");
    workload.autoscale = Some(Autoscale { min: 2, max: 4, cpu: Some(70), ..Autoscale::default() });
    ground.publish(&ground.publish_of(workload, 2)).await.unwrap();
    let deployment = ground.deployment().await;
    assert_eq!(deployment.spec.unwrap().replicas, Some(2));
    let ours = deployment.metadata.managed_fields.unwrap().into_iter().find(|entry| entry.manager.as_deref() == Some("shipway")).unwrap();
    assert!(ours.fields_v1.unwrap().0.pointer("/f:spec/f:replicas").is_none());
}

#[tokio::test]
async fn a_namespace_is_created_only_on_request() {
    let ground = Ground::new("namespace");
    let missing = format!("{}-not-there", ground.namespace.name);
    let target = cluster::Target { kubeconfig: vec![lab().kubeconfig()], ..cluster::Target::default() };
    let admin = cluster::connect(&target, &missing).await.unwrap();
    let mut workload = ground.workload("1");
    workload.namespace = missing.clone();
    let mut publish = ground.publish_of(workload, 1);
    let problem = admin.publish(&publish, &ground.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("namespace-missing", 10));
    assert!(problem.message.contains(&missing) && problem.hint.contains("kubernetes.create_namespace"), "{problem:?}");
    publish.create_namespace = true;
    let released = admin.publish(&publish, &ground.events, &CancellationToken::new()).await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(lab().client().await);
    namespaces.delete(&missing, &kube::api::DeleteParams::default()).await.unwrap();
    assert_eq!(released.unwrap().replicas, 2);
}

#[tokio::test]
async fn an_account_without_the_role_is_told_what_it_lacks() {
    let (ours, other) = (Ground::new("small role"), Ground::new("small role other"));
    let cluster = cluster::connect(&ours.target(), &other.namespace.name).await.unwrap();
    let problem = cluster.publish(&ours.publish_of(other.workload("1"), 1), &ours.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("cluster-forbidden", 30));
    assert!(problem.message.contains("patch deployments.apps") && problem.message.contains(&other.namespace.name), "{}", problem.message);
    assert!(other.pod_names().await.is_empty());
}

#[tokio::test]
async fn a_pull_secret_lets_the_node_into_a_closed_registry() {
    let ground = Ground::new("pull secret");
    let closed = lab().registry_auth();
    let repository = closed.repository("pull secret");
    let reference = format!("{repository}:1");
    copy(&lab().web("1"), &reference, &closed);
    let mut workload = ground.workload("1");
    workload.image = reference.parse::<ImageReference>().unwrap().with_digest(workload.image.digest.as_ref().unwrap());
    workload.pull_secret = Some("web-pull".to_string());
    let mut publish = ground.publish_of(workload, 1);
    let auth = base64::prelude::BASE64_STANDARD.encode(format!("{}:{}", closed.user, closed.password));
    publish.pull_secret = Some(Secret::new(json!({"auths": {closed.address.as_str(): {"auth": auth}}}).to_string()));
    assert_eq!(ground.publish(&publish).await.unwrap().replicas, 2);

    let theirs: CoreSecret = serde_json::from_value(json!({"metadata": {"name": "theirs"}, "stringData": {"a": "b"}})).unwrap();
    ground.api::<CoreSecret>().await.create(&PostParams::default(), &theirs).await.unwrap();
    publish.workload.pull_secret = Some("theirs".to_string());
    assert_eq!(ground.publish(&publish).await.unwrap_err().code.slug(), "not-ours");
}

/// Copies an image of one manifest by the registries' HTTP alone.
fn copy(from: &str, to: &str, registry: &crate::support::lab::Registry) {
    let output = std::process::Command::new("skopeo")
        .args(["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--all", "--preserve-digests"])
        .args([format!("--dest-creds={}:{}", registry.user, registry.password), format!("docker://{from}"), format!("docker://{to}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_wrong_token_and_a_server_that_is_not_there() {
    let ground = Ground::new("wrong token");
    let token = Secret::new("wrong");
    let wrong = cluster::Target { token: Some(token), ..ground.target() };
    let cluster = cluster::connect(&wrong, &ground.namespace.name).await.unwrap();
    let problem =
        cluster.publish(&ground.publish_of(ground.workload("1"), 1), &ground.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("cluster-unauthorized", 30), "{problem:?}");
    let away = cluster::Target { server: Some(format!("https://127.0.0.1:{}", crate::support::free_port())), ..ground.target() };
    let cluster = cluster::connect(&away, &ground.namespace.name).await.unwrap();
    let problem = cluster.status(NAME).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("cluster-unreachable", 20), "{problem:?}");
    let words = format!("the API server at {} cannot be reached: connection refused", away.server.unwrap());
    assert_eq!(problem.message, words);
}

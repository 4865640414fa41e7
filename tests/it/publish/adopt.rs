//! Deployments that others made, taken over: nothing that nobody set here changes, no pod is doubled, none is lost.

use std::{
    collections::BTreeSet,
    process::{Command, Output, Stdio},
};

use k8s_openapi::api::{
    apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Service, policy::v1::PodDisruptionBudget,
};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use shipway::{
    cluster::Publish,
    domain::{
        event::Change,
        workload::{Autoscale, Disruption, Given},
    },
};

use super::ground::{Ground, NAME, image};
use crate::support::lab::lab;

/// As a settings file that says nothing but `kubernetes.adopt` makes it.
fn takeover(ground: &Ground, tag: &str, number: u64) -> Publish {
    let mut workload = ground.workload(tag);
    workload.given = Given::Keys(BTreeSet::new());
    workload.rolling.min_ready_seconds = 0;
    Publish { adopt: true, ..ground.publish_of(workload, number) }
}

pub fn manifests(replicas: i32) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME, "labels": {"team": "blue"}},
         "spec": {"replicas": replicas, "selector": {"matchLabels": {"run": "theirs"}}, "strategy": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"run": "theirs", "app.kubernetes.io/name": "chosen-by-them"}},
                "spec": {"volumes": [{"name": "tmp", "emptyDir": {}}], "containers": [
                    {"name": "server", "image": image("1").to_string(), "ports": [{"containerPort": 8080, "name": "web"}],
                     "env": [{"name": "COLOUR", "value": "blue"}], "volumeMounts": [{"name": "tmp", "mountPath": "/data"}],
                     "resources": {"requests": {"cpu": "15m", "memory": "20Mi"}, "limits": {"memory": "70Mi"}}}]}}}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": {"selector": {"app.kubernetes.io/name": "chosen-by-them"}, "ports": [{"port": 8081, "targetPort": "web"}]}},
    ]})
}

/// Waits until all pods that are wanted are available.
pub async fn settle(ground: &Ground) -> Deployment {
    let api: Api<Deployment> = ground.api().await;
    for _ in 0..200 {
        let live = api.get(NAME).await.unwrap();
        let wanted = live.spec.as_ref().unwrap().replicas;
        if live.status.as_ref().is_some_and(|status| status.available_replicas == wanted) {
            return live;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{NAME} does not get available");
}

/// What must be as it was, as JSON.
pub fn kept(deployment: &Deployment) -> Value {
    let spec = deployment.spec.clone().unwrap();
    let pod = spec.template.spec.unwrap();
    let containers: Vec<Value> = pod
        .containers
        .iter()
        .map(|container| {
            json!([
                container.name,
                container.resources,
                container.env,
                container.ports,
                container.volume_mounts,
                container.security_context,
                container.args
            ])
        })
        .collect();
    let labels = &spec.template.metadata.unwrap().labels.unwrap()["app.kubernetes.io/name"];
    json!([
        spec.replicas,
        spec.selector,
        spec.strategy,
        spec.progress_deadline_seconds,
        spec.revision_history_limit,
        containers,
        pod.volumes,
        pod.termination_grace_period_seconds,
        pod.security_context,
        labels,
        deployment.metadata.labels.as_ref().and_then(|labels| labels.get("team"))
    ])
}

/// Takes over what is there, watching that the pods never exceed or fall below what their strategy allows, then publishes once more.
async fn taken_over(ground: &Ground) {
    let before = settle(ground).await;
    let service: Service = ground.api().await.get(NAME).await.unwrap();
    let cluster = ground.cluster().await;
    let refused = ground.publish(&Publish { adopt: false, ..takeover(ground, "2", 1) }).await.unwrap_err();
    assert_eq!(refused.code.slug(), "not-ours");
    let diff = cluster.diff(&takeover(ground, "2", 1)).await.unwrap();
    let shown = diff.iter().find(|diff| diff.kind == "Deployment").unwrap().unified();
    assert!(shown.contains(&format!("+        image: {}", image("2"))) || shown.contains(&image("2").to_string()), "{shown}");
    for kept in ["replicas", "resources", "strategy", "volumeMounts", "COLOUR"] {
        let changed = shown.lines().any(|line| (line.starts_with('+') || line.starts_with('-')) && line.contains(kept));
        assert!(!changed, "{kept} would change:\n{shown}");
    }
    ground.publish(&takeover(ground, "2", 1)).await.unwrap();
    let after = settle(ground).await;
    assert_eq!(kept(&after), kept(&before));
    assert_eq!(before.metadata.uid, after.metadata.uid);
    let wanted = usize::try_from(before.spec.unwrap().replicas.unwrap()).unwrap();
    assert_eq!(ground.running().await, vec![image("2").to_string(); wanted]);
    let now: Service = ground.api().await.get(NAME).await.unwrap();
    assert_eq!(service.spec, now.spec, "the Service leads where it led");

    // it is ours now, and still nothing of theirs is overwritten
    ground.publish(&Publish { adopt: false, ..takeover(ground, "1", 2) }).await.unwrap();
    assert_eq!(kept(&settle(ground).await), kept(&after));
    let cluster = ground.cluster().await;
    let same = cluster.diff(&Publish { adopt: false, ..takeover(ground, "1", 3) }).await.unwrap();
    assert!(same.iter().all(|diff| diff.change == Change::Unchanged), "{:?}", same.iter().map(|diff| diff.unified()).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_autoscaler_and_a_budget_stay_as_they_are() {
    let ground = Ground::pretended("adopt hpa").await;
    let mut all = manifests(2);
    let queue =
        json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "30"}}});
    let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME});
    all["items"].as_array_mut().unwrap().extend([
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": NAME}, "spec": {"scaleTargetRef": reference,
            "minReplicas": 1, "maxReplicas": 7, "metrics": [queue], "behavior": {"scaleDown": {"stabilizationWindowSeconds": 77}}}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": NAME},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"run": "theirs"}}}}),
    ]);
    program(&ground, "kubectl", &["apply", "-f", "-"], Some(&all));
    settle(&ground).await;
    let specs = async || {
        let autoscaler = ground.api::<HorizontalPodAutoscaler>().await.get(NAME).await.unwrap().spec;
        let budget = ground.api::<PodDisruptionBudget>().await.get(NAME).await.unwrap().spec.unwrap();
        (autoscaler, budget.min_available, budget.max_unavailable, budget.selector)
    };
    let before = specs().await;
    let with = |tag: &str, number: u64, given: &[&str]| {
        let mut publish = takeover(&ground, tag, number);
        publish.workload.given = Given::Keys(given.iter().map(ToString::to_string).collect());
        publish.workload.autoscale = Some(Autoscale { min: 2, max: 10, cpu: Some(70), ..Autoscale::default() });
        publish.workload.disruption = Some(Disruption { max_unavailable: Some("1".to_string()), min_available: None });
        publish
    };
    ground.publish(&with("2", 1, &[])).await.unwrap();
    assert_eq!(specs().await, before);
    ground.publish(&with("1", 2, &[])).await.unwrap();
    assert_eq!(specs().await, before, "nor does the next one change them");
    ground.publish(&with("1", 3, &["kubernetes.autoscale.max", "kubernetes.autoscale.cpu"])).await.unwrap();
    let after = specs().await.0;
    assert_eq!((after.min_replicas, after.max_replicas, after.behavior), (Some(1), 10, before.0.behavior));
    assert_eq!(after.metrics.unwrap()[0].type_, "Resource", "one aim that is set replaces all");
}

pub fn program(ground: &Ground, name: &str, arguments: &[&str], input: Option<&Value>) -> Output {
    use std::io::Write;
    let mut command = Command::new(lab().program(name));
    command
        .args(["-n", &ground.namespace.name])
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", lab().kubeconfig())
        .env("HOME", ground.folder.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    if let Some(input) = input {
        stdin.write_all(input.to_string().as_bytes()).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test]
async fn what_kubectl_apply_made() {
    let ground = Ground::pretended("adopt apply").await;
    program(&ground, "kubectl", &["apply", "-f", "-"], Some(&manifests(3)));
    taken_over(&ground).await;
}

#[tokio::test]
async fn what_kubectl_create_made() {
    let ground = Ground::pretended("adopt create").await;
    program(&ground, "kubectl", &["create", "deployment", NAME, &format!("--image={}", image("1")), "--replicas=2", "--port=8080"], None);
    program(&ground, "kubectl", &["expose", "deployment", NAME, "--port=8081"], None);
    let created = settle(&ground).await;
    assert!(created.spec.unwrap().template.metadata.unwrap().labels.unwrap()["app"] == NAME);
    let patch = json!({"spec": {"template": {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}}});
    ground.api::<Deployment>().await.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    taken_over(&ground).await;
}

#[tokio::test]
async fn what_helm_made() {
    let ground = Ground::pretended("adopt helm").await;
    let chart = ground.folder.path().join("chart");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.0.0\n").unwrap();
    let manifests = manifests(2);
    let documents: String = manifests["items"].as_array().unwrap().iter().map(|item| format!("---\n{item}\n")).collect();
    std::fs::write(chart.join("templates/all.yaml"), documents).unwrap();
    program(&ground, "helm", &["install", "release", chart.to_str().unwrap()], None);
    taken_over(&ground).await;
}

#[tokio::test]
async fn what_a_plain_request_made() {
    let ground = Ground::pretended("adopt put").await;
    let manifests = manifests(1);
    let params = PostParams::default();
    let mut deployment: Deployment = serde_json::from_value(manifests["items"][0].clone()).unwrap();
    let api: Api<Deployment> = ground.api().await;
    api.create(&params, &deployment).await.unwrap();
    ground.api::<Service>().await.create(&params, &serde_json::from_value(manifests["items"][1].clone()).unwrap()).await.unwrap();
    for _ in 0..20 {
        deployment.metadata.resource_version = api.get(NAME).await.unwrap().metadata.resource_version;
        deployment.spec.as_mut().unwrap().replicas = Some(2);
        if api.replace(NAME, &params, &deployment).await.is_ok() {
            break;
        }
    }
    taken_over(&ground).await;
    let sets = ground.api::<k8s_openapi::api::apps::v1::ReplicaSet>().await.list(&ListParams::default()).await.unwrap().items;
    assert!(sets.iter().filter(|set| set.spec.as_ref().unwrap().replicas != Some(0)).count() == 1, "{sets:?}");
}

#[tokio::test]
async fn several_containers_ask_for_a_name() {
    let ground = Ground::pretended("adopt sidecar").await;
    let mut manifests = manifests(1);
    let containers = manifests["items"][0]["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({"name": "proxy", "image": "proxy.test/proxy:1"}));
    containers[0]["image"] = json!("other.test/other:1");
    program(&ground, "kubectl", &["apply", "-f", "-"], Some(&manifests));
    settle(&ground).await;
    let mut publish = takeover(&ground, "1", 1);
    let problem = ground.publish(&publish).await.unwrap_err();
    assert_eq!(problem.code.slug(), "manifest-invalid");
    assert!(problem.message.contains("it has server, proxy") && problem.hint.contains("kubernetes.container"), "{problem:?}");
    publish.workload.container = Some("server".to_string());
    ground.publish(&publish).await.unwrap();
    let pod = ground.deployment().await.spec.unwrap().template.spec.unwrap();
    let images: Vec<_> = pod.containers.iter().map(|container| container.image.clone().unwrap()).collect();
    assert_eq!(images, [image("1").to_string(), "proxy.test/proxy:1".to_string()]);
    publish.workload.container = None;
    ground.publish(&Publish { sequence: ("gitlab".to_string(), 2), ..publish }).await.unwrap();
    assert_eq!(
        ground.deployment().await.spec.unwrap().template.spec.unwrap().containers.len(),
        2,
        "the container that is ours is known again"
    );
}

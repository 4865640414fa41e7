//! Numbers of pods: by hand, by an autoscaler, none at all.

use std::time::{Duration, Instant};

use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition},
    core::v1::{Event, Pod},
};
use kube::api::{Api, PostParams};
use serde_json::json;
use shipway::{
    cluster::{Publish, Scaled, Scaling},
    domain::{event::Change, problem::Result, workload::Autoscale},
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, NAME, quantities};

async fn scale(ground: &Ground, to: Option<i32>, replicas: Option<i32>) -> Result<Scaled> {
    let scaling = Scaling { errand: ground.errand(), to, replicas };
    ground.cluster().await.scale(&scaling, &ground.events, &CancellationToken::new()).await
}

async fn replicas(ground: &Ground) -> Option<i32> {
    ground.deployment().await.spec.unwrap().replicas
}

async fn bounds(ground: &Ground) -> (Option<i32>, i32) {
    let spec = ground.api::<HorizontalPodAutoscaler>().await.get(NAME).await.unwrap().spec;
    (spec.min_replicas, spec.max_replicas)
}

/// Whether our applies own `spec.replicas`.
fn owned(deployment: &Deployment) -> bool {
    let entries = deployment.metadata.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some("shipway"));
    ours.filter_map(|entry| entry.fields_v1.as_ref()).any(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
}

#[tokio::test]
async fn every_aim_that_settings_can_say_is_taken_by_the_api_server() {
    let ground = Ground::pretended("aims").await;
    let mut workload = ground.workload("1");
    let one = |name: &str, value: &str| quantities(&[(name, value)]);
    let (metrics, external) = (one("http_requests", "100"), one("queue_length", "30500m"));
    workload.autoscale = Some(Autoscale { min: 1, max: 5, cpu: Some(70), memory: Some(80), metrics, external });
    ground.publish(&ground.publish_of(workload.clone(), 1)).await.unwrap();
    let autoscaler = ground.api::<HorizontalPodAutoscaler>().await.get(NAME).await.unwrap();
    let aims: Vec<serde_json::Value> = autoscaler.spec.metrics.iter().flatten().map(|metric| json!(metric)).collect();
    let resource = |name: &str, percent: i32| json!({"type": "Resource", "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": percent}}});
    let average = |name: &str, value: &str| json!({"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": value}});
    let expected = [
        resource("cpu", 70),
        resource("memory", 80),
        json!({"type": "Pods", "pods": average("http_requests", "100")}),
        json!({"type": "External", "external": average("queue_length", "30500m")}),
    ];
    assert_eq!(aims, expected);
    let again = ground.cluster().await.diff(&ground.publish_of(workload, 2)).await.unwrap();
    assert!(again.iter().all(|diff| diff.change == Change::Unchanged), "{:?}", again.iter().map(|diff| diff.unified()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_manual_scale_survives_publishes_until_it_is_reset() {
    let ground = Ground::new("manual scale");
    let at = |tag: &str, number: u64| {
        let mut workload = ground.workload(tag);
        workload.replicas = Some(1);
        ground.publish_of(workload, number)
    };
    ground.publish(&at("1", 1)).await.unwrap();
    let scaled = scale(&ground, Some(3), None).await.unwrap();
    assert_eq!((scaled.before, scaled.replicas, scaled.bounds, scaled.revision), (1, 3, None, Some(1)));
    assert_eq!(ground.running().await.len(), 3, "they were waited for");
    ground.said();
    assert_eq!(ground.publish(&at("2", 2)).await.unwrap().replicas, 3, "the settings say 1");
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.starts_with("scaled by hand to 3 by Grace (") && note.contains("scale --reset")), "{notes:?}");
    let status = ground.cluster().await.status(NAME).await.unwrap();
    assert_eq!(status.scale.map(|scale| (scale.to, scale.from)), Some((3, 1)));
    // a rollback keeps it, too, though its record says 1
    let back = ground.cluster().await.rollback(&ground.rollback_of(None), &ground.events, &CancellationToken::new()).await.unwrap();
    assert_eq!(back.replicas, 3);
    assert_eq!(scale(&ground, None, Some(2)).await.unwrap().replicas, 2, "kubernetes.replicas of now");
    assert_eq!(ground.publish(&at("2", 4)).await.unwrap().replicas, 1, "the settings count again");
    assert_eq!(scale(&ground, None, None).await.unwrap().replicas, 1);
    assert!(ground.notes().iter().any(|note| note.contains("nothing to reset")));
}

#[tokio::test]
async fn to_zero_and_back() {
    let ground = Ground::new("scale to zero");
    let nothing = scale(&ground, Some(1), None).await.unwrap_err();
    assert_eq!((nothing.code.slug(), nothing.exit_code()), ("not-published", 10));
    ground.publish_tag("1", 1).await.unwrap();
    assert_eq!(scale(&ground, Some(0), None).await.unwrap().replicas, 0);
    let published = ground.publish_tag("2", 2).await.unwrap();
    assert_eq!(published.replicas, 0);
    assert!(published.seconds < 10.0, "{}", published.seconds);
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.contains("scaled to 0: no pod runs")), "{notes:?}");
    assert!(ground.running().await.is_empty());
    assert_eq!(scale(&ground, None, None).await.unwrap().replicas, 2, "the number before");
    assert!(ground.running().await.iter().all(|image| *image == super::ground::image("2").to_string()));
}

#[tokio::test]
async fn an_autoscaler_decides_from_the_first_publish_on() {
    let ground = Ground::new("autoscaled");
    let at = |tag: &str, number: u64| {
        let mut workload = ground.workload(tag);
        workload.autoscale = Some(Autoscale { min: 1, max: 3, cpu: Some(70), ..Autoscale::default() });
        ground.publish_of(workload, number)
    };
    assert_eq!(ground.publish(&at("1", 1)).await.unwrap().replicas, 1);
    assert!(!owned(&ground.deployment().await), "an autoscaler's number is not ours");
    // by hand: the bounds move, and the number at once
    let scaled = scale(&ground, Some(2), None).await.unwrap();
    assert_eq!((scaled.replicas, scaled.bounds), (2, Some((2, 3))));
    assert_eq!(scale(&ground, Some(4), None).await.unwrap().bounds, Some((4, 4)));
    assert_eq!(ground.publish(&at("2", 2)).await.unwrap().replicas, 4);
    assert_eq!(bounds(&ground).await, (Some(4), 4), "a publish keeps them");
    assert!(ground.notes().iter().any(|note| note.starts_with("scaled by hand to 4")));
    // to zero it rests, and a reset wakes it within its own bounds
    assert_eq!(scale(&ground, Some(0), None).await.unwrap().replicas, 0);
    let reset = scale(&ground, None, None).await.unwrap();
    assert_eq!((reset.replicas, reset.bounds), (1, Some((1, 3))));
    assert_eq!(bounds(&ground).await, (Some(1), 3));
    // switched off, the live number stays
    let off = ground.publish_tag("2", 3).await.unwrap();
    assert_eq!(off.replicas, 1);
    assert!(ground.api::<HorizontalPodAutoscaler>().await.get_opt(NAME).await.unwrap().is_none());
}

#[tokio::test]
async fn an_autoscaler_of_others_is_told_and_not_fought() {
    let ground = Ground::new("foreign hpa");
    let mut workload = ground.workload("1");
    workload.replicas = Some(1);
    ground.publish(&ground.publish_of(workload, 1)).await.unwrap();
    let api: Api<HorizontalPodAutoscaler> = ground.api().await;
    let theirs = json!({"metadata": {"name": "keda-web"}, "spec": {"maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}}});
    api.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    let problem = scale(&ground, Some(5), None).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("not-ours", 10));
    assert!(problem.message.contains("keda-web") && problem.hint.contains("bounds"), "{problem:?}");
    assert_eq!(replicas(&ground).await, Some(1));
}

#[tokio::test]
async fn pods_that_do_not_fit_leave_the_number_and_say_so() {
    let ground = Ground::new("scale quota");
    let mut workload = ground.workload("1");
    workload.replicas = Some(1);
    ground.publish(&ground.publish_of(workload, 1)).await.unwrap();
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}});
    ground
        .api()
        .await
        .create(&PostParams::default(), &serde_json::from_value::<k8s_openapi::api::core::v1::ResourceQuota>(quota).unwrap())
        .await
        .unwrap();
    let problem = scale(&ground, Some(4), None).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("quota-exceeded", 51), "{problem:?}");
    assert!(problem.message.contains("the number stays 4") && problem.message.contains("are available"), "{}", problem.message);
    assert_eq!(replicas(&ground).await, Some(4));
}

#[tokio::test]
async fn an_autoscaler_that_cannot_act_is_told_beside_a_rollout_that_is_done() {
    let ground = Ground::pretended("idle hpa").await;
    let at = |tag: &str, number: u64| {
        let mut workload = ground.workload(tag);
        workload.autoscale = Some(Autoscale { min: 1, max: 3, cpu: Some(70), ..Autoscale::default() });
        ground.publish_of(workload, number)
    };
    ground.publish(&at("1", 1)).await.unwrap();
    let api: Api<HorizontalPodAutoscaler> = ground.api().await;
    let another = json!({"metadata": {"name": "another"}, "spec": {"maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}}});
    api.create(&PostParams::default(), &serde_json::from_value(another).unwrap()).await.unwrap();
    // that two are there for the same pods is for their controller to find out
    let noticed = async {
        loop {
            let status = api.get(NAME).await.unwrap().status.unwrap_or_default();
            let active = |condition: &&HorizontalPodAutoscalerCondition| condition.type_ == "ScalingActive";
            let ambiguous = |condition: &HorizontalPodAutoscalerCondition| condition.reason.as_deref() == Some("AmbiguousSelector");
            if status.conditions.iter().flatten().find(active).is_some_and(ambiguous) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), noticed).await.unwrap();
    ground.notes();
    ground.publish(&at("2", 2)).await.unwrap();
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.starts_with("the autoscaler does not act: ") && note.contains("multiple HPAs")), "{notes:?}");
}

#[tokio::test]
async fn a_cluster_that_makes_a_node_is_waited_for() {
    let ground = Ground::pretended("grows").await;
    ground.publish_tag("1", 1).await.unwrap();
    let mut workload = ground.workload("2");
    workload.resources.requests = quantities(&[("cpu", "4M")]);
    workload.rolling.budgets.unschedulable = Duration::from_secs(9);
    workload.rolling.budgets.scale_up = Duration::from_secs(16);
    let publish = Publish { preflight: false, ..ground.publish_of(workload, 2) };
    let growing = async {
        let pods: Api<Pod> = ground.api().await;
        let unplaced = loop {
            let all = pods.list(&Default::default()).await.unwrap().items;
            let unplaced = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none());
            if let Some(pod) = all.into_iter().find(unplaced) {
                break pod.metadata;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        // as the cluster's autoscaler says it
        let event = json!({"metadata": {"name": "grows"}, "type": "Normal", "reason": "TriggeredScaleUp", "message": "pod triggered scale-up",
            "involvedObject": {"kind": "Pod", "namespace": ground.namespace.name, "name": unplaced.name, "uid": unplaced.uid}});
        ground.api::<Event>().await.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
        Instant::now()
    };
    let (ended, grows) = tokio::join!(ground.publish(&publish), growing);
    let problem = ended.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("unschedulable", 50), "{problem:?}");
    assert!(grows.elapsed() > Duration::from_secs(13), "after {:?}", grows.elapsed());
}

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::domain::{
    manifests::{
        Surroundings, objects,
        tests::{stamp, workload},
    },
    workload::{Autoscale, Disruption, Given},
};

fn live(owners: serde_json::Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "orders", "managedFields": owners},
        "spec": {
            "replicas": 3, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "selector": {"matchLabels": {"app": "orders"}},
            "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {"labels": {"app": "orders", "app.kubernetes.io/name": "theirs"}},
                "spec": {
                    "terminationGracePeriodSeconds": 60,
                    "containers": [{"name": "server", "image": "x:1", "resources": {"limits": {"memory": "512Mi"}},
                        "ports": [{"containerPort": 9000, "name": "web"}], "env": [{"name": "A", "value": "b"}]}],
                },
            },
        },
    }))
    .unwrap()
}

fn taken_over(live: &Deployment, given: &[&str], service: Option<&Service>) -> Objects {
    let workload = Workload {
        given: Given::Keys(given.iter().map(ToString::to_string).collect::<BTreeSet<_>>()),
        jvm: vec!["-XX:MaxRAMPercentage=70".to_string()],
        ..workload()
    };
    let around = Surroundings {
        selector: Some([("app".to_string(), "orders".to_string())].into()),
        container: Some("server".to_string()),
        ..Surroundings::default()
    };
    let mut made = objects(&workload, &stamp(1), &around).unwrap();
    keep(&mut made, &workload, "server", There { deployment: live, service, autoscaler: None, disruption: None });
    made
}

#[test]
fn what_nobody_set_stays_and_only_what_is_absent_is_filled() {
    let made = taken_over(&live(json!([])), &[], None);
    let spec = made.deployment.spec.unwrap();
    assert_eq!((spec.strategy, spec.progress_deadline_seconds, spec.revision_history_limit, spec.replicas), (None, None, None, None));
    assert_eq!(spec.min_ready_seconds, Some(10), "absent there: filled");
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    assert!(!labels.contains_key("app.kubernetes.io/name") && labels.contains_key("app.kubernetes.io/instance"), "{labels:?}");
    let pod = spec.template.spec.unwrap();
    assert_eq!((pod.termination_grace_period_seconds, &pod.security_context), (None, &None));
    let container = &pod.containers[0];
    assert_eq!((container.name.as_str(), &container.resources, &container.ports, &container.env), ("server", &None, &None, &None));
    assert!(container.lifecycle.is_some() && container.security_context.is_none());
    assert!(container.readiness_probe.is_some(), "there was none");
    let port = &made.service.unwrap().spec.unwrap().ports.unwrap()[0];
    assert_eq!(port.target_port, Some(IntOrString::String("web".to_string())));
    assert_eq!(made.deployment.metadata.annotations.unwrap()[keys::ADOPTED], "true");
}

#[test]
fn what_is_set_counts() {
    let given = [
        "kubernetes.rolling.max_surge",
        "kubernetes.rolling.timeout",
        "kubernetes.resources.limits.memory",
        "kubernetes.security",
        "image.port",
        "kubernetes.rolling.drain",
    ];
    let spec = taken_over(&live(json!([])), &given, None).deployment.spec.unwrap();
    assert!(spec.strategy.is_some() && spec.progress_deadline_seconds == Some(600));
    let pod = spec.template.spec.unwrap();
    assert!(pod.security_context.is_some() && pod.termination_grace_period_seconds == Some(35));
    assert!(pod.containers[0].resources.is_some() && pod.containers[0].ports.is_some() && pod.containers[0].env.is_some());
}

#[test]
fn what_we_filled_ourselves_stays_ours_but_not_what_others_hold_too() {
    let fields = json!({"f:spec": {"f:progressDeadlineSeconds": {}, "f:strategy": {}}});
    let ours = json!({"manager": "shipway", "operation": "Apply", "fieldsV1": fields});
    let theirs = json!({"manager": "kubectl-create", "operation": "Update", "fieldsV1": {"f:spec": {"f:strategy": {}}}});
    let spec = taken_over(&live(json!([ours, theirs])), &[], None).deployment.spec.unwrap();
    assert_eq!((spec.progress_deadline_seconds, spec.strategy), (Some(600), None));
}

#[test]
fn a_service_that_is_there_keeps_leading_where_it_leads() {
    let service: Service =
        serde_json::from_value(json!({"metadata": {"name": "orders"}, "spec": {"ports": [{"port": 8080}], "selector": {"app": "orders"}}}))
            .unwrap();
    assert_eq!(taken_over(&live(json!([])), &[], Some(&service)).service.unwrap().spec, None);
    let spec = taken_over(&live(json!([])), &["kubernetes.service.port"], Some(&service)).service.unwrap().spec.unwrap();
    assert!(spec.ports.is_some() && spec.selector.is_none() && spec.type_.is_none());
}

/// The autoscaler and the budget of a workload that says this much of them, beside those that are there.
fn scaled(given: &[&str], owners: &serde_json::Value) -> Objects {
    let workload = Workload {
        given: Given::Keys(given.iter().map(ToString::to_string).collect()),
        autoscale: Some(Autoscale { min: 2, max: 10, cpu: Some(70), ..Autoscale::default() }),
        disruption: Some(Disruption { max_unavailable: Some("1".to_string()), min_available: None }),
        ..workload()
    };
    let queue =
        json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "30"}}});
    let autoscaler = json!({"metadata": {"name": "orders", "managedFields": owners}, "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "orders"}, "minReplicas": 3, "maxReplicas": 6, "metrics": [queue]}});
    let budget = json!({"metadata": {"name": "orders", "managedFields": owners},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "orders", "tier": "web"}}}});
    let (autoscaler, budget) = (serde_json::from_value(autoscaler).unwrap(), serde_json::from_value(budget).unwrap());
    let mut made = objects(&workload, &stamp(1), &Surroundings::default()).unwrap();
    let there = There { deployment: &live(json!([])), service: None, autoscaler: Some(&autoscaler), disruption: Some(&budget) };
    keep(&mut made, &workload, "server", there);
    made
}

#[test]
fn an_autoscaler_and_a_budget_that_are_there_keep_what_nobody_set() {
    let made = scaled(&[], &json!([]));
    let (autoscaler, budget) = (made.autoscaler.unwrap().spec, made.disruption.unwrap());
    assert_eq!((autoscaler.min_replicas, autoscaler.max_replicas, autoscaler.metrics), (Some(3), 6, None));
    assert_eq!(budget.spec, None, "two numbers would be refused, and that there was no policy counts, too");

    let given = ["kubernetes.autoscale.min", "kubernetes.autoscale.cpu", "kubernetes.disruption.max_unavailable"];
    let made = scaled(&given, &json!([]));
    let (autoscaler, budget) = (made.autoscaler.unwrap().spec, made.disruption.unwrap().spec.unwrap());
    assert_eq!((autoscaler.min_replicas, autoscaler.max_replicas, autoscaler.metrics.map(|all| all.len())), (Some(2), 6, Some(1)));
    assert_eq!((budget.max_unavailable, budget.selector), (Some(IntOrString::Int(1)), None));

    let fields = json!({"f:spec": {"f:maxReplicas": {}, "f:metrics": {}, "f:maxUnavailable": {}, "f:selector": {}}});
    let made = scaled(&[], &json!([{"manager": "shipway", "operation": "Apply", "fieldsV1": fields}]));
    let (autoscaler, budget) = (made.autoscaler.unwrap().spec, made.disruption.unwrap().spec.unwrap());
    assert!(autoscaler.max_replicas == 10 && autoscaler.metrics.is_some(), "ours from an earlier publish");
    assert!(budget.max_unavailable.is_some() && budget.selector.is_some());
}

#[test]
fn default_probes_ask_the_port_that_is_there() {
    let workload = workload();
    let mut wanted = live(json!([])).spec.unwrap().template.spec.unwrap().containers.remove(0);
    wanted.startup_probe = serde_json::from_value(json!({"tcpSocket": {"port": 8080}})).unwrap();
    move_probe(wanted.startup_probe.as_mut().unwrap(), i32::from(workload.port), 9000);
    assert_eq!(wanted.startup_probe.unwrap().tcp_socket.unwrap().port, IntOrString::Int(9000));
}

#[test]
fn the_container_whose_image_is_ours_is_known_again() {
    let fields = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"server\"}": {"f:image": {}}}}}}});
    let entry = json!([{"manager": "shipway", "operation": "Apply", "fieldsV1": fields}]);
    assert_eq!(owned_container(&live(entry)).as_deref(), Some("server"));
    assert_eq!(owned_container(&live(json!([]))), None);
}

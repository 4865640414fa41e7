use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::*;
use crate::domain::{
    config::Config,
    workload::{Autoscale, Disruption, Probe, Probes, Resources, SecretKey, Timing},
};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect()
}

pub fn workload() -> Workload {
    Workload {
        app: "order-service".to_string(),
        line: "trade".to_string(),
        environment: None,
        namespace: "trade".to_string(),
        name: "orders".to_string(),
        image: format!("registry.test/trade/orders@sha256:{}", "1".repeat(64)).parse().unwrap(),
        platforms: Vec::new(),
        version: "1a2b".to_string(),
        port: 8080,
        replicas: None,
        jvm: Vec::new(),
        args: Vec::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        resources: Resources { requests: map(&[("cpu", "100m"), ("memory", "1Gi")]), limits: map(&[("memory", "1Gi")]) },
        probes: Probes {
            startup: None,
            readiness: Some(Probe::Http {
                path: "actuator/health".to_string(),
                port: 9000,
                timing: Timing { period: 5, timeout: 2, failure_threshold: 3 },
            }),
            liveness: None,
        },
        rolling: Rolling {
            max_surge: "25%".to_string(),
            max_unavailable: "0".to_string(),
            min_ready_seconds: 10,
            timeout: Duration::from_secs(600),
            drain: Duration::from_secs(5),
            budgets: crate::domain::rollout::Budgets::default(),
        },
        service: Some(crate::domain::workload::ServicePort { port: 80, kind: "ClusterIP".to_string() }),
        autoscale: None,
        disruption: None,
        config: None,
        pushed: None,
        security: Security::Restricted,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        service_account: None,
        pull_secret: None,
        user: Some(10001),
        container: None,
        given: crate::domain::workload::Given::All,
        custom: crate::domain::custom::Custom::default(),
    }
}

pub fn stamp(revision: u64) -> Stamp {
    let sequence = Some(Sequence { kind: "gitlab".to_string(), number: 4711 });
    Stamp { revision, sequence, commit: Some("1a2b3c".to_string()), job_url: None, author: Some("Ada".to_string()) }
}

fn deployment(workload: &Workload) -> Value {
    serde_json::to_value(objects(workload, &stamp(3), &Surroundings::default()).unwrap().deployment).unwrap()
}

fn container(workload: &Workload) -> Value {
    deployment(workload)["spec"]["template"]["spec"]["containers"][0].clone()
}

#[test]
fn a_deployment_rolls_and_is_stamped() {
    let deployment = deployment(&workload());
    assert_eq!(
        deployment["metadata"]["annotations"],
        json!({"shipway.dev/author": "Ada", "shipway.dev/commit": "1a2b3c", "shipway.dev/revision": "3", "shipway.dev/sequence": "gitlab/4711"})
    );
    assert_eq!(deployment["metadata"]["labels"]["app.kubernetes.io/managed-by"], "shipway");
    let spec = &deployment["spec"];
    assert_eq!(spec["replicas"], Value::Null, "nobody asked for a number");
    assert_eq!(spec["strategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}));
    assert_eq!((&spec["minReadySeconds"], &spec["progressDeadlineSeconds"]), (&json!(10), &json!(600)));
    assert_eq!(spec["selector"]["matchLabels"], json!({"app.kubernetes.io/instance": "orders"}));
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 35);
    assert_eq!(pod["securityContext"], json!({"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}));
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"], json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}));
    assert_eq!(container["lifecycle"]["preStop"], json!({"sleep": {"seconds": 5}}));
    assert_eq!(
        container["readinessProbe"],
        json!({"httpGet": {"path": "/actuator/health", "port": 9000}, "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3})
    );
}

#[test]
fn the_pods_do_not_change_with_release_or_tag() {
    let template = |workload: &Workload, revision| {
        objects(workload, &stamp(revision), &Surroundings::default()).unwrap().deployment.spec.unwrap().template
    };
    let another = Workload { version: "v9".to_string(), ..workload() };
    assert_eq!(template(&workload(), 1), template(&another, 2));
    let changed = Workload { args: vec!["--x".to_string()], ..workload() };
    assert_ne!(template(&workload(), 1), template(&changed, 1));
}

#[test]
fn java_options_are_one_variable() {
    let mut workload = workload();
    workload.jvm = vec!["-Xlog:gc".to_string(), "-Dname=two words".to_string()];
    workload.env = map(&[("JAVA_TOOL_OPTIONS", "-Duser=1"), ("MODE", "x")]);
    workload.secrets.insert("PASSWORD".to_string(), SecretKey { secret: "database".to_string(), key: "password".to_string() });
    assert_eq!(
        container(&workload)["env"],
        json!([
            {"name": "JAVA_TOOL_OPTIONS", "value": "-Duser=1 -Xlog:gc \"-Dname=two words\""},
            {"name": "MODE", "value": "x"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}}},
        ])
    );
}

#[test]
fn the_drain_follows_what_cluster_and_image_can() {
    let mut workload = workload();
    let life = |workload: &Workload| {
        let around = Surroundings { native_sleep: false, ..Surroundings::default() };
        let deployment = objects(workload, &stamp(1), &around).unwrap().deployment;
        serde_json::to_value(deployment).unwrap()["spec"]["template"]["spec"]["containers"][0]["lifecycle"].clone()
    };
    assert_eq!(life(&workload), Value::Null);
    assert!(!containers::can_drain(&workload, false) && containers::can_drain(&workload, true));
    workload.rolling.drain = Duration::ZERO;
    assert_eq!(life(&workload), Value::Null);
    assert!(containers::can_drain(&workload, false));
}

#[test]
fn an_autoscaler_keeps_the_number_out_of_the_deployment() {
    let mut workload = workload();
    workload.replicas = Some(3);
    assert_eq!(deployment(&workload)["spec"]["replicas"], 3);
    workload.autoscale = Some(Autoscale { min: 2, max: 9, cpu: Some(70), ..Autoscale::default() });
    let objects = objects(&workload, &stamp(1), &Surroundings::default()).unwrap();
    assert_eq!(objects.deployment.spec.unwrap().replicas, None);
    let autoscaler = serde_json::to_value(objects.autoscaler.unwrap()).unwrap();
    assert_eq!(
        autoscaler["spec"],
        json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders"}, "minReplicas": 2, "maxReplicas": 9,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}]})
    );
}

#[test]
fn an_autoscaler_follows_metrics_of_pods_and_of_others() {
    let autoscale = Autoscale {
        min: 1,
        max: 3,
        memory: Some(80),
        metrics: map(&[("http_requests_per_second", "100")]),
        external: map(&[("queue_length", "30")]),
        ..Autoscale::default()
    };
    let workload = Workload { autoscale: Some(autoscale), ..workload() };
    let autoscaler = objects(&workload, &stamp(1), &Surroundings::default()).unwrap().autoscaler.unwrap();
    let average = |value: &str| json!({"type": "AverageValue", "averageValue": value});
    assert_eq!(
        serde_json::to_value(autoscaler.spec.metrics).unwrap(),
        json!([
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 80}}},
            {"type": "Pods", "pods": {"metric": {"name": "http_requests_per_second"}, "target": average("100")}},
            {"type": "External", "external": {"metric": {"name": "queue_length"}, "target": average("30")}},
        ])
    );
}

#[test]
fn a_budget_is_there_when_it_is_asked_for() {
    let disruption = Disruption { min_available: Some("50%".to_string()), ..Disruption::default() };
    let workload = Workload { disruption: Some(disruption), ..workload() };
    let budget = objects(&workload, &stamp(1), &Surroundings::default()).unwrap().disruption.unwrap();
    assert_eq!(
        serde_json::to_value(budget.spec).unwrap(),
        json!({"minAvailable": "50%", "selector": {"matchLabels": {"app.kubernetes.io/instance": "orders"}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow"})
    );
}

#[test]
fn a_configuration_is_mounted_for_reading() {
    let files = BTreeMap::from([("a.yml".to_string(), b"x: 1".to_vec())]);
    let config = Config::new("config", "/config", false, files).unwrap();
    let name = config.reference("orders").name;
    let workload = Workload { config: Some(config), ..workload() };
    let pod = deployment(&workload)["spec"]["template"]["spec"].clone();
    assert_eq!(pod["volumes"], json!([{"name": "config", "configMap": {"name": name}}]));
    assert_eq!(pod["containers"][0]["volumeMounts"], json!([{"name": "config", "mountPath": "/config", "readOnly": true}]));
}

#[test]
fn a_restart_by_hand_is_not_undone() {
    let around = Surroundings { restarted: Some("2026-01-02T03:04:05Z".to_string()), ..Surroundings::default() };
    let template = objects(&workload(), &stamp(1), &around).unwrap().deployment.spec.unwrap().template;
    assert_eq!(template.metadata.unwrap().annotations.unwrap(), map(&[(keys::RESTARTED, "2026-01-02T03:04:05Z")]));
}

#[test]
fn a_service_leads_to_the_named_port() {
    let service = objects(&workload(), &stamp(1), &Surroundings::default()).unwrap().service.unwrap();
    assert_eq!(
        serde_json::to_value(service).unwrap()["spec"],
        json!({"ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
            "selector": {"app.kubernetes.io/instance": "orders"}, "type": "ClusterIP"})
    );
}

#[test]
fn a_live_selector_is_kept() {
    let around =
        Surroundings { selector: Some(map(&[("run", "theirs")])), container: Some("server".to_string()), ..Surroundings::default() };
    let objects = objects(&workload(), &stamp(1), &around).unwrap();
    let spec = objects.deployment.spec.unwrap();
    assert_eq!(spec.selector.match_labels.unwrap(), map(&[("run", "theirs")]));
    assert_eq!(spec.template.metadata.unwrap().labels.unwrap()["run"], "theirs");
    assert_eq!(spec.template.spec.unwrap().containers[0].name, "server");
    assert_eq!(objects.service.unwrap().spec.unwrap().selector.unwrap(), map(&[("run", "theirs")]));
}

#[test]
fn what_kubernetes_would_not_take_is_named_by_its_setting() {
    let mut bad = workload();
    bad.resources.limits = map(&[("memory", "lots")]);
    let problem = objects(&bad, &stamp(1), &Surroundings::default()).unwrap_err();
    assert!(problem.message.contains("kubernetes.resources.limits.memory") && problem.message.contains("lots"), "{}", problem.message);
    for (probe, part) in [(json!({"httpGet": 3}), "invalid"), (json!({"htpGet": {"path": "/"}}), "htpGet")] {
        let mut bad = workload();
        bad.probes.liveness = Some(Probe::Custom(probe));
        let problem = objects(&bad, &stamp(1), &Surroundings::default()).unwrap_err();
        assert_eq!(problem.code, Code::ManifestInvalid);
        assert!(problem.message.contains("kubernetes.probes.liveness") && problem.message.contains(part), "{}", problem.message);
    }
}

#[test]
fn a_whole_probe_is_taken_as_it_is() {
    let mut workload = workload();
    let probe = json!({"exec": {"command": ["/check"]}, "initialDelaySeconds": 3});
    workload.probes.liveness = Some(Probe::Custom(probe.clone()));
    assert_eq!(container(&workload)["livenessProbe"], probe);
}

#[test]
fn label_values_are_legal() {
    assert_eq!(label_value("v1.2+build"), "v1.2-build");
    assert_eq!(label_value(&format!("{}-", "a".repeat(80))).len(), 63);
    assert_eq!(label_value("-_."), "");
    let long = Workload { version: format!("{}-x", "y".repeat(62)), ..workload() };
    assert_eq!(common_labels(&long)[keys::VERSION], "y".repeat(62));
}

#[test]
fn ours_is_what_has_both_labels() {
    let meta = |labels: &[(&str, &str)]| ObjectMeta { labels: Some(map(labels)), ..ObjectMeta::default() };
    assert!(is_ours(&meta(&[(keys::MANAGED_BY, "shipway"), (keys::INSTANCE, "orders")]), "orders"));
    assert!(!is_ours(&meta(&[(keys::MANAGED_BY, "shipway"), (keys::INSTANCE, "other")]), "orders"));
    assert!(!is_ours(&meta(&[(keys::MANAGED_BY, "Helm"), (keys::INSTANCE, "orders")]), "orders"));
    assert!(!is_ours(&ObjectMeta::default(), "orders"));
}

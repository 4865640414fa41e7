//! What the rules break, case by case.

use serde_json::json;

use super::*;

fn rule(rule: Value) -> Rules {
    let mut rule = rule;
    rule["name"] = "r".into();
    Rules { rules: vec![serde_json::from_value(rule).unwrap()], place: "rules.yaml".into(), ..Rules::default() }
}

fn broken(rules: &Rules, proposal: &Proposal) -> Vec<String> {
    let target = Target { app: "orders".into(), line: "trade".into(), environment: "prod".into() };
    rules.broken(&target, proposal).iter().map(|what| what.replace(" (rule \"r\" of rules.yaml)", "")).collect()
}

fn objects(objects: Value) -> Proposal {
    Proposal { objects: objects.as_array().unwrap().clone(), ..Proposal::default() }
}

#[test]
fn patterns_cover_what_they_say() {
    for (pattern, name, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("r/*", "r/x/y", true),
        ("r/*", "s/x", false),
        ("*-prod", "eu-prod", true),
        ("a*b*c", "aXbYc", true),
        ("a*b*c", "acb", false),
        ("ab*b", "ab", false),
        ("a*a", "aa", true),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn a_rule_counts_where_it_says() {
    let proposal = Proposal { replicas: Some(5), ..Proposal::default() };
    for (place, expected) in [
        (json!({}), true),
        (json!({"environments": ["prod*"]}), true),
        (json!({"environments": ["test"]}), false),
        (json!({"apps": ["x", "ord*"], "lines": ["trade"]}), true),
        (json!({"apps": ["ord*"], "lines": ["other"]}), false),
    ] {
        let mut one = place.clone();
        one["max_replicas"] = 4.into();
        assert_eq!(!broken(&rule(one), &proposal).is_empty(), expected, "{place}");
    }
}

#[test]
fn a_freeze_ends() {
    let rules = rule(json!({"freeze": [{"from": "2026-12-20T00:00:00Z", "to": "2027-01-06T00:00:00Z", "reason": "year's end"}]}));
    let at = |now: &str| broken(&rules, &Proposal { now: Some(now.parse().unwrap()), ..Proposal::default() });
    assert_eq!(at("2026-12-20T00:00:00Z"), ["nothing is published until 2027-01-06T00:00:00Z: year's end"]);
    assert!(at("2026-12-19T23:59:59Z").is_empty() && at("2027-01-06T00:00:00Z").is_empty());
}

#[test]
fn forbidden_keys_and_bases_are_told() {
    let rules = rule(json!({"forbidden": ["kubernetes.patches", "kubernetes.env"], "base_images": ["registry.test/base/*"]}));
    let settings = ["kubernetes.env.A", "kubernetes.environment", "app"].map(|key| (key.to_string(), "shipway.yaml".to_string()));
    let proposal = Proposal { settings: settings.to_vec(), base: Some(Some("docker.io/library/x:1".into())), ..Proposal::default() };
    assert_eq!(
        broken(&rules, &proposal),
        [
            "kubernetes.env.A may not be set, and shipway.yaml sets it",
            "the base image docker.io/library/x:1 is not one of registry.test/base/*"
        ]
    );
    assert_eq!(broken(&rules, &Proposal { base: Some(None), ..Proposal::default() }).len(), 1, "an unknown base is no permitted one");
    assert!(broken(&rules, &Proposal { base: Some(Some("registry.test/base/jre:17".into())), ..Proposal::default() }).is_empty());
    assert!(broken(&rules, &Proposal::default()).is_empty(), "the image is not known yet");
}

#[test]
fn objects_of_every_kind_are_looked_at() {
    let rules = rule(json!({"labels": ["team"], "max_replicas": 3, "max_memory": "1Gi"}));
    let container = |memory: Value| json!({"name": "c", "resources": {"limits": {"memory": memory}}});
    let pod = |containers: Value, init: Value| json!({"metadata": {"labels": {"team": "a"}}, "spec": {"containers": containers, "initContainers": init}});
    let fits = pod(json!([container("512Mi".into()), container("512Mi".into())]), json!([container("1Gi".into())]));
    let good = json!([
        {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 3, "template": fits}},
        {"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": []}}
    ]);
    assert!(broken(&rules, &objects(good)).is_empty());
    let stays = json!({"name": "s", "restartPolicy": "Always", "resources": {"limits": {"memory": "1Mi"}}});
    let bad = json!([
        {"kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {"replicas": 4, "template": {"spec": {"containers": [{"name": "c"}]}}}},
        {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {"maxReplicas": 9}},
        {"kind": "CronJob", "metadata": {"name": "j"}, "spec": {"jobTemplate": {"spec": {"template": pod(json!([container("1Gi".into())]), json!([stays]))}}}}
    ]);
    assert_eq!(
        broken(&rules, &objects(bad)),
        [
            "statefulset/db may have 4 pods, more than 3",
            "the pods of statefulset/db have no label team",
            "container c of statefulset/db has no memory limit",
            "horizontalpodautoscaler/web may have 9 pods, more than 3",
            "a pod of cronjob/j may take 1025Mi, more than 1024Mi"
        ]
    );
}

#[test]
fn rules_with_an_error_are_refused() {
    assert!(serde_json::from_value::<Rules>(json!({"rules": [{"name": "x", "max_replica": 1}]})).is_err());
    assert!(rule(json!({"max_memory": "many"})).check().unwrap_err().contains("no quantity"));
    assert!(Rules { rules: vec![Rule::default()], ..Rules::default() }.check().unwrap_err().contains("no name"));
    let backwards = json!({"freeze": [{"from": "2027-01-06T00:00:00Z", "to": "2026-12-20T00:00:00Z"}]});
    assert!(rule(backwards).check().unwrap_err().contains("before it begins"));
    assert!(rule(json!({"max_memory": "2Gi"})).check().is_ok());
}

#[test]
fn what_names_no_environment_escapes_no_rule() {
    let proposal = |namespace: &str| Proposal { namespace: namespace.into(), replicas: Some(5), ..Proposal::default() };
    for (place, environment, namespace, expected) in [
        (json!({"environments": ["prod"]}), "", "x", true),
        (json!({"environments": ["prod"]}), "test", "x", false),
        (json!({"environments": ["*"]}), "", "x", true),
        (json!({"namespaces": ["trade"]}), "", "x", false),
        (json!({"namespaces": ["trade"]}), "test", "trade", true),
        (json!({"environments": ["prod"], "namespaces": ["trade"]}), "test", "trade", true),
        (json!({"environments": ["prod"], "namespaces": ["trade"]}), "test", "x", false),
    ] {
        let mut one = place.clone();
        one["max_replicas"] = 4.into();
        let target = Target { app: "orders".into(), line: "trade".into(), environment: environment.into() };
        assert_eq!(!rule(one).broken(&target, &proposal(namespace)).is_empty(), expected, "{place} {environment} {namespace}");
    }
}

#[test]
fn what_goes_astray_is_told() {
    let rules = rule(json!({"into": ["{line}", "{line}-*"], "names": ["{app}", "{app}-*"]}));
    let object = |namespace: &str, name: &str| json!({"kind": "Role", "metadata": {"name": name, "namespace": namespace}});
    let proposal = |namespace: &str, name: &str, objects: Vec<Value>| Proposal {
        namespace: namespace.into(),
        name: name.into(),
        objects,
        ..Proposal::default()
    };
    assert!(broken(&rules, &proposal("trade-test", "orders", vec![object("trade", "orders-reader")])).is_empty());
    assert_eq!(
        broken(
            &rules,
            &proposal(
                "money",
                "core",
                vec![object("kube-system", "admin"), json!({"kind": "Namespace", "metadata": {"name": "orders-x"}})]
            )
        ),
        [
            "the namespace kube-system is not one of {line}, {line}-*",
            "the namespace money is not one of {line}, {line}-*",
            "the namespace orders-x is not one of {line}, {line}-*",
            "the application's name core is not one of {app}, {app}-*",
            "role/admin is not one of {app}, {app}-*",
        ]
    );
    let star = Target { app: "*".into(), line: "*".into(), environment: String::new() };
    assert_eq!(rules.broken(&star, &proposal("money", "core", vec![])).len(), 2, "a word is no pattern");
}

#[test]
fn a_limit_of_nothing_is_none() {
    let rules = rule(json!({"max_memory": "1Gi"}));
    for memory in [json!("0"), json!(0), json!("0Mi"), json!("-1Gi")] {
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": memory}}}]}});
        let object = json!([{"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": pod}}]);
        assert_eq!(broken(&rules, &objects(object)), ["container c of deployment/web has no memory limit"], "{memory}");
    }
}

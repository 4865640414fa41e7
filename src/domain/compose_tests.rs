use serde_json::{Value, json};

use super::*;
use crate::domain::{
    custom::{Custom, File},
    manifests::{
        Surroundings, objects,
        tests::{stamp, workload},
    },
};

fn with(manifests: &str, patches: &str) -> Workload {
    let file =
        |path: &str, text: &str| if text.is_empty() { Vec::new() } else { vec![File { path: path.to_string(), text: text.to_string() }] };
    let custom = Custom::read(&file("deploy/app.yaml", manifests), &file("deploy/patch.yaml", patches), "trade").unwrap();
    Workload { custom, ..workload() }
}

fn made(workload: &Workload) -> Result<Objects> {
    objects(workload, &stamp(3), &Surroundings::default())
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

const OWN: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, labels: {app.kubernetes.io/name: theirs, team: blue}}
spec:
  replicas: 4
  selector: {matchLabels: {run: orders}}
  template:
    metadata: {labels: {run: orders}}
    spec:
      containers:
      - {name: proxy, image: 'proxy:1', resources: {limits: {cpu: 1}}}
      - {name: orders, image: 'whatever', ports: [{name: web, containerPort: 9000}]}
";

#[test]
fn the_generated_budget_is_for_the_pods_of_the_users_own_deployment() {
    let disruption = Some(crate::domain::workload::Disruption { max_unavailable: Some("1".to_string()), min_available: None });
    let made = made(&Workload { disruption, ..with(OWN, "") }).unwrap();
    assert_eq!(value(&made.disruption.unwrap())["spec"]["selector"], json!({"matchLabels": {"run": "orders"}}));
}

#[test]
fn a_manifest_of_the_name_stands_in_for_the_generated_one() {
    let workload = with(OWN, "");
    let made = made(&workload).unwrap();
    let deployment = value(&made.deployment);
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    assert_eq!((&containers[0]["image"], &containers[1]["image"]), (&json!("proxy:1"), &json!(workload.image.to_string())));
    assert!(containers[1].get("readinessProbe").is_none(), "nothing generated is mixed into it");
    let labels = &deployment["metadata"]["labels"];
    assert_eq!((&labels["app.kubernetes.io/name"], &labels["team"]), (&json!("theirs"), &json!("blue")));
    assert_eq!((&labels["app.kubernetes.io/managed-by"], &labels["app.kubernetes.io/instance"]), (&json!("shipway"), &json!("orders")));
    assert_eq!(deployment["metadata"]["annotations"]["shipway.dev/revision"], json!("3"));
    let service = value(&made.service.unwrap());
    assert_eq!((&service["spec"]["selector"], &service["spec"]["ports"][0]["targetPort"]), (&json!({"run": "orders"}), &json!("web")));
    assert_eq!(wanted_replicas(&workload).unwrap(), Some(4));
    assert_eq!(wanted_replicas(&Workload { replicas: Some(1), ..workload }).unwrap(), Some(1), "a setting counts before a manifest");
}

#[test]
fn others_are_published_beside_in_order_and_marked() {
    let text = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: 'registry.test/trade/orders:latest'}]}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app.kubernetes.io/part-of: other}}
data: {a: b}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: orders}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: orders}, maxReplicas: 5}
";
    let workload = Workload { replicas: Some(3), ..with(text, "") };
    let made = made(&workload).unwrap();
    assert_eq!(made.others.iter().map(|other| Identity::of(other).kind).collect::<Vec<_>>(), ["ConfigMap", "CronJob"]);
    assert_eq!(made.others[0]["metadata"]["labels"]["app.kubernetes.io/part-of"], json!("other"));
    assert_eq!(made.others[0]["metadata"]["labels"]["app.kubernetes.io/instance"], json!("orders"));
    assert_eq!(made.others[0]["metadata"]["namespace"], json!("trade"));
    assert!(made.others[1].to_string().contains(&workload.image.to_string()), "the same digest as the Deployment's");
    assert_eq!(made.autoscaler.unwrap().spec.max_replicas, 5);
    assert_eq!(made.deployment.spec.unwrap().replicas, None, "an autoscaler of the user's decides, too");
}

#[test]
fn patches_change_what_is_generated_and_what_is_brought() {
    let patches = "
kind: Deployment
spec: {template: {spec: {containers: [{name: app, volumeMounts: [{name: tmp, mountPath: /tmp}]}], volumes: [{name: tmp, emptyDir: {}}]}}}
---
target: {kind: Service}
patch: [{op: add, path: /spec/sessionAffinity, value: ClientIP}]
---
kind: ConfigMap
metadata: {name: settings}
data: {a: c}
";
    let made = made(&with("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}", patches)).unwrap();
    let deployment = value(&made.deployment);
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], json!("/tmp"));
    assert!(deployment["spec"]["template"]["spec"]["containers"][0].get("readinessProbe").is_some());
    assert_eq!(value(&made.service.unwrap())["spec"]["sessionAffinity"], json!("ClientIP"));
    assert_eq!(made.others[0]["data"], json!({"a": "c"}));
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let off = |patches: &str| made(&with("", patches)).unwrap_err();
    for (patch, words) in [
        ("kind: Ingress\nspec: {}", "deploy/patch.yaml: there is no Ingress orders to patch; there are: Deployment orders, Service orders"),
        ("kind: Deployment\nspec: {replica: 3}", "deploy/patch.yaml: a Deployment has no field spec.replica"),
        ("kind: Deployment\nspec: {replicas: many}", "deploy/patch.yaml: spec.replicas of Deployment: invalid type"),
        (
            "kind: Deployment\nspec: {template: {spec: {containers: [{name: app, image: 'evil:1'}]}}}",
            "the image of container app is what was built, and cannot be patched to evil:1",
        ),
    ] {
        let problem = off(patch);
        assert_eq!(problem.code, Code::ManifestInvalid);
        assert!(problem.message.contains(words), "{}", problem.message);
    }
    let misspelt = made(&with(&OWN.replace("containerPort", "containerport"), "")).unwrap_err();
    assert!(misspelt.message.starts_with("deploy/app.yaml: "), "{}", misspelt.message);
    let two = made(&with(&OWN.replace("name: orders, image", "name: main, image"), "")).unwrap_err();
    assert!(two.message.contains("deploy/app.yaml: it is not clear which container"), "{}", two.message);
    let chosen = Workload { container: Some("proxy".to_string()), ..with(OWN, "") };
    assert!(
        value(&made(&chosen).unwrap().deployment)["spec"]["template"]["spec"]["containers"][0]["image"] == json!(chosen.image.to_string())
    );
}

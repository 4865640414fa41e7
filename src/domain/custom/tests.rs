use serde_json::{Value, json};

use super::*;
use crate::domain::problem::Problem;

fn file(text: &str) -> File {
    File { path: "deploy/app.yaml".to_string(), text: text.to_string() }
}

fn refused(text: &str) -> Problem {
    Custom::read(&[file(text)], &[], "trade").unwrap_err()
}

fn names(text: &str) -> Vec<String> {
    Custom::read(&[file(text)], &[], "trade").unwrap().manifests.iter().map(|document| document.identity().to_string()).collect()
}

#[test]
fn documents_and_lists_are_taken_apart() {
    let text = "
---
# nothing here
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
- {apiVersion: v1, kind: ConfigMapList, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: trade, uid: x, resourceVersion: '7', creationTimestamp: null}
status: {loadBalancer: {}}
";
    assert_eq!(names(text), ["ConfigMap a", "ConfigMap b", "Service web"]);
    let read = Custom::read(&[file(text)], &[], "trade").unwrap();
    assert_eq!(read.manifests[2].value, json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "trade"}}));
    assert_eq!(read.manifests[1].place, "deploy/app.yaml (document 1) (item 2) (item 1)");
}

#[test]
fn a_file_mode_is_an_octal_number() {
    let read = Custom::read(&[file("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {mode: 0644, on: yes}")], &[], "trade").unwrap();
    assert_eq!(read.manifests[0].value["spec"]["mode"], json!(420));
}

#[test]
fn what_is_no_manifest_names_file_document_and_fix() {
    for (text, words) in [
        ("a: [", "deploy/app.yaml: this is not YAML"),
        ("- a", "deploy/app.yaml: a manifest is a map"),
        ("kind: ConfigMap\nmetadata: {name: a}", "deploy/app.yaml: apiVersion is missing"),
        ("apiVersion: v1\nkind: ConfigMap", "deploy/app.yaml: metadata is missing"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}",
            "deploy/app.yaml (document 1): metadata.name is missing",
        ),
        ("apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: a-}", "another object at every publish"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {since: 2024}}", "metadata.labels.since is 2024, not a text"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: other}", "is for namespace other"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: trade}", "belongs to the whole cluster"),
        ("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}", "belongs to the whole cluster"),
        ("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []", "not rendered here"),
        ("apiVersion: v1\nkind: List\nitems: 3", "items of a List is not a list"),
    ] {
        let problem = refused(text);
        assert_eq!((problem.code.slug(), problem.exit_code()), ("manifest-invalid", 10));
        assert!(problem.message.contains(words), "{}", problem.message);
    }
    assert!(refused("a: {{ .Values.a }}\nb: [").hint.contains("templates are not rendered"));
    assert!(refused("apiVersion: v1\nkind: Namespace\nmetadata: {name: trade}").hint.contains("kubernetes.create_namespace"));
    let bomb = format!("a: &a [{}]\nb: [{}]", vec!["x"; 2000].join(","), vec!["*a"; 2000].join(","));
    assert!(refused(&bomb).message.contains("deploy/app.yaml"), "{}", refused(&bomb).message);
}

#[test]
fn two_documents_of_one_name_are_refused_whatever_their_version() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\n---\napiVersion: networking.k8s.io/v1beta1\nkind: Ingress\nmetadata: {name: a}";
    let problem = refused(text);
    assert_eq!(problem.message, "deploy/app.yaml (document 2): Ingress a is in deploy/app.yaml (document 1) already");
}

#[test]
fn objects_are_applied_in_the_order_in_which_they_need_each_other() {
    let of = |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}});
    let mixed = vec![
        of("networking.k8s.io/v1", "Ingress"),
        of("apps/v1", "StatefulSet"),
        of("cert-manager.io/v1", "Certificate"),
        of("v1", "Service"),
        of("rbac.authorization.k8s.io/v1", "RoleBinding"),
        of("rbac.authorization.k8s.io/v1", "Role"),
        of("v1", "ConfigMap"),
        of("v1", "ServiceAccount"),
    ];
    let kinds: Vec<String> = sorted(mixed).iter().map(|value| Identity::of(value).kind).collect();
    assert_eq!(kinds, ["ServiceAccount", "ConfigMap", "Role", "RoleBinding", "Service", "Certificate", "StatefulSet", "Ingress"]);
    assert!(Identity::of(&of("cert-manager.io/v1", "Certificate")).comes_before_deployments());
    assert!(!Identity::of(&of("batch/v1", "CronJob")).comes_before_deployments());
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2, "template": {"spec": {
        "containers": [{"name": "app", "image": "a:1", "args": ["x"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "ports": [{"containerPort": 8080, "name": "http"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}]}}}})
}

fn patched(text: &str) -> Result<Value> {
    let mut value = deployment();
    for patch in patches(&File { path: "deploy/patch.yaml".to_string(), text: text.to_string() })? {
        assert!(patch.is_for(&Identity::of(&value), "web"));
        patch.apply(&mut value)?;
    }
    Ok(value)
}

#[test]
fn lists_of_known_keys_are_merged_by_them() {
    let value = patched(
        "
kind: Deployment
spec:
  replicas: null
  template:
    spec:
      nodeSelector: {disk: ssd}
      containers:
      - name: app
        args: [v, z]
        env: [{name: B, value: '3'}, {name: C, value: '4'}, {name: A, $patch: delete}]
        ports: [{containerPort: 9090, name: metrics}]
      - {name: proxy, image: 'proxy:1'}
      volumes: [{name: tmp, emptyDir: {}}]
",
    )
    .unwrap();
    let spec = &value["spec"];
    assert!(spec.get("replicas").is_none());
    let pod = &spec["template"]["spec"];
    let app = &pod["containers"][0];
    assert_eq!((&app["image"], &app["args"]), (&json!("a:1"), &json!(["v", "z"])));
    assert_eq!(app["env"], json!([{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]));
    assert_eq!(app["ports"], json!([{"containerPort": 8080, "name": "http"}, {"containerPort": 9090, "name": "metrics"}]));
    assert_eq!((&pod["containers"][1]["name"], pod["volumes"].as_array().unwrap().len()), (&json!("proxy"), 2));
    assert_eq!(pod["nodeSelector"], json!({"disk": "ssd"}));
}

#[test]
fn directives_of_strategic_merge_are_understood() {
    let replaced =
        patched("kind: Deployment\nspec: {template: {spec: {containers: [{$patch: replace}, {name: only, image: 'b:1'}]}}}").unwrap();
    assert_eq!(replaced["spec"]["template"]["spec"]["containers"], json!([{"name": "only", "image": "b:1"}]));
    let retained = patched(
        "kind: Deployment\nspec: {template: {spec: {volumes: [{name: data, $retainKeys: [name, configMap], configMap: {name: c}}]}}}",
    )
    .unwrap();
    assert_eq!(retained["spec"]["template"]["spec"]["volumes"], json!([{"name": "data", "configMap": {"name": "c"}}]));
    let gone = patched("kind: Deployment\nspec: {template: {spec: {$patch: delete}}}").unwrap();
    assert!(gone["spec"]["template"].get("spec").is_none());
    let bare = patched("kind: Deployment\nspec: {template: {spec: {$setElementOrder/containers: [{name: app}], containers: [{name: app, $deleteFromPrimitiveList/args: [x]}]}}}").unwrap();
    assert_eq!(bare["spec"]["template"]["spec"]["containers"][0]["args"], json!([]));
}

#[test]
fn operations_of_rfc_6902_have_a_target_or_are_for_the_deployment() {
    for text in [
        "- {op: replace, path: /spec/replicas, value: 5}\n- {op: test, path: /metadata/name, value: web}",
        "target: {kind: Deployment}\npatch: [{op: add, path: /spec/replicas, value: 5}]",
        "target: {kind: Deployment, name: web}\npatch: |-\n  - op: replace\n    path: /spec/replicas\n    value: 5\n",
        "target: {kind: Deployment}\npatch: {spec: {replicas: 5}}",
    ] {
        assert_eq!(patched(text).unwrap()["spec"]["replicas"], json!(5), "{text}");
    }
}

#[test]
fn a_patch_that_does_not_fit_names_file_document_and_path() {
    for (text, words) in [
        ("spec: {replicas: 1}", "deploy/patch.yaml: a patch says for which kind it is"),
        ("kind: Deployment\nspec: {template: {spec: {containers: [{image: x}]}}}", "spec.template.spec.containers[0]: name is missing"),
        ("kind: Deployment\nspec: {template: {$patch: move}}", "spec.template: $patch is \"move\""),
        ("- {op: remove, path: /spec/paused}", "operation 1, /spec/paused: "),
        ("- {op: put, path: /spec}", "operation 1 is not one of RFC 6902"),
        ("- {op: replace, path: /metadata/name, value: other}", "metadata/name: a patch cannot change this"),
        ("target: {kind: Deployment}", "patch is missing"),
        ("target: {kind: Deployment, labelSelector: a=b}\npatch: []", "target.labelSelector is not understood"),
        ("kind: Deployment\n---\ntarget: {name: web}\npatch: []", "deploy/patch.yaml (document 2): target.kind is missing"),
    ] {
        let problem = patched(text).unwrap_err();
        assert_eq!(problem.code.slug(), "manifest-invalid");
        assert!(problem.message.contains(words) && problem.message.starts_with("deploy/patch.yaml"), "{}", problem.message);
    }
}

#[test]
fn the_applications_container_is_found() {
    let image = "registry.test/trade/orders@sha256:1111111111111111111111111111111111111111111111111111111111111111".parse().unwrap();
    let chosen = |container| Chosen { container, names: ["order-service", "orders"], image: &image };
    let find = |found: &[(&str, &str)], container| application_container("deploy/app.yaml", found, &chosen(container));
    assert_eq!(find(&[("server", "x:1")], None).unwrap(), 0);
    assert_eq!(find(&[("proxy", "x:1"), ("app", "y:1")], None).unwrap(), 1);
    assert_eq!(find(&[("proxy", "x:1"), ("orders", "y:1")], None).unwrap(), 1);
    assert_eq!(find(&[("a", "x:1"), ("b", "registry.test/trade/orders:old")], None).unwrap(), 1);
    assert_eq!(find(&[("a", "x:1"), ("b", "registry.test/trade/orders:old")], Some("a")).unwrap(), 0);
    let unclear = find(&[("a", "x:1"), ("b", "y:1")], None).unwrap_err();
    assert!(unclear.message.contains("it has a, b") && unclear.hint.contains("kubernetes.container"), "{unclear:?}");
    assert!(find(&[("a", "x:1")], Some("b")).unwrap_err().message.contains("there is no container b"));
    let mut job = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {
        "containers": [{"name": "a", "image": "registry.test/trade/orders"}, {"name": "b", "image": "other:1"}]}}}}}});
    pin(&mut job, &image);
    let containers = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"];
    assert_eq!((&containers[0]["image"], &containers[1]["image"]), (&json!(image.to_string()), &json!("other:1")));
}

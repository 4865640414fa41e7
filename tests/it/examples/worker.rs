//! The workers of `ci-examples/worker/`: what is Kubernetes' own in it is taken by a real API server.

use std::fs;

use kube::{
    api::{Api, Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
};
use serde_json::Value;

use super::example;
use crate::support::lab::lab;

fn documents(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(example("worker").join(file)).unwrap();
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

#[tokio::test]
async fn the_api_server_takes_the_objects_of_a_worker() {
    let namespace = lab().bare_namespace("example worker").await;
    let client = lab().client().await;
    let params =
        PatchParams { dry_run: true, field_validation: Some(kube::api::ValidationDirective::Strict), ..PatchParams::apply("test").force() };
    let mut kinds = Vec::new();
    for object in ["account.yaml", "secret.yaml", "deployment.yaml"].into_iter().flat_map(documents) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap().to_string();
        let (group, version) = match text("/apiVersion").split_once('/') {
            Some((group, version)) => (group.to_string(), version.to_string()),
            None => (String::new(), text("/apiVersion")),
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind { group, version, kind: text("/kind") });
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        let taken = api.patch(&text("/metadata/name"), &params, &Patch::Apply(&object)).await;
        assert!(taken.is_ok(), "{}: {taken:?}", text("/kind"));
        kinds.push(text("/kind"));
    }
    assert_eq!(kinds, ["ServiceAccount", "Secret", "RoleBinding", "Secret", "Deployment"]);
    Api::<k8s_openapi::api::core::v1::Namespace>::all(client).delete(&namespace, &Default::default()).await.unwrap();
}

#[test]
fn a_pod_has_the_time_that_a_worker_takes_to_end() {
    let deployment = documents("deployment.yaml").remove(0);
    let pod = &deployment["spec"]["template"]["spec"];
    let (drain, rollback, last_words) = (600, 300, 30);
    assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() > drain + rollback + last_words);
    let variables: Vec<&str> =
        pod["containers"][0]["env"].as_array().unwrap().iter().filter_map(|variable| variable["name"].as_str()).collect();
    let keys = documents("secret.yaml").remove(0)["stringData"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let known = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md")).unwrap();
    for name in keys.iter().map(String::as_str).chain(variables).filter(|name| *name != "HOME") {
        assert!(known.contains(&format!("`{name}`")), "{name} is no variable of ours");
    }
    // the lab's cluster does not know KEDA's own objects: what can be said here is that they name the others
    let [secret, access, scaled] = documents("scaled-object.yaml").try_into().unwrap();
    assert_eq!(access["spec"]["secretTargetRef"][0]["name"], secret["metadata"]["name"]);
    assert_eq!(scaled["spec"]["triggers"][0]["authenticationRef"]["name"], access["metadata"]["name"]);
    assert_eq!(scaled["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    assert_eq!(scaled["spec"]["triggers"][0]["metadata"]["queueName"], "shipway.builds");
}

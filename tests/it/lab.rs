//! The ground that the other tests stand on: the lab's parts answer, its accounts may what they should, fixtures build.

use crate::support::{fixture, lab::lab};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use std::time::Duration;

#[tokio::test]
async fn a_publisher_may_act_in_its_namespace_only() {
    let namespace = lab().namespace("publisher rights");
    let kubeconfig = Kubeconfig::read_from(&namespace.kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let pods = |namespace: &str| Api::<Pod>::namespaced(client.clone(), namespace);
    assert!(pods(&namespace.name).list(&ListParams::default()).await.unwrap().items.is_empty());
    let refused = pods("default").list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
}

#[tokio::test]
async fn pods_of_a_pretended_namespace_run_nowhere() {
    let namespace = lab().pretended_namespace("pretended pods").await;
    let pods = Api::<Pod>::namespaced(lab().client().await, &namespace.name);
    let pod = serde_json::json!({"metadata": {"name": "some"}, "spec": {"containers": [{"name": "app", "image": "nowhere.test/app:1"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let ready = kube::runtime::wait::conditions::is_pod_running();
    let running = tokio::time::timeout(Duration::from_secs(20), await_condition(pods.clone(), "some", ready));
    let pod = running.await.expect("a pretended pod does not run").unwrap().unwrap();
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some(lab().pretended_node().as_str()));
}

#[test]
fn fixtures_are_built_once() {
    let jar = fixture::archive("plain-service", "");
    let written = std::fs::metadata(&jar).unwrap().modified().unwrap();
    assert_eq!(jar.file_name().unwrap(), "price-service-1.0.0.jar");
    assert_eq!(std::fs::metadata(fixture::archive("plain-service", "")).unwrap().modified().unwrap(), written);
}

#[test]
fn a_checkout_is_a_repository_of_one_commit() {
    let checkout = fixture::checkout("two-services");
    assert_eq!(fixture::git(&checkout.path(), &["rev-list", "--count", "HEAD"]), "1");
    checkout.replace("pom.xml", "<version>1.0.0</version>", "<version>1.1.0</version>");
    let first = checkout.head();
    assert_ne!(checkout.commit("Raise the version"), first);
}

//! The API server restarted in the midst of a rollout, a real one: the run goes on, by itself, to the right end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api, Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use shipway::{
    cluster::{self, Publish, Target},
    domain::{
        event::{Event, Events},
        release::Outcome,
    },
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::ground::{NAME, image, publish_of, workload};
use crate::support::own_lab::OwnLab;

async fn client(lab: &OwnLab) -> Client {
    let kubeconfig = Kubeconfig::read_from(lab.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn an_api_server_that_restarts_in_the_midst_of_a_rollout() {
    let lab = Arc::new(tokio::task::spawn_blocking(OwnLab::up).await.unwrap());
    let (namespace, kubeconfig) = lab.namespace("restarted");
    let folder = tempfile::tempdir().unwrap();
    let target = Target { kubeconfig: vec![kubeconfig], ..Target::default() };
    let at = |tag: &str, number: u64, min_ready_seconds: i32| {
        let mut publish = Publish { lock_ttl: Duration::from_secs(15), ..publish_of(workload(&namespace, tag), number, folder.path()) };
        publish.workload.rolling.min_ready_seconds = min_ready_seconds;
        publish
    };
    let (half, said) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
    let (reached, sink) = (half.clone(), said.clone());
    let events = Events::new(move |event| {
        if matches!(event, Event::Rollout { updated: 1, ready: 1, available: 0, .. }) {
            reached.notify_one();
        }
        sink.lock().unwrap().push(event);
    });
    let cluster = cluster::connect(&target, &namespace).await.unwrap();
    let none = CancellationToken::new();
    cluster.publish(&at("1", 1, 0), &events, &none).await.unwrap();
    let publish = at("2", 2, 4);
    let restart = async {
        half.notified().await;
        let lab = lab.clone();
        tokio::task::spawn_blocking(move || lab.restart_the_api_server()).await.unwrap();
    };
    let (released, ()) = tokio::join!(cluster.publish(&publish, &events, &none), restart);
    assert_eq!(released.unwrap_or_else(|problem| panic!("{problem:?}\n{:#?}", said.lock().unwrap())).revision, 2);
    let client = client(&lab).await;
    let live = Api::<Deployment>::namespaced(client.clone(), &namespace).get(NAME).await.unwrap();
    assert_eq!(live.spec.unwrap().template.spec.unwrap().containers[0].image.as_deref(), Some(image("2").to_string().as_str()));
    let history = cluster.history(NAME).await.unwrap();
    let outcomes: Vec<_> = history.revisions.iter().map(|release| (release.revision, release.outcome)).collect();
    assert_eq!(outcomes, [(2, Outcome::Succeeded), (1, Outcome::Succeeded)]);
    let lease = Api::<Lease>::namespaced(client, &namespace).get("shipway-web").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity, None);
}

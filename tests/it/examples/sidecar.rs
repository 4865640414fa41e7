//! The example of a side-car that tells an application whether it leads.

use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{Api, ListParams, LogParams},
};

use super::{access, add, example, ready};
use crate::{
    package::own_image,
    pushed::release::node,
    support::{block_on, fixture, job::QUICK, lab::lab, shipway::shipway, zookeeper::Line},
};

#[test]
fn one_of_two_replicas_leads_and_both_are_ready() {
    let namespace = lab().namespace("example leader");
    let (image, _) = own_image(&namespace.name);
    let checkout = fixture::empty_checkout("orders");
    add(&checkout, "leader-sidecar");
    checkout.replace("deploy/leader.yaml", "shipway:latest", &image);
    // the lab has no DNS for the names of services, and its API server is not at the address of its Service
    let api = Line::for_pods(access(&namespace).server.rsplit_once(':').unwrap().1.parse().unwrap());
    let names = format!("spec:\n      hostAliases: [{{ip: {}, hostnames: [kubernetes.default.svc]}}]\n      containers:", node());
    checkout.replace("deploy/leader.yaml", "spec:\n      containers:", &names);
    let server = format!("env:\n            - {{name: SHIPWAY_CLUSTER_SERVER, value: \"https://kubernetes.default.svc:{}\"}}", api.port);
    checkout.replace("deploy/leader.yaml", "env:", &server);
    let rights = Command::new(lab().program("kubectl"))
        .args(["apply", "-n", &namespace.name, "-f"])
        .arg(example("leader-sidecar").join("rights.yaml"))
        .env("KUBECONFIG", lab().kubeconfig())
        .output()
        .unwrap();
    assert!(rights.status.success(), "{rights:?}");
    shipway(checkout.path())
        .args(["publish", "--image", &lab().web("1")])
        .envs(QUICK.iter().copied().filter(|(name, _)| *name != "SHIPWAY_KUBERNETES_REPLICAS"))
        .env("KUBECONFIG", &namespace.kubeconfig)
        .env("SHIPWAY_KUBERNETES_NAMESPACE", &namespace.name)
        .env("SHIPWAY_APP", "orders")
        .env("SHIPWAY_LINE", &namespace.name)
        .run()
        .expect_code(0);
    assert_eq!(ready(&namespace.name, "orders"), 2);
    block_on(async {
        let api: Api<Pod> = Api::namespaced(lab().client().await, &namespace.name);
        let params = LogParams { container: Some("leader".to_string()), ..LogParams::default() };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let pods = api.list(&ListParams::default().labels("app.kubernetes.io/instance=orders")).await.unwrap().items;
            let mut said = Vec::new();
            for pod in &pods {
                said.push(api.logs(&pod.name_any(), &params).await.unwrap());
            }
            let leading = said.iter().filter(|said| said.contains("lead orders-tasks is ours, with fencing token 1")).count();
            let waiting = said.iter().filter(|said| said.contains("waiting for lead orders-tasks, held by orders-")).count();
            if (leading, waiting) == (1, 1) {
                return;
            }
            assert!(leading < 2 && std::time::Instant::now() < deadline, "{said:?}");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    });
}

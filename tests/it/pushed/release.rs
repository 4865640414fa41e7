//! Pushed configurations in releases: pods have the version that was current at their publish, and a rollback puts it back with the rest.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod, Secret},
};
use kube::{
    ResourceExt,
    api::{Api, ListParams, LogParams},
};
use serde_json::Value;

use super::Center;
use crate::{
    package::own_image,
    support::{
        block_on,
        job::QUICK,
        lab::lab,
        shipway::{Finished, Shipway},
        zookeeper::{Line, Zookeeper},
    },
};

impl Center {
    fn publish(&self, image: &str, pipeline: u64) -> Shipway {
        let pipeline = pipeline.to_string();
        let run =
            self.shipway().args(["publish", "--image", image]).envs(QUICK.iter().copied()).env("SHIPWAY_KUBERNETES_CONFIG_PUSHED", "true");
        run.env("GITLAB_CI", "true").env("CI_PIPELINE_ID", &pipeline).env("SHIPWAY_LINE", "trade")
    }

    /// Pods of the application that are not on their way out.
    async fn pods(&self) -> Vec<Pod> {
        let api: Api<Pod> = Api::namespaced(lab().client().await, &self.namespace.name);
        let pods = api.list(&ListParams::default().labels("app.kubernetes.io/instance=web")).await.unwrap();
        pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
    }

    /// What the mounted files of all pods hold; the object can never have held anything else.
    fn mounted(&self) -> BTreeSet<String> {
        block_on(async {
            let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(lab().client().await, &self.namespace.name);
            let mut found = BTreeSet::new();
            for pod in self.pods().await {
                let volumes = pod.spec.unwrap().volumes.unwrap();
                let name = volumes.iter().find(|volume| volume.name == "config").unwrap().config_map.clone().unwrap().name;
                let map = api.get(&name).await.unwrap();
                assert_eq!(map.immutable, Some(true));
                found.insert(map.data.unwrap()["application.yml"].clone());
            }
            found
        })
    }

    /// What each pod's container says.
    fn said(&self, container: &str) -> BTreeSet<String> {
        block_on(async {
            let api: Api<Pod> = Api::namespaced(lab().client().await, &self.namespace.name);
            let mut found = BTreeSet::new();
            for pod in self.pods().await {
                let params = LogParams { container: Some(container.to_string()), ..LogParams::default() };
                found.insert(api.logs(&pod.name_any(), &params).await.unwrap());
            }
            found
        })
    }

    fn deployment(&self) -> Deployment {
        block_on(async { Api::namespaced(lab().client().await, &self.namespace.name).get("web").await.unwrap() })
    }

    fn history(&self) -> Value {
        serde_json::from_str(&self.shipway().args(["history", "--json"]).run().expect_code(0).stdout).unwrap()
    }
}

fn only(text: &str) -> BTreeSet<String> {
    BTreeSet::from([text.to_string()])
}

#[test]
fn a_release_has_the_version_of_its_moment_and_a_rollback_puts_it_back() {
    let center = Center::new("config release");
    let image = lab().web("1");
    center.publish(&image, 1).run().expect_code(10).expect_text(&["no configuration of web was pushed", "config-missing"]);
    center.write("config/application.yml", "limit: 1\n");
    center.push("first");
    center.publish(&image, 2).run().expect_code(0);
    assert_eq!(center.mounted(), only("limit: 1\n"));
    center.write("config/application.yml", "limit: 2\n");
    center.push("more");
    // a push alone changes nothing of what runs, nor does a restart
    center.shipway().arg("restart").envs(QUICK.iter().copied()).run().expect_code(0);
    assert_eq!(center.mounted(), only("limit: 1\n"));
    center.publish(&image, 3).run().expect_code(0).expect_text(&["the pods get version 2 of the configuration, pushed by ada at"]);
    assert_eq!(center.mounted(), only("limit: 2\n"));
    assert_eq!(center.deployment().annotations()["shipway.dev/config-version"], "2");
    // whatever became of the versions since
    for number in 3..6 {
        center.write("config/application.yml", format!("limit: {number}\n"));
        center.config(&["push", "config"]).env("SHIPWAY_KUBERNETES_HISTORY", "2").run().expect_code(0);
    }
    center.shipway().arg("rollback").envs(QUICK.iter().copied()).run().expect_code(0);
    assert_eq!(center.mounted(), only("limit: 1\n"));
    assert_eq!(center.deployment().annotations()["shipway.dev/config-version"], "1");
    let history = center.history();
    let versions: Vec<u64> = history["revisions"].as_array().unwrap().iter().map(|one| one["config_version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [1, 2, 1, 1]);
    center.shipway().arg("history").run().expect_code(0).expect_text(&["(version 1)", "(version 2)"]);
    center.shipway().arg("remove").run().expect_code(0);
    assert_eq!(center.objects().len(), 2, "the pushed files stay, and no copy of a release");
}

/// An application that shows the file that it was started with: the small image itself.
fn publish_from(center: &Center, image: &str, url: &str, pipeline: u64) -> Shipway {
    let run = center.publish(image, pipeline).env("SHIPWAY_CENTER_URL", url).env("SHIPWAY_KUBERNETES_CONFIG_IMAGE", image);
    let probe = r#"{"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}"#;
    run.env("SHIPWAY_KUBERNETES_ARGS", r#"["sh", "-c", "cat /config/application.yml && touch /tmp/ready && sleep 1000"]"#)
        .env("SHIPWAY_KUBERNETES_PROBES_STARTUP", probe)
        .env("SHIPWAY_KUBERNETES_PROBES_READINESS", probe)
}

/// An address of this machine that pods reach.
pub(crate) fn node() -> String {
    block_on(async {
        let nodes = Api::<Node>::all(lab().client().await).list(&ListParams::default()).await.unwrap();
        let addresses =
            nodes.items.into_iter().filter(|node| node.name_any() != lab().pretended_node()).filter_map(|node| node.status?.addresses);
        addresses.flatten().find(|address| address.type_ == "InternalIP").unwrap().address
    })
}

#[test]
fn pods_fetch_their_version_from_zookeeper_before_the_application_starts() {
    let center = Center::new("config fetch");
    let (image, _) = own_image(&center.namespace.name);
    let server = Zookeeper::start();
    let line = Line::for_pods(server.port);
    let url = format!("zookeeper://ada:pass-word-1@{}:{}", node(), line.port);
    let push = |text: &str| {
        center.write("config/application.yml", text);
        center.config(&["push", "config"]).env("SHIPWAY_CENTER_URL", &url).run().expect_code(0);
    };
    let publish = |pipeline: u64| publish_from(&center, &image, &url, pipeline);
    push("limit: 1\n");
    let unnamed = publish(1).env("SHIPWAY_KUBERNETES_CONFIG_IMAGE", "").run().expect_code(2);
    unnamed.expect_text(&["none is named", "set kubernetes.config.image"]);
    let first: Finished = publish(1).run().expect_code(0);
    assert_eq!((center.said("app"), center.said("config")), (only("limit: 1\n"), only("version 1 is in /shipway/files, 1 file\n")));
    assert!(!first.text().contains("pass-word-1") && !serde_json::to_string(&center.deployment()).unwrap().contains("pass-word-1"));

    push("limit: 2\n");
    publish(2).run().expect_code(0);
    assert_eq!(center.said("app"), only("limit: 2\n"));
    center.shipway().arg("rollback").envs(QUICK.iter().copied()).run().expect_code(0);
    assert_eq!((center.said("app"), center.said("config")), (only("limit: 1\n"), only("version 1 is in /shipway/files, 1 file\n")));

    // pods that cannot reach the centre do not start, and the rollout says which container it was
    line.close_to_pods(true);
    push("limit: 3\n");
    let cut = publish(3).env("SHIPWAY_KUBERNETES_ROLLING_BUDGETS_INIT", "20s").run().expect_code(50);
    cut.expect_text(&["init container config", "takes changes", "kubernetes.config.offline"]);
    assert_eq!(center.said("app"), only("limit: 1\n"));
    publish(4).env("SHIPWAY_KUBERNETES_CONFIG_OFFLINE", "true").run().expect_code(0);
    assert_eq!(center.said("app"), only("limit: 3\n"));
    let told = center.said("config").into_iter().next().unwrap();
    assert!(told.contains("the files are those of the release's copy") && told.contains("the copy is in /shipway/files"), "{told}");

    center.shipway().arg("remove").env("SHIPWAY_CENTER_URL", &url).run().expect_code(0);
    let secrets = block_on(async { Api::<Secret>::namespaced(lab().client().await, &center.namespace.name).get_opt("web-center").await });
    assert!(secrets.unwrap().is_none());
}

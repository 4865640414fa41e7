//! Examples of special situations: a registry with robots, an own Dockerfile, another base, another JDK, many folders.

use std::{collections::BTreeMap, fs};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{Api, ListParams};
use serde_json::Value;
use shipway::domain::reference::ImageReference;

use super::{DRONE, WOODPECKER, access, add, deployment, example, image, only_step, pipeline, plugin, ready};
use crate::{
    image::rebase::java_17,
    support::{
        block_on,
        fixture::{self, Checkout},
        free_port,
        job::{QUICK, jar_checkout},
        lab::lab,
        pipeline::{Server, steps},
        registry::Registry,
        shipway::{report, shipway},
    },
};

fn orders() -> Checkout {
    jar_checkout("orders", &fixture::archive("shaded-service", ""))
}

#[test]
fn a_schedule_puts_a_new_base_under_what_runs() {
    let namespace = lab().namespace("example rebase");
    let checkout = orders();
    add(&checkout, "scheduled-rebase");
    let base: ImageReference = format!("{}/{}/java:17", lab().registry().address, namespace.name).parse().unwrap();
    java_17(&base, "one");
    let pipeline = pipeline(&checkout, &namespace).variable("SHIPWAY_IMAGE_BASE", base.to_string());
    pipeline.run(None);
    let first = image(&namespace.name, "orders");

    let nightly = pipeline.predefined("CI_PIPELINE_SOURCE", "schedule").predefined("CI_PIPELINE_ID", "2");
    let text = nightly.run(None);
    assert_eq!(image(&namespace.name, "orders"), first, "the base is as it was:\n{text}");

    java_17(&base, "two");
    let text = nightly.predefined("CI_PIPELINE_ID", "3").run(None);
    assert!(text.contains("-r1@"), "{text}");
    assert_ne!(image(&namespace.name, "orders"), first, "{text}");
    assert!(ready(&namespace.name, "orders") > 0);
}

#[test]
fn one_robot_pushes_and_another_pulls() {
    let namespace = lab().namespace("example robot");
    let registry = Registry::start_with_logins(&[("robot$trade+ci", "push-secret-1"), ("robot$trade+cluster", "pull-secret-2")]);
    let (checkout, access) = (orders(), access(&namespace));
    let secrets = [("harbor_push", "push-secret-1"), ("harbor_pull", "pull-secret-2"), ("cluster_token", &access.token)];
    let secrets: BTreeMap<&str, String> = secrets.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    let head = checkout.head();
    let mut job = shipway(checkout.path())
        .envs(DRONE.iter().copied())
        .envs([("DRONE_BUILD_EVENT", "push"), ("DRONE_BUILD_NUMBER", "1"), ("DRONE_COMMIT_SHA", &head)])
        .env("PLUGIN_CLUSTER_CA", &access.ca)
        .env("PLUGIN_IMAGE_BASE", lab().base(17));
    for (name, value) in only_step("robot-account", Server::Drone).environment(&secrets) {
        let value = value.replace("https://kubernetes.example.test:6443", &access.server);
        job = job.env(&name, value.replace("harbor.example.test", &registry.host()));
    }
    let job = QUICK.iter().fold(job, |job, (name, value)| job.env(&name.replace("SHIPWAY_", "PLUGIN_"), value));
    let done = job.env("PLUGIN_KUBERNETES_NAMESPACE", &namespace.name).run().expect_code(0);
    assert!(!done.text().contains("secret-1") && !done.text().contains("secret-2"));
    let spec = deployment(&namespace.name, "orders").unwrap().spec.unwrap().template.spec.unwrap();
    assert_eq!(spec.image_pull_secrets.unwrap_or_default().len(), 1);
    assert!(image(&namespace.name, "orders").starts_with(&format!("{}/trade/trade/orders@sha256:", registry.host())));
    let pods =
        block_on(async { Api::<Pod>::namespaced(lab().client().await, &namespace.name).list(&ListParams::default()).await.unwrap().items });
    assert!(!pods.is_empty() && ready(&namespace.name, "orders") == 1, "{}", done.text());
}

#[test]
fn the_next_jdk_builds_the_same_commit() {
    let (checkout, namespace) = (fixture::checkout("plain-service"), lab().namespace("example jdks"));
    add(&checkout, "two-jdks");
    let pipeline = pipeline(&checkout, &namespace);
    let summary =
        |report: &Value| report["steps"].as_array().unwrap().iter().find(|step| step["name"] == "build").unwrap()["summary"].to_string();
    pipeline.run(Some("publish"));
    let published = report(&checkout.path());
    assert!(summary(&published).contains("JDK 17") && published["release"]["revision"] == 1, "{published}");
    // where the company has a Maven repository, the one that nobody reaches here
    pipeline.variable("SHIPWAY_MAVEN_URL", format!("http://127.0.0.1:{}/maven", free_port())).run(Some("next-jdk"));
    let text = fs::read_to_string(checkout.path().join("report-next-jdk/report.json")).unwrap();
    let next: Value = serde_json::from_str(&text).unwrap();
    assert!(summary(&next).contains("JDK 25") && next["release"].is_null() && next["image"].is_null(), "{next}");
    assert_eq!(next["result"], "succeeded", "it deploys, too: {next}");
}

#[test]
fn an_own_dockerfile_with_a_command_is_built_by_another_engine() {
    let (checkout, namespace) = (orders(), lab().namespace("example dockerfile"));
    add(&checkout, "own-dockerfile");
    checkout.replace("Dockerfile", "eclipse-temurin:17-jre", &lab().base(17));
    checkout.commit("Use the lab's base");
    shipway(checkout.path()).arg("check").run().expect_code(0).expect_text(&["Dockerfile:3:1: RUN needs an engine"]);
    let pipeline = pipeline(&checkout, &namespace).variable("DOCKER_HOST", lab().docker_host()).variable("DOCKER_BUILDKIT", "0");
    let text = pipeline.run(None);
    assert!(text.contains("docker build") && ready(&namespace.name, "orders") > 0, "{text}");
}

/// Two applications without a common build, in a repository of another name.
fn shop() -> Checkout {
    let checkout = fixture::empty_checkout("shop");
    for name in ["orders", "billing"] {
        checkout.write(&format!("{name}/shipway.yaml"), "build: {command: ['true'], artifact: app.jar}\n");
        fs::copy(fixture::archive("shaded-service", ""), checkout.path().join(name).join("app.jar")).unwrap();
    }
    add(&checkout, "monorepo");
    checkout
}

#[test]
fn of_a_monorepo_what_changed_is_published() {
    let (checkout, namespace) = (shop(), lab().namespace("example monorepo"));
    let pipeline = pipeline(&checkout, &namespace);
    checkout.write("orders/CHANGES.md", "# Changes\n");
    checkout.commit("Change one of them");
    let text = pipeline.run(None);
    assert!(ready(&namespace.name, "orders") > 0, "{text}");
    assert!(checkout.path().join("orders/shipway-report/report.html").exists(), "{text}");
    assert!(deployment(&namespace.name, "billing").is_none(), "{text}");
}

#[test]
fn a_step_of_woodpecker_works_in_its_folder() {
    let (checkout, namespace) = (shop(), lab().namespace("example folder"));
    let text = fs::read_to_string(example("monorepo").join(".woodpecker/publish.yaml")).unwrap();
    let steps = steps(&text, Server::Woodpecker);
    let names: Vec<_> = steps.iter().map(|step| (step.name.as_str(), step.directory.as_deref())).collect();
    assert_eq!(names, [("orders", Some("orders")), ("billing", Some("billing"))]);
    let head = checkout.head();
    let server: Vec<_> =
        WOODPECKER.iter().copied().chain([("CI_PIPELINE_EVENT", "push"), ("CI_PIPELINE_NUMBER", "1"), ("CI_COMMIT_SHA", &head)]).collect();
    plugin(&checkout, &namespace, &steps[1], &server).expect_code(0);
    assert!(ready(&namespace.name, "billing") > 0 && deployment(&namespace.name, "orders").is_none());
}

/// The collectors themselves are not run here: what they go by has to be what is published.
#[test]
fn collectors_of_logs_go_by_labels_that_the_pods_have() {
    let checkout = fixture::empty_checkout("orders");
    add(&checkout, "logs");
    shipway(checkout.path())
        .env("SHIPWAY_IMAGE_REF", lab().web("1"))
        .env("SHIPWAY_LINE", "trade")
        .args(["run", "-e", "prod"])
        .run()
        .expect_code(0);
    let manifests = fs::read_to_string(checkout.path().join("shipway-report/manifests.yaml")).unwrap();
    let deployment = manifests.split("---\n").find(|document| document.contains("kind: Deployment")).unwrap();
    let deployment: Deployment = serde_saphyr::from_str(deployment).unwrap();
    let pod = deployment.spec.unwrap().template.metadata.unwrap();
    let labels = pod.labels.unwrap();
    assert_eq!(labels["app.kubernetes.io/managed-by"], "shipway");
    assert_eq!(pod.annotations.unwrap()["fluentbit.io/parser"], "json");
    let pattern = regex::Regex::new(r"app\.kubernetes\.io/[a-z-]+").unwrap();
    for file in ["fluent-bit.yaml", "vector.yaml"] {
        let text = fs::read_to_string(example("logs").join(file)).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert!(read.is_object());
        let named: Vec<&str> = pattern.find_iter(&text).map(|found| found.as_str()).collect();
        assert!(!named.is_empty() && named.iter().all(|label| labels.contains_key(*label)), "{file}: {named:?}");
    }
    let vector: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(example("logs").join("vector.yaml")).unwrap()).unwrap();
    let inputs = |part: &str| vector[part].as_object().unwrap().values().map(|one| one["inputs"][0].clone()).collect::<Vec<_>>();
    assert!(inputs("transforms").iter().all(|input| !vector["sources"][input.as_str().unwrap()].is_null()));
    assert!(inputs("sinks").iter().all(|input| !vector["transforms"][input.as_str().unwrap()].is_null()));
}

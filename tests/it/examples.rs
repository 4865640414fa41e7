//! The pipelines of `ci-examples/`, run as their CI runs them, against the real cluster and a real registry, each from an empty cache.

mod sidecar;
mod special;
mod worker;

use std::{collections::BTreeMap, fs, path::Path};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;

use crate::support::{
    block_on,
    fixture::{self, Checkout},
    gitlab::Pipeline,
    job::{QUICK, jar_checkout},
    lab::{Namespace, lab},
    pipeline::{Server, Step, steps},
    shipway::{Finished, report, shipway},
};

fn example(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ci-examples").join(folder)
}

/// Puts the files of an example into a checkout; its page is for people.
fn add(checkout: &Checkout, folder: &str) {
    add_folder(checkout, &example(folder), "");
    checkout.commit("Add the pipeline");
}

fn add_folder(checkout: &Checkout, folder: &Path, below: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            add_folder(checkout, &entry.path(), &format!("{name}/"));
        } else if name != "README.md" {
            let text = fs::read_to_string(entry.path()).unwrap();
            // where the test made a shipway.yaml, the example's is added to it
            let before = fs::read_to_string(checkout.path().join(&name)).unwrap_or_default();
            checkout.write(&name, &(before + &text));
        }
    }
}

/// What the company sets for all of its projects.
pub fn pipeline<'a>(checkout: &'a Checkout, namespace: &Namespace) -> Pipeline<'a> {
    let pipeline = Pipeline::new(checkout)
        .variable("KUBECONFIG", namespace.kubeconfig.display().to_string())
        .variable("SHIPWAY_KUBERNETES_NAMESPACE", &namespace.name)
        .variable("SHIPWAY_LINE", &namespace.name)
        .variable("SHIPWAY_REGISTRY_URL", lab().registry().address)
        .variable("SHIPWAY_IMAGE_BASE", lab().base(17));
    QUICK
        .iter()
        .filter(|(name, _)| *name != "SHIPWAY_KUBERNETES_REPLICAS")
        .fold(pipeline, |pipeline, (name, value)| pipeline.variable(name, *value))
}

fn deployment(namespace: &str, name: &str) -> Option<Deployment> {
    block_on(async { Api::namespaced(lab().client().await, namespace).get_opt(name).await.unwrap() })
}

fn image(namespace: &str, name: &str) -> String {
    let spec = deployment(namespace, name).unwrap_or_else(|| panic!("no Deployment {name}")).spec.unwrap();
    spec.template.spec.unwrap().containers[0].image.clone().unwrap()
}

fn ready(namespace: &str, name: &str) -> i32 {
    deployment(namespace, name).and_then(|deployment| deployment.status?.ready_replicas).unwrap_or_default()
}

/// A plugin step on the server that its file is for, with what stands for example hosts and secrets put in.
fn plugin(checkout: &Checkout, namespace: &Namespace, step: &Step, server: &[(&str, &str)]) -> Finished {
    let access = access(namespace);
    let secrets = BTreeMap::from([("registry_password", "any".to_owned()), ("cluster_token", access.token.clone())]);
    let folder = checkout.path().join(step.directory.as_deref().unwrap_or_default());
    let mut job = shipway(folder).envs(server.iter().copied()).env("PLUGIN_CLUSTER_CA", &access.ca);
    for (name, value) in step.environment(&secrets) {
        let value = value.replace("https://kubernetes.example.test:6443", &access.server);
        job = job.env(&name, value.replace("registry.example.test", &lab().registry().address));
    }
    // the rest would be in the application's shipway.yaml, or be the default
    for (name, value) in QUICK {
        job = job.env(&name.replace("SHIPWAY_", "PLUGIN_"), value);
    }
    job.env("PLUGIN_LINE", &namespace.name).env("PLUGIN_IMAGE_BASE", lab().base(17)).run()
}

struct Access {
    server: String,
    token: String,
    /// A file.
    ca: String,
}

/// What a step is given in its settings stands in the publisher's kubeconfig.
fn access(namespace: &Namespace) -> Access {
    let config: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(&namespace.kubeconfig).unwrap()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_else(|| panic!("{config}")).to_owned();
    let cluster = &config["clusters"][0]["cluster"];
    let ca = text(&cluster["certificate-authority"]);
    Access { server: text(&cluster["server"]), token: text(&config["users"][0]["user"]["token"]), ca }
}

const DRONE: &[(&str, &str)] = &[
    ("CI", "true"),
    ("DRONE", "true"),
    ("DRONE_REPO", "trade/orders"),
    ("DRONE_REPO_NAMESPACE", "trade"),
    ("DRONE_REPO_NAME", "orders"),
    ("DRONE_REPO_BRANCH", "main"),
    ("DRONE_BRANCH", "main"),
    ("DRONE_COMMIT_BRANCH", "main"),
];
const WOODPECKER: &[(&str, &str)] = &[
    ("CI", "woodpecker"),
    ("CI_REPO", "trade/orders"),
    ("CI_REPO_OWNER", "trade"),
    ("CI_REPO_NAME", "orders"),
    ("CI_REPO_DEFAULT_BRANCH", "main"),
    ("CI_COMMIT_BRANCH", "main"),
];

fn only_step(folder: &str, server: Server) -> Step {
    let mut steps = steps(&plugin_file(folder, server), server);
    assert_eq!(steps.len(), 1);
    steps.remove(0)
}

/// The one pipeline of an example; Woodpecker runs those of its folder side by side.
fn plugin_file(folder: &str, server: Server) -> String {
    let path = match server {
        Server::Drone => example(folder).join(".drone.yml"),
        Server::Woodpecker => fs::read_dir(example(folder).join(".woodpecker")).unwrap().next().unwrap().unwrap().path(),
    };
    fs::read_to_string(path).unwrap()
}

/// Whether the pipeline starts at this event.
fn starts(folder: &str, server: Server, event: &str) -> bool {
    let file: serde_json::Value = serde_saphyr::from_str(&plugin_file(folder, server)).unwrap();
    let events = &file[if server == Server::Drone { "trigger" } else { "when" }]["event"];
    assert!(events.is_string() || events.is_array(), "{folder} starts at everything");
    events == event || events.as_array().is_some_and(|events| events.iter().any(|known| known == event))
}

#[test]
fn a_single_service_in_gitlab() {
    let (checkout, namespace) = (fixture::checkout("plain-service"), lab().namespace("example gitlab"));
    add(&checkout, "single-service");
    let pipeline = pipeline(&checkout, &namespace);
    assert!(!pipeline.home().join(".m2/repository").exists() && !pipeline.home().join(".cache").exists());
    let text = pipeline.run(None);
    assert!(text.contains("PASS") && ready(&namespace.name, "plain-service") > 0, "{text}");
    assert!(pipeline.home().join(".m2/repository").exists() && pipeline.home().join(".cache/shipway/images").exists());
    assert_eq!(report(&checkout.path())["ci"]["kind"], "gitlab");
}

#[test]
fn a_single_service_in_drone_and_back() {
    let namespace = lab().namespace("example drone");
    let checkout = jar_checkout("orders", &fixture::archive("shaded-service", ""));
    let publish = only_step("single-service", Server::Drone);
    let build = |event: &'static str, number: &'static str| {
        DRONE.iter().copied().chain([("DRONE_BUILD_EVENT", event), ("DRONE_BUILD_NUMBER", number)]).collect::<Vec<_>>()
    };
    let head = checkout.head();
    let first = build("push", "1").into_iter().chain([("DRONE_COMMIT_SHA", head.as_str())]).collect::<Vec<_>>();
    plugin(&checkout, &namespace, &publish, &first).expect_code(0);
    let before = image(&namespace.name, "orders");

    let sections = "environments: {test: {}, prod: {kubernetes: {env: {STAGE: production}}}}\n";
    checkout
        .write("shipway.yaml", &format!("build: {{command: ['true'], artifact: app.jar}}\nimage: {{env: {{VERSION: two}}}}\n{sections}"));
    let head = checkout.commit("Say another version");
    let second = build("push", "2").into_iter().chain([("DRONE_COMMIT_SHA", head.as_str())]).collect::<Vec<_>>();
    plugin(&checkout, &namespace, &publish, &second).expect_code(0);
    assert_ne!(image(&namespace.name, "orders"), before);

    let back =
        build("rollback", "3").into_iter().chain([("DRONE_COMMIT_SHA", head.as_str()), ("DRONE_DEPLOY_TO", "prod")]).collect::<Vec<_>>();
    plugin(&checkout, &namespace, &only_step("rollback", Server::Drone), &back).expect_code(0);
    assert_eq!(image(&namespace.name, "orders"), before);
}

#[test]
fn what_publishes_does_not_start_where_one_goes_back() {
    for (server, by_hand) in [(Server::Drone, "rollback"), (Server::Woodpecker, "manual")] {
        assert!(starts("single-service", server, "push") && starts("single-service", server, "tag"));
        assert!(!starts("single-service", server, by_hand) && !starts("single-service", server, "promote"));
        assert!(starts("rollback", server, by_hand) && !starts("rollback", server, "push"));
    }
    for (folder, server) in [("robot-account", Server::Drone), ("monorepo", Server::Woodpecker)] {
        assert!(starts(folder, server, "push") && !starts(folder, server, "rollback") && !starts(folder, server, "manual"), "{folder}");
    }
}

#[test]
fn a_single_service_in_gitlab_and_back() {
    let namespace = lab().namespace("example back");
    let checkout = jar_checkout("orders", &fixture::archive("shaded-service", ""));
    add(&checkout, "single-service");
    add(&checkout, "rollback");
    let first = pipeline(&checkout, &namespace);
    first.run(None);
    let before = image(&namespace.name, "orders");
    checkout.write("shipway.yaml", "build: {command: ['true'], artifact: app.jar}\nimage: {env: {VERSION: two}}\n");
    checkout.commit("Say another version");
    let second = first.predefined("CI_PIPELINE_ID", "2");
    let text = second.run(None);
    assert_ne!(image(&namespace.name, "orders"), before, "nobody pressed the button yet:\n{text}");
    second.predefined("CI_PIPELINE_ID", "3").run(Some("rollback"));
    assert_eq!(image(&namespace.name, "orders"), before);
}

#[test]
fn a_single_service_in_woodpecker_and_back() {
    let namespace = lab().namespace("example woodpecker");
    let checkout = jar_checkout("orders", &fixture::archive("shaded-service", ""));
    let run = |folder: &str, event: &str, number: &str| {
        let head = checkout.head();
        let own = [("CI_PIPELINE_EVENT", event), ("CI_PIPELINE_NUMBER", number), ("CI_COMMIT_SHA", head.as_str())];
        let server: Vec<_> = WOODPECKER.iter().copied().chain(own).collect();
        plugin(&checkout, &namespace, &only_step(folder, Server::Woodpecker), &server)
    };
    run("single-service", "push", "1").expect_code(0);
    let before = image(&namespace.name, "orders");
    run("rollback", "manual", "2").expect_code(2).expect_text(&["nothing-to-roll-back-to"]);
    checkout.write("shipway.yaml", "build: {command: ['true'], artifact: app.jar}\nimage: {env: {VERSION: two}}\n");
    checkout.commit("Say another version");
    run("single-service", "push", "3").expect_code(0);
    assert_ne!(image(&namespace.name, "orders"), before);
    run("rollback", "manual", "4").expect_code(0);
    assert_eq!(image(&namespace.name, "orders"), before);
}

#[test]
fn a_library_is_built_and_nothing_more() {
    let (checkout, namespace) = (fixture::checkout("library"), lab().namespace("example library"));
    add(&checkout, "library");
    pipeline(&checkout, &namespace).run(None);
    let report = report(&checkout.path());
    assert_eq!((&report["result"], &report["image"]), (&"succeeded".into(), &serde_json::Value::Null), "{report}");
}

#[test]
fn of_two_services_the_one_that_changed_is_published() {
    let (checkout, namespace) = (fixture::checkout("two-services"), lab().namespace("example two"));
    add(&checkout, "two-services");
    let pipeline = pipeline(&checkout, &namespace);
    checkout.write("inbound-service/CHANGES.md", "# Changes\n");
    checkout.commit("Change one of them");
    let text = pipeline.run(None);
    assert!(ready(&namespace.name, "inbound") > 0 && checkout.path().join("report-inbound/report.json").exists(), "{text}");
    assert!(deployment(&namespace.name, "outbound").is_none(), "{text}");
}

#[test]
fn production_gets_the_digest_that_was_tested() {
    let [test, staging, prod] = ["example test", "example staging", "example prod"].map(|name| lab().namespace(name));
    let checkout = jar_checkout("orders", &fixture::archive("shaded-service", ""));
    add(&checkout, "environments");
    let pipeline = [("staging", &staging), ("prod", &prod)].iter().fold(pipeline(&checkout, &test), |pipeline, (name, namespace)| {
        let pipeline = pipeline.scoped("KUBECONFIG", name, namespace.kubeconfig.display().to_string());
        pipeline.scoped("SHIPWAY_KUBERNETES_NAMESPACE", name, &namespace.name)
    });
    pipeline.run(None);
    assert!(deployment(&prod.name, "orders").is_none(), "nobody pressed the button yet");
    pipeline.run(Some("prod"));
    let digest = |image: String| image.split_once('@').unwrap().1.to_owned();
    let tested = digest(image(&test.name, "orders"));
    assert_eq!([&staging, &prod].map(|namespace| digest(image(&namespace.name, "orders"))), [tested.clone(), tested]);
    assert_eq!([&test, &staging, &prod].map(|namespace| ready(&namespace.name, "orders")), [1, 1, 2]);
}

#[test]
fn a_review_application_comes_and_goes() {
    let namespace = lab().namespace("example review");
    let checkout = jar_checkout("orders", &fixture::archive("shaded-service", ""));
    add(&checkout, "review");
    fixture::git(&checkout.path(), &["switch", "--quiet", "--create", "add-search"]);
    let pipeline = [("IID", "7"), ("PROJECT_ID", "1217"), ("SOURCE_PROJECT_ID", "1217"), ("SOURCE_BRANCH_NAME", "add-search")]
        .iter()
        .fold(pipeline(&checkout, &namespace), |pipeline, (name, value)| pipeline.predefined(&format!("CI_MERGE_REQUEST_{name}"), value))
        .predefined("CI_PIPELINE_SOURCE", "merge_request_event");
    let text = pipeline.run(Some("review"));
    assert_eq!(ready(&namespace.name, "review-7"), 1, "{text}");
    pipeline.run(Some("stop-review"));
    assert!(deployment(&namespace.name, "review-7").is_none());
    pipeline.run(Some("stop-review"));
}

#[test]
fn one_job_builds_and_another_publishes() {
    let namespace = lab().namespace("example separate");
    let checkout = jar_checkout("orders", &fixture::archive("shaded-service", ""));
    add(&checkout, "separate-jobs");
    pipeline(&checkout, &namespace).run(None);
    assert!(ready(&namespace.name, "orders") > 0);
}

#[test]
fn every_example_is_listed_and_has_a_page() {
    let listed = fs::read_to_string(example("README.md")).unwrap();
    for entry in fs::read_dir(example("")).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            assert!(listed.contains(&format!("]({name}/README.md)")), "{name} is not listed");
            assert!(entry.path().join("README.md").exists(), "{name} has no page");
        }
    }
}

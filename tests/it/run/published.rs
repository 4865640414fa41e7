//! Runs that go well.

use std::process::Command;

use super::{deployment, image_of, left, pods};
use crate::support::{
    fixture,
    job::{QUICK, gitlab, jar_checkout, on_cluster, publishing, with_gitlab_registry},
    lab::lab,
    shipway::{report, shipway},
    traffic::{Traffic, node_port},
    unique,
};

#[test]
fn a_gitlab_job_takes_a_spring_boot_service_to_ready_pods() {
    let (checkout, namespace, registry) = (fixture::checkout("spring-boot-service"), lab().namespace("spring boot"), lab().registry_auth());
    let image = registry.repository("spring boot");
    let job = |pipeline| {
        let job = with_gitlab_registry(gitlab(&checkout, pipeline), &registry, &image);
        on_cluster(job, &namespace, 17).env("SHIPWAY_KUBERNETES_RESOURCES_LIMITS_MEMORY", "384Mi")
    };
    let done = job(1).env("SHIPWAY_REGISTRY_PULL_USERNAME", &registry.user).env("SHIPWAY_REGISTRY_PULL_PASSWORD", &registry.password).run();
    let done = done.expect_code(0).expect_text(&["spring-boot-service", "JDK 17", "deployment/spring-boot-service"]);
    assert!(!done.text().contains(&registry.password), "the password is in the log");

    let live = deployment(&namespace.name, "spring-boot-service");
    let report = report(&checkout.path());
    let digest = report["image"]["digest"].as_str().unwrap();
    assert_eq!(image_of(&live), format!("{image}@{digest}"), "what runs is the digest");
    assert_eq!(live.status.as_ref().unwrap().available_replicas, Some(1));
    assert_eq!(report["result"], "succeeded");
    assert_eq!(report["release"]["revision"], 1);
    let tag = &checkout.head()[..12];
    assert_eq!(report["image"]["reference"], format!("{image}:{tag}"));
    let container = &live.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
    let readiness = container.readiness_probe.as_ref().unwrap().http_get.as_ref().unwrap();
    assert_eq!(readiness.path.as_deref(), Some("/actuator/health/readiness"));
    let dotenv = left(&checkout.path(), "shipway.env");
    assert!(dotenv.contains(&format!("SHIPWAY_OUT_IMAGE={image}@{digest}")), "{dotenv}");
    let dockerfile = left(&checkout.path(), "Dockerfile");
    assert!(dockerfile.contains("org.opencontainers.image.revision") && dockerfile.contains("/app/app.jar"), "{dockerfile}");
    for file in ["report.html", "comment.md", "junit.xml", "manifests.yaml", "mvn.log"] {
        assert!(!left(&checkout.path(), file).contains(&registry.password), "the password is in {file}");
    }

    // The same commit again: the same digest, nothing sent, and no pod is replaced.
    let before = pods(&namespace.name);
    let again =
        job(2).env("SHIPWAY_REGISTRY_PULL_USERNAME", &registry.user).env("SHIPWAY_REGISTRY_PULL_PASSWORD", &registry.password).run();
    again.expect_code(0);
    let second = crate::support::shipway::report(&checkout.path());
    assert_eq!(second["image"]["digest"], digest);
    assert!(second["image"]["layers"].as_array().unwrap().iter().all(|layer| layer["transferred"] == false), "{}", second["image"]);
    let names = |pods: &[k8s_openapi::api::core::v1::Pod]| pods.iter().map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&pods(&namespace.name)), names(&before));
}

#[test]
fn a_drone_step_publishes_a_plain_jar() {
    let (checkout, namespace) = (fixture::checkout("plain-service"), lab().namespace("drone"));
    let job = shipway(checkout.path())
        .envs([("CI", "true"), ("DRONE", "true"), ("DRONE_REPO_NAMESPACE", "trade"), ("DRONE_REPO_NAME", "plain-service"), ("DRONE_REPO", "trade/plain-service")])
        .envs([("DRONE_BRANCH", "main"), ("DRONE_REPO_BRANCH", "main"), ("DRONE_COMMIT_BRANCH", "main"), ("DRONE_BUILD_EVENT", "push"), ("DRONE_BUILD_NUMBER", "7")])
        .env("DRONE_COMMIT_SHA", checkout.head())
        .env("PLUGIN_REGISTRY", &lab().registry().address)
        .env("PLUGIN_LINE", &namespace.name)
        .env("PLUGIN_IMAGE", format!(r#"{{"base":"{}"}}"#, lab().base(17)))
        .env("PLUGIN_CLUSTER_KUBECONFIG", &namespace.kubeconfig)
        .env("PLUGIN_KUBERNETES", r#"{"replicas":1,"rolling":{"min_ready_seconds":0,"drain":"1s"},"resources":{"requests":{"cpu":"10m"},"limits":{"memory":"192Mi"}}}"#);
    job.run().expect_code(0);
    let live = deployment(&namespace.name, "plain-service");
    let container = &live.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
    assert!(container.readiness_probe.as_ref().unwrap().tcp_socket.is_some(), "no actuator: a connection must do");
    assert_eq!(report(&checkout.path())["ci"]["kind"], "drone");
}

#[test]
fn a_woodpecker_step_publishes_a_shaded_jar() {
    let (checkout, namespace) = (fixture::checkout("shaded-service"), lab().namespace("woodpecker"));
    let job = shipway(checkout.path())
        .envs([("CI", "woodpecker"), ("CI_REPO", "trade/shaded-service"), ("CI_REPO_NAME", "shaded-service"), ("CI_REPO_OWNER", "trade")])
        .envs([
            ("CI_COMMIT_BRANCH", "main"),
            ("CI_REPO_DEFAULT_BRANCH", "main"),
            ("CI_PIPELINE_EVENT", "push"),
            ("CI_PIPELINE_NUMBER", "3"),
        ])
        .env("CI_COMMIT_SHA", checkout.head())
        .env("PLUGIN_REGISTRY", &lab().registry().address)
        .env("PLUGIN_LINE", &namespace.name)
        .env("PLUGIN_IMAGE_BASE", lab().base(17))
        .env("PLUGIN_CLUSTER_KUBECONFIG", &namespace.kubeconfig)
        .env("PLUGIN_KUBERNETES_REPLICAS", "1")
        .env("PLUGIN_KUBERNETES_ROLLING_MIN_READY_SECONDS", "0")
        .env("PLUGIN_KUBERNETES_RESOURCES", r#"{"requests":{"cpu":"10m"},"limits":{"memory":"192Mi"}}"#);
    job.run().expect_code(0);
    assert_eq!(report(&checkout.path())["ci"]["kind"], "woodpecker");
    assert_eq!(pods(&namespace.name).len(), 1);
}

#[test]
fn a_second_version_replaces_the_first_and_a_rollback_brings_it_back() {
    let namespace = lab().namespace("two versions");
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    publishing(&checkout, &namespace, 1).run().expect_code(0);
    let first = image_of(&deployment(&namespace.name, "web"));
    checkout.write("shipway.yaml", "build: {command: ['true'], artifact: app.jar}\nimage: {env: {VERSION: two}}\n");
    checkout.commit("Say another version");
    publishing(&checkout, &namespace, 2).run().expect_code(0);
    let second = image_of(&deployment(&namespace.name, "web"));
    assert_ne!(first, second);
    let layers = report(&checkout.path())["image"]["layers"].clone();
    assert!(
        layers.as_array().unwrap().iter().all(|layer| layer["transferred"] == false),
        "another commit sends no layer that it did not change: {layers}"
    );
    let status = publishing(&checkout, &namespace, 2).arg("status").run().expect_code(0);
    assert!(status.stdout.contains("web"), "{}", status.text());

    let back = publishing(&checkout, &namespace, 3).args(["rollback", "--to", "1"]).run().expect_code(0);
    assert_eq!(image_of(&deployment(&namespace.name, "web")), first, "{}", back.text());
}

#[test]
fn no_request_is_lost_while_versions_change() {
    let namespace = lab().namespace("no request lost");
    let checkout = jar_checkout("web", &fixture::archive("spring-boot-service", ""));
    let job = |pipeline| {
        let job = publishing(&checkout, &namespace, pipeline).env("SHIPWAY_KUBERNETES_SERVICE_TYPE", "NodePort");
        let job = job.env("SHIPWAY_KUBERNETES_REPLICAS", "2").env("SHIPWAY_KUBERNETES_ROLLING_DRAIN", "5s");
        job.env("SHIPWAY_KUBERNETES_RESOURCES_LIMITS_MEMORY", "384Mi")
    };
    job(1).run().expect_code(0);
    let traffic = Traffic::begin(&format!("http://127.0.0.1:{}/", node_port(&namespace.name, "web")));
    checkout.write("shipway.yaml", "build: {command: ['true'], artifact: app.jar}\nimage: {env: {VERSION: two}}\n");
    checkout.commit("Say another version");
    job(2).run().expect_code(0);
    job(3).args(["rollback", "--to", "1"]).run().expect_code(0);
    let answers = traffic.end();
    println!("{} requests during an update and a rollback, {} failed", answers.asked(), answers.failed.len());
    assert!(answers.asked() > 50 && answers.failed.is_empty(), "of {} requests: {:?}", answers.asked(), answers.failed);
}

#[test]
fn a_source_is_cloned_with_the_forges_token_where_there_is_no_checkout() {
    let (folder, gitea) = (tempfile::tempdir().unwrap(), lab().gitea());
    let name = unique("clone");
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let push = format!("http://{}:{}@{}/{}/{name}.git", gitea.user, gitea.password, gitea.address, gitea.user);
    fixture::git(&checkout.path(), &["push", "--quiet", &push, "HEAD:refs/heads/main"]);
    let job = shipway(folder.path())
        .env("SHIPWAY_SOURCE_URL", format!("http://{}/{}/{name}.git", gitea.address, gitea.user))
        .env("SHIPWAY_SOURCE_REF", "main")
        .env("SHIPWAY_FORGE_URL", format!("http://{}", gitea.address))
        .env("SHIPWAY_FORGE_TOKEN", lab().gitea_token())
        .env("SHIPWAY_IMAGE_BASE", lab().base(17));
    let done = job.run().expect_code(0).expect_text(&["cloned", &checkout.head()[..12]]);
    assert!(!done.text().contains(&lab().gitea_token()));
    let config = std::fs::read_to_string(folder.path().join(".git/config")).unwrap();
    assert!(!config.contains('@') && !config.contains("oauth2"), "{config}");
    assert_eq!(report(folder.path())["app"], name, "the report is where the run was started");
}

#[test]
fn an_image_built_elsewhere_is_published_by_its_digest() {
    let namespace = lab().namespace("ready image");
    let checkout = fixture::empty_checkout("web");
    // On any branch: who runs `publish` has decided.
    let job = publishing(&checkout, &namespace, 1).env("CI_COMMIT_BRANCH", "feature").env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health");
    job.args(["publish", "--image", &lab().web("1")]).run().expect_code(0);
    assert!(image_of(&deployment(&namespace.name, "web")).contains("@sha256:"));
}

#[test]
fn the_image_is_what_skopeo_expects() {
    let checkout = jar_checkout("read-by-others", &fixture::archive("shaded-service", ""));
    let line = unique("skopeo");
    let job = gitlab(&checkout, 1).env("SHIPWAY_REGISTRY_URL", &lab().registry().address).env("SHIPWAY_LINE", &line);
    job.env("SHIPWAY_IMAGE_BASE", lab().base(17)).arg("image").run().expect_code(0);
    let reference = report(&checkout.path())["image"]["reference"].as_str().unwrap().to_owned();
    let output = Command::new("skopeo").args(["inspect", "--tls-verify=false", &format!("docker://{reference}")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let inspected: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(inspected["Labels"]["org.opencontainers.image.revision"], checkout.head());
    assert_eq!(inspected["Architecture"], "amd64");
}

#[test]
fn old_class_files_run_on_a_newer_base() {
    let (checkout, namespace) = (fixture::checkout("java8"), lab().namespace("java8"));
    let job = on_cluster(gitlab(&checkout, 1), &namespace, 25).env("SHIPWAY_LINE", &namespace.name);
    job.env("SHIPWAY_REGISTRY_URL", &lab().registry().address).run().expect_code(0);
    assert_eq!(pods(&namespace.name).len(), 1);
}

#[test]
fn the_service_is_found_among_the_modules() {
    let checkout = fixture::checkout("multi-module");
    let job = gitlab(&checkout, 1).env("SHIPWAY_IMAGE_BASE", lab().base(17)).env("SHIPWAY_BUILD_TESTS", "false");
    job.arg("dockerfile").run().expect_code(0).expect_text(&["FROM", "COPY --chown=10001:10001 dependencies/", "ENTRYPOINT"]);
}

#[test]
fn a_library_stops_after_the_build_and_says_so() {
    let checkout = fixture::checkout("library");
    let done = gitlab(&checkout, 1).envs(QUICK.iter().copied()).run().expect_code(0).expect_text(&["library"]);
    assert!(report(&checkout.path())["image"].is_null(), "{}", done.text());
}

#[test]
fn a_plan_changes_nothing() {
    let (checkout, namespace) = (fixture::checkout("spring-boot-service"), lab().namespace("plan"));
    let done = publishing(&checkout, &namespace, 1).arg("plan").run().expect_code(0);
    done.expect_text(&[
        "kubernetes.rolling.timeout",
        "SHIPWAY_KUBERNETES_REPLICAS",
        "FROM",
        "kind: Deployment",
        "deployment/spring-boot-service",
    ]);
    assert!(!super::has_deployment(&namespace.name, "spring-boot-service"));
    assert!(!checkout.path().join("target").exists(), "nothing is built");
}

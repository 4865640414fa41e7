//! What the outside refuses: registries, the cluster's permissions, objects of others.

use super::{deployment, has_deployment, image_of};
use crate::support::{
    fixture, free_port,
    job::{gitlab, jar_checkout, on_cluster, publishing, with_gitlab_registry},
    lab::lab,
    others, unique,
};

fn web() -> fixture::Checkout {
    jar_checkout("web", &fixture::archive("shaded-service", ""))
}

#[test]
fn a_wrong_registry_password_names_registry_user_and_setting() {
    let (checkout, registry) = (web(), lab().registry_auth());
    let image = registry.repository("wrong password");
    let job = with_gitlab_registry(gitlab(&checkout, 1), &registry, &image).env("CI_REGISTRY_PASSWORD", "not-the-password");
    let done = job.env("SHIPWAY_IMAGE_BASE", lab().base(17)).arg("image").run().expect_code(30);
    let done = done.expect_text(&["registry-unauthorized", &registry.address, &registry.user, "registry.username"]);
    assert!(!done.text().contains("not-the-password"), "{}", done.text());
}

#[test]
fn a_refused_password_is_told_before_the_build_and_only_where_an_image_is_pushed() {
    let (checkout, registry) = (web(), lab().registry_auth());
    checkout.write("shipway.yaml", "build: {command: [touch, was-built], artifact: app.jar}\n");
    let image = registry.repository("told early");
    let job = |command: &str| {
        let job = with_gitlab_registry(gitlab(&checkout, 1), &registry, &image).env("CI_REGISTRY_PASSWORD", "not-the-password");
        job.env("SHIPWAY_IMAGE_BASE", lab().base(17)).arg(command)
    };
    let was_built = || std::fs::remove_file(checkout.path().join("was-built")).is_ok();
    for command in ["image", "run"] {
        job(command).run().expect_code(30).expect_text(&["registry-unauthorized", &registry.user, "registry.username"]);
        assert!(!was_built(), "{command}");
    }
    for command in ["build", "dockerfile"] {
        job(command).run().expect_code(0);
        assert!(was_built(), "{command}");
    }
    job("image").env("SHIPWAY_KIND", "library").run().expect_code(0);
}

#[test]
fn bearer_tokens_of_gitea_are_spoken_and_a_wrong_password_is_named() {
    let (checkout, gitea) = (web(), lab().gitea());
    let repository = gitea.repository("bearer");
    let job = |password: &str| {
        gitlab(&checkout, 1)
            .env("SHIPWAY_IMAGE_REPOSITORY", &repository)
            .env("SHIPWAY_REGISTRY_URL", &gitea.address)
            .env("SHIPWAY_REGISTRY_USERNAME", &gitea.user)
            .env("SHIPWAY_REGISTRY_PASSWORD", password)
            .env("SHIPWAY_IMAGE_BASE", lab().base(17))
            .arg("image")
    };
    job("not-the-password").run().expect_code(30).expect_text(&["registry-unauthorized", &gitea.user]);
    job(&gitea.password).run().expect_code(0);
}

#[test]
fn a_registry_that_is_down_is_transient() {
    let checkout = web();
    let registry = format!("127.0.0.1:{}", free_port());
    let job = gitlab(&checkout, 1).env("SHIPWAY_REGISTRY_URL", &registry).env("SHIPWAY_IMAGE_BASE", lab().base(17));
    job.arg("image").run().expect_code(20).expect_text(&["registry-unreachable", &registry]);
}

#[test]
fn a_missing_base_image_is_named() {
    let checkout = web();
    let base = format!("{}/no/such-base:1", lab().registry().address);
    let job = gitlab(&checkout, 1).env("SHIPWAY_REGISTRY_URL", &lab().registry().address).env("SHIPWAY_IMAGE_BASE", &base);
    job.arg("image").run().expect_code(10).expect_text(&["base-image-missing", &base, "image.base"]);
}

#[test]
fn a_missing_namespace_is_created_only_when_asked() {
    let (checkout, name) = (web(), unique("missing namespace"));
    let job = || {
        let job = gitlab(&checkout, 1).env("KUBECONFIG", lab().kubeconfig()).env("SHIPWAY_IMAGE_BASE", lab().base(17));
        job.envs(crate::support::job::QUICK.iter().copied())
            .env("SHIPWAY_REGISTRY_URL", &lab().registry().address)
            .env("SHIPWAY_LINE", &name)
    };
    job().run().expect_code(10).expect_text(&["namespace-missing", &name, "kubernetes.create_namespace"]);
    let _created = others::guard(&name);
    job().env("SHIPWAY_KUBERNETES_CREATE_NAMESPACE", "true").run().expect_code(0);
    assert!(has_deployment(&name, "web"));
}

#[test]
fn a_role_that_is_too_small_is_told_verb_and_resource() {
    let (checkout, own, other) = (web(), lab().namespace("own"), lab().namespace("other"));
    let job = publishing(&checkout, &own, 1).env("SHIPWAY_KUBERNETES_NAMESPACE", &other.name);
    job.run().expect_code(30).expect_text(&["cluster-forbidden", &other.name]);
    assert!(!has_deployment(&other.name, "web"));
}

#[test]
fn a_deployment_of_others_is_not_touched() {
    let (checkout, namespace) = (web(), lab().namespace("not ours"));
    others::deployment(&namespace.name, "web");
    let before = image_of(&deployment(&namespace.name, "web"));
    publishing(&checkout, &namespace, 1).run().expect_code(10).expect_text(&["not-ours", "kubernetes.adopt"]);
    assert_eq!(image_of(&deployment(&namespace.name, "web")), before);
}

#[test]
fn an_older_pipeline_is_superseded() {
    let (checkout, namespace) = (web(), lab().namespace("superseded"));
    publishing(&checkout, &namespace, 20).run().expect_code(0);
    let before = deployment(&namespace.name, "web");
    checkout.write("shipway.yaml", "build: {command: ['true'], artifact: app.jar}\nimage: {env: {VERSION: older}}\n");
    checkout.commit("Be late");
    publishing(&checkout, &namespace, 19).run().expect_code(40).expect_text(&["superseded"]);
    assert_eq!(deployment(&namespace.name, "web").metadata.generation, before.metadata.generation);
}

#[test]
fn two_runs_at_the_same_moment_take_turns() {
    let (first, second, namespace) = (web(), web(), lab().namespace("same moment"));
    second.write("shipway.yaml", "build: {command: ['true'], artifact: app.jar}\nimage: {env: {VERSION: second}}\n");
    second.commit("Another one");
    let runs = [publishing(&first, &namespace, 5).spawn(), publishing(&second, &namespace, 5).spawn()];
    for run in runs {
        run.wait().expect_code(0);
    }
    let live = deployment(&namespace.name, "web");
    assert_eq!(live.status.unwrap().available_replicas, Some(1));
}

#[test]
fn no_cluster_where_one_is_named_is_transient() {
    let checkout = web();
    let namespace = lab().namespace("no cluster");
    let text = std::fs::read_to_string(&namespace.kubeconfig).unwrap();
    let server = text.lines().find_map(|line| line.split("https://").nth(1)).unwrap().split(['"', ' ', ',']).next().unwrap();
    let elsewhere = text.replace(server, &format!("127.0.0.1:{}", free_port()));
    std::fs::write(&namespace.kubeconfig, elsewhere).unwrap();
    let job = on_cluster(gitlab(&checkout, 1), &namespace, 17).env("SHIPWAY_REGISTRY_URL", &lab().registry().address);
    job.env("SHIPWAY_LINE", &namespace.name).run().expect_code(20).expect_text(&["cluster-unreachable"]);
}

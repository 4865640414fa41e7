//! `check` finds what is wrong without the network, each with its place.

use serde_json::Value;

use crate::support::{fixture, fixture::Checkout, shipway::shipway};

fn project(files: &[(&str, &str)]) -> Checkout {
    let checkout = fixture::empty_checkout("orders");
    files.iter().for_each(|(name, text)| checkout.write(name, text));
    checkout
}

#[test]
fn settings_dockerfile_manifests_and_patches_are_looked_at_together() {
    let checkout = project(&[
        (
            "shipway.yaml",
            "app: orders\nimage:\n  dockerfile: docker/Dockerfile\nkubernetes:\n  replica: 2\n  manifests: [deploy/]\n  config: {from: conf}\nenvironments:\n  prod:\n    kubernetes:\n      patches: [patches/prod.yaml]\n",
        ),
        ("docker/Dockerfile", "FROM eclipse-temurin:17-jre\nCOPY target/app.jar /app.jar\nCOPY nginx.conf /etc/\n  RUN apt-get update\n"),
        ("deploy/a.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: extra\nspec:\n  ports:\n    - prot: 80\n"),
        ("deploy/b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [}\n"),
        ("patches/prod.yaml", "target:\n  kind: Deployment\n"),
    ]);
    let done = shipway(checkout.path()).arg("check").run().expect_code(2);
    done.expect_text(&[
        "✗ shipway.yaml:5:3: kubernetes.replica is not a setting",
        "! docker/Dockerfile:3:1: nginx.conf is not in the build context [dockerfile-invalid]",
        "! docker/Dockerfile:4:3: RUN needs an engine that runs commands [dockerfile-unsupported]",
        "✗ deploy/a.yaml:7:7: a Service has no field spec.ports[0].prot [manifest-invalid]",
        "✗ deploy/b.yaml:3:",
        "✗ patches/prod.yaml:1:1: patch is missing",
        "✗ shipway.yaml:7:18: conf of kubernetes.config.from is not there [file-unreadable]",
        "5 mistakes in",
        "2 warnings",
    ]);
}

#[test]
fn editors_get_it_as_json() {
    let checkout = project(&[
        ("shipway.yaml", "image: {dockerfile: Dockerfile}\n"),
        ("Dockerfile", "FROM a\nFORM b\n"),
        ("pom.xml", "<project><modelVersion>4.0.0</modelVersion>"),
    ]);
    let done = shipway(checkout.path()).args(["check", "--json"]).run().expect_code(10);
    let findings: Vec<Value> = serde_json::from_str(&done.stdout).unwrap();
    let places: Vec<(&str, Option<u64>, &str)> = findings
        .iter()
        .map(|finding| (finding["file"].as_str().unwrap(), finding["line"].as_u64(), finding["code"].as_str().unwrap()))
        .collect();
    assert_eq!(places[0], ("Dockerfile", Some(2), "dockerfile-invalid"));
    assert_eq!((places[1].0, places[1].2, places.len()), ("pom.xml", "pom-invalid", 2), "{findings:?}");
}

#[test]
fn variables_are_looked_at_too() {
    let checkout = project(&[("shipway.yaml", "app: orders\n")]);
    let run = shipway(checkout.path()).arg("check").env("PLUGIN_KUBERNETES_REPLICA", "3").env("SHIPWAY_LOG_LEVEL", "loud");
    run.run().expect_code(2).expect_text(&["PLUGIN_KUBERNETES_REPLICA is not a setting", "did you mean", "SHIPWAY_LOG_LEVEL"]);
}

#[test]
fn the_steps_of_pipelines_are_looked_at_where_they_are_written() {
    let step = |settings: &str| {
        format!(
            "steps:\n  - name: test\n    image: maven\n    settings: {{any: thing}}\n  - name: publish\n    image: registry.example.test/shipway-maven:1\n    settings:\n{settings}"
        )
    };
    let checkout = project(&[
        (
            ".drone.yml",
            &format!(
                "kind: secret\nname: x\n---\nkind: pipeline\n{}",
                step("      registri: registry.example.test\n      kubernetes: {replica: 2}\n      password: {from_secret: a}\n")
            ),
        ),
        (".woodpecker/a.yaml", &step("      kubernetes-replicas: many\n      cluster: {token: {from_secret: b}}\n")),
    ]);
    shipway(checkout.path()).arg("check").run().expect_code(2).expect_text(&[
        "✗ .drone.yml:12:7: registri is not a setting [setting-unknown]",
        "did you mean registry?",
        "✗ .drone.yml:13:7: kubernetes.replica",
        "✗ .woodpecker/a.yaml:8:7: kubernetes.replicas",
        "3 mistakes in .drone.yml and 1 file more",
    ]);
}

#[test]
fn a_project_without_any_settings_is_fine() {
    let empty = tempfile::tempdir().unwrap();
    shipway(empty.path()).arg("check").run().expect_code(0).expect_text(&["nothing to look at"]);
    shipway(empty.path()).args(["check", "gone.yaml"]).run().expect_code(2).expect_text(&["cannot read gone.yaml"]);
    let checkout = fixture::checkout("plain-service");
    shipway(checkout.path()).arg("check").run().expect_code(0).expect_text(&["✓ pom.xml is good"]);
}

//! `init` finds out what it can, shows what it writes, and leaves what is there.

use std::fs;

use crate::support::{
    fixture::{self, Checkout, git},
    shipway::{Shipway, shipway},
};

fn init(checkout: &Checkout) -> Shipway {
    shipway(checkout.path()).arg("init")
}

fn text(checkout: &Checkout, name: &str) -> String {
    fs::read_to_string(checkout.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_maven_project_at_gitlab() {
    let checkout = fixture::checkout("spring-boot-service");
    git(&checkout.path(), &["remote", "add", "origin", "https://gitlab.example.test/trade/order-service.git"]);
    let done = init(&checkout).run().expect_code(0);
    let settings = text(&checkout, "shipway.yaml");
    assert!(settings.starts_with("# yaml-language-server: $schema=.shipway.schema.json\n"), "{settings}");
    for line in ["app: order-service ", "line: trade ", "  namespace: trade\n", "#   jdk: 17 ", "eclipse-temurin:17-jre"] {
        assert!(settings.contains(line), "no {line:?} in\n{settings}");
    }
    assert!(text(&checkout, ".gitlab-ci.yml").contains("\npublish:\n  image: shipway-maven:latest\n  script: shipway\n"));
    done.expect_text(&[
        "✓ shipway.yaml is new",
        "+ app: order-service",
        "✓ .gitlab-ci.yml is new",
        "+   script: shipway",
        "shipway doctor",
    ]);
    // what it wrote is what a run would have taken anyway, and an editor's schema is there
    shipway(checkout.path()).arg("check").run().expect_code(0);
    let schema: serde_json::Value = serde_json::from_str(&text(&checkout, ".shipway.schema.json")).unwrap();
    assert_eq!(schema["title"], "shipway.yaml");
}

#[test]
fn what_is_there_stays_until_it_is_asked_for() {
    let checkout = fixture::checkout("plain-service");
    let before = "stages: [test, deploy]\nunit:\n  stage: test\n  script: mvn test\n";
    checkout.write(".gitlab-ci.yml", before);
    checkout.write("shipway.yaml", "app: mine\n");
    let done = init(&checkout).run().expect_code(0);
    assert_eq!((text(&checkout, ".gitlab-ci.yml").as_str(), text(&checkout, "shipway.yaml").as_str()), (before, "app: mine\n"));
    assert!(!checkout.path().join(".shipway.schema.json").exists());
    done.expect_text(&["shipway.yaml stays", "! .gitlab-ci.yml would be changed", "+   stage: deploy", "shipway init --force"]);
    init(&checkout).arg("--force").run().expect_code(0).expect_text(&["✓ .gitlab-ci.yml is changed"]);
    let after = text(&checkout, ".gitlab-ci.yml");
    assert!(after.starts_with(before) && after.contains("  stage: deploy\n"), "{after}");
    assert_eq!(text(&checkout, "shipway.yaml"), "app: mine\n");
    init(&checkout).run().expect_code(0).expect_text(&["it calls shipway already"]);
}

#[test]
fn drone_woodpecker_own_dockerfile_and_manifests() {
    let checkout = fixture::checkout("plain-service");
    checkout.write(".drone.yml", "kind: pipeline\nname: test\nsteps: []\n");
    checkout.write("Dockerfile", "FROM eclipse-temurin:17-jre\n");
    checkout.write("deploy/more.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n");
    init(&checkout).args(["--force", "--no-schema"]).env("SHIPWAY_REGISTRY_URL", "registry.example.test/team").run().expect_code(0);
    let settings = text(&checkout, "shipway.yaml");
    assert!(settings.contains("\n  dockerfile: Dockerfile ") && settings.contains("manifests: [deploy/]"), "{settings}");
    assert!(!settings.contains("yaml-language-server") && !checkout.path().join(".shipway.schema.json").exists());
    assert!(
        text(&checkout, ".drone.yml").contains("---\nkind: pipeline")
            && text(&checkout, ".drone.yml").contains("registry.example.test/team")
    );
    init(&checkout).args(["--ci", "woodpecker"]).run().expect_code(0);
    assert!(text(&checkout, ".woodpecker.yaml").contains("from_secret: cluster_token"));
}

#[test]
fn an_empty_folder_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("My Shop");
    fs::create_dir(&place).unwrap();
    let help = "https://docs.example.test/shipway";
    shipway(&place)
        .arg("init")
        .env("SHIPWAY_HELP_URL", help)
        .run()
        .expect_code(0)
        .expect_text(&["shipway.yaml is new", "no CI is known here"]);
    let settings = fs::read_to_string(place.join("shipway.yaml")).unwrap();
    assert!(settings.starts_with(&format!("# yaml-language-server: $schema={help}/shipway.schema.json\n")), "{settings}");
    assert!(settings.contains("app: my-shop ") && settings.contains("no pom.xml is here"), "{settings}");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "a folder without a code host gets no job");
    shipway(&place).arg("check").run().expect_code(0);
}

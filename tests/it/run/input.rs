//! Bad input: each has a clear error that names the setting, the file and the fix, and changes nothing.

use super::left;
use crate::support::{
    fixture,
    job::{gitlab, jar_checkout},
    lab::lab,
    shipway::{report, shipway},
    unique,
};

#[test]
fn a_folder_without_a_pom() {
    let folder = tempfile::tempdir().unwrap();
    shipway(folder.path()).run().expect_code(2).expect_text(&["no-checkout", "source.url"]);
    let checkout = fixture::empty_checkout("no-pom");
    gitlab(&checkout, 1).run().expect_code(10).expect_text(&["no-pom", "build.command"]);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_one_all_at_once() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    checkout.write("shipway.yaml", "build: {command: ['true'], artifact: app.jar}\nkubernets: {replicas: 2}\nimage: {prot: 80}\n");
    let done = gitlab(&checkout, 1).env("PLUGIN_REGISTY", "x").run().expect_code(2);
    done.expect_text(&["kubernets", "kubernetes", "image.prot", "image.port", "PLUGIN_REGISTY", "PLUGIN_REGISTRY", "shipway.yaml:2"]);
    // what the CI collects says it, too
    let report = report(&checkout.path());
    assert_eq!((&report["result"], &report["problem"]["class"]), (&"failed".into(), &"usage".into()), "{report}");
    let junit = std::fs::read_to_string(checkout.path().join("shipway-report/junit.xml")).unwrap();
    assert!(junit.contains("PLUGIN_REGISTRY") && junit.contains("<failure"), "{junit}");
    let json = gitlab(&checkout, 1).env("SHIPWAY_LOG_FORMAT", "json").env("SHIPWAY_REPORT_DIR", "other").run().expect_code(2);
    assert!(json.stdout.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{}", json.text());
    assert!(json.stdout.contains("kubernets") && checkout.path().join("other/report.json").exists(), "{}", json.text());
    shipway(checkout.path()).arg("check").run().expect_code(2).expect_text(&["shipway.yaml:2", "kubernets"]);
}

#[test]
fn a_yaml_bomb_is_refused_quickly() {
    let checkout = fixture::empty_checkout("bomb");
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (this, last) in ('b'..='j').zip('a'..='i') {
        bomb += &format!("{this}: &{this} [*{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}]\n");
    }
    checkout.write("shipway.yaml", &bomb);
    let done = gitlab(&checkout, 1).run().expect_code(2).expect_text(&["shipway.yaml"]);
    // Unfolded it would have ten thousand million nodes.
    assert!(done.took.as_secs() < 30, "took {:?}", done.took);
}

#[test]
fn a_branch_or_tag_never_makes_an_illegal_image() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let line = unique("tags");
    let job = gitlab(&checkout, 1).env("CI_COMMIT_TAG", "release/Ünïcode#1").env("SHIPWAY_REGISTRY_URL", &lab().registry().address);
    job.env("SHIPWAY_LINE", &line).env("SHIPWAY_IMAGE_BASE", lab().base(17)).arg("image").run().expect_code(0);
    let reference = report(&checkout.path())["image"]["reference"].as_str().unwrap().to_owned();
    assert!(reference.ends_with(":release-n-code-1"), "{reference}");
    let job = gitlab(&checkout, 1).env("SHIPWAY_IMAGE_REPOSITORY", "Bad/NAME").arg("image");
    job.run().expect_code(2).expect_text(&["image.repository", "lower-case"]);
}

#[test]
fn two_candidates_are_listed_and_one_can_be_chosen() {
    let checkout = fixture::checkout("two-services");
    let job = || gitlab(&checkout, 1).env("SHIPWAY_IMAGE_BASE", lab().base(17)).env("SHIPWAY_BUILD_TESTS", "false").arg("dockerfile");
    job().run().expect_code(2).expect_text(&["module-ambiguous", "inbound-service", "outbound-service", "build.module"]);
    job().env("SHIPWAY_BUILD_MODULE", "inbound-service").run().expect_code(0);
    job().env("SHIPWAY_BUILD_MODULE", "other").run().expect_code(2).expect_text(&["module-unknown", "inbound-service"]);
}

#[test]
fn the_compilers_own_lines_are_in_the_message() {
    let checkout = fixture::checkout("does-not-compile");
    let done = gitlab(&checkout, 1).arg("build").run().expect_code(10).expect_text(&["compile-failed", ".java:"]);
    assert!(left(&checkout.path(), "mvn.log").contains("BUILD FAILURE"), "{}", done.text());
    assert_eq!(report(&checkout.path())["problem"]["class"], "user");
}

#[test]
fn failed_tests_are_named() {
    let checkout = fixture::checkout("tests-fail");
    gitlab(&checkout, 1).arg("build").run().expect_code(10).expect_text(&["tests-failed", "Test"]);
}

#[test]
fn a_war_for_a_servlet_container_points_at_the_own_dockerfile() {
    let checkout = fixture::checkout("war");
    gitlab(&checkout, 1).arg("image").run().expect_code(10).expect_text(&["not-runnable", "image.dockerfile"]);
}

#[test]
fn a_jar_that_is_no_zip() {
    let checkout = fixture::empty_checkout("web");
    checkout.write("app.jar", "this is text");
    checkout.write("shipway.yaml", "build: {command: ['true'], artifact: app.jar}\n");
    gitlab(&checkout, 1).arg("image").run().expect_code(10).expect_text(&["artifact-invalid", "app.jar"]);
}

#[test]
fn a_dockerfile_may_not_leave_the_context_and_has_no_run() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let job = || gitlab(&checkout, 1).env("SHIPWAY_IMAGE_DOCKERFILE", "Dockerfile").arg("image");
    checkout.write("Dockerfile", "FROM scratch\nCOPY ../../etc/passwd /\n");
    job().run().expect_code(10).expect_text(&["context-escape", "Dockerfile:2"]);
    checkout.write("Dockerfile", "FROM scratch\nRUN make\n");
    job().env("SHIPWAY_IMAGE_ENGINE", "native").run().expect_code(10).expect_text(&["dockerfile-unsupported", "Dockerfile:2", "RUN"]);
    checkout.write("Dockerfile", "FROM scratch\nCOPY app.jar /app.jar\nENTRYPOINT [\"java\", \"-jar\", \"/app.jar\"]\n");
    job().run().expect_code(0);
}

#[test]
fn the_report_of_the_last_run_is_no_part_of_the_image() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    checkout.write("Dockerfile", "FROM scratch\nCOPY . /srv/\n");
    checkout.write(".dockerignore", ".git\n");
    let digest = || {
        gitlab(&checkout, 1).env("SHIPWAY_IMAGE_DOCKERFILE", "Dockerfile").arg("image").run().expect_code(0);
        report(&checkout.path())["image"]["digest"].clone()
    };
    assert_eq!(digest(), digest());
}

#[test]
fn a_misplaced_secret_and_a_wrong_value_are_refused() {
    let checkout = fixture::empty_checkout("web");
    checkout.write("shipway.yaml", "registry: {password: hunter2-hunter2}\nkubernetes: {replicas: many}\n");
    let done = gitlab(&checkout, 1).run().expect_code(2).expect_text(&["registry.password", "kubernetes.replicas"]);
    assert!(!done.text().contains("hunter2-hunter2"));
}

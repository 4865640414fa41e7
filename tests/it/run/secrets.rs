//! Secrets stay where they belong: out of the build's environment, the log and every file that a run leaves.

use std::{fs, path::Path};

use super::left;
use crate::support::{
    fixture,
    job::{gitlab, jar_checkout, on_cluster, with_gitlab_registry},
    lab::lab,
    unique,
};

#[test]
fn the_build_sees_a_clean_environment() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    checkout.write("shipway.yaml", "build: {command: [env], artifact: app.jar, env: [SONAR_TOKEN]}\n");
    let (registry, namespace) = (lab().registry_auth(), lab().namespace("clean environment"));
    let job = with_gitlab_registry(gitlab(&checkout, 1), &registry, &registry.repository("clean"));
    let job = on_cluster(job, &namespace, 17)
        .env("CI_JOB_TOKEN", "canary-job-token")
        .env("SHIPWAY_FORGE_TOKEN", "canary-forge-token")
        .env("SHIPWAY_CLUSTER_TOKEN", "canary-cluster-token")
        .env("DOCKER_AUTH_CONFIG", r#"{"auths":{"registry.example.test":{"auth":"Y2FuYXJ5OmRvY2tlci1hdXRo"}}}"#)
        .env("SONAR_TOKEN", "wanted-by-the-build");
    job.arg("build").run().expect_code(0);
    let seen = left(&checkout.path(), "build.log");
    assert!(seen.contains("SONAR_TOKEN=") && seen.contains("PATH="), "{seen}");
    for secret in [&registry.password, "canary-", "KUBECONFIG", "CI_REGISTRY_PASSWORD", "DOCKER_AUTH_CONFIG", "Y2FuYXJ5"] {
        assert!(!seen.contains(secret), "the build sees {secret}");
    }
}

#[test]
fn no_file_of_the_report_holds_a_secret() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let registry = lab().registry_auth();
    // the last one is shorter than what GitLab masks
    let secrets = ["canary/forge+token", "canary \"notify\" pass", "zq7#x"];
    let job = with_gitlab_registry(gitlab(&checkout, 1), &registry, &registry.repository("no secret"))
        .env("SHIPWAY_IMAGE_BASE", lab().base(17))
        .env("SHIPWAY_FORGE_TOKEN", secrets[0])
        .env("SHIPWAY_MAVEN_PASSWORD", secrets[1])
        .env("SHIPWAY_REGISTRY_PULL_USERNAME", "puller")
        .env("SHIPWAY_REGISTRY_PULL_PASSWORD", secrets[2])
        .env("CI_COMMIT_TITLE", format!("Use {} for [MASKED]", secrets[2]))
        .env("SHIPWAY_LINE", unique("secrets"))
        // The commit's author is foreign text that happens to hold one.
        .env("CI_COMMIT_AUTHOR", format!("Eve {} <eve@example.test>", secrets[0]));
    let done = job.run().expect_code(0);
    let mut files = Vec::new();
    collect(&checkout.path().join("shipway-report"), &mut files);
    assert!(files.len() >= 6, "{files:?}");
    assert!(left(&checkout.path(), "report.json").contains("Use (secret) for [MASKED]"));
    for secret in [secrets[0], secrets[1], secrets[2], &registry.password] {
        assert!(!done.text().contains(secret), "{secret} is in the log");
        for file in &files {
            let content = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
            assert!(!content.contains(secret), "{secret} is in {}", file.display());
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

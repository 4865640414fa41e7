//! Every place that credentials may stand in, each alone, in a whole run.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;
use crate::support::{
    fixture::{Checkout, empty_checkout},
    job::gitlab,
    shipway::{Shipway, report, shipway},
};

/// What a job has beside its checkout: a home of its own.
struct Job {
    registry: Registry,
    checkout: Checkout,
    home: tempfile::TempDir,
}

impl Job {
    fn new() -> Self {
        let checkout = empty_checkout("web");
        checkout.write("shipway.yaml", "line: trade\nbuild: {command: ['true']}\nimage: {dockerfile: Dockerfile, cache: 'off'}\n");
        checkout.write("Dockerfile", "FROM scratch\nCOPY README.md /\n");
        checkout.commit("Add a Dockerfile");
        Job { registry: Registry::start_with_auth(USER, PASSWORD), checkout, home: tempfile::tempdir().unwrap() }
    }

    fn gitlab(&self) -> Shipway {
        gitlab(&self.checkout, 1).env("HOME", self.home.path()).env("SHIPWAY_REGISTRY_URL", self.registry.host()).arg("image")
    }

    /// A file of the home, with its folders.
    fn file(&self, name: &str, content: &str) -> std::path::PathBuf {
        let path = self.home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A `config.json` (docker's, podman's) for a prefix of the registry.
    fn auths(&self, prefix: &str) -> String {
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        json!({"auths": {format!("{}{prefix}", self.registry.host()): {"auth": auth}}}).to_string()
    }

    /// A folder with a helper that has the password of this registry.
    fn helper(&self) -> String {
        let answer = json!({"ServerURL": "x", "Username": USER, "Secret": PASSWORD});
        let path = self.file(
            "bin/docker-credential-vault",
            &format!("#!/bin/sh\nread server\n[ \"$server\" = {} ] && echo '{answer}'\n", self.registry.host()),
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}:{}", path.parent().unwrap().display(), std::env::var("PATH").unwrap())
    }
}

type Start<'a> = Box<dyn Fn() -> Shipway + 'a>;

#[test]
fn credentials_are_found_wherever_they_stand() {
    let job = Job::new();
    let host = job.registry.host();
    let parent = |path: &Path| path.parent().unwrap().to_path_buf();
    let jobs: Vec<(&str, Start)> = vec![
        ("settings", Box::new(|| job.gitlab().env("SHIPWAY_REGISTRY_USERNAME", USER).env("SHIPWAY_REGISTRY_PASSWORD", PASSWORD))),
        (
            "a secret's file",
            Box::new(|| {
                let file = job.file("password", &format!("{PASSWORD}\n"));
                job.gitlab().env("SHIPWAY_REGISTRY_USERNAME", USER).env("SHIPWAY_REGISTRY_PASSWORD_FILE", file)
            }),
        ),
        (
            "GitLab's own registry",
            Box::new(|| {
                let image = format!("{host}/trade/web");
                let gitlab =
                    gitlab(&job.checkout, 1).env("HOME", job.home.path()).env("CI_REGISTRY", &host).env("CI_REGISTRY_IMAGE", image);
                gitlab.env("CI_REGISTRY_USER", USER).env("CI_REGISTRY_PASSWORD", PASSWORD).arg("image")
            }),
        ),
        (
            "a Drone step as drone-docker's users write it",
            Box::new(|| {
                let drone = shipway(job.checkout.path()).env("HOME", job.home.path()).envs([
                    ("CI", "true"),
                    ("DRONE", "true"),
                    ("DRONE_REPO", "trade/web"),
                ]);
                let drone = drone.env("DRONE_COMMIT_SHA", job.checkout.head()).env("PLUGIN_REPO", format!("{host}/trade/web"));
                drone.env("PLUGIN_USERNAME", USER).env("PLUGIN_PASSWORD", PASSWORD).env("PLUGIN_COMMAND", "image")
            }),
        ),
        ("DOCKER_AUTH_CONFIG", Box::new(|| job.gitlab().env("DOCKER_AUTH_CONFIG", job.auths("")))),
        (
            "~/.docker/config.json",
            Box::new(|| {
                job.file(".docker/config.json", &job.auths(""));
                job.gitlab()
            }),
        ),
        (
            "DOCKER_CONFIG, for a part of the registry",
            Box::new(|| {
                let file = job.file("elsewhere/config.json", &job.auths("/trade"));
                job.gitlab().env("DOCKER_CONFIG", parent(&file))
            }),
        ),
        ("REGISTRY_AUTH_FILE", Box::new(|| job.gitlab().env("REGISTRY_AUTH_FILE", job.file("auth.json", &job.auths(""))))),
        (
            "podman's auth.json of this login",
            Box::new(|| {
                job.file("run/containers/auth.json", &job.auths(""));
                job.gitlab().env("XDG_RUNTIME_DIR", job.home.path().join("run"))
            }),
        ),
        (
            "podman's auth.json of this user",
            Box::new(|| {
                job.file(".config/containers/auth.json", &job.auths(""));
                job.gitlab()
            }),
        ),
        (
            "a registry's credential helper",
            Box::new(|| {
                job.file(".docker/config.json", &json!({"credHelpers": {host.as_str(): "vault"}}).to_string());
                job.gitlab().env("PATH", job.helper())
            }),
        ),
        (
            "a store of credentials",
            Box::new(|| {
                job.file(".docker/config.json", &json!({"credsStore": "vault"}).to_string());
                job.gitlab().env("PATH", job.helper())
            }),
        ),
    ];
    job.gitlab().run().expect_code(30).expect_text(&["there are none"]);
    for (place, run) in jobs {
        let done = run().run();
        assert_eq!(done.code, 0, "{place}: {}", done.text());
        assert!(!done.text().contains(PASSWORD), "{place}: {}", done.text());
        let image = report(&job.checkout.path())["image"].clone();
        assert!(image["reference"].as_str().unwrap().starts_with(&format!("{host}/trade/web")), "{place}: {image}");
        fs::remove_dir_all(job.home.path()).unwrap();
        fs::create_dir(job.home.path()).unwrap();
    }
}

//! A job as GitLab, Drone, Woodpecker or a person starts it, against the lab.

use std::path::Path;

use super::{
    fixture::Checkout,
    lab::{Namespace, Registry, lab},
    shipway::{Shipway, shipway},
};

/// Small pods and no waiting beyond being ready: what most tests want of a rollout.
pub const QUICK: &[(&str, &str)] = &[
    ("SHIPWAY_KUBERNETES_REPLICAS", "1"),
    ("SHIPWAY_KUBERNETES_ROLLING_MIN_READY_SECONDS", "0"),
    ("SHIPWAY_KUBERNETES_ROLLING_DRAIN", "1s"),
    ("SHIPWAY_KUBERNETES_RESOURCES_REQUESTS_CPU", "10m"),
    ("SHIPWAY_KUBERNETES_RESOURCES_LIMITS_MEMORY", "256Mi"),
];

/// What GitLab tells a job of a push to the default branch; the pipeline's number orders publishes.
pub fn gitlab(checkout: &Checkout, pipeline: u64) -> Shipway {
    let path = checkout.path();
    let project = path.file_name().unwrap().to_string_lossy().into_owned();
    shipway(&path)
        .env("GITLAB_CI", "true")
        .env("CI", "true")
        .env("CI_PROJECT_NAME", &project)
        .env("CI_PROJECT_PATH", format!("trade/{project}"))
        .env("CI_PROJECT_URL", format!("https://git.example.test/trade/{project}"))
        .env("CI_PROJECT_DIR", &path)
        .env("CI_COMMIT_SHA", checkout.head())
        .env("CI_COMMIT_BRANCH", "main")
        .env("CI_COMMIT_REF_NAME", "main")
        .env("CI_DEFAULT_BRANCH", "main")
        .env("CI_COMMIT_AUTHOR", "Ada Example <ada@example.test>")
        .env("CI_PIPELINE_ID", pipeline.to_string())
        .env("CI_JOB_URL", format!("https://git.example.test/trade/{project}/-/jobs/{pipeline}"))
        .env("CI_PIPELINE_SOURCE", "push")
}

/// GitLab's own registry, as its variables name it.
pub fn with_gitlab_registry(job: Shipway, registry: &Registry, image: &str) -> Shipway {
    job.env("CI_REGISTRY", &registry.address)
        .env("CI_REGISTRY_IMAGE", image)
        .env("CI_REGISTRY_USER", &registry.user)
        .env("CI_REGISTRY_PASSWORD", &registry.password)
}

/// The lab's base image, the publisher's kubeconfig, its namespace, small pods.
pub fn on_cluster(job: Shipway, namespace: &Namespace, java: u32) -> Shipway {
    job.env("KUBECONFIG", &namespace.kubeconfig)
        .env("SHIPWAY_KUBERNETES_NAMESPACE", &namespace.name)
        .env("SHIPWAY_IMAGE_BASE", lab().base(java))
        .envs(QUICK.iter().copied())
}

/// A job that publishes from the open registry; nothing but its own repository is shared.
pub fn publishing(checkout: &Checkout, namespace: &Namespace, pipeline: u64) -> Shipway {
    on_cluster(gitlab(checkout, pipeline), namespace, 17)
        .env("SHIPWAY_REGISTRY_URL", &lab().registry().address)
        .env("SHIPWAY_LINE", &namespace.name)
}

/// A checkout that holds a ready jar: a run without Maven.
pub fn jar_checkout(name: &str, jar: &Path) -> Checkout {
    let checkout = super::fixture::empty_checkout(name);
    std::fs::copy(jar, checkout.path().join("app.jar")).unwrap();
    checkout.write("shipway.yaml", "build: {command: ['true'], artifact: app.jar}\n");
    checkout.commit("Add the application");
    checkout
}

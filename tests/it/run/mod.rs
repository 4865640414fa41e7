//! The main job, end to end: the binary in a CI's environment, real Maven, real registries, the real kubelet.

mod canaries;
mod cancelled;
mod failed;
mod input;
mod nothing_configured;
mod operated;
mod published;
mod refused;
mod secrets;
mod traffic;

use std::path::Path;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{Api, ListParams};

use crate::support::{block_on, lab::lab};

/// The Deployment as it is.
fn deployment(namespace: &str, name: &str) -> Deployment {
    block_on(async { Api::namespaced(lab().client().await, namespace).get(name).await.unwrap() })
}

/// Whether there is a Deployment of that name.
fn has_deployment(namespace: &str, name: &str) -> bool {
    block_on(async { Api::<Deployment>::namespaced(lab().client().await, namespace).get_opt(name).await.unwrap().is_some() })
}

fn pods(namespace: &str) -> Vec<Pod> {
    block_on(async { Api::namespaced(lab().client().await, namespace).list(&ListParams::default()).await.unwrap().items })
}

/// The image of the only container of the Deployment's template.
fn image_of(deployment: &Deployment) -> String {
    let template = deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    template.containers[0].image.clone().unwrap()
}

/// Reads a file that a run left in the default report folder.
fn left(folder: &Path, file: &str) -> String {
    let path = folder.join("shipway-report").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

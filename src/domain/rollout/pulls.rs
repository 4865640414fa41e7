//! Images that a node cannot pull.

use std::time::Duration;

use k8s_openapi::api::core::v1::ContainerStatus;

use super::{
    Budgets, Finding,
    containers::{contains_any, short, waiting},
};
use crate::domain::problem::Code;

const DENIED: [&str; 11] = [
    "status code 401",
    "status: 401",
    "http 401",
    "403 forbidden",
    "unauthorized",
    "denied",
    "failed to authorize",
    "authorization failed",
    "authentication required",
    "no basic auth",
    "insufficient_scope",
];
const ABSENT: [&str; 6] = ["not found", "manifest unknown", "name unknown", "does not exist", "manifest_unknown", "name_unknown"];
/// containerd's and Docker's words for an index without the node's platform; they would pass for an image that is not there.
const OTHER_PLATFORM: [&str; 2] = ["no match for platform in manifest", "no matching manifest for"];

/// What has to be remembered of a container's pulls.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulls {
    /// Since when its image cannot be pulled, how often that was denied, and the kubelet's last telling sentence.
    since: Option<Duration>,
    denied: u32,
    message: String,
    failing: bool,
}

impl Pulls {
    pub fn see(&mut self, image: &str, status: &ContainerStatus, at: Duration) {
        let Some((reason, message)) = waiting(status).filter(|(reason, _)| is_pull(reason)) else {
            if status.state.as_ref().is_some_and(|state| state.running.is_some()) {
                self.since = None;
            }
            self.failing = false;
            return;
        };
        self.since.get_or_insert(at);
        if !is_back_off(reason) || self.message.is_empty() {
            self.message = message.to_string();
        }
        let failed = !is_back_off(reason);
        // the first failure may have turned into its back-off before it was seen
        let first = self.denied == 0;
        if ((failed && !self.failing) || first) && contains_any(&without_name(message, image), &DENIED) {
            self.denied += 1;
        }
        self.failing = failed;
    }
}

/// What keeps `image` from being pulled for this container.
pub(super) fn finding(pod: &str, image: &str, status: &ContainerStatus, pulls: &Pulls, budgets: &Budgets, at: Duration) -> Option<Finding> {
    let (reason, _) = waiting(status).filter(|(reason, _)| is_pull(reason))?;
    let why = short(cause(&pulls.message, image));
    let since = pulls.since.unwrap_or(at);
    let said = without_name(&pulls.message, image);
    let absent = |message: String| Finding::new(Code::ImageNotFound, message);
    Some(match reason {
        "InvalidImageName" => absent(format!("{image} is no valid image name: {why}")).hint("correct the name of the image").doomed(),
        "ErrImageNeverPull" => absent(format!("{image} is not on the node of pod {pod}, and must not be pulled")).doomed(),
        _ if contains_any(&said, &OTHER_PLATFORM) => {
            let hint = "build the image for the nodes' processors, too: image.platforms";
            absent(format!("{image} has no variant for the processor of the node of pod {pod}: {why}")).hint(hint).doomed()
        }
        _ if contains_any(&said, &DENIED) => {
            let finding = Finding::new(Code::ImagePullDenied, format!("the registry does not let the node pull {image}: {why}"));
            if pulls.denied >= budgets.denied_pulls { finding.doomed() } else { finding.doomed_at(since + budgets.image_pull, at) }
        }
        _ if contains_any(&said, &ABSENT) => absent(format!("the node cannot find image {image}: {why}")).doomed(),
        _ => Finding::new(Code::ImagePullFailed, format!("the node cannot pull {image}: {why}")).doomed_at(since + budgets.image_pull, at),
    })
}

fn is_pull(reason: &str) -> bool {
    matches!(
        reason,
        "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed"
    )
}

fn is_back_off(reason: &str) -> bool {
    reason == "ImagePullBackOff"
}

/// What is said beside the image's name, which may itself hold any of the words (`denied-app`) and numbers (port 5401) that are looked for.
fn without_name(message: &str, image: &str) -> String {
    let (name, digest) = image.split_once('@').unwrap_or((image, ""));
    let (host, path) = name.split_once('/').unwrap_or(("", name));
    let (path, tag) = path.split_once(':').unwrap_or((path, ""));
    let url = if tag.is_empty() { String::new() } else { format!("/manifests/{tag}") };
    let names = [image, name, digest, &format!("{host}/{path}"), &format!("/v2/{path}"), &format!("repository:{path}"), &url, host];
    names.iter().filter(|name| !name.is_empty()).fold(message.to_string(), |said, name| said.replace(name, "…"))
}

/// The innermost part of containerd's `failed to pull and unpack image "…": failed to resolve reference "…": …`.
fn cause<'a>(message: &'a str, image: &str) -> &'a str {
    let inner = message.rsplit("\": ").next().filter(|inner| inner.len() > 8).unwrap_or(message);
    inner.strip_prefix(image).map_or(inner, |rest| rest.trim_start_matches([':', ' ']))
}

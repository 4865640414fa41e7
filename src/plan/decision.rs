//! Whether this run publishes, and where to.

use super::Facts;
use crate::{
    domain::{
        image_source::LAYOUT_SCHEME,
        problem::{Code, Problem, Result},
    },
    settings::{Auto, Ci, CiKind, Host, Settings},
};

/// What becomes of a built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publish {
    /// It goes to the cluster.
    Cluster,
    /// The manifests are written to a file; says which setting is missing for more.
    Render { missing: &'static str },
    /// Nothing; says why.
    No { because: String },
}

/// Applies the rule of the setting `publish` (see the settings' reference).
pub(super) fn decide(settings: &Settings, ci: &Ci, host: &Host, facts: &Facts) -> Result<Publish> {
    let cluster = has_cluster(settings, host);
    let registry = settings.registry.url.is_some()
        || settings.image.repository.is_some()
        || settings.image.reference.as_ref().is_some_and(|reference| !reference.starts_with(LAYOUT_SCHEME))
        || host.earlier_image.is_some();
    let missing = if cluster { "registry.url" } else { "cluster.kubeconfig" };
    match settings.publish {
        Auto::No => Ok(Publish::No { because: "publish is false".to_string() }),
        Auto::Yes if cluster && registry => Ok(Publish::Cluster),
        Auto::Yes if cluster => {
            Err(Problem::new(Code::SettingMissing, "publish is true, but the cluster has no registry to pull the image from")
                .hint("set registry.url, or image.ref for a ready image"))
        }
        Auto::Yes => Err(Problem::new(Code::ClusterMissing, "publish is true, but no cluster is configured")),
        Auto::Auto => Ok(match refusal(settings, ci, facts) {
            Some(because) => Publish::No { because },
            None if cluster && registry => Publish::Cluster,
            None => Publish::Render { missing },
        }),
    }
}

/// Whether any setting names a cluster.
pub(super) fn has_cluster(settings: &Settings, host: &Host) -> bool {
    let cluster = &settings.cluster;
    cluster.kubeconfig.is_some() || cluster.server.is_some() || cluster.in_cluster || !host.kubeconfig.is_empty()
}

/// Why `publish: auto` does not publish; None when it does.
fn refusal(settings: &Settings, ci: &Ci, facts: &Facts) -> Option<String> {
    if ci.is_fork() {
        return Some("a fork's merge request is never published".to_string());
    }
    let named = settings.environment.is_some();
    let tag = ci.commit.tag.is_some() || facts.commit.as_ref().is_some_and(|commit| commit.tag.is_some());
    // In a shell a person decides by running it; the cluster was named on purpose.
    if named || tag || ci.on_default_branch() || ci.kind == CiKind::Shell {
        return None;
    }
    let place = match (&ci.merge_request, &ci.commit.branch) {
        (Some(request), _) => format!("merge request {}", request.number),
        (None, Some(branch)) => format!("branch {branch}"),
        (None, None) => "this commit".to_string(),
    };
    Some(format!("{place} is neither the default branch nor a tag, and no environment is named"))
}

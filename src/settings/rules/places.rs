//! Rules of addresses, images and files.

use super::{Checked, wrong};
use crate::domain::{image_source::ImageSource, reference, reference::ImageReference};

/// The part of an address that holds a user name with its password.
pub(in crate::settings) fn has_credentials(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

pub(super) fn url(text: &str) -> Checked {
    if has_credentials(text) {
        return wrong("the address holds a password", "take it out, and give it by the key of its own");
    }
    match text.contains(char::is_whitespace) || text.starts_with('-') {
        true => wrong("this is not an address", "write it like https://host.example.test/path"),
        false => Ok(text.to_string()),
    }
}

pub(super) fn registry(text: &str) -> Checked {
    let name = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
    if name.contains("://") {
        return wrong("a registry is a host, not an address", "write HOST:PORT without a scheme; registry.insecure permits plain http");
    }
    if name.contains('@') {
        return wrong("it holds a user name", "set registry.username and registry.password");
    }
    let host = name.split('/').next().unwrap_or_default();
    // A bare word would be taken for Docker Hub's user by every other tool, so that it has to look like a host, with a stand-in path.
    let full = if name.contains('/') { name.to_string() } else { format!("{name}/x") };
    match full.parse::<ImageReference>() {
        Ok(reference) if reference.registry == host && reference.tag.is_none() && reference.digest.is_none() => Ok(name.to_string()),
        Ok(_) => wrong(
            "a registry is a host with a dot or a port, and an optional prefix",
            "write it like registry.example.test or localhost:5000/team",
        ),
        Err(problem) => wrong(&problem.message, "write it like registry.example.test or localhost:5000/team"),
    }
}

pub(super) fn repository(text: &str) -> Checked {
    match text.parse::<ImageReference>() {
        Ok(reference) if reference.tag.is_none() && reference.digest.is_none() => Ok(text.to_string()),
        Ok(_) => wrong("a repository has no tag", "give the tag by image.tag"),
        Err(problem) => wrong(&problem.message, "use lower-case letters, digits, - _ . and /"),
    }
}

pub(super) fn image(text: &str) -> Checked {
    match text.parse::<ImageReference>() {
        Ok(_) => Ok(text.to_string()),
        Err(problem) => wrong(&problem.message, "write it like registry.example.test/team/app:1.0"),
    }
}

pub(super) fn image_or_layout(text: &str) -> Checked {
    match text.parse::<ImageSource>() {
        Ok(_) => Ok(text.to_string()),
        Err(problem) => wrong(&problem.message, "write it like registry.example.test/team/app:1.0, or oci:path/to/layout"),
    }
}

pub(super) fn tag(text: &str) -> Checked {
    match reference::is_tag(text) {
        true => Ok(text.to_string()),
        false => {
            wrong("a tag has letters, digits, _ . and -, and at most 128 of them", &format!("write it like {}", reference::tag_slug(text)))
        }
    }
}

/// A path in the checkout: nothing outside of it may be named.
pub(super) fn inside(text: &str) -> Checked {
    let path = std::path::Path::new(text);
    let leaves = path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir);
    match leaves || text.contains('\0') {
        true => wrong("the path leaves the checkout", "name a path inside the checkout, relative to its root"),
        false => Ok(text.to_string()),
    }
}

/// Names of files, as in KUBECONFIG; what is meant to be a file but holds its content is full of secrets, and never shown.
pub(in crate::settings) fn kubeconfig(text: &str) -> Checked {
    match text.contains('\n') || text.starts_with('{') || text.contains("apiVersion") {
        true => wrong(
            "it holds a kubeconfig, where the name of a file is wanted",
            "let the CI write it to a file (GitLab: a variable of type File), or set cluster.server, cluster.token and cluster.ca",
        ),
        false => Ok(text.to_string()),
    }
}

pub(super) fn file(text: &str) -> Checked {
    match text.contains('\n') || text.contains("-----BEGIN") || text.contains('\0') {
        true => wrong(
            "it holds the content of a file, where its name is wanted",
            "let the CI write it to a file (GitLab: a variable of type File)",
        ),
        false => Ok(text.to_string()),
    }
}

pub(super) fn absolute(text: &str) -> Checked {
    match text.starts_with('/') && !text.contains(':') && !text.split('/').any(|part| part == "..") {
        true => Ok(text.to_string()),
        false => wrong("this is not an absolute path of the container", "write it like /config"),
    }
}

pub(super) fn archive(text: &str) -> Checked {
    match [".tar.gz", ".tgz", ".tar.zst"].iter().any(|ending| text.ends_with(ending)) {
        true => file(text),
        false => wrong("the archive's form is not known", "let its name end in .tar.gz or .tar.zst"),
    }
}

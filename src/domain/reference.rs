//! Image references: `registry/repository:tag@digest`.

use std::{fmt, str::FromStr};

use super::{
    digest::Digest,
    problem::{Code, Problem, Result},
};

/// The registry of a name that has none, as Docker's tools understand it.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// OCI distribution-spec: a tag has at most 128 characters.
const MAX_TAG: usize = 128;

/// A full image reference; the short forms of Docker's tools are completed (`alpine` is `docker.io/library/alpine:latest`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    /// Host and optional port.
    pub registry: String,
    /// Path below the registry, such as `trade/order-service`.
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

impl ImageReference {
    pub fn with_tag(&self, tag: &str) -> Self {
        ImageReference { tag: Some(tag.to_string()), digest: None, ..self.clone() }
    }

    /// The same repository by digest alone: what is deployed.
    pub fn with_digest(&self, digest: &Digest) -> Self {
        ImageReference { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// `registry/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What the registry's manifest path ends in: the digest when there is one, else the tag, else `latest`.
    pub fn manifest_reference(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }
}

impl FromStr for ImageReference {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why: &str| Problem::new(Code::ImageNameInvalid, format!("{text:?} is not an image name: {why}"));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_string())),
            _ => (rest, None),
        };
        if let Some(tag) = &tag
            && !is_tag(tag)
        {
            return Err(invalid("a tag has letters, digits, _, . and -, does not start with . or -, and has at most 128 characters"));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host.to_string(), path.to_string()),
            Some(_) => (DEFAULT_REGISTRY.to_string(), name.to_string()),
            None => (DEFAULT_REGISTRY.to_string(), format!("library/{name}")),
        };
        if !is_host(&registry) {
            return Err(invalid("the registry is not a host name with an optional port"));
        }
        if !is_repository(&repository) {
            return Err(invalid("a repository has lower-case letters and digits, separated by . _ __ - and /"));
        }
        Ok(ImageReference { registry, repository, tag, digest })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// OCI distribution-spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    text.len() <= MAX_TAG
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// OCI distribution-spec: path components of lower-case alphanumerics, separated inside by `.`, `_`, `__` or dashes.
pub fn is_repository(text: &str) -> bool {
    let component = |part: &str| {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let separator = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
        part.starts_with(alphanumeric) && part.ends_with(alphanumeric) && part.split(alphanumeric).all(separator)
    };
    text.len() <= 255 && text.split('/').all(component)
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .split('.')
                    .all(|label| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'))
        }
    };
    name && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Makes a legal tag of any text, so that a branch like `feature/Ünïcode#1` is never refused: what a tag cannot hold becomes `-`.
/// Empty input gives `latest`.
pub fn tag_slug(text: &str) -> String {
    slug(text, MAX_TAG, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'), str::to_string).unwrap_or_else(|| "latest".to_string())
}

/// Makes a DNS label (RFC 1123, at most 63 characters) of any text; None when nothing of it can stay.
pub fn dns_label(text: &str) -> Option<String> {
    slug(text, 63, |c| c.is_ascii_lowercase() || c.is_ascii_digit(), str::to_lowercase)
}

fn slug(text: &str, longest: usize, keep: impl Fn(char) -> bool, fold: impl Fn(&str) -> String) -> Option<String> {
    let mut slug = String::new();
    for c in fold(text).chars() {
        if keep(c) {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(longest);
    let slug = slug.trim_matches(['-', '.']).to_string();
    (!slug.is_empty()).then_some(slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (text, full) in [
            ("alpine", "docker.io/library/alpine"),
            ("eclipse-temurin:17-jre", "docker.io/library/eclipse-temurin:17-jre"),
            ("team/app:1", "docker.io/team/app:1"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/a/b:1.2", "localhost:5000/a/b:1.2"),
            ("[::1]:5000/a", "[::1]:5000/a"),
            ("registry.example.test/a__b/c-d.e:v1", "registry.example.test/a__b/c-d.e:v1"),
        ] {
            assert_eq!(text.parse::<ImageReference>().unwrap().to_string(), full);
        }
    }

    #[test]
    fn digests_win_over_tags() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let reference: ImageReference = format!("127.0.0.1:5000/app:v1@{digest}").parse().unwrap();
        assert_eq!(reference.manifest_reference(), digest);
        assert_eq!(reference.tag.as_deref(), Some("v1"));
    }

    #[test]
    fn illegal_names_say_why() {
        for text in [
            "",
            "UPPER/case",
            "a//b",
            "a:",
            "a:-x",
            "a@sha256:1",
            "host.test:port/a",
            "a/../b",
            "a b",
            "-a/b",
            "a/b_",
            "a.test/",
            "a___b",
            "a:b:c/d",
        ] {
            assert!(text.parse::<ImageReference>().is_err(), "{text:?} was taken");
        }
        let error = "a/B".parse::<ImageReference>().unwrap_err();
        assert!(error.message.contains("lower-case"), "{}", error.message);
    }

    #[test]
    fn any_branch_makes_a_legal_tag() {
        assert_eq!(tag_slug("feature/Ünïcode#1"), "feature-n-code-1");
        assert_eq!(tag_slug("日本語"), "latest");
        assert_eq!(tag_slug("..v1"), "v1");
        let long = tag_slug(&"x/".repeat(300));
        assert!(is_tag(&long) && long.len() <= 128);
    }

    #[test]
    fn dns_labels() {
        assert_eq!(dns_label("Order_Service").as_deref(), Some("order-service"));
        assert_eq!(dns_label("com.Example").as_deref(), Some("com-example"));
        assert_eq!(dns_label("Ü!"), None);
        assert_eq!(dns_label(&"a".repeat(80)).map(|l| l.len()), Some(63));
    }
}

//! Rules that the text of a value has to keep, by the `x-kind` of its key.

use super::{coerce::Wrong, host};
use crate::domain::{image_source::ImageSource, reference, reference::ImageReference, units};

type Checked = Result<String, Wrong>;
type Rule = (&'static str, fn(&str) -> Checked);

/// Every rule by its name in the keys' `x-kind`; a test checks that there are no others.
const RULES: &[Rule] = &[
    ("", |text| Ok(text.to_string())),
    ("arguments", |text| if text.contains('\0') { wrong("it holds a zero byte", "remove it") } else { Ok(text.to_string()) }),
    ("duration", duration),
    ("quantity", quantity),
    ("int-or-percent", int_or_percent),
    ("probe", probe),
    ("dns-label", dns_label),
    ("dns-name", dns_name),
    ("url", url),
    ("registry", registry),
    ("repository", repository),
    ("image", image),
    ("image-or-layout", image_or_layout),
    ("tag", tag),
    ("tags", tag),
    ("user", user),
    ("goals", goal),
    ("variables", build_variable),
    ("platforms", platform),
    ("inside", inside),
    ("files", inside),
    ("absolute", absolute),
    ("kubeconfig", kubeconfig),
    ("file", file),
    ("secret-keys", secret_key),
    ("label-map", label_value),
    ("annotation-map", |text| Ok(text.to_string())),
    ("metric-map", quantity),
    ("qualified", qualified),
    ("archive", archive),
    ("environment", |text| Ok(text.to_string())),
];

/// Checks a text by its rule; gives it back in the form that is kept.
pub fn check(rule: &str, text: &str) -> Checked {
    match RULES.iter().find(|(name, _)| *name == rule) {
        Some((_, check)) => check(text),
        None => wrong(&format!("its kind {rule} is not known"), "report this as a bug"),
    }
}

/// Checks the name of a map's entry.
pub fn check_name(rule: &str, name: &str) -> Result<(), Wrong> {
    let good = match rule {
        "environment" | "secret-keys" => is_variable(name),
        "label-map" | "annotation-map" => is_qualified(name),
        _ => !name.is_empty(),
    };
    match (good, rule) {
        (true, _) => Ok(()),
        (false, "environment" | "secret-keys") => {
            wrong(&format!("{name:?} cannot be the name of a variable"), "use letters, digits, _ . and -, not starting with a digit")
                .map(|_| ())
        }
        (false, "label-map" | "annotation-map") => wrong(
            &format!("{name:?} is not a name that Kubernetes takes"),
            "write NAME or PREFIX/NAME, NAME of at most 63 letters, digits, - _ and .",
        )
        .map(|_| ()),
        _ => wrong("an entry has no name", "give it one").map(|_| ()),
    }
}

fn wrong(what: &str, fix: &str) -> Checked {
    Err(Wrong::new(what, fix))
}

fn duration(text: &str) -> Checked {
    match units::parse_duration(text) {
        Some(_) => Ok(text.to_string()),
        None => wrong("this is not a duration", "write it like 90s, 10m or 1h30m"),
    }
}

fn quantity(text: &str) -> Checked {
    match units::parse_quantity(text) {
        Some(number) if number > 0.0 => Ok(text.to_string()),
        Some(_) => wrong("this is nothing", "write more than 0, or remove the key"),
        None => wrong("this is not a quantity", "write it like 250m, 2, 768Mi or 1Gi"),
    }
}

fn int_or_percent(text: &str) -> Checked {
    let digits = text.strip_suffix('%').unwrap_or(text);
    match digits.parse::<u32>() {
        Ok(number) if number <= 100 || !text.ends_with('%') => Ok(text.to_string()),
        _ => wrong("this is neither a number nor a percentage", "write it like 1 or 25%"),
    }
}

fn probe(text: &str) -> Checked {
    match text {
        "off" | "tcp" => Ok(text.to_string()),
        "false" => Ok("off".to_string()),
        path if path.starts_with('/') && !path.contains(char::is_whitespace) => Ok(path.to_string()),
        _ => wrong("this is no probe", "write a path that starts with /, tcp, off, or a whole probe as Kubernetes has it"),
    }
}

/// RFC 1123, as Kubernetes wants names of Services.
fn dns_label(text: &str) -> Checked {
    if reference::dns_label(text).as_deref() == Some(text) {
        return Ok(text.to_string());
    }
    let fix = match reference::dns_label(text) {
        Some(label) => format!("write it like {label}"),
        None => "use a name such as order-service".to_string(),
    };
    wrong("a name has at most 63 lower-case letters, digits and -, and starts and ends with a letter or digit", &fix)
}

/// RFC 1123 subdomain: labels with dots between them.
fn dns_name(text: &str) -> Checked {
    match text.len() <= 253 && text.split('.').all(|label| dns_label(label).is_ok()) {
        true => Ok(text.to_string()),
        false => wrong("this is not a name that Kubernetes takes", "use lower-case letters, digits, - and ."),
    }
}

/// The part of an address that holds a user name with its password.
pub fn has_credentials(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

fn url(text: &str) -> Checked {
    if has_credentials(text) {
        return wrong("the address holds a password", "take it out, and give it by the key of its own");
    }
    match text.contains(char::is_whitespace) || text.starts_with('-') {
        true => wrong("this is not an address", "write it like https://host.example.test/path"),
        false => Ok(text.to_string()),
    }
}

fn registry(text: &str) -> Checked {
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

fn repository(text: &str) -> Checked {
    match text.parse::<ImageReference>() {
        Ok(reference) if reference.tag.is_none() && reference.digest.is_none() => Ok(text.to_string()),
        Ok(_) => wrong("a repository has no tag", "give the tag by image.tag"),
        Err(problem) => wrong(&problem.message, "use lower-case letters, digits, - _ . and /"),
    }
}

fn image(text: &str) -> Checked {
    match text.parse::<ImageReference>() {
        Ok(_) => Ok(text.to_string()),
        Err(problem) => wrong(&problem.message, "write it like registry.example.test/team/app:1.0"),
    }
}

fn image_or_layout(text: &str) -> Checked {
    match text.parse::<ImageSource>() {
        Ok(_) => Ok(text.to_string()),
        Err(problem) => wrong(&problem.message, "write it like registry.example.test/team/app:1.0, or oci:path/to/layout"),
    }
}

fn tag(text: &str) -> Checked {
    match reference::is_tag(text) {
        true => Ok(text.to_string()),
        false => {
            wrong("a tag has letters, digits, _ . and -, and at most 128 of them", &format!("write it like {}", reference::tag_slug(text)))
        }
    }
}

/// `USER` of a Dockerfile: name or number, with an optional group.
fn user(text: &str) -> Checked {
    let name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let parts: Vec<&str> = text.split(':').collect();
    match parts.len() <= 2 && parts.iter().all(|part| name(part)) && !text.starts_with('-') {
        true => Ok(text.to_string()),
        false => wrong("this is not a user", "write it like 10001, app or 10001:10001"),
    }
}

fn goal(text: &str) -> Checked {
    match text.contains(char::is_whitespace) || text.starts_with('-') {
        true => wrong("a goal has no spaces and starts with no -", "separate goals by commas; arguments belong to build.args"),
        false => Ok(text.to_string()),
    }
}

fn build_variable(text: &str) -> Checked {
    if !is_variable(text) {
        return wrong("this is not the name of one variable", "write each name out, such as SONAR_TOKEN; patterns are not understood");
    }
    match host::is_credential(text) {
        true => wrong("Maven never sees this variable: it may hold a credential of registry, cluster or forge", "remove it from build.env"),
        false => Ok(text.to_string()),
    }
}

fn platform(text: &str) -> Checked {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let parts: Vec<&str> = text.split('/').collect();
    match matches!(parts.len(), 2 | 3) && parts.iter().all(|p| part(p)) {
        true => Ok(text.to_string()),
        false => wrong("this is not a platform", "write it like linux/amd64 or linux/arm64"),
    }
}

/// A path in the checkout: nothing outside of it may be named.
fn inside(text: &str) -> Checked {
    let path = std::path::Path::new(text);
    let leaves = path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir);
    match leaves || text.contains('\0') {
        true => wrong("the path leaves the checkout", "name a path inside the checkout, relative to its root"),
        false => Ok(text.to_string()),
    }
}

/// Names of files, as in KUBECONFIG; what is meant to be a file but holds its content is full of secrets, and never shown.
pub fn kubeconfig(text: &str) -> Checked {
    match text.contains('\n') || text.starts_with('{') || text.contains("apiVersion") {
        true => wrong(
            "it holds a kubeconfig, where the name of a file is wanted",
            "let the CI write it to a file (GitLab: a variable of type File), or set cluster.server, cluster.token and cluster.ca",
        ),
        false => Ok(text.to_string()),
    }
}

fn file(text: &str) -> Checked {
    match text.contains('\n') || text.contains("-----BEGIN") || text.contains('\0') {
        true => wrong(
            "it holds the content of a file, where its name is wanted",
            "let the CI write it to a file (GitLab: a variable of type File)",
        ),
        false => Ok(text.to_string()),
    }
}

fn absolute(text: &str) -> Checked {
    match text.starts_with('/') && !text.contains(':') && !text.split('/').any(|part| part == "..") {
        true => Ok(text.to_string()),
        false => wrong("this is not an absolute path of the container", "write it like /config"),
    }
}

fn secret_key(text: &str) -> Checked {
    match text.split_once('/') {
        Some((secret, key))
            if dns_name(secret).is_ok() && !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) =>
        {
            Ok(text.to_string())
        }
        _ => wrong("this does not name a key of a Secret", "write SECRET/KEY; the value itself stays in the cluster"),
    }
}

/// The name of a finalizer.
fn qualified(text: &str) -> Checked {
    match is_qualified(text) {
        true => Ok(text.to_string()),
        false => wrong("this is not a name that Kubernetes takes", "write it as it stands in the list: PREFIX/NAME"),
    }
}

fn archive(text: &str) -> Checked {
    match [".tar.gz", ".tgz", ".tar.zst"].iter().any(|ending| text.ends_with(ending)) {
        true => file(text),
        false => wrong("the archive's form is not known", "let its name end in .tar.gz or .tar.zst"),
    }
}

fn label_value(text: &str) -> Checked {
    match text.is_empty() || is_label(text) {
        true => Ok(text.to_string()),
        false => wrong("a label's value has at most 63 letters, digits, - _ and .", "shorten it, or use kubernetes.annotations"),
    }
}

fn is_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63 && text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

/// Kubernetes' qualified names: `name` or `prefix.example/name`.
fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => dns_name(prefix).is_ok() && is_label(name),
        None => is_label(text),
    }
}

fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '.' | '-'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(rule: &str, texts: &[&str]) {
        for text in texts {
            assert!(check(rule, text).is_ok(), "{rule} refuses {text:?}");
        }
    }

    fn refuses(rule: &str, texts: &[&str]) {
        for text in texts {
            assert!(check(rule, text).is_err(), "{rule} takes {text:?}");
        }
    }

    #[test]
    fn every_kind_of_a_key_has_a_rule() {
        for leaf in super::super::shape::root().leaves() {
            assert!(RULES.iter().any(|(name, _)| *name == leaf.rule), "{} is of kind {:?}", leaf.key(), leaf.rule);
        }
    }

    #[test]
    fn names() {
        takes("dns-label", &["a", "order-service", "a1"]);
        refuses("dns-label", &["Order", "a_b", "-a", "a-", "a.b", &"a".repeat(64)]);
        takes("dns-name", &["a.b", "robot"]);
        refuses("dns-name", &["a..b", "A"]);
        assert_eq!(dns_label("Order_Service").unwrap_err().fix, "write it like order-service");
    }

    #[test]
    fn registries() {
        takes("registry", &["localhost:5000", "registry.example.test/team", "registry.example.test", "[::1]:5000"]);
        refuses(
            "registry",
            &["http://localhost:5000", "user:secret@registry.example.test", "team", "registry.example.test/app:1", "a.test/Team"],
        );
        assert_eq!(check("registry", "https://registry.example.test/").unwrap(), "registry.example.test");
    }

    #[test]
    fn images() {
        takes("repository", &["registry.example.test/a/b", "team/app"]);
        refuses("repository", &["registry.example.test/a:1", "UPPER/case"]);
        takes("tag", &["1.2.3", "v1_a"]);
        refuses("tag", &["a b", "-x", "feature/x"]);
        takes("platforms", &["linux/amd64", "linux/arm/v7"]);
        refuses("platforms", &["amd64", "linux/", "Linux/amd64"]);
    }

    #[test]
    fn paths() {
        takes("inside", &["config/", "docker/Dockerfile", "."]);
        refuses("inside", &["/etc/passwd", "../x", "a/../../x"]);
        takes("absolute", &["/config"]);
        refuses("absolute", &["config", "/a/../b"]);
    }

    #[test]
    fn numbers_of_pods() {
        takes("int-or-percent", &["0", "1", "25%", "100%"]);
        refuses("int-or-percent", &["-1", "101%", "1.5", "%", "many"]);
        takes("quantity", &["250m", "1Gi", "2", "0.5"]);
        refuses("quantity", &["0", "-1", "1 Gi", "lots"]);
    }

    #[test]
    fn addresses_hold_no_password() {
        takes("url", &["https://host.test/x", "git@host.test:team/app.git", "ssh://git@host.test/x", "https://host.test/a:b@c"]);
        refuses("url", &["https://user:pw@host.test", "a b", "--upload-pack=x"]);
    }

    #[test]
    fn credentials_are_no_build_variables() {
        takes("variables", &["SONAR_TOKEN", "DOCKER_HOST"]);
        refuses("variables", &["*", "SONAR_*", "SHIPWAY_REGISTRY_PASSWORD", "KUBECONFIG", "CI_JOB_TOKEN", "PLUGIN_PASSWORD", "A=B"]);
    }

    #[test]
    fn names_of_metrics_finalizers_and_archives() {
        takes("metric-map", &["100", "250m"]);
        refuses("metric-map", &["many", "0"]);
        takes("qualified", &["mesh.example.test/drain", "orphan"]);
        refuses("qualified", &["a b", "/x"]);
        takes("archive", &["logs.tar.gz", "out/logs.tar.zst", "x.tgz"]);
        refuses("archive", &["logs.zip", "logs"]);
    }

    #[test]
    fn keys_of_secrets() {
        takes("secret-keys", &["db/password"]);
        refuses("secret-keys", &["db", "db/", "/password", "DB/password"]);
        assert!(check_name("environment", "JAVA_OPTS").is_ok());
        assert!(check_name("environment", "1A").is_err());
        assert!(check_name("label-map", "example.test/team").is_ok());
        assert!(check_name("label-map", "/team").is_err());
    }
}

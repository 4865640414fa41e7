//! Failures between Maven and a repository: what could not be fetched, what could not be deployed, and why.

use super::{
    Repository,
    failure::{Header, Scene, first_sentence},
};
use crate::domain::problem::{Code, EvidenceKind, Problem};

/// A failed deploy.
pub(super) fn deploy(scene: &Scene<'_>, header: &Header, text: &str) -> Problem {
    let repository = describe(scene.repository);
    let release = scene.version.is_some_and(|version| !version.ends_with("-SNAPSHOT"));
    let status = status(text);
    let lower = text.to_ascii_lowercase();
    let exists = ["already exist", "does not allow updating", "cannot be updated", "overwrite", "redeploy"]
        .iter()
        .any(|words| lower.contains(words));
    let problem = match status {
        Some(409) | Some(400 | 403 | 422) if release && (exists || status != Some(403)) && !lower.contains("version policy") => {
            let version = scene.version.unwrap_or_default();
            Problem::new(Code::VersionExists, format!("deploy failed: {} {version} is in the Maven repository already", header.module))
        }
        Some(401 | 403 | 407) => denied(scene, status.unwrap_or_default(), "deploy"),
        Some(404) => {
            Problem::new(Code::DeployFailed, format!("deploy failed: there is no Maven repository at {repository}")).hint("check maven.url")
        }
        Some(405) => Problem::new(Code::DeployFailed, format!("deploy failed: {repository} takes no uploads"))
            .hint("set maven.url to a hosted repository, not to a group or proxy of one"),
        Some(400) => Problem::new(Code::DeployFailed, format!("deploy failed: {}", first_sentence(&header.message)))
            .hint("check that maven.url takes this kind of version (releases or snapshots); maven.snapshots_url names one for snapshots"),
        _ if is_down(text, status) => down(scene, "deploy"),
        _ if text.contains("repository element was not specified") => {
            Problem::new(Code::DeployFailed, "deploy failed: no Maven repository is named")
                .hint("set maven.url, or add <distributionManagement> to pom.xml")
        }
        _ => Problem::new(Code::DeployFailed, format!("deploy failed: {}", first_sentence(&header.message))),
    };
    problem.evidence(EvidenceKind::Log, scene.log, text)
}

/// What could not be resolved (dependencies, plugins, parents); None when that was not the reason.
pub(super) fn resolution(scene: &Scene<'_>, header: Option<&Header>, text: &str) -> Option<Problem> {
    const WORDS: &[&str] = &[
        "Could not resolve dependencies",
        "could not be resolved",
        "Could not find artifact",
        "Could not transfer",
        "Non-resolvable",
        "Unresolveable",
        "Blocked mirror",
        "Failed to read artifact descriptor",
    ];
    if !WORDS.iter().any(|words| text.contains(words)) {
        return None;
    }
    let status = status(text);
    let problem = if text.contains("Blocked mirror") {
        Problem::new(Code::DependencyUnresolved, format!("dependencies failed: {}", cause(text)))
            .hint("Maven refuses plain http: use https in the pom's repositories, or set maven.mirror")
    } else if text.contains("Could not transfer") && matches!(status, Some(401 | 403 | 407)) {
        denied(scene, status.unwrap_or_default(), "dependencies")
    } else if is_down(text, status) {
        down(scene, "dependencies")
    } else {
        let place = header.map(|header| format!(" of {}", header.module)).unwrap_or_default();
        let problem = Problem::new(Code::DependencyUnresolved, format!("dependencies{place} failed: {}", cause(text)));
        match text.contains("cached in the local repository") {
            true => problem.hint("an earlier failure is remembered: add -U to build.args to ask again"),
            false => problem,
        }
    };
    Some(problem.evidence(EvidenceKind::Log, scene.log, text))
}

fn denied(scene: &Scene<'_>, status: u16, what: &str) -> Problem {
    let who = match scene.repository.and_then(|repository| repository.credentials.as_ref()) {
        Some(credentials) => format!("user {}", credentials.username),
        None => "a request without credentials".to_string(),
    };
    // The repository that answered may be another than the configured one.
    let place = quoted_url(&scene.watch.errors.join("\n")).unwrap_or_else(|| describe(scene.repository));
    let problem = Problem::new(Code::DeployDenied, format!("{what} failed: {place} refused {who} (status {status})"));
    match (scene.repository.is_some_and(|repository| repository.credentials.is_some()), status) {
        (false, _) => problem.hint("set maven.username and maven.password"),
        (true, 403) => problem.hint("give that user the right to deploy there, or check maven.username; some repositories also answer so when a release is there already"),
        (true, _) => problem,
    }
}

fn down(scene: &Scene<'_>, what: &str) -> Problem {
    let text = scene.watch.errors.join("\n");
    Problem::new(Code::MavenRepositoryDown, format!("{what} failed: {}", cause(&text)))
}

/// The sentence that says what went wrong, out of a header that wraps it in three others.
fn cause(text: &str) -> String {
    const STARTS: &[&str] = &[
        "Could not transfer",
        "Could not find artifact",
        "Blocked mirror",
        "Non-resolvable",
        "Unresolveable",
        "Failure to find",
        "The following artifacts",
    ];
    let found = STARTS.iter().find_map(|start| text.find(start));
    first_sentence(found.map_or(text, |place| &text[place..]))
}

fn is_down(text: &str, status: Option<u16>) -> bool {
    const WORDS: &[&str] = &[
        "Connection refused",
        "Connect to ",
        "UnknownHost",
        "Unknown host",
        "Name or service not known",
        "Temporary failure in name resolution",
        "timed out",
        "Connection reset",
        "No route to host",
        "Network is unreachable",
        "Premature end",
        "Remote host terminated",
    ];
    matches!(status, Some(408 | 429 | 500..=599)) || WORDS.iter().any(|words| text.contains(words))
}

/// The HTTP status in Maven's words: `status: 409 Conflict`, `status code: 401`, `Return code is: 400`.
fn status(text: &str) -> Option<u16> {
    ["status: ", "status code: ", "Return code is: "].iter().find_map(|words| {
        let digits: String = text.split(words).nth(1)?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok().filter(|status| (100..600).contains(status))
    })
}

/// The URL in `from/to ID (URL)`.
fn quoted_url(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("from/to ")?;
    let (url, _) = rest.split_once('(')?.1.split_once(')')?;
    url.starts_with("http").then(|| url.to_string())
}

fn describe(repository: Option<&Repository>) -> String {
    repository.map_or_else(|| "the Maven repository".to_string(), |repository| repository.url.clone())
}

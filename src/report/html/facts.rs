//! The summary of the page.

use super::super::{
    foreign,
    model::{Commit, Report},
    paint::seconds,
};

/// One line of the summary.
pub struct Fact {
    pub label: &'static str,
    pub value: String,
    /// Set in a fixed-width face.
    pub code: bool,
    /// Takes a line of its own.
    pub wide: bool,
    /// Where the value leads.
    pub href: Option<String>,
}

/// A link in the banner.
pub struct Link {
    pub label: &'static str,
    pub href: String,
}

/// The long ones first, a line each; the short ones stand in two columns.
pub fn facts(report: &Report) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(url) = &report.url {
        facts.push(Fact { href: outside_address(url), ..code("URL", url) });
    }
    if let Some(image) = &report.image {
        facts.push(code("Image", &image.reference));
        facts.extend(image.digest.as_ref().map(|digest| code("Digest", digest.as_str())));
        let before = report.before.as_ref().and_then(|before| before.image.as_deref());
        facts.extend(before.filter(|before| !image.is(before)).map(|before| code("Image before", before)));
        facts.extend(image.base.as_ref().map(|base| code("Base", base)));
        facts.extend(image.layout.as_ref().map(|layout| code("OCI layout", layout)));
    }
    if let Some(commit) = &report.commit {
        facts.push(Fact { wide: true, ..text("Commit", commit_words(commit)) });
    }
    if let Some(release) = &report.release {
        let previous = release.previous.map(|previous| format!(", before it {previous}")).unwrap_or_default();
        facts.push(text("Revision", format!("{}{previous}", release.revision)));
        facts.push(text("Runs as", format!("{} × {}/{}", release.replicas, release.namespace, release.name)));
    }
    facts.extend(report.line.as_ref().map(|line| text("Product line", foreign::line(line, 80))));
    if let Some(ci) = &report.ci {
        let pipeline = ci.pipeline.map(|pipeline| format!(", pipeline {pipeline}")).unwrap_or_default();
        facts.push(text("CI", foreign::line(&ci.kind, 40) + &pipeline));
    }
    facts.push(text("Took", seconds(report.seconds)));
    facts
}

pub fn links(report: &Report) -> Vec<Link> {
    let job = report.ci.as_ref().and_then(|ci| ci.job_url.as_deref()).and_then(web_address);
    let url = report.url.as_deref().and_then(outside_address);
    let job = job.map(|href| Link { label: "the job", href });
    job.into_iter().chain(url.map(|href| Link { label: "the application", href })).collect()
}

/// The address when it is one that a browser may follow: http or https, without credentials.
pub fn web_address(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    plain.then(|| url.to_string())
}

/// As [`web_address`], and no name that only the cluster itself knows.
pub fn outside_address(text: &str) -> Option<String> {
    let host = url::Url::parse(text).ok()?.host_str()?.to_string();
    if host.ends_with(".svc") || host.ends_with(".svc.cluster.local") { None } else { web_address(text) }
}

fn text(label: &'static str, value: String) -> Fact {
    Fact { label, value, code: false, wide: false, href: None }
}

fn code(label: &'static str, value: &str) -> Fact {
    Fact { label, value: foreign::line(value, 300), code: true, wide: true, href: None }
}

fn commit_words(commit: &Commit) -> String {
    let sha = commit.sha.get(..12).unwrap_or(&commit.sha).to_string();
    let rest = [&commit.reference, &commit.author, &commit.title];
    let rest = rest.into_iter().flatten().map(|part| foreign::line(part, 120));
    std::iter::once(foreign::line(&sha, 40)).chain(rest).collect::<Vec<_>>().join(" · ")
}

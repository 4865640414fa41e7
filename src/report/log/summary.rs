//! The last lines of a run.

use std::path::Path;

use super::{
    super::{
        foreign,
        model::{Image, Outcome, Release, Report},
        paint::{Mark, Paint, count, seconds},
    },
    Style,
};
use crate::domain::{step::StepState, units::format_bytes};

/// Says what was reached, what was not done and which setting would do it, and where the report is.
pub fn block(report: &Report, dir: Option<&Path>, style: &Style) -> String {
    let paint = Paint::new(style);
    let mut lines = vec![String::new(), headline(report, paint)];
    let mut fact = |label: &str, text: String| lines.push(format!("  {label:<8}  {text}"));
    if let Some(image) = &report.image {
        image_facts(image, &mut fact);
    }
    if let Some(release) = &report.release {
        fact("revision", revision(release));
    }
    if let Some(url) = &report.url {
        fact("url", foreign::line(url, 200));
    }
    fact("took", times(report));
    if let Some(dir) = dir {
        fact("report", dir.join("report.html").display().to_string());
    }
    for not_done in &report.not_done {
        let instead = not_done.instead.as_ref().map(|instead| format!("; {instead}")).unwrap_or_default();
        lines.push(format!("  {} {}", paint.mark(Mark::Skipped), foreign::line(&format!("{}{instead}", not_done.what), 300)));
        lines.push(format!("    {} set {}", paint.mark(Mark::Next), not_done.setting));
    }
    if !report.warnings.is_empty() {
        lines.push(format!("  {} {}", paint.mark(Mark::Warning), count(report.warnings.len(), "warning")));
    }
    lines.join("\n") + "\n"
}

fn headline(report: &Report, paint: Paint) -> String {
    let app = foreign::line(report.app.as_deref().unwrap_or("shipway"), 80);
    let state = headline_words(report);
    match report.result() {
        Outcome::Succeeded => format!("{} {}", paint.mark(Mark::Good), paint.good(&format!("{app} {state}"))),
        Outcome::RolledBack => format!("{} {}", paint.mark(Mark::Back), paint.bad(&format!("{app} {state}"))),
        Outcome::Superseded => format!("{} {}", paint.mark(Mark::Skipped), paint.warning(&format!("{app} {state}"))),
        Outcome::Failed | Outcome::Cancelled => format!("{} {}", paint.mark(Mark::Bad), paint.bad(&format!("{app} {state}"))),
    }
}

/// What became of the application, in a phrase; also the headline of page and comment.
pub fn headline_words(report: &Report) -> String {
    let unrestored = report.problem().is_some_and(|problem| problem.unrestored);
    let restored = report.restored.map(|revision| format!("revision {revision} runs again"));
    match (report.result(), &report.release) {
        (Outcome::Succeeded, Some(release)) => format!("is up: revision {} in {}", release.revision, release.namespace),
        (Outcome::Succeeded, None) if !report.not_done.is_empty() => "is built, but not published".to_string(),
        (Outcome::Succeeded, None) if report.image.as_ref().is_some_and(|image| image.layout.is_none()) => "has its image".to_string(),
        (Outcome::Succeeded, None) if report.command == "remove" => "is not on the cluster any longer".to_string(),
        (Outcome::Succeeded, None) => "succeeded".to_string(),
        (Outcome::RolledBack, _) => format!("was rolled back: {}", restored.unwrap_or("the previous revision runs again".to_string())),
        (Outcome::Superseded, _) => "was superseded: a newer pipeline came before it".to_string(),
        (Outcome::Cancelled, _) if unrestored => "was cancelled, and the cluster is left changed".to_string(),
        (Outcome::Cancelled, _) if restored.is_some() => format!("was cancelled; {}", restored.unwrap_or_default()),
        (Outcome::Cancelled, _) => "was cancelled; nothing is left changed".to_string(),
        (Outcome::Failed, _) if unrestored => "failed, and the cluster is left changed".to_string(),
        (Outcome::Failed, _) => "failed".to_string(),
    }
}

fn image_facts(image: &Image, fact: &mut dyn FnMut(&str, String)) {
    fact("image", foreign::line(&image.reference, 300));
    if let Some(digest) = &image.digest {
        fact("digest", digest.to_string());
    }
    if image.layout.is_some() {
        fact("size", format_bytes(image.size));
    } else if !image.layers.is_empty() {
        let sent: Vec<_> = image.layers.iter().filter(|layer| layer.transferred).collect();
        let bytes: u64 = sent.iter().map(|layer| layer.size).sum();
        let of =
            format!("{} of {} in {} of {}", format_bytes(bytes), format_bytes(image.size), sent.len(), count(image.layers.len(), "layer"));
        fact("sent", of);
    }
}

fn revision(release: &Release) -> String {
    let previous = release.previous.map(|previous| format!(" (was {previous})")).unwrap_or_default();
    let restores = release.restores.map(|restores| format!(", which puts back {restores},")).unwrap_or_default();
    format!(
        "{}{previous}{restores} of {}/{}, {}",
        release.revision,
        release.namespace,
        release.name,
        count(release.replicas.max(0) as usize, "replica")
    )
}

fn times(report: &Report) -> String {
    let steps = report.steps.iter().filter(|step| step.state != StepState::Skipped);
    let parts: Vec<String> = steps.map(|step| format!("{} {}", step.name.name(), seconds(step.seconds))).collect();
    if parts.is_empty() { seconds(report.seconds) } else { format!("{} ({})", seconds(report.seconds), parts.join(", ")) }
}

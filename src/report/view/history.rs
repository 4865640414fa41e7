//! `history`: the recorded releases, newest first.

use super::{
    super::{
        foreign,
        log::Style,
        paint::{Mark, Paint, seconds},
    },
    table,
};
use crate::domain::{
    release::Outcome,
    status::{History, RevisionStatus},
};

/// Renders the table.
pub fn history(history: &History, style: &Style) -> String {
    let paint = Paint::new(style);
    let object = foreign::line(&format!("{}/{}", history.namespace, history.name), 160);
    let heads = ["", "revision", "when", "took", "result", "version", "commit", "image", "config", "who", "job"];
    let rows = history.revisions.iter().map(|release| row(release, history.live == Some(release.revision), paint));
    let all: Vec<Vec<String>> = std::iter::once(heads.map(String::from).to_vec()).chain(rows).collect();
    let mut lines = table::lines(&all).into_iter();
    let head = lines.next().map(|head| paint.faint(&head)).unwrap_or_default();
    let lines: String = lines.map(|line| format!("  {line}\n")).collect();
    paint.plain(format!("{}\n  {head}\n{lines}", paint.strong(&object)))
}

fn row(release: &RevisionStatus, live: bool, paint: Paint) -> Vec<String> {
    let mark = if live { paint.mark(Mark::Next) } else { String::new() };
    let commit = release.commit.as_ref().map(|commit| commit.get(..12).unwrap_or(commit).to_string()).unwrap_or_default();
    let digest = release.image.rsplit_once("@sha256:").map(|(_, hex)| hex.get(..12).unwrap_or(hex).to_string()).unwrap_or_default();
    let hash = release.config.as_ref().map(|hash| hash.get(..10).unwrap_or(hash)).unwrap_or_default();
    let config = release.config_version.map_or(hash.to_string(), |version| format!("{hash} (version {version})"));
    let cells = [
        release.revision.to_string(),
        when(&release.started),
        release.seconds.map(seconds).unwrap_or_default(),
        result(release),
        release.version.clone(),
        commit,
        digest,
        config,
        release.author.clone().unwrap_or_default(),
        release.job_url.clone().unwrap_or_default(),
    ];
    std::iter::once(mark).chain(cells.iter().map(|cell| foreign::line(cell, 120))).collect()
}

/// How a release ended, and what made it when that was no publish.
pub(super) fn result(release: &RevisionStatus) -> String {
    let cause = match (release.cause, release.restores) {
        (_, Some(restored)) => format!("puts back {restored}"),
        (crate::domain::release::Cause::Publish, None) => String::new(),
        (cause, None) => cause.words().to_string(),
    };
    let outcome = match &release.problem {
        Some(problem) if release.outcome != Outcome::Succeeded => format!("{}: {problem}", release.outcome.words()),
        _ => release.outcome.words().to_string(),
    };
    if cause.is_empty() { outcome } else { format!("{outcome}, {cause}") }
}

/// To the minute, UTC.
pub(super) fn when(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

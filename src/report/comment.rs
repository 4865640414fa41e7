//! `comment.md`: the comment on a merge request. Foreign text stands in code spans and fences alone, so that none of it can act: no
//! quick action, no mention, no link, no reference, no markup.

use super::{
    foreign,
    html::web_address,
    log::headline_words,
    markdown::{destination, fence, longest_run, prose, span},
    model::{DifferenceRecord, EvidenceRecord, Outcome, ProblemRecord, Report, SoFar, Stage},
    paint::{count, seconds},
};
use crate::domain::{problem::EvidenceKind, step::StepState, sticky, units::format_bytes};

/// What every forge takes: GitHub and Gitea 65,536 characters, Bitbucket 32,768.
pub const LIMIT: usize = 32_000;
/// The least that is worth showing of a piece of evidence.
const SHORTEST_PIECE: usize = 200;
/// Columns of a fence.
const WIDTH: usize = 110;

/// Most of the comment that differences of objects take, bytes.
const DIFFERENCES: usize = 6_000;

/// Renders the comment in at most `limit` bytes (at least 6,000): the middle of logs goes first, then whole pieces of evidence.
pub fn render(report: &Report, limit: usize) -> String {
    let mut comment =
        format!("{}### {} {} {}\n\n", hidden(report), sign(report.result()), app(report), prose(&headline_words(report), 200));
    comment += &table(report);
    if let Some(problem) = report.problem() {
        comment += &cause(problem);
    }
    comment += &notes(report);
    let end = last_line(report);
    let room = limit.saturating_sub(comment.len() + end.len());
    // the cause counts more than what was changed
    let share = if report.problem().is_some() { room / 4 } else { room };
    comment += &differences(&report.differences, share.min(DIFFERENCES));
    if let Some(problem) = report.problem() {
        comment += &evidence(problem, limit.saturating_sub(comment.len() + end.len()));
    }
    comment + &end
}

/// The comment while the run goes on.
pub fn live(so_far: &SoFar, stage: Stage, limit: usize) -> String {
    let report = &so_far.0;
    let sign = match stage {
        Stage::Started => "⏳",
        Stage::Rolling => "🔄",
        Stage::RollingBack => "↩️",
    };
    let words = stage_words(stage, &report.command);
    let mut comment = format!("{}### {sign} {} {words}\n\n", hidden(report), app(report));
    comment += &table(report);
    comment += &notes(report);
    let end = last_line(report);
    let room = limit.saturating_sub(comment.len() + end.len());
    comment += &differences(&report.differences, room.min(DIFFERENCES));
    comment + &end
}

/// In a phrase; also the description of the commit's status.
fn stage_words(stage: Stage, command: &str) -> &'static str {
    match (stage, command) {
        (Stage::Started, "remove") => "is being removed",
        (Stage::Started, "publish") => "is being published",
        (Stage::Started, "rollback") | (Stage::RollingBack, _) => "is being rolled back",
        (Stage::Started, _) => "is being built",
        (Stage::Rolling, "rollback") => "is being rolled back, pod by pod",
        (Stage::Rolling, _) => "is being rolled out, pod by pod",
    }
}

/// What happens, in a phrase.
pub fn live_words(so_far: &SoFar, stage: Stage) -> &'static str {
    stage_words(stage, &so_far.0.command)
}

/// The hidden first line of a run's comment while it goes on: the same as at its end.
pub fn live_marker(so_far: &SoFar) -> String {
    marker(&so_far.0)
}

/// What nobody sees of a comment: its marker, and the pipeline when an older one may not speak after a newer one. What puts an older
/// release back, or takes all away, is the news whichever pipeline did it.
fn hidden(report: &Report) -> String {
    let ci = report.ci.as_ref().filter(|_| !matches!(report.command.as_str(), "rollback" | "remove"));
    let pipeline = ci.and_then(|ci| Some(sticky::line(&plain(&ci.kind), ci.pipeline?) + "\n")).unwrap_or_default();
    format!("{}\n{pipeline}", marker(report))
}

/// The hidden first line by which the comment of this application and environment is found again. A job that does not publish has a
/// comment of its own, as another job of the same pipeline may publish.
pub fn marker(report: &Report) -> String {
    let names: String = report.app.iter().chain(&report.environment).map(|name| plain(name) + " ").collect();
    let job = match report.command.as_str() {
        "run" | "publish" | "rollback" | "remove" => String::new(),
        other => format!("({}) ", plain(other)),
    };
    format!("<!-- shipway {names}{job}-->")
}

/// A name that cannot end what hides it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/') { c } else { '_' }).take(100).collect()
}

fn sign(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "✅",
        Outcome::Failed => "❌",
        Outcome::RolledBack => "↩️",
        Outcome::Superseded => "⏭️",
        Outcome::Cancelled => "⏹️",
    }
}

fn app(report: &Report) -> String {
    let app = span(report.app.as_deref().unwrap_or("shipway"), 80);
    match &report.environment {
        Some(environment) => format!("{app} in {}", span(environment, 60)),
        None => app,
    }
}

fn table(report: &Report) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(image) = &report.image {
        let before = report.before.as_ref().and_then(|before| before.image.as_deref()).filter(|before| !image.is(before));
        rows.push(("Image", span(&image.reference, 300)));
        rows.extend(before.map(|before| ("Before", span(before, 300))));
        rows.extend(image.digest.as_ref().map(|digest| ("Digest", span(digest.as_str(), 80))));
        let sent: u64 = image.layers.iter().filter(|layer| layer.transferred).map(|layer| layer.size).sum();
        let words = format!("{} in {}, {} sent", format_bytes(image.size), count(image.layers.len(), "layer"), format_bytes(sent));
        rows.extend((!image.layers.is_empty()).then_some(("Size", words)));
    }
    if let Some(release) = &report.release {
        let previous = release.previous.map(|previous| format!(", before it {previous}")).unwrap_or_default();
        rows.push(("Revision", format!("{}{previous}", release.revision)));
        let before = report.before.as_ref().and_then(|before| before.replicas).filter(|before| *before != release.replicas);
        let before = before.map(|before| format!(", before {before}")).unwrap_or_default();
        rows.push(("Runs as", format!("{} × {}{before}", release.replicas, span(&format!("{}/{}", release.namespace, release.name), 160))));
    }
    rows.extend(report.url.as_ref().map(|url| ("URL", span(url, 300))));
    if let Some(commit) = &report.commit {
        let title = commit.title.as_ref().map(|title| format!(" {}", span(title, 120))).unwrap_or_default();
        rows.push(("Commit", format!("{}{title}", span(commit.sha.get(..12).unwrap_or(&commit.sha), 40))));
    }
    rows.push(("Took", took(report)));
    let rows: String = rows.iter().map(|(label, value)| format!("| {label} | {value} |\n")).collect();
    format!("| | |\n|---|---|\n{rows}")
}

fn took(report: &Report) -> String {
    let steps = report.steps.iter().filter(|step| step.state != StepState::Skipped);
    let parts: Vec<String> = steps.map(|step| format!("{} {}", step.name.name(), seconds(step.seconds))).collect();
    let whole = seconds(report.seconds);
    if parts.is_empty() { whole } else { format!("{whole}: {}", parts.join(", ")) }
}

fn cause(problem: &ProblemRecord) -> String {
    let at = problem.step.map(|step| format!(" in {}", step.name())).unwrap_or_default();
    let message = foreign::middle(&foreign::wrap(&problem.message, WIDTH).join("\n"), 2000);
    let hint = foreign::middle(&foreign::wrap(&problem.hint, WIDTH).join("\n"), 1000);
    let code = span(&problem.code, 60);
    let code = problem.page.as_ref().map_or(code.clone(), |page| format!("[{code}]({})", destination(page)));
    format!("\n**What went wrong{at}** ({code})\n\n{}\n**What to do**\n\n{}", fence("text", &message), fence("text", &hint))
}

fn notes(report: &Report) -> String {
    let not_done = report.not_done.iter().map(|item| {
        let instead = item.instead.as_ref().map(|instead| format!("; {instead}")).unwrap_or_default();
        format!("- {} → set {}\n", prose(&format!("{}{instead}", item.what), 300), span(&item.setting, 60))
    });
    let warnings = report.warnings.iter().take(5).map(|warning| {
        let hint = if warning.hint.is_empty() { String::new() } else { format!(" → {}", prose(&warning.hint, 200)) };
        format!("- ⚠️ {}{hint}\n", prose(&warning.text, 200))
    });
    let lines: String = not_done.take(4).chain(warnings).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

fn last_line(report: &Report) -> String {
    let link = |words: &str, url: Option<&str>| {
        let url = url.and_then(web_address).filter(|url| url.len() <= 500);
        url.map(|url| format!(" · [{words}]({})", destination(&url))).unwrap_or_default()
    };
    let job = link("the whole log", report.ci.as_ref().and_then(|ci| ci.job_url.as_deref()));
    format!("\n<sub>shipway{job}{}</sub>\n", link("the report", report.report_url.as_deref()))
}

/// As many pieces as the room holds; each gets an equal share of it.
fn evidence(problem: &ProblemRecord, room: usize) -> String {
    let overhead = |piece: &EvidenceRecord| summary(piece).len() + 80;
    let mut pieces: &[EvidenceRecord] = &problem.evidence;
    loop {
        let Some(count) = std::num::NonZero::new(pieces.len()) else { return String::new() };
        let fixed: usize = pieces.iter().map(overhead).sum();
        let share = room.saturating_sub(fixed) / count;
        if share >= SHORTEST_PIECE {
            return pieces.iter().map(|piece| folded(piece, share)).collect();
        }
        pieces = &pieces[..pieces.len() - 1];
    }
}

/// What the publish changed of the objects that were there, as much as the room holds.
fn differences(differences: &[DifferenceRecord], room: usize) -> String {
    let mut text = String::new();
    for difference in differences {
        let title = format!("changed: <code>{}</code>", plain_title(&difference.object));
        let overhead = title.len() + 100;
        let left = room.saturating_sub(text.len() + overhead);
        if left < SHORTEST_PIECE {
            break;
        }
        // the signs of a difference begin its lines, so that a mark before them would hide what they say
        text += &format!("\n<details><summary>{title}</summary>\n\n{}\n</details>\n", fence("diff", &shortened(&difference.text, left)));
    }
    text
}

/// A text that fits into a fence of so many bytes.
fn shortened(text: &str, limit: usize) -> String {
    // A fence marks lines that begin with a slash, and it is as long as the longest run of backticks needs: half the room is for that.
    let room = if text.len() * 4 < limit { limit } else { limit / 4 };
    let text = foreign::middle(text, room);
    if longest_run(&text) > 20 { text.replace("````", "'''") } else { text }
}

fn folded(piece: &EvidenceRecord, limit: usize) -> String {
    let text = shortened(&piece.text, limit);
    format!("\n<details><summary>{}</summary>\n\n{}\n</details>\n", summary(piece), fence("text", &text))
}

fn summary(piece: &EvidenceRecord) -> String {
    let kind = match piece.kind {
        EvidenceKind::Log => "log:",
        EvidenceKind::Event => "events:",
        EvidenceKind::Probe => "probe:",
        EvidenceKind::Diff => "difference:",
    };
    format!("{kind} <code>{}</code>", plain_title(&piece.source))
}

/// A name in the title of a fold, where Markdown may act: nothing of it may.
fn plain_title(name: &str) -> String {
    let name = foreign::line(name, 160).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    name.replace(['@', '`', '*', '_', '[', ']', '\\', '~', '#', '!', '$', '%', ':'], "·")
}

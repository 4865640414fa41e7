//! `comment.md`: the comment on a merge request. Foreign text stands in code spans and fences alone, so that none of it can act: no
//! quick action, no mention, no link, no reference, no markup.

use super::{
    foreign,
    html::web_address,
    log::headline_words,
    model::{EvidenceRecord, Outcome, ProblemRecord, Report},
    paint::{count, seconds},
};
use crate::domain::{problem::EvidenceKind, step::StepState, units::format_bytes};

/// What every forge takes: GitHub and Gitea 65,536 characters, Bitbucket 32,768.
pub const LIMIT: usize = 32_000;
/// The least that is worth showing of a piece of evidence.
const SHORTEST_PIECE: usize = 200;
/// Columns of a fence.
const WIDTH: usize = 110;
/// How much longer a sentence may get by its code spans.
const LONGEST_MARKUP: usize = 60;

/// Renders the comment in at most `limit` bytes (at least 6,000): the middle of logs goes first, then whole pieces of evidence.
pub fn render(report: &Report, limit: usize) -> String {
    let mut comment =
        format!("{}\n### {} {} {}\n\n", marker(report), sign(report.result()), app(report), prose(&headline_words(report), 200));
    comment += &table(report);
    if let Some(problem) = report.problem() {
        comment += &cause(problem);
    }
    comment += &notes(report);
    let end = last_line(report);
    if let Some(problem) = report.problem() {
        comment += &evidence(problem, limit.saturating_sub(comment.len() + end.len()));
    }
    comment + &end
}

/// The hidden first line by which the comment of this application and environment is found again.
pub fn marker(report: &Report) -> String {
    let plain = |text: &String| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/') { c } else { '_' }).take(100).collect()
    };
    let names: String = report.app.iter().chain(&report.environment).map(|name| format!("{} ", plain(name))).collect();
    format!("<!-- shipway {names}-->")
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
        rows.push(("Image", span(&image.reference, 300)));
        rows.extend(image.digest.as_ref().map(|digest| ("Digest", span(digest.as_str(), 80))));
        let sent: u64 = image.layers.iter().filter(|layer| layer.transferred).map(|layer| layer.size).sum();
        let words = format!("{} in {}, {} sent", format_bytes(image.size), count(image.layers.len(), "layer"), format_bytes(sent));
        rows.extend((!image.layers.is_empty()).then_some(("Size", words)));
    }
    if let Some(release) = &report.release {
        let previous = release.previous.map(|previous| format!(", before it {previous}")).unwrap_or_default();
        rows.push(("Revision", format!("{}{previous}", release.revision)));
        rows.push(("Runs as", format!("{} × {}", release.replicas, span(&format!("{}/{}", release.namespace, release.name), 160))));
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
    format!("\n**What went wrong{at}** ({})\n\n{}\n**What to do**\n\n{}", span(&problem.code, 60), fence(&message), fence(&hint))
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
    let job = report.ci.as_ref().and_then(|ci| ci.job_url.as_deref()).and_then(web_address).filter(|url| url.len() <= 500);
    let job = job.map(|url| format!(" · [the whole log]({})", destination(&url))).unwrap_or_default();
    format!("\n<sub>shipway{job}</sub>\n")
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

fn folded(piece: &EvidenceRecord, limit: usize) -> String {
    // A fence marks lines that begin with a slash, and it is as long as the longest run of backticks needs: half the room is for that.
    let room = if piece.text.len() * 4 < limit { limit } else { limit / 4 };
    let text = foreign::middle(&piece.text, room);
    let longest_run = longest_run(&text);
    let text = if longest_run > 20 { text.replace("````", "'''") } else { text };
    format!("\n<details><summary>{}</summary>\n\n{}\n</details>\n", summary(piece), fence(&text))
}

fn summary(piece: &EvidenceRecord) -> String {
    let kind = match piece.kind {
        EvidenceKind::Log => "log:",
        EvidenceKind::Event => "events:",
        EvidenceKind::Probe => "probe:",
        EvidenceKind::Diff => "difference:",
    };
    let source = foreign::line(&piece.source, 160).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("{kind} <code>{}</code>", source.replace(['@', '`', '*', '_', '[', ']', '\\', '~', '#', '!', '$', '%', ':'], "·"))
}

/// The address with everything encoded that could end or change a Markdown link (RFC 3986's own characters stay, but parentheses).
fn destination(url: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!$&'+,;=%".contains(c);
    let encode = |c: char| c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    url.chars().map(|c| if keep(c) { c.to_string() } else { encode(c) }).collect()
}

/// Text in a fence that none of its lines can close; a line that would look like a quick action gets a bar in front.
fn fence(text: &str) -> String {
    let ticks = "`".repeat(longest_run(text).max(2) + 1);
    let lines: String =
        text.lines().map(|line| if line.trim_start().starts_with('/') { format!("│ {line}\n") } else { format!("{line}\n") }).collect();
    format!("{ticks}text\n{lines}{ticks}\n")
}

/// A sentence of ours: its plain words stand as they are, what a forge could act on (names, paths, whatever is foreign) in code spans.
fn prose(text: &str, longest: usize) -> String {
    let text = foreign::line(text, longest);
    let mut parts: Vec<String> = Vec::new();
    let mut nouns: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let core = word.trim_end_matches([',', ';', ':']);
        if is_plain(core) {
            parts.extend(ended(&mut nouns));
            parts.push(word.to_string());
        } else if core.is_empty() || core == word {
            nouns.push(word);
        } else {
            nouns.push(core);
            parts.extend(ended(&mut nouns).map(|noun| format!("{noun}{}", &word[core.len()..])));
        }
    }
    parts.extend(ended(&mut nouns));
    let prose = parts.join(" ");
    // Text that is mostly markup gets longer by its spans: then one is enough.
    if text.trim().is_empty() || prose.len() > text.len() + LONGEST_MARKUP { span(&text, longest) } else { prose }
}

/// The span of the nouns that stand together.
fn ended(nouns: &mut Vec<&str>) -> Option<String> {
    let noun = nouns.join(" ");
    nouns.clear();
    (!noun.is_empty()).then(|| span(&noun, usize::MAX))
}

/// A word, or a number. Letters with digits may be a reference (`GH-1`, a commit), and letters with dots an address.
fn is_plain(word: &str) -> bool {
    let number = word.len() <= 6 && word.chars().all(|c| c.is_ascii_digit());
    let letters = word.split(['-', '\'']).all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphabetic()));
    !word.is_empty() && (number || letters)
}

/// Text in a code span that it cannot leave, fit for a table's cell.
fn span(text: &str, longest: usize) -> String {
    let text = foreign::line(text, longest).replace('|', "∣");
    let text = text.trim();
    if text.is_empty() {
        return "–".to_string();
    }
    let ticks = "`".repeat(longest_run(text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

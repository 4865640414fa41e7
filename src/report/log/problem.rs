//! What went wrong, for the log: cause, next action, what was seen.

use super::{
    super::{
        foreign,
        model::{EvidenceRecord, ProblemRecord},
        paint::{Mark, Paint},
    },
    Style,
};
use crate::domain::problem::EvidenceKind;

/// Lines of one piece of evidence.
const MOST_LINES: usize = 30;
/// Columns of a line of evidence, whatever the terminal's width: the cause must not be cut off.
const LONGEST_LINE: usize = 400;
/// Pieces of evidence; the report has them all.
const MOST_PIECES: usize = 4;

/// The block that names the problem; empty lines set it off.
pub fn block(problem: &ProblemRecord, exit_code: u8, style: &Style) -> String {
    let paint = Paint::new(style);
    let at = problem.step.map(|step| format!(" in {}", step.name())).unwrap_or_default();
    let mut lines =
        vec![String::new(), format!("{} {}", paint.mark(Mark::Bad), paint.bad(&format!("{}{at} (exit {exit_code})", problem.code)))];
    lines.extend(paragraph("cause", &problem.message, style));
    lines.extend(paragraph("fix", &problem.hint, style));
    let more = problem.page.clone().unwrap_or_else(|| format!("shipway explain {}", problem.code));
    lines.push(format!("  {:<6}  {}", "more", paint.faint(&foreign::line(&more, LONGEST_LINE))));
    for evidence in problem.evidence.iter().take(MOST_PIECES) {
        lines.push(String::new());
        lines.extend(seen(evidence, style));
    }
    if problem.evidence.len() > MOST_PIECES {
        lines.push(format!("  and {} more in the report", problem.evidence.len() - MOST_PIECES));
    }
    lines.join("\n") + "\n"
}

/// A labelled text; its further lines stand below its first.
fn paragraph(label: &str, text: &str, style: &Style) -> Vec<String> {
    let width = style.width.saturating_sub(10).max(40);
    let lines = foreign::clean(text).lines().flat_map(|line| foreign::wrap(line, width)).collect::<Vec<_>>();
    let label = |at: usize| if at == 0 { label } else { "" };
    lines.iter().enumerate().map(|(at, line)| format!("  {:<6}  {line}", label(at))).collect()
}

fn seen(evidence: &EvidenceRecord, style: &Style) -> Vec<String> {
    let paint = Paint::new(style);
    let kind = match evidence.kind {
        EvidenceKind::Log => "log:",
        EvidenceKind::Event => "events:",
        EvidenceKind::Probe => "probe:",
        EvidenceKind::Diff => "difference:",
    };
    let title = format!("{kind} {}", foreign::line(&evidence.source, 100));
    let quoted = foreign::last_lines(&evidence.text, MOST_LINES, LONGEST_LINE);
    let mut lines = vec![format!("  {}", paint.strong(&title))];
    lines.extend(quoted.iter().map(|line| format!("  {} {line}", paint.bar())));
    lines
}

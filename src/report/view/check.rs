//! `check`: what is wrong with the files of a project.

use super::super::{
    foreign,
    log::Style,
    paint::{Mark, Paint, count},
};
use crate::domain::finding::{Finding, Severity};

/// Every finding with its place and what to do, errors and warnings in the order of the files; one line when there is none.
pub fn check(files: &[String], findings: &[Finding], style: &Style) -> String {
    let paint = Paint::new(style);
    let mut text = String::new();
    for finding in findings {
        let (mark, code) = match finding.severity {
            Severity::Error => (Mark::Bad, paint.faint(&format!("[{}]", finding.code))),
            Severity::Warning => (Mark::Warning, paint.faint(&format!("[{}]", finding.code))),
        };
        let line = foreign::line(&format!("{}: {}", finding.place(), finding.message), 400);
        text += &format!("{} {line} {code}\n", paint.mark(mark));
        text += &format!("  {} {}\n", paint.mark(Mark::Next), foreign::line(&finding.hint, 400));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    paint.plain(text + &last_line(files, findings, paint))
}

fn last_line(files: &[String], findings: &[Finding], paint: Paint) -> String {
    let names = match files {
        [] => "nothing to look at: no shipway.yaml, pom.xml, Dockerfile or manifests".to_string(),
        [one] => foreign::line(one, 200),
        [first, rest @ ..] => format!("{} and {}", foreign::line(first, 200), count(rest.len(), "file") + " more"),
    };
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.severity == Severity::Error);
    let warned = if warnings.is_empty() { String::new() } else { format!(", {}", count(warnings.len(), "warning")) };
    match (errors.len(), files) {
        (0, []) => format!("{} {names}\n", paint.mark(Mark::Skipped)),
        (0, [_]) => format!("{} {names} is good{warned}\n", paint.mark(Mark::Good)),
        (0, _) => format!("{} {names} are good{warned}\n", paint.mark(Mark::Good)),
        (errors, _) => format!("{}\n", paint.bad(&format!("{} in {names}{warned}", count(errors, "mistake")))),
    }
}

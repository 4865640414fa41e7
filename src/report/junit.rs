//! `junit.xml`: each step is a test case, so that a CI's test view shows which one failed and why.

use super::{
    foreign,
    log::headline_words,
    model::{ProblemRecord, Report, StepRecord},
};
use crate::domain::step::StepState;

/// Longest text of a failure, bytes.
const LONGEST: usize = 16_000;

/// Renders in the form that Surefire writes and CI servers read.
pub fn render(report: &Report) -> String {
    let app = report.app.as_deref().unwrap_or("shipway");
    let orphan = report.problem().filter(|_| !report.steps.iter().any(|step| step.state == StepState::Failed));
    let failures = usize::from(report.problem().is_some());
    let skipped = report.steps.iter().filter(|step| step.state == StepState::Skipped).count();
    let cases = report.steps.len() + usize::from(orphan.is_some());
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml += &format!(
        "<testsuites>\n<testsuite name=\"shipway {}\" tests=\"{cases}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{:.3}\" timestamp=\"{}\">\n",
        attribute(app),
        report.seconds,
        report.started.strftime("%Y-%m-%dT%H:%M:%S"),
    );
    let last_failed = report.steps.iter().rposition(|step| step.state == StepState::Failed);
    for (at, step) in report.steps.iter().enumerate() {
        let problem = report.problem().filter(|_| last_failed == Some(at));
        xml += &case(app, step, problem);
    }
    if let Some(problem) = orphan {
        xml += &format!("<testcase classname=\"{}\" name=\"run\" time=\"0.000\">\n{}</testcase>\n", attribute(app), failure(problem));
    }
    xml += &format!("<system-out>{}</system-out>\n</testsuite>\n</testsuites>\n", text(&format!("{app} {}", headline_words(report))));
    xml
}

fn case(app: &str, step: &StepRecord, problem: Option<&ProblemRecord>) -> String {
    let open = format!("<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"", attribute(app), step.name.name(), step.seconds);
    match (step.state, problem) {
        (StepState::Skipped, _) => format!("{open}>\n<skipped message=\"{}\"/>\n</testcase>\n", attribute(&step.summary)),
        (StepState::Failed, Some(problem)) => format!("{open}>\n{}</testcase>\n", failure(problem)),
        _ => format!("{open}/>\n"),
    }
}

fn failure(problem: &ProblemRecord) -> String {
    let mut body = format!("{}\n\n{}\n", problem.message, problem.hint);
    for evidence in &problem.evidence {
        body += &format!("\n{}:\n{}\n", evidence.source, evidence.text);
    }
    let body = foreign::middle(&foreign::clean(&body), LONGEST);
    format!("<failure type=\"{}\" message=\"{}\">{}</failure>\n", attribute(&problem.code), attribute(&problem.message), text(&body))
}

fn attribute(value: &str) -> String {
    text(&foreign::line(value, 500)).replace('"', "&quot;")
}

/// XML 1.0 has no place for some characters, escaped or not.
fn text(value: &str) -> String {
    let allowed = |c: char| c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}') || c == '\n' || c == '\t';
    let value: String = value.chars().filter(|c| allowed(*c)).collect();
    value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

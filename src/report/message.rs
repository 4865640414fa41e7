//! What a chat or another program is told at the end of a run, in a few plain lines. Foreign text in it cannot mention, link or mark up.

use serde_json::{Value, json};

use super::{
    foreign,
    html::web_address,
    log::headline_words,
    model::{Outcome, Report},
    paint::seconds,
};

/// Longest text of one line, columns.
const LONGEST: usize = 400;

/// A message in plain text; who sends it gives it its form.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `order-service in prod is up: revision 12 in trade`.
    pub title: String,
    /// Nothing has to be done.
    pub good: bool,
    /// Label and text, in order.
    pub facts: Vec<(&'static str, String)>,
    /// Page of the job, and where the application answers.
    pub links: Vec<(&'static str, String)>,
    /// The same for programs: the head of `report.json`.
    pub data: Value,
}

/// The message about a run that ended.
pub fn message(report: &Report) -> Message {
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    let mut fact = |label: &'static str, text: &str| facts.push((label, calm(text)));
    if let Some(problem) = report.problem() {
        fact("Cause", &format!("{} ({})", problem.message, problem.code));
        fact("What to do", &problem.hint);
    }
    if let Some(image) = &report.image {
        fact("Image", &image.reference);
    }
    if let Some(commit) = &report.commit {
        let by = commit.author.as_ref().map(|author| format!(", by {author}")).unwrap_or_default();
        let title = commit.title.as_ref().map(|title| format!(" {title}")).unwrap_or_default();
        fact("Commit", &format!("{}{title}{by}", commit.sha.get(..12).unwrap_or(&commit.sha)));
    }
    if let Some(reference) = report.commit.as_ref().and_then(|commit| commit.reference.as_ref()) {
        fact("Branch or tag", reference);
    }
    fact("Took", &seconds(report.seconds));
    let job = report.ci.as_ref().and_then(|ci| ci.job_url.as_deref());
    let links = [("The job", job), ("The report", report.report_url.as_deref()), ("The application", report.url.as_deref())];
    Message {
        title: title(report),
        good: matches!(report.result(), Outcome::Succeeded),
        facts,
        links: links.into_iter().filter_map(|(label, url)| Some((label, web_address(url?)?))).collect(),
        data: data(report),
    }
}

/// What became of the application, as a line.
pub fn title(report: &Report) -> String {
    let place = report.environment.as_ref().map(|environment| format!(" in {environment}")).unwrap_or_default();
    calm(&format!("{}{place} {}", report.app.as_deref().unwrap_or("shipway"), headline_words(report)))
}

/// The description of the commit's status: what became of the application, and why when it failed.
pub fn status_words(report: &Report) -> String {
    let cause = report.problem().map(|problem| format!(": {}", problem.code)).unwrap_or_default();
    foreign::line(&format!("{}{cause}", headline_words(report)), LONGEST)
}

/// One line in which no chat finds anything to act on: what would be markup becomes a sign that looks like it.
pub fn calm(text: &str) -> String {
    let look_alike = |c: char| match c {
        '<' => '‹',
        '>' => '›',
        '@' => '＠',
        '[' => '［',
        ']' => '］',
        '`' => '\'',
        '*' => '∗',
        '\\' => '∖',
        '#' => '＃',
        '|' => '∣',
        '~' => '∼',
        c => c,
    };
    foreign::line(text, LONGEST).replace("://", ":∕∕").chars().map(look_alike).collect()
}

fn data(report: &Report) -> Value {
    let image = report.image.as_ref().map(|image| json!({"reference": image.reference, "digest": image.digest}));
    let problem = report.problem();
    let problem = problem.map(|p| json!({"class": p.class, "code": p.code, "message": p.message, "hint": p.hint}));
    json!({
        "schema": report.schema, "result": report.result(), "exit_code": report.exit_code(), "app": report.app, "line": report.line,
        "environment": report.environment, "command": report.command, "started": report.started, "seconds": report.seconds,
        "ci": report.ci, "commit": report.commit, "image": image, "release": report.release, "url": report.url, "problem": problem,
    })
}

//! `history --all` and `app list`: the ledger's rows, as tables and as CSV.

use super::{
    super::{
        foreign,
        log::Style,
        paint::{Paint, seconds},
    },
    history::when,
    table,
};
use crate::domain::record::{Change, KnownApp};

/// Renders the table of changes, the latest first.
pub fn changes(changes: &[Change], style: &Style) -> String {
    let heads = ["when", "application", "environment", "action", "result", "took", "revision", "commit", "who", "job"];
    let row = |change: &Change| {
        let result = match &change.problem {
            Some(problem) => format!("{}: {problem}", change.result),
            None => change.result.clone(),
        };
        let commit = change.commit.as_ref().map(|commit| commit.get(..12).unwrap_or(commit).to_string()).unwrap_or_default();
        let took = change.seconds.map(seconds).unwrap_or_default();
        let revision = change.revision.map(|revision| revision.to_string()).unwrap_or_default();
        let (who, job) = (change.author.clone().unwrap_or_default(), change.job_url.clone().unwrap_or_default());
        let app = format!("{}/{}", change.line, change.app);
        vec![when(&change.began), app, change.environment.clone(), change.action.clone(), result, took, revision, commit, who, job]
    };
    render(&heads, changes.iter().map(row), style, "the ledger has no change that fits")
}

/// Renders the table of applications.
pub fn apps(apps: &[KnownApp], style: &Style) -> String {
    let heads = ["application", "line", "owners", "latest", "environment", "action", "result", "who"];
    let row = |known: &KnownApp| {
        let mut row = vec![known.app.clone(), known.line.clone(), known.owners.join(", ")];
        if let Some(latest) = &known.latest {
            let who = latest.author.clone().unwrap_or_default();
            row.extend([when(&latest.began), latest.environment.clone(), latest.action.clone(), latest.result.clone(), who]);
        }
        row
    };
    render(&heads, apps.iter().map(row), style, "the ledger has no application that fits")
}

/// What `app import` did.
pub fn imported(entries: usize) -> String {
    format!("{entries} applications are in the ledger\n")
}

/// What `rules check` and `rules push` found.
pub fn rules_count(rules: usize) -> String {
    format!("{rules} rules, all of them readable\n")
}

fn render(heads: &[&str], rows: impl Iterator<Item = Vec<String>>, style: &Style, none: &str) -> String {
    let paint = Paint::new(style);
    let rows = rows.map(|row| row.iter().map(|cell| foreign::line(cell, 120)).collect());
    let all: Vec<Vec<String>> = std::iter::once(heads.iter().map(ToString::to_string).collect()).chain(rows).collect();
    if all.len() == 1 {
        return paint.plain(format!("{none}\n"));
    }
    let mut lines = table::lines(&all).into_iter();
    let head = lines.next().map(|head| paint.faint(&head)).unwrap_or_default();
    paint.plain(std::iter::once(head).chain(lines).map(|line| format!("{line}\n")).collect())
}

/// Changes as CSV (RFC 4180) with a head.
pub fn changes_csv(changes: &[Change]) -> String {
    let head = "began,seconds,app,line,environment,namespace,name,action,result,problem,message,image,revision,commit,author,job_url,id";
    let row = |change: &Change| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        csv(&[
            change.began.clone(),
            change.seconds.map(|seconds| seconds.to_string()).unwrap_or_default(),
            change.app.clone(),
            change.line.clone(),
            change.environment.clone(),
            change.namespace.clone(),
            change.name.clone(),
            change.action.clone(),
            change.result.clone(),
            text(&change.problem),
            text(&change.message),
            text(&change.image),
            number(change.revision),
            text(&change.commit),
            text(&change.author),
            text(&change.job_url),
            change.id.clone(),
        ])
    };
    std::iter::once(format!("{head}\r\n")).chain(changes.iter().map(row)).collect()
}

/// Applications as CSV with a head.
pub fn apps_csv(apps: &[KnownApp]) -> String {
    let row = |known: &KnownApp| {
        let mut row = vec![known.app.clone(), known.line.clone(), known.owners.join(" ")];
        let latest = known.latest.as_ref();
        let cell = |cell: fn(&crate::domain::record::Latest) -> String| latest.map(cell).unwrap_or_default();
        row.push(cell(|latest| latest.began.clone()));
        row.push(cell(|latest| latest.environment.clone()));
        row.push(cell(|latest| latest.action.clone()));
        row.push(cell(|latest| latest.result.clone()));
        row.push(cell(|latest| latest.author.clone().unwrap_or_default()));
        csv(&row)
    };
    std::iter::once("app,line,owners,began,environment,action,result,author\r\n".to_string()).chain(apps.iter().map(row)).collect()
}

/// One record. What a spreadsheet would take for a formula is made a text: commits and problems bring words of strangers.
fn csv(cells: &[String]) -> String {
    let cell = |cell: &String| {
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let text = format!("{}{}", if formula { "'" } else { "" }, foreign::clean(cell));
        match text.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        }
    };
    cells.iter().map(cell).collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_strangers_stay_cells() {
        let cells = ["plain", "a,b", "say \"x\"", "=HYPERLINK(1)"].map(String::from);
        assert_eq!(csv(&cells), "plain,\"a,b\",\"say \"\"x\"\"\",'=HYPERLINK(1)\r\n");
    }
}

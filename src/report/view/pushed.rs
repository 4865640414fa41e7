//! `config history`: the pushed versions, newest first.

use super::{
    super::{
        foreign,
        log::Style,
        paint::{Mark, Paint},
    },
    history::when,
    table,
};
use crate::domain::pushed::{Place, Versions};

/// Renders the table.
pub fn pushed(place: &Place, versions: &Versions, style: &Style) -> String {
    let paint = Paint::new(style);
    let title = paint.strong(&foreign::line(&place.words(), 160));
    if versions.versions.is_empty() {
        return paint.plain(format!("{title}\n  nothing was pushed\n"));
    }
    let heads = ["", "version", "when", "files", "config", "who", "why"];
    let current = versions.current().map(|version| version.version);
    let rows = versions.versions.iter().rev().map(|version| {
        let mark = if current == Some(version.version) { paint.mark(Mark::Next) } else { String::new() };
        let restores = version.restores.map(|restored| format!("puts back {restored}"));
        let why: Vec<String> = restores.into_iter().chain(version.reason.clone()).collect();
        let cells = [
            version.version.to_string(),
            when(&version.time),
            version.files.to_string(),
            version.config.hash.get(..10).unwrap_or(&version.config.hash).to_string(),
            version.author.clone().unwrap_or_default(),
            why.join(": "),
        ];
        std::iter::once(mark).chain(cells.iter().map(|cell| foreign::line(cell, 120))).collect()
    });
    let all: Vec<Vec<String>> = std::iter::once(heads.map(String::from).to_vec()).chain(rows).collect();
    let mut lines = table::lines(&all).into_iter();
    let head = lines.next().map(|head| paint.faint(&head)).unwrap_or_default();
    let lines: String = lines.map(|line| format!("  {line}\n")).collect();
    paint.plain(format!("{title}\n  {head}\n{lines}"))
}

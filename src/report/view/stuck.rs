//! `unstick`: pods that should be gone.

use super::super::{
    foreign,
    log::Style,
    paint::{Mark, Paint},
};

/// One pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StuckRow {
    /// Pod, node and reason, in a sentence.
    pub words: String,
    /// What could be done.
    pub hint: String,
    /// What was done; empty: nothing.
    pub done: String,
}

/// Renders the list; `acts`: it was asked to do something.
pub fn stuck(object: &str, rows: &[StuckRow], acts: bool, style: &Style) -> String {
    let paint = Paint::new(style);
    if rows.is_empty() {
        return paint.plain(format!("{} no pod of {} is stuck\n", paint.mark(Mark::Good), foreign::line(object, 160)));
    }
    let mut text = String::new();
    for row in rows {
        text += &format!("{} {}\n", paint.mark(Mark::Bad), foreign::line(&row.words, 600));
        text += &match row.done.is_empty() {
            true => format!("  {} {}\n", paint.mark(Mark::Next), foreign::line(&row.hint, 400)),
            false => format!("  {} {}\n", paint.mark(Mark::Good), foreign::line(&row.done, 400)),
        };
    }
    if !acts {
        text += &format!("\n{}\n", paint.faint("nothing was changed"));
    }
    paint.plain(text)
}

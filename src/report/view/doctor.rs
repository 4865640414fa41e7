//! `doctor`: what a run needs, one line each; then what is to be done, the most important first.

use super::super::{
    foreign,
    log::Style,
    model::page_of,
    paint::{Mark, Paint, count},
};
use crate::domain::checkup::{Examined, State};

/// The widest name of what was examined.
const WIDTH: usize = 16;

/// Renders it; `help` is where the documentation is served.
pub fn doctor(examined: &[Examined], help: Option<&str>, style: &Style) -> String {
    let paint = Paint::new(style);
    let mut text: String = examined.iter().map(|one| line(one, paint)).collect();
    let stops: Vec<_> = examined.iter().filter_map(|one| if let State::Bad(problem) = &one.state { Some(problem) } else { None }).collect();
    let open = examined.iter().filter_map(|one| match &one.state {
        State::Unset { hint: Some(hint), .. } => Some((one.what, hint)),
        _ => None,
    });
    let mut number = 0;
    let mut next = |text: &mut String, words: &str| {
        number += 1;
        *text += &format!("  {number}. {}\n", foreign::line(words, 500));
    };
    if stops.is_empty() {
        text += &format!("\n{}\n", paint.good("nothing stops a run"));
    } else {
        text += &format!("\n{}\n", paint.bad(&format!("{} would stop a run", count(stops.len(), "thing"))));
    }
    for problem in stops {
        let slug = problem.code.slug();
        let more = help.map_or_else(|| format!("shipway explain {slug}"), |help| page_of(help, slug));
        next(&mut text, &format!("{} ({more})", problem.hint));
    }
    for (what, hint) in open {
        next(&mut text, &format!("{what}, if it is wanted: {hint}"));
    }
    paint.plain(text)
}

fn line(one: &Examined, paint: Paint) -> String {
    let (mark, words) = match &one.state {
        State::Good(words) => (Mark::Good, words.clone()),
        State::Unset { text, .. } => (Mark::Skipped, text.clone()),
        State::Bad(problem) => (Mark::Bad, format!("{} [{}]", problem.message, problem.code.slug())),
    };
    format!("{} {:<WIDTH$}  {}\n", paint.mark(mark), one.what, foreign::line(&words, 600))
}

//! `check`: what is wrong with a shipway.yaml.

use super::super::{
    foreign,
    log::Style,
    paint::{Mark, Paint, count},
};
use crate::settings::Mistake;

/// Every mistake with its place, its setting and what to do; one line when there is none.
pub fn check(file: &str, mistakes: &[Mistake]) -> String {
    let paint = Paint::new(&Style::default());
    let file = foreign::line(file, 200);
    if mistakes.is_empty() {
        return format!("{} {file} is good\n", paint.mark(Mark::Good));
    }
    let mut text = String::new();
    for mistake in mistakes {
        let code = paint.faint(&format!("[{}]", mistake.code.slug()));
        text += &format!("{} {} {code}\n", paint.mark(Mark::Bad), foreign::line(&mistake.to_string(), 400));
        text += &format!("  {} {}\n", paint.mark(Mark::Next), foreign::line(&mistake.fix, 400));
    }
    let words = format!("{} in {file}", count(mistakes.len(), "mistake"));
    paint.plain(format!("{text}\n{}\n", paint.bad(&words)))
}

//! Marks and colours of what is printed.

use super::log::Style;

/// Paints by a style: without colours every text stays as it is, without unicode the marks are ASCII.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    color: bool,
    unicode: bool,
}

/// Signs in front of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Good,
    Bad,
    Skipped,
    Warning,
    Step,
    Back,
    Next,
}

impl Paint {
    pub fn new(style: &Style) -> Self {
        Paint { color: style.color, unicode: style.unicode }
    }

    pub fn good(self, text: &str) -> String {
        self.sgr("32", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.sgr("1;31", text)
    }

    pub fn warning(self, text: &str) -> String {
        self.sgr("33", text)
    }

    pub fn strong(self, text: &str) -> String {
        self.sgr("1", text)
    }

    pub fn faint(self, text: &str) -> String {
        self.sgr("2", text)
    }

    pub fn mark(self, mark: Mark) -> String {
        let (unicode, ascii) = match mark {
            Mark::Good => ("✓", "[ok]"),
            Mark::Bad => ("✗", "[failed]"),
            Mark::Skipped => ("–", "[skipped]"),
            Mark::Warning => ("!", "[warning]"),
            Mark::Step => ("▸", ">"),
            Mark::Back => ("↩", "<-"),
            Mark::Next => ("→", "->"),
        };
        let sign = if self.unicode { unicode } else { ascii };
        match mark {
            Mark::Good => self.good(sign),
            Mark::Bad => self.bad(sign),
            Mark::Warning | Mark::Back => self.warning(sign),
            Mark::Skipped | Mark::Next => self.faint(sign),
            Mark::Step => self.strong(sign),
        }
    }

    /// The bar at the left of quoted text.
    pub fn bar(self) -> String {
        self.faint(if self.unicode { "│" } else { "|" })
    }

    /// One of the signs that turn while something goes on.
    pub fn spinner(self, millis: i64) -> &'static str {
        let signs: &[&'static str] =
            if self.unicode { &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"] } else { &["|", "/", "-", "\\"] };
        let at = usize::try_from(millis / 100).unwrap_or_default() % signs.len();
        signs[at]
    }

    /// The done and the other part of a bar.
    pub fn bar_of(self, done: usize, length: usize) -> (String, String) {
        let (full, empty) = if self.unicode { ("━", "╌") } else { ("#", ".") };
        let done = done.min(length);
        (full.repeat(done), empty.repeat(length - done))
    }

    /// Between the parts of a line.
    pub fn dot(self) -> &'static str {
        if self.unicode { " · " } else { " - " }
    }

    /// Replaces our own signs where the terminal has no unicode; foreign text stays as it is.
    pub fn plain(self, text: String) -> String {
        if self.unicode { text } else { text.replace('…', "...").replace('×', "x") }
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

/// Seconds for people: `0.4 s`, `41.2 s`, `3 min 05 s`, `1 h 02 min`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{:.1} s", seconds.clamp(0.0, 59.9)),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1 layer`, `3 layers`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_for_people() {
        for (value, text) in [(0.0, "0.0 s"), (9.94, "9.9 s"), (59.96, "1 min 00 s"), (185.2, "3 min 05 s"), (3725.0, "1 h 02 min")] {
            assert_eq!(seconds(value), text);
        }
    }
}

//! The lines and words of a Dockerfile: directives, comments, continuations, quotes.

use crate::domain::problem::{Code, Problem, Result};

/// Parser directives stand before everything else; the escape character is the only one that counts here.
pub(super) fn directives(text: &str, file: &str) -> Result<char> {
    let mut escape = '\\';
    for (index, line) in text.lines().enumerate() {
        let Some((name, value)) = line.trim().strip_prefix('#').and_then(|comment| comment.split_once('=')) else { break };
        match name.trim().to_ascii_lowercase().as_str() {
            "syntax" | "check" => {}
            "escape" => match value.trim() {
                "\\" => escape = '\\',
                "`" => escape = '`',
                other => {
                    let why = format!("{file}:{}: the escape directive is \\ or `, not {other:?}", index + 1);
                    return Err(Problem::new(Code::DockerfileInvalid, why));
                }
            },
            _ => break,
        }
    }
    Ok(escape)
}

/// Joins continued lines; comments are taken out, inside of continued ones, too.
pub(super) fn logical_lines(text: &str, escape: char) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with('#') || trimmed.is_empty() {
            continue;
        }
        let (number, mut logical) = open.take().unwrap_or((index + 1, String::new()));
        let part = if logical.is_empty() { trimmed } else { line };
        match continued(part, escape) {
            Some(part) => {
                logical.push_str(part);
                open = Some((number, logical));
            }
            None => {
                logical.push_str(part);
                found.push((number, logical));
            }
        }
    }
    found.extend(open.filter(|(_, logical)| !logical.trim().is_empty()));
    found
}

/// The line without its continuation mark; an escaped escape character is none.
fn continued(line: &str, escape: char) -> Option<&str> {
    let part = line.trim_end().strip_suffix(escape)?;
    (!part.ends_with(escape)).then_some(part)
}

/// Splits at blanks that are neither quoted nor escaped; quotes and escapes stay in the words.
pub(super) fn split_words(text: &str, escape: char) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quotes = Quotes::new(escape);
    for c in text.chars() {
        if c.is_whitespace() && quotes.outside() {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
        quotes.step(c);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Follows quotes and escapes through a text.
pub(super) struct Quotes {
    escape: char,
    quote: Option<char>,
    escaped: bool,
}

impl Quotes {
    pub(super) fn new(escape: char) -> Self {
        Quotes { escape, quote: None, escaped: false }
    }

    /// Whether the next character is neither quoted nor escaped.
    pub(super) fn outside(&self) -> bool {
        self.quote.is_none() && !self.escaped
    }

    pub(super) fn step(&mut self, c: char) {
        if self.escaped {
            self.escaped = false;
        } else if c == self.escape && self.quote != Some('\'') {
            self.escaped = true;
        } else if self.quote == Some(c) {
            self.quote = None;
        } else if self.quote.is_none() && matches!(c, '"' | '\'') {
            self.quote = Some(c);
        }
    }
}

/// Go's durations (`1m30s`, `500ms`, `1.5h`), in nanoseconds.
pub(super) fn go_duration(text: &str) -> Option<u64> {
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        total += number
            * match &rest[digits..unit] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty() && total < 1e18).then_some(total as u64)
}

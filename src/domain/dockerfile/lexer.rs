//! The lines and words of a Dockerfile: directives, comments, continuations, quotes, here-documents.

use super::{Document, heredoc};
use crate::domain::problem::{Code, Problem, Result};

/// The parser directives, which stand before everything else.
pub(super) struct Directives {
    pub escape: char,
    /// Of the directive `syntax`: the frontend that the file is written for.
    pub syntax: Option<String>,
}

/// Reads the parser directives; `check` is for linters and counts for nothing here.
pub(super) fn directives(text: &str, file: &str) -> Result<Directives> {
    let mut found = Directives { escape: '\\', syntax: None };
    for (index, line) in text.lines().enumerate() {
        let Some((name, value)) = line.trim().strip_prefix('#').and_then(|comment| comment.split_once('=')) else { break };
        match name.trim().to_ascii_lowercase().as_str() {
            "check" => {}
            "syntax" => found.syntax = value.split_whitespace().next().map(str::to_string),
            "escape" => match value.trim() {
                "\\" => found.escape = '\\',
                "`" => found.escape = '`',
                other => {
                    let why = format!("{file}:{}: the escape directive is \\ or `, not {other:?}", index + 1);
                    return Err(Problem::new(Code::DockerfileInvalid, why));
                }
            },
            _ => break,
        }
    }
    Ok(found)
}

/// An instruction as it is written: its continued lines joined, its here-documents taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logical {
    /// Of its first line.
    pub number: usize,
    pub text: String,
    pub documents: Vec<Document>,
}

/// Joins continued lines; comments and empty lines are taken out, inside of continued ones, too. The error is the line of an
/// instruction whose here-document does not end, and the word that would end it.
pub(super) fn logical_lines(text: &str, escape: char) -> Result<Vec<Logical>, (usize, String)> {
    let mut found: Vec<Logical> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let mut lines = text.split_inclusive('\n').enumerate();
    while let Some((index, raw)) = lines.next() {
        let line = raw.trim_end_matches(['\r', '\n']);
        let trimmed = line.trim_start();
        if trimmed.starts_with('#') || trimmed.is_empty() {
            continue;
        }
        let (number, mut logical) = open.take().unwrap_or((index + 1, String::new()));
        let part = if logical.is_empty() { trimmed } else { line };
        if let Some(part) = continued(part, escape) {
            logical.push_str(part);
            open = Some((number, logical));
            continue;
        }
        logical.push_str(part);
        let documents = heredoc::read(&logical, escape, &mut lines.by_ref().map(|(_, raw)| raw)).map_err(|end| (number, end))?;
        found.push(Logical { number, text: logical, documents });
    }
    if let Some((number, text)) = open.filter(|(_, logical)| !logical.trim().is_empty()) {
        found.push(Logical { number, text, documents: Vec::new() });
    }
    Ok(found)
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

/// A flag `--name[=value]`; its quotes and escapes are taken away, its variables are still in it.
pub(super) type Flag = (String, Option<String>);

/// The flags at the front of an instruction, and what follows; `--` alone ends them.
pub(super) fn take_flags(text: &str, escape: char) -> (Vec<Flag>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let end = flag_end(rest, escape);
        let word = unquoted(&rest[2..end], escape);
        rest = rest[end..].trim_start();
        if word.is_empty() {
            break;
        }
        flags.push(match word.split_once('=') {
            Some((name, value)) => (name.to_string(), Some(value.to_string())),
            None => (word, None),
        });
    }
    (flags, rest)
}

/// The place of the first blank that is neither quoted nor escaped.
fn flag_end(text: &str, escape: char) -> usize {
    let mut quotes = Quotes::new(escape);
    for (at, c) in text.char_indices() {
        if c.is_whitespace() && quotes.outside() {
            return at;
        }
        quotes.step(c);
    }
    text.len()
}

fn unquoted(text: &str, escape: char) -> String {
    let (mut out, mut quote, mut chars) = (String::new(), None, text.chars());
    while let Some(c) = chars.next() {
        match c {
            c if c == escape => out.extend(chars.next()),
            c if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            c => out.push(c),
        }
    }
    out
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

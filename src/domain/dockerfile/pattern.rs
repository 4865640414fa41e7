//! Patterns as Docker's tools read them: those of COPY (Go's `filepath.Match`), those of `.dockerignore` (with `**` on top), and those
//! of `${name#pattern}`.

use std::collections::BTreeSet;

/// Whether a path (relative, `/` between its parts) matches a source of COPY or ADD: `*` and `?` stay within a part, and `**` is no
/// more than `*`. What is no pattern matches nothing.
pub fn matches_path(pattern: &str, path: &str) -> bool {
    compile(&chars(pattern), Kind::Source).is_some_and(|tokens| run(&tokens, path))
}

/// Whether a text matches a pattern in a variable: `*` and `?` are anything, and only they mean something.
pub fn matches_text(pattern: &str, text: &str) -> bool {
    compile(&chars(pattern), Kind::Text).is_some_and(|tokens| run(&tokens, text))
}

/// Whether there is anything in it that is not literal.
pub fn is_pattern(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// A source without wildcards, its escapes taken away: `a\*b` names the file `a*b`.
pub fn unescaped(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

/// A pattern of `.dockerignore`, ready to be matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

impl Glob {
    /// None when it is no pattern: a `[` that does not end, or a `\` at the end.
    pub fn parse(pattern: &str) -> Option<Glob> {
        compile(&chars(pattern), Kind::Ignore).map(Glob)
    }

    /// Whether a whole path matches; `**` is any number of parts.
    pub fn matches(&self, path: &str) -> bool {
        run(&self.0, path)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Source,
    Ignore,
    Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// Any character but a slash.
    One,
    /// Any characters but slashes.
    Some,
    /// Any characters.
    All,
    /// Nothing, or whole parts with their slashes.
    Parts,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn compile(pattern: &[char], kind: Kind) -> Option<Vec<Token>> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&c) = pattern.get(at) {
        at += 1;
        tokens.push(match c {
            '*' if kind == Kind::Text => Token::All,
            '*' if kind == Kind::Ignore && pattern.get(at) == Some(&'*') => {
                at += 1;
                let parts = pattern.get(at) == Some(&'/');
                at += usize::from(parts);
                double_star(pattern, at, parts)
            }
            '*' => Token::Some,
            '?' if kind == Kind::Text => Token::Class { negated: true, ranges: Vec::new() },
            '?' => Token::One,
            '[' if kind != Kind::Text => class(pattern, &mut at)?,
            '\\' => {
                let literal = *pattern.get(at)?;
                at += 1;
                Token::Char(literal)
            }
            c => Token::Char(c),
        });
    }
    Some(tokens)
}

/// What follows a `**` says what it means: at the end it is everything; in front of plain text without a slash, too, when the pattern
/// begins with it; else it is whole parts. `at` is behind it and its slash.
fn double_star(pattern: &[char], at: usize, parts: bool) -> Token {
    let rest = &pattern[at..];
    let plain = !rest.iter().any(|c| matches!(c, '*' | '?' | '[' | ']' | '\\'));
    if rest.is_empty() || (at == 2 && !parts && plain) { Token::All } else { Token::Parts }
}

/// A class `[a-z]`, `[^x]`; None when it is empty or does not end.
fn class(pattern: &[char], at: &mut usize) -> Option<Token> {
    let negated = pattern.get(*at) == Some(&'^');
    *at += usize::from(negated);
    let mut ranges = Vec::new();
    while ranges.is_empty() || pattern.get(*at) != Some(&']') {
        let low = class_char(pattern, at)?;
        let mut high = low;
        if pattern.get(*at) == Some(&'-') {
            *at += 1;
            high = class_char(pattern, at)?;
        }
        ranges.push((low, high));
    }
    *at += 1;
    Some(Token::Class { negated, ranges })
}

fn class_char(pattern: &[char], at: &mut usize) -> Option<char> {
    let first = *pattern.get(*at).filter(|c| !matches!(c, '-' | ']'))?;
    *at += 1;
    if first != '\\' {
        return Some(first);
    }
    let escaped = *pattern.get(*at)?;
    *at += 1;
    Some(escaped)
}

/// A place in the pattern, and whether it is within [`Token::Parts`], which ends behind a slash alone.
type State = (usize, bool);

/// Follows all places of the pattern at once, so that no pattern takes more than length times length.
fn run(tokens: &[Token], text: &str) -> bool {
    let mut row = closure(tokens, BTreeSet::from([(0, false)]));
    for c in text.chars() {
        let next = row.iter().flat_map(|&state| step(tokens, state, c)).collect();
        row = closure(tokens, next);
        if row.is_empty() {
            return false;
        }
    }
    row.contains(&(tokens.len(), false))
}

/// Places that are reached without a character.
fn closure(tokens: &[Token], mut row: BTreeSet<State>) -> BTreeSet<State> {
    let mut open: Vec<State> = row.iter().copied().collect();
    while let Some((at, inside)) = open.pop() {
        let empty = !inside && matches!(tokens.get(at), Some(Token::Some | Token::All | Token::Parts));
        if empty && row.insert((at + 1, false)) {
            open.push((at + 1, false));
        }
    }
    row
}

fn step(tokens: &[Token], (at, _): State, c: char) -> Vec<State> {
    let moved = |fits: bool| if fits { vec![(at + 1, false)] } else { Vec::new() };
    match tokens.get(at) {
        None => Vec::new(),
        Some(Token::Char(literal)) => moved(*literal == c),
        Some(Token::One) => moved(c != '/'),
        Some(Token::Class { negated, ranges }) => {
            let hit = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
            // `?` in a text is the class of which nothing is left out.
            moved(hit != *negated && (c != '/' || ranges.is_empty()))
        }
        Some(Token::Some) => {
            if c == '/' {
                Vec::new()
            } else {
                vec![(at, false)]
            }
        }
        Some(Token::All) => vec![(at, false)],
        Some(Token::Parts) if c == '/' => vec![(at, true), (at + 1, false)],
        Some(Token::Parts) => vec![(at, true)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_matched_as_go_does() {
        for (pattern, path, expected) in [
            ("a.jar", "a.jar", true),
            ("*.jar", "a.jar", true),
            ("*.jar", "x/a.jar", false),
            ("*", ".hidden", true),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("**/c", "a/c", true),
            ("**/c", "c", false),
            ("**/c", "a/b/c", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]x]", "]", false),
            ("[\\]x]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a[", "a[", false),
            ("a\\", "a\\", false),
            ("", "", true),
            ("*****************************a", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", false),
        ] {
            assert_eq!(matches_path(pattern, path), expected, "{pattern} {path}");
        }
        assert!(is_pattern("a[") && !is_pattern("a\\*"));
        assert_eq!(unescaped("a\\*\\\\b\\"), "a*\\b\\");
    }

    #[test]
    fn ignored_paths_are_matched_as_docker_does() {
        for (pattern, path, expected) in [
            ("**/c", "c", true),
            ("**/c", "a/b/c", true),
            ("**/c", "a/bc", false),
            ("**c", "bc", true),
            ("**c*", "bc", false),
            ("**/*.md", "a/b/r.md", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a**", "abc/d", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("a/**/c", "a/xc", false),
            ("a**c", "axc", false),
            ("a**c", "ax/c", true),
            ("**", "a/b", true),
            ("*.jar", "a.jar", true),
            ("*.jar", "x/a.jar", false),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(path), expected, "{pattern} {path}");
        }
        assert!(
            Glob::parse("[a").is_none() && Glob::parse("[]").is_none() && Glob::parse("a\\").is_none() && Glob::parse("[a-]").is_none()
        );
    }

    #[test]
    fn texts_know_two_wildcards() {
        for (pattern, text, expected) in
            [("*/z", "x/y/z", true), ("x?", "x", false), ("?", "/", true), ("[a]", "[a]", true), ("[a]", "a", false), ("\\*", "*", true)]
        {
            assert_eq!(matches_text(pattern, text), expected, "{pattern} {text}");
        }
    }
}

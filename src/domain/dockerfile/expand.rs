//! Variables in words: `$name`, `${name}` and its modifiers, quotes and escapes (Dockerfile reference, "Environment replacement").

use std::collections::BTreeMap;

use super::{Word, parse::is_variable, pattern};

/// The variables that a word may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub variables: BTreeMap<String, String>,
    /// What was given for ARGs from outside (`docker build --build-arg`): it goes before their defaults.
    pub given: BTreeMap<String, String>,
    pub escape: char,
}

impl Default for Scope {
    fn default() -> Self {
        Scope { variables: BTreeMap::new(), given: BTreeMap::new(), escape: '\\' }
    }
}

impl Scope {
    /// The word's value: variables replaced, quotes and escapes taken away. The error says what is wrong with it.
    pub fn expand(&self, word: &Word) -> Result<String, String> {
        let mut reader = Reader { chars: word.0.chars().collect(), at: 0, scope: self, quotes: true };
        reader.until(&[]).map(|(text, _)| text)
    }

    /// The value of an ARG that stands in this scope: what was given for it, else its default, else what `globals` have; None when
    /// nothing of these is there. The error says what is wrong with the default.
    pub fn argument(&self, name: &str, default: Option<&Word>, globals: &Scope) -> Result<Option<String>, String> {
        match (globals.given.get(name), default) {
            (Some(given), _) => Ok(Some(given.clone())),
            (None, Some(word)) => self.expand(word).map(Some),
            (None, None) => Ok(globals.variables.get(name).cloned()),
        }
    }

    /// A text with its variables replaced; quotes are nothing special in it.
    pub fn expand_text(&self, text: &str) -> Result<String, String> {
        // Here-documents are escaped by a backslash, whatever the directive says.
        let scope = Scope { escape: '\\', ..self.clone() };
        let mut reader = Reader { chars: text.chars().collect(), at: 0, scope: &scope, quotes: false };
        reader.until(&[]).map(|(text, _)| text)
    }
}

struct Reader<'a> {
    chars: Vec<char>,
    at: usize,
    scope: &'a Scope,
    /// Whether quotes are taken away.
    quotes: bool,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += 1;
        c
    }

    /// Up to one of `ends`, which is taken and said, or to the end of the word when there are none.
    fn until(&mut self, ends: &[char]) -> Result<(String, Option<char>), String> {
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                c if ends.contains(&c) => return Ok((out, Some(c))),
                '\'' if self.quotes => out.push_str(&self.single_quoted()?),
                '"' if self.quotes => out.push_str(&self.double_quoted()?),
                '$' => out.push_str(&self.variable()?),
                c if c == self.scope.escape => out.push(self.next().unwrap_or(c)),
                c => out.push(c),
            }
        }
        match ends {
            [] => Ok((out, None)),
            _ => Err("a } is missing at the end".to_string()),
        }
    }

    /// As `until`, for a pattern: what is escaped or quoted in it stays literal.
    fn pattern(&mut self, ends: &[char]) -> Result<(String, Option<char>), String> {
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                c if ends.contains(&c) => return Ok((out, Some(c))),
                '\'' => out.push_str(&literal(&self.single_quoted()?)),
                '"' => out.push_str(&literal(&self.double_quoted()?)),
                '$' => out.push_str(&self.variable()?),
                c if c == self.scope.escape => out.push_str(&literal(&self.next().unwrap_or(c).to_string())),
                c => out.push(c),
            }
        }
        Err("a } is missing at the end".to_string())
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let mut out = String::new();
        loop {
            match self.next() {
                Some('\'') => return Ok(out),
                Some(c) => out.push(c),
                None => return Err("a single quote is not closed".to_string()),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut out = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(out),
                Some('$') => out.push_str(&self.variable()?),
                Some(c) if c == self.scope.escape => match self.peek() {
                    Some(next) if matches!(next, '"' | '$') || next == self.scope.escape => out.extend(self.next()),
                    _ => out.push(c),
                },
                Some(c) => out.push(c),
                None => return Err("a double quote is not closed".to_string()),
            }
        }
    }

    /// After the `$`.
    fn variable(&mut self) -> Result<String, String> {
        if self.peek() == Some('{') {
            self.at += 1;
            return self.braced();
        }
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.at += 1;
        }
        let name: String = self.chars[start..self.at].iter().collect();
        if name.is_empty() {
            return Ok("$".to_string());
        }
        Ok(self.scope.variables.get(&name).cloned().unwrap_or_default())
    }

    fn braced(&mut self) -> Result<String, String> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.at += 1;
        }
        let name: String = self.chars[start..self.at].iter().collect();
        if !is_variable(&name) {
            return Err("${ is not followed by the name of a variable".to_string());
        }
        let value = self.scope.variables.get(&name).cloned();
        match self.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => {
                let kind = self.next();
                self.default(&name, value.filter(|value| !value.is_empty()), kind)
            }
            Some(kind @ ('-' | '+' | '?')) => self.default(&name, value, Some(kind)),
            Some(side @ ('#' | '%')) => {
                let longest = self.peek() == Some(side);
                self.at += usize::from(longest);
                let (pattern, _) = self.pattern(&['}'])?;
                Ok(strip(&value.unwrap_or_default(), &pattern, side == '#', longest))
            }
            Some('/') => self.replace(&value.unwrap_or_default()),
            Some(other) => Err(format!("${{{name}{other} is no modifier that is known")),
            None => Err(format!("${{{name} is not closed")),
        }
    }

    fn default(&mut self, name: &str, value: Option<String>, kind: Option<char>) -> Result<String, String> {
        let (word, _) = self.until(&['}'])?;
        match kind {
            Some('-') => Ok(value.unwrap_or(word)),
            Some('+') => Ok(value.map(|_| word).unwrap_or_default()),
            Some('?') => value.ok_or_else(|| if word.is_empty() { format!("{name} is not set") } else { format!("{name}: {word}") }),
            _ => Err(format!("${{{name}: has no modifier that is known: use :- :+ or :?")),
        }
    }

    fn replace(&mut self, value: &str) -> Result<String, String> {
        let all = self.peek() == Some('/');
        self.at += usize::from(all);
        let (from, end) = self.pattern(&['/', '}'])?;
        let to = if end == Some('/') { self.until(&['}'])?.0 } else { String::new() };
        Ok(substitute(value, &from, &to, all))
    }
}

/// A pattern that matches the text alone.
fn literal(text: &str) -> String {
    text.chars().flat_map(|c| matches!(c, '*' | '?' | '\\').then_some('\\').into_iter().chain([c])).collect()
}

/// Removes the shortest or longest prefix (or suffix) that the pattern matches.
fn strip(value: &str, glob: &str, prefix: bool, longest: bool) -> String {
    let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
    // From the shortest candidate to the longest, or the other way round.
    if prefix == longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = value.split_at(cut);
        if prefix && pattern::matches_text(glob, head) {
            return tail.to_string();
        }
        if !prefix && pattern::matches_text(glob, tail) {
            return head.to_string();
        }
    }
    value.to_string()
}

fn substitute(value: &str, glob: &str, to: &str, all: bool) -> String {
    let mut out = String::new();
    let mut rest = value;
    let mut done = false;
    while !rest.is_empty() {
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
        let longest = ends.into_iter().find(|end| pattern::matches_text(glob, &rest[..*end]));
        match longest.filter(|_| all || !done) {
            Some(end) => {
                out.push_str(to);
                rest = &rest[end..];
                done = true;
            }
            None => {
                let end = rest.chars().next().map_or(rest.len(), char::len_utf8);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let variables = [("a", "one"), ("empty", ""), ("path", "/x/y/z.tar.gz"), ("B_1", "two"), ("stars", "*b*c")];
        let scope = Scope { variables: variables.map(|(k, v)| (k.to_string(), v.to_string())).into(), ..Scope::default() };
        assert_eq!(scope.expand(&Word(text.to_string())).unwrap(), expected, "{text}");
    }

    #[test]
    fn variables_and_quotes() {
        for (text, expected) in [
            ("$a", "one"),
            ("${a}x$B_1", "onextwo"),
            ("$a.x", "one.x"),
            ("'$a'", "$a"),
            ("\"$a b\"", "one b"),
            ("\\$a", "$a"),
            ("\"\\$a \\x\"", "$a \\x"),
            ("a\\ b", "a b"),
            ("$", "$"),
            ("$ x", "$ x"),
            ("$none.", "."),
            ("x'y'\"z\"", "xyz"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn texts_keep_their_quotes() {
        let scope = Scope { variables: [("a".to_string(), "one".to_string())].into(), escape: '`', ..Scope::default() };
        assert_eq!(scope.expand_text("\"$a\" '${a:-x}' \\$a\n").unwrap(), "\"one\" 'one' $a\n");
    }

    #[test]
    fn modifiers() {
        for (text, expected) in [
            ("${none:-$a}", "one"),
            ("${empty:-d}", "d"),
            ("${empty-d}", ""),
            ("${none-d}", "d"),
            ("${a:+x}", "x"),
            ("${empty:+x}", ""),
            ("${empty+x}", "x"),
            ("${none+x}", ""),
            ("${a:?m}", "one"),
            ("${path#*/}", "x/y/z.tar.gz"),
            ("${path##*/}", "z.tar.gz"),
            ("${path%.*}", "/x/y/z.tar"),
            ("${path%%.*}", "/x/y/z"),
            ("${stars#\\*}", "b*c"),
            ("${stars#'*b'}", "*c"),
            ("${stars//\\*/-}", "-b-c"),
            ("${stars##[*]}", "*b*c"),
            ("${path/x/_}", "/_/y/z.tar.gz"),
            ("${path//\\//-}", "-x-y-z.tar.gz"),
            ("${none:-\"a }b\"}", "a }b"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("'x", "single quote"),
            ("\"x", "double quote"),
            ("${a", "not closed"),
            ("${}", "name of a variable"),
            ("${a!x}", "no modifier"),
            ("${a:=x}", "modifier"),
            ("${none:?is needed}", "none: is needed"),
            ("${none:-x", "missing at the end"),
        ] {
            let error = Scope::default().expand(&Word(text.to_string())).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

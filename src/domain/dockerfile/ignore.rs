//! `.dockerignore` (docs.docker.com/build/concepts/context, "dockerignore files"): the last rule that matches counts, and a rule that
//! matches a folder holds for all that is in it.

use super::pattern::Glob;

/// The rules of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    line: usize,
    pattern: Glob,
    keeps: bool,
}

/// A line that is no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRule {
    /// From 1.
    pub line: usize,
    pub text: String,
}

impl Ignore {
    /// Reads the rules of a file; the error is the first line that is none.
    pub fn parse(text: &str) -> Result<Ignore, InvalidRule> {
        let mut rules = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let written = if line.starts_with('#') { "" } else { line.trim() };
            if written.is_empty() {
                continue;
            }
            let (keeps, pattern) = written.strip_prefix('!').map_or((false, written), |rest| (true, rest.trim()));
            let pattern = Some(pattern).filter(|pattern| !pattern.is_empty()).and_then(|pattern| Glob::parse(&clean(pattern)));
            let Some(pattern) = pattern else { return Err(InvalidRule { line: index + 1, text: written.to_string() }) };
            rules.push(Rule { line: index + 1, pattern, keeps });
        }
        Ok(Ignore { rules })
    }

    /// The line of the rule that leaves a path out (relative to the context, `/` between its parts); None when it stays in.
    pub fn ignores(&self, path: &str) -> Option<usize> {
        let decisive = self.rules.iter().rev().find(|rule| ancestors(path).any(|path| rule.pattern.matches(path)))?;
        (!decisive.keeps).then_some(decisive.line)
    }

    /// Whether an ignored folder may still hold something that stays in.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.keeps)
    }
}

/// The path itself and the folders above it.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path).chain(path.rmatch_indices('/').map(move |(at, _)| &path[..at]))
}

/// Go's `filepath.Clean`, without a leading slash; a path that leads out keeps its dots, and so matches nothing.
fn clean(pattern: &str) -> String {
    let rooted = pattern.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_string() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic_and_the_last_match_wins(text in "[a-c*?!#/\\\\. \\[\\]\n-]{0,60}", path in "[a-c./]{1,20}") {
            // A rule that cannot be read is an error of its own, and the rest does not matter.
            if let Ok(ignore) = Ignore::parse(&text) {
                let _ = ignore.ignores(&path);
                let all = Ignore::parse(&format!("{text}\n**\n")).map(|all| all.ignores("a/b").is_some());
                proptest::prop_assert_eq!(all, Ok(true));
                let none = Ignore::parse(&format!("{text}\n!**\n")).map(|none| none.ignores("a/b").is_none());
                proptest::prop_assert_eq!(none, Ok(true));
            }
        }
    }

    #[test]
    fn rules() {
        for (text, path, line) in [
            ("target", "target", Some(1)),
            ("target", "target/app.jar", Some(1)),
            ("target", "x/target", None),
            ("/target/", "target/a", Some(1)),
            ("**/target", "x/y/target/z", Some(1)),
            ("*.md\n!README.md", "README.md", None),
            ("*.md\n!README.md", "other.md", Some(1)),
            ("!README.md\n*.md", "README.md", Some(2)),
            ("target\n!target/*.jar", "target/app.jar", None),
            ("target\n!target/*.jar", "target/classes/x", Some(1)),
            ("# comment\n\n  a  ", "a", Some(3)),
            ("\u{feff}a", "a", Some(1)),
            ("#a", "#a", None),
            (" #a", "#a", Some(1)),
            ("*\n!src\n!pom.xml", "src/main/x", None),
            ("*\n!src\nsrc/test", "src/test/x", Some(3)),
            ("**", "a/b", Some(1)),
            ("./a/../b", "b", Some(1)),
            ("../b", "b", None),
            ("/../b", "b", Some(1)),
            ("..", "x", None),
            (".", "x", None),
            ("*/temp*", "some/temporary.txt", Some(1)),
            ("*/temp*", "a/b/temp", None),
            ("temp?", "tempa", Some(1)),
            ("! a\na\n! a", "a", None),
            ("", "x", None),
        ] {
            assert_eq!(Ignore::parse(text).unwrap().ignores(path), line, "{text:?} {path}");
        }
    }

    #[test]
    fn a_line_that_is_no_rule_is_told() {
        for (text, line) in [("a\n!", 2), ("[a", 1), ("\n\n!x[]", 3)] {
            assert_eq!(Ignore::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }
}

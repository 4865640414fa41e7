//! `.dockerignore` (docs.docker.com/build/concepts/context, "dockerignore files"): the last rule that matches counts, and a rule that
//! matches a folder holds for all that is in it.

use super::pattern;

/// The rules of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    line: usize,
    pattern: String,
    keeps: bool,
}

impl Ignore {
    pub fn parse(text: &str) -> Ignore {
        let mut rules = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = if line.starts_with('#') { "" } else { line.trim() };
            let (keeps, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, clean(rest.trim())),
                None => (false, clean(line)),
            };
            if !pattern.is_empty() {
                rules.push(Rule { line: index + 1, pattern, keeps });
            }
        }
        Ignore { rules }
    }

    /// The line of the rule that leaves a path out (relative to the context, `/` between its parts); None when it stays in.
    pub fn ignores(&self, path: &str) -> Option<usize> {
        let decisive = self.rules.iter().rev().find(|rule| ancestors(path).any(|path| pattern::matches_path(&rule.pattern, path)))?;
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

/// Go's `filepath.Clean`, without a leading slash.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("#a", "#a", None),
            ("*\n!src\n!pom.xml", "src/main/x", None),
            ("*\n!src\nsrc/test", "src/test/x", Some(3)),
            ("**", "a/b", Some(1)),
            ("./a/../b", "b", Some(1)),
            ("..", "x", None),
            ("*/temp*", "some/temporary.txt", Some(1)),
            ("*/temp*", "a/b/temp", None),
            ("temp?", "tempa", Some(1)),
            ("", "x", None),
            ("!", "x", None),
        ] {
            assert_eq!(Ignore::parse(text).ignores(path), line, "{text:?} {path}");
        }
    }
}

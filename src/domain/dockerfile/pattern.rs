//! File patterns as Docker's tools read them: Go's `filepath.Match` with `**` on top (Dockerfile reference, "COPY" and
//! ".dockerignore file").

/// Whether a path (relative, `/` between its parts) matches. `*` and `?` stay within a part; `**` is any number of parts.
pub fn matches_path(pattern: &str, path: &str) -> bool {
    Match { inside: Some('/') }.test(&chars(pattern), &chars(path))
}

/// Whether a text matches as in a shell's `case`: `*` is anything.
pub fn matches_text(pattern: &str, text: &str) -> bool {
    Match { inside: None }.test(&chars(pattern), &chars(text))
}

/// Whether there is anything in it that is not literal.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

struct Match {
    inside: Option<char>,
}

impl Match {
    /// Follows all positions of the pattern at once, so that no pattern takes more than length times length.
    fn test(&self, pattern: &[char], text: &[char]) -> bool {
        let mut row = self.closure(pattern, [0].into());
        for &c in text {
            let next = row.iter().filter_map(|&at| self.step(pattern, at, c)).flatten().collect();
            row = self.closure(pattern, next);
            if row.is_empty() {
                return false;
            }
        }
        row.contains(&pattern.len())
    }

    /// Positions that are reached without a character: stars may be empty, and `**/` may be no part at all.
    fn closure(&self, pattern: &[char], mut row: std::collections::BTreeSet<usize>) -> std::collections::BTreeSet<usize> {
        let mut open: Vec<usize> = row.iter().copied().collect();
        while let Some(at) = open.pop() {
            let reached = match self.star(pattern, at) {
                Some(length @ 2..) if pattern.get(at + length) == Some(&'/') && (at == 0 || pattern[at - 1] == '/') => {
                    vec![at + length, at + length + 1]
                }
                Some(length) => vec![at + length],
                None => vec![],
            };
            open.extend(reached.into_iter().filter(|at| row.insert(*at)));
        }
        row
    }

    fn star(&self, pattern: &[char], at: usize) -> Option<usize> {
        match pattern.get(at..)? {
            ['*', '*', ..] if self.inside.is_some() => Some(2),
            ['*', ..] => Some(1),
            _ => None,
        }
    }

    fn step(&self, pattern: &[char], at: usize, c: char) -> Option<Vec<usize>> {
        if let Some(length) = self.star(pattern, at) {
            return (length == 2 || Some(c) != self.inside).then(|| vec![at]);
        }
        match pattern.get(at)? {
            '?' => (Some(c) != self.inside).then(|| vec![at + 1]),
            '[' => {
                let (end, hit) = class(pattern, at, c)?;
                (hit && Some(c) != self.inside).then(|| vec![end])
            }
            '\\' if at + 1 < pattern.len() => (pattern[at + 1] == c).then(|| vec![at + 2]),
            literal => (*literal == c).then(|| vec![at + 1]),
        }
    }
}

/// A class `[a-z]`, `[^x]`: where it ends, and whether `c` is in it; None when it does not end.
fn class(pattern: &[char], start: usize, c: char) -> Option<(usize, bool)> {
    let mut at = start + 1;
    let negated = matches!(pattern.get(at), Some('^'));
    at += usize::from(negated);
    let mut hit = false;
    let first = at;
    let one = |at: &mut usize| {
        *at += usize::from(pattern.get(*at) == Some(&'\\'));
        let c = pattern.get(*at).copied();
        *at += 1;
        c
    };
    while pattern.get(at).is_some_and(|end| *end != ']' || at == first) {
        let low = one(&mut at)?;
        let mut high = low;
        if pattern.get(at) == Some(&'-') && pattern.get(at + 1).is_some_and(|end| *end != ']') {
            at += 1;
            high = one(&mut at)?;
        }
        hit |= (low..=high).contains(&c);
    }
    pattern.get(at)?;
    Some((at + 1, hit != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (pattern, path, expected) in [
            ("a.jar", "a.jar", true),
            ("*.jar", "a.jar", true),
            ("*.jar", "x/a.jar", false),
            ("*", ".hidden", true),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("**/c", "c", true),
            ("**/c", "a/b/c", true),
            ("**/*.md", "a/b/r.md", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("**", "a/b", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]x]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a[", "a[", false),
            ("", "", true),
            ("*****************************a", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", false),
        ] {
            assert_eq!(matches_path(pattern, path), expected, "{pattern} {path}");
        }
        assert!(matches_text("*/z", "x/y/z") && !matches_text("x?", "x"));
    }
}

//! What the native engine leaves to engines that run commands or have a network of their own.

use std::fmt;

use super::{
    Dockerfile, Instruction, Line, Scope, Transfer,
    stages::{Stage, needed},
};

/// The longest text of an instruction that a message shows, characters.
const SHOWN: usize = 80;

/// An instruction that the native engine does not cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered {
    /// The line of the Dockerfile, from 1.
    pub line: usize,
    /// The instruction as it is written, cut where it is long.
    pub text: String,
    pub why: Why,
}

/// What is not covered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// RUN starts a command in the image.
    Command,
    /// ADD fetches this URL or Git repository.
    Remote(String),
    /// A flag of COPY or ADD, without its dashes.
    Flag(String),
    /// `--chmod` in letters.
    Mode(String),
    /// The directive `syntax` names a frontend that is not Docker's own.
    Frontend(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Command => f.write_str("RUN needs an engine that runs commands"),
            Why::Remote(source) => write!(f, "ADD of {source} needs an engine that fetches by itself"),
            Why::Flag(flag) => write!(f, "--{flag} is not covered by the native engine"),
            Why::Mode(mode) => write!(f, "--chmod={mode} is no octal mode, and the native engine takes no other"),
            Why::Frontend(name) => write!(f, "the frontend {name} is run by BuildKit alone"),
        }
    }
}

/// The first instruction, of the stages that the last one needs, that the native engine does not cover; None when it covers the
/// Dockerfile. `globals` are the platform's variables and the ARGs in front of the first FROM. An error is a FROM that cannot be
/// used: its line, and what is wrong with it.
pub fn uncovered(dockerfile: &Dockerfile, globals: &Scope) -> Result<Option<Uncovered>, (usize, String)> {
    if let Some(name) = dockerfile.syntax.as_ref().filter(|name| !is_docker(name)) {
        return Ok(Some(Uncovered { line: 1, text: format!("# syntax={name}"), why: Why::Frontend(name.clone()) }));
    }
    let (_, stages) = dockerfile.stages();
    let needed = needed(&stages, globals)?;
    Ok(needed.into_iter().find_map(|at| first_of(&stages[at], globals)))
}

/// Docker's own frontend, also from a mirror, in whichever version.
fn is_docker(name: &str) -> bool {
    let repository = name.split('@').next().unwrap_or_default();
    let repository = repository.rsplit_once(':').map_or(repository, |(front, tag)| if tag.contains('/') { repository } else { front });
    ["docker/dockerfile", "docker/dockerfile-upstream"]
        .iter()
        .any(|own| repository == *own || repository.strip_suffix(own).is_some_and(|front| front.ends_with('/')))
}

fn first_of(stage: &Stage<'_>, globals: &Scope) -> Option<Uncovered> {
    let mut scope = Scope { escape: globals.escape, ..Scope::default() };
    stage.lines.iter().find_map(|line| {
        scope.learn(line, globals);
        let why = reason(line, &scope)?;
        Some(Uncovered { line: line.number, text: shown(line), why })
    })
}

fn reason(line: &Line, scope: &Scope) -> Option<Why> {
    match &line.instruction {
        Instruction::Run(_) => Some(Why::Command),
        Instruction::Copy(transfer) => flags(transfer, scope),
        Instruction::Add(transfer) => remote(transfer, scope).map(Why::Remote).or_else(|| flags(transfer, scope)),
        _ => None,
    }
}

fn remote(transfer: &Transfer, scope: &Scope) -> Option<String> {
    let expanded = transfer.sources.iter().map(|word| scope.expand(word).unwrap_or_else(|_| word.0.clone()));
    expanded.into_iter().find(|source| is_remote(source))
}

/// Whether ADD takes it from the network.
pub fn is_remote(source: &str) -> bool {
    ["http://", "https://", "ftp://", "git://", "ssh://", "git@"].iter().any(|scheme| source.starts_with(scheme))
}

fn flags(transfer: &Transfer, scope: &Scope) -> Option<Why> {
    let mode = transfer.chmod.as_ref().map(|word| scope.expand(word).unwrap_or_default());
    // A number that is no mode is a mistake, not a matter of the engine.
    let letters = mode.filter(|mode| mode.contains(|c: char| !c.is_ascii_digit()));
    transfer.other_flags.first().cloned().map(Why::Flag).or(letters.map(Why::Mode))
}

fn shown(line: &Line) -> String {
    let text = line.instruction.to_string();
    let first = text.lines().next().unwrap_or_default();
    match first.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &first[..end]),
        None => first.to_string(),
    }
}

impl Scope {
    /// Takes in what an ARG or ENV of a stage sets, as far as the Dockerfile alone tells.
    fn learn(&mut self, line: &Line, globals: &Scope) {
        match &line.instruction {
            Instruction::Arg(pairs) => {
                for (name, default) in pairs {
                    let value = self.argument(name, default.as_ref(), globals).ok().flatten();
                    self.variables.extend(value.map(|value| (name.clone(), value)));
                }
            }
            Instruction::Env(pairs) => {
                let known = pairs.iter().filter_map(|(name, value)| Some((self.expand(name).ok()?, self.expand(value).ok()?)));
                let known: Vec<_> = known.collect();
                self.variables.extend(known);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dockerfile::parse;

    fn check(text: &str, expected: Option<(usize, &str, Why)>) {
        let dockerfile = parse(text, "Dockerfile").unwrap();
        let expected = expected.map(|(line, text, why)| Uncovered { line, text: text.to_string(), why });
        assert_eq!(uncovered(&dockerfile, &Scope::default()), Ok(expected), "{text}");
    }

    #[test]
    fn what_needs_another_engine_is_told_with_its_line() {
        check("FROM a\nRUN x \\\n  && y", Some((2, "RUN x   && y", Why::Command)));
        check("FROM a AS b\nRUN x\nFROM c\nCOPY --from=b x y", Some((2, "RUN x", Why::Command)));
        let url = "https://example.test/x";
        check(&format!("FROM a\nARG U={url}\nADD $U /"), Some((3, "ADD $U /", Why::Remote(url.to_string()))));
        check("FROM a\nCOPY --parents x /", Some((2, "COPY --parents x /", Why::Flag("parents".to_string()))));
        check("FROM a\nCOPY --chmod=u+x x /", Some((2, "COPY --chmod=u+x x /", Why::Mode("u+x".to_string()))));
        check("# syntax=x/front:1\nFROM a", Some((1, "# syntax=x/front:1", Why::Frontend("x/front:1".to_string()))));
        let long = format!("FROM a\nRUN {}", "é".repeat(200));
        let Ok(Some(found)) = uncovered(&parse(&long, "Dockerfile").unwrap(), &Scope::default()) else { panic!() };
        assert_eq!((found.text.chars().count(), found.text.ends_with('…')), (81, true));
    }

    #[test]
    fn what_is_covered_is_covered() {
        for text in [
            "FROM a AS tests\nRUN x\nFROM b\nCOPY x y",
            "FROM a\nCOPY <<EOF /x\nRUN y\nEOF\n",
            "FROM a\nONBUILD RUN x",
            "FROM a\nADD x.tar.xz /\nCOPY --from=image --chown=a:b --chmod=755 --link --exclude=z x y",
            "# syntax=docker/dockerfile:1.7-labs\nFROM a",
            "# syntax=mirror.test:5000/docker/dockerfile\nFROM a",
            "FROM a\nCOPY --chmod=$M x y",
        ] {
            check(text, None);
        }
        assert_eq!(uncovered(&parse("FROM $NONE", "Dockerfile").unwrap(), &Scope::default()).unwrap_err().0, 1);
    }
}

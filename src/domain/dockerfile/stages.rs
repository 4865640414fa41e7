//! The stages of a Dockerfile, and which of them an image needs.

use std::collections::BTreeSet;

use super::{Dockerfile, Instruction, Line, Scope, Word};

/// The instructions from one FROM to the next.
#[derive(Debug, Clone)]
pub struct Stage<'a> {
    /// Line of the FROM.
    pub number: usize,
    pub image: &'a Word,
    pub platform: Option<&'a Word>,
    pub alias: Option<&'a str>,
    pub lines: &'a [Line],
}

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Scratch,
    /// An earlier stage, by its place.
    Stage(usize),
    Image(String),
}

impl Dockerfile {
    /// The ARGs in front of the first FROM, and the stages.
    pub fn stages(&self) -> (&[Line], Vec<Stage<'_>>) {
        let starts: Vec<usize> = self
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| matches!(line.instruction, Instruction::From { .. }))
            .map(|(at, _)| at)
            .collect();
        let mut stages = Vec::new();
        for (nth, &start) in starts.iter().enumerate() {
            let end = starts.get(nth + 1).copied().unwrap_or(self.lines.len());
            if let Instruction::From { image, platform, alias } = &self.lines[start].instruction {
                let lines = &self.lines[start + 1..end];
                let number = self.lines[start].number;
                stages.push(Stage { number, image, platform: platform.as_ref(), alias: alias.as_deref(), lines });
            }
        }
        (&self.lines[..starts.first().copied().unwrap_or(0)], stages)
    }

    /// Without what follows the stage of this name, so that it is the last one (`docker build --target`). The error names the stages that
    /// there are.
    pub fn until(self, target: &str) -> Result<Dockerfile, String> {
        let (_, stages) = self.stages();
        let Some(at) = named(&stages, target) else {
            let names: Vec<&str> = stages.iter().filter_map(|stage| stage.alias).collect();
            let names = if names.is_empty() { "none of its stages has a name".to_string() } else { format!("it has {}", names.join(", ")) };
            return Err(format!("there is no stage {target}: {names}"));
        };
        let end = stages.get(at + 1).map(|next| next.number);
        let lines = self.lines.into_iter().take_while(|line| end.is_none_or(|end| line.number < end));
        Ok(Dockerfile { lines: lines.collect(), escape: self.escape, syntax: self.syntax })
    }

    /// The names of all ARGs, which values can be given for.
    pub fn arguments(&self) -> BTreeSet<&str> {
        let pairs = self.lines.iter().filter_map(|line| match &line.instruction {
            Instruction::Arg(pairs) => Some(pairs),
            _ => None,
        });
        pairs.flatten().map(|(name, _)| name.as_str()).collect()
    }
}

/// What the stage at `at` begins with; the error says what is wrong with its FROM.
pub fn origin(stages: &[Stage<'_>], at: usize, globals: &Scope) -> Result<Origin, String> {
    let name = globals.expand(stages[at].image)?;
    if name.is_empty() {
        return Err(format!("FROM {} is empty: give its ARG a default in front of the first FROM", stages[at].image));
    }
    if name == "scratch" {
        return Ok(Origin::Scratch);
    }
    Ok(named(&stages[..at], &name).map_or(Origin::Image(name), Origin::Stage))
}

/// The stage that `--from` means, by name or by place; None when it means an image.
pub fn copied_from(stages: &[Stage<'_>], at: usize, from: &str) -> Option<usize> {
    named(&stages[..at], from).or_else(|| from.parse().ok().filter(|place| *place < at))
}

fn named(stages: &[Stage<'_>], name: &str) -> Option<usize> {
    stages.iter().rposition(|stage| stage.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(name)))
}

/// The places of all stages that the last one stands on, itself included; others are not built.
pub fn needed(stages: &[Stage<'_>], globals: &Scope) -> Result<BTreeSet<usize>, (usize, String)> {
    let mut found = BTreeSet::new();
    let mut open = vec![stages.len().saturating_sub(1)];
    while let Some(at) = open.pop() {
        if !found.insert(at) {
            continue;
        }
        if let Origin::Stage(before) = origin(stages, at, globals).map_err(|why| (stages[at].number, why))? {
            open.push(before);
        }
        for line in stages[at].lines {
            if let Instruction::Copy(transfer) = &line.instruction
                && let Some(from) = &transfer.from
            {
                open.extend(copied_from(stages, at, &from.0));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dockerfile::parse;

    #[test]
    fn only_what_the_last_stage_stands_on_is_needed() {
        let text = "ARG V=1\nFROM a:$V AS one\nRUN x\nFROM scratch AS two\nFROM two AS three\nFROM TWO\nCOPY --from=three a b\nCOPY --from=1 a b\nCOPY --from=image a b\n";
        let dockerfile = parse(text, "Dockerfile").unwrap();
        let (globals, stages) = dockerfile.stages();
        assert_eq!((globals.len(), stages.len()), (1, 4));
        let scope = Scope { variables: [("V".to_string(), "2".to_string())].into(), ..Scope::default() };
        assert_eq!(origin(&stages, 0, &scope), Ok(Origin::Image("a:2".to_string())));
        assert_eq!(origin(&stages, 1, &scope), Ok(Origin::Scratch));
        assert_eq!(origin(&stages, 3, &scope), Ok(Origin::Stage(1)));
        assert_eq!(needed(&stages, &scope).unwrap(), BTreeSet::from([1, 2, 3]));
        let empty = parse("FROM $NONE", "Dockerfile").unwrap();
        assert_eq!(needed(&empty.stages().1, &Scope::default()).unwrap_err().0, 1);
    }

    #[test]
    fn a_target_is_the_last_stage() {
        let text = "ARG V\nFROM a AS One\nARG X=1\nFROM b\nARG Y\nFROM One AS two\nUSER 1\n";
        let until = |target: &str| parse(text, "Dockerfile").unwrap().until(target);
        let one = until("one").unwrap();
        assert_eq!((one.lines.last().unwrap().number, one.stages().1.len()), (3, 1));
        assert_eq!(one.arguments(), BTreeSet::from(["V", "X"]));
        assert_eq!(until("TWO").unwrap(), parse(text, "Dockerfile").unwrap());
        assert_eq!(until("three").unwrap_err(), "there is no stage three: it has one, two");
        let nameless = parse("FROM a", "Dockerfile").unwrap();
        assert_eq!(nameless.until("0").unwrap_err(), "there is no stage 0: none of its stages has a name");
    }
}

//! Where the parts of a YAML file stand: line and column of every key and item, so that a mistake of meaning has a place, too.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Parser, Span, StrInput};

/// Values that are looked at; what comes after them has the place of what it is in.
const MAX_NODES: usize = 200_000;
const MAX_DEPTH: usize = 64;

/// Line and column, from 1.
pub type At = (usize, usize);

/// One value: where it (or its key) begins, and what is in it.
#[derive(Debug, Default)]
pub struct Part {
    pub at: At,
    fields: BTreeMap<String, Part>,
    items: Vec<Part>,
}

impl Part {
    /// The place of a path such as `spec.template.spec.containers[0].image`, as far as it is there.
    pub fn find(&self, path: &str) -> At {
        let path = path.replace('[', ".[");
        let mut part = self;
        for step in path.split('.').filter(|step| !step.is_empty()) {
            let index = step.strip_prefix('[').and_then(|rest| rest.trim_end_matches(']').parse::<usize>().ok());
            let next = match index {
                Some(index) => part.items.get(index),
                None => part.fields.get(step),
            };
            match next {
                Some(next) => part = next,
                None => break,
            }
        }
        part.at
    }

    /// Whether a path begins with one of the fields.
    pub fn begins(&self, path: &str) -> bool {
        path.split(['.', '[']).next().is_some_and(|first| self.fields.contains_key(first))
    }
}

/// The documents of a text, empty ones too; the error is where it is no YAML, and why.
pub fn positions(text: &str) -> Result<Vec<Part>, (At, String)> {
    let mut reader = Reader { parser: Parser::new_from_str(text), nodes: 0 };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            Some((Event::DocumentStart(..), _)) => {
                if let Some(first) = reader.next()? {
                    documents.push(reader.part(first, 0)?);
                }
            }
            Some((Event::StreamEnd, _)) | None => return Ok(documents),
            Some(_) => {}
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, (At, String)> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(event)) => return Ok(Some(event)),
                Some(Err(error)) => return Err(((error.marker().line(), error.marker().col() + 1), error.info().to_string())),
                None => return Ok(None),
            }
        }
    }

    fn part(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Result<Part, (At, String)> {
        let mut part = Part { at: (span.start.line(), span.start.col() + 1), ..Part::default() };
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err((part.at, "it is too deep or too large".to_string()));
        }
        match event {
            Event::SequenceStart(..) => {
                while let Some((event, span)) = self.next()? {
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    part.items.push(self.part((event, span), depth + 1)?);
                }
            }
            Event::MappingStart(..) => self.fields(&mut part, depth)?,
            _ => {}
        }
        Ok(part)
    }

    /// A field's place is that of its key.
    fn fields(&mut self, part: &mut Part, depth: usize) -> Result<(), (At, String)> {
        while let Some((event, span)) = self.next()? {
            let name = match event {
                Event::MappingEnd => break,
                Event::Scalar(name, ..) => name.into_owned(),
                other => {
                    self.part((other, span), depth + 1)?;
                    String::new()
                }
            };
            let Some(value) = self.next()? else { break };
            let value = self.part(value, depth + 1)?;
            part.fields.insert(name, Part { at: (span.start.line(), span.start.col() + 1), ..value });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_place() {
        let text = "a: 1\n---\nspec:\n  ports:\n    - port: 80\n      name: x\n    - {port: 81}\n";
        let documents = positions(text).unwrap();
        assert_eq!(documents.len(), 2);
        for (path, at) in [("spec", (3, 1)), ("spec.ports[0].name", (6, 7)), ("spec.ports[1].port", (7, 8)), ("spec.gone.x", (3, 1))] {
            assert_eq!(documents[1].find(path), at, "{path}");
        }
        assert!(documents[1].begins("spec.ports") && !documents[1].begins("kind"));
    }

    #[test]
    fn what_is_no_yaml_has_a_place() {
        let (at, why) = positions("a: [1\nb: 2\n").unwrap_err();
        assert!(at.0 >= 1 && !why.is_empty(), "{at:?} {why}");
    }
}

//! YAML with the place of every value, read from the parser's events: no guessing of types, and hard limits on size, depth and
//! the number of values (aliases counted as often as they are used).

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::raw::{At, Node, Raw};

/// Bytes that a settings file may have.
pub const MAX_BYTES: u64 = 256 * 1024;
/// How deep values may nest.
const MAX_DEPTH: usize = 24;
/// Values in a file, with those that aliases repeat.
const MAX_NODES: usize = 10_000;

/// What is wrong in a file, and where.
pub struct Fault {
    pub at: At,
    pub what: String,
    pub fix: String,
}

/// Reads the only document of `text`; None when it is empty. Faults that leave the rest readable are added to `faults`.
pub fn parse(text: &str, faults: &mut Vec<Fault>) -> Option<Node> {
    let mut builder = Builder { parser: Parser::new_from_str(text), faults, anchors: BTreeMap::new(), nodes: 0 };
    match builder.document() {
        Ok(node) => node,
        Err(fault) => {
            faults.push(fault);
            None
        }
    }
}

struct Builder<'a, 'f> {
    parser: Parser<'a, StrInput<'a>>,
    faults: &'f mut Vec<Fault>,
    /// Complete anchored nodes with the number of values in them.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

fn at(span: &Span) -> At {
    (span.start.line(), span.start.col() + 1)
}

fn fault(at: At, what: impl Into<String>, fix: impl Into<String>) -> Fault {
    Fault { at, what: what.into(), fix: fix.into() }
}

fn syntax(error: &ScanError) -> Fault {
    let place = (error.marker().line(), error.marker().col() + 1);
    fault(place, format!("this is not YAML: {}", error.info()), "correct the indentation, quotes or brackets there")
}

impl<'a> Builder<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => return Err(syntax(&error)),
                None => return Err(fault((1, 1), "the file ends too early", "complete it")),
            }
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Fault> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(..), span) if root.is_some() => {
                    return Err(fault(at(&span), "there is a second document", "keep one document in the file"));
                }
                (Event::DocumentStart(..), _) => {
                    let first = self.next()?;
                    root = Some(self.node(first, 0)?);
                }
                (_, span) => return Err(fault(at(&span), "this is not YAML", "correct the line")),
            }
        }
    }

    fn node(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Result<Node, Fault> {
        let place = at(&span);
        let before = self.nodes;
        self.count(1, place)?;
        if depth > MAX_DEPTH {
            return Err(fault(place, format!("values nest deeper than {MAX_DEPTH} levels"), "make the file flatter"));
        }
        if let Some(tag) = event.tag().filter(|tag| !tag.is_yaml_core_schema()) {
            let place = span.tag_start.map_or(place, |start| (start.line(), start.col() + 1));
            return Err(fault(place, format!("the tag {} is not understood", tag.original()), "remove the tag"));
        }
        let (raw, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(&text, style), anchor),
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(id) => return self.alias(id, place),
            _ => return Err(fault(place, "this is not YAML", "correct the line")),
        };
        let node = Node { raw, at: Some(place) };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn count(&mut self, more: usize, place: At) -> Result<(), Fault> {
        self.nodes += more;
        match self.nodes > MAX_NODES {
            true => Err(fault(place, format!("there are more than {MAX_NODES} values, aliases included"), "make the file smaller")),
            false => Ok(()),
        }
    }

    fn alias(&mut self, id: usize, place: At) -> Result<Node, Fault> {
        let Some((_, size)) = self.anchors.get(&id) else {
            return Err(fault(place, "an alias stands inside its own anchor", "write the value out"));
        };
        let size = *size;
        self.count(size, place)?;
        self.anchors.get(&id).map(|(node, _)| node.clone()).ok_or_else(|| fault(place, "an alias has no anchor", "write the value out"))
    }

    fn list(&mut self, depth: usize) -> Result<Raw, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Raw::List(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Raw, Fault> {
        let (mut fields, mut merged, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        loop {
            let (event, span) = self.next()?;
            let place = at(&span);
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(key, ScalarStyle::Plain, ..) if key == "<<" => {
                    let value = self.next()?;
                    let value = self.node(value, depth + 1)?;
                    merged.push((value, place));
                    continue;
                }
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err(fault(place, "a key is not a plain word", "write keys as plain words")),
            };
            let value = self.next()?;
            let value = self.node(value, depth + 1)?;
            if seen.insert(key.clone()) {
                fields.push((key, Some(place), value));
            } else {
                self.faults.push(fault(place, format!("{key} stands twice in the same map"), "keep one of them"));
            }
        }
        for (value, place) in merged {
            merge(&mut fields, value, place)?;
        }
        Ok(Raw::Map(fields))
    }
}

/// YAML's merge key: the fields of another map (or of several), where they are not set here.
fn merge(fields: &mut Vec<(String, Option<At>, Node)>, value: Node, place: At) -> Result<(), Fault> {
    match value.raw {
        Raw::Map(more) => {
            for field in more {
                if !fields.iter().any(|(key, ..)| *key == field.0) {
                    fields.push(field);
                }
            }
            Ok(())
        }
        Raw::List(maps) => maps.into_iter().try_for_each(|map| merge(fields, map, place)),
        _ => Err(fault(place, "<< takes an alias of a map", "write <<: *NAME")),
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Raw {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Raw::Null,
        _ => Raw::Text(text.to_string()),
    }
}

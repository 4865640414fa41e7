//! COPY and ADD of a stage: what they take, from where, and the layer that it makes.

use std::{collections::BTreeSet, path::Path};

use super::{
    arguments::mode,
    base_files::BaseFiles,
    context::{Item, Place, clean},
    copy::{Target, find_in_files},
    evaluate::{Done, State},
    source::Source,
    tree::{BaseState, Files, Kind, Node, Owner},
    unpack,
    users::Users,
};
use crate::domain::{
    dockerfile::{Document, Transfer, Why, coverage::is_remote, ignore::Ignore, stages::copied_from},
    event::LayerRole,
    problem::{Code, Problem, Result},
};

/// One COPY or ADD while it is done.
pub(super) struct Transferring<'a, 'b> {
    pub state: &'a mut State<'b>,
    pub transfer: &'a Transfer,
    pub done: &'a Done,
    pub place: Place<'a>,
}

impl Transferring<'_, '_> {
    /// Makes the layer of a COPY; says whether there is anything in it.
    pub fn copy(mut self) -> Result<bool> {
        let exclude = self.exclude()?;
        let mut items = Vec::new();
        for word in &self.transfer.sources {
            let source = self.state.expand(word, self.place)?;
            items.extend(match &self.transfer.from {
                Some(from) => self.taken(&from.0, &source, &exclude)?,
                None => self.state.inputs.context.find(&source, &exclude, self.place)?,
            });
        }
        self.lay(items)
    }

    /// Makes the layer of an ADD, which unpacks archives; says whether there is anything in it.
    pub fn add(mut self) -> Result<bool> {
        let exclude = self.exclude()?;
        let mut items = Vec::new();
        for word in &self.transfer.sources {
            let source = self.state.expand(word, self.place)?;
            // Only a variable of the base can bring one this far.
            if is_remote(&source) {
                return Err(self.place.unsupported(Why::Remote(source)).hint("let another engine build it (image.engine)"));
            }
            for mut item in self.state.inputs.context.find(&source, &exclude, self.place)? {
                if let [(below, Node { kind: Kind::File(Source::File(path), _), .. })] = item.members.as_slice()
                    && below.is_empty()
                    && let Some(members) = unpack::unpack(path, self.state.inputs.scratch, self.place)?
                {
                    item = Item { name: item.name, folder: false, unpacked: true, members };
                }
                items.push(item);
            }
        }
        self.lay(items)
    }

    /// What `--from` has of a source.
    fn taken(&self, from: &str, source: &str, exclude: &Ignore) -> Result<Vec<Item>> {
        let inputs = self.state.inputs;
        let stage = copied_from(inputs.stages, self.state.at, from).and_then(|at| self.done.get(&at));
        let image = inputs.images.get(from).map(|files| Files::new(BaseState::Known(files.clone())));
        let Some(files) = stage.map(|stage| &stage.files).or(image.as_ref()) else {
            return Err(self.place.unsupported(format!("COPY --from={from} in a trigger of the base takes from what was not read")));
        };
        let mut items = find_in_files(files, source, exclude);
        if items.is_empty() {
            let kind = if stage.is_some() { "stage" } else { "image" };
            return Err(self
                .place
                .invalid(format!("{source} is not in the {kind} {from}"))
                .hint("correct the path, or make it there first"));
        }
        if let BaseState::Known(base) = &files.base {
            self.unpack(&mut items, base)?;
        }
        Ok(items)
    }

    /// Takes the contents of files of a base out of its layers.
    fn unpack(&self, items: &mut [Item], base: &BaseFiles) -> Result<()> {
        let nodes = || items.iter().flat_map(|item| &item.members);
        if let Some((path, _)) = nodes().find(|(_, node)| node.kind == Kind::Special) {
            return Err(self.place.invalid(format!("{path} is a device or a pipe, which cannot be copied")));
        }
        let packed = |node: &Node| match node.kind {
            Kind::Packed { layer, entry, size } => Some(((layer, entry), size)),
            _ => None,
        };
        let wanted: BTreeSet<(usize, usize)> = nodes().filter_map(|(_, node)| packed(node)).map(|(at, _)| at).collect();
        let unpacked = base.unpack(&wanted, self.state.inputs.scratch)?;
        for (path, node) in items.iter_mut().flat_map(|item| &mut item.members) {
            if let Some((at, size)) = packed(node) {
                let file = unpacked.get(&at).ok_or_else(|| Problem::bug(format!("{path} was not taken out of its layer")))?;
                node.kind = Kind::File(Source::File(file.clone()), size);
            }
        }
        Ok(())
    }

    /// Makes the layer of all that was found, and of the here-documents.
    fn lay(&mut self, mut items: Vec<Item>) -> Result<bool> {
        for document in &self.transfer.documents {
            items.push(self.document(document)?);
        }
        let several = items.len() > 1;
        let path = self.state.expand(&self.transfer.target, self.place)?;
        let owner = self.owner()?;
        let mode = self.transfer.chmod.as_ref().map(|word| mode(&self.state.expand(word, self.place)?, self.place)).transpose()?;
        let workdir = &self.state.image.config.config.working_dir;
        let target = Target { path: &path, workdir, owner, mode, files: &self.state.image.files };
        let laid = target.lay(items, several, self.place)?;
        let mut tree = std::mem::take(&mut self.state.pending);
        tree.extend(laid);
        if tree.is_empty() {
            return Ok(false);
        }
        self.state.image.files.own.extend(tree.iter().map(|(path, node)| (path.clone(), node.clone())));
        let role = self.role()?;
        self.state.image.layers.push((tree, role));
        Ok(true)
    }

    /// A here-document as the file of its name.
    fn document(&self, document: &Document) -> Result<Item> {
        let scratch = self.state.inputs.scratch;
        let failed = |error: std::io::Error| Problem::io("write", scratch, &error);
        let content = if document.expands { self.state.expand_text(&document.content, self.place)? } else { document.content.clone() };
        let file = tempfile::Builder::new().prefix("document-").tempfile_in(scratch).map_err(failed)?;
        std::fs::write(file.path(), &content).map_err(failed)?;
        let (_, path) = file.keep().map_err(|error| failed(error.error))?;
        let node = Node { kind: Kind::File(Source::File(path), content.len() as u64), mode: 0o644, owner: Owner::default() };
        Ok(Item { name: document.name.clone(), folder: false, unpacked: false, members: vec![(String::new(), node)] })
    }

    fn owner(&self) -> Result<Option<Owner>> {
        let Some(word) = &self.transfer.chown else { return Ok(None) };
        let text = self.state.expand(word, self.place)?;
        let users = Users { files: &self.state.image.files, scratch: self.state.inputs.scratch };
        users.owner(&text, self.place).map(Some)
    }

    fn role(&self) -> Result<LayerRole> {
        let Some(first) = self.transfer.sources.first().filter(|_| self.transfer.from.is_none()) else { return Ok(LayerRole::Other) };
        let path = clean(&self.state.expand(first, self.place)?).unwrap_or_default();
        Ok(self.state.inputs.roles.get(Path::new(&path)).copied().unwrap_or(LayerRole::Other))
    }

    fn exclude(&self) -> Result<Ignore> {
        let patterns: Result<Vec<String>> = self.transfer.exclude.iter().map(|word| self.state.expand(word, self.place)).collect();
        Ignore::parse(&patterns?.join("\n"))
            .map_err(|rule| self.place.problem(Code::DockerfileInvalid, format!("--exclude={} is no pattern", rule.text)))
    }
}

//! Runs the instructions of a Dockerfile, but for their commands: what the image's configuration and layers will be.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    arguments::{healthcheck, mode, not_run, owner, ports},
    config::{History, ImageConfig, Platform, timestamp},
    context::{Context, Item, Place, clean},
    copy::{Target, find_in_stage},
    tree::{Kind, Node, Owner, Tree, belongs_to_base, parents, resolve},
    unpack,
};
use crate::domain::{
    dockerfile::{
        Command, Instruction, Line, Scope, Transfer, Word,
        ignore::Ignore,
        stages::{Origin, Stage, copied_from, origin},
    },
    event::LayerRole,
    problem::{Problem, Result},
};

/// What all stages share.
pub(super) struct Inputs<'a> {
    /// Name of the Dockerfile, for messages.
    pub file: &'a str,
    pub context: &'a Context,
    pub roles: &'a BTreeMap<PathBuf, LayerRole>,
    pub created: i64,
    pub scratch: &'a Path,
    /// Variables in front of the first FROM, with the platform's.
    pub globals: &'a Scope,
    pub platform: &'a Platform,
    pub stages: &'a [Stage<'a>],
    pub needed: &'a BTreeSet<usize>,
    /// The configuration of the base of each stage that has one.
    pub bases: &'a BTreeMap<usize, ImageConfig>,
}

/// A stage, evaluated.
#[derive(Debug, Clone)]
pub(super) struct Evaluated {
    pub config: ImageConfig,
    /// The stage whose FROM names the base image; None from scratch.
    pub base: Option<usize>,
    /// Layers above the base's.
    pub layers: Vec<(Tree, LayerRole)>,
    /// All that the layers hold, one over the other.
    files: Tree,
}

/// Evaluates the last stage and all that it stands on.
pub(super) fn evaluate(inputs: &Inputs<'_>) -> Result<Evaluated> {
    let mut done: BTreeMap<usize, Evaluated> = BTreeMap::new();
    for &at in inputs.needed {
        let stage = &inputs.stages[at];
        let place = Place { file: inputs.file, number: stage.number };
        let start = begin(inputs, at, &done).map_err(|why| place.invalid(why))?;
        let mut state = State::new(inputs, at, start);
        for line in stage.lines {
            state.run(line, &done)?;
        }
        done.insert(at, state.finish());
    }
    done.pop_last().map(|(_, last)| last).ok_or_else(|| Problem::bug("a Dockerfile without stages was evaluated"))
}

fn begin(inputs: &Inputs<'_>, at: usize, done: &BTreeMap<usize, Evaluated>) -> Result<Evaluated, String> {
    let fresh = |config, base| Evaluated { config, base, layers: Vec::new(), files: Tree::new() };
    match origin(inputs.stages, at, inputs.globals)? {
        Origin::Scratch => Ok(fresh(ImageConfig::scratch(inputs.platform), None)),
        Origin::Stage(before) => done.get(&before).cloned().ok_or_else(|| "its base stage was not built".to_string()),
        Origin::Image(name) => match inputs.bases.get(&at) {
            Some(config) => Ok(fresh(config.clone(), Some(at))),
            None => Err(format!("the base {name} was not loaded")),
        },
    }
}

struct State<'a> {
    inputs: &'a Inputs<'a>,
    at: usize,
    image: Evaluated,
    scope: Scope,
    arguments: BTreeMap<String, String>,
    /// Folders that WORKDIR asks for; they go into the next layer.
    pending: Tree,
    cmd_is_own: bool,
}

impl<'a> State<'a> {
    fn new(inputs: &'a Inputs<'a>, at: usize, image: Evaluated) -> Self {
        let scope = Scope { variables: BTreeMap::new(), escape: inputs.globals.escape };
        let mut state = State { inputs, at, image, scope, arguments: BTreeMap::new(), pending: Tree::new(), cmd_is_own: false };
        state.refresh();
        state
    }

    /// ENV wins over ARG.
    fn refresh(&mut self) {
        self.scope.variables = self.arguments.clone();
        let env = self.image.config.config.env.iter().filter_map(|line| line.split_once('='));
        self.scope.variables.extend(env.map(|(name, value)| (name.to_string(), value.to_string())));
    }

    fn expand(&self, word: &Word, place: Place<'_>) -> Result<String> {
        self.scope.expand(word).map_err(|why| place.invalid(format!("{word}: {why}")))
    }

    fn run(&mut self, line: &Line, done: &BTreeMap<usize, Evaluated>) -> Result<()> {
        let place = Place { file: self.inputs.file, number: line.number };
        let mut empty = true;
        match &line.instruction {
            Instruction::From { .. } => {}
            Instruction::Arg(pairs) => return self.argument(pairs, place),
            Instruction::Env(pairs) => self.environment(pairs, place)?,
            Instruction::Label(pairs) => {
                for (name, value) in self.pairs(pairs, place)? {
                    self.image.config.config.labels.insert(name, value);
                }
            }
            Instruction::Copy(transfer) => empty = !self.copy(transfer, done, place)?,
            Instruction::Add(transfer) => empty = !self.add(transfer, place)?,
            Instruction::Workdir(word) => self.workdir(&self.expand(word, place)?),
            Instruction::User(word) => self.image.config.config.user = self.expand(word, place)?,
            Instruction::Expose(words) => self.expose(words, place)?,
            Instruction::Volume(words) => {
                for word in words {
                    self.image.config.config.volumes.insert(self.expand(word, place)?, json!({}));
                }
            }
            Instruction::StopSignal(word) => self.image.config.config.stop_signal = self.expand(word, place)?,
            Instruction::Entrypoint(command) => {
                self.image.config.config.entrypoint = Some(self.command(command));
                // A CMD of the base was meant for the base's own entry point.
                if !self.cmd_is_own {
                    self.image.config.config.cmd = None;
                }
            }
            Instruction::Cmd(command) => {
                self.image.config.config.cmd = Some(self.command(command)).filter(|words| !words.is_empty());
                self.cmd_is_own = true;
            }
            Instruction::Shell(words) => self.image.config.config.shell = Some(words.clone()),
            Instruction::Healthcheck(check) => self.image.config.config.healthcheck = Some(healthcheck(check)),
            Instruction::Maintainer(name) => self.image.config.author = Some(name.clone()),
            Instruction::Run(_) | Instruction::OnBuild(_) => return Err(not_run(&line.instruction, place)),
        }
        self.record(line, empty);
        Ok(())
    }

    fn record(&mut self, line: &Line, empty: bool) {
        self.image.config.history.push(History {
            created: Some(timestamp(self.inputs.created)),
            created_by: Some(line.instruction.to_string()),
            comment: Some("shipway".to_string()),
            empty_layer: empty,
            ..History::default()
        });
    }

    fn argument(&mut self, pairs: &[(String, Option<Word>)], place: Place<'_>) -> Result<()> {
        for (name, default) in pairs {
            let value = match default {
                Some(word) => Some(self.expand(word, place)?),
                None => self.inputs.globals.variables.get(name).cloned(),
            };
            if let Some(value) = value {
                self.arguments.insert(name.clone(), value);
                self.refresh();
            }
        }
        Ok(())
    }

    fn pairs(&self, pairs: &[(Word, Word)], place: Place<'_>) -> Result<Vec<(String, String)>> {
        pairs.iter().map(|(name, value)| Ok((self.expand(name, place)?, self.expand(value, place)?))).collect()
    }

    /// All values of one ENV see the variables as they were before it.
    fn environment(&mut self, pairs: &[(Word, Word)], place: Place<'_>) -> Result<()> {
        for (name, value) in self.pairs(pairs, place)? {
            self.image.config.set_env(&name, &value);
        }
        self.refresh();
        Ok(())
    }

    fn workdir(&mut self, path: &str) {
        let path = resolve(&self.image.config.config.working_dir, path);
        self.image.config.config.working_dir = format!("/{path}");
        let has_base = self.image.base.is_some();
        for folder in parents(&path).chain((!path.is_empty()).then_some(path.as_str())) {
            // Its last part is what WORKDIR promises to make; `/usr` is where images keep applications by custom.
            let custom = folder == path && folder.starts_with("usr/") && folder.matches('/').count() >= 2;
            let may_be_made = !has_base || !belongs_to_base(folder) || custom;
            if may_be_made && !self.image.files.contains_key(folder) {
                let node = Node::folder(Owner::default());
                self.pending.insert(folder.to_string(), node.clone());
                self.image.files.insert(folder.to_string(), node);
            }
        }
    }

    fn expose(&mut self, words: &[Word], place: Place<'_>) -> Result<()> {
        for word in words {
            for text in self.expand(word, place)?.split_whitespace() {
                let ports = ports(text).ok_or_else(|| place.invalid(format!("EXPOSE {text} is no port: 8080, 8080/udp or 8000-8010")))?;
                self.image.config.config.exposed_ports.extend(ports.into_iter().map(|port| (port, json!({}))));
            }
        }
        Ok(())
    }

    fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) => {
                let shell = self.image.config.config.shell.clone();
                let mut words = shell.unwrap_or_else(|| vec!["/bin/sh".to_string(), "-c".to_string()]);
                words.push(text.clone());
                words
            }
        }
    }

    fn copy(&mut self, transfer: &Transfer, done: &BTreeMap<usize, Evaluated>, place: Place<'_>) -> Result<bool> {
        self.check_flags(transfer, "COPY", place)?;
        let exclude = self.exclude(transfer, place)?;
        let mut items = Vec::new();
        for word in &transfer.sources {
            let source = self.expand(word, place)?;
            items.extend(match &transfer.from {
                Some(from) => self.stage_items(&from.0, &source, &exclude, done, place)?,
                None => self.inputs.context.find(&source, &exclude, place)?,
            });
        }
        self.lay(transfer, items, place)
    }

    fn stage_items(
        &self,
        from: &str,
        source: &str,
        exclude: &Ignore,
        done: &BTreeMap<usize, Evaluated>,
        place: Place<'_>,
    ) -> Result<Vec<Item>> {
        let Some(stage) = copied_from(self.inputs.stages, self.at, from).and_then(|at| done.get(&at)) else {
            return Err(place
                .unsupported(format!("COPY --from={from} copies from an image, and the native engine copies from stages and the context"))
                .hint("name an earlier stage, or put the files into the context"));
        };
        let items = find_in_stage(&stage.files, source, exclude);
        if !items.is_empty() {
            return Ok(items);
        }
        Err(match stage.base {
            None => place.invalid(format!("{source} is not in the stage {from}")),
            Some(_) => place
                .unsupported(format!(
                    "{source} is not among the files that the stage {from} copied, and files of its base image cannot be copied"
                ))
                .hint("copy it from the context instead"),
        })
    }

    fn add(&mut self, transfer: &Transfer, place: Place<'_>) -> Result<bool> {
        self.check_flags(transfer, "ADD", place)?;
        let exclude = self.exclude(transfer, place)?;
        let mut items = Vec::new();
        for word in &transfer.sources {
            let source = self.expand(word, place)?;
            if ["http://", "https://", "ftp://", "git://", "ssh://", "git@"].iter().any(|scheme| source.starts_with(scheme)) {
                return Err(place
                    .unsupported(format!("ADD of {source} needs the network, and an image is built from its context alone"))
                    .hint("fetch it in the Maven build, and COPY it"));
            }
            for mut item in self.inputs.context.find(&source, &exclude, place)? {
                if let [(below, Node { kind: Kind::File(path, _), .. })] = item.members.as_slice()
                    && below.is_empty()
                    && let Some(members) = unpack::unpack(path, self.inputs.scratch, place)?
                {
                    item = Item { name: item.name, folder: true, members };
                }
                items.push(item);
            }
        }
        self.lay(transfer, items, place)
    }

    /// Makes the layer of a COPY or ADD; says whether there is anything in it.
    fn lay(&mut self, transfer: &Transfer, items: Vec<Item>, place: Place<'_>) -> Result<bool> {
        let several = items.len() > 1;
        let path = self.expand(&transfer.target, place)?;
        let owner = transfer.chown.as_ref().map(|word| owner(&self.expand(word, place)?, place)).transpose()?;
        let mode = transfer.chmod.as_ref().map(|word| mode(&self.expand(word, place)?, place)).transpose()?;
        let workdir = &self.image.config.config.working_dir;
        let target = Target { path: &path, workdir, owner, mode, files: &self.image.files, has_base: self.image.base.is_some() };
        let laid = target.lay(items, several, place)?;
        let mut tree = std::mem::take(&mut self.pending);
        tree.extend(laid);
        if tree.is_empty() {
            return Ok(false);
        }
        self.image.files.extend(tree.iter().map(|(path, node)| (path.clone(), node.clone())));
        self.image.layers.push((tree, self.role(transfer, place)?));
        Ok(true)
    }

    fn role(&self, transfer: &Transfer, place: Place<'_>) -> Result<LayerRole> {
        let Some(first) = transfer.sources.first().filter(|_| transfer.from.is_none()) else { return Ok(LayerRole::Other) };
        let path = clean(&self.expand(first, place)?).unwrap_or_default();
        Ok(self.inputs.roles.get(Path::new(&path)).copied().unwrap_or(LayerRole::Other))
    }

    fn exclude(&self, transfer: &Transfer, place: Place<'_>) -> Result<Ignore> {
        let patterns: Result<Vec<String>> = transfer.exclude.iter().map(|word| self.expand(word, place)).collect();
        Ok(Ignore::parse(&patterns?.join("\n")))
    }

    fn check_flags(&self, transfer: &Transfer, keyword: &str, place: Place<'_>) -> Result<()> {
        match transfer.other_flags.first() {
            Some(flag) => Err(place
                .unsupported(format!("{keyword} --{flag} is not supported by the native engine"))
                .hint("write it without the flag")),
            None => Ok(()),
        }
    }

    /// A WORKDIR that no layer followed gets one of its own.
    fn finish(mut self) -> Evaluated {
        let made: Tree = std::mem::take(&mut self.pending);
        if !made.is_empty() {
            self.image.layers.push((made, LayerRole::Other));
            let by_workdir = |history: &&mut History| history.created_by.as_ref().is_some_and(|by| by.starts_with("WORKDIR "));
            if let Some(history) = self.image.config.history.iter_mut().rev().find(by_workdir) {
                history.empty_layer = false;
            }
        }
        self.image
    }
}

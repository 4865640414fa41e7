//! Runs the instructions of a Dockerfile, but for their commands: what the image's configuration and layers will be.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use super::{
    arguments::{healthcheck, ports, signal},
    base_files::BaseFiles,
    config::{History, ImageConfig, Platform, timestamp},
    context::{Context, Place},
    transfer::Transferring,
    tree::{BaseState, Files, Kind, Node, Tree, belongs_to_base, parents, resolve},
    users::Users,
};
use crate::domain::{
    dockerfile::{
        self, Command, Instruction, Line, Scope, Word,
        stages::{Origin, Stage, origin},
    },
    event::LayerRole,
    problem::{EvidenceKind, Problem, Result},
};

/// What all stages share.
pub(super) struct Inputs<'a> {
    /// Name of the Dockerfile, for messages.
    pub file: &'a str,
    pub context: &'a Context<'a>,
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
    /// The files of those bases, where they are known.
    pub files: &'a BTreeMap<usize, Arc<BaseFiles>>,
    /// The files of the images that `COPY --from` names.
    pub images: &'a BTreeMap<String, Arc<BaseFiles>>,
}

/// A stage, evaluated.
#[derive(Debug, Clone)]
pub(super) struct Evaluated {
    pub config: ImageConfig,
    /// The stage whose FROM names the base image; None from scratch.
    pub base: Option<usize>,
    /// Layers above the base's.
    pub layers: Vec<(Tree, LayerRole)>,
    /// All that the stage holds.
    pub(super) files: Files,
    /// The values of ENV and ARG, the later one wins; a stage that begins with this one has them, too.
    variables: BTreeMap<String, String>,
}

/// Stages that are done, by their place.
pub(super) type Done = BTreeMap<usize, Evaluated>;

/// Evaluates the last stage and all that it stands on.
pub(super) fn evaluate(inputs: &Inputs<'_>) -> Result<Evaluated> {
    let mut done = Done::new();
    for &at in inputs.needed {
        let stage = &inputs.stages[at];
        let place = Place { file: inputs.file, number: stage.number };
        let mut start = begin(inputs, at, &done).map_err(|why| place.invalid(why))?;
        let triggers = triggers(&mut start.config, &inputs.stages[at], inputs)?;
        let mut state = State::new(inputs, at, start);
        for line in triggers.iter().chain(stage.lines) {
            state.run(line, &done).map_err(|problem| with_text(problem, inputs.file, line))?;
        }
        done.insert(at, state.finish());
    }
    done.pop_last().map(|(_, last)| last).ok_or_else(|| Problem::bug("a Dockerfile without stages was evaluated"))
}

/// Shows the instruction that failed.
fn with_text(problem: Problem, file: &str, line: &Line) -> Problem {
    problem.evidence(EvidenceKind::Log, format!("{file}:{}", line.number), line.instruction.to_string())
}

fn begin(inputs: &Inputs<'_>, at: usize, done: &Done) -> Result<Evaluated, String> {
    let fresh = |config: ImageConfig, base, state| Evaluated {
        variables: config.variables(),
        config,
        base,
        layers: Vec::new(),
        files: Files::new(state),
    };
    match origin(inputs.stages, at, inputs.globals)? {
        Origin::Scratch => Ok(fresh(ImageConfig::scratch(inputs.platform), None, BaseState::Empty)),
        Origin::Stage(before) => done.get(&before).cloned().ok_or_else(|| "its base stage was not built".to_string()),
        Origin::Image(name) => match inputs.bases.get(&at) {
            Some(config) => {
                let state = inputs.files.get(&at).map_or(BaseState::Unknown, |files| BaseState::Known(files.clone()));
                Ok(fresh(config.clone(), Some(at), state))
            }
            None => Err(format!("the base {name} was not loaded")),
        },
    }
}

/// The ONBUILD triggers of what a stage begins with, which come before its own instructions and are then gone.
fn triggers(config: &mut ImageConfig, stage: &Stage<'_>, inputs: &Inputs<'_>) -> Result<Vec<Line>> {
    let place = Place { file: inputs.file, number: stage.number };
    let mut found = Vec::new();
    for trigger in std::mem::take(&mut config.config.on_build) {
        let told = |why: String| format!("FROM {} has the ONBUILD trigger {trigger:?}: {why}", stage.image);
        let text = format!("FROM scratch\n{trigger}\n");
        let parsed = dockerfile::parse(&text, inputs.file).map_err(|problem| place.invalid(told(problem.message)))?;
        if let Ok(Some(uncovered)) = dockerfile::uncovered(&parsed, inputs.globals) {
            return Err(place
                .unsupported(told(uncovered.why.to_string()))
                .hint("choose a base without this trigger; or let another engine build it (image.engine)"));
        }
        let own = parsed.lines.into_iter().skip(1);
        found.extend(own.map(|line| Line { number: stage.number, instruction: line.instruction }));
    }
    Ok(found)
}

pub(super) struct State<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) at: usize,
    pub(super) image: Evaluated,
    scope: Scope,
    /// Folders that WORKDIR asks for; they go into the next layer.
    pub(super) pending: Tree,
    cmd_is_own: bool,
}

impl<'a> State<'a> {
    fn new(inputs: &'a Inputs<'a>, at: usize, image: Evaluated) -> Self {
        let scope = Scope { variables: image.variables.clone(), escape: inputs.globals.escape, ..Scope::default() };
        State { inputs, at, image, scope, pending: Tree::new(), cmd_is_own: false }
    }

    pub(super) fn expand(&self, word: &Word, place: Place<'_>) -> Result<String> {
        self.scope.expand(word).map_err(|why| place.invalid(format!("{word}: {why}")))
    }

    /// The content of a here-document with its variables replaced.
    pub(super) fn expand_text(&self, text: &str, place: Place<'_>) -> Result<String> {
        self.scope.expand_text(text).map_err(|why| place.invalid(format!("a here-document: {why}")))
    }

    fn run(&mut self, line: &Line, done: &Done) -> Result<()> {
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
            Instruction::Copy(transfer) => empty = !Transferring { state: self, transfer, done, place }.copy()?,
            Instruction::Add(transfer) => empty = !Transferring { state: self, transfer, done, place }.add()?,
            Instruction::Workdir(word) => self.workdir(&self.expand(word, place)?, place)?,
            Instruction::User(word) => self.image.config.config.user = self.expand(word, place)?,
            Instruction::Expose(words) => self.expose(words, place)?,
            Instruction::Volume(words) => {
                for word in words {
                    self.image.config.config.volumes.insert(self.expand(word, place)?, json!({}));
                }
            }
            Instruction::StopSignal(word) => {
                let name = self.expand(word, place)?;
                let known = signal(&name).then_some(name.clone());
                self.image.config.config.stop_signal = known.ok_or_else(|| {
                    place.invalid(format!("STOPSIGNAL {name} is no signal")).hint("write a name such as SIGTERM, or its number")
                })?;
            }
            Instruction::Entrypoint(command) => {
                self.image.config.config.entrypoint = Some(self.command(command)).filter(|words| !words.is_empty());
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
            Instruction::OnBuild(trigger) => self.image.config.config.on_build.push(trigger.clone()),
            // The engine looks for it before it begins.
            Instruction::Run(_) => return Err(place.unsupported("RUN needs an engine that runs commands")),
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
            let value = self.scope.argument(name, default.as_ref(), self.inputs.globals);
            let value = value.map_err(|why| place.invalid(format!("ARG {name}: {why}")))?;
            self.scope.variables.extend(value.map(|value| (name.clone(), value)));
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
            self.scope.variables.insert(name, value);
        }
        Ok(())
    }

    /// What is missing of the folder belongs to the user that USER names.
    fn workdir(&mut self, path: &str, place: Place<'_>) -> Result<()> {
        let path = resolve(&self.image.config.config.working_dir, path);
        self.image.config.config.working_dir = format!("/{path}");
        let files = &self.image.files;
        let real = files.resolve(&path);
        let user = self.image.config.config.user.clone();
        let owner = if user.is_empty() || files.unknown() {
            Default::default()
        } else {
            Users { files, scratch: self.inputs.scratch }.of_user(&user, place)?
        };
        for folder in parents(&format!("{real}/")).filter(|folder| !folder.is_empty()) {
            // Its last part is what WORKDIR promises to make; `/usr` is where images keep applications by custom.
            let custom = folder == real && folder.starts_with("usr/") && folder.matches('/').count() >= 2;
            let may_be_made = !self.image.files.unknown() || !belongs_to_base(folder) || custom;
            match self.image.files.get(folder).map(|node| &node.kind) {
                Some(Kind::Folder) => {}
                Some(_) => return Err(place.invalid(format!("WORKDIR /{path}: {folder} is a file of the image"))),
                None if may_be_made => {
                    let node = Node::folder(owner);
                    self.pending.insert(folder.to_string(), node.clone());
                    self.image.files.own.insert(folder.to_string(), node);
                }
                None => {}
            }
        }
        Ok(())
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
        self.image.variables = self.scope.variables;
        self.image
    }
}

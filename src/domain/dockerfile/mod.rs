//! A Dockerfile as typed instructions (Dockerfile reference, docs.docker.com/reference/dockerfile): parsed, expanded, rendered,
//! and generated. Pure: nothing is read, and nothing is run.

pub mod coverage;
pub mod expand;
mod flagged;
pub mod generate;
mod heredoc;
pub mod ignore;
mod lexer;
pub mod parse;
pub mod pattern;
pub mod render;
pub mod stages;

pub use coverage::{Uncovered, Why, uncovered};
pub use expand::Scope;
pub use heredoc::Document;
pub use parse::parse;

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Escape character of the parser directive, `\` or a backtick.
    pub escape: char,
    /// What the directive `syntax` asks for: the frontend that the file is written for.
    pub syntax: Option<String>,
    pub lines: Vec<Line>,
}

/// An instruction and the number of its first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub number: usize,
    pub instruction: Instruction,
}

/// A word as it is written: quotes, escapes and variables are still in it (see [`Scope::expand`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word(pub String);

/// One instruction with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    From {
        image: Word,
        platform: Option<Word>,
        alias: Option<String>,
    },
    Arg(Vec<(String, Option<Word>)>),
    Env(Vec<(Word, Word)>),
    Label(Vec<(Word, Word)>),
    Copy(Transfer),
    Add(Transfer),
    Workdir(Word),
    User(Word),
    Expose(Vec<Word>),
    Volume(Vec<Word>),
    StopSignal(Word),
    Entrypoint(Command),
    Cmd(Command),
    Shell(Vec<String>),
    Healthcheck(Healthcheck),
    Maintainer(String),
    /// Kept as written: no engine of ours runs it.
    Run(String),
    /// A trigger for the images that are built on this one, kept as written.
    OnBuild(String),
}

/// What COPY and ADD have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transfer {
    pub sources: Vec<Word>,
    /// Here-documents, which are copied as files of their names.
    pub documents: Vec<Document>,
    pub target: Word,
    pub from: Option<Word>,
    pub chown: Option<Word>,
    pub chmod: Option<Word>,
    pub exclude: Vec<Word>,
    /// Flags that are known and not covered, such as `parents`.
    pub other_flags: Vec<String>,
    /// `--link`, which changes how it is built, not what.
    pub link: bool,
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Exec(Vec<String>),
    Shell(String),
}

/// HEALTHCHECK; durations in nanoseconds, as the image's configuration holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    None,
    Check {
        command: Command,
        interval: Option<u64>,
        timeout: Option<u64>,
        start_period: Option<u64>,
        start_interval: Option<u64>,
        retries: Option<u32>,
    },
}

impl Instruction {
    /// The keyword, in capitals.
    pub fn keyword(&self) -> &'static str {
        match self {
            Instruction::From { .. } => "FROM",
            Instruction::Arg(_) => "ARG",
            Instruction::Env(_) => "ENV",
            Instruction::Label(_) => "LABEL",
            Instruction::Copy(_) => "COPY",
            Instruction::Add(_) => "ADD",
            Instruction::Workdir(_) => "WORKDIR",
            Instruction::User(_) => "USER",
            Instruction::Expose(_) => "EXPOSE",
            Instruction::Volume(_) => "VOLUME",
            Instruction::StopSignal(_) => "STOPSIGNAL",
            Instruction::Entrypoint(_) => "ENTRYPOINT",
            Instruction::Cmd(_) => "CMD",
            Instruction::Shell(_) => "SHELL",
            Instruction::Healthcheck(_) => "HEALTHCHECK",
            Instruction::Maintainer(_) => "MAINTAINER",
            Instruction::Run(_) => "RUN",
            Instruction::OnBuild(_) => "ONBUILD",
        }
    }
}

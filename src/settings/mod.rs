//! The settings: the only reader of the environment. Four spellings of each key, one precedence, the source of every value.

mod ci;
mod coerce;
mod file;
mod guarded;
mod host;
mod keys;
mod kinds;
mod load;
mod mistake;
mod named;
mod nearest;
mod plugin_page;
mod raw;
mod reader;
mod reference;
mod relations;
mod result;
mod rules;
mod schema;
mod secrets;
mod shape;
mod source;
mod step;
mod variables;
mod yaml;

use std::path::PathBuf;

use crate::domain::secret::Secret;

pub use self::{
    ci::{Ci, CiCommit, CiEvent, CiKind, CiProject, CiRegistry, MergeRequest},
    host::{ASKER, Colours, Host, KEEPER, Proxies, WORKER},
    keys::*,
    kinds::{Auto, IntOrPercent, ProbeSetting, Quantity, Url},
    load::{Refused, check, load, load_or_rest},
    mistake::{Mistake, Mistakes, Place},
    named::{Named, named, texts},
    nearest::{check_key, nearest},
    plugin_page::{Server, plugin_page},
    reference::reference,
    schema::schema,
    source::{Source, Sourced},
    step::check_step,
};

/// What settings are read from.
#[derive(Clone, Default)]
pub struct Input {
    /// Keys with their values from `--set` and from flags, the last one wins.
    pub args: Vec<(String, String)>,
    /// `--file`; None: `shipway.yaml` in `dir`, when it is there.
    pub file: Option<PathBuf>,
    /// The checkout.
    pub dir: PathBuf,
    /// See [`environment`].
    pub environment: Vec<(String, String)>,
    /// What the company has set, the weakest first: where it stands ([`company_name`]), and its text in the shape of `shipway.yaml`.
    pub company: Vec<(String, String)>,
}

/// How sources name what the ledger has of an application.
pub fn company_name(app: &str) -> String {
    format!("ledger: {app}")
}

/// All that the environment, the file and the flags say. Holds secrets: no `Debug`.
#[derive(Clone)]
pub struct Loaded {
    pub settings: Settings,
    pub ci: Ci,
    pub host: Host,
    /// Every key that has a value, in the order of the reference.
    pub sources: Vec<Sourced>,
    /// Worth saying, but nothing that stops the run.
    pub warnings: Vec<Mistake>,
    /// Everything that must not leave: for the redactor.
    pub secrets: Vec<Secret>,
}

/// The process' environment, read once; what is not UTF-8 becomes the replacement character.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())).collect()
}

/// The environment of a worker's build: its worker hands it over by our standard input, since what a program is started with can be read by
/// other builds. Any other environment stays as it is.
pub fn handed_over(environment: Vec<(String, String)>) -> Vec<(String, String)> {
    let worker = environment.iter().any(|(name, value)| name == WORKER && !value.is_empty());
    let read = || serde_json::from_reader(std::io::stdin().lock()).ok();
    worker.then(read).flatten().unwrap_or(environment)
}

#[cfg(test)]
mod tests;

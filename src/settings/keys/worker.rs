//! Keys of the command worker.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::kinds::{self, DurationText, Quantity};

/// For the command worker: builds that are asked for by message.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Queue of the messages; what is no build goes to the one with .dead behind this name.
    #[schemars(extend("default" = "shipway.builds"))]
    pub queue: String,
    /// Repositories that may be built: addresses, in which * behind the host stands for anything.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Refs that may be built, by their full names: patterns with *, which a commit has to match, too; any fork can bring one.
    #[serde(default)]
    #[schemars(extend("x-default" = "refs/heads/*, refs/tags/*"))]
    pub refs: Vec<String>,
    /// How many builds go on at once.
    #[schemars(range(min = 1, max = 64), extend("default" = 1))]
    pub parallel: u16,
    /// Limit of one build.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "1h"))]
    pub timeout: Duration,
    /// The most that the folder of one build may take.
    #[schemars(extend("default" = "10Gi"))]
    pub disk: Quantity,
    /// How old a message may be; less than ledger.keep_days, or a copy of it could be built again.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "24h"))]
    pub max_age: Duration,
    /// How often a build is begun whose worker ends before it.
    #[schemars(range(min = 1, max = 1000), extend("default" = 5))]
    pub attempts: u32,
    /// How long builds may go on when the worker is told to end.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "10m"))]
    pub drain: Duration,
    /// Where builds get their folders.
    #[schemars(extend("x-kind" = "file", "x-default" = "the machine's folder for temporary files"))]
    pub dir: Option<PathBuf>,
}

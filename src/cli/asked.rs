//! What may stand behind the commands that ask, fill the ledger and push configurations: `history`, `rules`, `app`, `config`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::arguments::key_and_value;
use crate::{domain::units::parse_duration, process::Signal};

#[derive(Args)]
pub(super) struct History {
    /// As JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Publishes, rollbacks, scales, restarts and removals of all applications, from the ledger; --app and --environment are filters.
    #[arg(long)]
    pub(super) all: bool,
    /// As CSV.
    #[arg(long, requires = "all", conflicts_with = "json")]
    pub(super) csv: bool,
    /// Only those of this product line.
    #[arg(long, requires = "all", value_name = "NAME")]
    pub(super) line: Option<String>,
    /// Only those that ended so: succeeded, failed, rolled_back, superseded, cancelled; or running, or unknown.
    #[arg(long, requires = "all", value_name = "RESULT")]
    pub(super) result: Option<String>,
    /// Only those that began so long ago at most, such as 48h.
    #[arg(long, requires = "all", value_name = "DURATION")]
    pub(super) since: Option<String>,
    /// How many at most, the latest.
    #[arg(long, requires = "all", default_value_t = 100, value_name = "NUMBER")]
    pub(super) limit: u32,
}

#[derive(Args)]
pub(super) struct Can {
    /// Who; @me is whoever runs this, as well as that can be proved.
    pub(super) user: String,
    /// publish, rollback, scale, restart, remove, rebase, unstick, config, app or rules.
    pub(super) action: String,
    /// Which application; --environment says where.
    // another name than that of the flag --app
    #[arg(value_name = "APP")]
    pub(super) application: String,
    /// Its product line [default: the one that the ledger has].
    #[arg(long, value_name = "NAME")]
    pub(super) line: Option<String>,
    /// As from a job with an identity token of this project.
    #[arg(long, value_name = "PATH")]
    pub(super) project: Option<String>,
    /// As from a job with an identity token of a protected ref.
    #[arg(long)]
    pub(super) protected: bool,
}

#[derive(Subcommand)]
pub(super) enum RulesAction {
    /// Say whether a file of rules can be read; asks nobody.
    Check {
        // another name than that of the flag --file
        #[arg(value_name = "FILE")]
        rules: PathBuf,
    },
    /// Put a file of rules into the ledger, in place of those that are there.
    Push {
        #[arg(value_name = "FILE")]
        rules: PathBuf,
    },
    /// Print the rules of the ledger.
    Show,
}

#[derive(Subcommand)]
pub(super) enum App {
    /// All applications with their latest change.
    List {
        /// Only those of this product line.
        #[arg(long, value_name = "NAME")]
        line: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// As CSV.
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// What the company has set for an application.
    Get {
        /// Its name; * is what is set for all.
        name: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set keys of shipway.yaml for an application, below what its repository says; KEY= takes one away.
    ///
    /// Such as line=trade owners=ada,bo source.url=https://… build.jdk=17 image.base=… environments.prod.kubernetes.replicas=4.
    Set {
        /// Its name; * sets for all, below what is set for one.
        name: String,
        /// The keys.
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
        values: Vec<(String, String)>,
    },
    /// All entries as JSON.
    Export,
    /// Make or replace the entries of a file that export wrote: all, or none when one is wrong.
    Import {
        /// The file; - is standard input.
        #[arg(value_name = "FILE")]
        entries: PathBuf,
    },
}

/// What is done with pushed configurations.
#[derive(Subcommand)]
pub(super) enum ConfigAction {
    /// Make these files the current version.
    Push {
        /// File or folder in the checkout [default: kubernetes.config.from].
        folder: Option<String>,
        /// Why; for the history.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Write the files of a version into a folder, which is replaced as a whole.
    Pull {
        /// The folder; it must be new, empty, or written by a pull before.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        /// Another version than the current one.
        #[arg(long, value_name = "VERSION")]
        version: Option<u64>,
        /// The newest version with these files, by the hash that `history --json` gives; what pods ask for.
        #[arg(long, value_name = "HASH", conflicts_with = "version")]
        content: Option<String>,
        /// Where else files of that content are, when there is no such version any more.
        #[arg(long, value_name = "FOLDER", requires = "content")]
        copy: Option<PathBuf>,
        /// Take the copy when the centre does not answer, too.
        #[arg(long, requires = "copy")]
        offline: bool,
    },
    /// What a push would change.
    Diff {
        /// File or folder in the checkout [default: kubernetes.config.from].
        folder: Option<String>,
    },
    /// The versions: when, who, why. kubernetes.history says how many are kept.
    History {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make an earlier version the current one again, as a new version.
    Rollback {
        /// The version [default: the last one with other files].
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
        /// Why; for the history.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Run a command beside a folder that always has the current version: a push starts it anew, or tells it by a signal.
    ///
    /// The exit code is the command's, and signals are passed on to it. While the centre is away it goes on with the files that it has.
    Watch {
        /// The folder; it must be new, empty, or written by a pull before.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        /// Tell the command by this signal instead of starting it anew.
        #[arg(long, value_name = "SIGNAL")]
        signal: Option<Told>,
        /// How long the command may take to end, before it is killed.
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
        grace: Duration,
        /// The command and its arguments; no shell reads them.
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
}

/// Signals that programs read their files anew at.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(super) enum Told {
    Hup,
    Usr1,
    Usr2,
}

impl Told {
    pub(super) fn signal(self) -> Signal {
        match self {
            Told::Hup => Signal::HUP,
            Told::Usr1 => Signal::USR1,
            Told::Usr2 => Signal::USR2,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it like 30s or 2m".to_string())
}

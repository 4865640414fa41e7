//! What may stand behind the commands that ask and fill the ledger: `history`, `rules`, `app`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::arguments::key_and_value;

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
    /// Who.
    pub(super) user: String,
    /// publish, rollback, scale, restart or remove.
    pub(super) action: String,
    /// Which application; --environment says where.
    // another name than that of the flag --app
    #[arg(value_name = "APP")]
    pub(super) application: String,
    /// Its product line [default: the one that the ledger has].
    #[arg(long, value_name = "NAME")]
    pub(super) line: Option<String>,
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

//! Where a value comes from.

use std::fmt;

/// Where a value comes from, from the strongest to the weakest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag or `--set`.
    Flag,
    /// A PLUGIN_ variable, by its name.
    Plugin(String),
    /// A SHIPWAY_ variable, by its name.
    Variable(String),
    /// A section of the file.
    Section {
        file: String,
        section: String,
    },
    /// The file.
    File {
        file: String,
    },
    /// What the company has set in the ledger: the entry, with its section.
    Company(String),
    /// One of the CI's own variables, or of docker's and Kubernetes'.
    Ci(String),
    /// Found in the repository or on the machine: where.
    Detected(String),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => f.write_str("command line"),
            Source::Plugin(name) | Source::Variable(name) | Source::Ci(name) | Source::Company(name) => f.write_str(name),
            Source::Section { file, section } => write!(f, "{file} environments.{section}"),
            Source::File { file } => f.write_str(file),
            Source::Detected(place) => f.write_str(place),
            Source::Default => f.write_str("default"),
        }
    }
}

/// One key with its value, as `plan` and `report.json` show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced {
    /// `kubernetes.rolling.timeout`; an entry of a map is `kubernetes.env.NAME`.
    pub key: String,
    /// For people; `(secret)` when it is one.
    pub value: String,
    pub source: Source,
}

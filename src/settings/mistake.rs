//! What is wrong with the settings: all of it at once.

use std::fmt;

use crate::domain::problem::{Code, Problem};

/// A place in a file; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing that is wrong, or worth a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub code: Code,
    /// The key, or the name as it was written when it is not known.
    pub setting: String,
    /// The variable, flag or file that it stands in.
    pub source: String,
    /// Where in the file.
    pub place: Option<Place>,
    /// What is wrong: lower case, no final period, no secret.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.what),
            None if self.what.contains(&self.source) => f.write_str(&self.what),
            None => write!(f, "{}: {}", self.source, self.what),
        }
    }
}

/// All that is wrong with the settings; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl From<Mistakes> for Problem {
    fn from(mistakes: Mistakes) -> Problem {
        let mistakes = mistakes.0;
        match mistakes.as_slice() {
            [] => Problem::bug("settings were refused without a reason"),
            [only] => Problem::new(only.code, only.to_string()).hint(only.fix.clone()),
            [first, ..] => {
                let lines: String = mistakes.iter().map(|mistake| format!("\n  {mistake} ({})", mistake.fix)).collect();
                Problem::new(first.code, format!("{} settings are wrong:{lines}", mistakes.len()))
                    .hint("correct all of them, then run again")
            }
        }
    }
}

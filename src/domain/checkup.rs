//! What a look at everything that a run needs came to.

use serde::Serialize;

use super::problem::Problem;

/// One thing that a run needs, and how it stands with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// `registry`.
    pub what: &'static str,
    pub state: State,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As it should be: whom and what was found.
    Good(String),
    /// A run goes without: without what, and what would change that; None: nothing has to.
    Unset { text: String, hint: Option<String> },
    /// A run would end there.
    Bad(Problem),
}

impl Examined {
    pub fn new(what: &'static str, state: State) -> Self {
        Examined { what, state }
    }

    /// For programs.
    pub fn record(&self) -> Record<'_> {
        let record = |state, text| Record { what: self.what, state, text, code: None, hint: None };
        match &self.state {
            State::Good(text) => record("good", text),
            State::Unset { text, hint } => Record { hint: hint.as_deref(), ..record("unset", text) },
            State::Bad(problem) => Record { code: Some(problem.code.slug()), hint: Some(&problem.hint), ..record("bad", &problem.message) },
        }
    }
}

/// An [`Examined`] as JSON.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    what: &'static str,
    state: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// The exit code of a run that meets all of this: that of the first thing that stops it.
pub fn exit_code(examined: &[Examined]) -> u8 {
    let first = examined.iter().find_map(|examined| match &examined.state {
        State::Bad(problem) => Some(problem.exit_code()),
        _ => None,
    });
    first.unwrap_or(0)
}

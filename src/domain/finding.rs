//! What a look at the files of a project found.

use serde::Serialize;

use super::problem::{Code, Problem};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A run stops at it.
    Error,
    /// Worth a look.
    Warning,
}

/// One thing that was found, and where; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// A file of the checkout; a variable or flag has no line.
    pub file: String,
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub severity: Severity,
    /// The slug of the problem that a run would end with.
    pub code: String,
    pub message: String,
    pub hint: String,
}

impl Finding {
    pub fn new(file: impl Into<String>, at: Option<(usize, usize)>, problem: &Problem) -> Self {
        Finding {
            file: file.into(),
            line: at.map(|at| at.0),
            column: at.map(|at| at.1),
            severity: Severity::Error,
            code: problem.code.slug().to_string(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }

    /// The same as a warning: a run goes on.
    pub fn warning(self) -> Self {
        Finding { severity: Severity::Warning, ..self }
    }

    /// A finding whose message begins with its place, `file:line: what` or `file:line:column: what`; `text` is the file's, for the column
    /// where the message has none: there the line begins.
    pub fn placed(file: &str, text: &str, problem: &Problem) -> Self {
        let finding = Finding::new(file, None, problem);
        let Some(rest) = problem.message.strip_prefix(file).and_then(|rest| rest.strip_prefix(':')) else { return finding };
        let Some((place, what)) = rest.split_once(": ") else { return finding };
        let mut numbers = place.split(':').map(str::parse::<usize>);
        let Some(Ok(line)) = numbers.next() else { return finding };
        let begins =
            || text.lines().nth(line.saturating_sub(1)).map_or(1, |line| line.chars().take_while(|c| c.is_whitespace()).count() + 1);
        let column = numbers.next().and_then(Result::ok).unwrap_or_else(begins);
        Finding { line: Some(line), column: Some(column), message: what.to_string(), ..finding }
    }

    /// `file:line:column`, as far as it is known.
    pub fn place(&self) -> String {
        let numbers = [self.line, self.column].into_iter().flatten().map(|number| format!(":{number}"));
        std::iter::once(self.file.clone()).chain(numbers).collect()
    }

    /// The exit code of a run that ends with it; a warning has none.
    pub fn exit_code(&self) -> u8 {
        match self.severity {
            Severity::Error => Code::of(&self.code).map_or(2, |code| code.class().exit_code()),
            Severity::Warning => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_message_is_taken_out() {
        let problem = Problem::new(Code::DockerfileInvalid, "app/Dockerfile:2: COPY needs a target");
        let finding = Finding::placed("app/Dockerfile", "FROM a\n  COPY x\n", &problem);
        assert_eq!((finding.place().as_str(), finding.message.as_str()), ("app/Dockerfile:2:3", "COPY needs a target"));
        let finding = Finding::placed("Dockerfile", "", &Problem::new(Code::DockerfileInvalid, "Dockerfile has no FROM"));
        assert_eq!((finding.place().as_str(), finding.message.as_str()), ("Dockerfile", "Dockerfile has no FROM"));
        assert_eq!((finding.exit_code(), finding.warning().exit_code()), (10, 0));
    }
}

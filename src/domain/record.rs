//! What the ledger knows of a change: the intent before it, the result after it.

use serde::{Deserialize, Serialize};

/// One change of an application that runs: a publish, a rollback, a scale, a restart, a removal. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The same for intent and result; no two changes have the same.
    pub id: String,
    pub app: String,
    pub line: String,
    /// Empty when none is named.
    pub environment: String,
    pub namespace: String,
    /// Name of the Deployment.
    pub name: String,
    /// `publish`, `rollback`, `scale`, `restart` or `remove`.
    pub action: String,
    pub commit: Option<String>,
    pub author: Option<String>,
    pub job_url: Option<String>,
    /// Version of Shipway.
    pub version: String,
    pub began: i64,
    /// When a change that has no result yet is given up for lost.
    pub deadline: i64,
    /// None until there is a result.
    pub end: Option<End>,
}

/// How a change ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    pub at: i64,
    /// As in `report.json`: `succeeded`, `failed`, `rolled_back`, `superseded` or `cancelled`.
    pub result: String,
    pub exit_code: u8,
    pub image: Option<String>,
    pub revision: Option<u64>,
    /// The slug of the problem, and its sentence.
    pub problem: Option<String>,
    pub message: Option<String>,
    pub steps: Vec<StepRow>,
}

/// A step of a change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    pub name: String,
    pub state: String,
    pub began: i64,
    pub seconds: f64,
    pub summary: String,
}

/// A line of `history --all`. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    pub id: String,
    pub app: String,
    pub line: String,
    pub environment: String,
    pub namespace: String,
    pub name: String,
    pub action: String,
    /// That of the end; `running` before it, `unknown` when it never came.
    pub result: String,
    pub problem: Option<String>,
    pub message: Option<String>,
    pub image: Option<String>,
    pub revision: Option<u64>,
    pub commit: Option<String>,
    pub author: Option<String>,
    pub job_url: Option<String>,
    pub began: String,
    pub seconds: Option<f64>,
}

/// Which changes are wanted; an empty text is any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub app: String,
    pub line: String,
    pub environment: String,
    pub result: String,
    /// Only those that began then or later, in milliseconds since 1970.
    pub since: i64,
    pub limit: u32,
}

/// An application that the ledger knows, with its latest change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnownApp {
    pub app: String,
    pub line: String,
    pub owners: Vec<String>,
    pub latest: Option<Latest>,
}

/// The latest change of an application.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latest {
    pub environment: String,
    pub action: String,
    pub result: String,
    pub author: Option<String>,
    pub began: String,
}

/// The state of a change that has no result: until its deadline it may still go on.
pub fn open_state(deadline: i64, now: i64) -> &'static str {
    if now <= deadline { "running" } else { "unknown" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ended_is_not_said_to_run_for_ever() {
        assert_eq!((open_state(10, 10), open_state(10, 11)), ("running", "unknown"));
    }
}

//! `report.json`.

use super::model::Report;
use crate::domain::problem::{Problem, Result};

/// Renders the report, indented; ends with a line break.
pub fn render(report: &Report) -> Result<String> {
    let text = serde_json::to_string_pretty(report).map_err(|error| Problem::bug(format!("the report cannot be rendered: {error}")))?;
    Ok(text + "\n")
}

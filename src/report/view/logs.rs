//! `logs`: a line of a pod.

use super::super::{
    foreign,
    log::{Format, Style},
    paint::Paint,
};

/// Longest line that is shown whole.
const LONGEST: usize = 16 * 1024;

/// One line as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRow {
    /// RFC 3339.
    pub at: String,
    pub pod: String,
    /// None where the pod has only one.
    pub container: String,
    pub text: String,
}

/// Renders one line: the pod and its container in front, or an object of JSON.
pub fn log_row(row: &LogRow, style: &Style) -> String {
    if style.format == Format::Json {
        let value = serde_json::json!({"at": row.at, "pod": row.pod, "container": row.container, "text": row.text});
        return format!("{value}\n");
    }
    let paint = Paint::new(style);
    let place = foreign::line(&format!("{}/{}", row.pod, row.container), 120);
    paint.plain(format!("{} {}\n", paint.faint(&place), foreign::line(&row.text, LONGEST)))
}

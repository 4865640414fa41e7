//! What a publish would change, as differences of manifests.

use similar::{ChangeTag, TextDiff};

use super::super::{foreign, log::Style, paint::Paint};

/// Lines around a change.
const CONTEXT: usize = 3;

/// One object before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectDiff {
    /// `deployment/order-service`.
    pub object: String,
    /// As it is, YAML; None: it is not there.
    pub before: Option<String>,
    /// As it would be; None: it would be deleted.
    pub after: Option<String>,
}

/// Each object with what would become of it, and the lines that differ.
pub fn diffs(diffs: &[ObjectDiff], style: &Style) -> String {
    diffs.iter().map(|diff| one(diff, style)).collect()
}

fn one(diff: &ObjectDiff, style: &Style) -> String {
    let paint = Paint::new(style);
    let object = paint.strong(&foreign::line(&diff.object, 120));
    let verb = match (&diff.before, &diff.after) {
        (None, None) => return String::new(),
        (Some(before), Some(after)) if before == after => return format!("  {object} would stay as it is\n"),
        (Some(_), Some(_)) => "would be configured",
        (None, Some(_)) => "would be created",
        (Some(_), None) => "would be deleted",
    };
    let (before, after) = (diff.before.as_deref().unwrap_or_default(), diff.after.as_deref().unwrap_or_default());
    // A new object is told by its name alone: its manifest stands above.
    let lines = if before.is_empty() || after.is_empty() { String::new() } else { changed_lines(before, after, paint) };
    format!("  {object} {verb}\n{lines}")
}

pub(super) fn changed_lines(before: &str, after: &str, paint: Paint) -> String {
    let (before, after) = (foreign::clean(before), foreign::clean(after));
    let diff = TextDiff::from_lines(&before, &after);
    let mut lines = String::new();
    for (at, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if at > 0 {
            lines += &format!("    {}\n", paint.faint("..."));
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = change.value().trim_end_matches('\n');
            lines += &match change.tag() {
                ChangeTag::Equal => format!("      {line}\n"),
                ChangeTag::Delete => format!("    {}\n", paint.bad(&format!("- {line}"))),
                ChangeTag::Insert => format!("    {}\n", paint.good(&format!("+ {line}"))),
            };
        }
    }
    lines
}

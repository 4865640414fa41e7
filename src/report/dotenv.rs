//! `shipway.env`: what a later job needs, as GitLab's dotenv report and Drone's `DRONE_OUTPUT` take it.

use super::model::Report;

/// GitLab takes no dotenv report above 5 KB.
const LIMIT: usize = 5 * 1024;

/// One `NAME=value` a line: no quotes, no comments, no blank lines. A value that this form cannot hold is left out.
pub fn render(report: &Report) -> String {
    let image = report.image.as_ref().filter(|image| image.layout.is_none());
    let tag = image.and_then(|image| image.reference.parse::<crate::domain::reference::ImageReference>().ok()).and_then(|image| image.tag);
    let values = [
        ("SHIPWAY_OUT_IMAGE", report.image_by_digest()),
        ("SHIPWAY_OUT_TAG", tag),
        ("SHIPWAY_OUT_REVISION", report.release.as_ref().map(|release| release.revision.to_string())),
        ("SHIPWAY_OUT_URL", report.url.clone()),
    ];
    let mut lines = String::new();
    for (name, value) in values {
        let Some(value) = value.filter(|value| fits(value)) else { continue };
        let line = format!("{name}={value}\n");
        if lines.len() + line.len() <= LIMIT {
            lines.push_str(&line);
        }
    }
    lines
}

fn fits(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '`' | '#' | '$' | '\\'))
}

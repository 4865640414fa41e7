//! The time line of the steps and the layers of the image, as bars.

use super::super::{
    foreign,
    model::{Report, role_words},
    paint::seconds,
};
use crate::domain::{event::Transfer, step::StepState, units::format_bytes};

/// Bars are drawn on a line of this length.
const LENGTH: f64 = 1000.0;
/// The shortest bar that can be seen.
const SHORTEST: f64 = 4.0;

/// One step of the time line.
pub struct StepRow {
    pub name: &'static str,
    pub state: &'static str,
    pub time: String,
    pub summary: String,
    pub x: String,
    pub width: String,
}

/// One layer of the image.
pub struct LayerRow {
    pub role: &'static str,
    pub digest: String,
    pub short: String,
    pub size: String,
    pub how: &'static str,
    pub sent: bool,
    pub width: String,
}

/// The whole image as one bar, layer beside layer.
pub struct Whole {
    pub parts: Vec<Part>,
    pub reused: String,
    pub sent: String,
}

/// One layer of it.
pub struct Part {
    pub x: String,
    pub width: String,
    pub sent: bool,
    pub label: String,
}

pub fn steps(report: &Report) -> Vec<StepRow> {
    let whole = report.seconds.max(0.001);
    report
        .steps
        .iter()
        .map(|step| {
            let at = step.started.duration_since(report.started).as_secs_f64().max(0.0);
            let (x, width) = span(at / whole, step.seconds / whole);
            let (state, time) = match step.state {
                StepState::Succeeded => ("good", seconds(step.seconds)),
                StepState::Failed => ("bad", seconds(step.seconds)),
                StepState::Skipped => ("skipped", "skipped".to_string()),
            };
            StepRow { name: step.name.name(), state, time, summary: foreign::line(&step.summary, 300), x, width }
        })
        .collect()
}

pub fn layers(report: &Report) -> Vec<LayerRow> {
    let layers = report.image.as_ref().map(|image| image.layers.as_slice()).unwrap_or_default();
    let largest = layers.iter().map(|layer| layer.size).max().unwrap_or(0).max(1) as f64;
    layers
        .iter()
        .map(|layer| LayerRow {
            role: role_words(layer.role),
            digest: layer.digest.to_string(),
            short: layer.digest.short().to_string(),
            size: format_bytes(layer.size),
            how: match layer.transfer {
                Transfer::Present => "reused",
                Transfer::Mounted => "mounted",
                Transfer::Sent => "sent",
            },
            sent: layer.transferred,
            width: span(0.0, layer.size as f64 / largest).1,
        })
        .collect()
}

/// None where there is nothing to compare.
pub fn whole(report: &Report) -> Option<Whole> {
    let layers = report.image.as_ref().map(|image| image.layers.as_slice()).filter(|layers| layers.len() > 1)?;
    let bytes = |sent: bool| layers.iter().filter(|layer| layer.transferred == sent).map(|layer| layer.size).sum::<u64>();
    let all = (bytes(true) + bytes(false)).max(1) as f64;
    let mut before = 0;
    let parts = layers.iter().map(|layer| {
        let (x, width) = span(before as f64 / all, layer.size as f64 / all);
        before += layer.size;
        Part { x, width, sent: layer.transferred, label: format!("{}, {}", role_words(layer.role), format_bytes(layer.size)) }
    });
    Some(Whole { parts: parts.collect(), reused: format_bytes(bytes(false)), sent: format_bytes(bytes(true)) })
}

/// Start and length of a bar from the shares of the whole that they are; the bar stays on the line.
pub fn span(from: f64, share: f64) -> (String, String) {
    let width = (share * LENGTH).clamp(SHORTEST, LENGTH);
    let x = (from * LENGTH).clamp(0.0, LENGTH - width);
    (number(x), number(width))
}

/// One digit after the point is finer than a pixel.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_string).unwrap_or(text)
}

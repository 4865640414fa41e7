//! `report.html`: one page that needs nothing else, made to be looked at instead of a log.

mod axis;
mod bars;
mod facts;
mod lanes;
mod source;

use askama::Template;

pub use self::facts::{outside_address, web_address};
use self::{
    axis::Tick,
    bars::{LayerRow, StepRow, Whole},
    facts::{Fact, Link},
    lanes::Rollout,
};
use super::{
    files::Attachments,
    foreign,
    log::headline_words,
    model::{ChangeRecord, EvidenceRecord, NotDone, Outcome, ProblemRecord, Report, SettingRecord, WarningRecord},
    paint::{count, seconds},
};
use crate::domain::{
    problem::{EvidenceKind, Problem, Result},
    units::format_bytes,
};

/// Longest excerpt of a log, a Dockerfile or manifests, bytes: the page stays light, the files beside it are whole.
const LONGEST_EXCERPT: usize = 24_000;
/// Longest differences of all objects together, bytes.
const LONGEST_DIFFERENCES: usize = 40_000;
/// Lines of one piece of evidence; the last ones, where the cause is.
const MOST_LINES: usize = 120;

/// Renders the page.
pub fn render(report: &Report, attachments: &Attachments) -> Result<String> {
    Page::new(report, attachments).render().map_err(|error| Problem::bug(format!("the report page cannot be rendered: {error}")))
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'r> {
    app: String,
    headline: &'static str,
    state: &'static str,
    mark: &'static str,
    result: &'static str,
    sentence: String,
    environment: Option<String>,
    exit_code: u8,
    facts: Vec<Fact>,
    links: Vec<Link>,
    problem: Option<ProblemView>,
    not_done: &'r [NotDone],
    warnings: &'r [WarningRecord],
    steps: Vec<StepRow>,
    ticks: Vec<Tick>,
    grid: String,
    took: String,
    rollout: Rollout,
    rollout_summary: String,
    layers: Vec<LayerRow>,
    whole: Option<Whole>,
    image_summary: String,
    changes: &'r [ChangeRecord],
    /// Object, and markup of how it changed.
    differences: Vec<(String, String)>,
    dockerfile: Option<String>,
    manifests: Option<String>,
    settings: Vec<&'r SettingRecord>,
    settings_chosen: usize,
    version: &'r str,
    command: &'r str,
    started: String,
}

struct ProblemView {
    code: String,
    page: Option<String>,
    at: String,
    message: String,
    hint: String,
    evidence: Vec<EvidenceView>,
}

struct EvidenceView {
    kind: &'static str,
    source: String,
    /// Markup.
    text: String,
    open: bool,
}

impl<'r> Page<'r> {
    fn new(report: &'r Report, attachments: &Attachments) -> Self {
        let (headline, state, mark) = banner(report.result());
        let (ticks, rollout) = (axis::ticks(report.seconds.max(0.001)), lanes::rollout(report));
        let sent = |attachment: &Option<String>| attachment.as_deref().map(|text| foreign::middle(&foreign::clean(text), LONGEST_EXCERPT));
        Page {
            app: report.app.as_deref().map_or_else(|| "shipway".to_string(), |app| foreign::line(app, 80)),
            headline,
            state,
            mark,
            result: report.result().words(),
            sentence: headline_words(report),
            environment: report.environment.as_deref().map(|name| foreign::line(name, 60)),
            exit_code: report.exit_code(),
            facts: facts::facts(report),
            links: facts::links(report),
            problem: report.problem().map(ProblemView::new),
            not_done: &report.not_done,
            warnings: &report.warnings,
            steps: bars::steps(report),
            took: seconds(report.seconds),
            grid: axis::grid(&ticks),
            ticks,
            rollout_summary: format!("{}, {}", count(rollout.pods, "pod"), seconds(rollout.took)),
            rollout,
            layers: bars::layers(report),
            whole: bars::whole(report),
            image_summary: image_summary(report),
            changes: &report.changes,
            differences: differences(report),
            dockerfile: sent(&attachments.dockerfile).map(|text| source::dockerfile(&text)),
            manifests: sent(&attachments.manifests).map(|text| source::yaml(&text)),
            settings: settings(report),
            settings_chosen: report.settings.iter().filter(|setting| setting.source != "default").count(),
            version: &report.version,
            command: &report.command,
            started: report.started.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        }
    }
}

impl ProblemView {
    fn new(problem: &ProblemRecord) -> Self {
        ProblemView {
            code: problem.code.clone(),
            page: problem.page.as_deref().and_then(outside_address),
            at: problem.step.map(|step| format!("in {}", step.name())).unwrap_or_default(),
            message: foreign::clean(&problem.message),
            hint: foreign::clean(&problem.hint),
            evidence: problem.evidence.iter().enumerate().map(|(at, piece)| EvidenceView::new(piece, at < 2)).collect(),
        }
    }
}

impl EvidenceView {
    fn new(evidence: &EvidenceRecord, open: bool) -> Self {
        let kind = match evidence.kind {
            EvidenceKind::Log => "log",
            EvidenceKind::Event => "events",
            EvidenceKind::Probe => "probe",
            EvidenceKind::Diff => "difference",
        };
        let lines = foreign::last_lines(&evidence.text, MOST_LINES, 1000).join("\n");
        EvidenceView {
            kind,
            source: foreign::line(&evidence.source, 160),
            text: source::log(&foreign::middle(&lines, LONGEST_EXCERPT)),
            open,
        }
    }
}

/// As many whole differences as there is room for; report.json has them all.
fn differences(report: &Report) -> Vec<(String, String)> {
    let mut room = LONGEST_DIFFERENCES;
    let mut shown = Vec::new();
    for difference in &report.differences {
        let text = foreign::middle(&foreign::clean(&difference.text), room.min(LONGEST_EXCERPT));
        room = room.saturating_sub(text.len());
        shown.push((foreign::line(&difference.object, 160), source::difference(&text)));
        if room < 1000 {
            break;
        }
    }
    shown
}

/// Those that somebody chose first.
fn settings(report: &Report) -> Vec<&SettingRecord> {
    let mut settings: Vec<&SettingRecord> = report.settings.iter().collect();
    settings.sort_by_key(|setting| setting.source == "default");
    settings
}

/// Words, style class and sign of the banner.
fn banner(outcome: Outcome) -> (&'static str, &'static str, &'static str) {
    match outcome {
        Outcome::Succeeded => ("Succeeded", "good", "✓"),
        Outcome::Failed => ("Failed", "bad", "✕"),
        Outcome::RolledBack => ("Rolled back", "back", "↩"),
        Outcome::Superseded => ("Superseded", "calm", "»"),
        Outcome::Cancelled => ("Cancelled", "calm", "■"),
    }
}

fn image_summary(report: &Report) -> String {
    let Some(image) = &report.image else { return String::new() };
    let sent: u64 = image.layers.iter().filter(|layer| layer.transferred).map(|layer| layer.size).sum();
    format!("{} in {}; {} sent", format_bytes(image.size), count(image.layers.len(), "layer"), format_bytes(sent))
}

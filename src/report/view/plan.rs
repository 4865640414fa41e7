//! `plan`: everything resolved, where each value comes from, and what would be made.

use serde_json::Value;

use super::{
    super::{
        foreign,
        log::{Header, Style},
        model::{SettingRecord, WarningRecord},
        paint::{Mark, Paint},
    },
    diff::{ObjectDiff, diffs},
    table,
};
use crate::settings;

/// Longest value that is shown whole.
const LONGEST_VALUE: usize = 160;

/// What a plan shows.
#[derive(Debug, Clone, Default)]
pub struct PlanView {
    pub header: Header,
    /// Every key that has a value; they are shown in the order of the reference.
    pub settings: Vec<SettingRecord>,
    pub warnings: Vec<WarningRecord>,
    /// None where it takes a build to know it, or nothing is built.
    pub dockerfile: Option<String>,
    /// YAML.
    pub manifests: Option<String>,
    /// What would change on the cluster; None without one.
    pub diff: Option<Vec<ObjectDiff>>,
}

/// Renders a plan; what it holds is redacted where it is printed.
pub fn plan(view: &PlanView, style: &Style) -> String {
    let paint = Paint::new(style);
    let mut text = heading(&view.header, paint);
    text += &section("settings", &settings(&view.settings, paint), paint);
    text += &warnings(view, paint);
    let sources = [("Dockerfile", &view.dockerfile), ("manifests", &view.manifests)];
    for (title, source) in sources {
        let lines: Vec<String> =
            source.iter().flat_map(|source| foreign::clean(source).lines().map(str::to_string).collect::<Vec<_>>()).collect();
        text += &section(title, &lines, paint);
    }
    if let Some(diff) = &view.diff {
        let changes = diffs(diff, style);
        let words = if changes.is_empty() { "  nothing\n" } else { &changes };
        text += &format!("\n{}\n{words}", paint.strong("changes on the cluster"));
    }
    text += &format!("\n{}\n", paint.faint("nothing was changed: this is a plan"));
    paint.plain(text)
}

fn heading(header: &Header, paint: Paint) -> String {
    let line = header.line.as_ref().map(|line| format!(" ({line})")).unwrap_or_default();
    let environment = header.environment.as_ref().map(|name| format!(" {} {name}", paint.mark(Mark::Next))).unwrap_or_default();
    let app = foreign::line(&format!("{}{line}", header.app.as_deref().unwrap_or("no application")), 160);
    let mut text = format!("{}{environment}\n", paint.strong(&app));
    for (at, intent) in header.intents.iter().enumerate() {
        text += &format!("  {:<6}  {}\n", if at == 0 { "would" } else { "" }, foreign::line(&intent.words(), 200));
    }
    text
}

/// Those that were chosen stand out from those by default.
fn settings(settings: &[SettingRecord], paint: Paint) -> Vec<String> {
    let cell = |text: &str| foreign::line(text, LONGEST_VALUE);
    let schema = settings::schema();
    let mut settings: Vec<&SettingRecord> = settings.iter().collect();
    settings.sort_by_cached_key(|setting| rank(&schema, &setting.key));
    let rows: Vec<Vec<String>> = settings.iter().map(|s| vec![cell(&s.key), cell(&s.value), cell(&s.source)]).collect();
    let faint = |(line, setting): (String, &SettingRecord)| if setting.source == "default" { paint.faint(&line) } else { line };
    table::lines(&rows).into_iter().zip(settings).map(faint).collect()
}

/// Where a key stands in the reference: its place in each section on the way.
fn rank(schema: &Value, key: &str) -> Vec<usize> {
    let mut section = Some(schema);
    let place = |name: &str| {
        let properties = section.take()?.get("properties")?.as_object()?;
        section = properties.get(name);
        properties.keys().position(|known| known == name)
    };
    // Names in a map are in no schema; they keep their order.
    key.split('.').map_while(place).collect()
}

fn warnings(view: &PlanView, paint: Paint) -> String {
    let mut text = String::new();
    for warning in &view.warnings {
        text += &format!("\n{} {}\n", paint.mark(Mark::Warning), paint.warning(&foreign::line(&warning.text, 400)));
        if !warning.hint.is_empty() {
            text += &format!("  {} {}\n", paint.mark(Mark::Next), foreign::line(&warning.hint, 400));
        }
    }
    text
}

fn section(title: &str, lines: &[String], paint: Paint) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let body: String = lines.iter().map(|line| format!("  {line}").trim_end().to_string() + "\n").collect();
    format!("\n{}\n{body}", paint.strong(title))
}

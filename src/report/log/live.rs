//! The rows of a terminal that are drawn anew while a run goes on: the step, layers on their way, pods.

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use super::{
    super::{
        foreign,
        model::role_words,
        paint::{Paint, seconds},
        pods::Look,
    },
    going::{Going, Pod, Upload},
};
use crate::domain::units::format_bytes;

/// Columns and rows of a terminal.
pub type Size = (usize, usize);

/// Most rows that are drawn, on a terminal of any height.
const MOST_ROWS: usize = 18;
/// Columns of the bar of a layer.
const BAR: usize = 20;
/// Widest name of a pod.
const WIDEST_NAME: usize = 60;

/// What stands on the screen below the lines that stay.
pub struct Screen {
    size: fn() -> Option<Size>,
    drawn: usize,
}

impl Screen {
    /// `size` asks the terminal, which may change at any time.
    pub fn new(size: fn() -> Option<Size>) -> Self {
        Screen { size, drawn: 0 }
    }

    /// New lines in the place of the rows, and the rows as they are now below them.
    pub fn draw(&mut self, lines: &str, going: &Going, now: Timestamp, paint: Paint) -> String {
        let rows = rows(going, now, (self.size)().unwrap_or((80, 24)), paint);
        let erase = match self.drawn {
            0 => String::new(),
            drawn => format!("\r\u{1b}[{drawn}A\u{1b}[J"),
        };
        self.drawn = rows.len();
        let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
        format!("{erase}{lines}{rows}")
    }
}

/// The pods as they were at the end of a step, as lines that stay.
pub fn last_look(going: &Going, now: Timestamp, paint: Paint) -> String {
    let (pods, _) = shown(&going.pods, usize::MAX);
    let width = name_width(&pods);
    pods.iter().map(|pod| pod_row(pod, width, now, 200, paint) + "\n").collect()
}

fn rows(going: &Going, now: Timestamp, (columns, height): Size, paint: Paint) -> Vec<String> {
    let Some((step, begun)) = going.step else { return Vec::new() };
    // the last column stays free: a terminal that wraps there would count one more row
    let columns = columns.saturating_sub(1).max(10);
    let mut head = Row::new(columns);
    let took = seconds(now.duration_since(begun).as_secs_f64());
    head.push(paint.spinner(now.as_millisecond()), |text| paint.strong(text));
    head.push(&format!(" {:<10} {took:>9}  ", step.name()), str::to_string);
    head.push(&head_words(going), |text| paint.faint(text));
    let mut rows = vec![head.text];
    rows.extend(going.uploads.iter().map(|upload| upload_row(upload, now, columns, paint)));
    let room = height.saturating_sub(2).clamp(2, MOST_ROWS).saturating_sub(rows.len()).max(1);
    let (pods, left_out) = shown(&going.pods, room);
    let width = name_width(&pods);
    rows.extend(pods.iter().map(|pod| pod_row(pod, width, now, columns, paint)));
    if !left_out.is_empty() {
        let mut row = Row::new(columns);
        row.push(&format!("    and {} more: {}", left_out.len(), tally(&left_out)), |text| paint.faint(text));
        rows.push(row.text);
    }
    rows
}

fn head_words(going: &Going) -> String {
    let progress = going.progress.as_ref().filter(|_| !going.pods.is_empty());
    let progress = progress.map(|p| format!("{} of {} updated, {} ready, {} available", p.updated, p.desired, p.ready, p.available));
    let doing = going.doing.as_ref().map(|(what, _)| what.clone());
    progress.into_iter().chain(doing).collect::<Vec<_>>().join("; ")
}

fn upload_row(upload: &Upload, now: Timestamp, columns: usize, paint: Paint) -> String {
    let share = upload.sent as f64 / upload.size.max(1) as f64;
    let (full, empty) = paint.bar_of((share * BAR as f64) as usize, BAR);
    let mut row = Row::new(columns);
    row.push(&format!("    layer {} ", upload.digest.short()), str::to_string);
    row.push(&full, |text| paint.good(text));
    row.push(&empty, |text| paint.faint(text));
    row.push(
        &format!(" {:>9} of {:>9} {:>9}/s", format_bytes(upload.sent), format_bytes(upload.size), format_bytes(upload.rate(now))),
        str::to_string,
    );
    row.push(&format!(" ({})", role_words(upload.role)), |text| paint.faint(text));
    row.text
}

fn pod_row(pod: &Pod, width: usize, now: Timestamp, columns: usize, paint: Paint) -> String {
    let mut row = Row::new(columns);
    let name = foreign::cut(&pod.name, width);
    let look = Look::of(&pod.state, pod.ready);
    row.push(&format!("    {name}{}  ", " ".repeat(width.saturating_sub(name.width()))), |text| {
        if pod.old { paint.faint(text) } else { text.to_string() }
    });
    let state = foreign::line(&pod.state, 40);
    let ready = if pod.ready && !state.eq_ignore_ascii_case("ready") { ", ready" } else { "" };
    let state = format!("{state}{ready}");
    row.push(&state, |text| match look {
        Look::Bad => paint.bad(text),
        Look::Ready => paint.good(text),
        Look::Starting => paint.warning(text),
        Look::Waiting | Look::Going => paint.faint(text),
    });
    let old = if pod.old { " (old)" } else { "" };
    let age = seconds(now.duration_since(pod.since).as_secs_f64());
    row.push(&format!("{}{old}{} {age:>9}", " ".repeat(18usize.saturating_sub(state.width())), " ".repeat(6 - old.len())), |text| {
        paint.faint(text)
    });
    row.text
}

/// As many pods as there is room for, those that are looked at first: new before old, what fails or waits before what is ready.
fn shown(pods: &[Pod], room: usize) -> (Vec<&Pod>, Vec<&Pod>) {
    let mut pods: Vec<&Pod> = pods.iter().collect();
    pods.sort_by_key(|pod| (pod.old, Look::of(&pod.state, pod.ready)));
    let fit = if pods.len() <= room { pods.len() } else { room - 1 };
    let left_out = pods.split_off(fit);
    (pods, left_out)
}

fn tally(pods: &[&Pod]) -> String {
    let looks = [Look::Bad, Look::Waiting, Look::Starting, Look::Ready, Look::Going];
    let of = |look: Look| pods.iter().filter(|pod| Look::of(&pod.state, pod.ready) == look).count();
    let parts: Vec<String> = looks.into_iter().filter(|look| of(*look) > 0).map(|look| format!("{} {}", of(look), look.word())).collect();
    parts.join(", ")
}

fn name_width(pods: &[&Pod]) -> usize {
    pods.iter().map(|pod| pod.name.width()).max().unwrap_or(0).min(WIDEST_NAME)
}

/// One row that never gets wider than the terminal.
struct Row {
    text: String,
    room: usize,
}

impl Row {
    fn new(columns: usize) -> Self {
        Row { text: String::new(), room: columns }
    }

    fn push(&mut self, text: &str, paint: impl FnOnce(&str) -> String) {
        if self.room == 0 {
            return;
        }
        let text = foreign::cut(text, self.room);
        self.room -= text.width();
        self.text += &paint(&text);
    }
}

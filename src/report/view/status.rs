//! `status`: what runs, on one screen.

use jiff::Timestamp;

use super::{
    super::{
        foreign,
        log::Style,
        paint::{Mark, Paint, count},
    },
    history::{result, when},
    table,
};
use crate::domain::status::{AutoscaleStatus, DisruptionStatus, PodStatus, RevisionStatus, Status};

/// Releases that one screen has room for.
const RECENT: usize = 5;

/// Renders the screen; `now` is what ages are counted to.
pub fn status(view: &Status, now: Timestamp, style: &Style) -> String {
    let paint = Paint::new(style);
    let object = foreign::line(&format!("{}/{}", view.namespace, view.name), 160);
    let up = view.replicas.ready >= view.replicas.desired && view.replicas.updated >= view.replicas.desired;
    let mark = match (&view.unheard_since, up) {
        (Some(_), _) => Mark::Warning,
        (None, true) => Mark::Good,
        (None, false) => Mark::Bad,
    };
    let mark = paint.mark(mark);
    let revision = match view.revision {
        Some(revision) => format!(" revision {revision},"),
        None if view.ours => String::new(),
        None => " (not published by shipway)".to_string(),
    };
    let mut text = format!("{mark} {}{revision} {} of {} ready\n", paint.strong(&object), view.replicas.ready, view.replicas.desired);
    if let Some(since) = &view.unheard_since {
        let words = format!("not heard from the API server since {}: what is shown may be old", clock(since));
        text += &format!("  {} {}\n", paint.mark(Mark::Warning), paint.warning(&words));
    }
    text += &facts(view, up);
    text += &rows("pods", &view.pods.iter().map(|pod| pod_row(pod, now)).collect::<Vec<_>>(), paint);
    for stuck in &view.stuck {
        text += &format!("  {} {}\n", paint.mark(Mark::Warning), paint.warning(&foreign::line(&stuck.words(), 400)));
        text += &format!("    {} {}\n", paint.mark(Mark::Next), foreign::line(&stuck.hint(), 400));
    }
    let release = |release| release_row(release, view.revision == Some(release.revision), paint);
    text += &rows("revisions", &view.revisions.iter().take(RECENT).map(release).collect::<Vec<_>>(), paint);
    if view.revisions.len() > RECENT {
        text += &format!("  {}\n", paint.faint(&format!("… {} in all: shipway history", view.revisions.len())));
    }
    paint.plain(text)
}

fn facts(view: &Status, up: bool) -> String {
    let by = |what: &String| match &view.author {
        Some(author) => format!("{} by {author}", what.get(..12).unwrap_or(what)),
        None => what.get(..12).unwrap_or(what).to_string(),
    };
    let scaling = |scale: &AutoscaleStatus| format!("{} to {} pods, {} now, {} wanted", scale.min, scale.max, scale.current, scale.desired);
    let drains =
        |budget: &DisruptionStatus| format!("may take {} of {} pods now, {} have to stay", budget.allowed, budget.healthy, budget.wanted);
    let facts = [
        (
            "rollout",
            (!up).then(|| format!("{} of {} updated, {} available", view.replicas.updated, view.replicas.desired, view.replicas.available)),
        ),
        ("version", view.version.clone()),
        ("commit", view.commit.as_ref().map(by)),
        ("image", Some(view.image.clone())),
        ("url", view.url.clone()),
        ("scaling", view.autoscale.as_ref().map(scaling)),
        ("by hand", view.scale.as_ref().map(|scale| format!("{}; shipway scale --reset ends it", scale.words()))),
        ("drains", view.disruption.as_ref().map(drains)),
        ("config", view.config.clone()),
        ("job", view.job_url.clone()),
    ];
    let line = |(label, value): (&str, Option<String>)| Some(format!("  {label:<8}  {}\n", foreign::line(&value?, 300)));
    facts.into_iter().filter_map(line).collect()
}

fn pod_row(pod: &PodStatus, now: Timestamp) -> Vec<String> {
    let ready = if pod.ready && pod.state != "ready" { ", ready" } else { "" };
    let restarts = if pod.restarts > 0 { count(pod.restarts as usize, "restart") } else { String::new() };
    let node = pod.node.as_ref().map(|node| format!("on {}", foreign::line(node, 60))).unwrap_or_default();
    let started: Option<Timestamp> = pod.started.as_ref().and_then(|started| started.parse().ok());
    let age = started.map(|started| age(now.duration_since(started).as_secs().max(0))).unwrap_or_default();
    vec![foreign::line(&pod.name, 80), foreign::line(&pod.state, 60) + ready, age, restarts, node]
}

fn release_row(release: &RevisionStatus, current: bool, paint: Paint) -> Vec<String> {
    let mark = if current { paint.mark(Mark::Next) } else { String::new() };
    let commit = release.commit.as_ref().map(|commit| commit.get(..12).unwrap_or(commit).to_string()).unwrap_or_default();
    let author = release.author.as_ref().map(|author| foreign::line(author, 40)).unwrap_or_default();
    let cells = [&result(release), &release.version, &commit, &when(&release.started)].map(|cell| foreign::line(cell, 60));
    [mark, release.revision.to_string()].into_iter().chain(cells).chain([author]).collect()
}

fn rows(title: &str, rows: &[Vec<String>], paint: Paint) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let lines: String = table::lines(rows).iter().map(|line| format!("  {line}\n")).collect();
    format!("\n{}\n{lines}", paint.strong(title))
}

/// To the second, UTC: it is of today, as a rule.
fn clock(time: &str) -> String {
    foreign::line(time, 40).replace('T', " ").replace('Z', " UTC")
}

/// `45s`, `12m`, `3h`, `9d`, as kubectl writes ages.
fn age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

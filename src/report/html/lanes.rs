//! The pods of a rollout: for each a lane that shows its states over time.

use std::collections::{BTreeMap, HashMap};

use super::{
    super::{
        foreign,
        model::{PodMoment, Report},
        paint::seconds,
        pods::{Look, is_gone},
    },
    axis::{self, Tick},
    bars::span,
};
use crate::domain::step::Step;

/// Pods that get a lane with their name; the others are drawn close together.
const MOST: usize = 60;
/// Pixels of a pod that is drawn close to others.
const CLOSE: usize = 4;

/// All pods of a rollout.
pub struct Rollout {
    pub lanes: Vec<Lane>,
    /// Those for whom there is no lane.
    pub rest: Option<Rest>,
    pub ticks: Vec<Tick>,
    /// The marks of the scale as a path.
    pub grid: String,
    /// Where on the line the rollback began.
    pub turn: Option<String>,
    pub took: f64,
    pub pods: usize,
}

/// Pods without a lane of their own, drawn one below the other.
pub struct Rest {
    pub pods: usize,
    pub height: usize,
    /// For each look the path of its stretches.
    pub paths: Vec<(&'static str, String)>,
}

/// One pod.
pub struct Lane {
    pub name: String,
    pub old: bool,
    /// The last state that was seen; for a new pod that is ready, when it got so.
    pub state: String,
    pub look: &'static str,
    pub segments: Vec<Segment>,
}

/// A stretch of one state.
pub struct Segment {
    pub look: &'static str,
    pub x: String,
    pub width: String,
    pub label: String,
}

/// The time that the lanes show, in seconds since the run began.
struct Span {
    start: f64,
    end: f64,
}

/// The pods of the report's rollout.
pub fn rollout(report: &Report) -> Rollout {
    let over = time(report);
    let mut lanes = lanes(report, &over);
    let pods = lanes.len();
    let rest = lanes.split_off(pods.min(MOST));
    let took = over.end - over.start;
    let ticks = axis::ticks(took);
    let turn = report.rollback_at.filter(|at| (over.start..=over.end).contains(at)).map(|at| span((at - over.start) / took, 0.0).0);
    Rollout { lanes, rest: close(&rest), grid: axis::grid(&ticks), ticks, turn, took, pods }
}

/// One stretch of a path for each stretch of a state: hundreds of pods take a few kilobytes.
fn close(lanes: &[Lane]) -> Option<Rest> {
    if lanes.is_empty() {
        return None;
    }
    let mut paths: BTreeMap<&'static str, String> = BTreeMap::new();
    for (row, lane) in lanes.iter().enumerate() {
        for segment in &lane.segments {
            let line = format!("M{} {}h{}", segment.x, row * CLOSE + CLOSE / 2, segment.width);
            paths.entry(segment.look).or_default().push_str(&line);
        }
    }
    Some(Rest { pods: lanes.len(), height: lanes.len() * CLOSE, paths: paths.into_iter().collect() })
}

/// From the begin of the step that rolled out (or the first pod seen) to its end.
fn time(report: &Report) -> Span {
    let step = report.steps.iter().rev().find(|step| step.name >= Step::Publish);
    let first = report.pods.iter().map(|pod| pod.at).fold(f64::INFINITY, f64::min);
    let last = report.pods.iter().map(|pod| pod.at).fold(0.0, f64::max);
    let (start, end) = match step {
        Some(step) => {
            let start = step.started.duration_since(report.started).as_secs_f64().max(0.0);
            (start.min(first), (start + step.seconds).max(last))
        }
        None => (first, last),
    };
    if start.is_finite() { Span { start, end: end.max(start + 0.001) } } else { Span { start: 0.0, end: 0.001 } }
}

/// A lane a pod: new pods first, each group in the order in which they came.
fn lanes(report: &Report, span: &Span) -> Vec<Lane> {
    let mut names: Vec<&str> = Vec::new();
    let mut moments: HashMap<&str, Vec<&PodMoment>> = HashMap::new();
    for pod in &report.pods {
        moments.entry(&pod.name).or_insert_with(|| {
            names.push(&pod.name);
            Vec::new()
        });
        moments.entry(&pod.name).and_modify(|of_pod| of_pod.push(pod));
    }
    let mut lanes: Vec<Lane> = names.iter().filter_map(|name| lane(report, moments.get(name)?, span)).collect();
    lanes.sort_by_key(|lane| lane.old);
    lanes
}

fn lane(report: &Report, moments: &[&PodMoment], over: &Span) -> Option<Lane> {
    let first = moments.first()?;
    // A pod of the revision before is told of when it changes, or when that revision is watched again; until then it was there, and
    // took requests.
    let was_there = first.old || (first.ready && report.rollback_at.is_some_and(|turn| first.at >= turn));
    let seen = moments.iter().map(|moment| (moment.state.as_str(), moment.at, Look::of(&moment.state, moment.ready)));
    let mut states: Vec<(&str, f64, Look)> = seen.collect();
    match states.first_mut() {
        Some((_, at, Look::Ready)) if was_there => *at = over.start,
        Some(_) if was_there => states.insert(0, ("ready", over.start, Look::Ready)),
        _ => {}
    }
    judge(report, &first.name, &mut states, over.end);
    let ends = states.iter().skip(1).map(|(_, at, _)| *at).chain([over.end]);
    let segments = states.iter().zip(ends).filter(|((state, at, _), end)| !is_gone(state) && end > at);
    let segments = segments.map(|(state, end)| segment(*state, end, over)).collect();
    let (last, _, look) = *states.last()?;
    let ready = moments.iter().find(|moment| moment.ready && look == Look::Ready);
    let state = match ready {
        Some(_) if was_there => "ready".to_string(),
        Some(moment) => format!("ready after {}", seconds(moment.at - over.start)),
        None => foreign::line(last, 60),
    };
    Some(Lane { name: foreign::line(&first.name, 80), old: was_there, state, look: look.class(), segments })
}

/// The pod that the problem tells of had failed when it was judged, whatever was seen of it last.
fn judge<'a>(report: &'a Report, pod: &str, states: &mut Vec<(&'a str, f64, Look)>, end: f64) {
    let Some(problem) = report.problem() else { return };
    let is_it = |source: &str| source.strip_prefix("pod/").is_some_and(|rest| rest.split(['/', ' ']).next() == Some(pod));
    if !problem.evidence.iter().any(|piece| is_it(&piece.source)) {
        return;
    }
    let turn = report.rollback_at.unwrap_or(end);
    let place = states.partition_point(|(_, at, _)| *at <= turn);
    if place > 0 && !matches!(states[place - 1].2, Look::Bad | Look::Going) {
        states.insert(place, (&problem.code, turn, Look::Bad));
    }
}

fn segment((state, at, look): (&str, f64, Look), end: f64, over: &Span) -> Segment {
    let whole = over.end - over.start;
    let (x, width) = span((at - over.start) / whole, (end - at) / whole);
    Segment { look: look.class(), x, width, label: format!("{} for {}", foreign::line(state, 60), seconds(end - at)) }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::{
        domain::{event::Event, redact::Redactor},
        report::Draft,
    };

    #[test]
    fn a_pod_that_is_ready_at_first_sight_was_there_when_its_revision_is_put_back() {
        let at = |seconds: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let drawn = |rolled_back: bool| {
            let mut draft = Draft::new("0.1.0", "run", at(0));
            if rolled_back {
                draft.event(Event::RollingBack { revision: 1, because: "it crashes".to_string() }, at(10));
            }
            draft.event(Event::Pod { name: "web-1".to_string(), state: "ready".to_string(), ready: true, old: false }, at(12));
            let report = draft.finish(None, at(20), &Redactor::default());
            let lane = lanes(&report, &Span { start: 0.0, end: 20.0 }).remove(0);
            (lane.state, lane.segments[0].label.clone())
        };
        assert_eq!(drawn(true), ("ready".to_string(), "ready for 20.0 s".to_string()));
        assert_eq!(drawn(false), ("ready after 12.0 s".to_string(), "ready for 8.0 s".to_string()));
    }
}

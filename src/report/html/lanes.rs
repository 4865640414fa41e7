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
    let mut lanes: Vec<Lane> = names.iter().filter_map(|name| lane(moments.get(name)?, span, report.rollback_at)).collect();
    lanes.sort_by_key(|lane| lane.old);
    lanes
}

fn lane(moments: &[&PodMoment], over: &Span, turn: Option<f64>) -> Option<Lane> {
    let (first, last) = (moments.first()?, moments.last()?);
    let whole = over.end - over.start;
    let mut segments = Vec::new();
    // Ready at first sight after the rollback began: a pod of the revision that is put back, which was never told of before.
    let before = first.old || (first.ready && turn.is_some_and(|turn| first.at >= turn));
    if before && first.at > over.start {
        // A pod of the revision before is told of when it changes; until then it was there, and took requests.
        let (x, width) = span(0.0, (first.at - over.start) / whole);
        segments.push(Segment { look: "ready", x, width, label: format!("ready for {}", seconds(first.at - over.start)) });
    }
    for (at, moment) in moments.iter().enumerate() {
        let end = moments.get(at + 1).map_or(over.end, |next| next.at);
        if is_gone(&moment.state) || end <= moment.at {
            continue;
        }
        let (x, width) = span((moment.at - over.start) / whole, (end - moment.at) / whole);
        let label = format!("{} for {}", foreign::line(&moment.state, 60), seconds(end - moment.at));
        segments.push(Segment { look: Look::of(&moment.state, moment.ready).class(), x, width, label });
    }
    let look_now = Look::of(&last.state, last.ready);
    let ready = moments.iter().find(|moment| moment.ready && look_now == Look::Ready);
    let state = match ready {
        Some(_) if before => "ready".to_string(),
        Some(moment) => format!("ready after {}", seconds(moment.at - over.start)),
        None => foreign::line(&last.state, 60),
    };
    // A rollback makes old pods of new ones: what counts is what it was at first.
    Some(Lane { name: foreign::line(&last.name, 80), old: first.old, state, look: look_now.class(), segments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at: f64, state: &str, ready: bool, old: bool) -> PodMoment {
        PodMoment { name: "web-1".to_string(), at, state: state.to_string(), ready, old }
    }

    #[test]
    fn a_pod_that_was_ready_all_along_did_not_get_ready_in_the_rollback() {
        let over = Span { start: 0.0, end: 20.0 };
        let drawn = |first: &PodMoment, turn| {
            let lane = lane(&[first], &over, turn).unwrap();
            (lane.state, lane.segments.len())
        };
        let kept = moment(12.0, "ready", true, false);
        assert_eq!(drawn(&kept, Some(10.0)), ("ready".to_string(), 2), "from the beginning, and on");
        assert_eq!(drawn(&kept, None), ("ready after 12.0 s".to_string(), 1));
        let made = [moment(11.0, "creating", false, false), moment(14.0, "ready", true, false)];
        assert_eq!(lane(&[&made[0], &made[1]], &over, Some(10.0)).unwrap().state, "ready after 14.0 s", "one that had to be made again");
    }
}

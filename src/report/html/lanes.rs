//! The pods of a rollout: for each a lane that shows its states over time.

use super::{
    super::{
        foreign,
        model::{PodMoment, Report},
        paint::seconds,
    },
    bars::span,
};
use crate::domain::step::Step;

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
pub struct Span {
    pub start: f64,
    pub end: f64,
}

/// From the begin of the step that rolled out (or the first pod seen) to its end.
pub fn rollout(report: &Report) -> Span {
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
pub fn lanes(report: &Report, span: &Span) -> Vec<Lane> {
    let mut names: Vec<&str> = Vec::new();
    let mut moments: std::collections::HashMap<&str, Vec<&PodMoment>> = std::collections::HashMap::new();
    for pod in &report.pods {
        moments.entry(&pod.name).or_insert_with(|| {
            names.push(&pod.name);
            Vec::new()
        });
        moments.entry(&pod.name).and_modify(|of_pod| of_pod.push(pod));
    }
    let mut lanes: Vec<Lane> = names.iter().filter_map(|name| lane(moments.get(name)?, span)).collect();
    lanes.sort_by_key(|lane| lane.old);
    lanes
}

fn lane(moments: &[&PodMoment], over: &Span) -> Option<Lane> {
    let (first, last) = (moments.first()?, moments.last()?);
    let whole = over.end - over.start;
    let mut segments = Vec::new();
    if first.old && first.at > over.start {
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
        segments.push(Segment { look: look(moment), x, width, label });
    }
    let look_now = look(last);
    let ready = moments.iter().find(|moment| moment.ready && look_now == "ready");
    let state = match ready {
        Some(_) if first.old => "ready".to_string(),
        Some(moment) => format!("ready after {}", seconds(moment.at - over.start)),
        None => foreign::line(&last.state, 60),
    };
    // A rollback makes old pods of new ones: what counts is what it was at first.
    Some(Lane { name: foreign::line(&last.name, 80), old: first.old, state, look: look_now, segments })
}

fn is_gone(state: &str) -> bool {
    ["gone", "deleted", "removed"].iter().any(|word| state.to_lowercase().contains(word))
}

/// How a state looks; the words are ours (`domain::rollout`) or Kubernetes' own reasons.
fn look(moment: &PodMoment) -> &'static str {
    let state = moment.state.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| state.contains(word));
    if is_gone(&state) || says(&["terminating", "completed", "succeeded"]) {
        "going"
    } else if says(&["crash", "err", "oom", "fail", "backoff", "invalid", "evicted", "cannot", "unschedulable"]) {
        "bad"
    } else if moment.ready {
        "ready"
    } else if says(&["running", "start"]) {
        "starting"
    } else {
        "waiting"
    }
}

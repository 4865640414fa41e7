//! What goes on at a moment of a run: for the live rows of a terminal, and for the heartbeat of a log that is never redrawn.

use jiff::Timestamp;

use super::super::{paint::count, pods::is_gone};
use crate::domain::{
    digest::Digest,
    event::{Event, LayerRole},
    rollout::Progress,
    step::Step,
    units::format_bytes,
};

/// The step that goes on, and what it is at.
#[derive(Default)]
pub struct Going {
    pub step: Option<(Step, Timestamp)>,
    /// What is waited for, since when.
    pub doing: Option<(String, Timestamp)>,
    pub uploads: Vec<Upload>,
    pub pods: Vec<Pod>,
    pub progress: Option<Progress>,
}

/// A layer on its way.
pub struct Upload {
    pub digest: Digest,
    pub role: LayerRole,
    pub size: u64,
    pub sent: u64,
    pub since: Timestamp,
}

/// A pod as it was last seen.
pub struct Pod {
    pub name: String,
    pub state: String,
    pub ready: bool,
    pub old: bool,
    /// When it came into this state.
    pub since: Timestamp,
}

impl Upload {
    /// Bytes in a second, since it began.
    pub fn rate(&self, now: Timestamp) -> u64 {
        let seconds = now.duration_since(self.since).as_secs_f64();
        if seconds < 0.1 { 0 } else { (self.sent as f64 / seconds) as u64 }
    }
}

impl Going {
    /// Takes in what happened, in texts that are safe to show.
    pub fn event(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::StepStarted { step } => *self = Going { step: Some((*step, now)), ..Going::default() },
            Event::StepFinished { .. } => *self = Going::default(),
            Event::CommandStarted { argv } => self.doing = argv.first().map(|program| (base_name(program).to_string(), now)),
            Event::MavenGoal { goal, module } => self.doing = Some((format!("{} of {module}", short_goal(goal)), now)),
            Event::Sending { digest, size, role, sent } => self.sending(digest, *size, *role, *sent, now),
            Event::Layer { digest, .. } => self.uploads.retain(|upload| upload.digest != *digest),
            Event::Pod { name, state, ready, old } => self.pod(name, state, *ready, *old, now),
            Event::Rollout { desired, updated, ready, available } => {
                self.progress = Some(Progress { desired: *desired, updated: *updated, ready: *ready, available: *available });
            }
            Event::Waiting { what, seconds } => {
                let since = i64::try_from(*seconds).unwrap_or_default();
                self.doing = Some((what.clone(), now - jiff::SignedDuration::from_secs(since)));
            }
            Event::RollingBack { revision, .. } => self.doing = Some((format!("revision {revision} to run again"), now)),
            _ => {}
        }
    }

    /// What is waited for, and for how many seconds; None between steps.
    pub fn waited_for(&self, now: Timestamp) -> Option<(String, u64)> {
        let (step, begun) = self.step?;
        let (what, since) = match (self.uploads.first(), &self.doing) {
            (Some(first), _) => (self.upload_words(now), first.since),
            (None, Some((what, since))) => (what.clone(), *since),
            (None, None) => (format!("the end of {}", step.name()), begun),
        };
        Some((what, u64::try_from(now.duration_since(since).as_secs()).unwrap_or_default()))
    }

    fn upload_words(&self, now: Timestamp) -> String {
        let total = |of: fn(&Upload) -> u64| self.uploads.iter().map(of).sum();
        let rate = self.uploads.iter().map(|upload| upload.rate(now)).sum();
        let (sent, size) = (format_bytes(total(|upload| upload.sent)), format_bytes(total(|upload| upload.size)));
        format!("{}: {sent} of {size} sent, {}/s", count(self.uploads.len(), "layer"), format_bytes(rate))
    }

    fn sending(&mut self, digest: &Digest, size: u64, role: LayerRole, sent: u64, now: Timestamp) {
        match self.uploads.iter_mut().find(|upload| upload.digest == *digest) {
            Some(upload) => upload.sent = sent,
            None => self.uploads.push(Upload { digest: digest.clone(), role, size, sent, since: now }),
        }
    }

    fn pod(&mut self, name: &str, state: &str, ready: bool, old: bool, now: Timestamp) {
        let known = self.pods.iter_mut().find(|pod| pod.name == name);
        match known {
            _ if is_gone(state) => self.pods.retain(|pod| pod.name != name),
            Some(pod) if pod.state == state && pod.ready == ready => pod.old = old,
            Some(pod) => *pod = Pod { name: name.to_string(), state: state.to_string(), ready, old, since: now },
            None => self.pods.push(Pod { name: name.to_string(), state: state.to_string(), ready, old, since: now }),
        }
    }
}

/// `maven-compiler-plugin:3.13.0:compile (default-compile)` → `compile`.
pub fn short_goal(goal: &str) -> &str {
    let name = goal.split_whitespace().next().unwrap_or(goal);
    name.rsplit(':').next().unwrap_or(name)
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

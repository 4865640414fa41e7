//! How the state of a pod looks; its words are ours (`domain::rollout`) or Kubernetes' own reasons.

/// What a state means for who looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    Bad,
    Waiting,
    Starting,
    Ready,
    /// On its way out.
    Going,
}

impl Look {
    pub fn of(state: &str, ready: bool) -> Look {
        let state = state.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| state.contains(word));
        if is_gone(&state) || says(&["terminating", "completed", "succeeded"]) {
            Look::Going
        } else if says(&["crash", "err", "oom", "fail", "backoff", "invalid", "evicted", "cannot", "unschedulable"]) {
            Look::Bad
        } else if ready {
            Look::Ready
        } else if says(&["running", "start"]) {
            Look::Starting
        } else {
            Look::Waiting
        }
    }

    /// The class of the page's style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Look::Bad => "bad",
            Look::Waiting => "waiting",
            Look::Starting => "starting",
            Look::Ready => "ready",
            Look::Going => "going",
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Look::Bad => "failing",
            Look::Going => "leaving",
            other => other.class(),
        }
    }
}

/// The pod is not there any longer.
pub fn is_gone(state: &str) -> bool {
    ["gone", "deleted", "removed"].iter().any(|word| state.to_lowercase().contains(word))
}

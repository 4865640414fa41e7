//! What there is to tell at one moment of a run.

use super::LONGEST_COMMENT;
use crate::{
    domain::redact::Redactor,
    forge::State,
    report::{Outcome, Recorder, Removed, Report, Stage, comment, html::outside_address, message},
};

/// One moment of a run, in words that are safe to show.
#[derive(Debug, Clone)]
pub(super) struct News {
    /// First line of the comment.
    pub marker: String,
    pub comment: String,
    /// Of the commit's status and the deployment.
    pub description: String,
    pub state: State,
    /// The cluster is being changed, or was.
    pub rolling: bool,
    /// Where the application answers, when that is reached from outside.
    pub url: Option<String>,
    /// Of a run that took the application away.
    pub removed: Option<Removed>,
    pub last: bool,
}

impl Default for News {
    fn default() -> Self {
        let text = String::new;
        News {
            marker: text(),
            comment: text(),
            description: text(),
            state: State::Running,
            rolling: false,
            url: None,
            removed: None,
            last: false,
        }
    }
}

impl News {
    /// A run that goes on; None when it has ended already.
    pub fn live(recorder: &Recorder, redactor: &Redactor, stage: Stage, rolling: bool) -> Option<News> {
        let so_far = recorder.so_far(redactor)?;
        Some(News {
            marker: comment::live_marker(&so_far),
            comment: comment::live(&so_far, stage, LONGEST_COMMENT),
            description: comment::live_words(&so_far, stage).to_string(),
            state: State::Running,
            rolling,
            url: None,
            removed: None,
            last: false,
        })
    }

    /// A run that ended.
    pub fn last(report: &Report, rolling: bool) -> News {
        News {
            marker: comment::marker(report),
            comment: comment::render(report, LONGEST_COMMENT),
            description: message::status_words(report),
            state: match report.result() {
                Outcome::Succeeded => State::Succeeded,
                Outcome::Cancelled => State::Cancelled,
                Outcome::Failed | Outcome::RolledBack | Outcome::Superseded => State::Failed,
            },
            rolling,
            url: report.url.as_deref().and_then(outside_address),
            removed: report.removed,
            last: true,
        }
    }
}

//! What people and machines read of a run: the only place that words and prints.
//!
//! A [`Recorder`] gathers what happens into a [`Report`]; a [`Log`] tells it to the owner while it happens. Both are fed by the same
//! events (see [`events`]). [`write_all`] leaves the files of `report.dir`. Everything but that writer is pure.

pub mod comment;
pub mod dotenv;
pub mod files;
pub mod foreign;
pub mod html;
pub mod json;
pub mod junit;
pub mod log;
pub mod model;
mod paint;
pub mod recorder;
mod reference;
mod texts;
pub mod view;

pub use files::{Attachments, write_all};
pub use log::{Format, Header, Intent, Level, Log, Style};
pub use model::{
    Ci, Commit, Image, ImageLayer, NotDone, Outcome, PodMoment, ProblemRecord, Release, Report, SettingRecord, StepRecord, WarningRecord,
};
pub use recorder::{Draft, Recorder};
pub use reference::{exit_codes as exit_codes_reference, problems as problems_reference};
pub use view::{ObjectDiff, PlanView, check, diffs, plan, status};

use crate::domain::event::Events;

/// The sink for a run's events: each goes to the log, at once, and into the report.
pub fn events(log: &Log, recorder: &Recorder) -> Events {
    let (log, recorder) = (log.clone(), recorder.clone());
    Events::new(move |event| {
        log.event(&event);
        recorder.event(event);
    })
}

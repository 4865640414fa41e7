//! What people and machines read of a run: the only place that words and prints.
//!
//! A [`Recorder`] gathers what happens into a [`Report`]; a [`Log`] tells it to the owner while it happens. Both are fed by the same
//! events (see [`events`]). [`write_all`] leaves the files of `report.dir`. Everything but that writer is pure.

pub mod answer;
pub mod card;
pub mod cloud_event;
pub mod comment;
pub mod dotenv;
pub mod files;
pub mod foreign;
pub mod html;
pub mod json;
pub mod junit;
pub mod log;
mod markdown;
pub mod message;
pub mod model;
mod paint;
mod pods;
pub mod recorder;
mod reference;
mod schema;
mod texts;
pub mod view;

pub use files::{Attachments, leave, write_all};
pub use log::{Format, Header, Intent, Level, Log, Size, Style};
pub use model::{
    Before, Ci, Commit, DifferenceRecord, Image, ImageLayer, NotDone, Outcome, PodMoment, ProblemRecord, Release, Removed, Report,
    SettingRecord, SoFar, Stage, StepRecord, WarningRecord,
};
pub use paint::count;
pub use recorder::{Draft, Recorder};
pub use reference::{exit_codes as exit_codes_reference, explain, problems as problems_reference, slugs};
pub use schema::{reference as report_reference, schema as report_schema};
pub use view::{
    FileRow, LogRow, ObjectDiff, PlanView, StuckRow, apps, apps_csv, asks, can, changes, changes_csv, check, diffs, doctor, history,
    imported, init, log_row, plan, pushed, rules_count, status, stuck,
};

use crate::domain::event::Events;
pub use crate::domain::units::format_bytes as bytes;

/// The sink for a run's events: each goes to the log, at once, and into the report.
pub fn events(log: &Log, recorder: &Recorder) -> Events {
    let (log, recorder) = (log.clone(), recorder.clone());
    Events::new(move |event| {
        log.event(&event);
        recorder.event(event);
    })
}

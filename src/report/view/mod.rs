//! What the commands answer: a plan, a status, what a check found. Plain data in, text out.

mod can;
mod changes;
mod check;
mod diff;
mod doctor;
mod history;
mod init;
mod logs;
mod plan;
mod pushed;
mod status;
mod stuck;
pub(in crate::report) mod table;

pub use self::{
    can::{asks, can},
    changes::{apps, apps_csv, changes, changes_csv, imported, rules_count},
    check::check,
    diff::{ObjectDiff, diffs},
    doctor::doctor,
    history::history,
    init::{FileRow, init},
    logs::{LogRow, log_row},
    plan::{PlanView, plan},
    pushed::pushed,
    status::status,
    stuck::{StuckRow, stuck},
};

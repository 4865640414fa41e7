//! What the commands answer: a plan, a status, what a check found. Plain data in, text out.

mod check;
mod diff;
mod history;
mod logs;
mod plan;
mod status;
mod stuck;
mod table;

pub use self::{
    check::check,
    diff::{ObjectDiff, diffs},
    history::history,
    logs::{LogRow, log_row},
    plan::{PlanView, plan},
    status::status,
    stuck::{StuckRow, stuck},
};

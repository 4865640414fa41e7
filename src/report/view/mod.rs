//! What the commands answer: a plan, a status, what a check found. Plain data in, text out.

mod check;
mod diff;
mod plan;
mod status;
mod table;

pub use self::{
    check::check,
    diff::{ObjectDiff, diffs},
    plan::{PlanView, plan},
    status::status,
};

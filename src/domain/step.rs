//! The steps of a run, in their order.

use serde::Serialize;

/// One step of a run; the order of the variants is the order of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Checkout,
    Build,
    Dockerfile,
    Image,
    Publish,
    Rollback,
    Restart,
    Scale,
    Remove,
}

impl Step {
    /// Every step, in their order.
    pub const ALL: &'static [Step] = &[
        Step::Checkout,
        Step::Build,
        Step::Dockerfile,
        Step::Image,
        Step::Publish,
        Step::Rollback,
        Step::Restart,
        Step::Scale,
        Step::Remove,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Step::Checkout => "checkout",
            Step::Build => "build",
            Step::Dockerfile => "dockerfile",
            Step::Image => "image",
            Step::Publish => "publish",
            Step::Rollback => "rollback",
            Step::Restart => "restart",
            Step::Scale => "scale",
            Step::Remove => "remove",
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Succeeded,
    Failed,
    Skipped,
}

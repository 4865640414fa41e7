//! What can be known of a publish before anything changes: rights, objects that the pods refer to, room in quotas and limits, processors
//! of the nodes. Pure: what was read of the cluster is handed in.

mod demand;
mod limits;
mod pace;
mod platforms;
mod quota;
mod references;
pub mod rights;

use super::problem::Problem;

pub use demand::{Demand, demand};
pub use limits::outside_limits;
pub use pace::too_slow;
pub use platforms::other_platforms;
pub use quota::{Growth, without_room};
pub use references::{Kind, Known, Place, Reference, missing, references};

/// All that keeps a publish from starting as one problem, each part with its own next action; None when nothing does.
pub fn all(found: Vec<Problem>) -> Option<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for problem in found {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    if problems.len() < 2 {
        return problems.pop();
    }
    let lines: String = problems.iter().map(|problem| format!("\n  {} ({})", problem.message, problem.hint)).collect();
    let message = format!("{} things keep this publish from starting; nothing was changed:{lines}", problems.len());
    let code = problems.first()?.code;
    let evidence = problems.into_iter().flat_map(|problem| problem.evidence).collect();
    Some(Problem { evidence, ..Problem::new(code, message).hint("correct all of them, then run again") })
}

#[cfg(test)]
mod tests;

//! Gitea and Forgejo (`/api/v1`, their swagger document): GitHub's comments and statuses with limits of their own, and no deployments.

use super::{State, repos};

/// Longest description of a status that its page shows in full, characters.
pub(super) const DESCRIPTION: usize = 255;

/// `pending`, `success`, `error`, `failure` (CommitStatusState).
pub(super) fn status_state(state: State) -> &'static str {
    repos::state(state)
}

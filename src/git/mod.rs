//! The source: the checkout that is there, or a shallow clone.

mod call;
mod clone;
mod head;

use std::path::{Path, PathBuf};

use crate::domain::{problem::Result, secret::Credentials};

pub use crate::domain::commit::Commit;

/// Where to clone from.
pub struct Source {
    pub url: String,
    /// Branch, tag or commit; None: the remote's default branch.
    pub reference: Option<String>,
    pub credentials: Option<Credentials>,
    pub ca: Option<PathBuf>,
    /// Patterns of full names (`refs/heads/*`), of which the ref has to match one; none are all. What is neither branch nor tag goes by what
    /// was asked for.
    pub refs: Vec<String>,
}

/// The commit of the checkout at `dir` (or of the one that it lies in); None when it is none, or has no commit yet. `env` is the
/// child's whole environment.
pub async fn head(dir: &Path, env: &[(String, String)]) -> Result<Option<Commit>> {
    head::head(dir, env).await
}

/// Clones one ref, depth 1, into `dir` (empty or absent). Credentials go to git by its environment, never in argv or the remote's
/// URL; those that are written into the URL are moved there.
pub async fn clone(source: &Source, dir: &Path, env: &[(String, String)]) -> Result<Commit> {
    clone::clone(source, dir, env).await
}

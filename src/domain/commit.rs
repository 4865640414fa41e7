//! A commit, as a checkout or the CI tells of it.

/// What is known of the commit that is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    pub sha: String,
    /// Commit time, seconds since the epoch.
    pub time: i64,
    pub author: String,
    /// Short name of the branch; None when the head is detached.
    pub branch: Option<String>,
    /// A tag that points at the commit.
    pub tag: Option<String>,
    /// The `origin` remote without credentials.
    pub remote: Option<String>,
}

impl Commit {
    /// The first 12 digits: enough to be unique in any repository.
    pub fn short(&self) -> &str {
        self.sha.get(..12).unwrap_or(&self.sha)
    }
}

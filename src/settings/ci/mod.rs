//! Which CI runs us, and what it tells: one shape for all of them, folded from a raw table for each.

mod drone;
mod gitlab;
mod shell;
mod values;
mod woodpecker;

use std::{borrow::Cow, path::PathBuf};

use serde::de::DeserializeOwned;

pub use self::values::{entries, environment};
use crate::domain::{
    redact::Redactor,
    secret::{Credentials, Secret},
};

/// The CI servers that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CiKind {
    Gitlab,
    Drone,
    Woodpecker,
    /// No CI that is known: a person, or something else that sets the SHIPWAY_ variables.
    #[default]
    Shell,
}

impl CiKind {
    /// As people write it, and as `report.json` has it.
    pub fn name(self) -> &'static str {
        match self {
            CiKind::Gitlab => "gitlab",
            CiKind::Drone => "drone",
            CiKind::Woodpecker => "woodpecker",
            CiKind::Shell => "shell",
        }
    }
}

/// What made the CI start this job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CiEvent {
    Push,
    Tag,
    MergeRequest,
    /// A promotion or deployment to a named environment.
    Deployment,
    /// The CI's own rollback (Drone).
    Rollback,
    Schedule,
    Manual,
    /// Anything else, in the CI's own word.
    Other(String),
    /// Not said.
    #[default]
    Unknown,
}

/// What the CI's own variables tell; None and empty: not said.
#[derive(Clone, Default)]
pub struct Ci {
    pub kind: CiKind,
    pub event: CiEvent,
    /// Page of this job.
    pub job_url: Option<String>,
    pub job_id: Option<String>,
    pub job_name: Option<String>,
    /// Grows with every pipeline of the project: the sequence of publishes.
    pub pipeline_id: Option<u64>,
    pub pipeline_url: Option<String>,
    pub commit: CiCommit,
    pub merge_request: Option<MergeRequest>,
    pub project: CiProject,
    /// The CI's own image registry and the job's account there.
    pub registry: Option<CiRegistry>,
    /// A token that outlives the job and may pull images (GitLab's deploy token).
    pub deploy_token: Option<Credentials>,
    /// The job's own token, for what it may do at the forge; never for a pull secret.
    pub job_token: Option<Secret>,
    /// Base address of the forge, or of its API.
    pub api_url: Option<String>,
    /// Who signs the identity tokens of its jobs (GitLab).
    pub issuer: Option<String>,
    /// What the forge is, in the CI's word: `gitlab`, `github`, `gitea`, `forgejo`, `bitbucket`.
    pub forge: Option<String>,
    /// Where the environment that the job names answers.
    pub environment_url: Option<String>,
    /// The job names an environment, so that the CI records its deployment by itself (GitLab).
    pub environment_by_ci: bool,
    /// PEM file of the certificate authority of the CI's server.
    pub server_ca: Option<PathBuf>,
    /// The checkout's folder.
    pub checkout: Option<PathBuf>,
    /// The log folds sections (GitLab).
    pub sections: bool,
    /// Where the card goes (Drone).
    pub card_path: Option<PathBuf>,
    /// Where output variables go (Drone).
    pub output_path: Option<PathBuf>,
}

/// The commit that the CI builds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CiCommit {
    pub sha: Option<String>,
    /// What the branch was before: the commit of its last pipeline, most likely.
    pub before: Option<String>,
    /// Branch or tag as people call it.
    pub reference: Option<String>,
    /// The branch that was pushed; None for tags and merge requests.
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub default_branch: Option<String>,
    pub author: Option<String>,
    pub author_email: Option<String>,
    /// First line of the message: foreign text.
    pub title: Option<String>,
    /// Seconds since the epoch.
    pub time: Option<i64>,
}

/// The merge request (or pull request) that the pipeline belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergeRequest {
    pub number: u64,
    /// Project where its notes go: an id (GitLab) or owner/name.
    pub project: Option<String>,
    pub source_branch: Option<String>,
    pub target_branch: Option<String>,
    /// Foreign text.
    pub title: Option<String>,
    /// It comes from another repository; None when the CI does not say.
    pub fork: Option<bool>,
}

/// The project at the forge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CiProject {
    pub id: Option<String>,
    /// Last part of its path: the repository's name.
    pub name: Option<String>,
    /// Owner or groups, and name.
    pub path: Option<String>,
    /// Its page.
    pub url: Option<String>,
    pub clone_url: Option<String>,
}

/// The CI's own image registry.
#[derive(Clone)]
pub struct CiRegistry {
    /// Host and port.
    pub url: String,
    pub credentials: Option<Credentials>,
    /// The project's place in it (`CI_REGISTRY_IMAGE`).
    pub image: Option<String>,
    /// Host and port of the server that gives its tokens: the CI's own, which may be of another domain.
    pub token_server: Option<String>,
}

impl Ci {
    /// Links go to code hosts, chats and the cluster's records as they are, and without the secret in it a link leads nowhere.
    pub(super) fn drop_links_with(&mut self, secrets: &Redactor) {
        for link in [&mut self.job_url, &mut self.pipeline_url, &mut self.environment_url] {
            link.take_if(|link| matches!(secrets.redact(link), Cow::Owned(_)));
        }
    }

    /// The pipeline runs for the default branch.
    pub fn on_default_branch(&self) -> bool {
        self.commit.branch.is_some() && self.commit.branch == self.commit.default_branch
    }

    /// The pipeline runs for code of another repository, or of one that nobody names.
    pub fn is_fork(&self) -> bool {
        self.merge_request.as_ref().is_some_and(|request| request.fork.unwrap_or(true))
    }

    /// The number of the merge request whose origin the CI does not tell.
    pub fn unsaid_origin(&self) -> Option<u64> {
        self.merge_request.as_ref().filter(|request| request.fork.is_none()).map(|request| request.number)
    }
}

/// Reads the environment of the CI that it belongs to: `GITLAB_CI`, then `CI=woodpecker`, then `DRONE=true`, else a plain shell.
pub fn detect(environment: &[(String, String)]) -> Ci {
    let is = |name: &str, wanted: &str| environment.iter().any(|(key, value)| key == name && value.eq_ignore_ascii_case(wanted));
    if is("GITLAB_CI", "true") {
        table::<gitlab::Variables>(environment).into_ci()
    } else if is("CI", "woodpecker") {
        table::<woodpecker::Variables>(environment).into_ci()
    } else if is("DRONE", "true") {
        table::<drone::Variables>(environment).into_ci()
    } else {
        table::<shell::Variables>(environment).into_ci()
    }
}

/// A raw table: every field an optional text; empty variables are left out, so that they are not set.
fn table<T: DeserializeOwned + Default>(environment: &[(String, String)]) -> T {
    let set = environment.iter().filter(|(_, value)| !value.trim().is_empty()).cloned();
    // Tables hold optional texts only, which nothing can fail to become.
    envy::from_iter(set).unwrap_or_default()
}

fn credentials(username: Option<String>, password: Option<String>) -> Option<Credentials> {
    Some(Credentials { username: username?, password: Secret::new(password?) })
}

/// The first line of a message.
fn first_line(text: Option<String>) -> Option<String> {
    text.and_then(|text| text.lines().next().map(str::to_string))
}

/// A commit before; CI servers write zeros where there is none.
fn before(sha: Option<String>) -> Option<String> {
    sha.filter(|sha| sha.bytes().any(|byte| byte != b'0'))
}

/// `main` of `refs/heads/main`.
fn branch_of(reference: Option<&String>) -> Option<String> {
    reference?.strip_prefix("refs/heads/").map(str::to_string)
}

//! Woodpecker's variables (woodpecker-ci.org, "Environment variables").

use serde::Deserialize;

use super::{Ci, CiCommit, CiEvent, CiKind, CiProject, MergeRequest, before, first_line};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Variables {
    ci_commit_author: Option<String>,
    ci_commit_author_email: Option<String>,
    ci_commit_branch: Option<String>,
    ci_commit_message: Option<String>,
    ci_commit_pull_request: Option<String>,
    ci_commit_pull_request_title: Option<String>,
    ci_commit_sha: Option<String>,
    ci_commit_source_branch: Option<String>,
    ci_commit_tag: Option<String>,
    ci_commit_target_branch: Option<String>,
    ci_forge_type: Option<String>,
    ci_forge_url: Option<String>,
    ci_pipeline_event: Option<String>,
    ci_prev_commit_sha: Option<String>,
    ci_pipeline_number: Option<String>,
    ci_pipeline_url: Option<String>,
    ci_repo: Option<String>,
    ci_repo_clone_url: Option<String>,
    ci_repo_default_branch: Option<String>,
    ci_repo_name: Option<String>,
    ci_repo_remote_id: Option<String>,
    ci_repo_url: Option<String>,
    ci_step_name: Option<String>,
    ci_step_number: Option<String>,
    ci_step_url: Option<String>,
    ci_workspace: Option<String>,
}

impl Variables {
    pub fn into_ci(self) -> Ci {
        let event = self.event();
        let merge_request = self.merge_request();
        // Of a pull request, CI_COMMIT_BRANCH is the branch that it is meant for: not one that was pushed.
        let pushed = merge_request.is_none() && self.ci_commit_tag.is_none();
        let branch = self.ci_commit_branch.filter(|_| pushed);
        let source = merge_request.as_ref().and_then(|request| request.source_branch.clone());
        Ci {
            kind: CiKind::Woodpecker,
            event,
            job_url: self.ci_step_url.or_else(|| self.ci_pipeline_url.clone()),
            job_id: self.ci_step_number,
            job_name: self.ci_step_name,
            pipeline_id: self.ci_pipeline_number.and_then(|number| number.parse().ok()),
            pipeline_url: self.ci_pipeline_url,
            commit: CiCommit {
                sha: self.ci_commit_sha,
                before: before(self.ci_prev_commit_sha),
                reference: self.ci_commit_tag.clone().or_else(|| branch.clone()).or(source),
                branch,
                tag: self.ci_commit_tag,
                default_branch: self.ci_repo_default_branch,
                author: self.ci_commit_author,
                author_email: self.ci_commit_author_email,
                title: first_line(self.ci_commit_message),
                time: None,
            },
            merge_request,
            project: CiProject {
                id: self.ci_repo_remote_id,
                name: self.ci_repo_name,
                path: self.ci_repo,
                url: self.ci_repo_url,
                clone_url: self.ci_repo_clone_url,
            },
            api_url: self.ci_forge_url,
            forge: self.ci_forge_type,
            checkout: self.ci_workspace.map(Into::into),
            ..Ci::default()
        }
    }

    fn event(&self) -> CiEvent {
        match self.ci_pipeline_event.as_deref() {
            Some("pull_request" | "pull_request_closed" | "pull_request_metadata") => CiEvent::MergeRequest,
            Some("tag" | "release") => CiEvent::Tag,
            Some("push") => CiEvent::Push,
            Some("deployment") => CiEvent::Deployment,
            Some("cron") => CiEvent::Schedule,
            Some("manual") => CiEvent::Manual,
            Some(other) => CiEvent::Other(other.to_string()),
            None => CiEvent::Unknown,
        }
    }

    /// Woodpecker does not say whether a pull request comes from a fork: the code host knows.
    fn merge_request(&self) -> Option<MergeRequest> {
        Some(MergeRequest {
            number: self.ci_commit_pull_request.as_deref()?.parse().ok()?,
            project: self.ci_repo.clone(),
            source_branch: self.ci_commit_source_branch.clone(),
            target_branch: self.ci_commit_target_branch.clone(),
            title: first_line(self.ci_commit_pull_request_title.clone()),
            fork: None,
        })
    }
}

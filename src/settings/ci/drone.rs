//! Drone's variables (docs.drone.io, "Environment variables reference").

use serde::Deserialize;

use super::{Ci, CiCommit, CiEvent, CiKind, CiProject, MergeRequest, before, branch_of, first_line};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Variables {
    drone_build_event: Option<String>,
    drone_build_link: Option<String>,
    drone_build_number: Option<String>,
    drone_card_path: Option<String>,
    drone_commit_author: Option<String>,
    drone_commit_author_email: Option<String>,
    drone_commit_author_name: Option<String>,
    drone_commit_branch: Option<String>,
    drone_commit_before: Option<String>,
    drone_commit_message: Option<String>,
    drone_commit_ref: Option<String>,
    drone_commit_sha: Option<String>,
    drone_git_http_url: Option<String>,
    drone_output: Option<String>,
    drone_pull_request: Option<String>,
    drone_pull_request_title: Option<String>,
    drone_repo: Option<String>,
    drone_repo_branch: Option<String>,
    drone_repo_link: Option<String>,
    drone_repo_name: Option<String>,
    drone_source_branch: Option<String>,
    drone_stage_name: Option<String>,
    drone_step_name: Option<String>,
    drone_step_number: Option<String>,
    drone_tag: Option<String>,
    drone_target_branch: Option<String>,
    drone_workspace: Option<String>,
}

impl Variables {
    pub fn into_ci(self) -> Ci {
        let event = self.event();
        let api_url = self.forge();
        let merge_request = self.merge_request();
        // Of a pull request, DRONE_COMMIT_BRANCH is the branch that it is meant for: not one that was pushed.
        let pushed = merge_request.is_none() && self.drone_tag.is_none();
        let branch = branch_of(self.drone_commit_ref.as_ref()).or(self.drone_commit_branch).filter(|_| pushed);
        let source = merge_request.as_ref().and_then(|request| request.source_branch.clone());
        Ci {
            kind: CiKind::Drone,
            event,
            job_url: self.drone_build_link.clone(),
            job_id: self.drone_step_number,
            job_name: self.drone_step_name.or(self.drone_stage_name),
            pipeline_id: self.drone_build_number.and_then(|number| number.parse().ok()),
            pipeline_url: self.drone_build_link,
            commit: CiCommit {
                sha: self.drone_commit_sha,
                before: before(self.drone_commit_before),
                reference: self.drone_tag.clone().or_else(|| branch.clone()).or(source),
                branch,
                tag: self.drone_tag,
                default_branch: self.drone_repo_branch,
                author: self.drone_commit_author_name.or(self.drone_commit_author),
                author_email: self.drone_commit_author_email,
                title: first_line(self.drone_commit_message),
                time: None,
            },
            merge_request,
            project: CiProject {
                id: None,
                name: self.drone_repo_name,
                path: self.drone_repo,
                url: self.drone_repo_link,
                clone_url: self.drone_git_http_url,
            },
            api_url,
            checkout: self.drone_workspace.map(Into::into),
            card_path: self.drone_card_path.map(Into::into),
            output_path: self.drone_output.map(Into::into),
            ..Ci::default()
        }
    }

    fn event(&self) -> CiEvent {
        match self.drone_build_event.as_deref() {
            Some("pull_request") => CiEvent::MergeRequest,
            Some("tag") => CiEvent::Tag,
            Some("push") => CiEvent::Push,
            Some("promote") => CiEvent::Deployment,
            Some("rollback") => CiEvent::Rollback,
            Some("cron") => CiEvent::Schedule,
            Some("custom") => CiEvent::Manual,
            Some(other) => CiEvent::Other(other.to_string()),
            None => CiEvent::Unknown,
        }
    }

    /// The page of the repository without its name: the code host, also where that is not at the root of its host.
    fn forge(&self) -> Option<String> {
        let page = self.drone_repo_link.as_deref()?.trim_end_matches('/');
        Some(page.strip_suffix(self.drone_repo.as_deref()?)?.trim_end_matches('/').to_string())
    }

    /// Drone does not say whether a pull request comes from a fork: the code host knows.
    fn merge_request(&self) -> Option<MergeRequest> {
        if self.drone_build_event.as_deref() != Some("pull_request") {
            return None;
        }
        Some(MergeRequest {
            number: self.drone_pull_request.as_deref()?.parse().ok()?,
            project: self.drone_repo.clone(),
            source_branch: self.drone_source_branch.clone(),
            target_branch: self.drone_target_branch.clone(),
            title: first_line(self.drone_pull_request_title.clone()),
            fork: None,
        })
    }
}

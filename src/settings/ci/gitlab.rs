//! GitLab's variables (docs.gitlab.com, "Predefined CI/CD variables reference").

use serde::Deserialize;

use super::{Ci, CiCommit, CiEvent, CiKind, CiProject, CiRegistry, MergeRequest, before, credentials, first_line};
use crate::domain::secret::Secret;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Variables {
    ci_api_v4_url: Option<String>,
    ci_commit_author: Option<String>,
    ci_commit_before_sha: Option<String>,
    ci_commit_branch: Option<String>,
    ci_commit_ref_name: Option<String>,
    ci_commit_sha: Option<String>,
    ci_commit_tag: Option<String>,
    ci_commit_timestamp: Option<String>,
    ci_commit_title: Option<String>,
    ci_default_branch: Option<String>,
    ci_deploy_password: Option<String>,
    ci_deploy_user: Option<String>,
    ci_environment_name: Option<String>,
    ci_environment_url: Option<String>,
    ci_job_id: Option<String>,
    ci_job_name: Option<String>,
    ci_job_token: Option<String>,
    ci_job_url: Option<String>,
    ci_merge_request_iid: Option<String>,
    ci_merge_request_project_id: Option<String>,
    ci_merge_request_source_branch_name: Option<String>,
    ci_merge_request_source_project_id: Option<String>,
    ci_merge_request_target_branch_name: Option<String>,
    ci_merge_request_title: Option<String>,
    ci_open_merge_requests: Option<String>,
    ci_pipeline_id: Option<String>,
    ci_pipeline_source: Option<String>,
    ci_pipeline_url: Option<String>,
    ci_project_dir: Option<String>,
    ci_project_id: Option<String>,
    ci_project_name: Option<String>,
    ci_project_path: Option<String>,
    ci_project_url: Option<String>,
    ci_registry: Option<String>,
    ci_registry_image: Option<String>,
    ci_registry_password: Option<String>,
    ci_registry_user: Option<String>,
    ci_server_host: Option<String>,
    ci_server_port: Option<String>,
    ci_server_tls_ca_file: Option<String>,
    ci_server_url: Option<String>,
}

impl Variables {
    pub fn into_ci(self) -> Ci {
        let event = self.event();
        let merge_request = self.merge_request();
        let port = self.ci_server_port.map(|port| format!(":{port}")).unwrap_or_default();
        let registry = self.ci_registry.map(|url| CiRegistry {
            url,
            credentials: credentials(self.ci_registry_user, self.ci_registry_password),
            image: self.ci_registry_image,
            token_server: self.ci_server_host.map(|host| format!("{host}{port}")),
        });
        let (author, author_email) = self.ci_commit_author.map(|author| split_author(&author)).unwrap_or_default();
        Ci {
            kind: CiKind::Gitlab,
            event,
            job_url: self.ci_job_url,
            job_id: self.ci_job_id,
            job_name: self.ci_job_name,
            pipeline_id: self.ci_pipeline_id.and_then(|id| id.parse().ok()),
            pipeline_url: self.ci_pipeline_url,
            commit: CiCommit {
                sha: self.ci_commit_sha,
                before: before(self.ci_commit_before_sha),
                reference: self.ci_commit_ref_name,
                branch: self.ci_commit_branch,
                tag: self.ci_commit_tag,
                default_branch: self.ci_default_branch,
                author,
                author_email,
                title: first_line(self.ci_commit_title),
                time: self.ci_commit_timestamp.and_then(|time| Some(time.parse::<jiff::Timestamp>().ok()?.as_second())),
            },
            merge_request,
            project: CiProject {
                id: self.ci_project_id,
                name: self.ci_project_name,
                path: self.ci_project_path,
                clone_url: self.ci_project_url.as_ref().map(|url| format!("{url}.git")),
                url: self.ci_project_url,
            },
            registry,
            deploy_token: credentials(self.ci_deploy_user, self.ci_deploy_password),
            job_token: self.ci_job_token.map(Secret::new),
            api_url: self.ci_api_v4_url,
            issuer: self.ci_server_url,
            forge: Some("gitlab".to_string()),
            environment_by_ci: self.ci_environment_name.is_some(),
            environment_url: self.ci_environment_url,
            server_ca: self.ci_server_tls_ca_file.map(Into::into),
            checkout: self.ci_project_dir.map(Into::into),
            sections: true,
            card_path: None,
            output_path: None,
        }
    }

    fn event(&self) -> CiEvent {
        match self.ci_pipeline_source.as_deref() {
            Some("merge_request_event" | "external_pull_request_event") => CiEvent::MergeRequest,
            _ if self.ci_commit_tag.is_some() => CiEvent::Tag,
            Some("push") => CiEvent::Push,
            Some("schedule") => CiEvent::Schedule,
            Some("web" | "webide" | "api" | "trigger" | "chat") => CiEvent::Manual,
            Some(other) => CiEvent::Other(other.to_string()),
            None => CiEvent::Unknown,
        }
    }

    /// A merge request's pipeline names it; a branch's pipeline only lists the open ones as `group/project!7,…`.
    fn merge_request(&self) -> Option<MergeRequest> {
        if let Some(number) = self.ci_merge_request_iid.as_ref().and_then(|iid| iid.parse().ok()) {
            let target = self.ci_merge_request_project_id.clone().or_else(|| self.ci_project_id.clone());
            let source = self.ci_merge_request_source_project_id.as_ref();
            return Some(MergeRequest {
                number,
                fork: Some(source != target.as_ref()),
                project: target,
                source_branch: self.ci_merge_request_source_branch_name.clone(),
                target_branch: self.ci_merge_request_target_branch_name.clone(),
                title: self.ci_merge_request_title.clone(),
            });
        }
        let (project, number) = self.ci_open_merge_requests.as_deref()?.split(',').next()?.split_once('!')?;
        let source_branch = self.ci_commit_branch.clone();
        // The branch was pushed here, whichever project the request is meant for: the code is not foreign.
        let (number, project) = (number.parse().ok()?, Some(project.to_string()));
        Some(MergeRequest { number, project, source_branch, fork: Some(false), ..MergeRequest::default() })
    }
}

/// `Name <address>`.
fn split_author(author: &str) -> (Option<String>, Option<String>) {
    match author.split_once('<') {
        Some((name, rest)) => (Some(name.trim().to_string()), Some(rest.trim_end_matches('>').trim().to_string())),
        None => (Some(author.trim().to_string()), None),
    }
}

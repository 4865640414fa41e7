//! GitLab (docs.gitlab.com, REST API v4): notes, commit statuses, deployments, environments.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    Begun, Deployment, Note, State, Status,
    call::{Calls, Refused},
    comments,
    repos::cut,
};

/// Longest texts of a status, characters.
const LONGEST: usize = 255;

/// A project at GitLab.
pub(super) struct Gitlab {
    pub calls: Calls,
    /// Number, or path with its groups.
    pub project: String,
}

#[derive(Deserialize)]
struct Made {
    id: u64,
    environment: Option<Environment>,
}

#[derive(Deserialize)]
struct Environment {
    id: u64,
    name: String,
    external_url: Option<String>,
    state: Option<String>,
}

#[derive(Deserialize)]
struct MergeRequest {
    #[serde(default)]
    iid: u64,
    #[serde(default)]
    state: String,
    #[serde(default)]
    sha: Option<String>,
    source_project_id: Option<u64>,
    target_project_id: Option<u64>,
}

impl Gitlab {
    pub async fn comment(&self, note: &mut Note, text: &str) -> Result<(), Refused> {
        let project = note.project.as_ref().unwrap_or(&self.project);
        let notes = ["projects", project, "merge_requests", &note.number.to_string(), "notes"].map(str::to_string).to_vec();
        let place =
            comments::Place { list: notes.clone(), one: notes, edit: Method::PUT, query: &[("order_by", "created_at"), ("sort", "asc")] };
        comments::say(&self.calls, &place, note, text).await
    }

    /// A state that is there already is refused as a transition: then it is as it should be.
    pub async fn status(&self, status: &Status) -> Result<(), Refused> {
        let mut body = json!({"state": state(status.state), "name": status.context, "description": cut(&status.description, LONGEST)});
        if let Some(link) = status.link.as_ref().filter(|link| link.chars().count() <= LONGEST) {
            body["target_url"] = json!(link);
        }
        if let Some(reference) = status.reference.as_ref().filter(|reference| reference.chars().count() <= LONGEST) {
            body["ref"] = json!(reference);
        }
        if let Some(pipeline) = status.pipeline {
            body["pipeline_id"] = json!(pipeline);
        }
        let path = ["projects", self.project.as_str(), "statuses", status.sha.as_str()];
        as_it_was(self.calls.set(Method::POST, &path, &body).await)
    }

    pub async fn deployment(&self, deployment: &Deployment, begun: &mut Begun) -> Result<(), Refused> {
        let project = self.project.as_str();
        if deployment.by_ci {
            return self.set_url(deployment).await;
        }
        match begun.id {
            Some(id) => {
                let id = id.to_string();
                let body = json!({"status": state(deployment.state)});
                as_it_was(self.calls.set(Method::PUT, &["projects", project, "deployments", &id], &body).await)?;
                self.set_url(deployment).await
            }
            None => {
                let body = json!({
                    "environment": deployment.environment,
                    "sha": deployment.sha,
                    "ref": deployment.reference,
                    "tag": deployment.is_tag,
                    "status": state(deployment.state),
                });
                let made: Made = self.calls.make(&["projects", project, "deployments"], &body).await?;
                begun.id = Some(made.id);
                match made.environment {
                    Some(environment) => self.point(&environment, deployment).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Tells the environment where it answers, once that is known.
    async fn set_url(&self, deployment: &Deployment) -> Result<(), Refused> {
        if deployment.url.is_none() || deployment.state != State::Succeeded {
            return Ok(());
        }
        let path = ["projects", self.project.as_str(), "environments"];
        let found = self.calls.get::<Vec<Environment>>(&path, &[("name", &deployment.environment)]).await?.body;
        match found.iter().find(|environment| environment.name == deployment.environment) {
            Some(environment) => self.point(environment, deployment).await,
            None => Ok(()),
        }
    }

    async fn point(&self, environment: &Environment, deployment: &Deployment) -> Result<(), Refused> {
        let Some(url) = deployment.url.as_ref().filter(|url| environment.external_url.as_ref() != Some(url)) else { return Ok(()) };
        let id = environment.id.to_string();
        let path = ["projects", self.project.as_str(), "environments", &id];
        self.calls.set(Method::PUT, &path, &json!({"external_url": url})).await
    }

    /// Stops the environment, without the job that would take away what is gone already.
    pub async fn retire(&self, environment: &str) -> Result<(), Refused> {
        let path = ["projects", self.project.as_str(), "environments"];
        let found = self.calls.get::<Vec<Environment>>(&path, &[("name", environment)]).await?.body;
        let Some(known) = found.iter().find(|known| known.name == environment && known.state.as_deref() != Some("stopped")) else {
            return Ok(());
        };
        let id = known.id.to_string();
        let path = ["projects", self.project.as_str(), "environments", &id, "stop"];
        self.calls.set(Method::POST, &path, &json!({"force": true})).await
    }

    pub async fn is_fork(&self, number: u64) -> Result<bool, Refused> {
        let path = ["projects", self.project.as_str(), "merge_requests", &number.to_string()];
        let request = self.calls.get::<MergeRequest>(&path, &[]).await?.body;
        Ok(request.source_project_id.is_none() || request.source_project_id != request.target_project_id)
    }

    pub async fn merge_request_of(&self, sha: &str) -> Result<Option<u64>, Refused> {
        let path = ["projects", self.project.as_str(), "repository", "commits", sha, "merge_requests"];
        let found = self.calls.get::<Vec<MergeRequest>>(&path, &[("state", "opened")]).await?.body;
        let head = found.iter().find(|request| request.state == "opened" && request.sha.as_deref() == Some(sha));
        Ok(head.map(|request| request.iid))
    }
}

/// Of statuses and of deployments alike.
fn state(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Succeeded => "success",
        State::Failed => "failed",
        State::Cancelled => "canceled",
    }
}

fn as_it_was(answer: Result<(), Refused>) -> Result<(), Refused> {
    match answer {
        Err(refused) if refused.is(400) && refused.text.contains("Cannot transition") => Ok(()),
        other => other,
    }
}

//! What GitHub has of its own (docs.github.com, REST API 2022-11-28): limits, and deployments.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    Begun, Deployment, State,
    call::Refused,
    repos::{self, Repos, cut, refs},
};

/// Longest description of statuses and deployments, characters.
pub(super) const DESCRIPTION: usize = 140;

#[derive(Deserialize)]
struct Made {
    id: u64,
}

/// `error`, `failure`, `pending`, `success`.
pub(super) fn status_state(state: State) -> &'static str {
    repos::state(state)
}

fn deployment_state(state: State) -> &'static str {
    match state {
        State::Running => "in_progress",
        State::Succeeded => "success",
        State::Failed => "failure",
        State::Cancelled => "error",
    }
}

impl Repos {
    /// A deployment of the commit when there is none of this run, then its state.
    pub(super) async fn deployment(&self, deployment: &Deployment, begun: &mut Begun) -> Result<(), Refused> {
        let id = match begun.id {
            Some(id) => id,
            None => {
                // The run decides by itself what is deployed: nothing is merged, no other check is waited for.
                let body = json!({
                    "ref": deployment.sha,
                    "environment": deployment.environment,
                    "auto_merge": false,
                    "required_contexts": [],
                    "description": cut(&deployment.description, DESCRIPTION),
                });
                self.calls.make::<Made>(&refs(&self.path(&["deployments"])), &body).await?.id
            }
        };
        begun.id = Some(id);
        let mut body = json!({
            "state": deployment_state(deployment.state),
            "description": cut(&deployment.description, DESCRIPTION),
        });
        for (field, value) in [("log_url", &deployment.link), ("environment_url", &deployment.url)] {
            if let Some(value) = value {
                body[field] = json!(value);
            }
        }
        let path = self.path(&["deployments", &id.to_string(), "statuses"]);
        self.calls.set(Method::POST, &refs(&path), &body).await
    }
}

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

#[derive(Deserialize)]
struct Told {
    state: String,
}

/// What tells the deployments of one application in an environment from those of others.
fn task(application: &str) -> String {
    format!("deploy:{application}")
}

/// How many of an environment's newest deployments are looked at: what ran is among them.
const LATEST: &str = "10";

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
                    "task": task(&deployment.application),
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
        // By itself the host ends what any application had in the environment.
        body["auto_inactive"] = json!(false);
        self.calls.set(Method::POST, &refs(&self.states_of(id)), &body).await?;
        match deployment.state {
            State::Succeeded => self.retire(&deployment.environment, &deployment.application, Some(id)).await,
            _ => Ok(()),
        }
    }

    /// Makes what the application had in the environment inactive, but for the deployment `except`; what failed there never was active.
    pub(super) async fn retire(&self, environment: &str, application: &str, except: Option<u64>) -> Result<(), Refused> {
        let task = task(application);
        let query = [("environment", environment), ("task", &task), ("per_page", LATEST)];
        let latest: Vec<Made> = self.calls.get(&refs(&self.path(&["deployments"])), &query).await?.body;
        for deployment in latest.iter().filter(|deployment| Some(deployment.id) != except) {
            let path = self.states_of(deployment.id);
            // the newest comes first
            let told: Vec<Told> = self.calls.get(&refs(&path), &[("per_page", "1")]).await?.body;
            match told.first().map(|told| told.state.as_str()) {
                None | Some("failure" | "error") => {}
                // those before it were ended by it
                Some("inactive") => break,
                Some(_) => {
                    self.calls.set(Method::POST, &refs(&path), &json!({"state": "inactive"})).await?;
                    break;
                }
            }
        }
        Ok(())
    }

    fn states_of(&self, deployment: u64) -> Vec<String> {
        self.path(&["deployments", &deployment.to_string(), "statuses"])
    }
}

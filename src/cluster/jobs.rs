//! Jobs among the user's manifests: what one runs cannot be changed on the live object, so that a publish makes one that has ended anew.

use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject, Patch, Preconditions};
use serde_json::{Value, json};

use super::{
    apply::{Mode, params},
    connect::Cluster,
    others::Other,
    problem,
};
use crate::domain::{
    event::{Change, Event, Events},
    manifests::{MANAGER, is_ours},
    problem::{Code, Problem, Result},
};

/// A finalizer of somebody else may keep the old one for a while.
const ATTEMPTS: u32 = 25;
const PAUSE: Duration = Duration::from_millis(200);
/// In a dry run the new one needs a name that is free; Kubernetes takes 63 characters.
const ASIDE: &str = "-anew";
const LONGEST: usize = 63;

impl Cluster {
    /// Does with a Job what its live object refuses. Whoever goes back to an earlier release leaves it as it is: a migration of then is
    /// not run once more.
    pub(super) async fn renew_job(
        &self,
        job: &Other,
        live: &DynamicObject,
        mode: Mode,
        refusal: Problem,
        events: &Events,
    ) -> Result<DynamicObject> {
        let Other { identity, .. } = job;
        let Some(application) = &job.published_with else {
            events.note(format!("{identity} stays as it is: what a Job runs cannot be changed, and nothing is run again on the way back"));
            return Ok(live.clone());
        };
        if !is_ours(&live.metadata, application) {
            return Err(refusal);
        }
        if !has_ended(live) {
            let message = format!("{identity} in namespace {} still runs, and what a Job runs cannot be changed", self.namespace);
            return Err(Problem::new(Code::FieldImmutable, message)
                .hint(format!("publish again when it has ended; kubectl -n {} delete job {} ends it", self.namespace, identity.name)));
        }
        if mode.dry_run { self.try_job_aside(job, mode).await } else { self.replace_job(job, live, mode, events).await }
    }

    /// Under another name, as the live one is in the way of its own.
    async fn try_job_aside(&self, job: &Other, mode: Mode) -> Result<DynamicObject> {
        let name: String = job.identity.name.chars().take(LONGEST - ASIDE.len()).chain(ASIDE.chars()).collect();
        let mut value = job.value.clone();
        value["metadata"]["name"] = json!(name);
        let action = ("patch", job.resource.plural.as_str(), job.identity.name.as_str());
        let mut tried = self.call(action, self.of_kind(&job.resource).patch(&name, &params(MANAGER, mode), &Patch::Apply(&value))).await?;
        tried.metadata.name = Some(job.identity.name.clone());
        Ok(tried)
    }

    async fn replace_job(&self, job: &Other, live: &DynamicObject, mode: Mode, events: &Events) -> Result<DynamicObject> {
        let Other { value, identity, resource, .. } = job;
        let api = self.of_kind(resource);
        let same = Preconditions { uid: live.metadata.uid.clone(), resource_version: None };
        let delete = DeleteParams { preconditions: Some(same), ..DeleteParams::background() };
        let action = ("delete", resource.plural.as_str(), identity.name.as_str());
        match self.attempt(action, api.delete(&identity.name, &delete)).await? {
            Err(error) if !problem::is_not_found(&error) => return Err(problem::problem(&error, self.action(action))),
            _ => events.note(format!("{identity} has ended, and what it runs has changed: it is made anew")),
        }
        let action = ("patch", resource.plural.as_str(), identity.name.as_str());
        for _ in 0..ATTEMPTS {
            match self.call(action, api.patch(&identity.name, &params(MANAGER, mode), &Patch::Apply(value))).await {
                Err(problem) if problem.code == Code::FieldImmutable => tokio::time::sleep(PAUSE).await,
                Err(problem) => return Err(problem),
                Ok(applied) => {
                    events.emit(Event::Applied { kind: identity.kind.clone(), name: identity.name.clone(), change: Change::Created });
                    return Ok(applied);
                }
            }
        }
        let message = format!("{identity} in namespace {} was deleted to be made anew, but is not gone", self.namespace);
        Err(Problem::new(Code::FieldImmutable, message).hint("see which of its finalizers keeps it, and who set that"))
    }
}

/// Well or not: no pod of it runs any more, and none will.
fn has_ended(job: &DynamicObject) -> bool {
    let conditions = job.data.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let mut conditions = conditions.filter(|condition| condition["status"] == "True");
    conditions.any(|condition| condition["type"] == "Complete" || condition["type"] == "Failed")
}

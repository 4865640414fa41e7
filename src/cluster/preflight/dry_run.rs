//! The server-side dry run of every object, with what webhooks and policies say to it.

use k8s_openapi::api::apps::v1::Deployment;

use super::{Look, Publish};
use crate::{
    cluster::{
        apply::{Applied, Live, Mode},
        connect::Cluster,
    },
    domain::{
        event::Events,
        manifests::Objects,
        problem::{Code, Problem, Result},
    },
};

/// The API server's words for a webhook that could change something even in a dry run, so that it is not asked.
const NO_DRY_RUN: &str = "does not support dry run";

impl Cluster {
    /// Runs dry, and makes the namespace first when that was asked for. Gives the Deployment as the API server would keep it.
    pub(super) async fn dry_run_in_namespace(
        &self,
        publish: &Publish,
        objects: &Objects,
        live: &Live,
        events: &Events,
        look: &mut Look,
    ) -> Result<Option<Deployment>> {
        let (mut wanted, mut problems) = Box::pin(self.dry_run(publish, objects, live)).await;
        if publish.create_namespace && problems.iter().any(is_missing_namespace) {
            self.create_namespace(publish).await?;
            events.note(format!("created namespace {}", self.namespace));
            (wanted, problems) = Box::pin(self.dry_run(publish, objects, live)).await;
        }
        let foreign = look.problems.iter().any(|problem| problem.code == Code::NotOurs);
        for problem in problems {
            match webhook_of(&problem) {
                Some(name) => look.hidden.push(format!("what the webhook {name} says, which takes part in no dry run")),
                // the same lack of a right was found before, with all others
                None if problem.code == Code::ClusterForbidden && !look.problems.is_empty() => {}
                // an object of others has fields of others
                None if problem.code == Code::FieldConflict && foreign => {}
                // one webhook for several objects is one trouble
                None if problem.code == Code::WebhookFailed && look.problems.iter().any(|other| other.hint == problem.hint) => {}
                None => look.problems.push(problem),
            }
        }
        Ok(wanted)
    }

    /// All objects at the same time: a webhook that hangs is waited for once.
    async fn dry_run(&self, publish: &Publish, objects: &Objects, live: &Live) -> (Option<Deployment>, Vec<Problem>) {
        let mode = Mode { dry_run: true, force: publish.forces(), leave_replicas: objects.autoscaler.is_some() };
        let none = Events::none();
        let (deployment, service, autoscaler, budget, config) = tokio::join!(
            self.apply_deployment(&objects.deployment, live.deployment.as_ref(), mode, &none),
            self.try_out(objects.service.as_ref(), mode),
            self.try_out(objects.autoscaler.as_ref(), mode),
            self.try_out(objects.disruption.as_ref(), mode),
            self.try_out_config(publish),
        );
        let (deployment, problem) = match deployment {
            Ok(deployment) => (Some(deployment), None),
            Err(problem) => (None, Some(problem)),
        };
        let problems = [problem, service, autoscaler, budget, config].into_iter().flatten().collect::<Vec<_>>();
        // said once, not for every object
        let missing = problems.iter().find(|problem| is_missing_namespace(problem)).cloned();
        (deployment, missing.map_or(problems, |missing| vec![missing]))
    }

    async fn try_out<K: Applied>(&self, object: Option<&K>, mode: Mode) -> Option<Problem> {
        self.apply(object?, None, mode, &Events::none()).await.err()
    }

    async fn try_out_config(&self, publish: &Publish) -> Option<Problem> {
        let config = publish.workload.config.as_ref()?;
        self.put_config(&publish.workload.name, config, true, &Events::none()).await.err()
    }
}

fn is_missing_namespace(problem: &Problem) -> bool {
    problem.code == Code::NamespaceMissing
}

/// The webhook that keeps the API server from a dry run; what it says comes with the publish itself.
fn webhook_of(problem: &Problem) -> Option<&str> {
    problem.message.contains(NO_DRY_RUN).then(|| problem.message.split('"').nth(1).unwrap_or("of no name"))
}

//! Looks before anything changes: rights, ownership, sequence, what the pods need of the namespace, and a server-side dry run of every
//! object. All that is wrong is said at once.

mod dry_run;
mod rights;
mod standing;
mod surroundings;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Secret},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use serde_json::Value;

pub use self::standing::Standing;
use self::surroundings::Presence;
use super::{
    Publish,
    apply::{Live, first_replicas, kept, surroundings},
    connect::Cluster,
    intent::{intent, secrets},
    others::Other,
    problem,
    records::check_size,
};
use crate::domain::{
    adopt::{self, There, is_adopted},
    containers,
    event::Events,
    manifests::{self, MANAGER, Objects, Stamp, Surroundings, keys, label_value},
    preflight,
    problem::{Code, EvidenceKind, Problem, Result},
    release::{check_sequence, position},
};

/// The first Kubernetes whose API server takes the `sleep` lifecycle handler by default.
const NATIVE_SLEEP: (u32, u32) = (1, 30);

/// What the preflight found out.
pub struct Found {
    pub live: Live,
    pub native_sleep: bool,
    pub others: Vec<Other>,
}

/// What looks came to: what stops the publish, what is only said, what the account may not look at.
#[derive(Debug, Default)]
struct Look {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    hidden: Vec<String>,
}

impl Look {
    /// Remembers what was not looked at, and gives nothing in its place.
    fn not_looked_at<T: Default>(&mut self, what: String) -> T {
        self.hidden.push(what);
        T::default()
    }

    fn add(&mut self, other: Look) {
        self.problems.extend(other.problems);
        self.warnings.extend(other.warnings);
        self.hidden.extend(other.hidden);
    }

    /// Says what is no problem; all that is one goes back as one.
    fn end(self, events: &Events) -> Result<()> {
        for warning in self.warnings {
            events.warning(warning.message, warning.hint);
        }
        if !self.hidden.is_empty() {
            events.note(format!("not looked at before publishing, as the account may not: {}", self.hidden.join(", ")));
        }
        preflight::all(self.problems).map_or(Ok(()), Err)
    }
}

impl Cluster {
    /// Looks at everything that can be known before the first change; changes nothing but a namespace that is to be created. Without
    /// `preflight` it looks only at what safety asks for: whose the objects are, and whether a newer pipeline was here.
    pub(super) async fn preflight(&self, publish: &Publish, events: &Events) -> Result<Found> {
        let (version, mut look) = tokio::join!(self.client.apiserver_version(), Box::pin(self.look_at_account(publish)));
        let version = version.map_err(|error| problem::problem(&error, self.action(("get", "the version", "of the API server"))))?;
        let live = match self.live(&publish.workload.name).await {
            // what is missing of rights says more than the first request that was refused
            Err(problem) if !look.problems.is_empty() && problem.code == Code::ClusterForbidden => {
                look.end(events)?;
                return Err(problem);
            }
            live => live?,
        };
        let native_sleep = at_least(&version.major, &version.minor, NATIVE_SLEEP);
        let objects = self.objects(publish, &live, native_sleep, &Stamp { sequence: Some(publish.sequence()), ..Stamp::default() })?;
        look.problems.extend(intent(publish, &Stamp::default(), &objects).and_then(|release| check_size(&release)).err());
        let objects = kept(objects, &live);
        let ours = self.check_owner(publish, &live);
        if ours.is_ok()
            && let Some(deployment) = &live.deployment
        {
            check_sequence(&position(&deployment.metadata), &publish.sequence())?;
        }
        if let Err(problem) = ours {
            look.problems.push(self.with_difference(problem, &objects, &live).await);
        }
        look.problems.extend(self.check_secrets(publish).await.err());
        if publish.preflight || publish.create_namespace {
            let wanted = Box::pin(self.dry_run_in_namespace(publish, &objects, &live, events, &mut look)).await?;
            if publish.preflight {
                let wanted = wanted.as_ref().unwrap_or(&objects.deployment);
                Box::pin(self.look_around_namespace(publish, wanted, &objects.others, &live, &mut look)).await;
            }
        }
        let (others, problems) = Box::pin(self.look_at_others(publish, &objects.others, events)).await;
        look.problems.extend(problems);
        for warning in self.take_warnings() {
            events.warning(format!("the API server warns: {warning}"), "change the setting that makes it");
        }
        look.end(events)?;
        Ok(Found { live, native_sleep, others })
    }

    /// Rights, and whether the namespace is there.
    async fn look_at_account(&self, publish: &Publish) -> Look {
        let mut look = Look::default();
        if !publish.preflight {
            return look;
        }
        let (lacking, presence) = tokio::join!(self.lacking(rights::needs(publish)), self.presence());
        match presence {
            Presence::Missing if !publish.create_namespace => look.problems.push(problem::missing_namespace(&self.namespace)),
            Presence::Terminating => look.problems.push(problem::leaving_namespace(&self.namespace)),
            _ => look.problems.extend(preflight::rights::refusal(&lacking, &self.namespace)),
        }
        look
    }

    async fn look_around_namespace(&self, publish: &Publish, wanted: &Deployment, others: &[Value], live: &Live, look: &mut Look) {
        if look.problems.iter().any(|problem| problem.code == Code::NamespaceMissing) {
            return;
        }
        let (references, capacity, nodes) = tokio::join!(
            self.look_at_references(publish, wanted, others),
            self.look_at_capacity(wanted, live.deployment.as_ref()),
            self.look_at_nodes(publish),
        );
        [references, capacity, nodes].into_iter().for_each(|other| look.add(other));
        if live.deployment.is_some() {
            look.problems.extend(preflight::too_slow(wanted, publish.workload.rolling.timeout));
        }
    }

    /// The objects of a publish on top of what is live.
    pub(super) fn objects(&self, publish: &Publish, live: &Live, native_sleep: bool, stamp: &Stamp) -> Result<Objects> {
        let workload = &publish.workload;
        let foreign = live.deployment.as_ref().is_some_and(|live| !manifests::is_ours(&live.metadata, &workload.name));
        let around = match surroundings(workload, live.deployment.as_ref(), native_sleep) {
            // what is refused for belonging to others need not be understood
            Err(_) if foreign && !publish.adopt => Surroundings { native_sleep, ..Surroundings::default() },
            found => found?,
        };
        let mut objects = manifests::objects(workload, stamp, &around)?;
        if let Some(deployment) = live.deployment.as_ref().filter(|live| foreign || is_adopted(live))
            && !workload.custom.brings("apps", "Deployment", &workload.name)
        {
            let container = around.container.as_deref().unwrap_or(containers::NAME);
            let (service, autoscaler, disruption) = (live.service.as_ref(), live.autoscaler.as_ref(), live.disruption.as_ref());
            adopt::keep(&mut objects, workload, container, There { deployment, service, autoscaler, disruption });
        }
        if live.deployment.is_none() {
            first_replicas(&mut objects);
        }
        Ok(objects)
    }

    /// Refuses to touch what Shipway did not make.
    pub(super) fn check_owner(&self, publish: &Publish, live: &Live) -> Result<()> {
        let name = &publish.workload.name;
        let deployment = live.deployment.as_ref().map(|object| ("deployment", &object.metadata));
        let service = live.service.as_ref().filter(|_| publish.workload.service.is_some()).map(|object| ("service", &object.metadata));
        let autoscaler = live.autoscaler.as_ref().filter(|_| publish.workload.autoscale.is_some());
        let autoscaler = autoscaler.map(|object| ("horizontalpodautoscaler", &object.metadata));
        let disruption = live.disruption.as_ref().filter(|_| publish.workload.disruption.is_some());
        let disruption = disruption.map(|object| ("poddisruptionbudget", &object.metadata));
        let foreign = [deployment, service, autoscaler, disruption].into_iter().flatten().find(|(_, meta)| !manifests::is_ours(meta, name));
        match foreign {
            Some((kind, meta)) if !publish.adopt => Err(not_ours(kind, name, meta, &self.namespace)),
            _ => Ok(()),
        }
    }

    /// A Secret of that name that somebody else made is not overwritten.
    async fn check_secrets(&self, publish: &Publish) -> Result<()> {
        for secret in secrets(publish) {
            let name = secret.metadata.name.as_deref().unwrap_or_default();
            match self.get::<Secret>(name).await? {
                Some(live) if !publish.adopt && !manifests::is_ours(&live.metadata, &publish.workload.name) => {
                    return Err(not_ours("secret", name, &live.metadata, &self.namespace));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn create_namespace(&self, publish: &Publish) -> Result<()> {
        let labels = [(keys::MANAGED_BY, MANAGER.to_string()), (keys::PART_OF, label_value(&publish.workload.line))];
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(self.namespace.clone()),
                labels: Some(labels.into_iter().map(|(key, value)| (key.to_string(), value)).collect()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let api: Api<Namespace> = Api::all(self.client.clone());
        let action = ("create", "namespaces", self.namespace.as_str());
        match self.attempt(action, api.create(&PostParams::default(), &namespace)).await? {
            Err(error) if !problem::already_exists(&error) => Err(problem::problem(&error, self.action(action))),
            _ => Ok(()),
        }
    }

    async fn with_difference(&self, problem: Problem, objects: &Objects, live: &Live) -> Problem {
        match self.differences(objects, live).await {
            Ok(differences) => differences.iter().fold(problem, |problem, difference| {
                problem.evidence(
                    EvidenceKind::Diff,
                    format!("{}/{}", difference.kind.to_lowercase(), difference.name),
                    difference.unified(),
                )
            }),
            Err(_) => problem,
        }
    }
}

pub(super) fn not_ours(kind: &str, name: &str, meta: &ObjectMeta, namespace: &str) -> Problem {
    let maker = meta.labels.as_ref().and_then(|labels| labels.get(keys::MANAGED_BY));
    let maker = maker.map(|maker| format!(" (managed by {})", problem::clean(maker))).unwrap_or_default();
    let message =
        format!("{kind} {name} in namespace {namespace} is there already and was not made by shipway for this application{maker}");
    Problem::new(Code::NotOurs, message).hint("choose another kubernetes.name, or set kubernetes.adopt to take it over")
}

/// Some clouds add a `+` to the minor version.
fn at_least(major: &str, minor: &str, least: (u32, u32)) -> bool {
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or(0);
    (number(major), number(minor)) >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_clouds_are_read() {
        assert!(at_least("1", "30+", NATIVE_SLEEP) && at_least("2", "0", NATIVE_SLEEP));
        assert!(!at_least("1", "29", NATIVE_SLEEP));
    }
}

//! Looks before anything changes: rights, ownership, sequence, and a server-side dry run of every object.

use k8s_openapi::{
    api::{
        authorization::v1::{ResourceRule, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec},
        core::v1::{Namespace, Secret},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};

use super::{
    Publish,
    apply::{Live, Mode, first_replicas, surroundings},
    connect::Cluster,
    intent::pull_secret,
    problem,
};
use crate::domain::{
    event::Events,
    manifests::{self, MANAGER, Objects, Stamp, keys, label_value},
    problem::{Code, EvidenceKind, Problem, Result},
    release::{check_sequence, position},
};

/// The first Kubernetes whose API server takes the `sleep` lifecycle handler by default.
const NATIVE_SLEEP: (u32, u32) = (1, 30);

/// What the preflight found out.
pub struct Found {
    pub live: Live,
    pub native_sleep: bool,
}

/// API group, resource, verbs: what a publish calls.
type Need = (&'static str, &'static str, &'static [&'static str]);

const NEEDS: &[Need] = &[
    ("apps", "deployments", &["get", "list", "watch", "create", "patch"]),
    ("apps", "replicasets", &["list", "watch"]),
    ("", "pods", &["list", "watch"]),
    ("", "pods/log", &["get"]),
    ("", "events", &["list", "watch"]),
    ("", "services", &["get", "create", "patch", "delete"]),
    ("", "configmaps", &["list", "create", "update", "delete"]),
    ("discovery.k8s.io", "endpointslices", &["list", "watch"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "watch"]),
    ("autoscaling", "horizontalpodautoscalers", &["get", "create", "patch", "delete"]),
];
const NEED_OF_PULL_SECRET: Need = ("", "secrets", &["get", "create", "patch"]);

impl Cluster {
    /// Looks at everything that can be known before the first change; changes nothing but a namespace that is to be created.
    pub(super) async fn preflight(&self, publish: &Publish, events: &Events) -> Result<Found> {
        let name = &publish.workload.name;
        let (version, rights) = tokio::join!(self.client.apiserver_version(), self.rights());
        let version = version.map_err(|error| problem::problem(&error, self.action(("get", "the version", "of the API server"))))?;
        check_rights(&rights, publish.pull_secret.is_some(), &self.namespace)?;
        let live = self.live(name).await?;
        let native_sleep = at_least(&version.major, &version.minor, NATIVE_SLEEP);
        let objects = self.objects(publish, &live, native_sleep, &Stamp { sequence: Some(publish.sequence()), ..Stamp::default() })?;
        if let Err(problem) = self.check_owner(publish, &live) {
            return Err(self.with_difference(problem, &objects, &live).await);
        }
        self.check_pull_secret(publish).await?;
        if let Some(deployment) = &live.deployment {
            check_sequence(&position(&deployment.metadata), &publish.sequence())?;
        }
        if publish.preflight || publish.create_namespace {
            self.dry_run_in_namespace(publish, &objects, &live, events).await?;
        }
        Ok(Found { live, native_sleep })
    }

    /// The objects of a publish on top of what is live.
    pub(super) fn objects(&self, publish: &Publish, live: &Live, native_sleep: bool, stamp: &Stamp) -> Result<Objects> {
        let around = surroundings(live.deployment.as_ref(), native_sleep);
        let mut objects = manifests::objects(&publish.workload, stamp, &around)?;
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
        let foreign = [deployment, service, autoscaler].into_iter().flatten().find(|(_, meta)| !manifests::is_ours(meta, name));
        match foreign {
            Some((kind, meta)) if !publish.adopt => Err(not_ours(kind, name, meta, &self.namespace)),
            _ => Ok(()),
        }
    }

    /// A Secret of that name that somebody else made is not overwritten.
    async fn check_pull_secret(&self, publish: &Publish) -> Result<()> {
        let Some(secret) = pull_secret(publish) else { return Ok(()) };
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        match self.get::<Secret>(name).await? {
            Some(live) if !publish.adopt && !manifests::is_ours(&live.metadata, &publish.workload.name) => {
                Err(not_ours("secret", name, &live.metadata, &self.namespace))
            }
            _ => Ok(()),
        }
    }

    async fn dry_run_in_namespace(&self, publish: &Publish, objects: &Objects, live: &Live, events: &Events) -> Result<()> {
        match Box::pin(self.dry_run(publish, objects, live, events)).await {
            Err(problem) if problem.code == Code::NamespaceMissing && publish.create_namespace => {
                self.create_namespace(publish).await?;
                events.note(format!("created namespace {}", self.namespace));
                self.dry_run(publish, objects, live, events).await
            }
            other => other,
        }
    }

    async fn dry_run(&self, publish: &Publish, objects: &Objects, live: &Live, events: &Events) -> Result<()> {
        let mode = Mode { dry_run: true, force: publish.forces(), leave_replicas: objects.autoscaler.is_some() };
        self.apply_deployment(&objects.deployment, live.deployment.as_ref(), mode, events).await?;
        if let Some(service) = &objects.service {
            self.apply(service, None, mode, events).await?;
        }
        if let Some(autoscaler) = &objects.autoscaler {
            self.apply(autoscaler, None, mode, events).await?;
        }
        for warning in self.take_warnings() {
            events.warning(format!("the API server warns: {warning}"), "change the setting that makes it");
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

    /// What the account may do here; None when the API server does not know it all (a webhook decides).
    async fn rights(&self) -> Option<Vec<ResourceRule>> {
        let api: Api<SelfSubjectRulesReview> = Api::all(self.client.clone());
        let review = SelfSubjectRulesReview {
            spec: SelfSubjectRulesReviewSpec { namespace: Some(self.namespace.clone()) },
            ..SelfSubjectRulesReview::default()
        };
        let action = ("create", "selfsubjectrulesreviews", self.namespace.as_str());
        let status = self.call(action, api.create(&PostParams::default(), &review)).await.ok()?.status?;
        (!status.incomplete).then_some(status.resource_rules)
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

fn not_ours(kind: &str, name: &str, meta: &ObjectMeta, namespace: &str) -> Problem {
    let maker = meta.labels.as_ref().and_then(|labels| labels.get(keys::MANAGED_BY));
    let maker = maker.map(|maker| format!(" (managed by {})", problem::clean(maker))).unwrap_or_default();
    let message =
        format!("{kind} {name} in namespace {namespace} is there already and was not made by shipway for this application{maker}");
    Problem::new(Code::NotOurs, message).hint("choose another kubernetes.name, or set kubernetes.adopt to take it over")
}

fn check_rights(rights: &Option<Vec<ResourceRule>>, pull_secret: bool, namespace: &str) -> Result<()> {
    let Some(rules) = rights else { return Ok(()) };
    let needs = NEEDS.iter().chain(pull_secret.then_some(&NEED_OF_PULL_SECRET));
    let missing: Vec<String> = needs.filter_map(|need| lacking(rules, need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("the account may not do in namespace {namespace}: {}", missing.join("; "));
    Err(Problem::new(Code::ClusterForbidden, message).hint(format!(
        "bind the Role of plugin/kubernetes/role.yaml to the account in namespace {namespace} (and check that the namespace exists)"
    )))
}

/// `patch deployments.apps`, when a rule for it is missing.
fn lacking(rules: &[ResourceRule], (group, resource, verbs): &Need) -> Option<String> {
    let holds = |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|item| item == "*" || item == wanted);
    let general = |rule: &&ResourceRule| rule.resource_names.as_ref().is_none_or(Vec::is_empty);
    let allowed = |verb: &str| {
        rules.iter().filter(general).any(|rule| {
            holds(&rule.api_groups, group) && holds(&rule.resources, resource) && rule.verbs.iter().any(|held| held == "*" || held == verb)
        })
    };
    let missing: Vec<&str> = verbs.iter().copied().filter(|verb| !allowed(verb)).collect();
    let name = if group.is_empty() { (*resource).to_string() } else { format!("{resource}.{group}") };
    (!missing.is_empty()).then(|| format!("{} {name}", missing.join(", ")))
}

/// Some clouds add a `+` to the minor version.
fn at_least(major: &str, minor: &str, least: (u32, u32)) -> bool {
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or(0);
    (number(major), number(minor)) >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(group: &str, resource: &str, verbs: &[&str]) -> ResourceRule {
        ResourceRule {
            api_groups: Some(vec![group.to_string()]),
            resources: Some(vec![resource.to_string()]),
            verbs: verbs.iter().map(ToString::to_string).collect(),
            resource_names: None,
        }
    }

    #[test]
    fn what_is_lacking_is_named_by_verb_and_resource() {
        let rules = [rule("apps", "deployments", &["get", "list", "watch"])];
        assert_eq!(lacking(&rules, &NEEDS[0]).as_deref(), Some("create, patch deployments.apps"));
        assert_eq!(lacking(&[rule("*", "*", &["*"])], &NEEDS[0]), None);
        let named = ResourceRule { resource_names: Some(vec!["web".to_string()]), ..rule("apps", "deployments", &["*"]) };
        assert!(lacking(&[named], &NEEDS[0]).is_some(), "a rule for one name is not enough to create");
    }

    #[test]
    fn versions_of_clouds_are_read() {
        assert!(at_least("1", "30+", NATIVE_SLEEP) && at_least("2", "0", NATIVE_SLEEP));
        assert!(!at_least("1", "29", NATIVE_SLEEP));
    }
}

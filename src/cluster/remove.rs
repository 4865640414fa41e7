//! Takes an application out of the cluster: all that Shipway made for it and nothing else.

use std::{collections::BTreeSet, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Errand, apply::Live, connect::Cluster, lock::Wanted, problem, publish::Held, records::Records, status::selector};
use crate::domain::{
    config::{self, ConfigReference},
    event::{Change, Event, Events},
    fetch::address_secret,
    manifests::{MANAGER, is_ours, keys, label_value},
    preflight::{Place, Reference, references},
    problem::{Code, Problem, Result},
};

/// Pods may take so much longer than their grace period.
const SLACK: Duration = Duration::from_secs(10);

/// What is to go.
pub struct Removal {
    pub errand: Errand,
    /// Its environment, when it has one.
    pub environment: Option<String>,
    /// The namespace, too, when Shipway created it and nothing else runs in it.
    pub namespace: bool,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Objects that were deleted, pods not counted.
    pub objects: usize,
    pub namespace: bool,
    /// Other applications of ours are in the namespace, and in the same environment.
    pub others: bool,
}

impl Cluster {
    /// Deletes Deployment, Service, autoscaler, budget, configuration, pull secret, records and lock of an application, as far as they
    /// are ours; again is fine. Fails with `not-ours` before anything is deleted when the Deployment, or the namespace, is not ours.
    pub async fn remove(&self, removal: &Removal, events: &Events, cancel: &CancellationToken) -> Result<Removed> {
        let errand = &removal.errand;
        if removal.namespace && !self.check_namespace(&errand.name).await? {
            return Ok(Removed::default());
        }
        let wanted = Wanted { application: &errand.name, holder: &errand.holder, wait: errand.lock_wait, ttl: errand.lock_ttl };
        let began = tokio::time::Instant::now();
        let lock = match self.lock(&wanted, events, cancel).await {
            Err(problem) if problem.code == Code::NamespaceMissing => return Ok(Removed::default()),
            lock => lock?,
        };
        let result = Box::pin(self.under(&lock).remove_all(errand, Held { lock: &lock, events, cancel, began })).await;
        let objects = match result {
            Ok(objects) => objects,
            Err(problem) => {
                lock.release().await;
                return Err(problem);
            }
        };
        lock.dispose().await?;
        if removal.namespace {
            self.delete_namespace(events).await?;
        }
        let others = !removal.namespace && self.has_others(errand, removal.environment.as_ref()).await;
        Ok(Removed { objects, namespace: removal.namespace, others })
    }

    /// Where it cannot be seen, it is taken for granted: an environment that is ended too late does less harm.
    async fn has_others(&self, errand: &Errand, environment: Option<&String>) -> bool {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let ours = ListParams::default().labels(&format!("{}={MANAGER}", keys::MANAGED_BY));
        match self.call(("list", "deployments", &errand.name), api.list(&ours)).await {
            Ok(found) => {
                found.items.iter().any(|other| other.name_any() != errand.name && other.annotations().get(keys::ENVIRONMENT) == environment)
            }
            Err(_) => true,
        }
    }

    async fn remove_all(&self, errand: &Errand, held: Held<'_>) -> Result<usize> {
        let name = &errand.name;
        let live = self.live(name).await?;
        check_ours(&live, name, &self.namespace)?;
        let releases = Records::new(self, name).list().await?;
        held.lock.hold().await?;
        let ours = [
            live.autoscaler.as_ref().is_some_and(|live| is_ours(&live.metadata, name)),
            live.disruption.as_ref().is_some_and(|live| is_ours(&live.metadata, name)),
            live.service.as_ref().is_some_and(|live| is_ours(&live.metadata, name)),
            live.deployment.is_some(),
        ];
        if errand.preflight {
            let [autoscaler, disruption, service, deployment] = ours;
            self.check_removal([autoscaler, disruption, service, deployment, !releases.is_empty()]).await?;
        }
        let mut count = ours.into_iter().filter(|ours| *ours).count();
        self.drop_ours(live.autoscaler.as_ref(), name, held.events).await?;
        self.drop_ours(live.disruption.as_ref(), name, held.events).await?;
        self.drop_ours(live.service.as_ref(), name, held.events).await?;
        self.drop_ours(live.deployment.as_ref(), name, held.events).await?;
        count += self.remove_secrets(live.deployment.as_ref(), name, held.events).await?;
        let recorded = releases.iter().filter_map(|release| release.config.clone());
        count += self.remove_config(recorded.collect(), name, held.events).await?;
        let others: Vec<_> = releases.iter().flat_map(|release| release.others.clone()).collect();
        self.drop_outgrown(&others, &[], name, held.events).await?;
        for release in &releases {
            Records::new(self, name).delete(release.revision).await?;
        }
        if !releases.is_empty() {
            held.events.note(format!("deleted the records of {} releases", releases.len()));
        }
        if let Some(deployment) = &live.deployment {
            self.wait_for_pods(deployment, held).await;
        }
        Ok(count + releases.len())
    }

    /// Those that came with a publish.
    async fn remove_secrets(&self, deployment: Option<&Deployment>, name: &str, events: &Events) -> Result<usize> {
        let pod = deployment.and_then(|deployment| deployment.spec.as_ref()?.template.spec.as_ref());
        let mut count = 0;
        let address = address_secret(name);
        let came = |reference: &Reference| reference.place == Place::PullSecret || reference.name == address;
        let named: BTreeSet<String> = pod.map(references).into_iter().flatten().filter(came).map(|reference| reference.name).collect();
        for secret in named {
            let secret: Option<Secret> = self.get(&secret).await?;
            if let Some(secret) = secret.filter(|secret| is_ours(&secret.metadata, name)) {
                self.delete(&secret, events).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Those of the records, and ConfigMaps that a killed run left without one.
    async fn remove_config(&self, mut configs: Vec<ConfigReference>, name: &str, events: &Events) -> Result<usize> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let selector = format!("{}=files,{}={}", config::KIND, keys::INSTANCE, label_value(name));
        let found = self.call(("list", "configmaps", name), api.list(&ListParams::default().labels(&selector))).await?;
        configs.extend(found.items.iter().map(|map| ConfigReference { name: map.name_any(), secret: false, hash: String::new() }));
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        configs.dedup_by(|a, b| a.name == b.name && a.secret == b.secret);
        for config in &configs {
            self.delete_config(config).await?;
            let kind = if config.secret { "Secret" } else { "ConfigMap" };
            events.emit(Event::Applied { kind: kind.to_string(), name: config.name.clone(), change: Change::Deleted });
        }
        Ok(configs.len())
    }

    /// Waits until the pods are gone, within their grace; those that stay are named.
    async fn wait_for_pods(&self, deployment: &Deployment, held: Held<'_>) {
        let spec = deployment.spec.as_ref();
        let grace = spec.and_then(|spec| spec.template.spec.as_ref()?.termination_grace_period_seconds).unwrap_or(30);
        let limit = Duration::from_secs(u64::try_from(grace).unwrap_or(30)) + SLACK;
        tokio::select! {
            _ = timeout(limit, self.until_gone(deployment)) => {}
            () = held.cancel.cancelled() => {}
        }
        for stuck in self.stuck(deployment).await.unwrap_or_default() {
            held.events.warning(stuck.words(), stuck.hint());
        }
    }

    async fn until_gone(&self, deployment: &Deployment) {
        let config = watcher::Config::default().labels(&selector(deployment));
        let mut stream = std::pin::pin!(watcher::watcher(self.pod_api(), config).default_backoff());
        let (mut names, mut listed) = (BTreeSet::new(), false);
        while let Some(change) = stream.next().await {
            match change {
                Ok(watcher::Event::Init) => names.clear(),
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => drop(names.insert(pod.name_any())),
                Ok(watcher::Event::Delete(pod)) => drop(names.remove(&pod.name_any())),
                Ok(watcher::Event::InitDone) => listed = true,
                // the stream comes back by itself
                Err(error) => tracing::debug!(%error, "the watch of the pods was cut"),
            }
            if listed && names.is_empty() {
                return;
            }
        }
    }

    pub(super) fn pod_api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Whether the namespace is there; fails when it is not ours to delete.
    async fn check_namespace(&self, application: &str) -> Result<bool> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = &self.namespace;
        let Some(found) = self.call(("get", "namespaces", namespace), api.get_opt(namespace)).await? else { return Ok(false) };
        let maker = found.metadata.labels.as_ref().and_then(|labels| labels.get(keys::MANAGED_BY)).map(String::as_str);
        if maker != Some(MANAGER) {
            let message = format!("namespace {namespace} was not created by shipway");
            return Err(Problem::new(Code::NotOurs, message).hint("remove without the namespace (remove.namespace), or delete it by hand"));
        }
        let api: Api<Deployment> = self.api();
        let all = self.call(("list", "deployments", namespace), api.list(&ListParams::default())).await?.items;
        let others: Vec<String> = all.iter().map(ResourceExt::name_any).filter(|name| name != application).collect();
        if others.is_empty() {
            return Ok(true);
        }
        let message = format!("namespace {namespace} holds other applications, too: {}", others.join(", "));
        Err(Problem::new(Code::NotOurs, message).hint("remove those first, or remove without the namespace (remove.namespace)"))
    }

    async fn delete_namespace(&self, events: &Events) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let action = ("delete", "namespaces", self.namespace.as_str());
        match self.attempt(action, api.delete(&self.namespace, &DeleteParams::default())).await? {
            Err(error) if !problem::is_not_found(&error) => return Err(problem::problem(&error, self.action(action))),
            _ => {}
        }
        events.emit(Event::Applied { kind: "Namespace".to_string(), name: self.namespace.clone(), change: Change::Deleted });
        Ok(())
    }
}

/// Services, autoscalers and budgets of others are left alone; with a Deployment of others nothing of that name can be ours.
fn check_ours(live: &Live, name: &str, namespace: &str) -> Result<()> {
    match &live.deployment {
        Some(deployment) if !is_ours(&deployment.metadata, name) => {
            let message = format!("deployment {name} in namespace {namespace} was not made by shipway");
            Err(Problem::new(Code::NotOurs, message).hint("correct kubernetes.name or kubernetes.namespace, or delete it by hand"))
        }
        _ => Ok(()),
    }
}

//! What a publish writes down before it changes anything: its stamp, its record, and a record of what runs without one.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{apps::v1::Deployment, core::v1::Secret as CoreSecret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};

use super::{Publish, diff, records::spec_hash};
use crate::domain::{
    compose::wanted_replicas,
    custom::without_secrets,
    fetch::{ADDRESS, address_secret},
    manifests::{MANAGER, Objects, Stamp, common_labels, keys, label_value},
    problem::Result,
    release::{Cause, Outcome, Position, Release},
    scale::manual,
    secret::Secret,
};

/// What the controller has finished: all pods of the newest template are available, and no others are there.
pub(super) fn is_complete(live: &Deployment) -> bool {
    let (Some(spec), Some(status)) = (&live.spec, &live.status) else { return false };
    let desired = spec.replicas.unwrap_or(1);
    let all = |count: Option<i32>| count.unwrap_or(0) == desired;
    status.observed_generation >= live.metadata.generation
        && all(status.updated_replicas)
        && all(status.available_replicas)
        && all(status.replicas)
}

/// A number that this publish changes goes back to what it was.
pub(super) fn with_replicas(mut previous: Release, publish: &Publish, live: Option<&Deployment>) -> Release {
    let before = live.and_then(|live| live.spec.as_ref()?.replicas);
    let scaled = live.and_then(manual).is_some();
    if let Some(spec) =
        previous.deployment.spec.as_mut().filter(|_| publish.workload.replicas.is_some() && previous.autoscaler.is_none() && !scaled)
    {
        spec.replicas = spec.replicas.or(before);
    }
    previous
}

pub(super) fn stamp(publish: &Publish, revision: u64) -> Stamp {
    Stamp {
        revision,
        sequence: Some(publish.sequence()),
        commit: publish.commit.clone(),
        job_url: publish.job_url.clone(),
        author: publish.author.clone(),
    }
}

pub(super) fn intent(publish: &Publish, stamp: &Stamp, objects: &Objects) -> Result<Release> {
    let mut deployment = objects.deployment.clone();
    if let Some(spec) = deployment.spec.as_mut() {
        // the number at creation is no wish of the settings, and must not come back with a rollback
        spec.replicas = wanted_replicas(&publish.workload)?.filter(|_| objects.autoscaler.is_none());
    }
    Ok(Release {
        revision: stamp.revision,
        cause: Cause::Publish,
        outcome: Outcome::Pending,
        problem: None,
        image: publish.workload.image.to_string(),
        version: publish.workload.version.clone(),
        commit: stamp.commit.clone(),
        author: stamp.author.clone(),
        job_url: stamp.job_url.clone(),
        sequence: stamp.sequence.clone(),
        started: Timestamp::now().to_string(),
        seconds: None,
        restores: None,
        spec_hash: spec_hash(&deployment),
        config: publish.workload.config.as_ref().map(|config| config.reference(&publish.workload.name)),
        pushed: publish.workload.pushed.as_ref().map(|pushed| pushed.version.clone()),
        deployment,
        service: objects.service.clone(),
        autoscaler: objects.autoscaler.clone(),
        disruption: objects.disruption.clone(),
        others: without_secrets(&objects.others),
        secrets: BTreeMap::new(),
    })
}

/// A record of a Deployment that runs without one.
pub(super) fn found(live: &Deployment, revision: u64, at: &Position) -> Release {
    let mut deployment = diff::snapshot(live);
    let name = deployment.metadata.name.clone().unwrap_or_default();
    let labels = deployment.metadata.labels.get_or_insert_default();
    labels.insert(keys::MANAGED_BY.to_string(), MANAGER.to_string());
    labels.insert(keys::INSTANCE.to_string(), label_value(&name));
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(keys::REVISION.to_string(), revision.to_string());
    let container = live.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.containers.first());
    Release {
        revision,
        cause: Cause::Found,
        outcome: Outcome::Succeeded,
        problem: None,
        image: container.and_then(|container| container.image.clone()).unwrap_or_default(),
        version: live.metadata.labels.as_ref().and_then(|labels| labels.get(keys::VERSION)).cloned().unwrap_or_default(),
        commit: None,
        author: None,
        job_url: None,
        sequence: at.sequence.clone(),
        started: Timestamp::now().to_string(),
        seconds: None,
        restores: None,
        spec_hash: spec_hash(&deployment),
        config: None,
        pushed: None,
        deployment,
        service: None,
        autoscaler: None,
        others: Vec::new(),
        secrets: BTreeMap::new(),
        disruption: None,
    }
}

/// Secrets that the pods need and that come with the publish: credentials for their image, the address of the centre.
pub(super) fn secrets(publish: &Publish) -> Vec<CoreSecret> {
    let workload = &publish.workload;
    let secret = |name: String, kind: &str, key: &str, content: &Secret| CoreSecret {
        metadata: ObjectMeta { name: Some(name), labels: Some(common_labels(workload)), ..ObjectMeta::default() },
        type_: Some(kind.to_string()),
        data: Some([(key.to_string(), ByteString(content.expose().as_bytes().to_vec()))].into()),
        ..CoreSecret::default()
    };
    let pull = publish.pull_secret.as_ref().map(|config| {
        let name = workload.pull_secret.clone().unwrap_or_else(|| format!("{}-pull", workload.name));
        secret(name, "kubernetes.io/dockerconfigjson", ".dockerconfigjson", config)
    });
    let center = publish.center.as_ref().map(|url| secret(address_secret(&workload.name), "Opaque", ADDRESS, url));
    pull.into_iter().chain(center).collect()
}

//! The records of releases: one compact ConfigMap for each revision.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use sha2::{Digest as _, Sha256};

use super::{connect::Cluster, problem};
use crate::domain::{
    digest::Digest,
    manifests::{MANAGER, keys, label_value},
    problem::{Problem, Result},
    release::{Release, prunable, unneeded_config},
};

const KIND: &str = "shipway.dev/record";
const FILE: &str = "release.json";

/// The records of one application.
pub struct Records<'a> {
    cluster: &'a Cluster,
    api: Api<ConfigMap>,
    application: &'a str,
}

impl<'a> Records<'a> {
    pub fn new(cluster: &'a Cluster, application: &'a str) -> Self {
        Records { cluster, api: Api::namespaced(cluster.client.clone(), &cluster.namespace), application }
    }

    /// All of them, oldest first; one that cannot be read is left out with a word in the log.
    pub async fn list(&self) -> Result<Vec<Release>> {
        let params = ListParams::default().labels(&selector(self.application));
        let found = self.cluster.call(("list", "configmaps", self.application), self.api.list(&params)).await?;
        let mut releases: Vec<Release> = found.items.iter().filter_map(read).collect();
        releases.sort_by_key(|release| release.revision);
        Ok(releases)
    }

    /// Writes a new record.
    pub async fn create(&self, release: &Release) -> Result<()> {
        let name = self.name(release.revision);
        let map = self.map(release)?;
        let action = ("create", "configmaps", name.as_str());
        match self.cluster.attempt(action, self.api.create(&PostParams::default(), &map)).await? {
            Ok(_) => Ok(()),
            Err(error) if problem::already_exists(&error) => self.update(release).await,
            Err(error) => Err(problem::problem(&error, self.cluster.action(action))),
        }
    }

    /// Writes how a release went on.
    pub async fn update(&self, release: &Release) -> Result<()> {
        let name = self.name(release.revision);
        let map = self.map(release)?;
        self.cluster.call(("update", "configmaps", &name), self.api.replace(&name, &PostParams::default(), &map)).await?;
        Ok(())
    }

    pub async fn delete(&self, revision: u64) -> Result<()> {
        let name = self.name(revision);
        let action = ("delete", "configmaps", name.as_str());
        match self.cluster.attempt(action, self.api.delete(&name, &DeleteParams::default())).await? {
            Err(error) if !problem::is_not_found(&error) => Err(problem::problem(&error, self.cluster.action(action))),
            _ => Ok(()),
        }
    }

    /// Deletes the records that need not be kept, and before each the configuration that goes with the last of them.
    pub async fn prune(&self, all: &[Release], kept: usize, live: Option<u64>) -> Result<()> {
        let going = prunable(all, kept, live);
        for config in unneeded_config(&going, all) {
            self.cluster.delete_config(&config).await?;
        }
        for release in going {
            self.delete(release.revision).await?;
        }
        Ok(())
    }

    /// Takes back a record whose release did not begin, with the configuration that only it has.
    pub async fn withdraw(&self, release: &Release, others: &[Release]) -> Result<()> {
        let others: Vec<Release> = others.iter().filter(|other| other.revision != release.revision).cloned().collect();
        for config in unneeded_config(&[release], &others) {
            self.cluster.delete_config(&config).await?;
        }
        self.delete(release.revision).await
    }

    fn name(&self, revision: u64) -> String {
        format!("shipway-{}-r{revision}", self.application)
    }

    fn map(&self, release: &Release) -> Result<ConfigMap> {
        let text = serde_json::to_string(release).map_err(|error| Problem::bug(format!("a release record cannot be written: {error}")))?;
        let labels =
            [(keys::MANAGED_BY, MANAGER.to_string()), (keys::INSTANCE, label_value(self.application)), (KIND, "release".to_string())];
        Ok(ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name(release.revision)),
                labels: Some(labels.into_iter().map(|(key, value)| (key.to_string(), value)).collect()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(FILE.to_string(), text)])),
            ..ConfigMap::default()
        })
    }
}

/// The label selector of an application's records.
pub fn selector(application: &str) -> String {
    format!("{KIND}=release,{}={}", keys::INSTANCE, label_value(application))
}

/// The release in a record; one that cannot be read is left out with a word in the log.
pub fn read(map: &ConfigMap) -> Option<Release> {
    match serde_json::from_str(map.data.as_ref()?.get(FILE)?) {
        Ok(release) => Some(release),
        Err(error) => {
            tracing::warn!(%error, record = map.metadata.name, "a release record cannot be read");
            None
        }
    }
}

/// Hash of the pod template: two Deployments with the same one run the same pods, restarted by hand or not.
pub fn spec_hash(deployment: &Deployment) -> String {
    let mut template = deployment.spec.as_ref().map(|spec| spec.template.clone());
    if let Some(metadata) = template.as_mut().and_then(|template| template.metadata.as_mut()) {
        metadata.annotations = metadata.annotations.take().map(|mut annotations| {
            annotations.remove(keys::RESTARTED);
            annotations
        });
        metadata.annotations = metadata.annotations.take().filter(|annotations| !annotations.is_empty());
    }
    let text = serde_json::to_vec(&template).unwrap_or_default();
    Digest::from_sha256(&Sha256::digest(&text)).hex()[..16].to_string()
}

//! The records of releases: one ConfigMap for each revision, packed, because it keeps the user's manifests.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use k8s_openapi::{
    ByteString,
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
    custom::Identity,
    digest::Digest,
    manifests::{MANAGER, keys, label_value},
    problem::{Code, Problem, Result},
    release::{Release, prunable, unneeded_config},
    units::format_bytes,
};

const KIND: &str = "shipway.dev/record";
const FILE: &str = "release.json.gz";
/// As the first records were written.
const PLAIN: &str = "release.json";
/// What a ConfigMap may hold.
const LIMIT: usize = 1 << 20;
/// No record of ours is longer; what calls itself packed could unpack to anything.
const LONGEST: u64 = 64 << 20;

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
        let packed = ByteString(pack(release)?);
        let labels =
            [(keys::MANAGED_BY, MANAGER.to_string()), (keys::INSTANCE, label_value(self.application)), (KIND, "release".to_string())];
        Ok(ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name(release.revision)),
                labels: Some(labels.into_iter().map(|(key, value)| (key.to_string(), value)).collect()),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([(FILE.to_string(), packed)])),
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
    match unpack(map).and_then(|text| Ok(serde_json::from_slice(&text)?)) {
        Ok(release) => Some(release),
        Err(error) => {
            tracing::warn!(%error, record = map.metadata.name, "a release record cannot be read");
            None
        }
    }
}

/// Fails with `manifest-invalid`, naming the largest of the user's manifests, when they do not fit into a record.
pub fn check_size(release: &Release) -> Result<()> {
    let packed = pack(release)?.len();
    if packed <= LIMIT {
        return Ok(());
    }
    let mut others: Vec<(usize, Identity)> = release.others.iter().map(|value| (value.to_string().len(), Identity::of(value))).collect();
    others.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let bytes = |size: usize| format_bytes(u64::try_from(size).unwrap_or(u64::MAX));
    let largest: Vec<String> = others.iter().take(3).map(|(size, identity)| format!("{identity} ({})", bytes(*size))).collect();
    let message = format!(
        "kubernetes.manifests: a release's record keeps them, and takes {} with these, more than the 1 MiB of a ConfigMap; the largest: {}",
        bytes(packed),
        largest.join(", ")
    );
    Err(Problem::new(Code::ManifestInvalid, message).hint("publish the largest apart from the application, or make them smaller"))
}

fn pack(release: &Release) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let written = serde_json::to_writer(&mut gzip, release).map_err(io::Error::from).and_then(|()| gzip.finish());
    written.map_err(|error| Problem::bug(format!("a release record cannot be written: {error}")))
}

fn unpack(map: &ConfigMap) -> io::Result<Vec<u8>> {
    if let Some(packed) = map.binary_data.as_ref().and_then(|data| data.get(FILE)) {
        let mut text = Vec::new();
        GzDecoder::new(packed.0.as_slice()).take(LONGEST).read_to_end(&mut text)?;
        return Ok(text);
    }
    let plain = map.data.as_ref().and_then(|data| data.get(PLAIN));
    plain.map(|text| text.clone().into_bytes()).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("it has no {FILE}")))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release() -> Release {
        let text = json!({"revision": 3, "outcome": "succeeded", "image": "a", "version": "1", "sequence": null, "started": "",
            "specHash": "s", "deployment": {}, "others": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}]});
        serde_json::from_value(text).unwrap()
    }

    fn map(data: serde_json::Value) -> ConfigMap {
        serde_json::from_value(data).unwrap()
    }

    #[test]
    fn a_record_is_read_as_it_was_packed_and_an_old_one_as_it_is() {
        let packed = ByteString(pack(&release()).unwrap());
        assert_eq!(read(&map(json!({"binaryData": {FILE: packed}}))), Some(release()));
        let plain = serde_json::to_string(&release()).unwrap();
        assert_eq!(read(&map(json!({"data": {PLAIN: plain}}))), Some(release()));
        for broken in [json!({}), json!({"data": {PLAIN: "{"}}), json!({"binaryData": {FILE: ByteString(b"no gzip".to_vec())}})] {
            assert_eq!(read(&map(broken)), None, "left out");
        }
    }

    #[test]
    fn manifests_that_do_not_fit_are_named_with_their_size() {
        let object =
            |name: &str, text: String| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": text}});
        let repeated = Release { others: vec![object("long", "x".repeat(3 << 20))], ..release() };
        assert!(check_size(&repeated).is_ok(), "it is packed");
        let hashes = (0..40_000_u32).map(|number| Digest::from_sha256(&Sha256::digest(number.to_be_bytes())).to_string());
        let others = vec![object("small", "x".to_string()), object("random", hashes.collect())];
        let problem = check_size(&Release { others, ..release() }).unwrap_err();
        assert_eq!((problem.code, problem.exit_code()), (Code::ManifestInvalid, 10));
        assert!(problem.message.contains("the largest: ConfigMap random ("), "{}", problem.message);
    }
}

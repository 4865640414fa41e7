//! Pushed configurations on the cluster: an immutable ConfigMap or Secret for each content, and one ConfigMap that lists the versions.
//! A push is done in the moment in which that list is replaced, and by one request.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use tokio_util::sync::CancellationToken;

use super::{connect::Cluster, problem};
use crate::domain::{
    claim::{Claim, Kind},
    config::{self, Config, ConfigReference},
    event::Events,
    manifests::{MANAGER, is_ours, keys, label_value},
    problem::{Code, Problem, Result},
    pushed::{Change, Place, Pushing, Version, Versions, Wanted},
};

/// The list's key in its object.
const FILE: &str = "versions.json";

/// The list as it was read.
struct Head {
    versions: Versions,
    /// None: it is not there.
    object: Option<ConfigMap>,
}

impl Cluster {
    /// The versions that are kept; none when nothing was pushed.
    pub async fn pushed(&self, place: &Place) -> Result<Versions> {
        Ok(self.head(place).await?.versions)
    }

    /// The files of a version. Fails with `config-missing` or `revision-unknown`.
    pub async fn pull_config(&self, place: &Place, wanted: &Wanted) -> Result<(Version, Config)> {
        let versions = self.pushed(place).await?;
        let version = versions.find(place, wanted)?.clone();
        let config = self.read_config(place, &version.config).await?;
        Ok((version, config))
    }

    /// Makes these files the current version; the second value says whether they were not that already. Fails with `lock-held` when another
    /// changed the versions meanwhile.
    pub async fn push_config(
        &self,
        pushing: &Pushing,
        config: &Config,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<(Version, bool)> {
        self.changing(pushing, events, cancel, async |cluster, head| {
            let reference = config.reference(&pushing.place.owner());
            match head.versions.push(pushing, reference, config.paths().count(), None) {
                Change::None(current) => Ok((current, false)),
                Change::Next { versions, version, gone } => {
                    cluster.put_config(&pushing.place.owner(), config, false, events).await?;
                    cluster.replace(pushing, head, &versions, gone).await?;
                    Ok((version, true))
                }
            }
        })
        .await
    }

    /// Makes an earlier version the current one, as a new version; the last one with other files without a number.
    pub async fn rollback_config(
        &self,
        pushing: &Pushing,
        to: Option<u64>,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Version> {
        self.changing(pushing, events, cancel, async |cluster, head| {
            let target = head.versions.target(&pushing.place, to)?.clone();
            // its files must be there before it counts
            cluster.read_config(&pushing.place, &target.config).await?;
            match head.versions.push(pushing, target.config.clone(), target.files, Some(target.version)) {
                Change::None(current) => Ok(current),
                Change::Next { versions, version, gone } => cluster.replace(pushing, head, &versions, gone).await.map(|()| version),
            }
        })
        .await
    }

    /// Under a lock of its own: what a slower push counts on must not be taken away by a faster one. Whoever came first counts, and the other
    /// is told: it did not know of those files.
    async fn changing<T>(
        &self,
        pushing: &Pushing,
        events: &Events,
        cancel: &CancellationToken,
        change: impl AsyncFnOnce(&Cluster, Head) -> Result<T>,
    ) -> Result<T> {
        let before = self.pushed(&pushing.place).await?;
        let claim = Claim::new(Kind::Lock, &pushing.place.head())?;
        let lock = self.claim(&claim, &pushing.holder, Some(pushing.wait), pushing.timing, events, cancel).await?;
        let cluster = self.under(&lock);
        let changed = async {
            let head = cluster.head(&pushing.place).await?;
            head.versions.check_since(&before, &pushing.place)?;
            change(&cluster, head).await
        }
        .await;
        lock.release().await;
        changed
    }

    async fn replace(&self, pushing: &Pushing, head: Head, versions: &Versions, gone: Vec<ConfigReference>) -> Result<()> {
        self.write_head(&pushing.place, versions, head.object).await?;
        for config in gone {
            self.delete_config(&config).await?;
        }
        Ok(())
    }

    async fn head(&self, place: &Place) -> Result<Head> {
        let name = place.head();
        let Some(object) = self.get::<ConfigMap>(&name).await? else {
            return Ok(Head { versions: Versions::default(), object: None });
        };
        let unreadable = |why: String| {
            Problem::new(
                Code::NotOurs,
                format!("configmap {name} in namespace {} is no list of pushed configurations: {why}", self.namespace),
            )
            .hint(format!("delete configmap {name} when nobody needs it, or choose another kubernetes.name"))
        };
        if !is_ours(&object.metadata, &place.owner()) {
            return Err(unreadable("shipway did not make it".to_string()));
        }
        let text = object.data.as_ref().and_then(|data| data.get(FILE)).map(String::as_str).unwrap_or_default();
        let versions = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        Ok(Head { versions, object: Some(object) })
    }

    async fn write_head(&self, place: &Place, versions: &Versions, before: Option<ConfigMap>) -> Result<()> {
        let name = place.head();
        let text =
            serde_json::to_string(versions).map_err(|error| Problem::bug(format!("a list of versions cannot be written: {error}")))?;
        let data = Some(BTreeMap::from([(FILE.to_string(), text)]));
        let api: Api<ConfigMap> = self.api();
        let params = PostParams::default();
        let (verb, answer) = match before {
            // it keeps its resourceVersion, so that nobody's change is overwritten
            Some(object) => {
                let object = ConfigMap { data, ..object };
                ("update", self.attempt(("update", "configmaps", &name), api.replace(&name, &params, &object)).await?)
            }
            None => {
                let object = ConfigMap { metadata: metadata(place, &name), data, ..ConfigMap::default() };
                ("create", self.attempt(("create", "configmaps", &name), api.create(&params, &object)).await?)
            }
        };
        match answer {
            Ok(_) => Ok(()),
            Err(error) if problem::is_stale(&error) || problem::already_exists(&error) => Err(place.changed_meanwhile(None)),
            Err(error) => Err(problem::problem(&error, self.action((verb, "configmaps", &name)))),
        }
    }

    async fn read_config(&self, place: &Place, reference: &ConfigReference) -> Result<Config> {
        let read = match reference.secret {
            true => self.get::<Secret>(&reference.name).await?.map(|secret| Config::of_secret(&secret)),
            false => self.get::<ConfigMap>(&reference.name).await?.map(|map| Config::of_map(&map)),
        };
        let missing = |what: &str| {
            let (object, namespace) = (reference.object(), &self.namespace);
            Problem::new(Code::ConfigMissing, format!("{object} in namespace {namespace}, with the files of {}, {what}", place.words()))
                .hint("push the configuration again")
        };
        let config = read.ok_or_else(|| missing("is gone"))??;
        // never hand out files that are not those of the version
        if config.reference(&place.owner()) == *reference { Ok(config) } else { Err(missing("holds other files than were pushed")) }
    }
}

fn metadata(place: &Place, name: &str) -> ObjectMeta {
    let labels =
        [(keys::MANAGED_BY, MANAGER.to_string()), (keys::INSTANCE, label_value(&place.owner())), (config::KIND, "versions".to_string())];
    ObjectMeta {
        name: Some(name.to_string()),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_string(), value)).collect()),
        ..ObjectMeta::default()
    }
}

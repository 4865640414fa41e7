//! The objects that hold configuration files: made once, never changed, deleted when no kept release has them.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams},
};

use super::{
    ObjectDiff,
    apply::{Applied, say},
    connect::Cluster,
    diff, problem,
};
use crate::domain::{
    config::{self, Config, ConfigObject, ConfigReference},
    event::{Change, Events},
    fetch::COPY,
    manifests::is_ours,
    problem::{Code, Problem, Result},
};

impl Cluster {
    /// Makes the object of these files, or finds it as a release before left it.
    pub(super) async fn put_config(&self, application: &str, config: &Config, dry_run: bool, events: &Events) -> Result<()> {
        match config.object(application) {
            ConfigObject::Map(map) => {
                let same = |live: &ConfigMap| live.data == map.data && live.binary_data == map.binary_data;
                self.make(&*map, application, same, dry_run, events).await
            }
            ConfigObject::Secret(secret) => {
                self.make(&*secret, application, |live: &Secret| live.data == secret.data, dry_run, events).await
            }
        }
    }

    async fn make<K: Applied>(
        &self,
        object: &K,
        application: &str,
        same: impl Fn(&K) -> bool,
        dry_run: bool,
        events: &Events,
    ) -> Result<()> {
        let name = object.name_any();
        let action = ("create", K::RESOURCE, name.as_str());
        let params = PostParams { dry_run, ..PostParams::default() };
        let change = match self.attempt(action, self.api::<K>().create(&params, object)).await? {
            Ok(_) => Change::Created,
            Err(error) if problem::already_exists(&error) => {
                let live: Option<K> = self.get(&name).await?;
                if !live.is_some_and(|live| is_ours(live.meta(), application) && same(&live)) {
                    return Err(occupied::<K>(&name, &self.namespace));
                }
                Change::Unchanged
            }
            Err(error) => return Err(problem::problem(&error, self.action(action))),
        };
        if !dry_run {
            say::<K>(events, &name, change);
        }
        Ok(())
    }

    /// What becomes of the configuration: the lines of ConfigMaps, and of a Secret no more than that it is another.
    pub(super) async fn config_difference(&self, application: &str, config: &Config, live: Option<&Deployment>) -> Result<ObjectDiff> {
        let reference = config.reference(application);
        let there = self.check_config(Some(&reference), 0).await.is_ok();
        let change = if there { Change::Unchanged } else { Change::Created };
        let (kind, name) = (if reference.secret { "Secret" } else { "ConfigMap" }.to_string(), reference.name);
        let map = match config.object(application) {
            ConfigObject::Secret(_) => {
                let after = config_text(config, application)?;
                return Ok(ObjectDiff { kind, name, change, live_yaml: there.then(|| after.clone()), dry_run_yaml: Some(after) });
            }
            ConfigObject::Map(map) => map,
        };
        let before = match mounted(live) {
            Some(mounted) => self.get::<ConfigMap>(&mounted).await?.as_ref().map(content),
            None => there.then(|| content(&map)),
        };
        let shown = diff::shown(before.as_ref(), Some(&content(&map)))?;
        let change = if before.is_some() && !there { Change::Configured } else { change };
        Ok(ObjectDiff { change, ..shown.of(&kind, &name) })
    }

    /// Fails with `config-missing` when the files of a recorded release are gone.
    pub(super) async fn check_config(&self, config: Option<&ConfigReference>, revision: u64) -> Result<()> {
        let Some(config) = config else { return Ok(()) };
        let there = match config.secret {
            true => self.get::<Secret>(&config.name).await?.is_some(),
            false => self.get::<ConfigMap>(&config.name).await?.is_some(),
        };
        let missing = || {
            let message =
                format!("the configuration of revision {revision}, {}, is no longer in namespace {}", config.object(), self.namespace);
            Problem::new(Code::ConfigMissing, message)
        };
        if there { Ok(()) } else { Err(missing()) }
    }

    /// One that is gone already is fine.
    pub(super) async fn delete_config(&self, config: &ConfigReference) -> Result<()> {
        match config.secret {
            true => self.unmake::<Secret>(&config.name).await,
            false => self.unmake::<ConfigMap>(&config.name).await,
        }
    }

    async fn unmake<K: Applied>(&self, name: &str) -> Result<()> {
        let action = ("delete", K::RESOURCE, name);
        match self.attempt(action, self.api::<K>().delete(name, &DeleteParams::default())).await? {
            Err(error) if !problem::is_not_found(&error) => Err(problem::problem(&error, self.action(action))),
            _ => Ok(()),
        }
    }
}

/// The object as YAML. Of a Secret only the names of its files are told.
pub(super) fn config_text(config: &Config, application: &str) -> Result<String> {
    match config.object(application) {
        ConfigObject::Map(map) => diff::text(&*map),
        ConfigObject::Secret(mut secret) => {
            let keys: Vec<String> = secret.data.take().unwrap_or_default().into_keys().collect();
            Ok(format!("# the content of {} is secret, and left out here\n{}", keys.join(", "), diff::text(&*secret)?))
        }
    }
}

/// What the object of a mounted configuration holds, for a comparison of contents: its name changes with them.
fn content(map: &ConfigMap) -> ConfigMap {
    ConfigMap { data: map.data.clone(), binary_data: map.binary_data.clone(), ..ConfigMap::default() }
}

fn mounted(live: Option<&Deployment>) -> Option<String> {
    let pod = live?.spec.as_ref()?.template.spec.as_ref()?;
    let of = |name: &str| pod.volumes.iter().flatten().find(|volume| volume.name == name)?.config_map.as_ref();
    of(config::VOLUME).or_else(|| of(COPY)).map(|source| source.name.clone())
}

fn occupied<K: Applied>(name: &str, namespace: &str) -> Problem {
    let kind = <K as k8s_openapi::Resource>::KIND;
    let message = format!("{kind} {name} in namespace {namespace} is there already, but does not hold what shipway would write into it");
    Problem::new(Code::NotOurs, message).hint(format!("delete {kind} {name}, or choose another kubernetes.name"))
}

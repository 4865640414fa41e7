//! The objects of a release, put on the cluster in their order; the Deployment's patch is the one that counts.

use std::collections::BTreeMap;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};

use super::{
    apply::{Applied, Live, Mode, owns_replicas},
    connect::Cluster,
    others::{Other, Phase},
    publish::Held,
};
use crate::domain::{
    custom::Identity,
    event::Events,
    manifests::{Objects, is_ours},
    problem::{Problem, Result},
};

/// What is put.
pub(super) struct Put<'a> {
    pub name: &'a str,
    pub objects: &'a Objects,
    pub live: &'a Live,
    /// Of the objects those that the user brought.
    pub others: &'a [Other],
    /// Win against other field managers.
    pub force: bool,
    /// Back to what ran before: the pods first, the rest must not keep them from it.
    pub back: bool,
    pub held: Held<'a>,
}

/// What the API server made of it.
pub(super) struct Placed {
    pub deployment: Deployment,
    pub service: Option<Service>,
    /// The pods need no change.
    pub same: bool,
    /// What went wrong after the Deployment's patch: the pods are on their way, the rest is not whole.
    pub missing: Option<Problem>,
    /// Versions of the user's Secrets.
    pub secrets: BTreeMap<String, String>,
}

impl Cluster {
    /// Puts all objects; one that is switched off goes, when it is ours.
    pub(super) async fn put(&self, put: &Put<'_>) -> Result<Placed> {
        let mode = Mode { force: put.force, ..Mode::default() };
        let secrets = self.apply_others(put.others, Phase::Before, mode, put.held.lock, put.held.events).await?;
        let early = if put.back { None } else { self.put_service(put, mode).await? };
        let (deployment, same) = self.put_deployment(put, mode).await?;
        let rest = async {
            self.apply_others(put.others, Phase::After, mode, put.held.lock, put.held.events).await?;
            let late = if put.back { self.put_service(put, mode).await? } else { early };
            self.put_others(put, mode).await?;
            Ok(late)
        };
        let (service, missing) = match rest.await {
            Ok(service) => (service, None),
            Err(problem) => (None, Some(problem)),
        };
        Ok(Placed { deployment, service, same, missing, secrets })
    }

    async fn put_service(&self, put: &Put<'_>, mode: Mode) -> Result<Option<Service>> {
        match &put.objects.service {
            Some(service) => Ok(Some(self.apply(service, put.live.service.as_ref(), mode, put.held.events).await?)),
            None => Ok(None),
        }
    }

    async fn put_deployment(&self, put: &Put<'_>, mode: Mode) -> Result<(Deployment, bool)> {
        let (live, events) = (put.live, put.held.events);
        let autoscaled = put.objects.autoscaler.is_some();
        if !autoscaled {
            // before the number is set: an autoscaler that is still there would set it back
            self.drop_ours(live.autoscaler.as_ref(), put.name, events).await?;
        } else if let Some(deployment) = live.deployment.as_ref().filter(|live| owns_replicas(live)) {
            self.hand_over_replicas(deployment).await?;
        }
        put.held.lock.hold().await?;
        let base = match &live.deployment {
            Some(_) if autoscaled => self.get(put.name).await?,
            live => live.clone(),
        };
        let mode = Mode { leave_replicas: autoscaled, ..mode };
        let mut deployment = self.apply_deployment(&put.objects.deployment, base.as_ref(), mode, events).await?;
        if autoscaled && base.is_none() {
            deployment = self.leave_replicas(&put.objects.deployment, &deployment).await.map_err(Problem::unrestored)?;
        }
        // the generation would not tell: the API server raises it for annotations, too
        let template = |deployment: &Deployment| deployment.spec.as_ref().map(|spec| spec.template.clone());
        let same = base.as_ref().is_some_and(|base| template(base) == template(&deployment));
        Ok((deployment, same))
    }

    async fn put_others(&self, put: &Put<'_>, mode: Mode) -> Result<()> {
        let Put { name, objects, live, held, .. } = put;
        let events = held.events;
        if let Some(autoscaler) = &objects.autoscaler {
            self.apply(autoscaler, live.autoscaler.as_ref(), mode, events).await?;
        }
        match &objects.disruption {
            Some(budget) => drop(self.apply(budget, live.disruption.as_ref(), mode, events).await?),
            // one of the user's own manifests may be a budget of that name
            None if objects.others.iter().any(|other| Identity::of(other).is("policy", "PodDisruptionBudget")) => {}
            None => self.drop_ours(live.disruption.as_ref(), name, events).await?,
        }
        match &objects.service {
            Some(_) => Ok(()),
            None => self.drop_ours(live.service.as_ref(), name, events).await,
        }
    }

    /// Deletes what is there, when it is ours.
    pub(super) async fn drop_ours<K: Applied>(&self, live: Option<&K>, name: &str, events: &Events) -> Result<()> {
        match live.filter(|live| is_ours(live.meta(), name)) {
            Some(live) => self.delete(live, events).await,
            None => Ok(()),
        }
    }
}

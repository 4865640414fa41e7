//! Pods that do not go away: found with their reasons, and dealt with only as far as it is asked for.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Event as CoreEvent, Node, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{connect::Cluster, problem};
use crate::domain::{
    manifests::{MANAGER, keys, label_value},
    problem::{Code, Problem, Result},
    stuck::{NodeState, StuckPod, node_name, node_state},
};

/// What may be done; nothing of it: only look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unstick {
    /// Name of the Deployment.
    pub name: String,
    /// This pod alone.
    pub pod: Option<String>,
    /// Take this finalizer away.
    pub finalizer: Option<String>,
    /// Delete by force what is left behind; a pod whose containers may still run only when it is named.
    pub force: bool,
}

/// A stuck pod, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unstuck {
    #[serde(flatten)]
    pub pod: StuckPod,
    /// The finalizer that was taken away.
    pub finalizer_removed: Option<String>,
    /// It was deleted without waiting for its node.
    pub deleted: bool,
}

impl Cluster {
    /// Looks for pods of the application that should be gone, and does what `unstick` asks for. Fails with `not-published` when the pod
    /// that is named is not there, or not stuck.
    pub async fn unstick(&self, unstick: &Unstick) -> Result<Vec<Unstuck>> {
        let deployment: Option<Deployment> = self.get(&unstick.name).await?;
        let mut stuck = match &deployment {
            Some(deployment) => self.stuck(deployment).await?,
            None => self.stuck_of(&self.left_pods(&unstick.name).await?).await?,
        };
        if let Some(pod) = &unstick.pod {
            stuck.retain(|stuck| &stuck.name == pod);
            if stuck.is_empty() {
                let message = format!("{} has no pod {pod} that is stuck in namespace {}", unstick.name, self.namespace);
                return Err(Problem::new(Code::NotPublished, message).hint("shipway unstick lists those that are"));
            }
        }
        let mut done = Vec::new();
        for pod in stuck {
            done.push(self.free(pod, unstick).await?);
        }
        Ok(done)
    }

    /// Pods of this Deployment that should be gone.
    pub(super) async fn stuck(&self, deployment: &Deployment) -> Result<Vec<StuckPod>> {
        self.stuck_of(&self.pods(deployment).await?).await
    }

    /// Pods of ours of an application that was removed.
    async fn left_pods(&self, name: &str) -> Result<Vec<Pod>> {
        let labels = format!("{}={},{}={MANAGER}", keys::INSTANCE, label_value(name), keys::MANAGED_BY);
        let pods = self.call(("list", "pods", &labels), self.pod_api().list(&ListParams::default().labels(&labels))).await?;
        Ok(pods.items)
    }

    /// Those of the pods that should be gone, with what their nodes and events say.
    pub(super) async fn stuck_of(&self, pods: &[Pod]) -> Result<Vec<StuckPod>> {
        let now = Timestamp::now();
        let mut stuck = Vec::new();
        for pod in pods.iter().filter(|pod| StuckPod::look(pod, None, now).is_some()) {
            let node = match node_name(pod) {
                Some(name) => Some(self.node(&name).await?),
                None => None,
            };
            if let Some(found) = StuckPod::look(pod, node, now) {
                let event = self.failed_kill(pod.metadata.uid.as_deref().unwrap_or_default()).await;
                stuck.push(StuckPod { event, ..found });
            }
        }
        Ok(stuck)
    }

    async fn node(&self, name: &str) -> Result<NodeState> {
        let api: Api<Node> = Api::all(self.client.clone());
        match self.call(("get", "nodes", name), api.get_opt(name)).await {
            Ok(node) => Ok(node_state(node.as_ref())),
            Err(problem) if problem.code == Code::ClusterForbidden => Ok(NodeState::Hidden),
            Err(problem) => Err(problem),
        }
    }

    /// Why the kubelet cannot end the pod, when it says so.
    async fn failed_kill(&self, uid: &str) -> Option<String> {
        let api: Api<CoreEvent> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid},reason=FailedKillPod"));
        let events = self.call(("list", "events", uid), api.list(&params)).await.ok()?.items;
        events.into_iter().filter_map(|event| event.message).next_back().map(|message| problem::clean(&message))
    }

    async fn free(&self, pod: StuckPod, unstick: &Unstick) -> Result<Unstuck> {
        let mut done = Unstuck { pod, finalizer_removed: None, deleted: false };
        let pod = &done.pod;
        if let Some(finalizer) = unstick.finalizer.as_ref().filter(|wanted| pod.finalizers.iter().any(|held| &held.name == *wanted)) {
            self.take_finalizer(&pod.name, finalizer).await?;
            done.finalizer_removed = Some(finalizer.clone());
        }
        let pod = &done.pod;
        // a finalizer that stays keeps it, whoever deletes it
        let free = pod.finalizers.iter().all(|held| Some(&held.name) == done.finalizer_removed.as_ref());
        if unstick.force && free && (pod.is_left_behind() || unstick.pod.is_some()) {
            let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            let action = ("delete", "pods", pod.name.as_str());
            match self.attempt(action, self.pod_api().delete(&pod.name, &params)).await? {
                Err(error) if !problem::is_not_found(&error) => return Err(problem::problem(&error, self.action(action))),
                _ => done.deleted = true,
            }
        }
        Ok(done)
    }

    /// On the version that was read: finalizers that others set meanwhile stay.
    async fn take_finalizer(&self, pod: &str, finalizer: &str) -> Result<()> {
        let action = ("patch", "pods", pod);
        loop {
            let Some(live) = self.call(("get", "pods", pod), self.pod_api().get_opt(pod)).await? else { return Ok(()) };
            let left: Vec<&String> = live.metadata.finalizers.iter().flatten().filter(|held| *held != finalizer).collect();
            let patch = json!({"metadata": {"resourceVersion": live.metadata.resource_version, "finalizers": left}});
            let params = PatchParams { field_manager: Some(MANAGER.to_string()), ..PatchParams::default() };
            match self.attempt(action, self.pod_api().patch(pod, &params, &Patch::Merge(&patch))).await? {
                Ok(_) => return Ok(()),
                Err(error) if problem::is_not_found(&error) => return Ok(()),
                Err(error) if problem::is_stale(&error) => {}
                Err(error) => return Err(problem::problem(&error, self.action(action))),
            }
        }
    }
}

//! Pods that should be gone by now: since when, why, who could let them go, and what may be done about it.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use serde::Serialize;

use super::units::format_duration;

/// Clocks differ by some seconds, and a kubelet takes some to report.
const SLACK: Duration = Duration::from_secs(10);

/// What is known of a pod's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// The cluster has no such node any longer.
    Gone,
    /// Its kubelet does not report.
    NotReady,
    Ready,
    /// The account may not look at nodes.
    Hidden,
}

/// The state of a node as the API server has it; None: there is none of that name.
pub fn node_state(node: Option<&Node>) -> NodeState {
    let Some(node) = node else { return NodeState::Gone };
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    if ready.is_some_and(|condition| condition.status == "True") { NodeState::Ready } else { NodeState::NotReady }
}

/// A finalizer with the field manager that set it, where that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finalizer {
    pub name: String,
    pub owner: Option<String>,
}

/// A pod that is still there after its grace period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StuckPod {
    pub name: String,
    /// Seconds since the end of its grace period.
    pub seconds: u64,
    pub node: Option<String>,
    /// None: it never had a node.
    pub node_state: Option<NodeState>,
    pub finalizers: Vec<Finalizer>,
    /// Containers that have not ended.
    pub running: Vec<String>,
    /// What the kubelet says of its trouble, when it does.
    pub event: Option<String>,
}

impl StuckPod {
    /// Looks at a pod; None when it is not being deleted, or not late. The deletion time has the grace period in it already.
    pub fn look(pod: &Pod, node: Option<NodeState>, now: Timestamp) -> Option<StuckPod> {
        let over = pod.metadata.deletion_timestamp.as_ref()?.0;
        let late = Duration::try_from(now.duration_since(over)).unwrap_or_default();
        if late <= SLACK {
            return None;
        }
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
        let running = statuses.filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
        Some(StuckPod {
            name: pod.metadata.name.clone().unwrap_or_default(),
            seconds: late.as_secs(),
            node: node_name(pod),
            node_state: node,
            finalizers: finalizers(&pod.metadata),
            running: running.map(|status| status.name.clone()).collect(),
            event: None,
        })
    }

    /// Whether no container of it can run any longer, so that deleting it by force doubles nothing.
    pub fn is_left_behind(&self) -> bool {
        matches!(self.node_state, None | Some(NodeState::Gone))
    }

    /// Why it is still there, in a phrase.
    pub fn reason(&self) -> String {
        let node = self.node.as_deref().unwrap_or_default();
        let mut reasons = Vec::new();
        match &self.node_state {
            Some(NodeState::Gone) => reasons.push(format!("its node {node} is gone")),
            Some(NodeState::NotReady) => reasons.push(format!("its node {node} does not report")),
            None => reasons.push("it never had a node".to_string()),
            Some(NodeState::Ready | NodeState::Hidden) => {}
        }
        for Finalizer { name, owner } in &self.finalizers {
            let owner = owner.as_ref().map(|owner| format!(", set by {owner}")).unwrap_or_default();
            reasons.push(format!("finalizer {name}{owner}"));
        }
        if reasons.is_empty() && !self.running.is_empty() {
            reasons.push(format!("container {} has not ended", self.running.join(", ")));
        }
        reasons.extend(self.event.clone());
        if reasons.is_empty() { "the kubelet has not confirmed its end".to_string() } else { reasons.join("; ") }
    }

    /// One sentence that names pod, node and reason.
    pub fn words(&self) -> String {
        let node = self.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        let since = format_duration(Duration::from_secs(self.seconds));
        format!("pod {}{node} is still terminating {since} after its grace period: {}", self.name, self.reason())
    }

    /// What the owner can do.
    pub fn hint(&self) -> String {
        let Some(Finalizer { name, owner }) = self.finalizers.first() else {
            return match self.is_left_behind() {
                true => "shipway unstick --force deletes it".to_string(),
                false => format!("look at the node; shipway unstick --pod {} --force deletes the pod whatever still runs of it", self.name),
            };
        };
        let who = owner.as_ref().map_or("see who keeps it".to_string(), |owner| format!("see why {owner} does not let it go"));
        // without its node nobody confirms the pod's end once the finalizer is gone
        let force = if self.is_left_behind() { " --force" } else { "" };
        format!("{who}; shipway unstick --finalizer {name}{force} takes the finalizer away")
    }
}

/// The node that a pod was given.
pub fn node_name(pod: &Pod) -> Option<String> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|name| !name.is_empty())
}

fn finalizers(metadata: &ObjectMeta) -> Vec<Finalizer> {
    let names = metadata.finalizers.iter().flatten();
    names.map(|name| Finalizer { name: name.clone(), owner: owner(metadata, name) }).collect()
}

/// The field manager whose fields hold this finalizer.
fn owner(metadata: &ObjectMeta, finalizer: &str) -> Option<String> {
    let key = format!("v:\"{finalizer}\"");
    let entries = metadata.managed_fields.iter().flatten();
    let holds = |fields: &serde_json::Value| {
        fields.get("f:metadata").and_then(|metadata| metadata.get("f:finalizers")).is_some_and(|held| held.get(&key).is_some())
    };
    entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| holds(&fields.0))).find_map(|entry| entry.manager.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-01-02T03:05:00Z";

    fn pod(finalizers: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "deletionTimestamp": "2026-01-02T03:04:00Z", "finalizers": finalizers,
                "managedFields": [{"manager": "mesh", "operation": "Update", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:metadata": {"f:finalizers": {".": {}, "v:\"mesh.test/drain\"": {}}}}}]},
            "spec": {"nodeName": "node-1", "containers": []},
            "status": {"containerStatuses": [{"name": "app", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"running": {}}}]},
        }))
        .unwrap()
    }

    fn look(pod: &Pod, node: NodeState) -> StuckPod {
        StuckPod::look(pod, Some(node), NOW.parse().unwrap()).unwrap()
    }

    #[test]
    fn only_what_is_late_is_stuck() {
        let pod = pod(json!([]));
        let at = |time: &str| StuckPod::look(&pod, None, time.parse().unwrap());
        assert!(at("2026-01-02T03:03:40Z").is_none() && at("2026-01-02T03:04:09Z").is_none());
        assert_eq!(at(NOW).unwrap().seconds, 60);
        assert!(StuckPod::look(&Pod::default(), None, NOW.parse().unwrap()).is_none(), "it is not being deleted");
    }

    #[test]
    fn a_finalizer_names_its_owner() {
        let stuck = look(&pod(json!(["mesh.test/drain", "other.test/x"])), NodeState::Ready);
        assert_eq!(stuck.finalizers[0].owner.as_deref(), Some("mesh"));
        assert_eq!(stuck.finalizers[1].owner, None);
        assert_eq!(
            stuck.words(),
            "pod web-1 on node node-1 is still terminating 1m after its grace period: finalizer mesh.test/drain, set by mesh; finalizer other.test/x"
        );
        assert!(stuck.hint().contains("mesh") && stuck.hint().contains("--finalizer mesh.test/drain"), "{}", stuck.hint());
    }

    #[test]
    fn force_is_proposed_only_where_nothing_can_run() {
        let gone = look(&pod(json!([])), NodeState::Gone);
        assert!(gone.is_left_behind() && gone.reason() == "its node node-1 is gone" && gone.hint().contains("unstick --force"));
        for state in [NodeState::NotReady, NodeState::Ready, NodeState::Hidden] {
            let stuck = look(&pod(json!([])), state);
            assert!(!stuck.is_left_behind() && stuck.hint().contains("--pod web-1"), "{}", stuck.hint());
        }
        assert_eq!(look(&pod(json!([])), NodeState::Ready).reason(), "container app has not ended");
    }

    #[test]
    fn nodes_are_judged_by_their_condition() {
        let node = |status: &str| serde_json::from_value(json!({"status": {"conditions": [{"type": "Ready", "status": status}]}})).unwrap();
        assert_eq!(node_state(None), NodeState::Gone);
        assert_eq!(node_state(Some(&node("True"))), NodeState::Ready);
        assert_eq!(node_state(Some(&node("Unknown"))), NodeState::NotReady);
        assert_eq!(node_state(Some(&Node::default())), NodeState::NotReady);
    }
}

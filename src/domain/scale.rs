//! A number of pods that somebody asked for by hand: it stands above the settings until it is reset, and every publish says so.

use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use serde::{Deserialize, Serialize};

use super::manifests::{Objects, keys};

/// A manual scale, as the Deployment carries it in its annotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    pub to: i32,
    /// The number before the first manual scale, which a reset goes back to when the settings name none.
    pub from: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// RFC 3339.
    pub at: String,
}

impl Scale {
    /// `scaled by hand to 5 by Grace at 2026-01-02T03:04:05Z`.
    pub fn words(&self) -> String {
        let by = self.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let at = self.at.get(..16).unwrap_or(&self.at).replace('T', " ");
        format!("scaled by hand to {}{by} ({at})", self.to)
    }
}

/// The manual scale of a live Deployment; one that cannot be read is none.
pub fn manual(deployment: &Deployment) -> Option<Scale> {
    serde_json::from_str(deployment.metadata.annotations.as_ref()?.get(keys::SCALE)?).ok()
}

/// Makes the objects of a publish keep a manual scale: the live number stays, an autoscaler's bounds hold it.
pub fn keep(objects: &mut Objects, scale: &Scale) {
    if let Some(spec) = objects.deployment.spec.as_mut() {
        spec.replicas = None;
    }
    if let Some(autoscaler) = objects.autoscaler.as_mut() {
        bound(autoscaler, scale.to);
    }
}

/// At least so many pods: the lower bound, and the upper one when it was below. An autoscaler rests while the number is 0, so that its
/// bounds stay.
pub fn bound(autoscaler: &mut HorizontalPodAutoscaler, to: i32) {
    if to > 0 {
        autoscaler.spec.min_replicas = Some(to);
        autoscaler.spec.max_replicas = autoscaler.spec.max_replicas.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn autoscaler(min: i32, max: i32) -> HorizontalPodAutoscaler {
        let mut autoscaler = HorizontalPodAutoscaler::default();
        (autoscaler.spec.min_replicas, autoscaler.spec.max_replicas) = (Some(min), max);
        autoscaler
    }

    fn bounds(to: i32) -> (Option<i32>, i32) {
        let mut autoscaler = autoscaler(2, 6);
        bound(&mut autoscaler, to);
        (autoscaler.spec.min_replicas, autoscaler.spec.max_replicas)
    }

    #[test]
    fn an_autoscaler_keeps_at_least_the_number() {
        assert_eq!(bounds(4), (Some(4), 6));
        assert_eq!(bounds(9), (Some(9), 9));
        assert_eq!(bounds(1), (Some(1), 6));
        assert_eq!(bounds(0), (Some(2), 6), "it rests by itself");
    }

    #[test]
    fn a_publish_leaves_the_number_alone() {
        let mut deployment = Deployment::default();
        deployment.spec.get_or_insert_default().replicas = Some(3);
        let mut objects = Objects { autoscaler: Some(autoscaler(2, 6)), ..Objects::of(deployment) };
        keep(&mut objects, &Scale { to: 8, ..Scale::default() });
        assert_eq!(objects.deployment.spec.unwrap().replicas, None);
        assert_eq!(objects.autoscaler.unwrap().spec.max_replicas, 8);
    }

    #[test]
    fn it_reads_back_as_written() {
        let scale = Scale { to: 5, from: 2, by: Some("Grace".into()), at: "2026-01-02T03:04:05Z".into() };
        let mut deployment = Deployment::default();
        assert_eq!(manual(&deployment), None);
        let text = serde_json::to_string(&scale).unwrap();
        deployment.metadata.annotations.get_or_insert_default().insert(keys::SCALE.to_string(), text);
        assert_eq!(manual(&deployment).as_ref(), Some(&scale));
        assert_eq!(scale.words(), "scaled by hand to 5 by Grace (2026-01-02 03:04)");
        deployment.metadata.annotations.get_or_insert_default().insert(keys::SCALE.to_string(), "5".to_string());
        assert_eq!(manual(&deployment), None);
    }
}

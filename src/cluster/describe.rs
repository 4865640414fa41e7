//! What runs, as settings that reproduce it.

use super::{apply::application_of, connect::Cluster};
use crate::domain::{
    problem::{Code, Problem, Result},
    reproduce::{Running, shipway_yaml},
    workload::Workload,
};

impl Cluster {
    /// The `shipway.yaml` of what runs under the workload's name; of the workload only its names count.
    /// Fails with `not-published` when there is no such Deployment.
    pub async fn settings_of(&self, workload: &Workload) -> Result<String> {
        let live = self.live(&workload.name).await?;
        let Some(deployment) = &live.deployment else {
            let message = format!("there is no deployment {} in namespace {}", workload.name, self.namespace);
            return Err(Problem::new(Code::NotPublished, message).hint("name it by --set kubernetes.name=… and kubernetes.namespace=…"));
        };
        let container = match &workload.container {
            Some(container) => container.clone(),
            None => application_of(workload, deployment)?,
        };
        shipway_yaml(&Running {
            namespace: &self.namespace,
            name: &workload.name,
            container: &container,
            deployment,
            service: live.service.as_ref(),
            autoscaler: live.autoscaler.as_ref(),
            disruption: live.disruption.as_ref(),
        })
    }
}

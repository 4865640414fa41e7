//! What tells the releases of the soak apart, in everything that belongs to a release: each number has its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service, policy::v1::PodDisruptionBudget};
use kube::api::{Patch, PatchParams};
use shipway::domain::{
    digest::Digest,
    reference::ImageReference,
    release::Release,
    workload::{Disruption, Security, ServicePort, Workload},
};

use super::{
    ground::{Ground, image},
    releases::config,
};

/// Image, variable, port of the Service, whether there is a budget, the mounted configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Print {
    image: String,
    number: String,
    port: Option<i32>,
    budget: bool,
    config: Option<String>,
}

/// SplitMix64: a seed gives the same choices, though not the same timing.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }
}

/// Whether the pods of this number are refused by the namespace: every fifth is a broken release.
pub fn is_broken(number: u64) -> bool {
    number % 5 == 4
}

/// An image that only the publish of this number has.
fn image_of(number: u64) -> ImageReference {
    let digest: Digest = format!("sha256:{number:064x}").parse().unwrap();
    image("1").with_digest(&digest)
}

/// What the publish of this number brings.
pub fn workload_of(ground: &Ground, name: &str, number: u64) -> Workload {
    let mut workload = ground.workload("1");
    (workload.name, workload.app, workload.image) = (name.to_string(), name.to_string(), image_of(number));
    workload.env.insert("NUMBER".to_string(), number.to_string());
    workload.service = Some(ServicePort { port: 8000 + u16::try_from(number % 3).unwrap(), kind: "ClusterIP".to_string() });
    workload.disruption = number.is_multiple_of(2).then(|| Disruption { max_unavailable: Some("1".to_string()), min_available: None });
    workload.config = config(false, &format!("mode: {}", number % 4));
    if is_broken(number) {
        workload.security = Security::Off;
    }
    workload
}

pub fn print_of(ground: &Ground, name: &str, number: u64) -> Print {
    let workload = workload_of(ground, name, number);
    Print {
        image: workload.image.to_string(),
        number: number.to_string(),
        port: workload.service.map(|service| i32::from(service.port)),
        budget: workload.disruption.is_some(),
        config: workload.config.map(|config| config.reference(name).name),
    }
}

fn print(deployment: &Deployment, service: Option<&Service>, budget: bool) -> Print {
    let pod = deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let number = pod.containers[0].env.iter().flatten().find(|variable| variable.name == "NUMBER");
    let config = pod.volumes.iter().flatten().find_map(|volume| volume.config_map.as_ref()).map(|map| map.name.clone());
    Print {
        image: pod.containers[0].image.clone().unwrap_or_default(),
        number: number.and_then(|variable| variable.value.clone()).unwrap_or_default(),
        port: service.and_then(|service| Some(service.spec.as_ref()?.ports.as_ref()?.first()?.port)),
        budget,
        config,
    }
}

pub fn print_of_record(release: &Release) -> Print {
    print(&release.deployment, release.service.as_ref(), release.disruption.is_some())
}

/// Of what is live; a run that was killed may have left the Service and the budget of one release beside the pods of another, so that
/// without `all` those of `like` are put in.
pub async fn print_of_live(ground: &Ground, deployment: &Deployment, like: &Print, all: bool) -> Print {
    let name = deployment.metadata.name.as_deref().unwrap();
    let service = ground.api::<Service>().await.get_opt(name).await.unwrap();
    let budget = ground.api::<PodDisruptionBudget>().await.get_opt(name).await.unwrap();
    let found = print(deployment, service.as_ref(), budget.is_some());
    if all { found } else { Print { port: like.port, budget: like.budget, ..found } }
}

/// Applied once more, the record changes nothing of the pods: every field is as it says.
pub async fn is_as_recorded(ground: &Ground, live: &Deployment, record: &Release) -> bool {
    let mut again = record.deployment.clone();
    again.spec.as_mut().unwrap().replicas = live.spec.as_ref().unwrap().replicas;
    let params = PatchParams { dry_run: true, force: true, field_manager: Some("shipway".to_string()), ..PatchParams::default() };
    let name = live.metadata.name.as_deref().unwrap();
    let applied = ground.api::<Deployment>().await.patch(name, &params, &Patch::Apply(&again)).await.unwrap();
    applied.spec.unwrap().template == live.spec.as_ref().unwrap().template
}

/// How well the machine keeps up: a lock may be lost where neither it nor the API server does anything for seconds, and only there.
#[derive(Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Beats until it is dropped with its runtime.
    pub async fn beat(&self, ground: &Ground) {
        let api = ground.api::<Deployment>().await;
        loop {
            let begun = Instant::now();
            let _ = api.get_metadata_opt("nobody").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.0.fetch_max(u64::try_from(begun.elapsed().as_millis()).unwrap(), Ordering::SeqCst);
        }
    }

    /// Whether a beat took so long that a lock of this life may have been lost.
    pub fn missed(&self, ttl: Duration) -> bool {
        Duration::from_millis(self.0.load(Ordering::SeqCst)) > ttl / 2
    }
}

//! What the publish tests stand on: a namespace of their own, the small web server's images, an account with the delivered Role.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{Api, ListParams};
use shipway::{
    cluster::{self, Cluster, Publish, Released, Rollback, Target},
    domain::{
        event::{Event, Events},
        problem::Result,
        reference::ImageReference,
        workload::{Probe, Probes, Resources, Rolling, Security, ServicePort, Timing, Workload},
    },
};
use tokio_util::sync::CancellationToken;

use crate::support::lab::{Namespace, lab};

pub const NAME: &str = "web";
const TIMING: Timing = Timing { period: 1, timeout: 1, failure_threshold: 30 };

/// A namespace, a publisher in it, and all events of its runs.
pub struct Ground {
    pub namespace: Namespace,
    pub events: Events,
    seen: Arc<Mutex<Vec<Event>>>,
    pub folder: tempfile::TempDir,
}

impl Ground {
    pub fn new(test: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let events = Events::new(move |event| sink.lock().unwrap().push(event));
        Ground { namespace: lab().namespace(test), events, seen, folder: tempfile::tempdir().unwrap() }
    }

    pub fn target(&self) -> Target {
        Target { kubeconfig: vec![self.namespace.kubeconfig.clone()], ..Target::default() }
    }

    /// As the account with the delivered Role.
    pub async fn cluster(&self) -> Cluster {
        cluster::connect(&self.target(), &self.namespace.name).await.unwrap()
    }

    pub async fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(lab().client().await, &self.namespace.name)
    }

    pub fn workload(&self, tag: &str) -> Workload {
        Workload {
            app: NAME.to_string(),
            line: "trade".to_string(),
            environment: Some("test".to_string()),
            namespace: self.namespace.name.clone(),
            name: NAME.to_string(),
            image: image(tag),
            version: tag.to_string(),
            port: 8080,
            replicas: None,
            jvm: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            resources: Resources { requests: quantities(&[("cpu", "10m"), ("memory", "16Mi")]), limits: quantities(&[("memory", "64Mi")]) },
            probes: Probes {
                startup: Some(Probe::Tcp { port: 8080, timing: TIMING }),
                readiness: Some(Probe::Http { path: "/health".to_string(), port: 8080, timing: Timing { failure_threshold: 3, ..TIMING } }),
                liveness: None,
            },
            rolling: Rolling {
                max_surge: "1".to_string(),
                max_unavailable: "0".to_string(),
                min_ready_seconds: 0,
                timeout: Duration::from_secs(90),
                drain: Duration::from_secs(1),
            },
            service: Some(ServicePort { port: 80, kind: "ClusterIP".to_string() }),
            autoscale: None,
            security: Security::Restricted,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            service_account: None,
            pull_secret: None,
            user: Some(10001),
            image_has_sleep: false,
        }
    }

    pub fn publish_of(&self, workload: Workload, number: u64) -> Publish {
        Publish {
            workload,
            commit: Some("1a2b3c4d5e6f".to_string()),
            author: Some("Ada".to_string()),
            job_url: Some(format!("https://ci.test/jobs/{number}")),
            sequence: ("gitlab".to_string(), number),
            create_namespace: false,
            adopt: false,
            force_conflicts: false,
            preflight: true,
            pull_secret: None,
            lock_wait: Duration::from_secs(20),
            lock_ttl: Duration::from_secs(5),
            holder: format!("https://ci.test/jobs/{number}"),
            evidence: self.folder.path().join("pods"),
        }
    }

    pub fn rollback_of(&self, to: Option<u64>) -> Rollback {
        Rollback {
            name: NAME.to_string(),
            to,
            timeout: Duration::from_secs(60),
            author: Some("Grace".to_string()),
            job_url: None,
            lock_wait: Duration::from_secs(20),
            lock_ttl: Duration::from_secs(5),
            holder: "grace@shell".to_string(),
            evidence: self.folder.path().join("pods"),
        }
    }

    pub async fn publish(&self, publish: &Publish) -> Result<Released> {
        self.cluster().await.publish(publish, &self.events, &CancellationToken::new()).await
    }

    /// Publishes the image of this tag.
    pub async fn publish_tag(&self, tag: &str, number: u64) -> Result<Released> {
        self.publish(&self.publish_of(self.workload(tag), number)).await
    }

    pub async fn deployment(&self) -> Deployment {
        self.api::<Deployment>().await.get(NAME).await.unwrap()
    }

    /// Images of the pods that run and are not going.
    pub async fn running(&self) -> Vec<String> {
        let pods = self.api::<Pod>().await.list(&ListParams::default()).await.unwrap().items;
        let stay = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        stay.filter_map(|pod| pod.spec?.containers.first()?.image.clone()).collect()
    }

    pub async fn pod_names(&self) -> Vec<String> {
        let pods = self.api::<Pod>().await.list(&ListParams::default()).await.unwrap().items;
        let stay = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        stay.filter_map(|pod| pod.metadata.name).collect()
    }

    /// Takes the events that came since the last call.
    pub fn said(&self) -> Vec<Event> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    pub fn notes(&self) -> Vec<String> {
        let words = |event| match event {
            Event::Note { text } | Event::Warning { text, .. } => Some(text),
            _ => None,
        };
        self.said().into_iter().filter_map(words).collect()
    }
}

/// The small web server's image by digest.
pub fn image(tag: &str) -> ImageReference {
    let reference: ImageReference = lab().web(tag).parse().unwrap();
    let url = format!("http://{}/v2/{}/manifests/{tag}", reference.registry, reference.repository);
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
    let output = std::process::Command::new("curl").args(["-fsSI", "-H", accept, &url]).output().unwrap();
    let head = String::from_utf8(output.stdout).unwrap().to_lowercase();
    let digest = head.lines().find_map(|line| line.strip_prefix("docker-content-digest:")).expect(&url).trim().parse().unwrap();
    reference.with_digest(&digest)
}

pub fn quantities(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, amount)| ((*name).to_string(), (*amount).to_string())).collect()
}

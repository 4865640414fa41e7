//! What the publish tests stand on: a namespace of their own, the small web server's images, an account with the delivered Role.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{Api, ListParams};
use shipway::{
    cluster::{self, Cluster, Errand, Publish, Released, Rollback, Target},
    domain::{
        event::{Event, Events},
        problem::Result,
        reference::ImageReference,
        rollout::Budgets,
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
        Ground::of(lab().namespace(test))
    }

    /// All pods are pretended: ready at once, whatever their image.
    pub async fn pretended(test: &str) -> Self {
        Ground::of(lab().pretended_namespace(test).await)
    }

    fn of(namespace: Namespace) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let events = Events::new(move |event| sink.lock().unwrap().push(event));
        Ground { namespace, events, seen, folder: tempfile::tempdir().unwrap() }
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
            platforms: vec!["linux/amd64".to_string()],
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
                budgets: Budgets::default(),
            },
            service: Some(ServicePort { port: 80, kind: "ClusterIP".to_string() }),
            autoscale: None,
            disruption: None,
            config: None,
            security: Security::Restricted,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            service_account: None,
            pull_secret: None,
            user: Some(10001),
            container: None,
            given: shipway::domain::workload::Given::All,
            custom: shipway::domain::custom::Custom::default(),
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
            back_timeout: Duration::from_secs(60),
            history: 10,
        }
    }

    pub fn rollback_of(&self, to: Option<u64>) -> Rollback {
        Rollback { errand: self.errand(), to }
    }

    /// A change by Grace, in a shell.
    pub fn errand(&self) -> Errand {
        Errand {
            name: NAME.to_string(),
            timeout: Duration::from_secs(60),
            budgets: Budgets::default(),
            history: 10,
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

/// The small web server's image with another program to start, in the same repository.
pub async fn image_that_starts(program: &str) -> ImageReference {
    let source = image("1");
    let base = format!("http://{}/v2/{}", source.registry, source.repository);
    let http = reqwest::Client::new();
    let get = async |path: String, accept: &str| {
        let answer = http.get(format!("{base}/{path}")).header("accept", accept).send().await.unwrap();
        answer.error_for_status().unwrap().json::<serde_json::Value>().await.unwrap()
    };
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let mut manifest = get(format!("manifests/{}", source.digest.as_ref().unwrap()), media_type).await;
    let mut config = get(format!("blobs/{}", manifest["config"]["digest"].as_str().unwrap()), "*/*").await;
    config["config"]["Entrypoint"] = serde_json::json!([program]);
    let config = config.to_string();
    let digest = format!("sha256:{}", hex(&config));
    let upload = http.post(format!("{base}/blobs/uploads/")).send().await.unwrap();
    let location = upload.headers()["location"].to_str().unwrap();
    let separator = if location.contains('?') { '&' } else { '?' };
    let put = http.put(format!("{location}{separator}digest={digest}")).body(config.clone()).send().await.unwrap();
    put.error_for_status().unwrap();
    manifest["config"]["digest"] = digest.into();
    manifest["config"]["size"] = config.len().into();
    let manifest = manifest.to_string();
    let tag = crate::support::unique("entrypoint");
    let put = http.put(format!("{base}/manifests/{tag}")).header("content-type", media_type).body(manifest.clone());
    put.send().await.unwrap().error_for_status().unwrap();
    source.with_digest(&format!("sha256:{}", hex(&manifest)).parse().unwrap())
}

fn hex(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

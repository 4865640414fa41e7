//! What the publish tests stand on: a namespace of their own, the small web server's images, an account with the delivered Role.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::api::{Api, ListParams};
use serde_json::json;
use shipway::{
    cluster::{self, Cluster, Errand, Publish, Released, Rollback, Target},
    domain::{
        custom::{Custom, File},
        event::{Event, Events},
        problem::Result,
        reference::ImageReference,
        release::Release,
        rollout::Budgets,
        workload::{Probe, Probes, Resources, Rolling, Security, ServicePort, Timing, Workload},
    },
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    lab::{Namespace, lab},
    shipway::{Shipway, shipway},
};

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
        workload(&self.namespace.name, tag)
    }

    pub fn publish_of(&self, workload: Workload, number: u64) -> Publish {
        publish_of(workload, number, self.folder.path())
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
            preflight: true,
            lock_wait: Duration::from_secs(20),
            lock_ttl: Duration::from_secs(5),
            holder: "grace@shell".to_string(),
            evidence: self.folder.path().join("pods"),
        }
    }

    /// The binary in the ground's folder, as the account with the delivered Role.
    pub fn binary(&self, arguments: &[&str]) -> Shipway {
        let run = shipway(self.folder.path()).args(arguments).env("KUBECONFIG", &self.namespace.kubeconfig).env("SHIPWAY_APP", NAME);
        run.env("SHIPWAY_KUBERNETES_NAMESPACE", &self.namespace.name).env("SHIPWAY_REGISTRY_INSECURE", "true")
    }

    pub async fn publish(&self, publish: &Publish) -> Result<Released> {
        self.cluster().await.publish(publish, &self.events, &CancellationToken::new()).await
    }

    /// Publishes the image of this tag.
    pub async fn publish_tag(&self, tag: &str, number: u64) -> Result<Released> {
        self.publish(&self.publish_of(self.workload(tag), number)).await
    }

    /// Its release records, oldest first.
    pub async fn records(&self) -> Vec<Release> {
        let maps = self.api::<ConfigMap>().await.list(&ListParams::default().labels("shipway.dev/record=release")).await.unwrap();
        let mut read: Vec<Release> = maps.items.iter().map(|map| serde_json::from_str(&record(map)).unwrap()).collect();
        read.sort_by_key(|release| release.revision);
        read
    }

    pub async fn deployment(&self) -> Deployment {
        self.api::<Deployment>().await.get(NAME).await.unwrap()
    }

    /// Images of the pods that run and are not going.
    pub async fn running(&self) -> Vec<String> {
        let pods = self.api::<Pod>().await.list(&ListParams::default()).await.unwrap().items;
        let ended = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed");
        let stay = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && !ended(pod));
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

/// The text of a release record, as people get it by `base64 -d | gunzip`.
pub fn record(map: &ConfigMap) -> String {
    let packed = &map.binary_data.as_ref().unwrap()["release.json.gz"];
    std::io::read_to_string(flate2::read::GzDecoder::new(packed.0.as_slice())).unwrap()
}

/// The small web server in this namespace.
pub fn workload(namespace: &str, tag: &str) -> Workload {
    Workload {
        app: NAME.to_string(),
        line: "trade".to_string(),
        environment: Some("test".to_string()),
        namespace: namespace.to_string(),
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
        pushed: None,
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

/// The publish of this workload by a pipeline of this number; what its pods say goes to a folder in `folder`.
pub fn publish_of(workload: Workload, number: u64, folder: &Path) -> Publish {
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
        center: None,
        lock_wait: Duration::from_secs(20),
        lock_ttl: Duration::from_secs(5),
        holder: format!("https://ci.test/jobs/{number}"),
        evidence: folder.join("pods"),
        back_timeout: Duration::from_secs(60),
        history: 10,
    }
}

/// The small web server's image by digest; the registry is asked once for each.
pub fn image(tag: &str) -> ImageReference {
    static KNOWN: Mutex<BTreeMap<String, ImageReference>> = Mutex::new(BTreeMap::new());
    KNOWN.lock().unwrap().entry(tag.to_string()).or_insert_with(|| resolved(tag)).clone()
}

fn resolved(tag: &str) -> ImageReference {
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

/// Adds a patch of the user's own to the generated objects.
pub fn patched(workload: &mut Workload, patch: serde_json::Value) {
    let file = File { path: "deploy/patch.yaml".to_string(), text: patch.to_string() };
    workload.custom = Custom::read(&[], &[file], &workload.namespace).unwrap();
}

/// The small web server's image with another program to start, in the same repository.
pub async fn image_that_starts(program: &str) -> ImageReference {
    let repository = Repository::of(&image("1"));
    let mut manifest = repository.manifest(&image("1").digest.unwrap().to_string()).await;
    let mut config = repository.json(&format!("blobs/{}", manifest["config"]["digest"].as_str().unwrap()), "*/*").await;
    config["config"]["Entrypoint"] = json!([program]);
    manifest["config"] = repository.blob(config.to_string().into_bytes(), &manifest["config"]["mediaType"]).await;
    repository.put(manifest).await
}

/// The lab's base image of that Java with one class, which it starts.
pub async fn java_image(java: u32, class: &Path) -> ImageReference {
    let base: ImageReference = lab().base(java).parse().unwrap();
    let repository = Repository::of(&base);
    let index = repository.manifest(base.tag.as_deref().unwrap()).await;
    let of_ours = |entry: &&serde_json::Value| entry["platform"]["architecture"] == "amd64";
    let entry = index["manifests"].as_array().unwrap().iter().find(of_ours).unwrap();
    let mut manifest = repository.manifest(entry["digest"].as_str().unwrap()).await;
    let mut config = repository.json(&format!("blobs/{}", manifest["config"]["digest"].as_str().unwrap()), "*/*").await;
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name(class, Path::new("app").join(class.file_name().unwrap())).unwrap();
    let layer = tar.into_inner().unwrap();
    config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(digest(&layer).into());
    config["config"]["Entrypoint"] = json!(["java", "-cp", "/app", class.file_stem().unwrap().to_str().unwrap()]);
    manifest["layers"].as_array_mut().unwrap().push(repository.blob(layer, &"application/vnd.oci.image.layer.v1.tar".into()).await);
    manifest["config"] = repository.blob(config.to_string().into_bytes(), &manifest["config"]["mediaType"]).await;
    repository.put(manifest).await
}

/// One repository of the open registry, spoken to by HTTP alone.
struct Repository {
    of: ImageReference,
    base: String,
    http: reqwest::Client,
}

impl Repository {
    fn of(image: &ImageReference) -> Self {
        let base = format!("http://{}/v2/{}", image.registry, image.repository);
        Repository { of: image.clone(), base, http: reqwest::Client::new() }
    }

    async fn json(&self, path: &str, accept: &str) -> serde_json::Value {
        let answer = self.http.get(format!("{}/{path}", self.base)).header("accept", accept).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    async fn manifest(&self, reference: &str) -> serde_json::Value {
        self.json(&format!("manifests/{reference}"), "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json")
            .await
    }

    /// Uploads a blob; gives its descriptor.
    async fn blob(&self, content: Vec<u8>, media_type: &serde_json::Value) -> serde_json::Value {
        let (digest, size) = (digest(&content), content.len());
        let upload = self.http.post(format!("{}/blobs/uploads/", self.base)).send().await.unwrap();
        let location = upload.headers()["location"].to_str().unwrap();
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = self.http.put(format!("{location}{separator}digest={digest}")).body(content).send().await.unwrap();
        put.error_for_status().unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    /// Uploads a manifest under a name of its own; gives its reference by digest.
    async fn put(&self, manifest: serde_json::Value) -> ImageReference {
        let media_type = manifest["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json").to_string();
        let manifest = manifest.to_string();
        let tag = crate::support::unique("made");
        let put = self.http.put(format!("{}/manifests/{tag}", self.base)).header("content-type", media_type).body(manifest.clone());
        put.send().await.unwrap().error_for_status().unwrap();
        self.of.with_digest(&digest(manifest.as_bytes()).parse().unwrap())
    }
}

fn digest(content: &[u8]) -> String {
    use sha2::Digest;
    let hex: String = sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

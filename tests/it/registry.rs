//! The registry client against a real registry, and against one that has bad days.

mod auth;
mod faults;
mod helpers;
mod hostile;
mod logins;
mod patience;
mod tls;
mod traffic;

use std::{path::Path, process::Command, time::Duration};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use shipway::{
    domain::{
        digest::Digest,
        event::{Event, Events, LayerRole, Transfer},
        problem::{Code, Problem},
        reference::ImageReference,
        secret::{Credentials, Secret},
    },
    net,
    registry::{Access, Blob, Client, Content, Manifest, Push, Pushed},
};

use crate::support::{block_on, registry::Registry};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const USER: &str = "deployer";
const PASSWORD: &str = "sekret/word+1";

/// Bytes that are the same each time and do not repeat.
fn content(seed: u64, size: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

fn blob(bytes: Bytes) -> Blob {
    let digest = Digest::from_sha256(&Sha256::digest(&bytes));
    Blob { digest, size: bytes.len() as u64, role: LayerRole::Application, content: Content::Bytes(bytes) }
}

/// An image of these layers; its config names the first of them, so that it differs with them.
fn image(target: &ImageReference, layers: Vec<Blob>) -> Push {
    let config = blob(serde_json::json!({"architecture": "amd64", "os": "linux", "of": layers[0].digest}).to_string().into());
    let descriptor = |media_type: &str, blob: &Blob| serde_json::json!({"mediaType": media_type, "digest": blob.digest, "size": blob.size});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers.iter().map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)).collect::<Vec<_>>(),
    });
    let manifests = vec![manifest_of(MANIFEST, &manifest.to_string())];
    let blobs = layers.into_iter().chain([config]).collect();
    Push { target: target.clone(), extra_tags: Vec::new(), blobs, manifests, instead: None, look: None }
}

fn manifest_of(media_type: &str, text: &str) -> Manifest {
    let bytes = Bytes::from(text.to_string());
    Manifest { media_type: media_type.to_string(), digest: Digest::from_sha256(&Sha256::digest(&bytes)), bytes }
}

/// Retries without long waits.
fn options() -> net::Options {
    net::install_crypto();
    let retry = net::retry::Policy { base: Duration::from_millis(20), attempts: 4, ..Default::default() };
    net::Options { retry, ..net::Options::default() }
}

fn access(host: &str, username: &str, password: &str) -> Access {
    let credentials = Some(Credentials { username: username.to_string(), password: Secret::new(password) });
    Access { prefix: host.to_string(), credentials, credentials_source: "registry.username".to_string(), ..Access::default() }
}

fn client(accesses: Vec<Access>) -> Client {
    Client::new(options(), accesses).unwrap()
}

/// The push after a look at an earlier image.
fn push_after(client: &Client, push: &Push, earlier: ImageReference) -> Result<Pushed, Problem> {
    block_on(async {
        let look = client.look(&push.target, &[earlier], &[]).await?;
        client.push(&Push { look: Some(look), ..push.clone() }, &Events::none()).await
    })
}

fn push(client: &Client, push: &Push) -> Result<Pushed, Problem> {
    block_on(client.push(push, &Events::none()))
}

fn skopeo(reference: &ImageReference) -> serde_json::Value {
    let name = format!("docker://{reference}");
    let output = Command::new("skopeo").args(["inspect", "--tls-verify=false", &name]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_is_pushed_can_be_pulled_and_skopeo_reads_it() {
    let registry = Registry::start();
    let client = client(vec![]);
    let target = registry.image("trade/order:1");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("layer");
    let bytes = content(2, 3 << 20);
    std::fs::write(&file, &bytes).unwrap();
    let from_file = Blob { content: Content::File(file), ..blob(bytes.clone()) };
    let mut image = image(&target, vec![blob(content(1, 5000)), from_file.clone(), from_file.clone()]);
    image.extra_tags = vec!["latest".to_string(), "1".to_string()];
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = seen.clone();
    let events = Events::new(move |event| sink.lock().unwrap().push(event));
    let pushed = block_on(client.push(&image, &events)).unwrap();
    assert_eq!(pushed.digest, image.manifests[0].digest);
    assert_eq!(pushed.transfers, [Transfer::Sent; 4]);
    assert_eq!(pushed.bytes_sent, image.blobs[0].size + image.blobs[1].size + image.blobs[3].size);
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen.iter().filter(|event| matches!(event, Event::Layer { transfer: Transfer::Sent, .. })).count(),
        2,
        "a config is no layer"
    );
    let names: Vec<_> = seen
        .iter()
        .filter_map(|event| if let Event::ImagePushed { reference, .. } = event { Some(reference.clone()) } else { None })
        .collect();
    assert_eq!(names, [target.to_string(), target.with_tag("latest").to_string()]);
    let sink = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = sink.clone();
    let events = Events::new(move |event| notes.lock().unwrap().push(event));
    assert_eq!(block_on(client.push(&image, &events)).unwrap().bytes_sent, 0);
    let seen_again = sink.lock().unwrap();
    assert!(!seen_again.iter().any(|event| matches!(event, Event::ImagePushed { .. })), "{seen_again:?}");
    assert!(seen_again.contains(&Event::Note { text: format!("{target}@{} is there already", pushed.digest) }), "{seen_again:?}");

    for tag in ["1", "latest"] {
        let manifest = block_on(client.manifest(&target.with_tag(tag))).unwrap();
        assert_eq!((manifest.media_type.as_str(), manifest.bytes), (MANIFEST, image.manifests[0].bytes.clone()));
    }
    let by_digest = target.with_digest(&pushed.digest);
    assert_eq!(block_on(client.head(&by_digest)).unwrap(), Some(pushed.digest.clone()));
    assert_eq!(block_on(client.blob(&target, &image.blobs[0].digest, 5000)).unwrap(), content(1, 5000));
    let copy = dir.path().join("copy");
    block_on(client.blob_to_file(&target, &from_file.digest, from_file.size, &copy)).unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), bytes);
    let inspected = skopeo(&target);
    assert_eq!(inspected["Digest"], pushed.digest.as_str());
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 3);
}

#[test]
fn what_is_not_there_is_said_so() {
    let registry = Registry::start();
    let client = client(vec![]);
    let absent = registry.image("no/such:1");
    let problem = block_on(client.manifest(&absent)).unwrap_err();
    assert_eq!(problem.code, Code::BaseImageMissing);
    assert!(problem.message.contains(&absent.to_string()), "{}", problem.message);
    assert_eq!(block_on(client.head(&absent)).unwrap(), None);
    let digest = blob(content(1, 10)).digest;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    assert!(block_on(client.blob_to_file(&absent, &digest, 10, &file)).is_err());
    assert!(!Path::new(&file).exists());
}

#[test]
fn a_second_push_costs_little() {
    let registry = Registry::start();
    let client = client(vec![]);
    let base = registry.image("base/java:17");
    let base_layers: Vec<Blob> = (10..15).map(|seed| blob(content(seed, 20_000))).collect();
    push(&client, &image(&base, base_layers.clone())).unwrap();
    let from_base = |layer: &Blob| Blob { role: LayerRole::Base, content: Content::Registry(base.clone()), ..layer.clone() };
    let layers = |seed: u64| -> Vec<Blob> { [blob(content(seed, 9000))].into_iter().chain(base_layers.iter().map(from_base)).collect() };

    let first = push(&client, &image(&registry.image("trade/app:1"), layers(1))).unwrap();
    assert_eq!(first.transfers[1..6], [Transfer::Mounted; 5]);
    // GET of the tag, 5 mounts, POST and PUT for layer and config, PUT of the manifest.
    assert_eq!(first.requests, 11);

    let again = push(&client, &image(&registry.image("trade/app:1"), layers(1))).unwrap();
    assert_eq!((again.requests, again.bytes_sent, again.transfers), (1, 0, vec![Transfer::Present; 7]));

    // A fresh process: it has to find out that the registry speaks plain http, too.
    let fresh = Client::new(options(), vec![]).unwrap();
    let changed = image(&registry.image("trade/app:2"), layers(2));
    let pushed = push_after(&fresh, &changed, registry.image("trade/app:1")).unwrap();
    // POST and PUT for layer and config, PUT of the manifest; GET of the previous manifest was the look.
    assert_eq!((pushed.requests, fresh.requests()), (5, 6));
    assert_eq!(pushed.transfers, [&[Transfer::Sent][..], &[Transfer::Present; 5], &[Transfer::Sent]].concat());
    assert_eq!(block_on(fresh.head(&registry.image("trade/app:2"))).unwrap(), Some(pushed.digest));

    let renamed = image(&registry.image("trade/app:3"), layers(2));
    assert_eq!(push_after(&fresh, &renamed, registry.image("trade/app:2")).unwrap().requests, 1);

    // Without a hint, a tag that moves along is as good: one GET more.
    let moving = |version: &str, seed: u64| Push {
        extra_tags: vec!["main".to_string()],
        ..image(&registry.image(&format!("trade/app:{version}")), layers(seed))
    };
    push(&fresh, &moving("4", 3)).unwrap();
    // GET of tag and moving tag, POST and PUT for layer and config, PUT of both tags.
    assert_eq!(push(&fresh, &moving("5", 4)).unwrap().requests, 8);
}

#[test]
fn layers_of_another_registry_are_streamed_through() {
    let (source, target) = (Registry::start(), Registry::start());
    let client = client(vec![]);
    let base = source.image("base:1");
    let layer = blob(content(3, 2 << 20));
    push(&client, &image(&base, vec![layer.clone()])).unwrap();
    let remote = Blob { content: Content::Registry(base), ..layer.clone() };
    let reference = target.image("app:1");
    assert_eq!(push(&client, &image(&reference, vec![remote.clone()])).unwrap().transfers[0], Transfer::Sent);
    assert_eq!(block_on(client.blob(&reference, &layer.digest, layer.size)).unwrap(), content(3, 2 << 20));
    // The source is not asked when the target has it.
    drop(source);
    assert_eq!(push(&client, &image(&target.image("app:2"), vec![remote])).unwrap().transfers[0], Transfer::Present);
}

#[test]
fn an_index_is_pushed_after_its_manifests() {
    let registry = Registry::start();
    let client = client(vec![]);
    let target = registry.image("multi:1");
    let mut one = image(&target, vec![blob(content(1, 100))]);
    let other = image(&target, vec![blob(content(2, 100))]);
    let index_type = "application/vnd.oci.image.index.v1+json";
    let children = [&one.manifests[0], &other.manifests[0]]
        .map(|child| serde_json::json!({"mediaType": MANIFEST, "digest": child.digest, "size": child.bytes.len(), "platform": {"os": "linux", "architecture": "amd64"}}));
    let index =
        manifest_of(index_type, &serde_json::json!({"schemaVersion": 2, "mediaType": index_type, "manifests": children}).to_string());
    one.blobs.extend(other.blobs);
    one.manifests.extend(other.manifests);
    one.manifests.push(index.clone());
    assert_eq!(push(&client, &one).unwrap().digest, index.digest);
    assert_eq!(block_on(client.manifest(&target)).unwrap().media_type, index_type);
    one.target = registry.image("multi:2");
    assert_eq!(push_after(&client, &one, target).unwrap().bytes_sent, 0);
}

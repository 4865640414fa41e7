//! Bad days: what a registry, a proxy or the network does to a transfer, and what becomes of it.

use std::time::Instant;

use shipway::domain::problem::Code;

use super::*;
use crate::support::{
    fake::{Act, Fake},
    free_port,
};

/// A registry behind the fake, and a client that knows both.
pub(super) fn setup() -> (Registry, Fake, Client) {
    let registry = Registry::start();
    let fake = Fake::start(registry.port);
    (registry, fake, client(vec![]))
}

/// An image with one layer of so many bytes.
pub(super) fn one_layer(fake: &Fake, seed: u64, size: usize) -> Push {
    image(&fake.image("trade/app:1"), vec![blob(content(seed, size))])
}

pub(super) fn arrived(client: &Client, registry: &Registry, pushed: &Push) {
    let target = registry.image("trade/app:1");
    let digest = &pushed.manifests.last().unwrap().digest;
    assert_eq!(block_on(client.head(&target)).unwrap().as_ref(), Some(digest));
    for blob in &pushed.blobs {
        block_on(client.blob(&target, &blob.digest, blob.size)).unwrap();
    }
}

#[test]
fn passing_errors_are_retried() {
    let (registry, fake, client) = setup();
    fake.answer("POST", "/blobs/uploads/", 2, "503 Service Unavailable", &[], "busy");
    fake.answer("PUT", "/blobs/uploads/", 2, "500 Internal Server Error", &[], "");
    fake.rule("HEAD", "/blobs/", 1, Act::HangUp);
    fake.rule("POST", "/blobs/uploads/", 1, Act::HangUp);
    fake.rule("PUT", "/manifests/", 1, Act::HangUp);
    fake.answer("PUT", "/manifests/", 1, "502 Bad Gateway", &[], "<html>bad gateway</html>");
    let image = one_layer(&fake, 1, 5000);
    push(&client, &image).unwrap();
    arrived(&client, &registry, &image);
}

#[test]
fn a_server_is_given_the_time_that_it_asks_for() {
    let (registry, fake, client) = setup();
    fake.answer("PUT", "/blobs/uploads/", 1, "429 Too Many Requests", &["Retry-After: 1"], "");
    fake.answer("PUT", "/manifests/", 1, "429 Too Many Requests", &["Retry-After: 1"], "");
    let begun = Instant::now();
    let image = one_layer(&fake, 1, 5000);
    push(&client, &image).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    arrived(&client, &registry, &image);

    fake.answer("GET", "/manifests/", 1, "429 Too Many Requests", &["Retry-After: 7200"], "limit reached");
    let problem = block_on(client.manifest(&fake.image("x:1"))).unwrap_err();
    assert_eq!(problem.code, Code::RegistryFailed);
    assert!(problem.message.contains("429") && problem.message.contains("limit reached"), "{}", problem.message);
}

#[test]
fn lasting_errors_end_with_the_registry_s_own_words() {
    let (_registry, fake, client) = setup();
    fake.answer("PUT", "/manifests/", 99, "500 Internal Server Error", &[], r#"{"errors":[{"code":"UNKNOWN","message":"disk on fire"}]}"#);
    let problem = push(&client, &one_layer(&fake, 1, 5000)).unwrap_err();
    assert_eq!(problem.code, Code::RegistryFailed);
    for part in ["PUT", "/v2/trade/app/manifests/1", "500", "UNKNOWN: disk on fire"] {
        assert!(problem.message.contains(part), "{part}: {}", problem.message);
    }
    assert_eq!(fake.count("PUT", "/manifests/"), 4);
}

#[test]
fn a_registry_that_is_down_is_named() {
    let reference: ImageReference = format!("127.0.0.1:{}/a/b:1", free_port()).parse().unwrap();
    let problem = block_on(client(vec![]).manifest(&reference)).unwrap_err();
    assert_eq!(problem.code, Code::RegistryUnreachable);
    assert!(problem.message.contains(&reference.registry) && problem.message.contains("connection refused"), "{}", problem.message);
}

#[test]
fn silence_ends_after_the_idle_time() {
    let (_registry, fake, _) = setup();
    let client = Client::new(net::Options { idle_timeout: Duration::from_millis(200), ..options() }, vec![]).unwrap();
    fake.rule("GET", "/manifests/", 9, Act::Stall(Duration::from_secs(60)));
    let begun = Instant::now();
    let problem = block_on(client.manifest(&fake.image("a/b:1"))).unwrap_err();
    assert_eq!(problem.code, Code::RegistryUnreachable);
    assert!(problem.message.contains("no progress"), "{}", problem.message);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn a_slow_line_is_not_silence() {
    let (_registry, fake, _) = setup();
    let client = Client::new(net::Options { idle_timeout: Duration::from_millis(600), ..options() }, vec![]).unwrap();
    fake.rule("PUT", "/blobs/uploads/", 2, Act::Trickle(512 << 10, Duration::from_millis(60)));
    fake.answer("PUT", "/manifests/", 1, "201 Created", &[], "");
    let begun = Instant::now();
    push(&client, &one_layer(&fake, 1, 32 << 20)).unwrap();
    // Longer than a registry may be silent after an upload: five times the idle time.
    assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(fake.count("PUT", "/blobs/uploads/"), 2);
}

#[test]
fn an_upload_that_breaks_is_made_again() {
    let (registry, fake, client) = setup();
    fake.rule("PUT", "/blobs/uploads/", 2, Act::CutRequest(100_000));
    fake.rule("PUT", "/blobs/uploads/", 1, Act::Swallow);
    let image = one_layer(&fake, 1, 3 << 20);
    push(&client, &image).unwrap();
    arrived(&client, &registry, &image);
}

#[test]
fn an_upload_goes_on_where_it_broke() {
    let (registry, fake, client) = setup();
    fake.rule("PUT", "/blobs/uploads/", 1, Act::Half(2 << 20));
    let mut image = one_layer(&fake, 1, 3 << 20);
    // The config would take the rule's turn.
    let config = image.blobs.pop().unwrap();
    let described =
        serde_json::json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest, "size": config.size});
    let alone = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []});
    let manifests = vec![manifest_of(MANIFEST, &alone.to_string())];
    push(&client, &Push { target: registry.image("trade/app:0"), blobs: vec![config.clone()], manifests, ..image.clone() }).unwrap();
    push(&client, &image).unwrap();
    image.blobs.push(config);
    arrived(&client, &registry, &image);
    assert_eq!(fake.count("PATCH", "/blobs/uploads/"), 1);
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 1);
}

#[test]
fn a_lost_upload_session_is_replaced() {
    let (registry, fake, client) = setup();
    fake.answer("PUT", "/blobs/uploads/", 1, "404 Not Found", &[], r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
    let image = one_layer(&fake, 1, 5000);
    push(&client, &image).unwrap();
    arrived(&client, &registry, &image);
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 3);
}

#[test]
fn a_registry_without_single_puts_gets_patches() {
    let (registry, fake, client) = setup();
    let image = one_layer(&fake, 1, 5000);
    for (blob, status) in image.blobs.iter().zip(["405 Method Not Allowed", "400 Bad Request"]) {
        fake.answer("PUT", blob.digest.hex(), 1, status, &[], "");
    }
    push(&client, &image).unwrap();
    arrived(&client, &registry, &image);
    assert_eq!(fake.count("PATCH", "/blobs/uploads/"), 2);
    // It is not tried again in the same run.
    let puts = fake.count("PUT", "/blobs/uploads/");
    let next = super::image(&fake.image("trade/app:2"), vec![blob(content(2, 5000))]);
    push(&client, &next).unwrap();
    assert_eq!((fake.count("PATCH", "/blobs/uploads/"), fake.count("PUT", "/blobs/uploads/")), (4, puts + 2));
}

#[test]
fn a_refusal_that_says_why_is_no_other_way() {
    let (_registry, fake, client) = setup();
    let body = r#"{"errors":[{"code":"NAME_INVALID","message":"no such project"}]}"#;
    fake.answer("PUT", "/blobs/uploads/", 9, "400 Bad Request", &[], body);
    let problem = push(&client, &one_layer(&fake, 1, 5000)).unwrap_err();
    assert_eq!(problem.code, Code::RegistryRefused, "{}", problem.message);
    assert!(problem.message.contains("no such project"), "{}", problem.message);
    assert_eq!(fake.count("PATCH", "/blobs/uploads/"), 0);
}

#[test]
fn a_chunk_that_is_out_of_place_asks_where_the_upload_stands() {
    let (registry, fake, client) = setup();
    // No single PUT for the layer; then a registry that counts otherwise than we do.
    let image = one_layer(&fake, 1, 3 << 20);
    fake.answer("PUT", image.blobs[0].digest.hex(), 1, "405 Method Not Allowed", &[], "");
    fake.answer("PATCH", "/blobs/uploads/", 1, "416 Range Not Satisfiable", &["Range: 0-0"], "");
    push(&client, &image).unwrap();
    arrived(&client, &registry, &image);
    assert_eq!((fake.count("PATCH", "/blobs/uploads/"), fake.count("GET", "/blobs/uploads/")), (2, 1));
}

#[test]
fn a_refused_question_is_no_answer() {
    for status in ["401 Unauthorized", "403 Forbidden", "405 Method Not Allowed", "500 Internal Server Error"] {
        let (registry, fake, client) = setup();
        let image = one_layer(&fake, 1, 100_000);
        fake.answer("HEAD", "/blobs/", 9, status, &[], "");
        push(&client, &image).unwrap();
        arrived(&client, &registry, &image);
        assert!(fake.count("HEAD", "/blobs/") >= 1, "{status}");
    }
    // A tag that cannot be asked about by HEAD is read.
    let (registry, fake, client) = setup();
    let image = one_layer(&fake, 1, 5000);
    push(&client, &image).unwrap();
    fake.answer("HEAD", "/manifests/", 1, "405 Method Not Allowed", &[], "");
    assert_eq!(block_on(client.head(&fake.image("trade/app:1"))).unwrap().as_ref(), Some(&image.manifests[0].digest));
    arrived(&client, &registry, &image);
}

#[test]
fn relative_locations_are_followed() {
    let (registry, fake, client) = setup();
    let probe = open_upload(&registry);
    fake.answer("POST", "/blobs/uploads/", 1, "202 Accepted", &[&format!("Location: {probe}")], "");
    let image = one_layer(&fake, 1, 5000);
    push(&client, &image).unwrap();
    arrived(&client, &registry, &image);
}

/// Opens an upload session by hand; gives back path and query of its Location.
fn open_upload(registry: &Registry) -> String {
    let url = format!("http://{}/v2/trade/app/blobs/uploads/", registry.host());
    let output = Command::new("curl").args(["-sS", "-X", "POST", "-D", "-", &url]).output().expect("curl is not installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let location = text.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_else(|| panic!("{text}"));
    location.trim().split_once(&registry.host()).unwrap().1.to_string()
}

#[test]
fn a_manifest_that_arrived_unheard_is_not_put_again() {
    let (registry, fake, client) = setup();
    fake.rule("PUT", "/manifests/", 1, Act::Swallow);
    let image = one_layer(&fake, 1, 5000);
    push(&client, &image).unwrap();
    arrived(&client, &registry, &image);
    assert_eq!(fake.count("PUT", "/manifests/"), 1);
}

#[test]
fn blobs_that_the_registry_lost_are_sent_again() {
    let (registry, fake, client) = setup();
    let (kept, lost) = (blob(content(1, 5000)), blob(content(2, 6000)));
    push(&client, &image(&fake.image("trade/app:0"), vec![kept.clone(), lost.clone()])).unwrap();
    registry.lose_blob(lost.digest.hex());
    let mut next = image(&fake.image("trade/app:1"), vec![blob(content(3, 100)), kept, lost]);
    next = Push { look: Some(block_on(client.look(&next.target, &[fake.image("trade/app:0")], &[])).unwrap()), ..next };
    push(&client, &next).unwrap();
    arrived(&client, &registry, &next);
    assert_eq!(fake.count("PUT", "/manifests/1"), 2);
}

#[test]
fn refused_mounts_become_uploads() {
    let (registry, fake, client) = setup();
    let base = fake.image("base:1");
    let layer = blob(content(9, 50_000));
    push(&client, &image(&base, vec![layer.clone()])).unwrap();
    let from_base =
        |tag: &str| image(&fake.image(&format!("{tag}/app:1")), vec![Blob { content: Content::Registry(base.clone()), ..layer.clone() }]);
    for status in ["401 Unauthorized", "403 Forbidden", "404 Not Found", "405 Method Not Allowed"] {
        let name = status.split(' ').next().unwrap();
        fake.answer("POST", &format!("/v2/a{name}/app/blobs/uploads/?mount="), 9, status, &["WWW-Authenticate: Basic realm=\"x\""], "");
        let pushed = push(&client, &from_base(&format!("a{name}"))).unwrap();
        assert_eq!(pushed.transfers[0], Transfer::Sent, "{status}");
    }
    // A mount that the registry does not know makes an upload session, which is used.
    let unknown = Content::Registry(fake.image("no/such:1"));
    let mut accepted = from_base("trade");
    fake.answer("POST", "/v2/trade/app/blobs/uploads/?mount=", 1, "202 Accepted", &[&format!("Location: {}", open_upload(&registry))], "");
    push(&client, &accepted).unwrap();
    assert_eq!(fake.count("POST", "/v2/trade/app/blobs/uploads/"), 2, "one mount and the config");
    accepted.target = fake.image("lost/app:1");
    accepted.blobs[0].content = unknown;
    assert_eq!(push(&client, &accepted).unwrap_err().code, Code::BaseImageMissing);
}

#[test]
fn a_download_goes_on_where_it_broke() {
    let (registry, fake, client) = setup();
    let layer = blob(content(1, 3 << 20));
    push(&client, &image(&registry.image("trade/app:1"), vec![layer.clone()])).unwrap();
    fake.rule("GET", "/blobs/", 2, Act::CutAnswer(1 << 20));
    fake.answer("GET", "/blobs/", 1, "503 Service Unavailable", &[], "");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("layer");
    block_on(client.blob_to_file(&fake.image("trade/app"), &layer.digest, layer.size, &file)).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), content(1, 3 << 20));
    let ranges: Vec<_> = fake.seen().into_iter().filter(|seen| seen.target.contains("/blobs/")).map(|seen| seen.range).collect();
    assert_eq!(ranges[0], None);
    assert!(ranges[1].is_some() && ranges[2] != ranges[1], "{ranges:?}");
}

#[test]
fn lies_are_found_out() {
    let (registry, fake, client) = setup();
    let layer = blob(content(1, 5000));
    let target = registry.image("trade/app:1");
    let pushed = push(&client, &image(&target, vec![layer.clone()])).unwrap();
    let (tag, by_digest) = (fake.image("trade/app:1"), fake.image("trade/app").with_digest(&pushed.digest));
    let read = || block_on(client.blob(&tag, &layer.digest, layer.size));

    fake.rule("GET", "/blobs/", 1, Act::Spoil);
    assert_eq!(read().unwrap(), content(1, 5000), "a spoilt transfer is repeated once");
    fake.rule("GET", "/blobs/", 2, Act::Spoil);
    assert_eq!(read().unwrap_err().code, Code::DigestMismatch);
    assert_eq!(block_on(client.blob(&tag, &layer.digest, 4999)).unwrap_err().code, Code::DigestMismatch);
    for reference in [&tag, &by_digest] {
        fake.rule("GET", "/manifests/", 2, Act::Spoil);
        assert_eq!(block_on(client.manifest(reference)).unwrap_err().code, Code::DigestMismatch, "{reference}");
    }
    fake.answer("GET", "/manifests/", 1, "200 OK", &["Content-Type: text/html"], "<html>login</html>");
    let problem = block_on(client.manifest(&tag)).unwrap_err();
    assert_eq!(problem.code, Code::RegistryProtocol, "{}", problem.message);
    let docker = "Content-Type: application/vnd.docker.distribution.manifest.v2+json";
    for (body, part) in [
        (format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}"}}"#), "and is sent as"),
        (r#"{"schemaVersion":1,"name":"a/b"}"#.to_string(), "not of schema 2"),
        (r#"{"schemaVersion":2,"mediaType":"a/b"}"#.to_string(), "and is sent as"),
    ] {
        fake.answer("GET", "/manifests/", 1, "200 OK", &[docker], &body);
        let problem = block_on(client.manifest(&tag)).unwrap_err();
        assert!(problem.code == Code::RegistryProtocol && problem.message.contains(part), "{body}: {}", problem.message);
    }
    fake.answer("GET", "/manifests/", 1, "200 OK", &[&format!("Content-Type: {MANIFEST}")], &"x".repeat(5 << 20));
    assert_eq!(block_on(client.manifest(&tag)).unwrap_err().code, Code::RegistryProtocol);
}

#[test]
fn wrong_bytes_never_become_an_image() {
    let (registry, fake, client) = setup();
    let wrong = Digest::from_sha256(&[7; 32]);
    let header = || Act::Header("docker-content-digest".to_string(), wrong.to_string());
    // Twice: layer and config.
    fake.rule("PUT", "/blobs/uploads/", 2, header());
    let image = one_layer(&fake, 1, 5000);
    push(&client, &image).unwrap();
    arrived(&client, &registry, &image);
    fake.rule("PUT", "/blobs/uploads/", 99, header());
    assert_eq!(push(&client, &small(&fake, 2)).unwrap_err().code, Code::DigestMismatch);

    let (_registry, fake, client) = setup();
    fake.rule("PUT", "/manifests/", 99, header());
    let problem = push(&client, &small(&fake, 3)).unwrap_err();
    assert_eq!((problem.code, problem.exit_code()), (Code::DigestMismatch, 60));

    // A source that lies while it is streamed through.
    let (source, target) = (Registry::start(), Registry::start());
    let liar = Fake::start(source.port);
    let layer = blob(content(4, 300_000));
    push(&client, &super::image(&source.image("base:1"), vec![layer.clone()])).unwrap();
    liar.rule("GET", "/blobs/", 99, Act::Spoil);
    let streamed = Blob { content: Content::Registry(liar.image("base:1")), ..layer };
    let problem = push(&client, &super::image(&target.image("app:1"), vec![streamed])).unwrap_err();
    assert_eq!(problem.code, Code::DigestMismatch, "{}", problem.message);
    assert!(problem.message.contains(&liar.host()), "{}", problem.message);
}

fn small(fake: &Fake, seed: u64) -> Push {
    one_layer(fake, seed, 5000)
}

#[test]
fn limits_and_rights_are_no_passing_errors() {
    for (status, body, code) in [
        ("413 Request Entity Too Large", "<html>too large</html>", Code::RegistryDenied),
        ("403 Forbidden", r#"{"errors":[{"code":"DENIED","message":"adding 5 MiB exceeds the quota"}]}"#, Code::RegistryDenied),
    ] {
        let (_registry, fake, client) = setup();
        fake.answer("PUT", "/blobs/uploads/", 9, status, &[], body);
        let problem = push(&client, &one_layer(&fake, 1, 5000)).unwrap_err();
        assert_eq!(problem.code, code, "{}", problem.message);
        assert!(problem.message.contains(&status[..3]), "{}", problem.message);
        assert!(fake.count("PUT", "/blobs/uploads/") <= 2, "layer and config, once each");
    }
    let (_registry, fake, client) = setup();
    fake.answer("PUT", "/manifests/", 9, "409 Conflict", &[], r#"{"errors":[{"code":"TAG_INVALID","message":"the tag is immutable"}]}"#);
    let problem = push(&client, &one_layer(&fake, 1, 5000)).unwrap_err();
    assert_eq!((problem.code, problem.exit_code()), (Code::RegistryRefused, 30));
    assert!(problem.message.contains("the tag is immutable"), "{}", problem.message);
    assert_eq!(fake.count("PUT", "/manifests/"), 1);
}

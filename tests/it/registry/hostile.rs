//! Registries that mean harm, or fall over.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::Instant,
};

use shipway::domain::problem::Code;

use super::*;
use crate::support::{
    fake::{Act, Fake},
    small_disk::SmallDisk,
};

/// A client that loses its patience soon.
fn hurried() -> Client {
    Client::new(net::Options { idle_timeout: Duration::from_millis(300), ..options() }, vec![]).unwrap()
}

#[test]
fn what_has_no_end_is_cut_off() {
    let registry = Registry::start();
    let fake = Fake::start(registry.port);
    let client = client(vec![]);
    let tag = fake.image("a/b:1");
    let begun = Instant::now();
    fake.rule("GET", "/manifests/", 1, Act::Endless(format!("HTTP/1.1 200 OK\r\ncontent-type: {MANIFEST}\r\n")));
    let problem = block_on(client.manifest(&tag)).unwrap_err();
    assert_eq!(problem.code, Code::RegistryProtocol, "{}", problem.message);
    assert!(problem.message.contains("longer than"), "{}", problem.message);
    fake.rule("GET", "/blobs/", 2, Act::Endless("HTTP/1.1 200 OK\r\n".to_string()));
    let problem = block_on(client.blob(&tag, &blob(content(1, 500)).digest, 500)).unwrap_err();
    assert_eq!(problem.code, Code::DigestMismatch, "{}", problem.message);
    // Its complaint has no end, either.
    fake.rule("GET", "/manifests/", 1, Act::Endless("HTTP/1.1 403 Forbidden\r\n".to_string()));
    let problem = block_on(client.manifest(&tag)).unwrap_err();
    assert!(problem.code == Code::RegistryDenied && problem.message.len() < 2000, "{}", problem.message);
    fake.rule("GET", "/manifests/", 1, Act::LongHeader(10 << 20));
    let problem = block_on(client.manifest(&tag)).unwrap_err();
    assert_eq!(problem.code, Code::RegistryProtocol, "{}", problem.message);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_body_that_is_dripped_does_not_keep_us() {
    let registry = Registry::start();
    let fake = Fake::start(registry.port);
    let layer = blob(content(1, 5000));
    push(&client(vec![]), &image(&registry.image("a/b:1"), vec![layer.clone()])).unwrap();
    let begun = Instant::now();
    fake.rule("GET", "/", 99, Act::Drip(Duration::from_millis(20)));
    let problem = block_on(hurried().manifest(&fake.image("a/b:1"))).unwrap_err();
    assert_eq!(problem.code, Code::RegistryUnreachable, "{}", problem.message);
    let read = block_on(hurried().blob(&fake.image("a/b:1"), &layer.digest, layer.size));
    let problem = read.expect_err("it is read to its end");
    assert_eq!(problem.code, Code::RegistryUnreachable, "{}", problem.message);
    // Not the 100 seconds that the layer would take.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn what_is_small_does_not_take_for_ever() {
    let registry = Registry::start();
    let fake = Fake::start(registry.port);
    let layer = blob(content(1, 60_000));
    push(&client(vec![]), &image(&registry.image("a/b:1"), vec![layer.clone()])).unwrap();
    // More than what counts as progress, and never done: it would come whole after six seconds or more.
    fake.rule("GET", "/blobs/", 99, Act::Drip(Duration::from_micros(100)));
    let read = block_on(hurried().blob(&fake.image("a/b:1"), &layer.digest, layer.size));
    assert_eq!(read.expect_err("it is read to its end").code, Code::RegistryUnreachable);
}

#[test]
fn redirects_that_lead_nowhere_end() {
    let registry = Registry::start();
    let (one, other) = (Fake::start(registry.port), Fake::start(registry.port));
    let client = client(vec![access(&one.host(), USER, PASSWORD)]);
    for (from, to) in [(&one, &other), (&other, &one)] {
        let there = format!("Location: http://localhost:{}/v2/a/b/manifests/1", to.port);
        from.answer("GET", "/manifests/", 99, "307 Temporary Redirect", &[&there], "");
    }
    let problem = block_on(client.manifest(&one.image("a/b:1"))).unwrap_err();
    assert_eq!(problem.code, Code::RegistryProtocol);
    assert!(problem.message.contains("redirects"), "{}", problem.message);
    assert!(one.seen().len() + other.seen().len() <= 6);
    let metadata = "Location: https://169.254.169.254/latest/meta-data/";
    let fake = Fake::start(registry.port);
    fake.answer("GET", "/manifests/", 1, "302 Found", &[metadata], "");
    let problem = block_on(client.manifest(&fake.image("a/b:1"))).unwrap_err();
    assert!(problem.code == Code::RegistryProtocol && problem.message.contains("169.254.169.254"), "{}", problem.message);
}

#[test]
fn a_token_that_ends_after_60_percent_of_an_upload_is_renewed() {
    for store in [false, true] {
        let registry = Registry::start();
        let fake = Fake::start(registry.port);
        let client = client(vec![access(&fake.host(), USER, PASSWORD)]);
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"x\"\r\n", fake.host());
        // The registry behind asks for nothing: what is judged is what the client does with a refusal.
        fake.answer("GET", "/token", 9, "200 OK", &[], r#"{"token": "made-anew", "expires_in": 300}"#);
        let layer = blob(content(1, 5 << 20));
        let image = image(&fake.image("trade/app:1"), vec![layer.clone()]);
        // The configuration is there already, so that the rule is the layer's.
        let config = Push { blobs: vec![image.blobs[1].clone()], manifests: vec![empty_manifest(&image.blobs[1])], ..image.clone() };
        push(&client, &Push { target: registry.image("trade/app:0"), ..config }).unwrap();
        let answer = format!("HTTP/1.1 401 Unauthorized\r\n{challenge}content-length: 0\r\nconnection: close\r\n\r\n");
        fake.rule("PUT", "/blobs/uploads/", 1, Act::RefuseAfter { bytes: 3 << 20, store, answer });
        let look = block_on(client.look(&image.target, &[fake.image("trade/app:0")], &[])).unwrap();
        push(&client, &Push { look: Some(look), ..image }).unwrap();
        assert!(block_on(client.blob(&registry.image("trade/app"), &layer.digest, layer.size)).unwrap() == content(1, 5 << 20));
        let seen = fake.seen();
        assert_eq!(seen.iter().filter(|seen| seen.target.starts_with("/token")).count(), 1, "{seen:?}");
        assert_eq!(seen.last().unwrap().authorization.as_deref(), Some("Bearer made-anew"), "{seen:?}");
    }
}

/// A manifest that names a configuration and no layers.
fn empty_manifest(config: &Blob) -> Manifest {
    let described =
        serde_json::json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest, "size": config.size});
    manifest_of(MANIFEST, &serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}).to_string())
}

#[test]
fn a_registry_that_is_killed_and_started_again_gets_the_whole_image() {
    let registry = Arc::new(Mutex::new(Registry::start()));
    let fake = Fake::start(registry.lock().unwrap().port);
    // The fake's threads outlive the test, and must not keep the registry from ending with it.
    let killed = Arc::downgrade(&registry);
    let restart: Arc<dyn Fn() + Send + Sync> = Arc::new(move || killed.upgrade().unwrap().lock().unwrap().restart());
    fake.rule("PUT", "/blobs/uploads/", 1, Act::Do(restart.clone()));
    fake.rule("PUT", "/manifests/", 1, Act::Do(restart));
    let client = client(vec![]);
    let image = image(&fake.image("trade/app:1"), vec![blob(content(1, 3 << 20)), blob(content(2, 3 << 20))]);
    let pushed = push(&client, &image).unwrap();
    let target = registry.lock().unwrap().image("trade/app:1");
    assert_eq!(block_on(client.head(&target)).unwrap(), Some(pushed.digest));
    for blob in &image.blobs {
        block_on(client.blob(&target, &blob.digest, blob.size)).unwrap();
    }
}

#[test]
fn a_full_disk_is_told_as_one() {
    // Ours, while a base is read into a file.
    let registry = Registry::start();
    let client = client(vec![]);
    let layer = blob(content(1, 300_000));
    push(&client, &image(&registry.image("a/b:1"), vec![layer.clone()])).unwrap();
    let small = SmallDisk::of(64);
    let file = small.path().join("layer");
    let problem = block_on(client.blob_to_file(&registry.image("a/b:1"), &layer.digest, layer.size, &file)).unwrap_err();
    assert_eq!((problem.code, problem.exit_code()), (Code::DiskFull, 20), "{}", problem.message);
    assert!(problem.message.contains(file.to_str().unwrap()) && !file.exists(), "{}", problem.message);

    // The registry's: its own words, after it was given time to recover.
    let small = SmallDisk::of(512);
    let full = Registry::start_in(small.path());
    let problem = push(&client, &image(&full.image("a/b:1"), vec![blob(content(2, 2 << 20))])).unwrap_err();
    assert_eq!((problem.code, problem.exit_code()), (Code::RegistryFailed, 20), "{}", problem.message);
    assert!(problem.message.contains(&full.host()), "{}", problem.message);
}

#[test]
fn a_quota_is_told_and_not_tried_again() {
    let registry = Registry::start();
    let fake = Fake::start(registry.port);
    let words = r#"{"errors":[{"code":"DENIED","message":"adding 2.5 MiB of storage resource, which when updated to current usage of 9.9 MiB will exceed the configured upper limit of 10.0 MiB."}]}"#;
    fake.answer("PUT", "/manifests/", 9, "403 Forbidden", &[], words);
    let problem = push(&client(vec![]), &image(&fake.image("a/b:1"), vec![blob(content(1, 5000))])).unwrap_err();
    assert_eq!((problem.code, problem.exit_code()), (Code::RegistryDenied, 30));
    assert!(problem.message.contains("upper limit of 10.0 MiB") && problem.hint.contains("quota"), "{problem:?}");
    assert_eq!(fake.count("PUT", "/manifests/"), 1);
}

#[test]
fn an_image_that_is_deleted_meanwhile_is_not_counted_on() {
    let registry = Registry::start();
    let client = client(vec![]);
    let (kept, lost) = (blob(content(1, 90_000)), blob(content(2, 90_000)));
    let earlier = registry.image("trade/app:1");
    let pushed = push(&client, &image(&earlier, vec![kept.clone(), lost.clone()])).unwrap();
    let look = block_on(client.look(&earlier, std::slice::from_ref(&earlier), &[])).unwrap();
    assert_eq!(look.image(), Some(&pushed.digest));
    // Somebody cleans up between the look and the push.
    let url = format!("http://{}/v2/trade/app/manifests/{}", registry.host(), pushed.digest);
    assert!(Command::new("curl").args(["-fsS", "-X", "DELETE", &url]).status().unwrap().success());
    for blob in [&kept, &lost] {
        registry.lose_blob(blob.digest.hex());
    }
    let made = Arc::new(Mutex::new(0));
    let times = made.clone();
    let maker = shipway::registry::Maker::new(move |to| {
        *times.lock().unwrap() += 1;
        to.write_all(&content(2, 90_000)).unwrap();
        Ok(())
    });
    let lost = Blob { content: Content::Made(maker), ..lost };
    let mut next = image(&registry.image("trade/app:2"), vec![blob(content(3, 100)), kept, lost]);
    next.look = Some(look);
    let pushed = push(&client, &next).unwrap();
    assert_eq!(*made.lock().unwrap(), 1, "what was thought to be there is made when it is missed");
    assert_eq!(block_on(client.head(&next.target)).unwrap(), Some(pushed.digest));
    for blob in &next.blobs {
        block_on(client.blob(&next.target, &blob.digest, blob.size)).unwrap();
    }
    // A hint that leads nowhere is one request, and the next one is followed.
    let gone = earlier.with_digest(&blob(content(9, 9)).digest);
    let look = block_on(client.look(&earlier, &[gone, next.target.clone()], &[])).unwrap();
    assert!(look.image().is_some() && look.tag("2").is_some());
}

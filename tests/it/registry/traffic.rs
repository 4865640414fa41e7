//! What a push asks, and how often it has to wait for an answer: counted in front of a real registry.

use shipway::registry::Cache;

use super::*;
use crate::support::checker::{round_trips, summary};

/// Longer than what goes on at the same time may lie apart.
const LINE: Duration = Duration::from_millis(40);

fn cached(dir: &Path) -> Client {
    Client::with_cache(options(), vec![], Some(Cache::open(dir).unwrap())).unwrap()
}

#[test]
fn a_changed_layer_costs_five_requests_in_three_round_trips_after_one_look() {
    let registry = Registry::start();
    let base: Vec<Blob> = (10..15).map(|seed| blob(content(seed, 20_000))).collect();
    let of = |tag: &str, seed: u64| {
        let layers = [blob(content(seed, 90_000))].into_iter().chain(base.clone()).collect();
        image(&registry.image(&format!("trade/app:{tag}")), layers)
    };
    push(&client(vec![]), &of("1", 1)).unwrap();
    registry.checker().take();
    registry.checker().delay(LINE);

    let fresh = client(vec![]);
    let pushed = push_after(&fresh, &of("2", 2), registry.image("trade/app:1")).unwrap();
    let calls = registry.checker().take();
    // The configuration is small enough to go along with a POST, which this registry does not know: a session is opened all the same.
    let expected = ["GET manifest 200", "POST blob 202", "POST blob 202", "PUT blob 201", "PUT blob 201", "PUT manifest 201"];
    assert_eq!(summary(&calls), expected);
    assert_eq!((pushed.requests, fresh.requests()), (5, 6));
    assert_eq!(round_trips(&calls), 1 + 3, "{calls:?}");
    let connections: std::collections::BTreeSet<usize> = calls.iter().map(|call| call.connection).collect();
    assert!(connections.len() <= 2, "{calls:?}");

    // A tag of its own is asked for while blobs are on their way.
    let careful = Push { instead: Some("3-7".to_string()), ..of("3", 3) };
    push_after(&client(vec![]), &careful, registry.image("trade/app:1")).unwrap();
    let calls = registry.checker().take();
    assert_eq!((calls.len(), round_trips(&calls)), (7, 1 + 3), "{calls:?}");
}

#[test]
fn a_tag_that_holds_another_image_is_left_alone() {
    let registry = Registry::start();
    let client = client(vec![]);
    let target = registry.image("trade/app:1");
    let careful = |seed: u64| Push { instead: Some("1-7".to_string()), ..image(&target, vec![blob(content(seed, 5000))]) };
    let first = push(&client, &careful(1)).unwrap();
    assert_eq!(first.reference, target);
    assert_eq!(push(&client, &careful(1)).unwrap().reference, target);
    let second = push(&client, &careful(2)).unwrap();
    assert_eq!(second.reference, target.with_tag("1-7"));
    assert_eq!(block_on(client.head(&target)).unwrap(), Some(first.digest));
    assert_eq!(block_on(client.head(&second.reference)).unwrap(), Some(second.digest));
}

#[test]
fn one_blob_is_sent_once_where_a_post_may_carry_it() {
    use crate::support::fake::Fake;
    let registry = Registry::start();
    let fake = Fake::start(registry.port);
    let image = image(&fake.image("trade/app:1"), vec![blob(content(1, 5000))]);
    for blob in &image.blobs {
        let digest = format!("Docker-Content-Digest: {}", blob.digest);
        fake.answer(
            "POST",
            &format!("/blobs/uploads/?digest={}", blob.digest.as_str().replace(':', "%3A")),
            1,
            "201 Created",
            &[&digest],
            "",
        );
    }
    fake.answer("PUT", "/manifests/", 1, "201 Created", &[], "");
    push(&client(vec![]), &image).unwrap();
    assert_eq!((fake.seen().len(), fake.count("PUT", "/blobs/")), (1 + 2 + 1, 0), "{:?}", fake.seen());

    // A registry that fails at it gets the blob as all do.
    let client = client(vec![]);
    fake.answer("POST", "/blobs/uploads/?digest=", 2, "500 Internal Server Error", &[], "");
    let other = super::image(&fake.image("trade/app:2"), vec![blob(content(2, 5000))]);
    push(&client, &other).unwrap();
    assert_eq!(fake.count("PUT", "/blobs/"), 2);
}

#[test]
fn the_cache_spares_requests_and_is_never_believed() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let base = registry.image("base/java:17");
    let pushed = push(&client(vec![]), &image(&base, vec![blob(content(1, 50_000))])).unwrap();
    let pinned = base.with_digest(&pushed.digest);
    let read = |client: &Client, reference: &ImageReference| {
        let before = client.requests();
        let manifest = block_on(client.manifest(reference)).unwrap();
        assert_eq!(manifest.digest, pushed.digest);
        client.requests() - before
    };
    assert_eq!((read(&cached(dir.path()), &pinned), read(&cached(dir.path()), &pinned)), (1, 0));
    assert_eq!(read(&cached(dir.path()), &base), 1);
    registry.checker().take();
    assert_eq!(read(&cached(dir.path()), &base), 1);
    assert_eq!(summary(&registry.checker().take()), ["HEAD manifest 200"]);
    // A tag that moved is read anew.
    let moved = push(&client(vec![]), &image(&base, vec![blob(content(2, 50_000))])).unwrap();
    assert_eq!(block_on(cached(dir.path()).manifest(&base)).unwrap().digest, moved.digest);

    for damage in [&b""[..], b"application/vnd.oci.image.manifest.v1+json\n{}", &[0; 100]] {
        for file in files_below(dir.path()) {
            std::fs::write(file, damage).unwrap();
        }
        assert_eq!(read(&cached(dir.path()), &pinned), 1, "{damage:?}");
        assert_eq!(read(&cached(dir.path()), &pinned), 0);
    }
}

#[test]
fn a_layer_of_a_base_is_fetched_once_and_verified_each_time() {
    let registry = Registry::start();
    let (dir, layer) = (tempfile::tempdir().unwrap(), content(1, 300_000));
    let base = registry.image("base/java:17");
    push(&client(vec![]), &image(&base, vec![blob(layer.clone())])).unwrap();
    let (digest, to) = (Digest::from_sha256(&Sha256::digest(&layer)), dir.path().join("layer"));
    let fetch = || {
        let client = cached(&dir.path().join("cache"));
        block_on(client.blob_to_file(&base, &digest, layer.len() as u64, &to)).unwrap();
        assert!(std::fs::read(&to).unwrap() == layer);
        client.requests()
    };
    assert_eq!((fetch(), fetch()), (1, 0));
    for damage in [vec![], vec![0; layer.len()], layer[1..].to_vec()] {
        for file in files_below(&dir.path().join("cache")) {
            std::fs::write(file, &damage).unwrap();
        }
        assert_eq!((fetch(), fetch()), (1, 0));
    }
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn http_2_is_spoken_where_it_is_offered() {
    let registry = Registry::start_with_tls();
    let trusting = Access { prefix: registry.host(), ca: Some(registry.ca.clone()), ..Access::default() };
    let layers = (0..6).map(|seed| blob(content(seed, 200_000))).collect();
    push(&client(vec![trusting]), &image(&registry.image("a/b:1"), layers)).unwrap();
    let log = registry.log();
    let requests: Vec<&str> = log.lines().filter(|line| line.contains("/v2/")).filter(|line| line.contains(" HTTP/")).collect();
    assert!(requests.len() > 15 && requests.iter().all(|line| line.contains("HTTP/2.0")), "{log}");
}

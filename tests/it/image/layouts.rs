//! OCI layouts as bases and as images that are ready, annotations, and media types that never mix.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use shipway::{
    domain::{
        event::Events,
        image_source::{ImageSource, LayoutReference},
        problem::Code,
        reference::ImageReference,
    },
    image::{self, Build},
    registry::{Content, Push},
};

use super::{
    build::{DOCKER, OCI, from, media_types, push, push_base},
    dockerfile::{build_in, built, client, manifest_and_config, write_context},
};
use crate::support::{
    block_on, fixture,
    job::{gitlab, jar_checkout},
    lab::lab,
    shipway::{report, shipway},
    unique,
};

/// Writes the image of a small Dockerfile on a multi-platform base to `dir/layout`, named `java:17`.
fn written(dir: &Path) -> image::Image {
    let base = push_base(OCI, &["linux/amd64", "linux/arm64"]);
    let image = built(&from(&base.to_string(), dir)).unwrap();
    let name: ImageReference = "registry.example.test/base/java:17".parse().unwrap();
    block_on(image::write_layout(&image, &name, &dir.join("layout"), &client())).unwrap();
    image
}

fn reference(text: &str) -> LayoutReference {
    match text.parse().unwrap() {
        ImageSource::Layout(layout) => layout,
        ImageSource::Registry(name) => panic!("{name} is no layout"),
    }
}

#[test]
fn a_base_comes_from_a_layout_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let base = written(dir.path());
    for name in ["oci:layout", "oci:./layout:17"] {
        let image = built(&from(name, dir.path())).unwrap();
        let (index, child) = (image.manifests.last().unwrap(), &image.manifests[0]);
        let index: Value = serde_json::from_slice(&index.bytes).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 2, "both platforms of the base");
        let child: Value = serde_json::from_slice(&child.bytes).unwrap();
        assert_eq!(child["layers"].as_array().unwrap().len(), 3);
        assert_eq!(child["annotations"]["org.opencontainers.image.base.name"], "registry.example.test/base/java:17");
        let digest = base.manifests.last().unwrap().digest.as_str();
        assert_eq!(child["annotations"]["org.opencontainers.image.base.digest"], digest);
        assert!(matches!(&image.blobs[0].content, Content::File(path) if path.starts_with(dir.path().join("layout"))));
        let pushed = push(&image, "of a layout");
        let back = block_on(client().manifest(&pushed)).unwrap();
        assert_eq!(back.digest, image.manifests.last().unwrap().digest);
    }
}

#[test]
fn layouts_that_cannot_be_used_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let image = written(dir.path());
    let layout = dir.path().join("layout");
    let fails = |name: &str, code: Code, part: &str| {
        let problem = built(&from(name, dir.path())).unwrap_err();
        assert_eq!(problem.code, code, "{name}: {}", problem.message);
        assert!(problem.message.contains(part), "{name}: {}", problem.message);
    };
    fails("oci:nothing", Code::LayoutInvalid, "oci-layout cannot be read");
    fails("oci:layout:18", Code::LayoutInvalid, "has no image \"18\"; it holds 17");
    let index = layout.join("index.json");
    let one = fs::read_to_string(&index).unwrap();
    let mut two: Value = serde_json::from_str(&one).unwrap();
    let mut second = two["manifests"][0].clone();
    second["annotations"]["org.opencontainers.image.ref.name"] = "18".into();
    two["manifests"].as_array_mut().unwrap().push(second);
    fs::write(&index, two.to_string()).unwrap();
    fails("oci:layout", Code::LayoutInvalid, "several images: 17, 18");
    fs::write(&index, "{").unwrap();
    fails("oci:layout", Code::LayoutInvalid, "index.json");
    fs::write(&index, &one).unwrap();
    let manifest = layout.join("blobs/sha256").join(image.manifests[0].digest.hex());
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap().replace("amd64", "amd65") + " ").unwrap();
    fails("oci:layout", Code::DigestMismatch, "should be sha256:");
    fs::remove_file(layout.join("blobs/sha256").join(image.blobs[0].digest.hex())).unwrap();
    let problem = image::read_layout(&reference("oci:layout"), dir.path()).unwrap_err();
    assert!(matches!(problem.code, Code::LayoutInvalid | Code::DigestMismatch), "{}", problem.message);
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion": "2.0.0"}"#).unwrap();
    fails("oci:layout", Code::LayoutInvalid, "2.0.0");
}

#[test]
fn a_layout_is_pushed_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let image = written(dir.path());
    let read = image::read_layout(&reference("oci:layout:17"), dir.path()).unwrap();
    let digests = |image: &image::Image| image.manifests.iter().map(|one| one.digest.clone()).collect::<Vec<_>>();
    assert_eq!(digests(&read), digests(&image));
    assert_eq!((read.size, read.blobs.len()), (image.size, image.blobs.len()));
    assert_eq!(read.base.unwrap().to_string(), image.base.clone().unwrap().to_string());
    let again = image::read_layout(&reference(&format!("oci:layout@{}", image.manifests.last().unwrap().digest)), dir.path()).unwrap();
    push(&again, "as it is");
}

#[test]
fn a_run_without_a_registry_leaves_what_a_later_run_pushes() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let job = || gitlab(&checkout, 1).env("SHIPWAY_IMAGE_BASE", lab().base(17)).arg("image");
    job().run().expect_code(0);
    let built = report(&checkout.path())["image"]["digest"].clone();
    let ready = |job: crate::support::shipway::Shipway| job.env("SHIPWAY_IMAGE_REF", "oci:shipway-report/image");
    ready(job()).run().expect_code(2).expect_text(&["setting-missing", "registry.url"]);
    let line = unique("ready layout");
    let registry = lab().registry().address;
    let done = ready(job()).env("SHIPWAY_REGISTRY_URL", &registry).env("SHIPWAY_LINE", &line).run().expect_code(0);
    let report = report(&checkout.path());
    assert_eq!(report["image"]["digest"], built, "{}", done.text());
    let name: ImageReference = report["image"]["reference"].as_str().unwrap().parse().unwrap();
    assert_eq!(block_on(client().head(&name)).unwrap().unwrap().as_str(), built.as_str().unwrap());
    // A base may come from a layout, too: here from the one that was just written.
    let on_top = gitlab(&checkout, 2).env("SHIPWAY_IMAGE_BASE", "oci:shipway-report/image").arg("dockerfile").run().expect_code(0);
    assert!(on_top.text().contains("FROM \"oci:shipway-report/image\"") || on_top.text().contains("FROM oci:shipway-report/image"));
    shipway(checkout.path()).env("SHIPWAY_IMAGE_BASE", "oci:").arg("image").run().expect_code(2).expect_text(&["image.base", "oci:path"]);
}

#[test]
fn media_types_of_two_families_are_never_mixed() {
    let dir = tempfile::tempdir().unwrap();
    for (types, family) in [
        ([DOCKER[0], OCI[1], OCI[2], OCI[3]], DOCKER),
        ([OCI[0], DOCKER[1], DOCKER[2], DOCKER[3]], OCI),
        ([OCI[0], OCI[1], OCI[2], DOCKER[3]], OCI),
    ] {
        let base = push_base(types, &["linux/amd64", "linux/arm64"]);
        let image = built(&from(&base.to_string(), dir.path())).unwrap();
        for manifest in &image.manifests {
            let body: Value = serde_json::from_slice(&manifest.bytes).unwrap();
            assert!(media_types(&body).iter().all(|found| family.contains(&found.as_str())), "{types:?}: {body}");
        }
        push(&image, "one family");
    }
}

#[test]
fn annotations_stand_on_manifests_and_index_and_labels_in_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let annotations = BTreeMap::from([("org.opencontainers.image.revision".to_string(), "1a2b".to_string())]);
    let labels = BTreeMap::from([("team".to_string(), "orders".to_string())]);
    for types in [OCI, DOCKER] {
        let base = push_base(types, &["linux/amd64", "linux/arm64"]);
        let build = Build { annotations: annotations.clone(), labels: labels.clone(), ..from(&base.to_string(), dir.path()) };
        let image = built(&build).unwrap();
        for manifest in &image.manifests {
            let body: Value = serde_json::from_slice(&manifest.bytes).unwrap();
            let expected = if types == OCI { Value::from("1a2b") } else { Value::Null };
            assert_eq!(body["annotations"]["org.opencontainers.image.revision"], expected, "{body}");
        }
        push(&image, "annotated");
    }
    let scratch = dir.path().join("scratch-image");
    write_context(&scratch, &[("Dockerfile", "FROM scratch\nLABEL team=others a=b\nCOPY a /\n"), ("a", "A")]);
    let image = built(&Build { labels, ..build_in(&scratch) }).unwrap();
    let (_, config) = manifest_and_config(&image);
    assert_eq!(config["config"]["Labels"], serde_json::json!({"a": "b", "team": "orders"}));
}

#[test]
fn a_base_for_another_system_or_architecture_alone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for platforms in [&["windows/amd64"][..], &["windows/amd64", "windows/arm64"]] {
        let base = push_base(OCI, platforms);
        let problem = built(&from(&base.to_string(), dir.path())).unwrap_err();
        assert_eq!(problem.code, Code::PlatformMissing);
        assert!(problem.message.contains("it has windows/amd64"), "{}", problem.message);
    }
    let base = push_base(OCI, &["linux/arm64"]);
    let problem = built(&Build { platforms: vec!["linux/amd64".to_string()], ..from(&base.to_string(), dir.path()) }).unwrap_err();
    assert_eq!(problem.code, Code::PlatformMissing);
    assert!(problem.message.ends_with("has no image for linux/amd64; it has linux/arm64"), "{}", problem.message);
}

#[test]
fn one_more_tag_is_one_more_request() {
    let dir = tempfile::tempdir().unwrap();
    let image = built(&from(&push_base(OCI, &["linux/amd64"]).to_string(), dir.path())).unwrap();
    let target = push(&image, "tags");
    let push = |tags: &[&str]| {
        let push = Push {
            target: target.clone(),
            extra_tags: tags.iter().map(ToString::to_string).collect(),
            blobs: image.blobs.clone(),
            manifests: image.manifests.clone(),
            instead: None,
            look: None,
        };
        block_on(client().push(&push, &Events::none())).unwrap().requests
    };
    assert_eq!([push(&[]), push(&["a"]), push(&["b", "c", "d"])], [1, 2, 4]);
    for tag in ["a", "b", "c", "d"] {
        assert_eq!(block_on(client().head(&target.with_tag(tag))).unwrap().as_ref(), Some(&image.manifests.last().unwrap().digest));
    }
}

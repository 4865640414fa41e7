//! The same input gives the same image, and a base is carried on as it is.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shipway::{
    domain::{
        digest::Digest,
        event::{Events, LayerRole},
        problem::Code,
        reference::ImageReference,
    },
    image::{self, Build},
    registry::{Blob, Content, Manifest, Push},
};

use super::dockerfile::{build_in, built, client, entries, manifest_and_config, packed, write_context};
use super::{boot_jar, recipe};
use crate::support::{block_on, lab::lab};

fn sample(dir: &Path, time: SystemTime, mode: u32) -> String {
    write_context(
        dir,
        &[
            (
                "Dockerfile",
                "FROM scratch\nLABEL a=b\nWORKDIR /app\nCOPY --chown=10001:10001 lib/ lib/\nCOPY classes/ .\nUSER 10001\nENTRYPOINT [\"java\"]\n",
            ),
            ("lib/one.jar", "one"),
            ("lib/two.jar", "two"),
            ("classes/a/A.class", &"class ".repeat(10_000)),
            ("classes/b.properties", "b=1\n"),
        ],
    );
    for file in ["lib/one.jar", "lib/two.jar", "classes/a/A.class", "classes/b.properties"] {
        let path = dir.join("context").join(file);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let image = built(&Build { generated: true, ..build_in(dir) }).unwrap();
    image.manifests.last().unwrap().digest.to_string()
}

#[test]
fn the_digest_depends_on_content_alone_and_never_changes() {
    let dir = tempfile::tempdir().unwrap();
    let first = sample(&dir.path().join("one"), SystemTime::UNIX_EPOCH, 0o644);
    let second = sample(&dir.path().join("two"), SystemTime::now(), 0o664);
    assert_eq!(first, second, "times and umask left a trace");
    // Pinned: another encoder or another order of keys would move every image of everybody.
    assert_eq!(first, "sha256:2fbbc38237e38af9c09ea88c08d6bbb2f830f2dff4bb12e9c5050fe61512531b");
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes))
}

pub fn blob(bytes: Vec<u8>) -> Blob {
    Blob { digest: digest(&bytes), size: bytes.len() as u64, role: LayerRole::Base, content: Content::Bytes(Bytes::from(bytes)) }
}

pub fn manifest(media_type: &str, body: &Value) -> Manifest {
    let bytes = Bytes::from(serde_json::to_vec(body).unwrap());
    Manifest { media_type: media_type.to_string(), digest: digest(&bytes), bytes }
}

pub fn described(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest.as_str(), "size": size})
}

pub const OCI: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
];
pub const DOCKER: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

/// Pushes a base with one layer for each platform; an index when there are several.
pub fn push_base(types: [&str; 4], platforms: &[&str]) -> ImageReference {
    let target: ImageReference = format!("{}:1", lab().registry().repository("base")).parse().unwrap();
    let (mut blobs, mut manifests, mut list) = (Vec::new(), Vec::new(), Vec::new());
    for platform in platforms {
        let mut words = platform.split('/');
        let (os, architecture, variant) = (words.next().unwrap(), words.next().unwrap(), words.next());
        let tar = tar::Builder::new(Vec::new()).into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar).unwrap();
        std::io::Write::write_all(&mut gzip, platform.as_bytes()).unwrap();
        let layer = blob(gzip.finish().unwrap());
        let config = blob(
            serde_json::to_vec(&json!({
                "architecture": architecture, "os": os,
                "config": {"Env": ["PATH=/java/bin", "LANG=C"], "Cmd": ["jshell"], "Labels": {"base": "yes"}, "WorkingDir": "/base"},
                "history": [{"created_by": "base", "created": "2020-01-01T00:00:00Z"}, {"created_by": "CMD", "empty_layer": true}],
                "rootfs": {"type": "layers", "diff_ids": [digest(platform.as_bytes())]},
            }))
            .unwrap(),
        );
        let body = json!({"schemaVersion": 2, "mediaType": types[1], "config": described(types[2], &config.digest, config.size), "layers": [described(types[3], &layer.digest, layer.size)]});
        let one = manifest(types[1], &body);
        let mut entry = described(types[1], &one.digest, one.bytes.len() as u64);
        entry["platform"] = json!({"os": os, "architecture": architecture});
        if let Some(variant) = variant {
            entry["platform"]["variant"] = json!(variant);
        }
        list.push(entry);
        blobs.extend([layer, config]);
        manifests.push(one);
    }
    if platforms.len() > 1 {
        manifests.push(manifest(types[0], &json!({"schemaVersion": 2, "mediaType": types[0], "manifests": list})));
    }
    block_on(
        client().push(&Push { target: target.clone(), extra_tags: vec![], blobs, manifests, instead: None, look: None }, &Events::none()),
    )
    .unwrap();
    target
}

pub fn from(base: &str, dir: &Path) -> Build {
    write_context(dir, &[("Dockerfile", &format!("FROM {base}\nCOPY a /app/a\nENV LANG=D\nENTRYPOINT [\"java\"]\n")), ("a", "A")]);
    Build { platforms: vec![], roles: BTreeMap::from([("a".into(), LayerRole::Application)]), ..build_in(dir) }
}

/// Every media type that stands in a manifest.
pub fn media_types(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match body {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "mediaType" => found.push(text.clone()),
                    other => found.extend(media_types(other)),
                }
            }
        }
        Value::Array(list) => found.extend(list.iter().flat_map(media_types)),
        _ => {}
    }
    found
}

#[test]
fn a_base_is_carried_on_in_its_own_family() {
    let dir = tempfile::tempdir().unwrap();
    for types in [OCI, DOCKER] {
        let base = push_base(types, &["linux/amd64"]);
        let image = built(&from(&base.to_string(), dir.path())).unwrap();
        let (manifest, config) = manifest_and_config(&image);
        assert!(media_types(&manifest).iter().all(|found| types.contains(&found.as_str())), "{manifest}");
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert_eq!(
            config["config"],
            json!({"Entrypoint": ["java"], "Env": ["PATH=/java/bin", "LANG=D"], "Labels": {"base": "yes"}, "WorkingDir": "/base"}),
            "CMD of the base was meant for its own entry point"
        );
        let history: Vec<(&str, bool)> = config["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["created_by"].as_str().unwrap(), one["empty_layer"] == json!(true)))
            .collect();
        assert_eq!(
            history,
            [("base", false), ("CMD", true), ("COPY a /app/a", false), ("ENV LANG=D", true), ("ENTRYPOINT [\"java\"]", true)]
        );
        let roles: Vec<LayerRole> = image.blobs.iter().map(|blob| blob.role).collect();
        assert_eq!(roles, [LayerRole::Base, LayerRole::Application, LayerRole::Other]);
        assert!(matches!(&image.blobs[0].content, Content::Registry(source) if source.name() == base.name()));
        assert_eq!(image.size, image.blobs[0].size + image.blobs[1].size);
        let recorded = image.base.as_ref().unwrap().registry().unwrap();
        assert_eq!((recorded.tag.as_deref(), recorded.digest.is_some()), (Some("1"), true));
        let annotations = &manifest["annotations"];
        assert_eq!(annotations["org.opencontainers.image.base.name"], base.to_string());
        assert_eq!(annotations["org.opencontainers.image.base.digest"], recorded.digest.as_ref().unwrap().as_str());
        // The base's folders are not ours to describe; `app` is.
        assert_eq!(entries(&image.blobs[1]), ["app/ 755 0:0", "app/a 644 0:0 A"]);
        let pushed = push(&image, "family");
        let back = block_on(client().manifest(&pushed)).unwrap();
        assert_eq!((back.media_type.as_str(), &back.digest), (types[1], &image.manifests.last().unwrap().digest));
    }
}

/// Pushes an image to a repository of its own.
pub fn push(image: &image::Image, test: &str) -> ImageReference {
    let target: ImageReference = format!("{}:1", lab().registry().repository(test)).parse().unwrap();
    let push = Push {
        target: target.clone(),
        extra_tags: vec![],
        blobs: image.blobs.clone(),
        manifests: image.manifests.clone(),
        instead: None,
        look: None,
    };
    let pushed = block_on(client().push(&push, &Events::none())).unwrap();
    assert_eq!(pushed.digest, image.manifests.last().unwrap().digest);
    target
}

#[test]
fn a_base_for_several_platforms_gives_an_index() {
    let dir = tempfile::tempdir().unwrap();
    for types in [OCI, DOCKER] {
        let base = push_base(types, &["linux/amd64", "linux/arm64", "linux/s390x"]);
        let image = built(&from(&base.to_string(), dir.path())).unwrap();
        let index: Value = serde_json::from_slice(&image.manifests.last().unwrap().bytes).unwrap();
        assert!(media_types(&index).iter().all(|found| types.contains(&found.as_str())), "{index}");
        let platforms: Vec<&str> =
            index["manifests"].as_array().unwrap().iter().map(|one| one["platform"]["architecture"].as_str().unwrap()).collect();
        assert_eq!(platforms, ["amd64", "arm64"], "s390x is not among the usual ones");
        assert_eq!(image.manifests.len(), 3);
        let ours = image.blobs.iter().filter(|blob| blob.role == LayerRole::Application).count();
        assert_eq!(ours, 1, "the same layer serves both");
        push(&image, "index");
        let one = built(&Build { platforms: vec!["linux/s390x".to_string()], ..from(&base.to_string(), dir.path()) }).unwrap();
        assert_eq!(one.manifests.len(), 1);
        let problem = built(&Build { platforms: vec!["linux/riscv64".to_string()], ..from(&base.to_string(), dir.path()) }).unwrap_err();
        assert_eq!(problem.code.slug(), "platform-missing");
        assert!(
            problem.message.ends_with("has no image for linux/riscv64; it has linux/amd64, linux/arm64, linux/s390x"),
            "{}",
            problem.message
        );
    }
}

#[test]
fn variants_of_a_platform_are_the_same_however_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    // As official images have it, and as others do; the later variant of amd64 stands first.
    let first = push_base(OCI, &["linux/amd64/v3", "linux/amd64", "linux/arm64/v8"]).to_string();
    let second = push_base(OCI, &["linux/amd64", "linux/arm64"]).to_string();
    let copying = format!("FROM {first}\nARG TARGETPLATFORM\nLABEL for=$TARGETPLATFORM\nCOPY --from={second} / /other/\n");
    for (wanted, layer, said) in [
        ("linux/amd64", "linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3", "linux/amd64/v3"),
        ("linux/amd64/v2", "linux/amd64", "linux/amd64/v2"),
        ("linux/arm64", "linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8", "linux/arm64"),
    ] {
        write_context(dir.path(), &[("Dockerfile", &copying)]);
        let image = built(&Build { platforms: vec![wanted.to_string()], ..build_in(dir.path()) })
            .unwrap_or_else(|problem| panic!("{wanted}: {problem}"));
        let (_, config) = manifest_and_config(&image);
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(layer.as_bytes()).as_str(), "{wanted}");
        assert_eq!(config["config"]["Labels"]["for"], said, "{wanted}");
    }
}

#[test]
fn a_mirror_and_a_missing_base() {
    let dir = tempfile::tempdir().unwrap();
    let base = push_base(OCI, &["linux/amd64"]);
    let short = base.repository.clone();
    let mirror = Some(base.registry.clone());
    let image = built(&Build { base_registry: mirror.clone(), ..from(&format!("{short}:1"), dir.path()) }).unwrap();
    assert_eq!(image.base.as_ref().unwrap().registry().unwrap().registry, "docker.io");
    assert!(matches!(&image.blobs[0].content, Content::Registry(source) if source.registry == base.registry));
    let problem = built(&Build { base_registry: mirror, ..from("nobody:1", dir.path()) }).unwrap_err();
    assert_eq!(problem.code.slug(), "base-image-missing");
    let problem = built(&Build { platforms: vec!["amd64".to_string()], ..from("x", dir.path()) }).unwrap_err();
    assert!(problem.message.contains("image.platforms"), "{}", problem.message);
}

#[test]
fn a_layout_on_disk_is_what_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let base = push_base(OCI, &["linux/amd64", "linux/arm64"]);
    let image = built(&from(&base.to_string(), dir.path())).unwrap();
    let name: ImageReference = "registry.example.test/trade/app:1.2".parse().unwrap();
    let layout = dir.path().join("layout");
    for _ in 0..2 {
        block_on(image::write_layout(&image, &name, &layout, &client())).unwrap();
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        assert_eq!(index["manifests"][0]["digest"], image.manifests.last().unwrap().digest.as_str());
        assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1.2");
        for entry in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(digest(&fs::read(&path).unwrap()).hex(), path.file_name().unwrap().to_str().unwrap());
        }
        assert_eq!(fs::read_dir(layout.join("blobs/sha256")).unwrap().count(), image.blobs.len() + image.manifests.len());
        // What an earlier run left, broken or not ours, gives way the second time.
        fs::write(layout.join("blobs/sha256").join(image.blobs[0].digest.hex()), "broken").unwrap();
        fs::write(layout.join("blobs/sha256").join("0".repeat(64)), "old").unwrap();
    }
}

#[test]
fn a_staged_boot_jar_becomes_layers_with_roles() {
    let dir = tempfile::tempdir().unwrap();
    let application = image::inspect(&boot_jar(&dir.path().join("app.jar"), 2020)).unwrap();
    let base = push_base(OCI, &["linux/amd64"]);
    let staged = image::stage(&application, &image::Recipe { base: base.into(), ..recipe() }, &dir.path().join("context")).unwrap();
    let roles = staged.layers.iter().map(|layer| (layer.path.clone(), layer.role)).collect();
    let build = Build {
        context: staged.dir.clone(),
        borrowed: staged.borrowed.clone(),
        dockerfile: staged.dockerfile,
        generated: true,
        roles,
        platforms: vec![],
        ..build_in(dir.path())
    };
    let image = built(&build).unwrap();
    let libraries = staged.dir.join("dependencies/app/lib");
    assert_eq!(fs::read_dir(&libraries).unwrap().count(), 0, "they are read where they are");
    staged.borrowed.copy_into(&staged.dir).unwrap();
    assert_eq!(fs::read_dir(&libraries).unwrap().count(), 2);
    let copied = built(&Build { borrowed: image::Borrowed::default(), ..build }).unwrap();
    assert_eq!(copied.manifests.last().unwrap().digest, image.manifests.last().unwrap().digest);
    let found: Vec<LayerRole> = image.blobs.iter().map(|blob| blob.role).collect();
    assert_eq!(
        found,
        [LayerRole::Base, LayerRole::Dependencies, LayerRole::SnapshotDependencies, LayerRole::Application, LayerRole::Other]
    );
    let (_, config) = manifest_and_config(&image);
    assert_eq!(config["config"]["WorkingDir"], "/app");
    assert_eq!(config["config"]["User"], "10001");
    assert_eq!(config["config"]["Cmd"], json!(["--a b"]));
    let layer = packed(&image.blobs[3]);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer.as_slice()));
    let owners: Vec<(String, u64)> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path().unwrap().display().to_string(), entry.header().uid().unwrap()))
        .collect();
    assert_eq!(owners, [("app/".to_string(), 10001), ("app/app.jar".to_string(), 10001)]);
}

#[test]
fn a_library_that_is_damaged_in_its_jar_is_found_while_it_is_packed() {
    let dir = tempfile::tempdir().unwrap();
    let path = boot_jar(&dir.path().join("app.jar"), 2020);
    let application = image::inspect(&path).unwrap();
    let base = push_base(OCI, &["linux/amd64"]);
    let staged = image::stage(&application, &image::Recipe { base: base.into(), ..recipe() }, &dir.path().join("context")).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(11).position(|window| window == b".jaractuato").unwrap();
    bytes[at + 4] ^= 1;
    fs::write(&path, bytes).unwrap();
    let build = Build {
        context: staged.dir,
        borrowed: staged.borrowed,
        dockerfile: staged.dockerfile,
        generated: true,
        platforms: vec![],
        ..build_in(dir.path())
    };
    let problem = built(&build).unwrap_err();
    assert_eq!(problem.code, Code::ArtifactInvalid, "{}", problem.message);
    assert!(problem.message.contains("app.jar") && problem.message.contains("spring-boot-actuator-3.4.1.jar"), "{}", problem.message);
    let copied = build.borrowed.copy_into(&build.context).unwrap_err();
    assert_eq!((copied.code, copied.message), (problem.code, problem.message));
}

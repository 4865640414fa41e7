//! What is known of Java: which one the classes need, and which one the image has.

use std::fs;

use serde_json::json;
use shipway::{domain::event::LayerRole, image};

use super::{
    build::{OCI, blob, described, digest, manifest},
    class,
    dockerfile::{build_in, built, client, write_context},
    jar,
};
use crate::support::{block_on, job::gitlab, job::jar_checkout, lab::lab};

#[test]
fn classes_that_are_too_new_for_the_base_are_told_before_the_push() {
    let dir = tempfile::tempdir().unwrap();
    let new = jar(&dir.path().join("new.jar"), &[("META-INF/MANIFEST.MF", b"Main-Class: a.B\n"), ("a/B.class", &class(25))]);
    let checkout = jar_checkout("web", &new);
    let job = |java: u32| gitlab(&checkout, 1).env("SHIPWAY_IMAGE_BASE", lab().base(java)).arg("image");
    let done = job(17).run().expect_code(0);
    let done =
        done.expect_text(&["app.jar has classes for Java 25", "has Java 17: it will not start", "set image.base to a Java 25 image"]);
    let (warned, pushed) = (done.text().find("will not start").unwrap(), done.text().find("OCI layout at").unwrap());
    assert!(warned < pushed, "{}", done.text());
    assert!(!job(25).run().expect_code(0).text().contains("will not start"));
}

#[test]
fn the_default_base_is_never_older_than_the_classes() {
    let dir = tempfile::tempdir().unwrap();
    for (level, base) in [(8, 8), (17, 17), (22, 25)] {
        let built = jar(&dir.path().join("app.jar"), &[("META-INF/MANIFEST.MF", b"Main-Class: a.B\n"), ("a/B.class", &class(level))]);
        let checkout = jar_checkout("web", &built);
        let done = gitlab(&checkout, 1).arg("dockerfile").run().expect_code(0);
        done.expect_text(&[&format!("FROM docker.io/library/eclipse-temurin:{base}-jre")]);
    }
}

#[test]
fn options_of_the_virtual_machine_stand_in_the_entry_point() {
    let dir = tempfile::tempdir().unwrap();
    let built = jar(&dir.path().join("app.jar"), &[("META-INF/MANIFEST.MF", b"Main-Class: a.B\n"), ("a/B.class", &class(17))]);
    let checkout = jar_checkout("web", &built);
    let job = gitlab(&checkout, 1).env("SHIPWAY_IMAGE_JVM", r#"["-Xss512k", "-Dname=a b"]"#).arg("dockerfile");
    job.run().expect_code(0).expect_text(&[r#"ENTRYPOINT ["java", "-Xss512k", "-Dname=a b", "-jar", "/app/app.jar"]"#]);
}

#[test]
fn a_base_that_does_not_say_its_java_is_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    for (env, release, expected) in [
        ("", "JAVA_VERSION=\"21.0.4\"\n", Some(21)),
        ("ENV JAVA_HOME=/usr/lib/jvm/java-17-amazon-corretto\n", "JAVA_VERSION=\"21\"\n", Some(17)),
        ("ENV JAVA_VERSION=jdk8u402-b06\n", "", Some(8)),
        ("", "IMPLEMENTOR=\"x\"\n", None),
    ] {
        let folder = dir.path().join("base");
        let _ = fs::remove_dir_all(&folder);
        let dockerfile = format!("FROM scratch\n{env}COPY release /opt/java/release\n");
        write_context(&folder, &[("Dockerfile", &dockerfile), ("release", release)]);
        let base = super::build::push(&built(&build_in(&folder)).unwrap(), "silent java");
        let on_top = dir.path().join("app");
        write_context(&on_top, &[("Dockerfile", &format!("FROM {base}\nCOPY a /app/a\n")), ("a", "A")]);
        let image = built(&build_in(&on_top)).unwrap();
        let found = block_on(image::java_of(&image, &image.facts(), &client(), dir.path())).unwrap();
        assert_eq!(found, expected, "{env:?} {release:?}");
    }
}

/// Pushes a base of one layer, packed as it is said, whose file `release` alone tells its Java.
pub fn silent_base(media_type: &str, pack: fn(&[u8]) -> Vec<u8>, release: &str) -> String {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mode, text) in [("opt/java/release", 0o644, release), ("usr/bin/java", 0o755, "java")] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let layer = blob(pack(&tar));
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]}});
    let config = blob(serde_json::to_vec(&config).unwrap());
    let layers = [described(media_type, &layer.digest, layer.size)];
    let body = json!({"schemaVersion": 2, "mediaType": OCI[1], "config": described(OCI[2], &config.digest, config.size), "layers": layers});
    let image = image::Image { blobs: vec![layer, config], manifests: vec![manifest(OCI[1], &body)], base: None, size: 0 };
    super::build::push(&image, "silent java").to_string()
}

/// As pigz and eStargz write it: several members, one behind the other.
pub fn members(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(512).flat_map(gzip).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, bytes).unwrap();
    packed.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn a_base_is_looked_into_however_it_is_packed() {
    let dir = tempfile::tempdir().unwrap();
    for (packing, pack) in [("+gzip", members as fn(&[u8]) -> Vec<u8>), ("+zstd", zstd), ("", <[u8]>::to_vec)] {
        let base = silent_base(&format!("application/vnd.oci.image.layer.v1.tar{packing}"), pack, "JAVA_VERSION=\"21.0.4\"\n");
        let on_top = dir.path().join(format!("app{packing}"));
        write_context(&on_top, &[("Dockerfile", &format!("FROM {base}\nCOPY a /app/a\n")), ("a", "A")]);
        let image = built(&build_in(&on_top)).unwrap();
        assert!(image.blobs.iter().any(|blob| blob.role == LayerRole::Base));
        let found = block_on(image::java_of(&image, &image.facts(), &client(), dir.path())).unwrap();
        assert_eq!(found, Some(21), "{packing}");
    }
}

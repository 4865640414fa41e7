//! An application's layers on a new base, in a real registry.

use serde_json::Value;
use shipway::domain::{event::Events, reference::ImageReference};
use shipway::registry::{Manifest, Push};

use super::{
    build::{OCI, from, push_base},
    dockerfile::{build_in, built, client, write_context},
    java::{members, silent_base, zstd},
};
use crate::support::{
    block_on,
    fixture::Checkout,
    job::{gitlab, jar_checkout},
    lab::lab,
    shipway::{Finished, Shipway, report},
    unique,
};

/// Makes another build of the lab's Java 17: the same with one more file, under `name`, for all its platforms.
pub fn java_17(name: &ImageReference, patch: &str) {
    let dir = tempfile::tempdir().unwrap();
    let dockerfile = format!("FROM {}\nENV PATCH={patch}\nCOPY patch /opt/patch\n", lab().base(17));
    write_context(dir.path(), &[("Dockerfile", &dockerfile), ("patch", patch)]);
    let image = built(&shipway::image::Build { platforms: Vec::new(), ..build_in(dir.path()) }).unwrap();
    let push =
        Push { target: name.clone(), extra_tags: Vec::new(), blobs: image.blobs, manifests: image.manifests, instead: None, look: None };
    block_on(client().push(&push, &Events::none())).unwrap();
}

/// An application on a base with a tag that moves.
struct Case {
    checkout: Checkout,
    base: ImageReference,
    line: String,
}

impl Case {
    fn new(test: &str) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let jar =
            super::jar(&dir.path().join("app.jar"), &[("META-INF/MANIFEST.MF", b"Main-Class: a.B\n"), ("a/B.class", &super::class(17))]);
        let base: ImageReference = format!("{}/{}/java:17", lab().registry().address, unique(test)).parse().unwrap();
        java_17(&base, "one");
        let case = Case { checkout: jar_checkout("web", &jar), base, line: unique(test) };
        let job = case.job().env("SHIPWAY_IMAGE_BASE", case.base.to_string()).env("SHIPWAY_IMAGE_TAG", "1.2").arg("image");
        job.run().expect_code(0);
        case
    }

    fn job(&self) -> Shipway {
        gitlab(&self.checkout, 1)
            .env("SHIPWAY_REGISTRY_URL", &lab().registry().address)
            .env("SHIPWAY_LINE", &self.line)
            .env("SHIPWAY_IMAGE_ENV", r#"{"TZ": "UTC"}"#)
    }

    fn name(&self, tag: &str) -> ImageReference {
        format!("{}/{}/web:{tag}", lab().registry().address, self.line).parse().unwrap()
    }

    fn rebase(&self, image: &str, more: &[&str]) -> Finished {
        self.job().arg("rebase").arg(image).args(more).run()
    }

    fn manifest(&self, name: &ImageReference) -> Manifest {
        block_on(client().manifest(name)).unwrap()
    }

    fn children(&self, name: &ImageReference) -> Vec<(Value, Value)> {
        let index: Value = serde_json::from_slice(&self.manifest(name).bytes).unwrap();
        let digests = index["manifests"].as_array().unwrap().iter().map(|child| child["digest"].as_str().unwrap().parse().unwrap());
        let read = |digest| {
            let manifest: Value = serde_json::from_slice(&self.manifest(&name.with_digest(&digest)).bytes).unwrap();
            let (config, size) =
                (manifest["config"]["digest"].as_str().unwrap().parse().unwrap(), manifest["config"]["size"].as_u64().unwrap());
            let config = serde_json::from_slice(&block_on(client().blob(name, &config, size)).unwrap()).unwrap();
            (manifest, config)
        };
        digests.map(read).collect()
    }
}

#[test]
fn a_new_build_of_the_base_gets_the_applications_layers() {
    let case = Case::new("rebase");
    let before = case.children(&case.name("1.2"));
    let running = case.manifest(&case.name("1.2")).digest;
    java_17(&case.base, "two");
    let asked = lab().registry_requests(&case.line).len();
    let done = case.rebase(&case.name("1.2").to_string(), &[]).expect_code(0);
    let requests = lab().registry_requests(&case.line).split_off(asked);
    let layers: Vec<String> =
        before[0].0["layers"].as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap().to_string()).collect();
    let fetched = |line: &String| line.contains("\"GET /v2/") && layers.iter().any(|layer| line.contains(layer.as_str()));
    assert!(!requests.iter().any(fetched), "layers were fetched: {requests:#?}");

    let rebased = case.name("1.2-r1");
    let after = case.children(&rebased);
    assert_eq!((before.len(), after.len()), (2, 2), "both platforms");
    let base_digest = case.manifest(&case.base).digest;
    for ((old, old_config), (new, config)) in before.iter().zip(&after) {
        assert_eq!(new["annotations"]["org.opencontainers.image.base.digest"], base_digest.as_str());
        assert_eq!(new["annotations"]["org.opencontainers.image.base.name"], case.base.to_string());
        let (old, new) = (old["layers"].as_array().unwrap(), new["layers"].as_array().unwrap());
        assert_eq!((old.len(), old.last(), &old[0]), (new.len(), new.last(), &new[0]));
        let at = new.len() - 2;
        assert_ne!(old[at], new[at], "the layer with the base's patch");
        let env: Vec<&str> = config["config"]["Env"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        assert!(env.contains(&"PATCH=two") && env.contains(&"TZ=UTC") && !env.contains(&"PATCH=one"), "{env:?}");
        assert_eq!(config["config"]["Entrypoint"], old_config["config"]["Entrypoint"]);
        let diffs = config["rootfs"]["diff_ids"].as_array().unwrap().len();
        let history = config["history"].as_array().unwrap().iter().filter(|one| one["empty_layer"] != true).count();
        assert_eq!((diffs, history), (new.len(), new.len()));
    }
    // What runs keeps its tag; a later job can publish what was made.
    assert_eq!(case.manifest(&case.name("1.2")).digest, running);
    let digest = case.manifest(&rebased).digest;
    let env = std::fs::read_to_string(case.checkout.path().join("shipway-report/shipway.env")).unwrap();
    assert!(env.contains(&format!("SHIPWAY_OUT_IMAGE={}\n", rebased.with_digest(&digest))), "{env}");
    assert_eq!(report(&case.checkout.path())["image"]["digest"], digest.as_str());
    done.expect_text(&[&format!("{rebased}@{digest}")]);

    // The same once more ends at the same image, and what is up to date says so.
    case.rebase(&case.name("1.2").to_string(), &[]).expect_code(0).expect_text(&["1.2-r1@"]);
    case.rebase(&rebased.to_string(), &[]).expect_code(0).expect_text(&["nothing to do"]);
    assert_eq!(report(&case.checkout.path())["image"]["digest"], digest.as_str());
    java_17(&case.base, "three");
    case.rebase(&rebased.with_digest(&digest).to_string(), &[]).expect_code(0).expect_text(&["1.2-r2@"]);
    let own = case.rebase(&rebased.to_string(), &["--tag", "fixed"]).expect_code(0);
    own.expect_text(&[&format!("{}@", case.name("fixed"))]);
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let case = Case::new("refused");
    let image = case.name("1.2").to_string();
    let done = case.rebase(&image, &["--onto", &lab().base(25)]).expect_code(10);
    done.expect_text(&["rebase-refused", "has Java 17, and", "has Java 25", "same Java"]);
    let done = case.rebase(&image, &["--onto", &lab().web("1")]).expect_code(10);
    done.expect_text(&["platform-missing", "has no image for linux/arm64"]);
    case.rebase(&lab().web("1"), &[]).expect_code(10).expect_text(&["rebase-refused", "does not say what it stands on"]);
    case.rebase(&case.name("none").to_string(), &[]).expect_code(10).expect_text(&["image-missing", "rebase.image"]);
    case.job().arg("rebase").run().expect_code(2).expect_text(&["setting-missing", "rebase.image"]);
    // As a plugin step has it: settings alone.
    let step = case.job().env("SHIPWAY_COMMAND", "rebase").env("SHIPWAY_REBASE_IMAGE", &image);
    step.env("SHIPWAY_REBASE_ONTO", lab().base(25)).run().expect_code(10).expect_text(&["rebase-refused"]);
    assert!(block_on(client().head(&case.name("1.2-r1"))).unwrap().is_none(), "nothing was pushed");
}

#[test]
fn the_program_of_the_entry_point_has_to_be_there() {
    let case = Case::new("program");
    let build = |dockerfile: String| {
        let dir = tempfile::tempdir().unwrap();
        write_context(dir.path(), &[("Dockerfile", &dockerfile), ("a", "A")]);
        let image = built(&shipway::image::Build { platforms: Vec::new(), ..build_in(dir.path()) }).unwrap();
        super::build::push(&image, "program").to_string()
    };
    let base = build("FROM scratch\nENV JAVA_VERSION=17\nCOPY a /usr/bin/start\n".to_string());
    let empty = build("FROM scratch\nENV JAVA_VERSION=17\nCOPY a /a\n".to_string());
    let full = build("FROM scratch\nENV JAVA_VERSION=17\nCOPY a /usr/bin/start\nCOPY a /b\n".to_string());
    let app = build(format!("FROM {base}\nCOPY a /app/a\nENTRYPOINT [\"start\"]\n"));
    let own = build(format!("FROM {base}\nCOPY a /app/run\nWORKDIR /app\nENTRYPOINT [\"./run\"]\n"));
    case.rebase(&app, &["--onto", &empty]).expect_code(10).expect_text(&["the entry point starts start, and", "no such program"]);
    case.rebase(&app, &["--onto", &full]).expect_code(0);
    case.rebase(&own, &["--onto", &empty]).expect_code(0);
}

#[test]
fn a_base_s_java_is_found_in_its_layers_or_the_rebase_is_refused() {
    let case = Case::new("silent");
    let base = |packing: &str, pack: fn(&[u8]) -> Vec<u8>, release: &str| {
        silent_base(&format!("application/vnd.oci.image.layer.v1.tar{packing}"), pack, release)
    };
    let app = |base: &str| {
        let dir = tempfile::tempdir().unwrap();
        write_context(dir.path(), &[("Dockerfile", &format!("FROM {base}\nCOPY a /app/a\nENTRYPOINT [\"java\"]\n")), ("a", "A")]);
        super::build::push(&built(&build_in(dir.path())).unwrap(), "silent").to_string()
    };
    let (members, zstd) = (base("+gzip", members, "JAVA_VERSION=\"17.0.1\"\n"), base("+zstd", zstd, "JAVA_VERSION=\"17.0.2\"\n"));
    let later = base("", <[u8]>::to_vec, "JAVA_VERSION=\"21.0.1\"\n");
    let web = app(&members);
    case.rebase(&web, &["--onto", &zstd]).expect_code(0);
    case.rebase(&web, &["--onto", &later]).expect_code(10).expect_text(&["rebase-refused", "has Java 17, and", "has Java 21"]);
    // Neither tells: that both are the same cannot be known.
    let (one, other) = (base("", <[u8]>::to_vec, "IMPLEMENTOR=\"x\"\n"), base("", <[u8]>::to_vec, "IMPLEMENTOR=\"y\"\n"));
    case.rebase(&app(&one), &["--onto", &other]).expect_code(10).expect_text(&["rebase-refused", "tells which Java it has"]);
}

#[test]
fn a_variant_of_the_platform_that_means_the_same_is_no_hindrance() {
    let case = Case::new("variant");
    let [old, new] =
        [&["linux/amd64", "linux/arm64/v8"], &["linux/amd64", "linux/arm64"]].map(|platforms| push_base(OCI, platforms).to_string());
    let dir = tempfile::tempdir().unwrap();
    let app = super::build::push(&built(&from(&old, dir.path())).unwrap(), "variant").to_string();
    // Layers of the two are the same but for the one of arm64: what hinders is that these bases have no Java at all.
    case.rebase(&app, &["--onto", &new]).expect_code(10).expect_text(&["rebase-refused", "no such program"]);
}

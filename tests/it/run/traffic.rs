//! The requests of whole runs: `shipway image` against a real registry, counted in front of it.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::support::{
    checker::{Checker, round_trips, summary},
    fixture::{self, Checkout},
    job::{gitlab, jar_checkout},
    lab::lab,
    shipway::{Shipway, report},
    unique,
};

/// The same jar with something behind one of its application's classes: as if that one had been compiled anew.
fn change_a_class(from: &Path, to: &Path, mark: &str) {
    let mut archive = ZipArchive::new(File::open(from).unwrap()).unwrap();
    let mut jar = ZipWriter::new(File::create(to).unwrap());
    let mut changed = 0;
    for nth in 0..archive.len() {
        let mut entry = archive.by_index(nth).unwrap();
        let name = entry.name().unwrap().into_owned();
        if changed == 0 && name.starts_with("BOOT-INF/classes/") && name.ends_with(".class") {
            let mut class = Vec::new();
            entry.read_to_end(&mut class).unwrap();
            class.extend_from_slice(mark.as_bytes());
            jar.start_file(name, SimpleFileOptions::default()).unwrap();
            jar.write_all(&class).unwrap();
            changed += 1;
        } else {
            jar.raw_copy_file(entry).unwrap();
        }
    }
    jar.finish().unwrap();
    assert_eq!(changed, 1);
}

/// The lab's base behind a checker, by its digest.
fn pinned_base(checker: &Checker) -> String {
    let base = lab().base(17);
    let output = std::process::Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--raw", &format!("docker://{base}")])
        .output()
        .unwrap();
    let digest = shipway::domain::digest::Digest::from_sha256(&<sha2::Sha256 as sha2::Digest>::digest(&output.stdout));
    let path = base.split_once('/').unwrap().1.split(':').next().unwrap();
    format!("{}/{path}@{digest}", checker.host())
}

struct Ground {
    checker: Checker,
    base: String,
    line: String,
    checkout: Checkout,
    cache: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let checker = Checker::of(&lab().registry().address);
        let checkout = jar_checkout("web", &fixture::archive("spring-boot-service", ""));
        Ground { base: pinned_base(&checker), checker, line: unique("traffic"), checkout, cache: tempfile::tempdir().unwrap() }
    }

    fn job(&self) -> Shipway {
        let job = gitlab(&self.checkout, 1).env("SHIPWAY_REGISTRY_URL", self.checker.host()).env("SHIPWAY_LINE", &self.line);
        job.env("SHIPWAY_IMAGE_BASE", &self.base).env("SHIPWAY_IMAGE_PLATFORMS", "linux/amd64").arg("image")
    }

    fn cached(&self) -> Shipway {
        self.job().env("SHIPWAY_IMAGE_CACHE", self.cache.path())
    }

    /// Runs a job; what it asked, and what it reports of that.
    fn run(&self, job: Shipway) -> (Vec<String>, usize) {
        self.checker.take();
        let done = job.run().expect_code(0);
        let calls = self.checker.take();
        assert_eq!(report(&self.checkout.path())["image"]["requests"], calls.len(), "{}\n{calls:#?}", done.text());
        (summary(&calls), round_trips(&calls))
    }

    fn next_version(&self, mark: &str) {
        change_a_class(&fixture::archive("spring-boot-service", ""), &self.checkout.path().join("app.jar"), mark);
        self.checkout.commit("Change a class");
    }
}

#[test]
fn nothing_changed_is_one_request_and_one_class_is_five_after_one_look() {
    let ground = Ground::new();
    let (first, _) = ground.run(ground.cached());
    let downloads = first.iter().filter(|call| call.starts_with("GET blob")).count();
    assert_eq!(downloads, 1, "of the base only its configuration is read: {first:?}");
    assert!(first.iter().any(|call| call == "POST blob mount 201"), "{first:?}");
    ground.checker.delay(Duration::from_millis(40));

    assert_eq!(ground.run(ground.cached()), (vec!["GET manifest 200".to_string()], 1));
    // Without a cache the base has to be read: index, manifest, configuration.
    assert_eq!(ground.run(ground.job()).0, ["GET blob 200", "GET manifest 200", "GET manifest 200", "GET manifest 200"]);

    // A tag that stays, as Jib's users have it.
    let latest = || ground.cached().env("SHIPWAY_IMAGE_TAG", "latest");
    ground.run(latest());
    ground.next_version("one");
    let five = ["POST blob 202", "POST blob 202", "PUT blob 201", "PUT blob 201", "PUT manifest 201"].map(str::to_string);
    let with = |more: &[&str]| {
        let mut all: Vec<String> = five.iter().cloned().chain(more.iter().map(|call| call.to_string())).collect();
        all.sort();
        all
    };
    assert_eq!(ground.run(latest()), (with(&["GET manifest 200"]), 4));

    // The commit's tag: that it is free is asked for while the blobs are on their way.
    ground.next_version("two");
    assert_eq!(ground.run(ground.cached()), (with(&["GET manifest 200", "HEAD manifest 404"]), 4));
}

#[test]
fn without_a_cache_the_branch_s_last_image_is_looked_at() {
    let ground = Ground::new();
    ground.run(ground.job());
    let before = ground.checkout.head();
    ground.next_version("one");
    let (calls, _) = ground.run(ground.job().env("CI_COMMIT_BEFORE_SHA", before));
    let count = |word: &str| calls.iter().filter(|call| call.starts_with(word)).count();
    // The commit's own tag, the last commit's; index, manifest and configuration of the base.
    assert_eq!((count("GET manifest"), count("GET blob"), count("HEAD blob"), count("POST")), (2 + 2, 1, 0, 2), "{calls:?}");
}

#[test]
fn a_cache_that_is_damaged_costs_time_and_nothing_else() {
    let ground = Ground::new();
    ground.run(ground.cached());
    let digest = || report(&ground.checkout.path())["image"]["digest"].clone();
    let right = digest();
    for damage in ["", "garbage", "{\"digest\": \"sha256:0\"}"] {
        for folder in ["content", "hints"] {
            for entry in std::fs::read_dir(ground.cache.path().join("v1").join(folder)).unwrap() {
                std::fs::write(entry.unwrap().path(), damage).unwrap();
            }
        }
        ground.run(ground.cached());
        assert_eq!(digest(), right);
    }
    // One that cannot be there is said, and done without.
    let file = ground.cache.path().join("file");
    std::fs::write(&file, "").unwrap();
    ground.job().env("SHIPWAY_IMAGE_CACHE", &file).run().expect_code(0).expect_text(&["image.cache"]);
    assert_eq!(digest(), right);
    // Two at once.
    let cache = tempfile::tempdir().unwrap();
    let other = jar_checkout("web", &fixture::archive("spring-boot-service", ""));
    let run = |checkout: &Checkout| {
        let job = gitlab(checkout, 1).env("SHIPWAY_REGISTRY_URL", ground.checker.host()).env("SHIPWAY_LINE", &ground.line);
        job.env("SHIPWAY_IMAGE_BASE", &ground.base).env("SHIPWAY_IMAGE_CACHE", cache.path()).arg("image").spawn()
    };
    let both = [run(&ground.checkout), run(&other)];
    both.into_iter().for_each(|run| drop(run.wait().expect_code(0)));
}

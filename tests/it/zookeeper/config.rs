//! `config push|pull|diff|history|rollback`.

use std::{collections::BTreeMap, fs};

use super::Site;
use crate::{
    pushed::files,
    support::{shipway::Shipway, zookeeper::Cut},
};

impl Site {
    fn config(&self, arguments: &[&str]) -> Shipway {
        self.shipway("ada").arg("config").args(arguments)
    }

    fn pulled(&self, arguments: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let to = tempfile::tempdir().unwrap();
        let folder = to.path().join("out");
        self.config(&[&["pull", "--to", folder.to_str().unwrap()], arguments].concat()).run().expect_code(0);
        files(&folder)
    }

    fn versions(&self) -> Vec<serde_json::Value> {
        let said = self.config(&["history", "--json"]).run().expect_code(0).stdout;
        serde_json::from_str::<serde_json::Value>(&said).unwrap()["versions"].as_array().unwrap().clone()
    }
}

#[test]
fn a_set_of_files_goes_there_and_comes_back_with_who_and_why() {
    let site = Site::new();
    site.write("config/application.yml", "limit: 1\n");
    site.write("config/db/größe.yml", "x: 1\n");
    site.write("config/logo.png", b"\x89PNG\xff\0");
    site.write("config/empty", b"");
    site.config(&["pull", "--to", "out"]).run().expect_code(10).expect_text(&["no configuration of web was pushed", "[config-missing]"]);
    let first = site.config(&["push", "config", "--reason", "first of all"]).run().expect_code(0);
    first.expect_text(&["version 1 of the configuration of web is pushed, 4 files"]);
    assert_eq!(site.pulled(&[]), files(&site.path("config")));
    site.config(&["push", "config"]).run().expect_code(0).expect_text(&["has these files already"]);
    site.write("config/application.yml", "limit: 2\n");
    site.config(&["diff", "config"]).run().expect_code(0).expect_text(&["- limit: 1", "+ limit: 2"]);
    site.config(&["push", "config", "--reason", "more load"]).run().expect_code(0);
    site.config(&["rollback", "--reason", "too much load"]).run().expect_code(0).expect_text(&["version 3", "puts back version 1"]);
    assert_eq!(site.pulled(&[])["application.yml"], b"limit: 1\n");
    assert_eq!(site.pulled(&["--version", "2"])["application.yml"], b"limit: 2\n");
    site.config(&["history"]).run().expect_code(0).expect_text(&["puts back 1: too much load", "more load", "first of all", "ada"]);
    // another environment is apart
    site.config(&["pull", "--to", "out"]).env("SHIPWAY_ENVIRONMENT", "prod").run().expect_code(10);
    // old versions go with their files
    for number in 3..6 {
        site.write("config/application.yml", format!("limit: {number}\n"));
        site.config(&["push", "config"]).env("SHIPWAY_KUBERNETES_HISTORY", "2").run().expect_code(0);
    }
    assert_eq!(site.versions().len(), 2);
    site.config(&["pull", "--to", "old", "--version", "2"]).run().expect_code(2).expect_text(&["there is no version 2"]);
}

#[test]
fn nobody_ever_sees_half_of_a_push_and_of_two_at_once_one_is_told() {
    let site = Site::new();
    std::thread::scope(|scope| {
        for number in 1..=4 {
            let site = &site;
            scope.spawn(move || {
                let folder = format!("config-{number}");
                (0..5).for_each(|file| site.write(&format!("{folder}/{file}.yml"), format!("{number}\n")));
                loop {
                    let done = site.config(&["push", &folder, "--reason", &folder]).run();
                    match done.code {
                        40 => drop(done.expect_text(&["of the configuration of web meanwhile", "[lock-held]"])),
                        _ => break drop(done.expect_code(0)),
                    }
                }
            });
        }
        for reader in 0..2 {
            let site = &site;
            scope.spawn(move || {
                let out = format!("out-{reader}");
                for _ in 0..6 {
                    let done = site.config(&["pull", "--to", &out]).run();
                    if done.code == 10 && done.text().contains("no configuration of web was pushed") {
                        continue;
                    }
                    done.expect_code(0);
                    let seen = files(&site.path(&out));
                    assert!(seen.len() == 5 && seen.values().all(|content| *content == seen["0.yml"]), "{seen:?}");
                }
            });
        }
    });
    let numbers: Vec<u64> = site.versions().iter().map(|version| version["version"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_connection_lost_at_any_request_neither_loses_nor_doubles_a_push() {
    let site = Site::new();
    let (mut at, mut pushed) = (0, 0);
    loop {
        at += 1;
        let mut cut = false;
        for reached in [false, true] {
            pushed += 1;
            site.write("config/a.yml", format!("{pushed}\n"));
            let proxy = Cut::start(site.server.port, at, reached);
            let url = format!("zookeeper://127.0.0.1:{}", proxy.port);
            site.through(&url, "ada")
                .args(["config", "push", "config"])
                .run()
                .expect_code(0)
                .expect_text(&[&format!("version {pushed} of")]);
            assert_eq!(site.pulled(&[])["a.yml"], format!("{pushed}\n").as_bytes(), "request {at}, reached: {reached}");
            cut |= proxy.requests() >= at;
        }
        if !cut {
            break;
        }
    }
    assert!(at > 4, "only {at} requests");
}

/// As a push: a rollback that is asked for once is done once.
#[test]
fn a_connection_lost_at_any_request_neither_loses_nor_doubles_a_rollback() {
    let site = Site::new();
    for number in 1..3 {
        site.write("config/a.yml", format!("{number}\n"));
        site.config(&["push", "config"]).run().expect_code(0);
    }
    let (mut at, mut version) = (0, 2);
    loop {
        at += 1;
        let mut cut = false;
        for reached in [false, true] {
            version += 1;
            let proxy = Cut::start(site.server.port, at, reached);
            let url = format!("zookeeper://127.0.0.1:{}", proxy.port);
            let before = if version % 2 == 0 { "2\n" } else { "1\n" };
            site.through(&url, "ada").args(["config", "rollback"]).run().expect_code(0);
            let versions = site.versions();
            assert_eq!(versions.last().unwrap()["version"], version, "request {at}, reached: {reached}");
            assert_eq!(site.pulled(&[])["a.yml"], before.as_bytes(), "request {at}, reached: {reached}");
            cut |= proxy.requests() >= at;
        }
        if !cut {
            break;
        }
    }
    assert!(at > 4, "only {at} requests");
}

#[test]
fn what_is_secret_is_for_its_owner_alone() {
    let site = Site::new();
    site.write("config/key.pem", "hidden\n");
    let secret = |url: &str, arguments: &[&str]| {
        site.through(url, "ada").env("SHIPWAY_KUBERNETES_CONFIG_SECRET", "true").arg("config").args(arguments)
    };
    let open = secret(&site.server.url(), &["push", "config"]).run().expect_code(2);
    open.expect_text(&["everybody could read these files", "zookeeper://USER:PASSWORD@HOST:PORT"]);
    let ours = site.server.url().replace("//", "//ada:pass-word-1@");
    let pushed = secret(&ours, &["push", "config"]).run().expect_code(0);
    assert!(!pushed.text().contains("pass-word-1"), "{}", pushed.text());
    secret(&ours, &["pull", "--to", "out"]).run().expect_code(0);
    assert_eq!(fs::read(site.path("out/key.pem")).unwrap(), b"hidden\n");
    let theirs = secret(&site.server.url().replace("//", "//eve:other@"), &["pull", "--to", "stolen"]).run().expect_code(30);
    assert!(theirs.expect_text(&["not authorized", "[center-denied]"]).text().contains("/shipway/config/trade/web/-"));
    assert!(!site.path("stolen").exists());
}

#[test]
fn what_does_not_fit_into_one_request_is_refused_before_it_is_sent() {
    let site = Site::new();
    site.write("config/big.bin", vec![b'x'; 1024 * 1024 - 512]);
    let large = site.config(&["push", "config"]).run().expect_code(10);
    large.expect_text(&["more than the 1 MiB that ZooKeeper takes", "[config-too-large]"]);
    assert_eq!(site.versions().len(), 0);
    // what fits goes there as a whole
    site.write("config/big.bin", vec![b'x'; 1000 * 1024]);
    site.config(&["push", "config"]).run().expect_code(0);
    assert_eq!(site.pulled(&[])["big.bin"].len(), 1000 * 1024);
}

#[test]
fn two_hundred_files_come_as_a_set() {
    let site = Site::new();
    (0..200).for_each(|file| site.write(&format!("config/{}/{file}.yml", file % 7), format!("file: {file}\n").repeat(100)));
    site.config(&["push", "config"]).run().expect_code(0);
    assert_eq!(site.pulled(&[]).len(), 200);
}

/// What pods do: they ask for a content, and have a copy of it beside them.
#[test]
fn a_content_is_found_in_the_centre_or_else_in_the_copy() {
    let site = Site::new();
    site.write("config/db/a.yml", "limit: 1\n");
    site.config(&["push", "config"]).run().expect_code(0);
    let content = site.versions()[0]["config"]["hash"].as_str().unwrap().to_string();
    let pull = |url: &str, more: &[&str]| {
        let run = site.through(url, "ada").args(["config", "pull", "--to", "out", "--content", &content]).args(more);
        let _ = fs::remove_dir_all(site.path("out"));
        run.run()
    };
    let url = site.server.url();
    pull(&url, &["--copy", "config"]).expect_code(0).expect_text(&["version 1 is in"]);
    let nowhere = format!("zookeeper://127.0.0.1:{}", crate::support::free_port());
    pull(&nowhere, &["--copy", "config"]).expect_code(20).expect_text(&["takes changes", "kubernetes.config.offline"]);
    let offline = pull(&nowhere, &["--copy", "config", "--offline"]).expect_code(0);
    offline.expect_text(&["the files are those of the release's copy", "the copy is in"]);
    assert_eq!(fs::read(site.path("out/db/a.yml")).unwrap(), b"limit: 1\n");
    // two more pushes, and the version is gone
    for number in 2..4 {
        site.write("config/db/a.yml", format!("limit: {number}\n"));
        site.config(&["push", "config"]).env("SHIPWAY_KUBERNETES_HISTORY", "2").run().expect_code(0);
    }
    pull(&url, &[]).expect_code(2).expect_text(&["there is no version with the content"]);
    // files of another content are no copy
    pull(&url, &["--copy", "config"]).expect_code(2).expect_text(&["there is no version with the content"]);
    site.write("config/db/a.yml", "limit: 1\n");
    pull(&url, &["--copy", "config"]).expect_code(0).expect_text(&["the files are those of the release's copy"]);
    assert_eq!(fs::read(site.path("out/db/a.yml")).unwrap(), b"limit: 1\n");
}

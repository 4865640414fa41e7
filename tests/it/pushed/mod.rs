//! `config push|pull|diff|history|rollback` on a real API server.

pub(crate) mod release;
pub(crate) mod watch;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams};

use crate::support::{
    block_on,
    lab::{Namespace, lab},
    shipway::{Shipway, shipway},
};

struct Center {
    namespace: Namespace,
    folder: tempfile::TempDir,
}

impl Center {
    fn new(test: &str) -> Self {
        Center { namespace: lab().namespace(test), folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn shipway(&self) -> Shipway {
        let run = shipway(self.folder.path()).env("KUBECONFIG", &self.namespace.kubeconfig).env("USER", "ada").env("SHIPWAY_APP", "web");
        run.env("SHIPWAY_KUBERNETES_NAMESPACE", &self.namespace.name)
    }

    fn config(&self, arguments: &[&str]) -> Shipway {
        self.shipway().arg("config").args(arguments)
    }

    fn push(&self, reason: &str) -> String {
        self.config(&["push", "config", "--reason", reason]).run().expect_code(0).stdout
    }

    /// What a pull of the current version brings: paths and contents.
    fn pulled(&self, arguments: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let to = tempfile::tempdir().unwrap();
        let folder = to.path().join("out");
        let all: Vec<&str> = [&["pull", "--to", folder.to_str().unwrap()], arguments].concat();
        self.config(&all).run().expect_code(0);
        files(&folder)
    }

    fn objects(&self) -> Vec<ConfigMap> {
        block_on(async {
            let api: Api<ConfigMap> = Api::namespaced(lab().client().await, &self.namespace.name);
            let params = ListParams::default().labels("shipway.dev/config=files");
            api.list(&params).await.unwrap().items
        })
    }
}

pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.strip_prefix(folder).unwrap().display().to_string(), fs::read(&path).unwrap())),
            }
        }
    }
    found.remove(".shipway-config.json");
    found
}

#[test]
fn a_set_of_files_goes_there_and_comes_back_with_who_and_why() {
    let center = Center::new("config push");
    center.write("config/application.yml", "limit: 1\n");
    center.write("config/db/größe.yml", "x: 1\n");
    center.write("config/logo.png", b"\x89PNG\xff\0");
    assert!(center.config(&["history"]).run().expect_code(0).stdout.contains("nothing was pushed"));
    center.config(&["pull", "--to", "out"]).run().expect_code(10).expect_text(&["no configuration of web was pushed", "[config-missing]"]);
    let first = center.push("first of all");
    assert!(first.ends_with("version 1 of the configuration of web is pushed, 3 files\n"), "{first}");
    assert_eq!(center.pulled(&[]), files(&center.path("config")));
    assert_eq!(center.push("again"), "version 1 of the configuration of web has these files already\n");

    center.write("config/application.yml", "limit: 2\n");
    let diff = center.config(&["diff", "config"]).run().expect_code(0).stdout;
    assert!(diff.contains("application.yml would be configured") && diff.contains("- limit: 1") && diff.contains("+ limit: 2"), "{diff}");
    assert!(!diff.contains("logo.png"), "{diff}");
    center.push("more load");
    let same = center.config(&["diff", "config"]).run().expect_code(0).stdout;
    assert_eq!(same, "the files are those of the current version\n");

    let back = center.config(&["rollback", "--reason", "too much load"]).run().expect_code(0).stdout;
    assert_eq!(back, "version 3 of the configuration of web puts back version 1\n");
    assert_eq!(center.pulled(&[])["application.yml"], b"limit: 1\n");
    assert_eq!(center.pulled(&["--version", "2"])["application.yml"], b"limit: 2\n");
    center.config(&["rollback", "--to", "9"]).run().expect_code(2).expect_text(&["there is no version 9"]);
    let history = center.config(&["history"]).run().expect_code(0);
    history.expect_text(&["puts back 1: too much load", "more load", "first of all", "ada"]);
    let json: serde_json::Value = serde_json::from_str(&center.config(&["history", "--json"]).run().expect_code(0).stdout).unwrap();
    let last = &json["versions"][2];
    assert!(last["version"] == 3 && last["restores"] == 1 && last["author"] == "ada" && last["files"] == 3, "{json}");
}

#[test]
fn environments_are_apart_and_secrets_are_not_shown() {
    let center = Center::new("config places");
    center.write("config/key.pem", "hidden-1\n");
    center.push("for all");
    let prod = |arguments: &[&str]| {
        center.config(arguments).env("SHIPWAY_ENVIRONMENT", "review/a").env("SHIPWAY_KUBERNETES_CONFIG_SECRET", "true")
    };
    prod(&["pull", "--to", "out"]).run().expect_code(10).expect_text(&["no configuration of web (review/a) was pushed"]);
    prod(&["push", "config"]).run().expect_code(0).expect_text(&["version 1 of the configuration of web (review/a)"]);
    center.write("config/key.pem", "hidden-2\n");
    let diff = prod(&["diff", "config"]).run().expect_code(0).expect_text(&["key.pem would be configured"]);
    assert!(!diff.text().contains("hidden"), "{}", diff.text());
    prod(&["pull", "--to", "out"]).run().expect_code(0);
    assert_eq!(fs::read(center.path("out/key.pem")).unwrap(), b"hidden-1\n");
    assert_eq!(fs::metadata(center.path("out/key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(center.objects().len(), 1, "the other one is a Secret");
    let secrets = block_on(async {
        let api: Api<Secret> = Api::namespaced(lab().client().await, &center.namespace.name);
        api.list(&ListParams::default().labels("shipway.dev/config=files")).await.unwrap().items
    });
    assert!(secrets.len() == 1 && secrets[0].immutable == Some(true), "{secrets:?}");
}

#[test]
fn of_two_pushes_at_once_one_is_told_of_the_other() {
    let center = Center::new("config twice");
    center.write("one/a.yml", "1\n");
    center.write("two/a.yml", "2\n");
    let script = "echo ready; while [ ! -e go ]; do sleep 0.05; done";
    let mut hold = center.shipway().args(["lock", "web.pushed", "--", "sh", "-c", script]).spawn();
    hold.wait_for("ready");
    let mut pushes = ["one", "two"].map(|folder| center.config(&["push", folder]).spawn());
    pushes.iter_mut().for_each(|push| push.wait_for("waiting for lock web.pushed"));
    center.write("go", "");
    hold.wait().expect_code(0);
    let mut done = pushes.map(|push| push.wait());
    done.sort_by_key(|push| push.code);
    let [won, told] = done;
    won.expect_code(0).expect_text(&["version 1 of the configuration of web is pushed"]);
    told.expect_code(40).expect_text(&["ada made version 1 of the configuration of web meanwhile", "[lock-held]"]);
    assert_eq!(center.pulled(&[]).len(), 1);
}

/// All files of one push say the same number.
#[test]
fn nobody_ever_sees_half_of_a_push_and_no_push_is_lost() {
    let center = Center::new("config atomic");
    let pushes = 6;
    std::thread::scope(|scope| {
        for number in 1..=pushes {
            let center = &center;
            scope.spawn(move || {
                let folder = format!("config-{number}");
                for file in 0..5 {
                    center.write(&format!("{folder}/{file}.yml"), format!("{number}\n"));
                }
                // whoever was faster counts, the others are told and come again
                loop {
                    let done = center.config(&["push", &folder, "--reason", &folder]).run();
                    match done.code {
                        40 => drop(done.expect_text(&["of the configuration of web meanwhile", "[lock-held]"])),
                        _ => break drop(done.expect_code(0)),
                    }
                }
            });
        }
        for reader in 0..2 {
            let center = &center;
            scope.spawn(move || {
                let out = format!("out-{reader}");
                for _ in 0..6 {
                    let done = center.config(&["pull", "--to", &out]).run();
                    if done.code == 10 && done.text().contains("no configuration of web was pushed") {
                        continue;
                    }
                    done.expect_code(0);
                    let seen = files(&center.path(&out));
                    let first = &seen["0.yml"];
                    assert!(seen.len() == 5 && seen.values().all(|content| content == first), "{seen:?}");
                }
            });
        }
    });
    let json: serde_json::Value = serde_json::from_str(&center.config(&["history", "--json"]).run().expect_code(0).stdout).unwrap();
    let versions = json["versions"].as_array().unwrap();
    let numbers: Vec<u64> = versions.iter().map(|version| version["version"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=pushes).collect::<Vec<_>>());
    let mut reasons: Vec<&str> = versions.iter().map(|version| version["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["config-1", "config-2", "config-3", "config-4", "config-5", "config-6"]);
}

#[test]
fn what_no_version_has_any_more_goes_and_what_is_broken_is_not_handed_out() {
    let center = Center::new("config broken");
    let keep = |arguments: &[&str]| center.config(arguments).env("SHIPWAY_KUBERNETES_HISTORY", "2");
    for number in 1..=4 {
        center.write("config/a.yml", format!("{number}\n"));
        keep(&["push", "config"]).run().expect_code(0);
    }
    assert_eq!(center.objects().len(), 2);
    // a folder of somebody else's files is not replaced, one that a pull wrote is
    center.write("mine/a.txt", "mine");
    keep(&["pull", "--to", "mine"]).run().expect_code(2).expect_text(&["holds files that no shipway config pull wrote", "[file-exists]"]);
    assert_eq!(fs::read(center.path("mine/a.txt")).unwrap(), b"mine");
    keep(&["pull", "--to", "out", "--version", "3"]).run().expect_code(0);
    keep(&["pull", "--to", "out"]).run().expect_code(0);
    keep(&["pull", "--to", "out"]).run().expect_code(0).expect_text(&["out has version 4 already"]);
    assert_eq!(fs::read(center.path("out/a.yml")).unwrap(), b"4\n");

    block_on(async {
        let api: Api<ConfigMap> = Api::namespaced(lab().client().await, &center.namespace.name);
        for object in center_names(&api).await {
            api.delete(&object, &DeleteParams::default()).await.unwrap();
        }
    });
    keep(&["pull", "--to", "other"]).run().expect_code(10).expect_text(&["with the files of web, is gone", "[config-missing]"]);
    keep(&["rollback"]).run().expect_code(10).expect_text(&["is gone"]);
    assert!(!center.path("other").exists());
    keep(&["push"]).run().expect_code(2).expect_text(&["no configuration files are named"]);
}

async fn center_names(api: &Api<ConfigMap>) -> Vec<String> {
    let items = api.list(&ListParams::default().labels("shipway.dev/config=files")).await.unwrap().items;
    items.into_iter().filter_map(|map| map.metadata.name).collect()
}

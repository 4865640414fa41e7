//! Repositories that are after what their worker has.

use std::{net::TcpListener, os::unix::fs::chown, process::Command};

use serde_json::json;

use super::{faults::wait_for, *};

/// Nobody else's: root could read everything.
const USER: u32 = 54_321;
const SECRET: &str = "canary-7d1e-of-the-worker";

/// Everything below a folder is the user's, who has no home elsewhere.
fn give(folder: &Path) {
    chown(folder, Some(USER), Some(USER)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => give(&entry.path()),
            false => chown(entry.path(), Some(USER), Some(USER)).unwrap(),
        }
    }
}

/// Another process of that user, which does not hide.
struct Neighbour(std::process::Child);

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn neighbour() -> Neighbour {
    let mut command = Command::new("sleep");
    std::os::unix::process::CommandExt::uid(&mut command, USER);
    std::os::unix::process::CommandExt::gid(&mut command, USER);
    Neighbour(command.arg("600").env_clear().env("NEIGHBOUR", "canary-of-the-neighbour").spawn().unwrap())
}

#[tokio::test]
async fn a_build_reads_no_environment_of_its_worker_nor_of_other_builds() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = format!("sqlite:{}", dir.path().join("ledger.db").display());
    // the first build looks around until it is told to end, while the second one is started and ends
    let look = "for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; cat $p/cmdline; done";
    let loop_ =
        format!("if mkdir {0}/first; then while ! test -e {0}/go; do {look}; done > {0}/loot 2>{0}/errors; fi", dir.path().display());
    let mut site = Site::with(&format!("[sh, -c, \"{}\"]", loop_.replace('\\', "\\\\").replace('"', "\\\"")), dir, ledger).await;
    give(site.dir.path());
    give(site.checkout.path().parent().unwrap());
    let neighbour = neighbour();
    let worker =
        ["HOME", "TMPDIR", "XDG_CACHE_HOME"].into_iter().fold(site.worker().user(USER), |worker, name| worker.env(name, site.path("home")));
    let worker = worker.envs([("SHIPWAY_WORKER_PARALLEL", "2"), ("SHIPWAY_FORGE_TOKEN", SECRET), ("SHIPWAY_REGISTRY_PASSWORD", SECRET)]);
    let mut worker = worker.env("SHIPWAY_REGISTRY_USERNAME", "ci").spawn();
    worker.wait_for("waits for builds");
    site.ask("first", json!({})).await;
    wait_for("begun", || site.path("first").exists());
    for number in 0..5 {
        site.ask(&format!("other-{number}"), json!({})).await;
    }
    site.ended(5, SOON).await;
    std::fs::write(site.path("go"), "").unwrap();
    site.ended(6, SOON).await;
    assert_eq!(site.answer("first")["result"]["result"], "succeeded", "{}", worker.printed());
    worker.terminate();
    worker.wait().expect_code(0);
    drop(neighbour);
    let loot = String::from_utf8_lossy(&std::fs::read(site.path("loot")).unwrap()).into_owned();
    assert!(loot.contains("canary-of-the-neighbour"), "it looked, and who does not hide is seen");
    assert!(!loot.contains(SECRET) && !loot.contains("guest:guest") && !loot.contains("SHIPWAY_LEDGER_URL"), "{loot}");
}

#[tokio::test]
async fn a_repository_leads_no_credential_astray() {
    let evil = TcpListener::bind("127.0.0.1:0").unwrap();
    evil.set_nonblocking(true).unwrap();
    let address = evil.local_addr().unwrap();
    let mut site = Site::new("['true']").await;
    let worker = site.worker().envs([("SHIPWAY_CLUSTER_TOKEN", SECRET), ("SHIPWAY_FORGE_TOKEN", SECRET)]);
    let worker = worker.envs([("SHIPWAY_REGISTRY_USERNAME", "ci"), ("SHIPWAY_REGISTRY_PASSWORD", SECRET)]).spawn();
    let keys = ["cluster.server", "forge.url", "maven.mirror", "queue.url", "registry.url"];
    let text = format!(
        "app: web\nkind: service\nbuild: {{command: ['true'], artifact: a.jar}}\npublish: true\ncluster: {{server: 'http://{address}'}}\n\
         registry: {{url: '{address}'}}\nforge: {{url: 'http://{address}', kind: gitea}}\nmaven: {{mirror: 'http://{address}'}}\n\
         queue: {{url: 'amqp://{address}'}}\n"
    );
    site.checkout.write("shipway.yaml", &text);
    site.checkout.commit("Lead everything elsewhere");
    site.ask("astray", json!({})).await;
    site.ended(1, SOON).await;
    let result = site.answer("astray")["result"].clone();
    let message = result["problem"]["message"].as_str().unwrap().to_string();
    assert_eq!((&result["result"], &result["exit_code"]), (&"failed".into(), &2.into()), "{result}");
    // the worker has set queue.url itself, and wins
    for key in keys.iter().filter(|key| **key != "queue.url") {
        assert!(message.contains(&format!("{key} cannot be set by a repository that a worker builds")), "{key}: {message}");
    }
    std::fs::write(site.path("elsewhere.yaml"), "app: secret-of-the-machine\nnothing: x\n").unwrap();
    std::fs::remove_file(site.checkout.path().join("shipway.yaml")).unwrap();
    std::os::unix::fs::symlink(site.path("elsewhere.yaml"), site.checkout.path().join("shipway.yaml")).unwrap();
    site.checkout.commit("Link out of the checkout");
    site.ask("link", json!({})).await;
    site.ended(2, SOON).await;
    let result = site.answer("link")["result"].to_string();
    assert!(result.contains("leaves the checkout") && !result.contains("secret-of-the-machine") && !result.contains("nothing"), "{result}");
    worker.terminate();
    worker.wait().expect_code(0);
    assert!(evil.accept().is_err(), "nobody came");
}

#[tokio::test]
async fn a_report_of_the_builds_own_making_is_no_result() {
    let forged = r#"{\"result\": \"succeeded\", \"exit_code\": 0, \"problem\": null}"#;
    for (id, put) in [("forged", format!("echo '{forged}' > ../report/report.json")), ("pipe", "mkfifo ../report/report.json".to_string())]
    {
        let dir = tempfile::tempdir().unwrap();
        let ledger = format!("sqlite:{}", dir.path().join("ledger.db").display());
        let mut site = Site::with(&format!("[sh, -c, \"mkdir -p ../report; {put}; kill -9 $PPID; sleep 600\"]"), dir, ledger).await;
        let worker = site.start();
        site.ask(id, json!({})).await;
        site.ended(1, SOON).await;
        let result = site.answer(id)["result"].clone();
        assert_eq!(result["result"], "failed", "{id}: {result}");
        assert!(result["problem"]["message"].as_str().unwrap().contains("before it had a report"), "{id}: {result}");
        worker.terminate();
        worker.wait().expect_code(0);
    }
}

#[tokio::test]
async fn only_branches_and_tags_are_built() {
    let mut site = Site::new("['true']").await;
    let first = site.checkout.head();
    let git = |arguments: &[&str]| fixture::git(&site.checkout.path(), arguments);
    git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    git(&["tag", "v1"]);
    git(&["branch", "main'evil"]);
    git(&["update-ref", "refs/pull/7/head", "HEAD"]);
    let worker = site.start();
    let mut count = 0;
    for (reference, fine) in
        [("main", true), ("refs/heads/main", true), ("v1", true), ("main'evil", true), (first.as_str(), false), ("refs/pull/7/head", false)]
    {
        count += 1;
        site.ask(&format!("r{count}"), json!({"ref": reference})).await;
        site.ended(count, SOON).await;
        let result = site.answer(&format!("r{count}"))["result"].clone();
        if fine {
            assert_eq!(result["result"], "succeeded", "{reference}: {result}");
        } else {
            assert_eq!(result["problem"]["code"], "order-denied", "{reference}: {result}");
            assert!(result["problem"]["message"].as_str().unwrap().contains(reference), "{result}");
        }
    }
    worker.terminate();
    worker.wait().expect_code(0);
    let worker = site.worker().env("SHIPWAY_WORKER_REFS", "refs/heads/main,refs/pull/*").spawn();
    for (id, reference, fine) in
        [("evil", "main'evil", false), ("tag", "v1", false), ("pull", "refs/pull/7/head", true), ("main", "main", true)]
    {
        count += 1;
        site.ask(id, json!({"ref": reference})).await;
        site.ended(count, SOON).await;
        assert_eq!(site.answer(id)["result"]["result"] == "succeeded", fine, "{reference}: {}", site.answer(id));
    }
    // without a ref it is the default branch, which has to be permitted as well
    git_head(&site, "main'evil");
    site.ask("default", json!({"ref": null})).await;
    site.ended(count + 1, SOON).await;
    assert_eq!(site.answer("default")["result"]["problem"]["code"], "order-denied", "{}", site.answer("default"));
    worker.terminate();
    worker.wait().expect_code(0);
}

fn git_head(site: &Site, branch: &str) {
    fixture::git(&site.checkout.path(), &["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
}

//! An application that runs is looked at, changed and removed by the binary alone.

use std::{fs, io::Read, path::Path};

use serde_json::Value;

use crate::support::{
    fixture::{Checkout, empty_checkout},
    job::QUICK,
    lab::{Namespace, lab},
    shipway::{Shipway, report, shipway},
};

fn web(checkout: &Checkout, namespace: &Namespace) -> Shipway {
    shipway(checkout.path())
        .env("KUBECONFIG", &namespace.kubeconfig)
        .env("SHIPWAY_KUBERNETES_NAMESPACE", &namespace.name)
        .env("SHIPWAY_APP", "web")
        .env("USER", "grace")
        .envs(QUICK.iter().copied())
}

fn checkout() -> Checkout {
    let checkout = empty_checkout("web");
    checkout.write("shipway.yaml", "kubernetes: {config: {from: config}}\n");
    checkout.write("config/app.yml", "colour: green\n");
    checkout.commit("Add the configuration");
    checkout
}

/// Names and contents of an archive's files.
fn files(tar: impl Read) -> Vec<(String, String)> {
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    };
    tar::Archive::new(tar).entries().unwrap().map(read).collect()
}

fn unpacked(path: &Path) -> Vec<(String, String)> {
    let bytes = fs::read(path).unwrap();
    match path.extension().unwrap().to_str().unwrap() {
        "zst" => files(ruzstd::decoding::StreamingDecoder::new(bytes.as_slice()).unwrap()),
        _ => files(flate2::read::GzDecoder::new(bytes.as_slice())),
    }
}

#[test]
fn an_application_is_operated_from_its_checkout() {
    let (checkout, namespace) = (checkout(), lab().namespace("operated"));
    let job = || web(&checkout, &namespace);
    job().args(["publish", "--image", &lab().web("1")]).run().expect_code(0).expect_text(&["configmap/web-config-", "created"]);
    let scaled = job().args(["scale", "2"]).run().expect_code(0);
    scaled.expect_text(&["scale web in namespace", "pods 1 → 2"]);
    assert_eq!(report(&checkout.path())["release"]["replicas"], 2);
    let seen = job().arg("status").run().expect_code(0);
    seen.expect_text(&["2 of 2 ready", "scaled by hand to 2 by grace", "configmap/web-config-"]);

    let lines = job().arg("logs").run().expect_code(0).stdout;
    assert!(lines.lines().count() >= 2 && lines.lines().all(|line| line.starts_with("web-") && line.contains("/app ")), "{lines}");
    assert_eq!(job().args(["logs", "--grep", "^no line says this$"]).run().expect_code(0).stdout, "");
    for name in ["logs.tar.gz", "out/logs.tar.zst"] {
        job().args(["logs", "--to", name]).run().expect_code(0).expect_text(&["2 logs"]);
        let found = unpacked(&checkout.path().join(name));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|(name, text)| name.starts_with("web-") && name.ends_with("/app.log") && text.contains('Z')), "{found:?}");
    }

    let mut watching = job().args(["status", "--watch"]).spawn();
    watching.wait_for("2 of 2 ready");
    // a plugin step has nothing but settings
    let reset = job().env("CI", "woodpecker").env("PLUGIN_COMMAND", "scale").env("PLUGIN_SCALE", r#"{"reset":true}"#).run();
    reset.expect_code(0).expect_text(&["pods 2 → 1"]);
    watching.wait_for("1 of 1 ready");
    watching.terminate();
    watching.wait().expect_code(0);

    job().args(["restart"]).run().expect_code(0).expect_text(&["runs with new pods, as revision 2"]);
    let history = job().args(["history", "--json"]).run().expect_code(0).stdout;
    let history: Value = serde_json::from_str(&history).unwrap();
    let told: Vec<_> = history["revisions"].as_array().unwrap().iter().map(|one| (one["revision"].clone(), one["cause"].clone())).collect();
    assert_eq!(told, [(2.into(), "restart".into()), (1.into(), "publish".into())]);
    assert_eq!(history["revisions"][0]["config"], history["revisions"][1]["config"]);
    job().arg("history").run().expect_code(0).expect_text(&["revision", "succeeded, restart", "grace"]);
    job().arg("unstick").run().expect_code(0).expect_text(&["no pod of", "is stuck"]);

    let removed = job().arg("remove").run().expect_code(0);
    removed.expect_text(&["delete web in namespace", "deployment/web deleted", "service/web deleted", "configmap/web-config-"]);
    job().arg("remove").run().expect_code(0).expect_text(&["there is nothing of web"]);
    job().arg("history").run().expect_code(10).expect_text(&["not-published"]);
}

#[test]
fn configuration_that_cannot_be_is_refused_by_its_file() {
    let (checkout, namespace) = (checkout(), lab().namespace("bad config"));
    let publish = || web(&checkout, &namespace).args(["publish", "--image", &lab().web("1")]).run();
    fs::write(checkout.path().join("config/big.bin"), vec![7; 2 << 20]).unwrap();
    publish().expect_code(10).expect_text(&["config-too-large", "config holds 2.1 MB", "file is big.bin with 2.1 MB"]);
    fs::remove_file(checkout.path().join("config/big.bin")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", checkout.path().join("config/host")).unwrap();
    publish().expect_code(10).expect_text(&["config-invalid", "config/host leads out of the checkout"]);
    fs::remove_file(checkout.path().join("config/host")).unwrap();
    let nowhere = web(&checkout, &namespace).args(["publish", "--image", &lab().web("1"), "--set", "kubernetes.config.from=nowhere"]);
    nowhere.run().expect_code(2).expect_text(&["file-unreadable", "there is no nowhere in the checkout"]);
    let none = web(&checkout, &namespace).arg("status").run();
    none.expect_code(10).expect_text(&["not-published"]);
}

#[test]
fn commands_say_what_they_lack() {
    let (checkout, namespace) = (checkout(), lab().namespace("bad commands"));
    let job = || web(&checkout, &namespace);
    job().env("PLUGIN_COMMAND", "scale").run().expect_code(2).expect_text(&["setting-missing", "scale.to"]);
    job().args(["scale", "--reset", "--set", "scale.to=3"]).run().expect_code(2).expect_text(&["scale.to and scale.reset are both set"]);
    job().args(["logs", "--to", "logs.zip"]).run().expect_code(2).expect_text(&[".tar.gz or .tar.zst"]);
    job().args(["logs", "--grep", "("]).run().expect_code(2).expect_text(&["logs.grep is no regular expression"]);
    job().args(["unstick", "--finalizer", "not a name"]).run().expect_code(2).expect_text(&["unstick.finalizer"]);
    job().args(["restart"]).run().expect_code(10).expect_text(&["not-published", "there is no deployment web of shipway's"]);
    let both = job().args(["status", "--set", "kubernetes.disruption.min_available=1", "--set", "kubernetes.disruption.max_unavailable=1"]);
    both.run().expect_code(2).expect_text(&["kubernetes.disruption.max_unavailable and kubernetes.disruption.min_available are both set"]);
    let away = shipway(checkout.path()).args(["scale", "3"]).run();
    away.expect_code(2).expect_text(&["cluster-missing", "scale needs a cluster"]);
}

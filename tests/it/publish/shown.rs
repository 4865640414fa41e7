//! Passwords that stand in plain in what others made: seen by nobody who reads a log, a plan or a file that is committed.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::json;
use shipway::{
    cluster::Publish,
    domain::{
        event::Change,
        workload::{Given, SecretKey},
    },
};

use super::{
    adopt::{program, settle},
    custom::{may_more, with},
    ground::{Ground, NAME, image},
};
use crate::support::shipway::report;

const PASSWORD: &str = "hush-7f3a";

/// Made by `kubectl apply`, which keeps the whole object once more in an annotation.
async fn theirs(ground: &Ground) {
    let variables = json!([{"name": "COLOUR", "value": "blue"}, {"name": "DB_PASSWORD", "value": PASSWORD}]);
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": {
        "selector": {"matchLabels": {"run": "theirs"}},
        "template": {"metadata": {"labels": {"run": "theirs"}}, "spec": {"containers": [
            {"name": "app", "image": image("1").to_string(), "env": variables, "args": [format!("--store.password={PASSWORD}")]}]}}}});
    program(ground, "kubectl", &["apply", "-f", "-"], Some(&deployment));
    settle(ground).await;
}

#[tokio::test]
async fn passwords_in_plain_are_in_no_log_plan_or_file() {
    let ground = Ground::pretended("shown").await;
    theirs(&ground).await;
    let reference = format!("image.ref={}", image("2"));
    let refused = ground.binary(&["publish", "--set", &reference]).run().expect_code(10);
    let refused = refused.expect_text(&["not-ours"]);
    let evidence = report(ground.folder.path())["problem"]["evidence"].to_string();
    assert!(evidence.contains("DB_PASSWORD") && evidence.contains("(secret)") && !evidence.contains(PASSWORD), "{evidence}");
    let plan = ground.binary(&["plan", "--set", &reference, "--set", "kubernetes.adopt=true"]).run().expect_code(0);
    let plan = plan.expect_text(&["DB_PASSWORD", "(secret)", "would be configured"]);
    ground.binary(&["init", "--from-cluster"]).run().expect_code(0);
    let file = std::fs::read_to_string(ground.folder.path().join("shipway.yaml")).unwrap();
    assert!(file.contains("COLOUR: blue") && file.contains("#   DB_PASSWORD\n#   the container's arguments\n"), "{file}");
    for text in [refused.text(), plan.text(), file] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
    for report in walk(&ground.folder.path().join("shipway-report")) {
        let text = String::from_utf8_lossy(&std::fs::read(&report).unwrap()).into_owned();
        assert!(!text.contains(PASSWORD), "{}", report.display());
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn another_password_is_a_change_and_a_secret_may_take_its_place() {
    let ground = Ground::pretended("shown change").await;
    theirs(&ground).await;
    let taking = |tag: &str, number: u64| {
        let mut workload = ground.workload(tag);
        workload.given = Given::Keys(BTreeSet::new());
        Publish { adopt: true, ..ground.publish_of(workload, number) }
    };
    ground.publish(&taking("1", 1)).await.unwrap();
    let cluster = ground.cluster().await;
    let mut publish = taking("1", 2);
    publish.workload.env = [("DB_PASSWORD".to_string(), "another-9c".to_string())].into();
    let diff = cluster.diff(&publish).await.unwrap().remove(0);
    assert_eq!(diff.change, Change::Configured);
    let text = diff.unified();
    assert!(text.contains("(secret, another one)") && !text.contains(PASSWORD) && !text.contains("another-9c"), "{text}");

    let secret = json!({"metadata": {"name": "web"}, "stringData": {"password": PASSWORD}});
    ground.api::<Secret>().await.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let mut publish = taking("1", 2);
    publish.workload.secrets = [("DB_PASSWORD".to_string(), SecretKey { secret: NAME.to_string(), key: "password".to_string() })].into();
    ground.publish(&publish).await.unwrap();
    let variables = ground.deployment().await.spec.unwrap().template.spec.unwrap().containers.remove(0).env.unwrap();
    let variable = variables.into_iter().find(|variable| variable.name == "DB_PASSWORD").unwrap();
    assert_eq!(
        (variable.value.unwrap_or_default(), variable.value_from.unwrap().secret_key_ref.unwrap().key),
        (String::new(), "password".to_string())
    );
    let same = cluster.diff(&Publish { sequence: ("gitlab".to_string(), 3), ..publish }).await.unwrap();
    assert!(same.iter().all(|diff| diff.change == Change::Unchanged), "{:?}", same.iter().map(|diff| diff.unified()).collect::<Vec<_>>());
}

#[tokio::test]
async fn another_content_of_a_secret_is_a_change_that_shows_nothing() {
    let ground = Ground::pretended("shown secret").await;
    may_more(&ground).await;
    let secret = |word: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: password}}\nstringData: {{word: {word}, same: x}}");
    ground.publish(&ground.publish_of(with(&ground, "1", &secret("one"), ""), 1)).await.unwrap();
    let cluster = ground.cluster().await;
    let of = async |word: &str| cluster.diff(&ground.publish_of(with(&ground, "1", &secret(word), ""), 2)).await.unwrap().pop().unwrap();
    assert_eq!(of("one").await.change, Change::Unchanged);
    let other = of("two").await;
    assert_eq!((other.kind.as_str(), other.change), ("Secret", Change::Configured));
    assert!(other.unified().contains("-  word: (secret)\n+  word: (secret, another one)\n"), "{}", other.unified());
    assert!(other.unified().contains("   same: (secret)\n"), "{}", other.unified());
}

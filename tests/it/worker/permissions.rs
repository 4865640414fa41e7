//! Who asks is who the broker says, and permissions bind.

use super::*;
use crate::support::{job::on_cluster, lab::lab};

#[tokio::test]
async fn who_is_not_permitted_publishes_nothing() {
    let mut site = Site::new("['true']").await;
    let namespace = lab().namespace("worker permissions");
    let text = format!("app: web\nimage: {{ref: '{}'}}\nkubernetes: {{probes: {{readiness: /health}}}}\n", lab().web("1"));
    site.checkout.write("shipway.yaml", &text);
    site.checkout.commit("Publish a ready image");
    let rules = "permissions: [{name: the builders, who: [guest], may: [publish], apps: [web], environments: [prod]}]\nrules: []\n";
    std::fs::write(site.path("rules.yaml"), rules).unwrap();
    let worker = on_cluster(site.worker(), &namespace, 17).env("SHIPWAY_RULES_FILE", site.path("rules.yaml")).spawn();
    let prod = json!({"environment": "prod"});
    site.ask("unknown", prod.clone()).await;
    let order = site.order("forged", prod.clone()).to_string();
    assert!(site.broker.send_as(QUEUE, order.as_bytes(), Some((REPLIES, "forged")), Some("op")).await.is_err(), "a name is no proof");
    for (id, environment) in [("elsewhere", "test"), ("permitted", "prod")] {
        let order = site.order(id, json!({"environment": environment})).to_string();
        site.broker.send_as(QUEUE, order.as_bytes(), Some((REPLIES, id)), Some("guest")).await.unwrap();
    }
    site.ended(3, SOON).await;
    for id in ["unknown", "elsewhere"] {
        let result = &site.answer(id)["result"];
        assert_eq!((&result["problem"]["code"], &result["exit_code"]), (&"rule-denied".into(), &30.into()), "{result}");
    }
    let message = site.answer("unknown")["result"]["problem"]["message"].to_string();
    assert!(message.contains("somebody unknown may not publish web in prod"), "{message}");
    let result = &site.answer("permitted")["result"];
    assert_eq!((&result["result"], &result["release"]["revision"]), (&"succeeded".into(), &1.into()), "{result}");
    worker.terminate();
    worker.wait().expect_code(0);
    let database = rusqlite::Connection::open(site.path("ledger.db")).unwrap();
    let count = |what: &str| database.query_row(&format!("SELECT COUNT(*) FROM {what}"), [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((count("events WHERE kind = 'permission'"), count("releases WHERE author = 'guest'")), (3, 1));
}

#[tokio::test]
async fn what_is_built_without_a_publish_needs_permission_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, trace) = (format!("sqlite:{}", dir.path().join("ledger.db").display()), dir.path().join("built"));
    let mut site = Site::with(&format!("[touch, '{}']", trace.display()), dir, ledger).await;
    std::fs::write(site.path("rules.yaml"), "permissions: [{name: nobody, who: [ada], may: [publish]}]\nrules: []\n").unwrap();
    let worker = site.worker().env("SHIPWAY_RULES_FILE", site.path("rules.yaml")).spawn();
    site.ask("library", json!({})).await;
    site.ended(1, SOON).await;
    let result = &site.answer("library")["result"];
    assert_eq!((&result["problem"]["code"], &result["exit_code"]), (&"rule-denied".into(), &30.into()), "{result}");
    assert!(!trace.exists(), "it was built");
    worker.terminate();
    worker.wait().expect_code(0);
}

//! Who asks is who the token says that the message carries: proved by the issuer's keys, for that very repository and ref.

use super::*;
use crate::support::{
    issuer::{Fault, Issuer},
    job::on_cluster,
    lab::lab,
};

impl Site {
    /// A worker that builds for messages with a token only.
    fn proving(&self, issuer: &Issuer) -> Shipway {
        let place = format!("file://{}/", self.checkout.path().parent().unwrap().display());
        self.worker().env("SHIPWAY_IDENTITY_ISSUER", issuer.address()).env("SHIPWAY_IDENTITY_REPOSITORIES", place)
    }

    fn project(&self) -> String {
        self.checkout.path().file_name().unwrap().to_str().unwrap().to_string()
    }

    async fn ask_with(&mut self, id: &str, changes: Value, token: &str) {
        let order = self.order(id, changes).to_string();
        self.broker.send_token(QUEUE, order.as_bytes(), (REPLIES, id), token).await;
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let database = rusqlite::Connection::open(self.path("ledger.db")).unwrap();
        let mut rows = database.prepare("SELECT detail FROM events WHERE kind = ?1 ORDER BY at, id").unwrap();
        let rows = rows.query_map([kind], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|text| serde_json::from_str(&text.unwrap()).unwrap()).collect()
    }
}

#[tokio::test]
async fn a_message_that_proves_nothing_is_put_aside() {
    let mut site = Site::new("['true']").await;
    let issuer = Issuer::start();
    let worker = site.proving(&issuer).spawn();
    let project = site.project();
    let good = issuer.claims(&project, json!({}));
    let with = |changes: Value| issuer.claims(&project, changes);
    let tokens = [
        ("expired", issuer.token(&with(json!({"exp": 1_700_000_000, "nbf": null, "iat": null}))), "identity-expired"),
        ("audience", issuer.token(&with(json!({"aud": "https://other.test"}))), "identity-invalid"),
        ("issuer", issuer.token(&with(json!({"iss": "https://other.test"}))), "identity-invalid"),
        ("none", issuer.unsigned(&good), "identity-invalid"),
        ("hs256", issuer.with_the_public_key(&good)[0].clone(), "identity-invalid"),
        ("forged", issuer.forged(&good), "identity-invalid"),
        ("project", issuer.token(&issuer.claims("trade/other", json!({}))), "identity-mismatch"),
        ("branch", issuer.token(&with(json!({"ref": "x", "ref_path": "refs/heads/x"}))), "identity-mismatch"),
        ("tag", issuer.token(&with(json!({"ref_type": "tag", "ref_path": "refs/tags/v1", "ref": "v1"}))), "identity-mismatch"),
    ];
    for (id, token, _) in &tokens {
        site.ask_with(id, json!({}), token).await;
    }
    site.ask("missing", json!({})).await;
    site.ask_with("good", json!({}), &issuer.token(&good)).await;
    site.ended(tokens.len() + 2, SOON).await;
    for (id, _, code) in &tokens {
        assert_eq!(site.answer(id)["problem"]["code"], *code, "{id}");
    }
    assert_eq!(site.answer("missing")["problem"]["code"], "identity-missing");
    assert_eq!(site.answer("good")["result"]["result"], "succeeded", "{}", site.answer("good"));
    worker.terminate();
    let done = worker.wait().expect_code(0);
    let refused = site.events("order");
    assert_eq!(refused.len(), tokens.len() + 1, "{refused:?}");
    assert!(refused.iter().all(|event| event["allowed"] == false));
    assert_eq!(site.dead().await.len(), tokens.len() + 1);
    for secret in tokens.iter().map(|(_, token, _)| token.rsplit('.').next().unwrap()).filter(|signature| !signature.is_empty()) {
        assert!(!done.text().contains(secret), "a token was printed");
    }
    assert!(builds_of(&site.path("ledger.db")).iter().all(|(key, _, _)| key == "good"), "nothing else was begun");
}

#[tokio::test]
async fn permissions_go_by_the_token_and_its_protected_ref() {
    let mut site = Site::new("['true']").await;
    let issuer = Issuer::start();
    let namespace = lab().namespace("worker identity");
    let text = format!("app: web\nimage: {{ref: '{}'}}\nkubernetes: {{probes: {{readiness: /health}}}}\n", lab().web("1"));
    site.checkout.write("shipway.yaml", &text);
    site.checkout.commit("Publish a ready image");
    let project = site.project();
    let rules =
        format!("permissions: [{{name: releases, who: [ada], may: [publish], projects: ['{project}'], protected: true}}]\nrules: []\n");
    std::fs::write(site.path("rules.yaml"), rules).unwrap();
    let worker = on_cluster(site.proving(&issuer), &namespace, 17).env("SHIPWAY_RULES_FILE", site.path("rules.yaml")).spawn();
    let prod = json!({"environment": "prod"});
    for (id, changes) in [("unprotected", json!({"ref_protected": "false"})), ("eve", json!({"user_login": "eve"})), ("ada", json!({}))] {
        let token = issuer.token(&issuer.claims(&project, changes));
        site.ask_with(id, prod.clone(), &token).await;
    }
    site.ended(3, SOON).await;
    for (id, why) in [("unprotected", "a protected ref only"), ("eve", "to ada only")] {
        let result = &site.answer(id)["result"];
        assert_eq!((&result["problem"]["code"], &result["exit_code"]), (&"rule-denied".into(), &30.into()), "{result}");
        assert!(result["problem"]["message"].to_string().contains(why), "{result}");
    }
    let result = &site.answer("ada")["result"];
    assert_eq!((&result["result"], &result["release"]["revision"]), (&"succeeded".into(), &1.into()), "{result}");
    worker.terminate();
    worker.wait().expect_code(0);
    let decided = site.events("permission");
    let allowed: Vec<&Value> = decided.iter().filter(|event| event["allowed"] == true).collect();
    assert_eq!((decided.len(), allowed.len()), (3, 1), "{decided:?}");
    let expected = json!({"by": "token", "issuer": issuer.address()});
    assert_eq!((&allowed[0]["user"], &allowed[0]["proof"], &allowed[0]["ref"]), (&"ada".into(), &expected, &"refs/heads/main".into()));
    assert!(allowed[0]["permitted_by"][0].as_str().unwrap().starts_with("\"releases\" of "), "{decided:?}");
}

#[tokio::test]
async fn while_the_issuer_is_away_nothing_is_begun_and_nothing_lost() {
    let mut site = Site::new("['true']").await;
    let issuer = Issuer::start();
    issuer.fault(Some(Fault::Away));
    let mut worker = site.proving(&issuer).spawn();
    let token = issuer.token(&issuer.claims(&site.project(), json!({})));
    site.ask_with("one", json!({}), &token).await;
    worker.wait_for("builds wait: the keys of");
    assert_eq!(builds_of(&site.path("ledger.db")), []);
    issuer.fault(None);
    site.ended(1, SOON).await;
    assert_eq!(site.answer("one")["result"]["result"], "succeeded");
    assert_eq!(site.dead().await, []);
    worker.terminate();
    worker.wait().expect_code(0);
}

#[tokio::test]
async fn a_build_whose_worker_ends_is_begun_anew_although_its_token_has_expired() {
    let script = "echo x >> $TMPDIR/../../../runs; test $(wc -l < $TMPDIR/../../../runs) -gt 1 || sleep 600";
    let mut site = Site::new(&format!("[sh, -c, '{script}']")).await;
    let issuer = Issuer::start();
    let mut worker = site.proving(&issuer).spawn();
    worker.wait_for("waits for builds");
    // the clocks may be a minute apart: it counts for some seconds more
    let expires = Timestamp::now().as_second() - 45;
    let token = issuer.token(&issuer.claims(&site.project(), json!({"exp": expires, "nbf": null, "iat": null})));
    site.ask_with("one", json!({}), &token).await;
    let runs = site.path("rooms/runs");
    worker.wait_until("beginning the build", |_| runs.exists());
    worker.kill();
    worker.wait();
    while Timestamp::now().as_second() < expires + 61 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let worker = site.proving(&issuer).spawn();
    site.ask_with("two", json!({}), &token).await;
    site.ended(2, SOON).await;
    assert_eq!(site.answer("one")["result"]["result"], "succeeded", "{:#?}", site.answers);
    assert_eq!(site.answer("two")["problem"]["code"], "identity-expired");
    worker.terminate();
    worker.wait().expect_code(0);
}

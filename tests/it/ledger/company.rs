//! What the company keeps outside of repositories: settings of applications, and rules.

use std::path::Path;

use serde_json::Value;

use crate::support::{
    fixture::empty_checkout,
    job::publishing,
    lab::lab,
    shipway::{Shipway, report, shipway},
};

struct Company {
    dir: tempfile::TempDir,
    ledger: String,
}

impl Company {
    fn new() -> Company {
        let dir = tempfile::tempdir().unwrap();
        let ledger = format!("sqlite:{}", dir.path().join("ledger.db").display());
        Company { dir, ledger }
    }

    fn run(&self, arguments: &[&str]) -> Shipway {
        shipway(self.dir.path()).env("SHIPWAY_LEDGER_URL", &self.ledger).args(arguments)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

fn source(report: &Value, key: &str) -> (String, String) {
    let settings = report["settings"].as_array().unwrap();
    let found = settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("{key} is not there"));
    (found["value"].as_str().unwrap().into(), found["source"].as_str().unwrap().into())
}

#[test]
fn settings_of_the_company_rank_below_the_repository() {
    let company = Company::new();
    let (checkout, namespace) = (empty_checkout("company-settings"), lab().namespace("company settings"));
    checkout.write("shipway.yaml", "app: orders\nkubernetes: {labels: {from: file}}\n");
    checkout.commit("Add settings");
    company
        .run(&["app", "set", "*", "kubernetes.labels={\"from\": \"all\", \"for\": \"all\"}", "kubernetes.annotations={\"a\": \"all\"}"])
        .run()
        .expect_code(0);
    let set = ["app", "set", "orders", "owners=ada,bo", "kubernetes.labels={\"for\": \"one\"}", "environments.prod.kubernetes.jvm=-Xss1m"];
    company.run(&set).run().expect_code(0);
    let run = publishing(&checkout, &namespace, 1)
        .env("SHIPWAY_LEDGER_URL", &company.ledger)
        .env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health");
    run.args(["publish", "-e", "prod", "--image", &lab().web("1")]).run().expect_code(0);
    let report = report(&checkout.path());
    for (key, value, from) in [
        ("kubernetes.labels.from", "file", "shipway.yaml"),
        ("kubernetes.labels.for", "one", "ledger: orders"),
        ("kubernetes.annotations.a", "all", "ledger: *"),
        ("kubernetes.jvm", "[\"-Xss1m\"]", "ledger: orders environments.prod"),
    ] {
        assert_eq!(source(&report, key), (value.to_string(), from.to_string()), "{key}");
    }
    let known = company.run(&["app", "list"]).run().expect_code(0).stdout.clone();
    assert!(known.contains("ada, bo") && known.contains("succeeded"), "{known}");
}

#[test]
fn entries_go_out_and_come_in_whole_or_not_at_all() {
    let company = Company::new();
    company.run(&["app", "set", "orders", "line=trade", "owners=ada"]).run().expect_code(0);
    company.run(&["app", "set", "orders", "kubernetes.replics=3"]).run().expect_code(2).expect_text(&["did you mean kubernetes.replicas?"]);
    let exported = company.run(&["app", "export"]).run().expect_code(0).stdout.clone();
    let other = Company::new();
    let wrong =
        other.write("wrong.json", "[{\"app\": \"a\", \"settings\": {\"line\": \"x\"}}, {\"app\": \"b\", \"settings\": {\"lin\": \"x\"}}]");
    other.run(&["app", "import", &wrong]).run().expect_code(2);
    other.run(&["app", "get", "a"]).run().expect_code(2);
    let good = other.write("good.json", &exported);
    other.run(&["app", "import", &good]).run().expect_code(0);
    assert_eq!(other.run(&["app", "export"]).run().expect_code(0).stdout, exported);
    assert_eq!(other.run(&["app", "get", "orders"]).run().expect_code(0).stdout, "app=orders\nowners=ada\nline=trade\n");
}

const RULES: &str = "rules:\n- {name: small, environments: [prod], max_replicas: 1, max_memory: 128Mi, labels: [team], \
                     base_images: ['registry.test/*'], forbidden: [kubernetes.annotations]}\n";

#[test]
fn rules_bind_whatever_the_repository_says() {
    let company = Company::new();
    let (checkout, namespace) = (empty_checkout("company-rules"), lab().namespace("company rules"));
    let publish = |file: &str, environment: &str, settings: &str| {
        checkout.write("shipway.yaml", settings);
        let run = publishing(&checkout, &namespace, 1).env("SHIPWAY_RULES_FILE", file).env("SHIPWAY_LEDGER_URL", &company.ledger);
        run.env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health").args(["publish", "-e", environment, "--image", &lab().web("1")]).run()
    };
    let rules = company.write("rules.yaml", RULES);
    publish(&rules, "prod", "kubernetes: {annotations: {a: b}}\n")
        .expect_code(30)
        .expect_text(&["kubernetes.annotations.a may not be set", "\"small\""]);
    let told = publish(&rules, "prod", "app: web\n").expect_code(30);
    told.expect_text(&[
        "have no label team",
        "may take 256Mi, more than 128Mi",
        "which base it stands on",
        Path::new(&rules).to_str().unwrap(),
    ]);
    publish(&rules, "prod", "rules: {file: other.yaml}\n")
        .expect_code(2)
        .expect_text(&["rules.file cannot be set in a file of the repository"]);
    let broken = company.write("broken.yaml", "rules: [{name: x, max_replica: 1}]\n");
    publish(&broken, "test", "app: web\n").expect_code(30).expect_text(&["nothing is permitted"]);
    publish(&company.dir.path().join("gone.yaml").display().to_string(), "test", "app: web\n").expect_code(30);
    publishing(&checkout, &namespace, 1).args(["status"]).run().expect_code(10);
    publish(&rules, "test", "app: web\n").expect_code(0);
    let scale = publishing(&checkout, &namespace, 2).env("SHIPWAY_RULES_FILE", &rules).args(["scale", "2", "-e", "prod"]);
    scale.run().expect_code(30).expect_text(&["2 pods are more than 1"]);
    let database = rusqlite::Connection::open(company.dir.path().join("ledger.db")).unwrap();
    let denied: i64 = database.query_row("SELECT COUNT(*) FROM events WHERE kind = 'rules'", [], |row| row.get(0)).unwrap();
    assert_eq!(denied, 2, "decisions in the ledger");
}

#[test]
fn a_freeze_of_the_ledger_stops_publishes_and_lets_rollbacks_through() {
    let company = Company::new();
    let (checkout, namespace) = (empty_checkout("company-freeze"), lab().namespace("company freeze"));
    let job = |pipeline: u64, arguments: &[&str]| {
        let run = publishing(&checkout, &namespace, pipeline).env("SHIPWAY_LEDGER_URL", &company.ledger);
        run.env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health").args(arguments).run()
    };
    job(1, &["publish", "--image", &lab().web("1")]).expect_code(0);
    job(2, &["publish", "--image", &lab().web("2")]).expect_code(0);
    let rules = company.write(
        "rules.yaml",
        "rules: [{name: closed, freeze: [{from: 2020-01-01T00:00:00Z, to: 2120-01-01T00:00:00Z, reason: the books are closed}]}]\n",
    );
    company.run(&["rules", "check", &rules]).run().expect_code(0);
    company.run(&["rules", "push", &rules]).run().expect_code(0);
    assert!(company.run(&["rules", "show"]).run().expect_code(0).stdout.contains("the books are closed"));
    job(3, &["publish", "--image", &lab().web("1")])
        .expect_code(30)
        .expect_text(&["until 2120-01-01T00:00:00Z: the books are closed", "the ledger"]);
    job(4, &["rollback"]).expect_code(0);
}

//! Who may do what: asked, and advised in a CI's job. Where it binds, see `worker::permissions`.

use serde_json::Value;

use crate::support::{
    fixture::empty_checkout,
    job::publishing,
    lab::lab,
    shipway::{Finished, shipway},
};

const RULES: &str = "groups: {trade: [ada]}\npermissions:\n\
                     - {name: trade publishes, who: ['group:trade'], may: [publish], lines: [trade], environments: [prod]}\n\
                     - {name: operators, who: [op], may: ['*']}\nrules: []\n";

fn decisions(file: &std::path::Path) -> Vec<(String, Value)> {
    let database = rusqlite::Connection::open(file).unwrap();
    let mut rows = database.prepare("SELECT kind, detail FROM events ORDER BY at, id").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.map(|(kind, detail)| (kind, serde_json::from_str(&detail).unwrap())).unwrap()).collect()
}

#[test]
fn can_says_who_may_and_by_which_permission() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), RULES).unwrap();
    let run = |arguments: &[&str]| -> Finished {
        let ledger = format!("sqlite:{}", dir.path().join("ledger.db").display());
        shipway(dir.path()).env("SHIPWAY_LEDGER_URL", ledger).args(arguments).run()
    };
    run(&["can", "eve", "remove", "orders"]).expect_code(0).expect_text(&["yes: no permissions stand anywhere"]);
    run(&["rules", "push", "rules.yaml"]).expect_code(0);
    run(&["app", "set", "orders", "line=trade"]).expect_code(0);
    let prod = ["-e", "prod"];
    run(&[&["can", "ada", "publish", "orders"][..], &prod].concat())
        .expect_code(0)
        .expect_text(&["yes: ada may publish orders in prod: \"trade publishes\" of the ledger permits it"]);
    run(&["can", "ada", "publish", "orders"]).expect_code(30).expect_text(&["no: ada may not publish orders in no environment"]);
    run(&[&["can", "ada", "publish", "bills"][..], &prod].concat()).expect_code(30);
    run(&[&["can", "ada", "publish", "bills", "--line", "trade"][..], &prod].concat()).expect_code(0);
    run(&["can", "op", "scale", "bills"]).expect_code(0).expect_text(&["\"operators\""]);
    run(&["can", "ada", "deploy", "orders"]).expect_code(2).expect_text(&["publish, rollback, scale, restart, remove"]);
    // each place has to permit it
    std::fs::write(dir.path().join("other.yaml"), "permissions: [{name: nobody, who: [x], may: [remove]}]\nrules: []\n").unwrap();
    run(&["can", "op", "scale", "bills", "--set", "rules.file=other.yaml"]).expect_code(30).expect_text(&["no: ", "yes: op may scale"]);
    std::fs::write(dir.path().join("other.yaml"), "permissions: [{name: all, who: [x], my: [remove]}]\nrules: []\n").unwrap();
    run(&["can", "op", "scale", "bills", "--set", "rules.file=other.yaml"]).expect_code(30).expect_text(&["nothing is permitted"]);
    let asked = decisions(&dir.path().join("ledger.db"));
    let allowed: Vec<bool> =
        asked.iter().filter(|(kind, _)| kind == "can").map(|(_, detail)| detail["allowed"].as_bool().unwrap()).collect();
    assert_eq!(allowed, [true, true, false, false, true, true, false], "{asked:?}");
}

#[test]
fn a_job_that_holds_the_credentials_itself_is_advised_and_recorded() {
    let (checkout, namespace) = (empty_checkout("advised"), lab().namespace("advised"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), RULES).unwrap();
    let run = publishing(&checkout, &namespace, 1)
        .env("GITLAB_USER_LOGIN", "eve")
        .env("SHIPWAY_RULES_FILE", dir.path().join("rules.yaml"))
        .env("SHIPWAY_LEDGER_URL", format!("sqlite:{}", dir.path().join("ledger.db").display()))
        .env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health")
        // a variable that is made for workers' builds is no proof
        .env("_SHIPWAY_ASKER", "op");
    let done = run.args(["publish", "-e", "prod", "--image", &lab().web("1")]).run().expect_code(0);
    done.expect_text(&["eve may not publish"]);
    let told = decisions(&dir.path().join("ledger.db"));
    let [(kind, detail)] = &told[..] else { panic!("one decision: {told:?}") };
    assert_eq!((kind.as_str(), &detail["allowed"], &detail["proved"]), ("permission", &false.into(), &false.into()));
}

#[test]
fn whatever_changes_something_asks_and_leaves_who_did_it() {
    let (checkout, namespace) = (empty_checkout("asks"), lab().namespace("asks"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yaml");
    let run = |user: &str, arguments: &[&str]| {
        publishing(&checkout, &namespace, 1)
            .env("GITLAB_USER_LOGIN", user)
            .env("SHIPWAY_LEDGER_URL", format!("sqlite:{}", dir.path().join("ledger.db").display()))
            .args(arguments)
            .run()
            .expect_code(0)
    };
    std::fs::write(&file, RULES).unwrap();
    let rules = file.display().to_string();
    checkout.write("config/a.properties", "a=1\n");
    // the first rules ask nobody: none stand yet
    assert!(!run("ada", &["rules", "push", &rules]).text().contains("may not"));
    for (arguments, refused) in [
        (&["rules", "push", &rules][..], "eve may not push rules"),
        (&["app", "set", "asks", "owners=eve"], "eve may not set what is known of asks"),
        (&["config", "push", "config"], "eve may not change the configuration of asks in no environment"),
        (&["config", "rollback"], "eve may not change the configuration of asks in no environment"),
        (&["unstick", "--force"], "eve may not unstick pods of asks in no environment"),
    ] {
        if arguments[1] == "rollback" {
            checkout.write("config/a.properties", "a=2\n");
            run("op", &["config", "push", "config"]);
        }
        run("eve", arguments).expect_text(&[refused]);
        assert!(!run("op", arguments).text().contains("may not"), "{arguments:?}");
    }
    let told = decisions(&dir.path().join("ledger.db"));
    let of = |kind: &str, user: &str| told.iter().filter(|(held, detail)| held == kind && detail["user"] == user).count();
    assert_eq!((of("permission", "eve"), of("permission", "op")), (5, 6), "{told:?}");
    let database = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    let by = |kind: &str, author: &str| {
        let sql = "SELECT COUNT(*) FROM events WHERE kind = ?1 AND author = ?2";
        database.query_row(sql, [kind, author], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!([by("rules-push", "eve"), by("rules-push", "op"), by("app-set", "eve"), by("app-set", "op")], [1, 1, 1, 1]);
    // looking asks nobody
    run("eve", &["unstick"]);
    assert_eq!(decisions(&dir.path().join("ledger.db")).len(), told.len());
}

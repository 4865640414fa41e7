//! Runs that end before they have a plan: those outside are told all the same, and nothing stays as an earlier run left it.

use serde_json::{Value, json};

use crate::support::{
    forge::{Flavour, Mock, TOKEN},
    shipway::report,
};

use super::{github_step, gitlab_job, quick_checkout};

const CANARY: &str = "refused-canary-7781";

#[test]
fn settings_that_are_refused_are_told_to_the_merge_request_and_the_commit() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    let job = || gitlab_job(&checkout, &host.api()).env("SHIPWAY_STATUS", "true").env("SHIPWAY_REPORT_DIR", "out").arg("build");
    job().run().expect_code(0);
    assert!(host.texts()[0].contains("✅"), "{:?}", host.texts());

    let file = format!("app: web\nkind: library\nbuild: {{command: ['true']}}\nkubernets: {{}}\nregistry: {{password: {CANARY}}}\n");
    checkout.write("shipway.yaml", &file);
    let done = job().env("SHIPWAY_BUILD_JDK", "seventeen").run().expect_code(2);
    let said = ["shipway.yaml:4:1", "did you mean kubernetes?", "SHIPWAY_BUILD_JDK", "SHIPWAY_REGISTRY_PASSWORD_FILE"];
    let done = done.expect_text(&said);
    host.assert_published();
    let texts = host.texts();
    assert!(texts.len() == 1 && texts[0].contains("❌") && said.iter().all(|part| texts[0].contains(part)), "{texts:?}");
    let state = host.state();
    let last = state.statuses.last().unwrap();
    assert_eq!((&last["state"], &last["name"]), (&json!("failed"), &json!("shipway/web/build")), "{last}");
    assert!(!state.seen.iter().any(|seen| seen.body.contains(CANARY)) && !done.text().contains(CANARY), "{}", done.text());
    for name in ["report.json", "report.html", "junit.xml", "comment.md"] {
        let text = std::fs::read_to_string(checkout.path().join("out").join(name)).unwrap();
        assert!(text.contains("SHIPWAY_BUILD_JDK") && !text.contains(CANARY) && !text.contains(TOKEN), "{name}:\n{text}");
    }
}

#[test]
fn a_plan_that_cannot_be_made_is_told_too() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Github));
    let job = github_step(&checkout, &host.api()).env("PLUGIN_PUBLISH", "true").env("PLUGIN_ENVIRONMENT", "prod");
    job.run().expect_code(2).expect_text(&["cluster-missing", "publish is true, but no cluster is configured"]);
    host.assert_published();
    let texts = host.texts();
    assert!(texts.len() == 1 && texts[0].starts_with("<!-- shipway web prod -->") && texts[0].contains("cluster-missing"), "{texts:?}");
    let state = host.state();
    let [status] = &state.statuses[..] else { panic!("{:?}", state.statuses) };
    assert_eq!((&status["state"], &status["context"]), (&json!("failure"), &json!("shipway/web/prod")));
    assert_eq!(status["description"], "failed: cluster-missing");
    assert!(state.deployments.is_empty());
}

#[test]
fn a_refused_step_of_a_plugin_leaves_its_card_and_a_log_of_json() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Github));
    let job =
        github_step(&checkout, &host.api()).env("PLUGIN_REGISTY", "x").env("PLUGIN_LOG_FORMAT", "json").env("PLUGIN_COMMAND", "build");
    let done = job.run().expect_code(2);
    let lines: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(lines.iter().any(|line| line.to_string().contains("PLUGIN_REGISTRY")), "{}", done.text());
    assert_eq!(host.state().statuses.last().unwrap()["context"], "shipway/web/build");
    let report = report(&checkout.path());
    assert_eq!((&report["command"], &report["problem"]["code"]), (&json!("build"), &json!("setting-unknown")), "{report}");
    let sources = report["settings"].as_array().unwrap();
    assert!(sources.iter().any(|set| set["key"] == "command" && set["source"] == "PLUGIN_COMMAND"), "{report}");
}

//! GitHub, by a stand-in that knows its published interface.

use serde_json::{Value, json};

use crate::support::{
    fixture::empty_checkout,
    forge::{Flavour, Mock},
    http::Answer,
    job::on_cluster,
    lab::lab,
};

use super::{github_step, quick_checkout, with_build};

#[test]
fn a_pull_request_has_one_comment_and_the_commit_a_status() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Github));
    host.others(200);
    github_step(&checkout, &host.api()).arg("build").run().expect_code(0);
    github_step(&checkout, &host.api()).arg("build").run().expect_code(0);
    host.assert_published();
    let state = host.state();
    let ours: Vec<_> = state.comments.iter().filter(|(_, text)| text.starts_with("<!-- shipway web (build) -->\n")).collect();
    assert!(ours.len() == 1 && ours[0].1.contains("✅"), "{ours:?}");
    let last = state.statuses.last().unwrap();
    assert_eq!((&last["state"], &last["context"], &last["sha"]), (&json!("success"), &json!("shipway/web/build"), &json!(checkout.head())));
    assert!(state.statuses.iter().all(|status| status["target_url"] == "https://ci.example.test/repos/7/pipeline/8/3"));
}

#[test]
fn a_failure_is_a_failed_status() {
    let (checkout, host) = (with_build("['false']"), Mock::start(Flavour::Github));
    github_step(&checkout, &host.api()).arg("build").run().expect_code(10);
    let last = host.state().statuses.last().unwrap().clone();
    assert_eq!((&last["state"], &last["description"]), (&json!("failure"), &json!("failed: build-failed")));
    host.assert_published();
}

#[test]
fn the_host_is_asked_what_it_is_when_nobody_says() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Github));
    let page = host.api().trim_end_matches("/api/v3").to_string();
    host.fault(
        "GET",
        "/api/v3/meta",
        9,
        Answer::json(200, &json!({"installed_version": "3.17.0", "verifiable_password_authentication": true})),
    );
    github_step(&checkout, &page).env("CI_FORGE_TYPE", "").arg("build").run().expect_code(0);
    assert_eq!(host.state().comments.len(), 1);
}

#[test]
fn a_host_that_tells_nobody_without_a_login_what_it_is_is_known_by_its_refusal() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Github));
    let page = host.api().trim_end_matches("/api/v3").to_string();
    let refusal = json!({"message": "Must authenticate to access this API.", "documentation_url": "https://docs.github.com/rest"});
    host.fault("GET", "/api/v3/meta", 9, Answer::json(401, &refusal));
    github_step(&checkout, &page).env("CI_FORGE_TYPE", "").arg("build").run().expect_code(0);
    assert_eq!(host.texts().len(), 1);

    let gitea = Mock::start(Flavour::Github);
    let page = gitea.api().trim_end_matches("/api/v3").to_string();
    gitea.fault("GET", "/api/v1/version", 9, Answer::json(403, &json!({"message": "Only signed in user is allowed to call APIs."})));
    github_step(&checkout, &page).env("CI_FORGE_TYPE", "").arg("build").run().expect_code(0);
    assert!(gitea.count("GET", "/api/v1/repos/trade/web/issues/7/comments") > 0, "it is not taken for a Gitea");
}

#[test]
fn a_second_limit_is_waited_for_and_missing_rights_are_named() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Github));
    let limited = Answer::json(403, &json!({"message": "You have exceeded a secondary rate limit."})).header("retry-after", "1");
    host.fault("POST", "/issues/7/comments", 1, limited);
    github_step(&checkout, &host.api()).arg("build").run().expect_code(0);
    assert!(host.state().comments.len() == 1 && host.state().comments[0].1.contains("✅"));
    for (token, said) in [
        (
            "read-only-token-1",
            &["Resource not accessible", "permission Pull requests:", "permission Commit statuses:", "PLUGIN_FORGE_TOKEN"][..],
        ),
        ("expired-token-1", &["GitHub does not know the token", "Bad credentials"]),
        ("token-of-another-1", &["trade/web is hidden from the token of PLUGIN_FORGE_TOKEN"]),
    ] {
        let done = github_step(&checkout, &host.api()).env("PLUGIN_FORGE_TOKEN", token).arg("build").run().expect_code(0).expect_text(said);
        assert!(!done.text().contains(token));
    }
    host.assert_published();
}

#[test]
fn a_comment_deleted_during_the_run_is_written_anew() {
    let (checkout, host) = (with_build("[sleep, '2']"), Mock::start(Flavour::Github));
    let mut run = github_step(&checkout, &host.api()).arg("build").spawn();
    run.wait_until("the comment is there", |_| !host.state().comments.is_empty());
    host.state().comments.clear();
    run.wait().expect_code(0);
    let state = host.state();
    assert!(state.comments.len() == 1 && state.comments[0].1.contains("✅"), "{:?}", state.comments);
}

#[test]
fn a_publish_is_a_deployment_with_its_address() {
    let (checkout, host, namespace) = (empty_checkout("web"), Mock::start(Flavour::Github), lab().namespace("deployment"));
    let job = on_cluster(github_step(&checkout, &host.api()), &namespace, 17).env("PLUGIN_ENVIRONMENT", "prod").env("PLUGIN_APP", "web");
    let job = job.env("PLUGIN_KUBERNETES_PROBES_READINESS", "/health").env("PLUGIN_FORGE_ENVIRONMENT_URL", "https://web.example.test");
    job.args(["publish", "--image", &lab().web("1")]).run().expect_code(0);
    host.assert_published();
    let state = host.state();
    let [deployment] = &state.deployments[..] else { panic!("{:?}", state.deployments) };
    assert_eq!(
        (&deployment["environment"], &deployment["ref"], &deployment["required_contexts"]),
        (&json!("prod"), &json!(checkout.head()), &json!([]))
    );
    let states: Vec<_> = state.deployment_states.iter().map(|told| (told["state"].as_str(), told["environment_url"].as_str())).collect();
    assert_eq!(states, [(Some("in_progress"), Some("https://web.example.test")), (Some("success"), Some("https://web.example.test"))]);
    assert_eq!(state.statuses.last().unwrap()["context"], "shipway/web/prod");
    drop(state);

    // what failed afterwards never was active, and what runs elsewhere, or is another application, still runs
    for (id, environment, task, told) in
        [(1, "prod", "deploy:other", "success"), (2, "prod", "deploy:web", "failure"), (3, "test", "deploy:web", "success")]
    {
        host.state().deployments.push(json!({"id": id, "environment": environment, "task": task}));
        host.state().deployment_states.push(json!({"of": id, "state": told}));
    }
    let job = || on_cluster(github_step(&checkout, &host.api()), &namespace, 17).env("PLUGIN_ENVIRONMENT", "prod").env("PLUGIN_APP", "web");
    let ended = |before: usize| -> Vec<Value> {
        let state = host.state();
        let ended = state.deployment_states[before..].iter().filter(|told| told["state"] == "inactive");
        ended.map(|told| told["of"].clone()).collect()
    };
    let first = host.state().deployments[0]["id"].clone();
    let before = host.state().deployment_states.len();
    let next = job().env("PLUGIN_KUBERNETES_PROBES_READINESS", "/health").env("DRONE_BUILD_NUMBER", "900");
    next.args(["publish", "--image", &lab().web("2")]).run().expect_code(0);
    assert_eq!(ended(before), [first], "the newer one takes its place");
    assert!(
        host.state().deployment_states[before..]
            .iter()
            .filter(|told| told["state"] == "success")
            .all(|told| told["auto_inactive"] == false)
    );

    let second = host.state().deployments.last().unwrap()["id"].clone();
    let before = host.state().deployment_states.len();
    job().arg("remove").run().expect_code(0);
    assert_eq!(ended(before), [second]);
    job().arg("remove").run().expect_code(0).expect_text(&["there is nothing of web"]);
    assert_eq!(ended(before).len(), 1, "nothing was there to be ended");
    host.assert_published();
}

//! GitLab, by a stand-in that knows its published interface.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::support::{
    fixture::{Checkout, empty_checkout},
    forge::{Flavour, JOB_TOKEN, Mock, TOKEN},
    http::Answer,
    job::on_cluster,
    lab::{Namespace, lab},
    shipway::Shipway,
};

use super::{gitlab_job, quick_checkout, with_build};

#[test]
fn a_merge_request_has_one_note_and_the_commit_a_status_when_asked() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    host.others(120);
    let job = || gitlab_job(&checkout, &host.api()).env("SHIPWAY_STATUS", "true").arg("build");
    job().run().expect_code(0);
    job().run().expect_code(0);
    host.assert_published();
    let state = host.state();
    let ours: Vec<_> = state.comments.iter().filter(|(_, text)| text.starts_with("<!-- shipway web (build) -->\n")).collect();
    assert!(ours.len() == 1 && ours[0].1.contains("✅"), "{ours:?}");
    let last = state.statuses.last().unwrap();
    assert_eq!(
        (&last["state"], &last["name"], &last["pipeline_id"], &last["sha"]),
        (&json!("success"), &json!("shipway/web/build"), &json!(4711), &json!(checkout.head()))
    );
    // a merge request's pipeline has another ref than the branch
    assert!(state.statuses.iter().all(|status| status.get("ref").is_none()));
}

#[test]
fn the_job_is_the_check_unless_a_status_is_asked_for() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    gitlab_job(&checkout, &host.api()).arg("build").run().expect_code(0);
    assert_eq!((host.count("POST", "/statuses/"), host.state().comments.len()), (0, 1));
    host.assert_published();
}

#[test]
fn the_first_update_takes_two_requests_and_each_further_one() {
    let (checkout, host) = (with_build("[sleep, '1']"), Mock::start(Flavour::Gitlab));
    gitlab_job(&checkout, &host.api()).arg("build").run().expect_code(0);
    let asked: Vec<String> = host.state().seen.iter().map(|seen| seen.method.clone()).collect();
    assert_eq!(asked, ["GET", "POST", "GET", "PUT"], "looked for and written, looked at and brought to its end");
}

#[test]
fn a_branch_finds_its_open_merge_request() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    let job = || {
        let job = gitlab_job(&checkout, &host.api()).env("CI_PIPELINE_SOURCE", "push").env("CI_COMMIT_BRANCH", "feature");
        job.env("CI_MERGE_REQUEST_IID", "").env("SHIPWAY_STATUS", "true").arg("build")
    };
    job().env("CI_OPEN_MERGE_REQUESTS", "trade/web!7").run().expect_code(0);
    assert_eq!((host.count("POST", "/projects/trade%2Fweb/merge_requests/7/notes"), host.count("GET", "/commits/")), (1, 0));
    job().run().expect_code(0);
    assert_eq!((host.count("GET", "/commits/"), host.count("PUT", "/notes/")), (1, host.count("PUT", "/merge_requests/7/notes/")));
    assert_eq!(host.state().comments.len(), 1);
    assert_eq!(host.state().statuses.last().unwrap()["ref"], "feature");
    host.assert_published();
}

#[test]
fn a_state_that_is_there_already_is_as_it_should_be() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    let refused =
        Answer::json(400, &json!({"message": "Cannot transition status via :run from :running (Reason(s): Status cannot transition)"}));
    host.fault("POST", "/statuses/", 9, refused);
    let done = gitlab_job(&checkout, &host.api()).env("SHIPWAY_STATUS", "true").arg("build").run().expect_code(0);
    assert!(!done.text().contains("Cannot transition"), "{}", done.text());
}

#[test]
fn conflicts_and_limits_are_waited_out() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    host.fault("POST", "/statuses/", 1, Answer::json(409, &json!({"message": "409 Conflict"})));
    host.fault("POST", "/notes", 1, Answer::json(429, &json!({"message": "Retry later"})).header("retry-after", "1"));
    host.fault("GET", "/notes", 1, Answer { status: 503, ..Answer::default() });
    gitlab_job(&checkout, &host.api()).env("SHIPWAY_STATUS", "true").arg("build").run().expect_code(0);
    assert_eq!(host.state().statuses.last().unwrap()["state"], "success");
    assert!(host.state().comments.len() == 1 && host.state().comments[0].1.contains("✅"), "{:?}", host.state().comments);
    host.assert_published();
}

#[test]
fn slow_answers_hold_up_the_end_only_as_long_as_they_take() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    host.fault("GET", "/notes", 1, Answer { delay: Duration::from_millis(1500), ..Answer::json(200, &json!([])) });
    let done = gitlab_job(&checkout, &host.api()).arg("build").run().expect_code(0);
    assert!(done.took < Duration::from_secs(5), "took {:?}", done.took);
    assert!(host.state().comments[0].1.contains("✅"));
}

#[test]
fn tokens_that_may_not_are_named_once() {
    for (token, said) in [
        (
            "read-only-token-1",
            &[
                "the token of SHIPWAY_FORGE_TOKEN may not write the merge request's comment",
                "insufficient_scope",
                "the role Developer and the scope api",
            ][..],
        ),
        ("expired-token-1", &["GitLab does not know the token of SHIPWAY_FORGE_TOKEN", "Token is expired", "a project access token"]),
        ("token-of-another-1", &["77 is hidden from the token of SHIPWAY_FORGE_TOKEN", "404 Project Not Found", "scope api"]),
    ] {
        let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
        let job = gitlab_job(&checkout, &host.api()).env("SHIPWAY_FORGE_TOKEN", token).env("SHIPWAY_STATUS", "true");
        let done = job.arg("build").run().expect_code(0).expect_text(said);
        assert!(!done.text().contains(token) && done.text().matches(said[0]).count() == 1, "{}", done.text());
        host.assert_published();
    }
}

#[test]
fn the_jobs_own_token_writes_no_note_and_that_is_said() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    let job = gitlab_job(&checkout, &host.api()).env("SHIPWAY_FORGE_TOKEN", "").env("CI_JOB_TOKEN", JOB_TOKEN);
    let done = job.arg("build").run().expect_code(0);
    done.expect_text(&["no comment is written", "a project access token with the role Developer and the scope api", "SHIPWAY_FORGE_TOKEN"]);
    assert!(host.state().seen.is_empty());
}

/// A comment as pipeline `pipeline` of the same job left it.
fn left_by(pipeline: u64) -> String {
    format!("<!-- shipway web (build) -->\n<!-- pipeline gitlab {pipeline} -->\n### as it was")
}

#[test]
fn an_older_pipeline_leaves_the_words_of_a_newer_one_alone() {
    let (checkout, host) = (with_build("[sleep, '2']"), Mock::start(Flavour::Gitlab));
    host.comments_are(&[&left_by(4712)]);
    gitlab_job(&checkout, &host.api()).arg("build").run().expect_code(0);
    assert_eq!(host.texts(), [left_by(4712)]);
    host.comments_are(&[&left_by(4710)]);
    let mut run = gitlab_job(&checkout, &host.api()).arg("build").spawn();
    run.wait_until("it has taken over from the older one", |_| host.texts()[0].contains("gitlab 4711 -->"));
    // a newer one speaks while it still builds
    host.comments_are(&[&left_by(4712)]);
    run.wait().expect_code(0);
    assert_eq!(host.texts(), [left_by(4712)]);
    host.assert_published();
}

#[test]
fn what_somebody_else_wrote_with_our_first_line_adds_no_comment_to_each_run() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    host.comment_of_another("<!-- shipway web (build) -->\nsaid by somebody else");
    let job = || gitlab_job(&checkout, &host.api()).arg("build");
    job().run().expect_code(0);
    job().run().expect_code(0);
    let texts = host.texts();
    assert!(texts.len() == 2 && texts[0].ends_with("somebody else") && texts[1].contains("✅"), "{texts:?}");
    host.assert_published();
}

#[test]
fn of_two_comments_that_were_written_at_the_same_moment_the_oldest_stays() {
    let (checkout, host) = (with_build("[sleep, '2']"), Mock::start(Flavour::Gitlab));
    let mut run = gitlab_job(&checkout, &host.api()).arg("build").spawn();
    run.wait_until("its comment is there", |_| !host.texts().is_empty());
    // another job's had been written when this one looked, and was not seen yet
    host.state().comments.insert(0, (7, left_by(4711)));
    run.wait().expect_code(0);
    let state = host.state();
    let [(7, text)] = &state.comments[..] else { panic!("{:?}", state.comments) };
    assert!(text.contains("✅"), "{text}");
}

#[test]
fn a_job_that_builds_beside_the_one_that_publishes_has_its_own_comment() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    gitlab_job(&checkout, &host.api()).arg("build").run().expect_code(0);
    gitlab_job(&checkout, &host.api()).arg("run").run().expect_code(0);
    let firsts: Vec<String> = host.texts().iter().map(|text| text.lines().next().unwrap().to_string()).collect();
    assert_eq!(firsts, ["<!-- shipway web (build) -->", "<!-- shipway web -->"]);
}

#[test]
fn a_forks_merge_request_is_told_what_is_left_out_and_why() {
    let (checkout, host) = (quick_checkout(), Mock::start(Flavour::Gitlab));
    let job = gitlab_job(&checkout, &host.api()).env("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "99").env("SHIPWAY_FORGE_TOKEN", "");
    let done = job.env("CI_REGISTRY_PASSWORD", "").env("SHIPWAY_REGISTRY_USERNAME", "ci").arg("build").run().expect_code(0);
    done.expect_text(&["no comment is written at the merge request", "a fork's merge request, which gets no secrets"]);
}

/// A publish of a ready image into the environment prod.
fn publishing(checkout: &Checkout, host: &Mock, namespace: &Namespace, tag: &str) -> Shipway {
    let job = on_cluster(gitlab_job(checkout, &host.api()), namespace, 17).env("CI_PIPELINE_ID", tag.len().to_string());
    let job = job.env("SHIPWAY_ENVIRONMENT", "prod").env("SHIPWAY_KUBERNETES_SERVICE_TYPE", "NodePort").env("SHIPWAY_APP", "web");
    job.env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health").args(["publish", "--image", &lab().web(tag)])
}

#[test]
fn a_publish_is_followed_to_its_end_and_recorded_with_its_address() {
    let (checkout, host, namespace) = (empty_checkout("web"), Mock::start(Flavour::Gitlab), lab().namespace("told publish"));
    publishing(&checkout, &host, &namespace, "1").run().expect_code(0);
    let texts: Vec<String> = host.state().seen.iter().filter_map(|seen| Some(seen.json()["body"].as_str()?.to_string())).collect();
    let stages =
        ["⏳ `web` in `prod` is being published", "🔄 `web` in `prod` is being rolled out", "✅ `web` in `prod` is up: revision 1"];
    assert_eq!(texts.len(), stages.len(), "{texts:?}");
    assert!(
        texts
            .iter()
            .zip(stages)
            .all(|(text, stage)| text.starts_with("<!-- shipway web prod -->\n<!-- pipeline gitlab 1 -->\n### ") && text.contains(stage)),
        "{texts:?}"
    );
    {
        let state = host.state();
        let [deployment] = &state.deployments[..] else { panic!("{:?}", state.deployments) };
        assert_eq!(
            (&deployment["environment"], &deployment["status"], &deployment["tag"]),
            (&json!("prod"), &json!("success"), &json!(false))
        );
        let url = state.environments[0]["external_url"].as_str().unwrap();
        assert!(url.starts_with("http://") && !url.contains(".svc"), "{url}");
    }

    // The next version crashes: what runs is the first one again.
    publishing(&checkout, &host, &namespace, "crash").run().expect_code(50);
    host.assert_published();
    let state = host.state();
    assert_eq!(state.deployments[1]["status"], "failed");
    let text = &state.comments.iter().find(|(_, text)| text.starts_with("<!-- shipway web prod -->")).unwrap().1;
    assert!(
        text.contains("↩️ `web` in `prod` was rolled back: revision 1 runs again") && text.contains("**What went wrong in publish**"),
        "{text}"
    );
    let changed = text.split("changed: <code>deployment/web</code>").nth(1).unwrap();
    assert!(changed.contains("```diff") && changed.contains("image:"), "{text}");
    assert!(text.contains("| Before | `"), "{text}");
}

#[test]
fn where_the_ci_records_the_deployment_only_its_address_is_set_with_the_jobs_own_token() {
    let (checkout, host, namespace) = (empty_checkout("web"), Mock::start(Flavour::Gitlab), lab().namespace("told by ci"));
    host.state().environments.push(json!({"id": 5, "name": "prod", "external_url": null}));
    let job = publishing(&checkout, &host, &namespace, "1").env("CI_ENVIRONMENT_NAME", "prod").env("SHIPWAY_FORGE_TOKEN", "");
    let job = job.env("CI_JOB_TOKEN", JOB_TOKEN).env("SHIPWAY_FORGE_ENVIRONMENT_URL", "https://web.example.test");
    let done = job.env("SHIPWAY_STATUS", "true").run().expect_code(0);
    done.expect_text(&["no comment is written at the merge request and no status is set on the commit", "a project access token"]);
    host.assert_published();
    let state = host.state();
    assert!(state.deployments.is_empty() && state.comments.is_empty());
    assert_eq!(state.environments[0]["external_url"], "https://web.example.test");
}

#[test]
fn what_is_removed_is_told_whichever_pipeline_does_it() {
    let (checkout, host, namespace) = (empty_checkout("web"), Mock::start(Flavour::Gitlab), lab().namespace("told removed"));
    let alone = publishing(&checkout, &host, &namespace, "1").env("SHIPWAY_FORGE_TOKEN", "").env("SHIPWAY_COMMENT", "off");
    alone.run().expect_code(0).expect_text(&["no deployment is recorded: make a project access token"]);
    publishing(&checkout, &host, &namespace, "1").run().expect_code(0);
    let of_newer = host.texts()[0].replace("gitlab 1 -->", "gitlab 9000 -->");
    host.comments_are(&[&of_newer]);
    let job = || on_cluster(gitlab_job(&checkout, &host.api()), &namespace, 17).env("SHIPWAY_ENVIRONMENT", "prod");
    job().env("SHIPWAY_APP", "nobody").env("SHIPWAY_COMMENT", "off").arg("remove").run().expect_code(0);
    publishing(&checkout, &host, &namespace, "1").env("SHIPWAY_APP", "other").env("SHIPWAY_COMMENT", "off").run().expect_code(0);
    let states = || host.state().environments.iter().map(|known| known["state"].clone()).collect::<Vec<_>>();
    job().env("SHIPWAY_APP", "web").arg("remove").run().expect_code(0);
    assert!(!states().contains(&json!("stopped")), "another application is in it: {:?}", states());
    job().env("SHIPWAY_APP", "other").env("SHIPWAY_COMMENT", "off").arg("remove").run().expect_code(0);
    let texts = host.texts();
    assert!(texts.len() == 1 && texts[0].contains("`web` in `prod` is not on the cluster any longer"), "{texts:?}");
    assert_eq!(states(), ["stopped"]);
    host.assert_published();
}

#[test]
fn no_token_stands_in_what_is_told() {
    let (checkout, host) = (with_build("['false']"), Mock::start(Flavour::Gitlab));
    let job =
        gitlab_job(&checkout, &host.api()).env("SHIPWAY_STATUS", "true").env("CI_COMMIT_AUTHOR", format!("Eve {TOKEN} <eve@example.test>"));
    let done = job.env("CI_COMMIT_TITLE", format!("Bearer {TOKEN}")).env("SHIPWAY_LOG_LEVEL", "trace").arg("build").run().expect_code(10);
    assert!(!done.text().contains(TOKEN), "{}", done.text());
    let encoded = BASE64_STANDARD.encode(TOKEN);
    for seen in &host.state().seen {
        assert!(!seen.body.contains(TOKEN) && !seen.body.contains(&encoded) && !seen.path.contains(TOKEN), "{seen:?}");
    }
    assert!(host.state().comments[0].1.contains("(secret)"));
}

//! Against the lab's real Gitea.

use crate::support::{
    fake::Fake,
    gitea::{self, Repo, address},
    lab::lab,
};

use super::{quick_checkout, with_build};

const MARKER: &str = "<!-- shipway web (build) -->";

#[test]
fn a_pull_request_has_one_comment_that_follows_it() {
    let checkout = quick_checkout();
    let (repo, number) = Repo::with_pull_request("sticky", &checkout);
    let port = lab().gitea().address.rsplit(':').next().unwrap().parse().unwrap();
    let proxy = Fake::start(port);
    let job =
        || repo.drone(&checkout, number, &format!("http://{}", proxy.host())).env("PLUGIN_FORGE_TOKEN", lab().gitea_token()).arg("build");
    job().run().expect_code(0);
    let comments = repo.comments(number);
    let [(id, text)] = &comments[..] else { panic!("{comments:?}") };
    assert!(text.starts_with(MARKER) && text.contains("✅ `web`") && text.contains(&checkout.head()[..12]), "{text}");
    let statuses = repo.statuses(&checkout.head());
    assert_eq!(statuses.last().unwrap()["status"], "success", "{statuses:?}");
    assert!(statuses.iter().all(|status| status["context"] == "shipway/web/build"
        && status["target_url"] == format!("https://drone.example.test/{}/5", repo.path())));
    // begun and ended: two updates, of at most two requests each
    let asked = proxy.count("GET", "/comments")
        + proxy.count("DELETE", "/comments")
        + proxy.count("POST", "/comments")
        + proxy.count("PATCH", "/comments");
    assert!(asked <= 4, "the comment took {asked} requests");

    checkout.write("README.md", "still more\n");
    checkout.commit("Say still more");
    repo.push(&checkout, "feature");
    job().run().expect_code(0);
    let again = repo.comments(number);
    assert_eq!(again.len(), 1, "{again:?}");
    assert!(again[0].0 == *id && again[0].1.contains(&checkout.head()[..12]), "{again:?}");
}

#[test]
fn a_cancelled_run_leaves_no_status_pending() {
    let checkout = with_build("[sleep, '60']");
    let (repo, number) = Repo::with_pull_request("cancelled", &checkout);
    let mut run = repo.drone(&checkout, number, &address()).env("PLUGIN_FORGE_TOKEN", lab().gitea_token()).arg("build").spawn();
    run.wait_until("the comment and the status are there", |_| {
        !repo.comments(number).is_empty() && !repo.statuses(&checkout.head()).is_empty()
    });
    assert!(repo.comments(number)[0].1.contains("⏳ `web` is being built"));
    assert_eq!(repo.statuses(&checkout.head())[0]["status"], "pending");
    run.terminate();
    run.wait().expect_code(143);
    assert_eq!(repo.statuses(&checkout.head()).last().unwrap()["status"], "error");
    let comments = repo.comments(number);
    assert!(comments.len() == 1 && comments[0].1.contains("was cancelled"), "{comments:?}");
}

#[test]
fn a_failure_is_told_with_its_cause() {
    let checkout = with_build("['false']");
    let (repo, number) = Repo::with_pull_request("failed", &checkout);
    repo.drone(&checkout, number, &address()).env("PLUGIN_FORGE_TOKEN", lab().gitea_token()).arg("build").run().expect_code(10);
    let statuses = repo.statuses(&checkout.head());
    let last = statuses.last().unwrap();
    assert!(last["status"] == "failure" && last["description"] == "failed: build-failed", "{last}");
    assert!(repo.comments(number)[0].1.contains("**What went wrong in build** (`build-failed`)"));
}

#[test]
fn a_comment_that_a_person_deleted_is_written_anew() {
    let checkout = quick_checkout();
    let (repo, number) = Repo::with_pull_request("deleted", &checkout);
    let job = || repo.drone(&checkout, number, &address()).env("PLUGIN_FORGE_TOKEN", lab().gitea_token()).arg("build");
    job().run().expect_code(0);
    let first = repo.comments(number)[0].0;
    repo.delete_comment(first);
    job().run().expect_code(0);
    let comments = repo.comments(number);
    assert!(comments.len() == 1 && comments[0].0 != first, "{comments:?}");
}

#[test]
fn a_comment_is_found_among_two_hundred_and_two_applications_do_not_fight() {
    let checkout = quick_checkout();
    let (repo, number) = Repo::with_pull_request("many", &checkout);
    let job = |app: &str| {
        repo.drone(&checkout, number, &address()).env("PLUGIN_FORGE_TOKEN", lab().gitea_token()).env("PLUGIN_APP", app).arg("build")
    };
    // what others quote is not ours
    repo.say(number, (0..100).map(|said| format!("{said}\n{MARKER}")).collect());
    job("web").run().expect_code(0);
    repo.say(number, (100..200).map(|said| format!("> {MARKER}\n{said}")).collect());
    job("other").run().expect_code(0);
    job("web").run().expect_code(0);
    let comments = repo.comments(number);
    let ours = |marker: &str| comments.iter().filter(|(_, text)| text.starts_with(marker)).count();
    assert_eq!((comments.len(), ours(MARKER), ours("<!-- shipway other (build) -->")), (202, 1, 1));
}

#[test]
fn closed_and_merged_pull_requests_are_told_all_the_same() {
    let checkout = quick_checkout();
    for end in [Repo::close, Repo::merge] {
        let (repo, number) = Repo::with_pull_request("ended", &checkout);
        end(&repo, number);
        let done = repo.drone(&checkout, number, &address()).env("PLUGIN_FORGE_TOKEN", lab().gitea_token()).arg("build").run();
        done.expect_code(0);
        assert_eq!(repo.comments(number).len(), 1);
    }
}

#[test]
fn tokens_that_may_not_are_named_once_and_the_run_goes_on() {
    let checkout = quick_checkout();
    let (repo, number) = Repo::with_pull_request("rights", &checkout);
    let (_, of_another) = gitea::stranger();
    let read_only = gitea::token(&["read:repository", "read:issue"]);
    for (token, said) in [
        (
            &read_only,
            &[
                "PLUGIN_FORGE_TOKEN may not write the merge request's comment",
                "write:issue",
                "may not set the commit's status",
                "write:repository",
            ][..],
        ),
        (&of_another, &["is hidden from the token of PLUGIN_FORGE_TOKEN", &repo.path(), "write:issue"]),
        (&gitea::removed_token(), &["Gitea does not know the token of PLUGIN_FORGE_TOKEN", "expired, was revoked"]),
    ] {
        let done =
            repo.drone(&checkout, number, &address()).env("PLUGIN_FORGE_TOKEN", token).arg("build").run().expect_code(0).expect_text(said);
        assert!(!done.text().contains(token.as_str()), "the token is in the log");
        assert_eq!(done.text().matches(said[0]).count(), 1, "said more than once:\n{}", done.text());
    }
    assert!(repo.comments(number).is_empty() && repo.statuses(&checkout.head()).is_empty());
}

#[test]
fn without_a_token_it_is_said_which_one_is_missing() {
    let checkout = quick_checkout();
    let (repo, number) = Repo::with_pull_request("no token", &checkout);
    let done = repo.drone(&checkout, number, &address()).env("PLUGIN_ENVIRONMENT", "review").arg("build").run().expect_code(0);
    done.expect_text(&["no comment is written at the merge request", "forge_token", "write:issue", "shipway-report/comment.md"]);
    assert!(
        std::fs::read_to_string(checkout.path().join("shipway-report/comment.md"))
            .unwrap()
            .starts_with("<!-- shipway web review (build) -->")
    );
}

#[test]
fn nothing_is_told_when_it_is_switched_off() {
    let checkout = quick_checkout();
    let (repo, number) = Repo::with_pull_request("off", &checkout);
    let job = repo.drone(&checkout, number, &address()).env("PLUGIN_FORGE_TOKEN", lab().gitea_token());
    job.env("PLUGIN_COMMENT", "off").env("PLUGIN_STATUS", "false").arg("build").run().expect_code(0);
    assert!(repo.comments(number).is_empty() && repo.statuses(&checkout.head()).is_empty());
}

#[test]
fn in_a_step_of_drone_who_asks_is_whose_token_it_is() {
    let checkout = quick_checkout();
    let (repo, number) = Repo::with_pull_request("whose token", &checkout);
    checkout.write("rules.yaml", "permissions: [{name: all, who: [dev], may: [publish]}]\nrules: []\n");
    let ask = |token: &str| {
        let job = repo.drone(&checkout, number, &address()).env("PLUGIN_FORGE_TOKEN", token);
        job.env("SHIPWAY_RULES_FILE", checkout.path().join("rules.yaml"))
            .env("DRONE_COMMIT_AUTHOR", "eve")
            .args(["can", "@me", "publish", "web"])
            .run()
    };
    let dev = &lab().gitea().user;
    ask(&lab().gitea_token()).expect_code(0).expect_text(&[&format!("you are {dev}, as forge.token proves at 127.0.0.1")]);
    ask("0123456789012345678901234567890123456789")
        .expect_code(30)
        .expect_text(&["who asks is not proved", "you are eve, as the job itself says"]);
}

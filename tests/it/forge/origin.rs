//! Where a pull request comes from, when the CI does not say: the code host knows.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    fixture,
    forge::{Flavour, Mock},
    gitea::{self, Repo, address, call},
    http::Answer,
    lab::lab,
    shipway::Shipway,
};

use super::github_step;

/// A plan of a publish into an environment, which only code of the repository itself may do.
fn planned(job: Shipway, kubeconfig: &std::path::Path) -> String {
    let job = job.env("PLUGIN_ENVIRONMENT", "review").env("PLUGIN_CLUSTER_KUBECONFIG", kubeconfig).env("PLUGIN_IMAGE_REF", lab().web("1"));
    job.arg("plan").run().expect_code(0).text()
}

#[test]
fn a_pull_request_of_the_repository_itself_may_publish_and_a_forks_may_not() {
    let (checkout, namespace) = (fixture::empty_checkout("web"), lab().namespace("origin"));
    let (repo, number) = Repo::with_pull_request("origin", &checkout);
    let job = || {
        repo.drone(&checkout, number, &address())
            .env("PLUGIN_FORGE_TOKEN", lab().gitea_token())
            .env("PLUGIN_KUBERNETES_NAMESPACE", &namespace.name)
    };
    let own = planned(job(), &namespace.kubeconfig);
    assert!(own.contains("publish web in namespace") && !own.contains("fork"), "{own}");

    let (stranger, _) = gitea::stranger();
    call(reqwest::Method::PATCH, &format!("repos/{}", repo.path()), Some(json!({"private": false})));
    let fork = json!({"name": repo.name});
    call(reqwest::Method::POST, &format!("repos/{}/forks?sudo={stranger}", repo.path()), Some(fork));
    let foreign = repo.open(&format!("{stranger}:feature"));
    let job = repo
        .drone(&checkout, foreign, &address())
        .env("PLUGIN_FORGE_TOKEN", lab().gitea_token())
        .env("PLUGIN_KUBERNETES_NAMESPACE", &namespace.name);
    let foreign = planned(job, &namespace.kubeconfig);
    assert!(foreign.contains("a fork's merge request is never published"), "{foreign}");
}

#[test]
fn without_an_answer_the_code_counts_as_foreign() {
    let (checkout, namespace) = (fixture::empty_checkout("web"), lab().namespace("no origin"));
    let host = Mock::start(Flavour::Github);
    let job = || github_step(&checkout, &host.api()).env("PLUGIN_KUBERNETES_NAMESPACE", &namespace.name).env("PLUGIN_APP", "web");
    assert!(planned(job(), &namespace.kubeconfig).contains("publish web in namespace"), "the stand-in says that it is the same repository");
    let fork = planned(job().env("CI_COMMIT_PULL_REQUEST", "8"), &namespace.kubeconfig);
    assert!(fork.contains("a fork's merge request is never published"), "{fork}");
    host.fault("GET", "/pulls/7", 9, Answer { delay: Duration::from_secs(30), ..Answer::default() });
    let begun = std::time::Instant::now();
    let unknown = planned(job(), &namespace.kubeconfig);
    assert!(unknown.contains("pull request 7 counts as a fork's") && unknown.contains("never published"), "{unknown}");
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    host.assert_published();
}

#[test]
fn a_fork_without_secrets_is_built_and_says_what_is_left_out() {
    let checkout = crate::support::job::jar_checkout("web", &fixture::archive("shaded-service", ""));
    let host = Mock::start(Flavour::Github);
    let job = github_step(&checkout, &host.api()).env("CI_COMMIT_PULL_REQUEST", "8").env("PLUGIN_FORGE_TOKEN", "");
    let job = job.env("PLUGIN_REGISTRY", "registry.example.test").env("PLUGIN_USERNAME", "ci").env("PLUGIN_PASSWORD", "");
    let job = job
        .env("PLUGIN_IMAGE_BASE", lab().base(17))
        .env("PLUGIN_MAVEN_URL", "https://maven.example.test/")
        .env("PLUGIN_MAVEN_USERNAME", "ci");
    let done = job.run().expect_code(0);
    done.expect_text(&["gets no secrets", "registry.password", "no comment is written at the merge request"]);
}

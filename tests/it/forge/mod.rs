//! What code hosts, chats and CI servers are told of a run: a real Gitea, and stand-ins that check every request against the published
//! interfaces of GitLab, GitHub and the chats.

mod drone;
mod gitea;
mod github;
mod gitlab;
mod hosts;
mod notify;
mod origin;
mod refused;

use crate::support::{
    fixture::{self, Checkout},
    forge::TOKEN,
    shipway::{Shipway, shipway},
};

/// A checkout whose build takes no time: what is told is what these tests are about.
fn quick_checkout() -> Checkout {
    with_build("['true']")
}

/// A checkout that is built by this argv.
fn with_build(argv: &str) -> Checkout {
    let checkout = fixture::empty_checkout("web");
    checkout.write("shipway.yaml", &format!("app: web\nkind: library\nbuild: {{command: {argv}}}\n"));
    checkout.commit("Add the application");
    checkout
}

/// What GitLab tells a job of merge request 7 of project 77, with the API at `api`.
fn gitlab_job(checkout: &Checkout, api: &str) -> Shipway {
    shipway(checkout.path())
        .envs([
            ("GITLAB_CI", "true"),
            ("CI", "true"),
            ("CI_PROJECT_ID", "77"),
            ("CI_PROJECT_PATH", "trade/web"),
            ("CI_PROJECT_NAME", "web"),
        ])
        .envs([("CI_PIPELINE_SOURCE", "merge_request_event"), ("CI_MERGE_REQUEST_IID", "7"), ("CI_MERGE_REQUEST_PROJECT_ID", "77")])
        .envs([("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "77"), ("CI_COMMIT_REF_NAME", "feature"), ("CI_DEFAULT_BRANCH", "main")])
        .envs([
            ("CI_PIPELINE_ID", "4711"),
            ("CI_JOB_URL", "https://gitlab.example.test/trade/web/-/jobs/9"),
            ("SHIPWAY_FORGE_TOKEN", TOKEN),
        ])
        .env("CI_COMMIT_SHA", checkout.head())
        .env("CI_API_V4_URL", api)
}

/// What Woodpecker tells a step of pull request 7 of trade/web at GitHub, with its API at `api`.
fn github_step(checkout: &Checkout, api: &str) -> Shipway {
    shipway(checkout.path())
        .envs([("CI", "woodpecker"), ("CI_REPO", "trade/web"), ("CI_REPO_NAME", "web"), ("CI_REPO_DEFAULT_BRANCH", "main")])
        .envs([("CI_PIPELINE_EVENT", "pull_request"), ("CI_COMMIT_PULL_REQUEST", "7"), ("CI_COMMIT_SOURCE_BRANCH", "feature")])
        .envs([("CI_PIPELINE_NUMBER", "8"), ("CI_STEP_URL", "https://ci.example.test/repos/7/pipeline/8/3"), ("CI_FORGE_TYPE", "github")])
        .env("CI_COMMIT_SHA", checkout.head())
        .env("CI_FORGE_URL", api)
        .env("PLUGIN_FORGE_TOKEN", TOKEN)
}

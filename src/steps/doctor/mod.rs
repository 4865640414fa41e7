//! Whether everything outside that a run needs can be reached, as whom, and with which rights. Asks only; changes nothing that stays.

mod outside;
mod tools;

use std::{future::Future, time::Duration};

use crate::{
    domain::{
        checkup::{Examined, State},
        problem::{Code, Problem, Result},
    },
    net,
    plan::Plan,
};

/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks at all of it at once; what a run needs first comes first.
pub async fn examine(plan: &Plan) -> Vec<Examined> {
    let local = [Examined::new("project", tools::project(plan)), Examined::new("build", tools::build(plan))];
    let (engine, repository, base, registry, cluster, forge) = tokio::join!(
        limited("image engine", Box::pin(tools::engine(plan))),
        limited("Maven repository", Box::pin(outside::maven_repository(plan))),
        limited("base image", Box::pin(outside::base_image(plan))),
        limited("registry", Box::pin(outside::registry(plan))),
        limited("cluster", Box::pin(outside::cluster(plan))),
        limited("code host", Box::pin(outside::code_host(plan))),
    );
    let others = [engine, repository, base, registry, cluster, forge].into_iter().flatten();
    let last = [Examined::new("messages", outside::messages(plan)), Examined::new("report", tools::report(plan))];
    local.into_iter().chain(others).chain(last).collect()
}

/// An answer in time; None: nothing has to be asked.
async fn limited(what: &'static str, asked: impl Future<Output = Result<Option<State>>>) -> Option<Examined> {
    let state = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(state)) => state?,
        Ok(Err(problem)) => State::Bad(problem),
        Err(_) => State::Bad(late(what)),
    };
    Some(Examined::new(what, state))
}

fn late(what: &str) -> Problem {
    let code = match what {
        "cluster" => Code::ClusterUnreachable,
        "code host" => Code::ForgeUnreachable,
        "Maven repository" => Code::MavenRepositoryDown,
        _ => Code::RegistryUnreachable,
    };
    Problem::new(code, format!("the {what} did not answer within {} s", PATIENCE.as_secs()))
}

/// As the outside is reached in a run, but told at once when it is not there.
fn short(options: net::Options) -> net::Options {
    let retry = net::retry::Policy { attempts: 2, patience: Duration::from_secs(5), outage: Duration::ZERO, ..options.retry };
    net::Options { retry, connect_timeout: Duration::from_secs(5), ..options }
}

fn unset(text: impl Into<String>, hint: impl Into<String>) -> State {
    State::Unset { text: text.into(), hint: Some(hint.into()) }
}

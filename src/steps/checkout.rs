//! The source: the CI's checkout when there is one, else a shallow clone.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::run::{Done, Run, record};
use crate::{
    domain::{
        commit::Commit,
        event::Events,
        problem::{Code, Problem, Result},
        secret::{Credentials, Secret},
        step::Step,
    },
    git, maven,
    plan::Facts,
    settings::Loaded,
};

/// Where a source is cloned to when the working directory is not empty.
const CLONE_FOLDER: &str = "shipway-source";

/// Uses the checkout at `dir`, or clones `source.url`. `needed` is false for commands that only talk to the cluster.
pub async fn checkout(loaded: &Loaded, dir: &Path, needed: bool, events: &Events) -> Result<Facts> {
    let env = loaded.host.maven_env(&[]);
    let work_dir = dir.to_path_buf();
    let present = match git::head(dir, &env).await {
        // a small image has no git; the CI says which commit its checkout is
        Err(problem) if problem.code == Code::ProgramMissing && loaded.ci.commit.sha.is_some() => None,
        head => head?,
    };
    let has_source = present.is_some() || dir.join("pom.xml").is_file() || loaded.settings.build.command.is_some();
    let (dir, commit, cloned) = match &loaded.settings.source.url {
        Some(url) if needed && !has_source => {
            let (dir, commit) = clone(loaded, url, dir, &env, events).await?;
            (dir, Some(commit), true)
        }
        _ => (dir.to_path_buf(), present, false),
    };
    if needed && !cloned && !has_source && loaded.settings.image.reference.is_none() {
        return Err(no_source(&dir));
    }
    let project = if needed && dir.join("pom.xml").is_file() { Some(maven::read(&dir)?) } else { None };
    let folder = fs::canonicalize(&dir).ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let commit = with_ci(commit, loaded);
    Ok(Facts { work_dir, dir, cloned, folder, commit, project, now: now() })
}

/// Says which checkout is used, where it was not this run that made it.
pub(super) async fn tell(run: &Run) -> Result<()> {
    let facts = &run.plan.facts;
    if facts.cloned {
        return Ok(());
    }
    let summary = match &facts.commit {
        Some(commit) => {
            let place = commit.tag.as_deref().or(commit.branch.as_deref()).map(|name| format!(" of {name}")).unwrap_or_default();
            format!("{}{place}, the checkout that is there", commit.short())
        }
        None => "the folder as it is; no commit is known".to_string(),
    };
    run.step(Step::Checkout, async { Ok(Done::new((), summary)) }).await
}

async fn clone(loaded: &Loaded, url: &str, dir: &Path, env: &[(String, String)], events: &Events) -> Result<(PathBuf, Commit)> {
    let empty = fs::read_dir(dir).map(|mut entries| entries.next().is_none()).unwrap_or(true);
    let target = if empty { dir.to_path_buf() } else { dir.join(CLONE_FOLDER) };
    let source = git::Source {
        url: url.to_string(),
        reference: loaded.settings.source.reference.clone(),
        credentials: source_credentials(loaded, url),
        ca: loaded.ci.server_ca.clone(),
        refs: permitted_refs(loaded),
    };
    let work = async {
        let commit = git::clone(&source, &target, env).await?;
        let summary = format!("cloned {} of {}", commit.short(), commit.remote.as_deref().unwrap_or("the source"));
        Ok(Done::new(commit, summary))
    };
    Ok((target.clone(), record(events, Step::Checkout, work).await?))
}

/// A worker's builds come from branches and tags, as long as the worker does not say otherwise: those are what only people of the repository
/// can set.
fn permitted_refs(loaded: &Loaded) -> Vec<String> {
    match (loaded.host.worker, loaded.settings.worker.refs.as_slice()) {
        (None, _) => Vec::new(),
        (Some(_), []) => ["refs/heads/*", "refs/tags/*"].map(str::to_string).to_vec(),
        (Some(_), set) => set.to_vec(),
    }
}

/// The token of the code host, for a source on that very host; credentials that stand in the URL count before it.
fn source_credentials(loaded: &Loaded, url: &str) -> Option<Credentials> {
    let host =
        |url: &str| url::Url::parse(url).ok().and_then(|url| Some((url.scheme().to_string(), url.host_str()?.to_string(), url.port())));
    let source = host(url)?;
    let is_source = |url: Option<&str>| url.and_then(host).is_some_and(|other| other == source);
    let token = |username: &str, token: &Secret| Credentials { username: username.to_string(), password: token.clone() };
    match (&loaded.settings.forge.token, &loaded.ci.job_token) {
        (Some(forge), _) if is_source(loaded.settings.forge.url.as_deref().or(loaded.ci.api_url.as_deref())) => {
            Some(token("oauth2", forge))
        }
        (_, Some(job)) if is_source(loaded.ci.api_url.as_deref()) => Some(token("gitlab-ci-token", job)),
        _ => None,
    }
}

/// What the CI says of the commit counts where a shallow, detached checkout cannot know it.
fn with_ci(commit: Option<Commit>, loaded: &Loaded) -> Option<Commit> {
    let ci = &loaded.ci.commit;
    let mut commit = match (commit, &ci.sha) {
        (Some(commit), _) => commit,
        (None, Some(sha)) => Commit { sha: sha.clone(), time: ci.time.unwrap_or(0), ..Commit::default() },
        (None, None) => return None,
    };
    commit.branch = ci.branch.clone().or(commit.branch);
    commit.tag = ci.tag.clone().or(commit.tag);
    commit.remote = commit.remote.or_else(|| loaded.ci.project.clone_url.clone());
    if let Some(author) = ci.author.clone().filter(|_| commit.author.is_empty()) {
        commit.author = author;
    }
    Some(commit)
}

fn no_source(dir: &Path) -> Problem {
    let empty = fs::read_dir(dir).map(|mut entries| entries.next().is_none()).unwrap_or(true);
    let code = if empty { Code::NoCheckout } else { Code::NoPom };
    // a dot would not tell the owner of a CI job where it ran
    let place = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    Problem::new(code, format!("{} holds no pom.xml and no checkout", place.display()))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().try_into().unwrap_or(0))
}

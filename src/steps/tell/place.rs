//! Which project at which code host is told, and as whom: from the settings, else from the CI.

use url::Url;

use super::Wanted;
use crate::{
    forge::{self, Kind, Target, Token},
    plan::Plan,
    settings::{Ci, CiKind, ForgeKind, Settings, Sourced},
};

/// Why the code host is not told, in words; `loud` when somebody asked for it.
pub(in crate::steps) struct Silence {
    pub text: String,
    pub hint: String,
    pub loud: bool,
}

/// Where this run is told of, and what is not told of it; neither when nothing is wanted or no code host is known.
pub(super) fn target(plan: &Plan, wanted: &Wanted) -> (Option<Target>, Option<Silence>) {
    let remote = plan.facts.commit.as_ref().and_then(|commit| commit.remote.as_deref());
    let own = wanted.comment.is_some() || wanted.status.is_some();
    let of_environment = wanted.deployment.is_some() || wanted.retirement.is_some();
    if !own && !of_environment {
        return (None, None);
    }
    let asked = plan.settings.forge.token.is_some() || wanted.status_is_asked;
    let nobody = |text: &str, hint: &str| (None, asked.then(|| Silence { text: text.to_string(), hint: hint.to_string(), loud: true }));
    let Some(target) = known(&plan.settings, &plan.ci, &plan.sources, remote) else {
        return nobody("no code host is told of this run: its address or project is not known", "set forge.url");
    };
    if is_bitbucket(&plan.ci, &target.address) {
        let hint = "its comments and statuses are not in this version; comment.md is in the report's folder";
        return nobody("Bitbucket is not told of this run", hint);
    }
    match &target.token {
        Token::None => (None, no_token(plan, &target, wanted)),
        // it may record the deployment, and nothing else
        Token::Job(_) if own => {
            let silence = no_token(plan, &target, wanted);
            (of_environment.then_some(target), silence)
        }
        _ => (Some(target), None),
    }
}

/// What is left out for want of a token, and which one would do. A fork's pipeline gets no secrets, on purpose.
fn no_token(plan: &Plan, target: &Target, wanted: &Wanted) -> Option<Silence> {
    let kind = target.kind.or_else(|| Kind::of_address(&target.address));
    // the job's own token is enough for a deployment, and Gitea has none
    let has_environments = matches!(target.token, Token::None) && kind != Some(Kind::Gitea);
    let what: Vec<&str> = [
        wanted.comment.as_ref().map(|_| "no comment is written at the merge request"),
        wanted.status.as_ref().map(|_| "no status is set on the commit"),
        wanted.deployment.as_ref().filter(|_| has_environments).map(|_| "no deployment is recorded"),
        wanted.retirement.as_ref().filter(|_| has_environments).map(|_| "the deployment is not ended"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if what.is_empty() {
        return None;
    }
    let (text, loud) = (what.join(" and "), wanted.status_is_asked);
    let file = plan.report_dir.join("comment.md");
    if plan.ci.is_fork() && plan.ci.unsaid_origin().is_none() {
        let hint = format!("this is a fork's merge request, which gets no secrets; {} has the comment", file.display());
        return Some(Silence { text, hint, loud });
    }
    let hint = format!("{} ({} has the comment)", forge::wanted(kind, &target.token_place), file.display());
    Some(Silence { text, hint, loud })
}

/// The project at its code host, as far as settings, CI and checkout tell.
pub(in crate::steps) fn known(settings: &Settings, ci: &Ci, sources: &[Sourced], remote: Option<&str>) -> Option<Target> {
    let remote = remote.and_then(|remote| Url::parse(remote).ok());
    let address = settings.forge.url.as_deref().or(ci.api_url.as_deref())?;
    let address = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let of_remote = || remote.filter(|remote| remote.host() == address.host()).map(|remote| project_of(&remote));
    let project = match ci.kind {
        CiKind::Gitlab => ci.project.id.clone().or_else(|| ci.project.path.clone()),
        _ => ci.project.path.clone().or_else(of_remote),
    };
    let token = match (&settings.forge.token, &ci.job_token) {
        (Some(token), _) => Token::Own(token.clone()),
        // it is for nobody but the CI's own server
        (None, Some(token)) if settings.forge.url.is_none() => Token::Job(token.clone()),
        (None, _) => Token::None,
    };
    let kind = match settings.forge.kind {
        ForgeKind::Gitlab => Some(Kind::Gitlab),
        ForgeKind::Github => Some(Kind::Github),
        ForgeKind::Gitea | ForgeKind::Forgejo => Some(Kind::Gitea),
        ForgeKind::Auto => told_by_ci(ci),
    };
    Some(Target { kind, address, project: project?, token, token_place: token_place(ci, sources) })
}

fn told_by_ci(ci: &Ci) -> Option<Kind> {
    match ci.forge.as_deref()? {
        "gitlab" => Some(Kind::Gitlab),
        "github" => Some(Kind::Github),
        "gitea" | "forgejo" => Some(Kind::Gitea),
        _ => None,
    }
}

fn is_bitbucket(ci: &Ci, address: &Url) -> bool {
    ci.forge.as_deref().is_some_and(|forge| forge.starts_with("bitbucket")) || address.host_str() == Some("bitbucket.org")
}

/// `trade/order-service` of `https://git.example.test/trade/order-service.git`.
fn project_of(remote: &Url) -> String {
    remote.path().trim_matches('/').trim_end_matches(".git").to_string()
}

/// Where the token stands, else where it would have to in this CI.
fn token_place(ci: &Ci, sources: &[Sourced]) -> String {
    match sources.iter().rev().find(|sourced| sourced.key == "forge.token") {
        Some(sourced) => sourced.source.to_string(),
        None => match ci.kind {
            CiKind::Gitlab => "the masked CI/CD variable SHIPWAY_FORGE_TOKEN".to_string(),
            CiKind::Drone | CiKind::Woodpecker => "the step's setting forge_token, from_secret".to_string(),
            CiKind::Shell => "SHIPWAY_FORGE_TOKEN".to_string(),
        },
    }
}

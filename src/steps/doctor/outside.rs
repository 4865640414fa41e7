//! What is reached by the network: Maven repository, registries, cluster, code host.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Method};
use url::Url;

use super::{
    super::{access, config, publish, tell::place},
    short, unset,
};
use crate::{
    domain::{
        application::ImageFacts,
        checkup::State,
        image_source::ImageSource,
        problem::{Code, Problem, Result},
        reference::{DEFAULT_REGISTRY, ImageReference},
        workload::Workload,
    },
    forge::{self, Forge, Token},
    net,
    plan::{Plan, Publish},
    registry,
    settings::Sourced,
};

/// The Maven repository or mirror, asked as a build asks it.
pub(super) async fn maven_repository(plan: &Plan) -> Result<Option<State>> {
    let maven = &plan.settings.maven;
    let Some(address) = maven.url.as_deref().or(maven.mirror.as_deref()) else { return Ok(None) };
    let url = Url::parse(address).map_err(|error| Problem::new(Code::SettingInvalid, format!("maven.url is no address: {error}")))?;
    let client = net::Client::new(short(access::network(&plan.host, &plan.ci)))?;
    let mut request = net::Request::new(Method::GET, url.clone());
    let user = maven.username.as_deref().unwrap_or("nobody");
    if let (Some(username), Some(password)) = (&maven.username, &maven.password) {
        client.conceal(password);
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{}", password.expose())));
        let header =
            HeaderValue::from_str(&basic).map_err(|error| Problem::new(Code::SettingInvalid, format!("maven.password: {error}")))?;
        request = request.authorization(header);
    }
    let shown = net::display_url(&url);
    let answer = client.send(request).await.map_err(|failure| Problem::new(Code::MavenRepositoryDown, failure.message))?;
    match answer.status().as_u16() {
        401 | 403 => Err(Problem::new(Code::DeployDenied, format!("{shown} refuses {user}: {}", answer.status()))),
        status if status >= 500 => Err(Problem::new(Code::MavenRepositoryDown, format!("{shown} answers {}", answer.status()))),
        _ => Ok(Some(State::Good(format!("{shown} answers {user}{}", if plan.deploys { "; this run deploys to it" } else { "" })))),
    }
}

/// What the image would be built on.
pub(super) async fn base_image(plan: &Plan) -> Result<Option<State>> {
    if plan.has_ready_image() || plan.is_library() || plan.settings.image.dockerfile.is_some() {
        return Ok(None);
    }
    let project = plan.facts.dir.join("pom.xml").is_file();
    let Ok(ImageSource::Registry(base)) = with_project(plan)?.base(None, None) else {
        return Ok(project.then(|| unset("which base image is used is not known before the build", "set image.base to have it looked at")));
    };
    let client = client(plan)?;
    let names = names_of(plan, &base)?;
    for name in &names {
        if let Some(digest) = client.head(name).await? {
            return Ok(Some(State::Good(format!("{name} is there ({})", digest.short()))));
        }
    }
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    Err(Problem::new(Code::BaseImageMissing, format!("{} is not in its registry", names.join(" or "))))
}

/// Where a base image is looked for: behind the mirror, when one is set, with `library/` and without, as a build does.
fn names_of(plan: &Plan, base: &ImageReference) -> Result<Vec<ImageReference>> {
    let mirror = plan.settings.image.base_registry.as_ref().filter(|_| base.registry == DEFAULT_REGISTRY);
    let Some(mirror) = mirror else { return Ok(vec![base.clone()]) };
    let mut paths = vec![base.repository.as_str()];
    paths.extend(base.repository.strip_prefix("library/"));
    let behind = |path: &str| {
        let name: ImageReference = format!("{mirror}/{path}").parse()?;
        Ok(ImageReference { tag: base.tag.clone(), digest: base.digest.clone(), ..name })
    };
    paths.into_iter().map(behind).collect()
}

/// The plan with what the pom says, which queries do not read.
fn with_project(plan: &Plan) -> Result<Plan> {
    let mut plan = plan.clone();
    if plan.facts.project.is_none() && plan.facts.dir.join("pom.xml").is_file() {
        plan.facts.project = Some(crate::maven::read(&plan.facts.dir)?);
    }
    Ok(plan)
}

fn client(plan: &Plan) -> Result<registry::Client> {
    registry::Client::new(short(access::network(&plan.host, &plan.ci)), access::accesses(plan)?)
}

/// Whether the image could be pushed.
pub(super) async fn registry(plan: &Plan) -> Result<Option<State>> {
    if plan.is_library() {
        return Ok(None);
    }
    if plan.lacks_secrets() {
        return Ok(Some(State::Unset { text: "a fork's merge request gets no password: nothing is pushed".to_string(), hint: None }));
    }
    if !plan.pushes {
        let text = format!("no registry is set: the image becomes an OCI layout in {}", plan.report_dir.join("image").display());
        return Ok(Some(unset(text, "set registry.url, registry.username and registry.password")));
    }
    let pusher = client(plan)?.may_push(&plan.target).await?;
    let whom = match pusher.username.as_str() {
        "" => "nobody (it asks for no credentials)".to_string(),
        name => format!("{name}, by {}", pusher.source),
    };
    Ok(Some(State::Good(format!("{} takes pushes to {} from {whom}", plan.target.registry, plan.target.repository))))
}

/// The cluster: reachable, as whom, with everything that a publish of this application calls.
pub(super) async fn cluster(plan: &Plan) -> Result<Option<State>> {
    if !plan.has_cluster() {
        let text = "no cluster is set: the manifests are written to a file";
        return Ok(Some(unset(text, "set KUBECONFIG (or cluster.kubeconfig), or cluster.server, cluster.token and cluster.ca")));
    }
    let cluster = access::connect(plan).await?;
    let workload = plan.workload(&plan.target, "", None, &ImageFacts::default());
    let (config, pushed) = config::of_release(plan).await?;
    let workload = Workload { custom: super::super::custom::read(plan)?, config, pushed, ..workload };
    let standing = cluster.standing(&publish::request(plan, workload)).await?;
    if let Some(problem) = standing.problem {
        return Err(problem);
    }
    let but = match &plan.publish {
        Publish::No { because } => format!("; this run would not: {because}"),
        _ => String::new(),
    };
    let user = standing.user.map(|user| format!(" as {user}")).unwrap_or_default();
    let words = format!("{} ({}){user} may publish {} in namespace {}{but}", cluster.server, standing.version, plan.name, plan.namespace);
    Ok(Some(State::Good(words)))
}

/// The code host: which token, of whom, and whether it may write.
pub(super) async fn code_host(plan: &Plan) -> Result<Option<State>> {
    let remote = plan.facts.commit.as_ref().and_then(|commit| commit.remote.as_deref());
    let Some(target) = place::known(&plan.settings, &plan.ci, &plan.sources, remote) else {
        let text = "no code host is known here: no comment, no commit status";
        return Ok(Some(unset(text, "inside a CI it is found by itself; elsewhere set forge.url and forge.token")));
    };
    let host = net::display_url(&target.address);
    let kind = target.kind.or_else(|| forge::Kind::of_address(&target.address));
    match target.token {
        Token::None => return Ok(Some(unset(format!("{host}: there is no token"), forge::wanted(kind, &target.token_place)))),
        Token::Job(_) => {
            let text = format!("{host}: the job's own token records deployments, and may write no comment");
            return Ok(Some(unset(text, forge::wanted(kind, &target.token_place))));
        }
        Token::Own(_) => {}
    }
    let (project, place) = (target.project.clone(), target.token_place.clone());
    let network = short(access::forge_network(&plan.settings, &plan.host, &plan.ci, &plan.facts.dir));
    let forge = Forge::connect(target, network).await?;
    let standing = forge.standing().await?;
    let user = standing.user.unwrap_or_else(|| "somebody (the token may not ask who)".to_string());
    let scopes = if standing.scopes.is_empty() { String::new() } else { format!(", scopes {}", standing.scopes.join(", ")) };
    let until = standing.expires.map(|day| format!(", until {day}")).unwrap_or_default();
    Ok(Some(State::Good(format!("{host} ({}) knows {place} as {user} at {project}{scopes}{until}", forge.kind().name()))))
}

/// The chat: nothing is sent to find out.
pub(super) fn messages(plan: &Plan) -> State {
    let source = |found: &Sourced| found.source.to_string();
    match plan.sources.iter().rev().find(|sourced| sourced.key == "notify.url").map(source) {
        Some(source) => State::Good(format!("notify.url is set ({source}); nothing was sent to try it")),
        None => unset("nobody is told of a run outside of the code host", "set notify.url"),
    }
}

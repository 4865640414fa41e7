//! Code hosts: a comment at the merge request, the commit's status, deployments with their address. GitLab, GitHub, Gitea and Forgejo
//! behind one type. Nothing here retries for long: the caller is a run that must not wait.

mod call;
mod comments;
mod gitea;
mod github;
mod gitlab;
mod repos;
mod rights;
mod standing;

use std::time::Duration;

use url::Url;

use self::{call::Calls, gitlab::Gitlab, repos::Repos, rights::Right};
pub use self::{rights::wanted, standing::Standing};
use crate::{
    domain::{
        problem::{Code, Problem, Result},
        secret::Secret,
    },
    net,
};

/// Which API a code host speaks; Forgejo speaks Gitea's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gitlab,
    Github,
    Gitea,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gitlab => "GitLab",
            Kind::Github => "GitHub",
            Kind::Gitea => "Gitea",
        }
    }

    /// The kind that an address tells by itself: a well-known host, or the path of an API.
    pub fn of_address(address: &Url) -> Option<Kind> {
        let host = address.host_str()?;
        let path = address.path().trim_end_matches('/');
        let under = |name: &str| host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        match () {
            () if under("github.com") || under("ghe.com") || path.ends_with("/api/v3") => Some(Kind::Github),
            () if under("gitlab.com") || path.ends_with("/api/v4") => Some(Kind::Gitlab),
            () if under("codeberg.org") || under("gitea.com") || path.ends_with("/api/v1") => Some(Kind::Gitea),
            () => None,
        }
    }

    /// The API below an address that people write: with the API's path, or only the host's page.
    fn api(self, mut address: Url) -> Url {
        if self == Kind::Github && matches!(address.host_str(), Some("github.com" | "www.github.com" | "api.github.com")) {
            let _ = address.set_host(Some("api.github.com"));
            address.set_path("");
            return address;
        }
        let suffix = match self {
            Kind::Gitlab => "/api/v4",
            Kind::Github => "/api/v3",
            Kind::Gitea => "/api/v1",
        };
        let path = address.path().trim_end_matches('/').to_string();
        // GitHub's cloud with data residency has its API on a host of its own, without a path
        let is_api = path.ends_with(suffix) || (self == Kind::Github && address.host_str().is_some_and(|host| host.starts_with("api.")));
        address.set_path(&if is_api { path } else { format!("{path}{suffix}") });
        address
    }
}

/// Who asks.
#[derive(Clone, Default)]
pub enum Token {
    /// Nobody: what is public can be read.
    #[default]
    None,
    /// The token of `forge.token`.
    Own(Secret),
    /// GitLab's token of the job: it may read, and write deployments and environments.
    Job(Secret),
}

/// A project at a code host, and how it is reached.
#[derive(Clone)]
pub struct Target {
    /// None: the host is asked what it is.
    pub kind: Option<Kind>,
    /// Page or API of the host.
    pub address: Url,
    /// `owner/name`, or GitLab's number of it.
    pub project: String,
    pub token: Token,
    /// Where the token stands (`SHIPWAY_FORGE_TOKEN`), or where it would have to: for messages.
    pub token_place: String,
}

/// How the host is reached: short limits, as all of it happens beside a run.
pub fn network(options: net::Options) -> net::Options {
    let retry = net::retry::Policy {
        attempts: 3,
        base: Duration::from_millis(300),
        longest: Duration::from_secs(2),
        patience: Duration::from_secs(20),
        outage: Duration::ZERO,
    };
    net::Options { connect_timeout: Duration::from_secs(5), idle_timeout: Duration::from_secs(15), retry, ..options }
}

/// The state of a commit's status or of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// What is said of a commit.
#[derive(Debug, Clone)]
pub struct Status {
    pub sha: String,
    /// Tells this status from others of the commit.
    pub context: String,
    pub state: State,
    /// In a few words; cut at the host's limit.
    pub description: String,
    /// Page with more.
    pub link: Option<String>,
    /// Branch or tag (GitLab; None for a merge request's pipeline, whose ref is another).
    pub reference: Option<String>,
    /// GitLab's number of the pipeline that the status joins.
    pub pipeline: Option<u64>,
}

/// A change of what runs in an environment.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub environment: String,
    /// Several may run in one environment.
    pub application: String,
    pub sha: String,
    /// Branch or tag.
    pub reference: String,
    pub is_tag: bool,
    pub state: State,
    pub description: String,
    /// Where the environment answers.
    pub url: Option<String>,
    /// Page of the job.
    pub link: Option<String>,
    /// The CI makes the deployment by itself (GitLab's `environment:`): only the address is set.
    pub by_ci: bool,
}

/// An application that is out of an environment.
#[derive(Debug, Clone)]
pub struct Retirement {
    pub environment: String,
    pub application: String,
}

/// A comment: where it stands, how it is found again, and which one it is once that is known.
#[derive(Debug, Clone)]
pub struct Note {
    /// Project of the merge request, when it is another one than the target's.
    pub project: Option<String>,
    /// Number of the merge request.
    pub number: u64,
    /// First line of the text, which nobody sees.
    pub marker: String,
    /// Set when it was found or made.
    pub id: Option<u64>,
    /// It is known to be the only one.
    pub is_settled: bool,
}

/// GitHub has a login, GitLab a username, Gitea both.
#[derive(serde::Deserialize)]
struct User {
    login: Option<String>,
    username: Option<String>,
}

/// A deployment that was begun.
#[derive(Debug, Clone, Copy, Default)]
pub struct Begun {
    pub id: Option<u64>,
}

/// The client of one project at one code host.
pub struct Forge {
    target: Target,
    kind: Kind,
    api: Api,
}

enum Api {
    Gitlab(Gitlab),
    Repos(Repos),
}

impl Forge {
    /// Connects to a host; one whose kind is not known is asked for it (at most three requests).
    pub async fn connect(target: Target, options: net::Options) -> Result<Forge> {
        let client = net::Client::new(options)?;
        if let Token::Own(token) | Token::Job(token) = &target.token {
            client.conceal(token);
        }
        let kind = match target.kind.or_else(|| Kind::of_address(&target.address)) {
            Some(kind) => kind,
            None => call::find_kind(&client, &target.address).await?,
        };
        let calls = Calls::new(client, kind.api(target.address.clone()), kind, &target.token);
        let api = match kind {
            Kind::Gitlab => Api::Gitlab(Gitlab { calls, project: target.project.clone() }),
            Kind::Github | Kind::Gitea => Api::Repos(Repos { calls, project: target.project.clone(), kind }),
        };
        Ok(Forge { target, kind, api })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        match &self.api {
            Api::Gitlab(gitlab) => gitlab.calls.requests(),
            Api::Repos(repos) => repos.calls.requests(),
        }
    }

    /// Makes the comment say this: edits the one that is there, else writes a new one.
    pub async fn comment(&self, note: &mut Note, text: &str) -> Result<()> {
        let said = match &self.api {
            Api::Gitlab(gitlab) => gitlab.comment(note, text).await,
            Api::Repos(repos) => repos.comment(note, text).await,
        };
        said.map_err(|refused| self.problem(Right::Comment, refused))
    }

    /// Sets the status; saying the same again is fine.
    pub async fn status(&self, status: &Status) -> Result<()> {
        let set = match &self.api {
            Api::Gitlab(gitlab) => gitlab.status(status).await,
            Api::Repos(repos) => repos.status(status).await,
        };
        set.map_err(|refused| self.problem(Right::Status, refused))
    }

    /// Begins or ends a deployment; a host that has none is left alone.
    pub async fn deployment(&self, deployment: &Deployment, begun: &mut Begun) -> Result<()> {
        let told = match &self.api {
            Api::Gitlab(gitlab) => gitlab.deployment(deployment, begun).await,
            Api::Repos(repos) if self.kind == Kind::Github => repos.deployment(deployment, begun).await,
            Api::Repos(_) => Ok(()),
        };
        told.map_err(|refused| self.problem(Right::Deployment, refused))
    }

    /// Says that an application is out of an environment, which has `others` or not; a host that has none is left alone.
    pub async fn retire(&self, retirement: &Retirement, others: bool) -> Result<()> {
        let told = match &self.api {
            // it knows environments as a whole
            Api::Gitlab(_) if others => Ok(()),
            Api::Gitlab(gitlab) => gitlab.retire(&retirement.environment).await,
            Api::Repos(repos) if self.kind == Kind::Github => repos.retire(&retirement.environment, &retirement.application, None).await,
            Api::Repos(_) => Ok(()),
        };
        told.map_err(|refused| self.problem(Right::Deployment, refused))
    }

    /// Whether the code of this merge request comes from another repository.
    pub async fn is_fork(&self, number: u64) -> Result<bool> {
        let fork = match &self.api {
            Api::Gitlab(gitlab) => gitlab.is_fork(number).await,
            Api::Repos(repos) => repos.is_fork(number).await,
        };
        fork.map_err(|refused| self.problem(Right::Read, refused))
    }

    /// Whose token it is.
    pub async fn user(&self) -> Result<String> {
        let calls = match &self.api {
            Api::Gitlab(gitlab) => &gitlab.calls,
            Api::Repos(repos) => &repos.calls,
        };
        let user = calls.get::<User>(&["user"], &[]).await;
        let user = user.map_err(|refused| self.problem(Right::User, refused))?.body;
        user.login.or(user.username).ok_or_else(|| Problem::new(Code::ForgeFailed, "the code host does not say whose token it is"))
    }

    /// The open merge request that this commit is the head of, where the CI names none.
    pub async fn merge_request_of(&self, sha: &str) -> Result<Option<u64>> {
        let found = match &self.api {
            Api::Gitlab(gitlab) => gitlab.merge_request_of(sha).await,
            Api::Repos(_) => Ok(None),
        };
        found.map_err(|refused| self.problem(Right::Read, refused))
    }

    /// Words for what the host did not do: which token, which scope, which variable.
    fn problem(&self, right: Right, refused: call::Refused) -> Problem {
        rights::problem(self.kind, &self.target, right, &refused)
    }
}

/// A host of which nobody can tell what it is.
fn unknown_kind(address: &Url) -> Problem {
    Problem::new(Code::ForgeUnreachable, format!("{} is neither GitLab nor GitHub, Gitea or Forgejo", net::display_url(address)))
        .hint("set forge.kind, or correct forge.url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_their_api() {
        for (kind, address, api) in [
            (Kind::Gitlab, "https://gitlab.example.test", "https://gitlab.example.test/api/v4"),
            (Kind::Gitlab, "https://example.test/git/api/v4/", "https://example.test/git/api/v4"),
            (Kind::Github, "https://github.com", "https://api.github.com/"),
            (Kind::Github, "https://api.github.com", "https://api.github.com/"),
            (Kind::Github, "https://ghe.example.test/", "https://ghe.example.test/api/v3"),
            (Kind::Github, "https://api.octo.ghe.com", "https://api.octo.ghe.com/"),
            (Kind::Gitea, "http://127.0.0.1:3000/", "http://127.0.0.1:3000/api/v1"),
            (Kind::Gitea, "https://example.test/gitea", "https://example.test/gitea/api/v1"),
        ] {
            assert_eq!(kind.api(Url::parse(address).unwrap()).as_str(), api, "{address}");
        }
    }

    #[test]
    fn some_addresses_tell_what_they_are() {
        for (address, kind) in [
            ("https://github.com/a/b", Some(Kind::Github)),
            ("https://api.github.com", Some(Kind::Github)),
            ("https://notgithub.com", None),
            ("https://gitlab.com/", Some(Kind::Gitlab)),
            ("https://code.example.test/api/v4", Some(Kind::Gitlab)),
            ("https://code.example.test/api/v1/", Some(Kind::Gitea)),
            ("https://codeberg.org", Some(Kind::Gitea)),
            ("https://code.example.test", None),
        ] {
            assert_eq!(Kind::of_address(&Url::parse(address).unwrap()), kind, "{address}");
        }
    }
}

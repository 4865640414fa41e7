//! Who a token is at a code host, and whether it may write to the project; asks, and changes nothing.

use serde::Deserialize;

use super::{
    Forge, Kind,
    call::{Calls, Refused},
    repos::refs,
    rights::{self, Right},
};
use crate::domain::problem::{Code, Problem, Result};

/// What a token is and may, as far as the host tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// None: the token may not even ask that.
    pub user: Option<String>,
    /// None: the host does not tell.
    pub writes: Option<bool>,
    /// As the host writes them: `api`, `repo`.
    pub scopes: Vec<String>,
    /// The token's last day.
    pub expires: Option<String>,
}

#[derive(Deserialize)]
struct User {
    #[serde(alias = "login")]
    username: String,
}

#[derive(Deserialize)]
struct Project {
    #[serde(default)]
    permissions: Permissions,
}

/// Those of GitHub and Gitea (`push`), and those of GitLab (levels by way of project or group).
#[derive(Default, Deserialize)]
struct Permissions {
    push: Option<bool>,
    project_access: Option<Access>,
    group_access: Option<Access>,
}

#[derive(Deserialize)]
struct Access {
    access_level: u32,
}

#[derive(Deserialize)]
struct OwnToken {
    #[serde(default)]
    scopes: Vec<String>,
    expires_at: Option<String>,
}

/// GitLab's role that may write notes and statuses.
const DEVELOPER: u32 = 30;

impl Forge {
    /// Asks who the token is and what it may; at most three requests. Fails when it is unknown, sees nothing of the project, or may
    /// plainly not write.
    pub async fn standing(&self) -> Result<Standing> {
        let (calls, path) = match &self.api {
            super::Api::Gitlab(gitlab) => (&gitlab.calls, vec!["projects".to_string(), gitlab.project.clone()]),
            super::Api::Repos(repos) => (&repos.calls, repos.path(&[])),
        };
        let standing = ask(self.kind, calls, &path).await.map_err(|refused| self.problem(Right::Read, refused))?;
        let api = standing.scopes.is_empty() || standing.scopes.iter().any(|scope| scope == "api");
        match (self.kind, standing.writes) {
            (Kind::Gitlab, _) if !api => Err(self.too_little(&format!("it has the scope {}", standing.scopes.join(", ")))),
            (_, Some(false)) => Err(self.too_little("its user may read the project, and not write to it")),
            _ => Ok(standing),
        }
    }

    fn too_little(&self, why: &str) -> Problem {
        let (host, place) = (self.kind.name(), &self.target.token_place);
        Problem::new(Code::ForgeDenied, format!("the token of {place} cannot write to {host}: {why}"))
            .hint(rights::wanted(Some(self.kind), place))
    }
}

async fn ask(kind: Kind, calls: &Calls, path: &[String]) -> Result<Standing, Refused> {
    let project: Project = calls.get(&refs(path), &[]).await?.body;
    let levels = [&project.permissions.project_access, &project.permissions.group_access];
    let level = levels.into_iter().flatten().map(|access| access.access_level).max();
    let writes = project.permissions.push.or(level.map(|level| level >= DEVELOPER));
    // tokens that may not ask who they are may still be good
    let user = calls.get::<User>(&["user"], &[]).await.ok().map(|answer| answer.body.username);
    let token = match kind {
        Kind::Gitlab => calls.get::<OwnToken>(&["personal_access_tokens", "self"], &[]).await.ok().map(|answer| answer.body),
        Kind::Github | Kind::Gitea => None,
    };
    let (scopes, expires) = token.map_or_else(Default::default, |token| (token.scopes, token.expires_at));
    Ok(Standing { user, writes, scopes, expires })
}

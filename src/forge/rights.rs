//! What a refusal means: which token, which scope of it, and where it is set.

use super::{Kind, Target, Token, call::Refused};
use crate::domain::problem::{Code, Problem};

/// What a request needs to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    Comment,
    Status,
    Deployment,
    User,
}

impl Right {
    fn words(self) -> &'static str {
        match self {
            Right::Read => "read the merge request",
            Right::Comment => "write the merge request's comment",
            Right::Status => "set the commit's status",
            Right::Deployment => "record the deployment",
            Right::User => "say whose it is",
        }
    }

    /// The least that the token has to have for it, in the host's own words.
    fn scope(self, kind: Kind) -> &'static str {
        match (kind, self) {
            (Kind::Gitlab, Right::User) => "the scope read_user",
            (Kind::Github, Right::User) => "any permission of a user's own token",
            (Kind::Gitea, Right::User) => "the scope read:user",
            (Kind::Gitlab, Right::Read) => "the scope read_api",
            (Kind::Gitlab, _) => "the role Developer and the scope api",
            (Kind::Github, Right::Read) => "the permission Pull requests: read (classic: repo)",
            (Kind::Github, Right::Comment) => "the permission Pull requests: write (classic: repo)",
            (Kind::Github, Right::Status) => "the permission Commit statuses: write (classic: repo:status)",
            (Kind::Github, Right::Deployment) => "the permission Deployments: write (classic: repo_deployment)",
            (Kind::Gitea, Right::Read) => "the scope read:repository",
            (Kind::Gitea, Right::Comment) => "the scope write:issue",
            (Kind::Gitea, Right::Status | Right::Deployment) => "the scope write:repository, of a user who may write to the repository",
        }
    }
}

/// The kind of token that suits a project's CI.
fn token_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Gitlab => "a project access token",
        Kind::Github => "a fine-grained token of this repository",
        Kind::Gitea => "an access token",
    }
}

/// What is missing when no token is there at all, as a next action.
pub fn wanted(kind: Option<Kind>, place: &str) -> String {
    let kind = kind.unwrap_or(Kind::Gitea);
    let scopes = match kind {
        Kind::Gitlab => "with the role Developer and the scope api",
        Kind::Github => "with Pull requests: write, Commit statuses: write and Deployments: write",
        Kind::Gitea => "with the scopes write:issue and write:repository",
    };
    format!("make {} {scopes}, and set {place}", token_kind(kind))
}

pub(super) fn problem(kind: Kind, target: &Target, right: Right, refused: &Refused) -> Problem {
    let (host, what, text) = (kind.name(), right.words(), &refused.text);
    let (place, scope, project) = (&target.token_place, right.scope(kind), &target.project);
    let which = match &target.token {
        Token::Own(_) => format!("the token of {place}"),
        Token::Job(_) => "the job's own token".to_string(),
        Token::None => "nobody".to_string(),
    };
    // whatever the token was to do, one that is unknown or of another project is the same mistake
    let new_token = wanted(Some(kind), place);
    match refused.status.map(|status| status.as_u16()) {
        Some(401) => {
            let why = "it has expired, was revoked, or is of another server";
            Problem::new(Code::ForgeUnauthorized, format!("{host} does not know {which}: {why} ({text})")).hint(new_token)
        }
        Some(404) => Problem::new(Code::ForgeDenied, format!("{project} is hidden from {which}, or is not there ({text})"))
            .hint(format!("{new_token}; it has to be one of {project} itself")),
        Some(403) if !refused.limited => Problem::new(Code::ForgeDenied, format!("{which} may not {what} ({text})"))
            .hint(format!("set {place} to {} with {scope}", token_kind(kind))),
        Some(_) => Problem::new(Code::ForgeFailed, format!("{host} did not {what}: {text}")),
        None => Problem::new(Code::ForgeUnreachable, format!("{host} cannot be asked to {what}: {text}")),
    }
}

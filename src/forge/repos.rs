//! Comments, statuses and pull requests as GitHub defined them, and as Gitea and Forgejo speak them, too.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    Kind, Note, State, Status,
    call::{Calls, Refused},
    comments, gitea, github,
};

/// A repository at GitHub, Gitea or Forgejo.
pub(super) struct Repos {
    pub calls: Calls,
    /// `owner/name`.
    pub project: String,
    pub kind: Kind,
}

#[derive(Deserialize)]
struct Pull {
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Side {
    /// None: that repository is gone.
    repo: Option<Repository>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

impl Repos {
    pub async fn comment(&self, note: &mut Note, text: &str) -> Result<(), Refused> {
        let list = self.path(&["issues", &note.number.to_string(), "comments"]);
        let place = comments::Place { list, one: self.path(&["issues", "comments"]), edit: Method::PATCH, query: &[] };
        comments::say(&self.calls, &place, note, text).await
    }

    pub async fn status(&self, status: &Status) -> Result<(), Refused> {
        let (state, longest) = match self.kind {
            Kind::Github => (github::status_state(status.state), github::DESCRIPTION),
            _ => (gitea::status_state(status.state), gitea::DESCRIPTION),
        };
        let mut body = json!({"state": state, "context": status.context, "description": cut(&status.description, longest)});
        if let Some(link) = &status.link {
            body["target_url"] = json!(link);
        }
        let path = self.path(&["statuses", &status.sha]);
        self.calls.set(Method::POST, &refs(&path), &body).await
    }

    pub async fn is_fork(&self, number: u64) -> Result<bool, Refused> {
        let path = self.path(&["pulls", &number.to_string()]);
        let pull: Pull = self.calls.get(&refs(&path), &[]).await?.body;
        let (head, base) = (pull.head.repo, pull.base.repo);
        Ok(match (head, base) {
            (Some(head), Some(base)) => head.full_name != base.full_name,
            _ => true,
        })
    }

    /// A path below the repository.
    pub(super) fn path(&self, rest: &[&str]) -> Vec<String> {
        let own = self.project.split('/').map(str::to_string);
        ["repos".to_string()].into_iter().chain(own).chain(rest.iter().map(|part| (*part).to_string())).collect()
    }
}

pub(super) fn refs(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// At most so many characters, the last of them `…` when some are left out.
pub(super) fn cut(text: &str, longest: usize) -> String {
    match text.chars().count() <= longest {
        true => text.to_string(),
        false => text.chars().take(longest - 1).chain(['…']).collect(),
    }
}

/// The words that both share; `cancelled` is no state of theirs.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Running => "pending",
        State::Succeeded => "success",
        State::Failed => "failure",
        State::Cancelled => "error",
    }
}

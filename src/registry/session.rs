//! Calls to one repository: where the registry is, who asks, and what to do when it asks back.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use tokio::sync::OnceCell;
use url::Url;

use super::{
    access::{self, Access, Login},
    auth::{Auth, Tokens},
    challenge::{self, Challenge},
    fault::{self, Fault},
};
use crate::{
    domain::{
        problem::{Code, Problem, Result},
        reference::ImageReference,
    },
    net::{self, Cause, Request, Response, same_origin},
};

/// How long a server that may speak plain http is given to answer a TLS greeting.
const GREETING: Duration = Duration::from_secs(5);

/// Smaller bodies are sent again from the beginning, bytes.
pub(super) const WORTH_RESUMING: u64 = 1 << 20;

/// How often it is greeted when it closes connections without a word.
const GREETINGS: u32 = 4;

/// What a session wants to do with its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Pull,
    Push,
}

/// What all sessions with one registry share.
pub(super) struct Host {
    /// As image references write it.
    pub name: String,
    pub plain_http_allowed: bool,
    pub trusted: Vec<String>,
    pub tokens: Tokens,
    /// Whether a POST may carry a whole blob.
    pub takes_whole_posts: Learnt,
    /// Whether the closing PUT may.
    pub takes_single_puts: Learnt,
    base: OnceCell<Url>,
}

/// Something about a registry that one of its answers shows.
#[derive(Default)]
pub(super) struct Learnt(std::sync::OnceLock<bool>);

impl Learnt {
    /// The first answer counts.
    pub fn learn(&self, answer: bool) {
        let _ = self.0.set(answer);
    }

    pub fn known(&self, answer: bool) -> bool {
        self.0.get() == Some(&answer)
    }
}

impl Host {
    pub fn new(registry: &str, accesses: &[Access]) -> Self {
        Host {
            name: registry.to_string(),
            plain_http_allowed: access::plain_http_allowed(accesses, registry),
            trusted: access::trusted_hosts(accesses, registry),
            tokens: Tokens::default(),
            takes_whole_posts: Learnt::default(),
            takes_single_puts: Learnt::default(),
            base: OnceCell::new(),
        }
    }

    /// The registry's root URL. Where plain http is allowed, https is tried first: a password is not sent in the open when it need not.
    async fn base(&self, net: &net::Client) -> Result<&Url> {
        self.base
            .get_or_try_init(|| async {
                let endpoint = access::endpoint(&self.name);
                let url = |scheme: &str| {
                    Url::parse(&format!("{scheme}://{endpoint}/")).map_err(|error| {
                        Problem::new(Code::ImageNameInvalid, format!("{endpoint:?} is not the address of a registry: {error}"))
                    })
                };
                let https = url("https")?;
                if !self.plain_http_allowed {
                    return Ok(https);
                }
                let ping = https.join("v2/").map_err(|error| Problem::bug(error.to_string()))?;
                for attempt in 1.. {
                    match net.send(Request::new(Method::GET, ping.clone()).once().patience(GREETING)).await {
                        Ok(response) => {
                            self.tokens.learn(challenge::parse(response.headers()));
                            return Ok(https);
                        }
                        // It does speak TLS, and plain http would not help. Why it closed a connection may be heard the next time.
                        Err(failure) if failure.cause == Cause::Lost && attempt < GREETINGS => {}
                        Err(failure)
                            if matches!(failure.cause, Cause::Certificate | Cause::ClientCertificate | Cause::Redirect | Cause::Lost) =>
                        {
                            return Err(fault::of_failure(&self.name, &failure));
                        }
                        Err(_) => break,
                    }
                }
                url("http")
            })
            .await
    }
}

/// One repository of one registry, with the scopes that are asked for. Cheap to clone.
#[derive(Clone)]
pub(super) struct Session {
    pub net: net::Client,
    pub host: Arc<Host>,
    base: Url,
    repository: String,
    login: Login,
    action: Action,
    /// Repositories of the same registry that blobs are mounted from.
    sources: Vec<String>,
}

impl Session {
    pub async fn open(net: net::Client, host: Arc<Host>, login: Login, reference: &ImageReference, action: Action) -> Result<Self> {
        let base = host.base(&net).await?.clone();
        Ok(Session { net, host, base, repository: reference.repository.clone(), login, action, sources: Vec::new() })
    }

    /// The same session with rights to read other repositories of the registry, too.
    pub fn with_sources(mut self, sources: Vec<String>) -> Self {
        self.sources = sources;
        self
    }

    pub fn registry(&self) -> &str {
        &self.host.name
    }

    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn login(&self) -> &Login {
        &self.login
    }

    pub fn action(&self) -> Action {
        self.action
    }

    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The scope of the session's own repository (docker's token specification).
    pub fn scope(&self) -> String {
        match self.action {
            Action::Pull => format!("repository:{}:pull", self.repository),
            Action::Push => format!("repository:{}:pull,push", self.repository),
        }
    }

    /// Own scope first: some token servers look at no other.
    pub fn scopes(&self) -> Vec<String> {
        let mut scopes = vec![self.scope()];
        scopes.extend(self.sources.iter().map(|source| format!("repository:{source}:pull")));
        scopes
    }

    /// URL of something of this repository: `manifests/latest`, `blobs/uploads/`.
    pub fn url(&self, path: &str) -> Result<Url> {
        let path = format!("v2/{}/{path}", self.repository);
        self.base.join(&path).map_err(|error| Problem::bug(format!("{path} makes no URL: {error}")))
    }

    /// Sends a request with the session's authorization, where it goes to the registry itself. A 401 is answered: with what the
    /// registry asks for, or with a fresh token; a second one is final.
    pub async fn send(&self, request: Request) -> Result<Response, Fault> {
        if !same_origin(request.url(), &self.base) {
            return Ok(self.net.send(request).await?);
        }
        let mut extra = Vec::new();
        let mut had_token = false;
        for _ in 0..4 {
            let auth = self.authorization(&extra).await?;
            had_token |= matches!(auth, Auth::Bearer { .. });
            let attempt = match auth.header()? {
                Some(header) => request.clone().authorization(header),
                None => request.clone(),
            };
            let response = self.net.send(attempt).await?;
            if response.status() != 401 || !same_origin(response.url(), &self.base) {
                return Ok(response);
            }
            let asked = challenge::parse(response.headers()).or_else(|| self.unsaid());
            if !self.can_answer(&auth, asked.as_ref(), &mut extra) {
                return Err(self.refused(had_token, response).await.into());
            }
            self.host.tokens.learn(asked);
            if request.body_length() >= WORTH_RESUMING {
                return Err(Fault::Renewed);
            }
        }
        Err(fault::protocol(self.registry(), "it asks for authorization again and again").into())
    }

    /// What a registry means that answers 401 without a challenge: what it said before, else Basic.
    fn unsaid(&self) -> Option<Challenge> {
        self.host.tokens.challenge().or_else(|| self.login.credentials.as_ref().map(|_| Challenge::Basic))
    }

    /// Whether there is something better to answer a 401 with than `auth`.
    fn can_answer(&self, auth: &Auth, asked: Option<&Challenge>, extra: &mut Vec<String>) -> bool {
        match (auth, asked) {
            (_, None) | (Auth::Basic(_), Some(Challenge::Basic)) => false,
            (Auth::None | Auth::Bearer { .. }, Some(Challenge::Basic)) => self.login.credentials.is_some(),
            (Auth::None | Auth::Basic(_), Some(Challenge::Bearer(_))) => true,
            (Auth::Bearer { token, fresh }, Some(Challenge::Bearer(bearer))) => {
                self.host.tokens.forget(token);
                let mut unknown = bearer.scopes.clone();
                unknown.retain(|scope| is_modest(scope) && !self.scopes().contains(scope) && !extra.contains(scope));
                let more = !unknown.is_empty();
                extra.extend(unknown);
                !fresh || more
            }
        }
    }

    /// A token server that took the credentials and a registry that refuses the token: the right is missing, not the password.
    async fn refused(&self, had_token: bool, response: Response) -> Problem {
        let refusal = fault::Refusal::read(response).await;
        match had_token && self.login.credentials.is_some() {
            true => self.denied(&refusal.message),
            false => self.unauthorized(&refusal.message),
        }
    }

    async fn authorization(&self, extra: &[String]) -> Result<Auth, Fault> {
        let mut scopes = self.scopes();
        scopes.extend_from_slice(extra);
        self.host.tokens.authorization(self, &scopes).await
    }

    /// Whether the registry answered before and is away now.
    pub fn is_away(&self, failure: &net::Failure) -> bool {
        self.net.is_away(&self.base, failure)
    }

    pub fn unauthorized(&self, detail: &str) -> Problem {
        fault::unauthorized(self, detail)
    }

    pub fn denied(&self, detail: &str) -> Problem {
        fault::denied(self, detail)
    }
}

/// A scope that a registry asks for and that a client of ours may want: to read or write a repository, nothing else.
fn is_modest(scope: &str) -> bool {
    let actions = scope.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':')).map(|(_, actions)| actions);
    actions.is_some_and(|actions| actions.split(',').all(|action| matches!(action, "pull" | "push")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_gets_no_scope_that_deletes() {
        assert!(is_modest("repository:a/b:pull,push"));
        assert!(is_modest("repository:host:5000/a:pull"));
        for scope in ["repository:a:*", "repository:a:delete", "registry:catalog:*", "repository:a", ""] {
            assert!(!is_modest(scope), "{scope}");
        }
    }
}

//! One request with JSON, and what became of it.

use std::time::SystemTime;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{Kind, Token, unknown_kind};
use crate::{
    domain::problem::{Code, Problem, Result},
    net::{self, Request, Response, retry},
};

/// Longest answer, bytes: a page of a hundred long comments.
const LONGEST: usize = 32 << 20;
/// How much of a host's own words is kept, characters.
const LONGEST_WORDS: usize = 300;

/// A host that did not do what it was asked.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    /// None: there was no answer.
    pub status: Option<StatusCode>,
    /// Method, address, status, and the host's own words; nothing secret.
    pub text: String,
    /// Not refused for good: too many requests.
    pub limited: bool,
}

/// What a request brought.
pub(super) struct Answer<T> {
    pub body: T,
    /// There is a further page.
    pub more: bool,
}

/// Sends requests to one host as one user.
pub(super) struct Calls {
    client: net::Client,
    api: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Calls {
    pub fn new(client: net::Client, api: Url, kind: Kind, token: &Token) -> Self {
        let mut headers = Vec::new();
        let mut secret = |name: HeaderName, value: String| {
            // a token with a line break in it cannot be sent, and the host says what is wrong
            if let Ok(mut value) = HeaderValue::from_str(&value) {
                value.set_sensitive(true);
                headers.push((name, value));
            }
        };
        match token {
            Token::None => {}
            Token::Job(token) => secret(HeaderName::from_static("job-token"), token.expose().trim().to_string()),
            // all three take it in this form, whatever kind of token it is
            Token::Own(token) => secret(header::AUTHORIZATION, format!("Bearer {}", token.expose().trim())),
        }
        let accept = match kind {
            Kind::Github => "application/vnd.github+json",
            Kind::Gitlab | Kind::Gitea => "application/json",
        };
        headers.push((header::ACCEPT, HeaderValue::from_static(accept)));
        if kind == Kind::Github {
            headers.push((HeaderName::from_static("x-github-api-version"), HeaderValue::from_static("2022-11-28")));
        }
        Calls { client, api, headers }
    }

    pub fn requests(&self) -> u64 {
        self.client.requests()
    }

    /// Asks for `path` below the API; each of its parts may hold any characters.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Answer<T>, Refused> {
        let url = self.url(path, query)?;
        let response = self.send(self.request(Method::GET, url)).await?;
        let (what, more) = (response.what().to_string(), has_next(&response));
        let body = response.bytes(LONGEST).await.map_err(|failure| Refused::lost(&failure))?;
        let body = serde_json::from_slice(&body).map_err(|error| Refused::odd(&what, &error))?;
        Ok(Answer { body, more })
    }

    /// Makes something new: sent again only when the host says that it has done nothing.
    pub async fn make<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, Refused> {
        let request = self.request(Method::POST, self.url(path, &[])?).bytes(body.to_string());
        self.read(request).await
    }

    /// Sets what may be set twice.
    pub async fn set(&self, method: Method, path: &[&str], body: &Value) -> Result<(), Refused> {
        let request = self.request(method, self.url(path, &[])?).bytes(body.to_string()).repeatable();
        self.read::<Value>(request).await.map(drop)
    }

    /// Takes away what may be gone already.
    pub async fn delete(&self, path: &[&str]) -> Result<(), Refused> {
        let request = self.request(Method::DELETE, self.url(path, &[])?).repeatable();
        match self.send(request).await {
            Err(refused) if !refused.is(404) => Err(refused),
            _ => Ok(()),
        }
    }

    async fn read<T: DeserializeOwned>(&self, request: Request) -> Result<T, Refused> {
        let response = self.send(request.header(header::CONTENT_TYPE, "application/json")).await?;
        let what = response.what().to_string();
        let bytes = response.bytes(LONGEST).await.map_err(|failure| Refused::lost(&failure))?;
        serde_json::from_slice(&bytes).map_err(|error| Refused::odd(&what, &error))
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Refused> {
        let mut url = self.api.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().extend(path)),
            Err(()) => return Err(Refused { status: None, text: "forge.url is no address of a host".to_string(), limited: false }),
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Sends it, again after a wait when the host asks for that: then it has done nothing yet, so that a POST may be repeated, too.
    async fn send(&self, request: Request) -> Result<Response, Refused> {
        let policy = &self.client.options().retry;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let response = self.client.send(request.clone()).await.map_err(|failure| Refused::lost(&failure))?;
            if response.status().is_success() {
                return Ok(response);
            }
            // what may be repeated anyway was repeated by the client
            let asked = retry::is_transient(response.status()) && !request.is_repeatable() && is_limited(&response);
            let again =
                asked || response.status() == StatusCode::CONFLICT || (response.status() == StatusCode::FORBIDDEN && is_limited(&response));
            let delay = policy.delay(attempt, retry::retry_after(response.headers(), SystemTime::now())).filter(|_| again);
            match delay {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(Refused::answered(response).await),
            }
        }
    }

    fn request(&self, method: Method, url: Url) -> Request {
        let request = Request::new(method, url);
        self.headers.iter().fold(request, |request, (name, value)| request.header_value(name.clone(), value.clone()))
    }
}

impl Refused {
    pub fn is(&self, status: u16) -> bool {
        self.status.is_some_and(|is| is.as_u16() == status)
    }

    fn lost(failure: &net::Failure) -> Self {
        Refused { status: None, text: failure.message.clone(), limited: false }
    }

    fn odd(what: &str, error: &serde_json::Error) -> Self {
        Refused { status: None, text: format!("{what}: the answer is not what was expected: {error}"), limited: false }
    }

    async fn answered(response: Response) -> Self {
        let (status, limited, what) = (response.status(), is_limited(&response), response.what().to_string());
        let words = words_of(&response.error_body().await);
        let words = if words.is_empty() { words } else { format!(": {words}") };
        Refused { status: Some(status), text: format!("{what}: {}{words}", status.as_u16()), limited }
    }
}

/// Too many requests: 429, or GitHub's 403 with its own marks.
fn is_limited(response: &Response) -> bool {
    let exhausted = response.header("x-ratelimit-remaining") == Some("0");
    response.status() == StatusCode::TOO_MANY_REQUESTS || exhausted || response.header("retry-after").is_some()
}

/// `Link: <…>; rel="next"` (RFC 8288), which all of them send.
fn has_next(response: &Response) -> bool {
    response.header("link").is_some_and(|links| links.split(',').any(|link| link.contains("rel=\"next\"")))
}

/// The sentence in an error's JSON; any other text is not for people.
fn words_of(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else { return String::new() };
    let parts = ["message", "error", "error_description"].iter().filter_map(|field| match value.get(field)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    });
    let mut words: Vec<String> = Vec::new();
    parts.for_each(|part| {
        if !words.contains(&part) {
            words.push(part)
        }
    });
    words.join(", ").chars().take(LONGEST_WORDS).collect()
}

/// Asks a host what it is: each kind has an address that answers anyone.
pub(super) async fn find_kind(client: &net::Client, address: &Url) -> Result<Kind> {
    for (kind, path) in [(Kind::Gitea, "version"), (Kind::Gitlab, "version"), (Kind::Github, "meta")] {
        let mut url = kind.api(address.clone());
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(path);
        }
        let answer = client.send(Request::new(Method::GET, url).once()).await;
        let response = answer.map_err(|failure| Problem::new(Code::ForgeUnreachable, failure.message))?;
        if is_of(kind, response).await {
            return Ok(kind);
        }
    }
    Err(unknown_kind(address))
}

/// Gitea tells its version, GitLab refuses it in JSON, GitHub's meta names its addresses. One that answers nobody without a login
/// refuses in JSON below its own API's path, too: Gitea with 403, GitHub Enterprise with 401.
async fn is_of(kind: Kind, response: Response) -> bool {
    let status = response.status().as_u16();
    let Ok(body) = response.bytes(1 << 20).await else { return false };
    let Ok(body) = serde_json::from_slice::<Value>(&body) else { return false };
    let has = |field: &str| body.get(field).is_some();
    let refused = matches!(status, 401 | 403) && has("message");
    match kind {
        Kind::Gitea | Kind::Gitlab => refused || (status == 200 && has("version")),
        Kind::Github => refused || (status == 200 && (has("verifiable_password_authentication") || has("installed_version"))),
    }
}

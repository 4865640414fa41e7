//! Basic and Bearer authorization (docker's token specification); tokens are kept until shortly before they end.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::{
    challenge::{Bearer, Challenge},
    fault::{self, Fault, Refusal},
    realm,
    session::Session,
};
use crate::{
    domain::{
        problem::{Code, Problem, Result},
        secret::{Credentials, Secret},
    },
    net::Request,
};

/// Docker's mark for credentials that are an identity token.
pub(super) const IDENTITY_TOKEN_USER: &str = "<token>";
/// A token that says nothing about its life is good for this long (docker's token specification).
const DEFAULT_LIFE: u64 = 60;
/// A token's answer is not longer, bytes.
const MAX_TOKEN: usize = 1 << 20;

/// What goes into the Authorization header.
pub(super) enum Auth {
    None,
    Basic(Credentials),
    Bearer {
        token: Secret,
        /// Made for this very request.
        fresh: bool,
    },
}

impl Auth {
    pub fn header(&self) -> Result<Option<HeaderValue>> {
        let text = match self {
            Auth::None => return Ok(None),
            Auth::Basic(credentials) => basic(credentials),
            Auth::Bearer { token, .. } => format!("Bearer {}", token.expose()),
        };
        match HeaderValue::from_str(&text) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Problem::new(Code::RegistryProtocol, "the token server gave a token that no header can hold")),
        }
    }
}

fn basic(credentials: &Credentials) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", credentials.username, credentials.password.expose())))
}

/// What is known about a registry's wishes, and the tokens that it takes.
#[derive(Default)]
pub(super) struct Tokens {
    challenge: Mutex<Option<Challenge>>,
    kept: Mutex<Vec<Token>>,
    /// Held while a token is fetched, so that parallel calls fetch one.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Token {
    username: String,
    scopes: Vec<String>,
    value: Secret,
    until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Tokens {
    /// Remembers what the registry asked for.
    pub fn learn(&self, asked: Option<Challenge>) {
        if let Some(asked) = asked {
            *lock(&self.challenge) = Some(asked);
        }
    }

    pub fn challenge(&self) -> Option<Challenge> {
        lock(&self.challenge).clone()
    }

    /// Drops a token that the registry did not take.
    pub fn forget(&self, token: &Secret) {
        lock(&self.kept).retain(|kept| kept.value != *token);
    }

    /// What to send along, by what is known so far.
    pub async fn authorization(&self, session: &Session, scopes: &[String]) -> Result<Auth, Fault> {
        let bearer = match self.challenge() {
            None => return Ok(Auth::None),
            Some(Challenge::Basic) => return Ok(session.login().credentials.clone().map_or(Auth::None, Auth::Basic)),
            Some(Challenge::Bearer(bearer)) => bearer,
        };
        if let Some(token) = self.find(session, scopes) {
            return Ok(Auth::Bearer { token, fresh: false });
        }
        let _one = self.fetching.lock().await;
        if let Some(token) = self.find(session, scopes) {
            return Ok(Auth::Bearer { token, fresh: false });
        }
        let token = match fetch(session, &bearer, scopes).await {
            Ok(token) => token,
            Err(fault) => {
                // What could not be answered is not kept: the next call hears anew what the registry wants.
                lock(&self.challenge).take();
                return Err(fault);
            }
        };
        session.net.conceal(&token.value);
        lock(&self.kept).push(token.clone());
        Ok(Auth::Bearer { token: token.value, fresh: true })
    }

    fn find(&self, session: &Session, scopes: &[String]) -> Option<Secret> {
        let now = Instant::now();
        let mut kept = lock(&self.kept);
        kept.retain(|token| token.until > now);
        let good = |token: &&Token| token.username == session.login().username() && scopes.iter().all(|scope| covers(&token.scopes, scope));
        kept.iter().find(good).map(|token| token.value.clone())
    }
}

/// Whether one of the scopes allows at least what `wanted` does.
fn covers(scopes: &[String], wanted: &str) -> bool {
    let Some((resource, actions)) = wanted.rsplit_once(':') else { return false };
    scopes.iter().filter_map(|scope| scope.rsplit_once(':')).any(|(held_resource, held)| {
        held_resource == resource && actions.split(',').all(|action| held.split(',').any(|held| held == action))
    })
}

async fn fetch(session: &Session, bearer: &Bearer, scopes: &[String]) -> Result<Token, Fault> {
    let credentials = session.login().credentials.as_ref();
    let asker = realm::Asker {
        registry: session.base(),
        insecure: session.host.plain_http_allowed,
        with_credentials: credentials.is_some(),
        trusted: &session.host.trusted,
    };
    let url = realm::check(&bearer.realm, &asker).map_err(|why| {
        fault::protocol(session.registry(), format!("it names a token server that is not asked: {why}"))
            .hint("check registry.url; credentials for the token server's own host (docker's config.json) say that it is trusted")
    })?;
    let ours = realm::belongs(&url, &asker);
    let request = match credentials {
        Some(credentials) if credentials.username == IDENTITY_TOKEN_USER => refresh_request(url, bearer, scopes, &credentials.password),
        _ => token_request(url, bearer, scopes, credentials)?,
    };
    // A token server of others is not shown our certificate, nor trusted for the registry's authority.
    let request = if ours { request.like(session.base()) } else { request };
    let response = session.net.send(request).await?;
    if !response.status().is_success() {
        let refusal = Refusal::read(response).await;
        return Err(match (refusal.status, credentials) {
            (400 | 401, Some(_)) | (401 | 403, None) => session.unauthorized(&refusal.message),
            _ => refusal.into_problem(session),
        }
        .into());
    }
    let what = response.what().to_string();
    let body = response.bytes(MAX_TOKEN).await?;
    let answer: TokenAnswer =
        serde_json::from_slice(&body).map_err(|error| fault::protocol(session.registry(), format!("{what} gave no token: {error}")))?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).filter(|token| !token.is_empty());
    let value = token.ok_or_else(|| fault::protocol(session.registry(), format!("{what} gave no token")))?;
    let life = answer.expires_in.unwrap_or(DEFAULT_LIFE);
    Ok(Token {
        username: session.login().username().to_string(),
        scopes: scopes.to_vec(),
        value: Secret::new(value),
        // A fifth is left for the request itself and for clocks that disagree; a year is for ever.
        until: Instant::now() + Duration::from_secs(life.min(31_536_000)).mul_f64(0.8),
    })
}

/// GET with Basic credentials, or none for an anonymous token.
fn token_request(mut url: Url, bearer: &Bearer, scopes: &[String], credentials: Option<&Credentials>) -> Result<Request> {
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &bearer.service {
            query.append_pair("service", service);
        }
        // One parameter each: some token servers drop what follows a space.
        for scope in scopes {
            query.append_pair("scope", scope);
        }
        if let Some(credentials) = credentials {
            query.append_pair("account", &credentials.username);
        }
    }
    let request = Request::new(Method::GET, url);
    let Some(credentials) = credentials else { return Ok(request) };
    let header = Auth::Basic(credentials.clone()).header()?;
    Ok(match header {
        Some(header) => request.authorization(header),
        None => request,
    })
}

/// POST of an identity token (OAuth2 refresh).
fn refresh_request(url: Url, bearer: &Bearer, scopes: &[String], token: &Secret) -> Request {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token").append_pair("client_id", "shipway");
    form.append_pair("service", bearer.service.as_deref().unwrap_or_default());
    form.append_pair("scope", &scopes.join(" ")).append_pair("refresh_token", token.expose());
    Request::new(Method::POST, url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").bytes(form.finish()).repeatable()
}

/// Nothing is left half done under these locks, so a panic of another thread does no harm.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_to_push_is_good_to_pull() {
        let scopes = ["repository:a/b:pull,push".to_string(), "repository:base:pull".to_string()];
        for (wanted, covered) in [
            ("repository:a/b:pull", true),
            ("repository:a/b:push", true),
            ("repository:base:pull", true),
            ("repository:base:pull,push", false),
            ("repository:a:pull", false),
            ("nonsense", false),
        ] {
            assert_eq!(covers(&scopes, wanted), covered, "{wanted}");
        }
    }

    #[test]
    fn scopes_are_repeated_parameters() {
        let bearer = Bearer { realm: String::new(), service: Some("registry".to_string()), scopes: Vec::new() };
        let scopes = ["repository:a:pull,push".to_string(), "repository:b:pull".to_string()];
        let request = token_request(Url::parse("https://a.test/token?x=1").unwrap(), &bearer, &scopes, None).unwrap();
        let query = request.url().query().unwrap();
        assert_eq!(query, "x=1&service=registry&scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Ab%3Apull");
    }
}

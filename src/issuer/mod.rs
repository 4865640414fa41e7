//! Who signs the CI's identity tokens (OpenID Connect): its keys, found by discovery and kept, and the tokens that they verify.

mod jws;

use std::time::{Duration, Instant};

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::Mutex;
use url::Url;

use self::jws::{Jwk, Key, Token};
use crate::{
    domain::{
        identity::{Claims, Expected, invalid},
        problem::{Code, Problem, Result},
        secret::Secret,
    },
    net::{self, Request},
};

/// Longest answers, bytes.
const LONGEST: usize = 512 << 10;
/// More keys than these are no keys.
const MOST_KEYS: usize = 100;
/// How long the issuer may take for both of its answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// Keys are asked for anew after that time, so that one that was withdrawn counts no more.
const FRESH: Duration = Duration::from_secs(3600);
/// A key that is not known makes the issuer be asked again, but so often at most: anybody can send a token with any key's name.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(60);
/// The pause after an answer that was no use.
const FAILED_AGAIN: Duration = Duration::from_secs(5);

/// One issuer with the keys that it had when it was last asked.
pub struct Issuer {
    client: net::Client,
    address: String,
    audience: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Vec<Key>,
    /// When they came.
    known: Option<Instant>,
    /// When and why the issuer gave none.
    failed: Option<(Instant, Problem)>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

/// How the issuer is reached: short limits, as somebody waits.
pub fn network(options: net::Options) -> net::Options {
    let retry = net::retry::Policy {
        attempts: 2,
        base: Duration::from_millis(300),
        longest: Duration::from_secs(1),
        patience: Duration::from_secs(5),
        outage: Duration::ZERO,
    };
    net::Options { connect_timeout: Duration::from_secs(5), idle_timeout: Duration::from_secs(10), retry, ..options }
}

impl Issuer {
    /// Asks nobody yet. `address` is compared as it is written with what tokens say.
    ///
    /// # Errors
    /// `setting-invalid` for an address whose answers anybody on the way could change.
    pub fn new(address: &str, audience: &str, options: net::Options) -> Result<Issuer> {
        let plain = Url::parse(address).is_ok_and(|url| url.scheme() == "https" || url.host_str().is_some_and(net::is_loopback));
        if !plain {
            return Err(Problem::new(
                Code::SettingInvalid,
                format!("identity.issuer is {address}, whose keys anybody on the way could change"),
            )
            .hint("write it with https://"));
        }
        let client = net::Client::new(network(options))?;
        Ok(Issuer { client, address: address.to_string(), audience: audience.to_string(), state: Mutex::default() })
    }

    /// What the token says, once it is proved. `in_time` is false for one that was looked at before, when it had not expired.
    ///
    /// # Errors
    /// `identity-invalid` and `identity-expired`; `issuer-unreachable` when the keys cannot be had.
    pub async fn verify(&self, token: &Secret, in_time: bool) -> Result<Claims> {
        let token = Token::read(token.expose()).map_err(invalid)?;
        let keys = self.keys(token.header.kid.as_deref()).await?;
        let claims = Claims::read(token.verified(&keys).map_err(invalid)?)?;
        let now = in_time.then(|| Timestamp::now().as_second());
        claims.check(&Expected { issuer: &self.address, audience: &self.audience, now })?;
        Ok(claims)
    }

    /// The keys that there are, asked for anew when they are old, or when `wanted` is not among them.
    async fn keys(&self, wanted: Option<&str>) -> Result<Vec<Key>> {
        let mut state = self.state.lock().await;
        let older = |limit: Duration| state.known.is_none_or(|known| known.elapsed() >= limit);
        let unknown = wanted.is_some_and(|wanted| state.keys.iter().all(|key| key.id.as_deref() != Some(wanted)));
        if !older(if unknown { UNKNOWN_AGAIN } else { FRESH }) {
            return Ok(state.keys.clone());
        }
        if let Some((_, problem)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < FAILED_AGAIN) {
            return Err(problem.clone());
        }
        match self.fetch().await {
            Ok(keys) => *state = State { keys, known: Some(Instant::now()), failed: None },
            Err(problem) => {
                state.failed = Some((Instant::now(), problem.clone()));
                return Err(problem);
            }
        }
        Ok(state.keys.clone())
    }

    async fn fetch(&self) -> Result<Vec<Key>> {
        let asked = tokio::time::timeout(PATIENCE, self.ask()).await;
        asked.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()))).map_err(|why| {
            Problem::new(Code::IssuerUnreachable, format!("the keys of {} are not known, so no token can be verified: {why}", self.address))
        })
    }

    async fn ask(&self) -> Result<Vec<Key>, String> {
        let url = format!("{}/.well-known/openid-configuration", self.address.trim_end_matches('/'));
        let home = Url::parse(&url).map_err(|error| error.to_string())?;
        let found: Discovery = self.get(home.clone()).await?;
        if found.issuer != self.address {
            return Err(format!("it calls itself {:?}; write identity.issuer in the same way", found.issuer));
        }
        let keys = Url::parse(&found.jwks_uri).map_err(|error| format!("jwks_uri: {error}"))?;
        if !net::same_origin(&home, &keys) {
            return Err(format!("its keys are at {}, another host", net::display_url(&keys)));
        }
        let set: Jwks = self.get(keys).await?;
        if set.keys.len() > MOST_KEYS {
            return Err(format!("it has {} keys, more than {MOST_KEYS}", set.keys.len()));
        }
        // one that cannot be read may be for others
        let keys: Vec<Key> = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok()).filter_map(Key::of).collect();
        if keys.is_empty() { Err("it has no key that verifies tokens".to_string()) } else { Ok(keys) }
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, String> {
        let answer = self.client.send(Request::new(Method::GET, url.clone())).await.map_err(|failure| failure.message)?;
        let what = answer.what().to_string();
        if !net::same_origin(&url, answer.url()) {
            return Err(format!("{} redirects to another host, {}", net::display_url(&url), net::display_url(answer.url())));
        }
        if !answer.status().is_success() {
            return Err(format!("{what}: {}", answer.status().as_u16()));
        }
        let body = answer.bytes(LONGEST).await.map_err(|failure| failure.message)?;
        serde_json::from_slice(&body).map_err(|error| format!("{what}: the answer is not what was expected: {error}"))
    }
}

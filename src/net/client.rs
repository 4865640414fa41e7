//! The client itself: one connection pool, counted requests, careful redirects, retries.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::TryStreamExt;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{
    Method, Proxy, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION},
    redirect,
};
use url::Url;

use super::{
    HostTls, Options,
    failure::{Cause, Failure},
    guard,
    request::{Body, Request, Response, display_url},
    retry::{self, Attempts},
    roots,
};
use crate::domain::{
    problem::{Code, Problem, Result},
    redact::Redactor,
    secret::{Credentials, Secret},
};

const MAX_REDIRECTS: usize = 5;
/// An answer's headers are not longer, bytes; for HTTP/1 the connection's own buffer ends near 400 kB.
const MAX_HEADERS: u32 = 64 << 10;

/// One HTTP client with its connections; cheap to clone, and made once in a run.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    inner: Arc<Inner>,
}

/// A client of its own for a host whose TLS is not everybody's.
struct HostClient {
    /// As URLs have it, with its port.
    host: String,
    http: reqwest::Client,
}

struct Inner {
    options: Options,
    hosts: Vec<HostClient>,
    requests: AtomicU64,
    redactor: RwLock<Redactor>,
    /// `host:port` of all that answered once.
    answered: Mutex<HashSet<String>>,
}

impl Client {
    /// Fails on a CA file or a proxy that cannot be used.
    pub fn new(options: Options) -> Result<Self> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(Problem::bug("a client is made before net::install_crypto was called"));
        }
        let roots = roots::load(&options)?;
        let http = pool(&options, roots.clone(), None)?;
        let mut hosts = Vec::new();
        for own in &options.hosts {
            let mut roots = roots.clone();
            for ca in &own.ca {
                roots.extend(roots::read_ca(ca)?);
            }
            hosts.push(HostClient { host: with_port(&own.host), http: pool(&options, roots, Some(own))? });
        }
        let mut redactor = Redactor::default();
        for proxy in options.http_proxy.iter().chain(&options.https_proxy) {
            redactor.add(proxy);
        }
        let (redactor, answered) = (RwLock::new(redactor), Mutex::default());
        let inner = Inner { options, hosts, requests: AtomicU64::new(0), redactor, answered };
        Ok(Client { http, inner: Arc::new(inner) })
    }

    /// Requests sent so far, all attempts included.
    pub fn requests(&self) -> u64 {
        self.inner.requests.load(Ordering::Relaxed)
    }

    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// From now on this secret is taken out of every error's body.
    pub fn conceal(&self, secret: &Secret) {
        if let Ok(mut redactor) = self.inner.redactor.write() {
            redactor.add(secret);
        }
    }

    pub fn conceal_credentials(&self, credentials: &Credentials) {
        if let Ok(mut redactor) = self.inner.redactor.write() {
            redactor.add(&credentials.password);
            // As Basic authentication sends the two (RFC 7617).
            let pair = format!("{}:{}", credentials.username, credentials.password.expose());
            redactor.add(&Secret::new(STANDARD.encode(pair)));
        }
    }

    /// Sends a request; again, after a wait, when it failed for a passing reason and may be repeated. Any status is an answer: the
    /// last one is returned whatever it is.
    pub async fn send(&self, request: Request) -> Result<Response, Failure> {
        let mut attempts = Attempts::new(&self.inner.options.retry);
        loop {
            let answer = self.follow(request.clone()).await;
            let delay = match &answer {
                _ if !request.repeatable => None,
                Ok(response) if retry::is_transient(response.status()) => {
                    let asked = retry::retry_after(response.headers(), SystemTime::now());
                    attempts.failed_again(asked, retry::says_away(response.status()))
                }
                Err(failure) if failure.is_transient() => attempts.failed_again(None, self.is_away(&request.url, failure)),
                _ => None,
            };
            let Some(delay) = delay else { return answer };
            tracing::debug!(attempt = attempts.failed(), ?delay, "{} is tried again", request.what());
            tokio::time::sleep(delay).await;
        }
    }

    /// Whether this failure says that a server is away that answered before. One that never did may well be a mistake in its name.
    pub fn is_away(&self, url: &Url, failure: &Failure) -> bool {
        let answered = || self.inner.answered.lock().unwrap_or_else(PoisonError::into_inner).contains(&authority(url));
        matches!(failure.cause, Cause::Connect | Cause::HungUp) && answered()
    }

    /// Follows redirects by ourselves: credentials stay with their origin, nothing falls back to plain http, and no server sends us
    /// to an address that only this machine reaches.
    async fn follow(&self, mut request: Request) -> Result<Response, Failure> {
        for _ in 0..MAX_REDIRECTS {
            let response = self.send_once(request.clone()).await?;
            let Some(target) = redirect_target(&response)? else { return Ok(response) };
            let kept = matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            let same_origin = guard::same_origin(&request.url, &target);
            // A body may hold a secret or be a whole layer: it goes nowhere but where it was meant to.
            if request.method != Method::GET && request.method != Method::HEAD && !(kept && same_origin) {
                return Ok(response);
            }
            if !same_origin {
                request.headers.remove(AUTHORIZATION);
                request.like = None;
                request.headers = request
                    .headers
                    .into_iter()
                    .filter_map(|(name, value)| Some((name?, value)))
                    .filter(|(_, value)| !value.is_sensitive())
                    .collect();
            }
            request.url = target;
        }
        Err(Failure::new(Cause::Redirect, format!("{}: more than {MAX_REDIRECTS} redirects", request.what())))
    }

    /// The connections of a host: its own where its TLS is special.
    fn pool_for(&self, url: &Url) -> &reqwest::Client {
        let own = if self.inner.hosts.is_empty() { None } else { Some(authority(url)) };
        let own = own.and_then(|host| self.inner.hosts.iter().find(|client| client.host.eq_ignore_ascii_case(&host)));
        own.map_or(&self.http, |client| &client.http)
    }

    async fn send_once(&self, request: Request) -> Result<Response, Failure> {
        let what = request.what();
        let idle = request.patience.unwrap_or(self.inner.options.idle_timeout);
        let moved = Arc::new(AtomicU64::new(0));
        let http = self.pool_for(request.like.as_ref().unwrap_or(&request.url));
        let url = request.url;
        let mut builder = http.request(request.method, url.clone()).headers(request.headers);
        builder = match request.body {
            Body::Empty => builder,
            Body::Bytes(bytes) => builder.body(bytes),
            Body::Stream { length, source } => {
                let stream = source().await.map_err(|error| Failure::from_source(&what, error))?;
                let moved = moved.clone();
                let watched = stream.inspect_ok(move |chunk| {
                    moved.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                });
                builder.header(CONTENT_LENGTH, length).body(reqwest::Body::wrap_stream(watched))
            }
        };
        self.inner.requests.fetch_add(1, Ordering::Relaxed);
        let host = authority(&url);
        let sent = tokio::select! {
            sent = builder.send() => sent.map_err(|error| Failure::from_reqwest(&what, &error)),
            () = stalled(&moved, idle) => Err(Failure::new(Cause::Idle, format!("{what}: no answer and no progress for {} s", idle.as_secs()))),
        };
        match sent {
            Ok(inner) => {
                tracing::trace!(status = inner.status().as_u16(), "{what}");
                self.inner.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(host);
                let redactor = self.inner.redactor.read().map(|redactor| redactor.clone()).unwrap_or_default();
                Ok(Response { inner, what, idle, redactor, stretch: (Instant::now(), 0) })
            }
            Err(failure) => {
                tracing::trace!("{failure}");
                if matches!(failure.cause, Cause::Connect | Cause::HungUp | Cause::NotTls | Cause::Certificate) {
                    // There was no connection to send it on.
                    self.inner.requests.fetch_sub(1, Ordering::Relaxed);
                }
                Err(failure)
            }
        }
    }
}

fn pool(options: &Options, roots: Vec<reqwest::Certificate>, own: Option<&HostTls>) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("shipway/", env!("CARGO_PKG_VERSION")))
        .tls_certs_only(roots)
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .http2_adaptive_window(true)
        .http2_max_header_list_size(MAX_HEADERS);
    for proxy in proxies(options)? {
        builder = builder.proxy(proxy);
    }
    if let Some(identity) = own.and_then(|own| own.identity.as_ref()) {
        builder = builder.identity(roots::identity(identity)?);
    }
    builder.build().map_err(|error| Problem::bug(format!("the HTTP client cannot be made: {error}")))
}

/// `host:port` of a URL.
fn authority(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// `host:port`, https's port when none is said.
fn with_port(host: &str) -> String {
    let said = host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    if said { host.to_string() } else { format!("{host}:443") }
}

/// Ends when no byte of the body moved for `idle`.
async fn stalled(moved: &AtomicU64, idle: Duration) {
    let mut seen = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(idle).await;
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// Where a redirect leads; None when the answer is none.
fn redirect_target(response: &Response) -> Result<Option<Url>, Failure> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let refused = |why: String| Failure::new(Cause::Redirect, format!("{}: {why}", response.what()));
    let Some(location) = response.header(LOCATION.as_str()) else { return Ok(None) };
    let target = response.url().join(location).map_err(|error| refused(format!("it redirects to no URL: {error}")))?;
    let shown = display_url(&target);
    if !matches!(target.scheme(), "http" | "https") || (response.url().scheme() == "https" && target.scheme() == "http") {
        return Err(refused(format!("it redirects from https to {shown}, which is not followed")));
    }
    if guard::leads_inside(response.url(), &target) {
        return Err(refused(format!("it redirects to {shown}, a link-local, metadata or loopback address, which is not followed")));
    }
    Ok(Some(target))
}

/// The proxy that a URL is reached through, for the one client that is not ours: the cluster's. None: directly.
pub fn proxy_for(options: &Options, url: &str) -> Option<Secret> {
    let proxy = |url: &Option<Secret>| url.as_ref().map(|url| url.expose().to_string()).unwrap_or_default();
    let matcher = Matcher::builder().http(proxy(&options.http_proxy)).https(proxy(&options.https_proxy)).no(exempt(options)).build();
    let intercepted = matcher.intercept(&url.parse().ok()?)?;
    let with_password = [&options.https_proxy, &options.http_proxy].into_iter().flatten();
    // The matcher gives the proxy's URL without its password.
    let host = intercepted.uri().host()?.to_string();
    with_password.into_iter().find(|proxy| Url::parse(proxy.expose()).is_ok_and(|url| url.host_str() == Some(&host))).cloned()
}

/// Loopback is always reached directly.
fn exempt(options: &Options) -> String {
    format!("localhost,127.0.0.0/8,::1,{}", options.no_proxy.as_deref().unwrap_or_default())
}

fn proxies(options: &Options) -> Result<Vec<Proxy>> {
    let exempt = reqwest::NoProxy::from_string(&exempt(options));
    let mut proxies = Vec::new();
    for (setting, url) in [("HTTP_PROXY", &options.http_proxy), ("HTTPS_PROXY", &options.https_proxy)] {
        let Some(url) = url else { continue };
        let made = if setting == "HTTP_PROXY" { Proxy::http(url.expose()) } else { Proxy::https(url.expose()) };
        // The error could show the URL with its password.
        let proxy = made.map_err(|_| {
            Problem::new(Code::SettingInvalid, format!("{setting} is not the URL of a proxy"))
                .hint(format!("set {setting} to http://host:port"))
        })?;
        proxies.push(proxy.no_proxy(exempt.clone()));
    }
    Ok(proxies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_proxy_honours_what_is_exempt() {
        let options = Options {
            https_proxy: Some(Secret::new("http://me:secret@proxy.example.test:3128")),
            no_proxy: Some(".internal.test,10.0.0.0/8".to_string()),
            ..Options::default()
        };
        let proxied = |url: &str| proxy_for(&options, url).is_some();
        assert!(proxied("https://kubernetes.example.test:6443/"));
        for direct in ["https://api.internal.test:6443", "https://10.1.2.3:6443", "https://127.0.0.1:6443", "https://localhost:6443"] {
            assert!(!proxied(direct), "{direct}");
        }
        assert!(proxy_for(&options, "https://kubernetes.example.test").unwrap().expose().contains("secret"));
        assert!(proxy_for(&Options::default(), "https://kubernetes.example.test").is_none());
    }
}

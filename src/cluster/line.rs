//! The line to the API server: counts what is sent, keeps what the server warns of, and reads the credentials anew when they are refused.
//! Tokens are renewed in files, and by plugins, while a rollout goes on.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, Request, Response, StatusCode, header::WARNING};
use kube::{Client, client::Body};

use super::{Target, connect, fence::Fence, problem};

/// Credentials that are refused so soon after they were read anew would only be the same once more.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// So long a request is sent again when the connection fails, below the time limit that it has as a whole: an API server restarts.
const PERSISTENCE: Duration = Duration::from_secs(25);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What all clones of a connection share.
pub(super) struct Line {
    target: Target,
    current: Mutex<Current>,
    /// One reads the credentials anew, the others wait for that.
    turn: tokio::sync::Mutex<()>,
    requests: AtomicUsize,
    /// The server has answered once: that it is away is no mistake in the settings.
    answered: AtomicBool,
    warnings: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Current {
    client: Client,
    /// When its credentials were read in place of refused ones; None: at the beginning.
    renewed: Option<Instant>,
}

impl Line {
    pub fn new(target: &Target, client: Client) -> Arc<Line> {
        Arc::new(Line {
            target: target.clone(),
            current: Mutex::new(Current { client, renewed: None }),
            turn: tokio::sync::Mutex::default(),
            requests: AtomicUsize::new(0),
            answered: AtomicBool::new(false),
            warnings: Mutex::default(),
        })
    }

    /// The client whose requests all go through here; under a lock none is sent again once that is lost.
    pub fn client(self: &Arc<Self>, namespace: &str, fence: Option<Fence>) -> Client {
        let line = self.clone();
        let service = tower::service_fn(move |request| {
            let (line, fence) = (line.clone(), fence.clone());
            async move { line.send_patiently(request, fence.as_ref()).await }
        });
        Client::new(service, namespace)
    }

    /// Requests that were sent until now.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// What the server warned of since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection that fails is not the end: the server may be back in a moment.
    async fn send_patiently(&self, mut request: Request<Body>, fence: Option<&Fence>) -> kube::Result<Response<Body>> {
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let again = copy(&request).filter(|_| self.answered.load(Ordering::Relaxed));
            let error = match self.send(request).await {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let Some(again) = again.filter(|again| may_be_repeated(again, &error) && began.elapsed() + pause < PERSISTENCE) else {
                return Err(error);
            };
            tracing::debug!(%error, uri = %again.uri(), "sent again: the connection failed");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Some(fence) = fence
                && again.method() != Method::GET
                && fence.hold().await.is_err()
            {
                return Err(error);
            }
            request = again;
        }
    }

    async fn send(&self, request: Request<Body>) -> kube::Result<Response<Body>> {
        let copy = copy(&request);
        let current = self.current();
        let answer = self.pass(&current, request).await?;
        let Some(copy) = copy.filter(|_| answer.status() == StatusCode::UNAUTHORIZED) else { return Ok(answer) };
        match self.renew(&current).await {
            Some(renewed) => self.pass(&renewed, copy).await,
            None => Ok(answer),
        }
    }

    async fn pass(&self, current: &Current, request: Request<Body>) -> kube::Result<Response<Body>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(method = %request.method(), uri = %request.uri(), "cluster request");
        let answer = current.client.send(request).await?;
        self.keep_warnings(&answer);
        Ok(answer)
    }

    fn current(&self) -> Current {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the credentials again, unless another request has done so meanwhile; None: they would be those that were refused.
    async fn renew(&self, refused: &Current) -> Option<Current> {
        let _turn = self.turn.lock().await;
        let now = self.current();
        if now.renewed != refused.renewed {
            return Some(now);
        }
        if self.target.token.is_some() || now.renewed.is_some_and(|renewed| renewed.elapsed() < AGAIN_AFTER) {
            return None;
        }
        let client = match connect::client(&self.target).await {
            Ok((client, _)) => client,
            Err(problem) => {
                tracing::warn!(%problem, "the credentials were refused, and could not be read anew");
                return None;
            }
        };
        tracing::info!("the credentials were refused, and are read anew");
        let renewed = Current { client, renewed: Some(Instant::now()) };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = renewed.clone();
        Some(renewed)
    }

    fn keep_warnings<B>(&self, answer: &Response<B>) {
        for value in answer.headers().get_all(WARNING) {
            // RFC 7234, section 5.5: code, agent, quoted text
            let Some(text) = value.to_str().ok().and_then(|value| value.splitn(3, ' ').nth(2)) else { continue };
            let text = problem::clean(&text.trim_matches('"').replace("\\\"", "\""));
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            if !warnings.contains(&text) {
                warnings.push(text);
            }
        }
    }
}

/// All may but two: what was made already is found to be there, and the rest is the same when done twice. Watches begin anew by themselves;
/// what became of a Deployment's patch is read first, unless it never arrived.
fn may_be_repeated(request: &Request<Body>, error: &kube::Error) -> bool {
    if !matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_)) || request.uri().query().is_some_and(is_watch) {
        return false;
    }
    let patches_pods = request.method() == Method::PATCH && request.uri().path().contains("/deployments/");
    !patches_pods || is_refused(error)
}

fn is_watch(query: &str) -> bool {
    query.contains("watch=")
}

/// Nobody took the connection, so that nothing was sent.
fn is_refused(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(found) = cause {
        if found.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = found.source();
    }
    false
}

/// The same request once more; None when its body comes as a stream.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

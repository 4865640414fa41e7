//! What is asked and what is answered.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, future::BoxFuture};
use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use url::Url;

use super::failure::{Cause, Failure};

/// Bytes as they come, from a file or another server.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// Opens a streamed body from its beginning; called for each attempt. An error that wraps a [`crate::domain::problem::Problem`] ends
/// the request for good.
pub type Source = Arc<dyn Fn() -> BoxFuture<'static, std::io::Result<ByteStream>> + Send + Sync>;

/// How much of an error's body is kept, bytes: a registry may name every layer in it.
const ERROR_BODY: usize = 64 << 10;
/// A body of which less than this comes in an idle timeout is dripped to keep us waiting, bytes.
const LEAST_PROGRESS: u64 = 1024;
/// How many idle timeouts a body may take that is read into memory.
pub const WHOLE_BODY: u32 = 5;
/// How long an error's body is waited for.
const ERROR_TIME: Duration = Duration::from_secs(10);

/// One request; it can be sent again, as a streamed body can be opened again.
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) patience: Option<Duration>,
    pub(super) repeatable: bool,
    /// The host whose TLS holds for this request.
    pub(super) like: Option<Url>,
}

#[derive(Clone)]
pub(super) enum Body {
    Empty,
    Bytes(Bytes),
    Stream { length: u64, source: Source },
}

impl Request {
    /// Tried again when that may help, unless it is a POST or PATCH.
    pub fn new(method: Method, url: Url) -> Self {
        let repeatable = method != Method::POST && method != Method::PATCH;
        Request { method, url, headers: HeaderMap::new(), body: Body::Empty, patience: None, repeatable, like: None }
    }

    /// Adds a header; one that is no legal header value is left out.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Adds a header whose value was made before; one that is sensitive never follows to another origin.
    pub fn header_value(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The Authorization header; never follows to another origin.
    pub fn authorization(mut self, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.insert(reqwest::header::AUTHORIZATION, value);
        self
    }

    pub fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = Body::Bytes(bytes.into());
        self
    }

    /// A body of exactly `length` bytes, sent as it comes.
    pub fn stream(mut self, length: u64, source: Source) -> Self {
        self.body = Body::Stream { length, source };
        self
    }

    /// How long nothing may move, where it is not the client's idle timeout.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Trusts, and shows itself, as for that host: a registry's token server belongs to it.
    pub fn like(mut self, host: &Url) -> Self {
        self.like = Some(host.clone());
        self
    }

    /// May be sent again although it is a POST.
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Is sent once.
    pub fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }

    /// May be sent again after a failure that left open what became of it.
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Bytes that it carries.
    pub fn body_length(&self) -> u64 {
        match &self.body {
            Body::Empty => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Stream { length, .. } => *length,
        }
    }

    pub(super) fn what(&self) -> String {
        format!("{} {}", self.method, display_url(&self.url))
    }
}

/// An answer, whatever its status; its body is still to be read.
pub struct Response {
    pub(super) inner: reqwest::Response,
    pub(super) what: String,
    pub(super) idle: Duration,
    pub(super) redactor: crate::domain::redact::Redactor,
    /// When the current stretch of the body began, and what came since.
    pub(super) stretch: (Instant, u64),
}

impl Response {
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Where the answer came from, after redirects.
    pub fn url(&self) -> &Url {
        self.inner.url()
    }

    /// Method and URL, for messages.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The next piece of the body; None at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.stretch.0.elapsed() >= self.idle {
            if self.stretch.1 < LEAST_PROGRESS {
                let (what, seconds, bytes) = (&self.what, self.idle.as_secs(), self.stretch.1);
                return Err(Failure::new(Cause::Idle, format!("{what}: only {bytes} bytes in {seconds} s")));
            }
            self.stretch = (Instant::now(), 0);
        }
        match tokio::time::timeout(self.idle, self.inner.chunk()).await {
            Ok(Ok(chunk)) => {
                self.stretch.1 += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                Ok(chunk)
            }
            Ok(Err(error)) => Err(Failure { cause: Cause::Lost, ..Failure::from_reqwest(&self.what, &error) }),
            Err(_) => Err(Failure::new(Cause::Idle, format!("{}: no data for {} s", self.what, self.idle.as_secs()))),
        }
    }

    /// The whole body, which must not be longer than `cap` bytes.
    pub async fn bytes(mut self, cap: usize) -> Result<Bytes, Failure> {
        let (begun, limit) = (Instant::now(), self.idle * WHOLE_BODY);
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if begun.elapsed() > limit {
                return Err(Failure::new(Cause::Idle, format!("{}: the answer did not end in {} s", self.what, limit.as_secs())));
            }
            if body.len() + chunk.len() > cap {
                return Err(Failure::new(Cause::TooLarge, format!("{}: the answer is longer than {cap} bytes", self.what)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The beginning of an error's body: redacted, for messages and for looking up the server's own error codes.
    pub async fn error_body(mut self) -> String {
        let mut body = BytesMut::new();
        let reading = async {
            while let Ok(Some(chunk)) = self.chunk().await {
                body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY - body.len())]);
                if body.len() == ERROR_BODY {
                    break;
                }
            }
        };
        // What came by then will do.
        let _ = tokio::time::timeout(ERROR_TIME, reading).await;
        self.redactor.redact(&String::from_utf8_lossy(&body)).into_owned()
    }
}

/// A URL for people: without user info, query and fragment, which may hold secrets.
pub fn display_url(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_what_may_be_secret() {
        let url = Url::parse("https://user:word@host.test:5000/v2/a/blobs/uploads/1?_state=token#x").unwrap();
        assert_eq!(display_url(&url), "https://host.test:5000/v2/a/blobs/uploads/1");
    }
}

//! Brings one blob into a repository: one POST and one PUT when all goes well, and whatever it takes when not.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use reqwest::{
    Method,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use url::Url;

use super::{
    blob_source::BlobSource,
    fault::{self, Fault, Refusal},
    pull::CONTENT_DIGEST,
    session::{Session, WORTH_RESUMING},
};
use crate::{
    domain::{
        digest::Digest,
        problem::{Code, Problem, Result},
    },
    net::{Request, Response, display_url, leads_inside, retry},
};

/// A registry may copy a large blob to its storage before it answers: idle times are multiplied by this.
const PATIENCE: u32 = 5;
/// A POST may carry a whole blob (distribution-spec, "Single POST"); registries that do not know that answer as to an empty one, and
/// the bytes were sent for nothing. So many are risked to find out …
const WORTH_TRYING: u64 = 8 << 10;
/// … and so many are sent that way, where it works: what breaks in the middle begins anew.
const WHOLE: u64 = 4 << 20;
/// Codes of a registry that would refuse the same blob in a PATCH, too (distribution-spec, "Error Codes").
const ABOUT_THE_NAME: [&str; 4] = ["NAME_INVALID", "NAME_UNKNOWN", "DENIED", "UNAUTHORIZED"];
const OCTETS: &str = "application/octet-stream";

/// How the bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All in the closing PUT (distribution-spec, "POST then PUT").
    Single,
    /// All in one PATCH, then an empty PUT: for registries that refuse the other.
    Patch,
}

/// Why an attempt did not bring the blob home.
enum Setback {
    Final(Problem),
    /// The registry holds other bytes than were meant.
    Mismatch(Problem),
    /// The single PUT is not understood.
    OtherWay(Problem),
    /// Worth another try, perhaps after what the server asked for; a session that may go on.
    Passing {
        problem: Problem,
        after: Option<Duration>,
        session: Option<Box<Url>>,
        /// The registry was there before and is not now.
        away: bool,
    },
}

impl From<Problem> for Setback {
    fn from(problem: Problem) -> Self {
        Setback::Final(problem)
    }
}

/// Sends a blob; into an upload session that a refused mount has opened, or into a new one.
pub(super) async fn upload(session: &Session, blob: &BlobSource, mut location: Option<Url>) -> Result<()> {
    let mut way = if session.host.takes_single_puts.known(false) { Way::Patch } else { Way::Single };
    let mut mismatched = false;
    let mut broken = None;
    let mut attempts = retry::Attempts::new(&session.net.options().retry);
    let upload = Upload { session, blob, arrived: AtomicU64::new(0) };
    loop {
        let before = upload.arrived.load(Ordering::Relaxed);
        let Err(setback) = upload.attempt(location.take(), broken.take(), way).await else {
            session.host.takes_single_puts.learn(way == Way::Single);
            return Ok(());
        };
        // Progress begins the count anew: a large upload over a bad line ends, too.
        if upload.arrived.load(Ordering::Relaxed) > before {
            attempts.restart();
        }
        match setback {
            Setback::Final(problem) => return Err(problem),
            Setback::Mismatch(problem) if mismatched => return Err(problem),
            Setback::Mismatch(_) => mismatched = true,
            Setback::OtherWay(problem) if way == Way::Patch => return Err(problem),
            Setback::OtherWay(_) => way = Way::Patch,
            Setback::Passing { problem, after, session: open, away } => {
                let Some(delay) = attempts.failed_again(after, away) else { return Err(problem) };
                tracing::debug!(attempt = attempts.failed(), ?delay, "upload of {} is tried again: {problem}", blob.digest.short());
                tokio::time::sleep(delay).await;
                broken = open.map(|open| *open).filter(|_| blob.size >= WORTH_RESUMING);
            }
        }
    }
}

struct Upload<'a> {
    session: &'a Session,
    blob: &'a BlobSource,
    /// How much the registry was known to hold at most, bytes.
    arrived: AtomicU64,
}

impl Upload<'_> {
    /// `broken` is a session that got a part of the blob.
    async fn attempt(&self, location: Option<Url>, broken: Option<Url>, way: Way) -> Result<(), Setback> {
        if let Some(broken) = broken
            && let Some((location, offset)) = self.ask_offset(broken).await
        {
            self.arrived.fetch_max(offset, Ordering::Relaxed);
            return self.resume(location, offset).await;
        }
        let location = match location {
            Some(location) => location,
            None => match self.begin().await? {
                Some(location) => location,
                None => return Ok(()),
            },
        };
        match way {
            Way::Single => self.put_all(location).await,
            Way::Patch => self.resume(location, 0).await,
        }
    }

    /// Opens an upload session; None when the blob went along, and is there.
    async fn begin(&self) -> Result<Option<Url>, Setback> {
        let whole = self.blob.size <= if self.session.host.takes_whole_posts.known(true) { WHOLE } else { WORTH_TRYING }
            && !self.session.host.takes_whole_posts.known(false);
        let response = match whole {
            true => self.try_whole().await?,
            false => None,
        };
        let response = match response {
            Some(response) => response,
            None => {
                let request = empty(Request::new(Method::POST, self.session.url("blobs/uploads/")?)).repeatable();
                // Sent several times already when it fails.
                self.session.send(request).await.map_err(|fault| fault.into_problem(self.session.registry()))?
            }
        };
        match response.status().as_u16() {
            201 => self.check(&response).map(|()| None),
            202 => Ok(Some(next_location(self.session, &response, None)?)),
            404 => {
                let (registry, repository) = (self.session.registry(), self.session.repository());
                let message = format!("registry {registry} does not take {repository}: {}", Refusal::read(response).await.message);
                let hint = "check image.repository; many registries want its project or owner (the first part of the name) to exist";
                Err(Setback::Final(Problem::new(Code::RegistryDenied, message).hint(hint)))
            }
            _ => Err(self.refused(Refusal::read(response).await)),
        }
    }

    /// A POST with the whole blob; None when it failed in a way that an empty one need not.
    async fn try_whole(&self) -> Result<Option<Response>, Setback> {
        let mut url = self.session.url("blobs/uploads/")?;
        url.query_pairs_mut().append_pair("digest", self.blob.digest.as_str());
        match self.session.send(self.carry(Request::new(Method::POST, url), 0)).await {
            Ok(response) => {
                let status = response.status().as_u16();
                if !retry::is_transient(response.status()) {
                    self.session.host.takes_whole_posts.learn(status == 201);
                }
                Ok(matches!(status, 201 | 202 | 403 | 404).then_some(response))
            }
            Err(Fault::Problem(problem)) => Err(Setback::Final(problem)),
            Err(Fault::Failure(_) | Fault::Renewed) => Ok(None),
        }
    }

    async fn put_all(&self, location: Url) -> Result<(), Setback> {
        let request = self.carry(Request::new(Method::PUT, self.closing(&location)), 0);
        let response = match self.session.send(request).await {
            Ok(response) => response,
            Err(fault) => return Err(self.setback(fault, Some(location))),
        };
        match response.status().as_u16() {
            200..=299 => self.check(&response),
            _ => self.judge(response, Some(location), Way::Single).await,
        }
    }

    /// Sends what is missing from `offset` on, and closes.
    async fn resume(&self, location: Url, offset: u64) -> Result<(), Setback> {
        let mut location = location;
        if offset < self.blob.size {
            let request = self.carry(Request::new(Method::PATCH, location.clone()), offset);
            let request = request.header(reqwest::header::CONTENT_RANGE, &format!("{offset}-{}", self.blob.size - 1));
            let response = match self.session.send(request).await {
                Ok(response) => response,
                Err(fault) => return Err(self.setback(fault, Some(location))),
            };
            // Registries do not agree on which success this is.
            match response.status().as_u16() {
                200..=299 => location = next_location(self.session, &response, Some(location))?,
                _ => return self.judge(response, Some(location), Way::Patch).await,
            }
        }
        let request = empty(self.patient(Request::new(Method::PUT, self.closing(&location)))).once();
        let response = self.session.send(request).await.map_err(|fault| self.setback(fault, Some(location.clone())))?;
        match response.status().as_u16() {
            200..=299 => self.check(&response),
            _ => self.judge(response, None, Way::Patch).await,
        }
    }

    /// Where a broken session stands; None when it is lost, or has nothing worth keeping.
    async fn ask_offset(&self, location: Url) -> Option<(Url, u64)> {
        let response = self.session.send(Request::new(Method::GET, location.clone()).once()).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let range = response.header("range")?.trim().trim_start_matches("bytes=").to_string();
        let last: u64 = range.strip_prefix("0-")?.parse().ok()?;
        // `0-0` is said for one byte, and by many for none.
        let offset = (last > 0 && last < self.blob.size).then_some(last + 1)?;
        Some((next_location(self.session, &response, Some(location)).ok()?, offset))
    }

    fn carry(&self, request: Request, offset: u64) -> Request {
        let request = self.patient(request).header(CONTENT_TYPE, OCTETS).once();
        request.stream(self.blob.size - offset, self.blob.from(offset))
    }

    fn patient(&self, request: Request) -> Request {
        request.patience(self.session.net.options().idle_timeout * PATIENCE)
    }

    /// The closing PUT's URL: the location with what it holds already, and the digest.
    fn closing(&self, location: &Url) -> Url {
        let mut url = location.clone();
        url.query_pairs_mut().append_pair("digest", self.blob.digest.as_str());
        url
    }

    fn check(&self, response: &Response) -> Result<(), Setback> {
        match response.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok()) {
            Some(got) if got != self.blob.digest => Err(Setback::Mismatch(self.mismatch(&format!("the registry stored {got}")))),
            _ => Ok(()),
        }
    }

    fn mismatch(&self, detail: &str) -> Problem {
        let message = format!(
            "registry {}: the blob {} did not arrive in {} as it was sent: {detail}",
            self.session.registry(),
            self.blob.digest,
            self.session.repository()
        );
        Problem::new(Code::DigestMismatch, message)
    }

    /// What an answer to bytes means that is no success.
    async fn judge(&self, response: Response, location: Option<Url>, way: Way) -> Result<(), Setback> {
        let after = retry::retry_after(response.headers(), SystemTime::now());
        let transient = retry::is_transient(response.status());
        let away = retry::says_away(response.status());
        let refusal = Refusal::read(response).await;
        let passing = |refusal: Refusal, after, location: Option<Url>| Setback::Passing {
            problem: refusal.into_problem(self.session),
            after,
            session: location.map(Box::new),
            away,
        };
        if refusal.has("DIGEST_INVALID") || refusal.has("SIZE_INVALID") {
            return Err(Setback::Mismatch(self.mismatch(&refusal.message)));
        }
        Err(match refusal.status {
            _ if transient => passing(refusal, after, location),
            // The upload session is gone.
            404 => passing(refusal, None, None),
            400 if refusal.has("BLOB_UPLOAD_UNKNOWN") => passing(refusal, None, None),
            416 if way == Way::Patch => passing(refusal, None, location),
            // It understood the request, and says what else is wrong.
            400 if ABOUT_THE_NAME.iter().any(|code| refusal.has(code)) => self.refused(refusal),
            400 | 405 | 411 | 415 | 416 | 501 => Setback::OtherWay(refusal.into_problem(self.session)),
            _ => self.refused(refusal),
        })
    }

    fn refused(&self, refusal: Refusal) -> Setback {
        Setback::Final(refusal.into_problem(self.session))
    }

    fn setback(&self, fault: Fault, session: Option<Url>) -> Setback {
        match fault {
            Fault::Failure(failure) if failure.is_transient() => Setback::Passing {
                problem: fault::of_failure(self.session.registry(), &failure),
                after: None,
                session: session.map(Box::new),
                away: self.session.is_away(&failure),
            },
            Fault::Renewed => {
                let problem = fault.into_problem(self.session.registry());
                Setback::Passing { problem, after: Some(Duration::ZERO), session: session.map(Box::new), away: false }
            }
            fault => Setback::Final(fault.into_problem(self.session.registry())),
        }
    }
}

/// Says that there is no body: some proxies want to hear it.
pub(super) fn empty(request: Request) -> Request {
    request.header(CONTENT_LENGTH, "0")
}

/// The upload location of an answer: always the newest, `before` when this answer has none.
pub(super) fn next_location(session: &Session, response: &Response, before: Option<Url>) -> Result<Url> {
    let Some(location) = response.header("location") else {
        return before.ok_or_else(|| fault::protocol(session.registry(), format!("{} answered without a Location", response.what())));
    };
    resolve(response.url(), location, session.base()).map_err(|why| {
        fault::protocol(session.registry(), format!("{} answered with a Location that is not followed: {why}", response.what()))
    })
}

/// A Location as a URL. It may be relative; one that falls back to plain http on the registry's own host is the mistake of a proxy
/// that ends TLS, and is put right; on other hosts it is refused.
fn resolve(asked: &Url, location: &str, base: &Url) -> Result<Url, String> {
    let mut url = asked.join(location).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || leads_inside(base, &url) {
        return Err(display_url(&url));
    }
    if url.scheme() == "http" && base.scheme() == "https" {
        if url.host() != base.host() {
            return Err(format!("{} is not https", display_url(&url)));
        }
        let port = if matches!(url.port(), None | Some(443)) { base.port() } else { url.port() };
        if url.set_scheme("https").is_err() || url.set_port(port).is_err() {
            return Err(display_url(&url));
        }
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let asked = Url::parse("https://r.test:5000/v2/a/blobs/uploads/").unwrap();
        let base = Url::parse("https://r.test:5000/").unwrap();
        for (location, expected) in [
            ("/v2/a/blobs/uploads/1?_state=x%2By", "https://r.test:5000/v2/a/blobs/uploads/1?_state=x%2By"),
            ("1?_state=x", "https://r.test:5000/v2/a/blobs/uploads/1?_state=x"),
            ("https://store.test/u?sig=1", "https://store.test/u?sig=1"),
            ("http://r.test/v2/a/1", "https://r.test:5000/v2/a/1"),
            ("http://r.test:5000/v2/a/1", "https://r.test:5000/v2/a/1"),
        ] {
            assert_eq!(resolve(&asked, location, &base).unwrap().as_str(), expected, "{location}");
        }
        for location in [
            "http://store.test/u",
            "ftp://r.test/u",
            "https://169.254.169.254/u",
            "https://127.0.0.1:6443/u",
            "https://localhost/u",
            "http://[",
            "file:///etc/passwd",
        ] {
            assert!(resolve(&asked, location, &base).is_err(), "{location}");
        }
    }

    #[test]
    fn plain_registries_may_name_plain_locations() {
        let base = Url::parse("http://127.0.0.1:5000/").unwrap();
        assert_eq!(resolve(&base, "http://127.0.0.1:5000/v2/u", &base).unwrap().as_str(), "http://127.0.0.1:5000/v2/u");
    }
}

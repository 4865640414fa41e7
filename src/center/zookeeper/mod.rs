//! ZooKeeper: what is kept there, and how it is asked. All nodes of ours are below one, the root of `center.url`.
//!
//! A request whose connection is lost may have been done or not. Reads are asked again; every write says in what it writes whose it is, so that
//! one look tells whether it was done, and one that comes late cannot do harm.

mod address;
mod changes;
mod config;
mod held;
mod queue;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error};

pub use self::{address::Address, held::Held};
use crate::domain::problem::{Code, Problem, Result};

/// How long a session for a few requests outlives a process that is gone, and how long servers are looked for.
const SHORT: Duration = Duration::from_secs(10);
/// How long one request, asked again and again, may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(200);

/// The centre: connected to only when it is needed.
#[derive(Clone)]
pub struct Zookeeper {
    address: Address,
}

/// A session with one of the servers; it moves to another by itself.
struct Session {
    client: Client,
    address: Address,
}

impl Zookeeper {
    /// Fails with `setting-invalid` when the address is none.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Zookeeper { address: Address::parse(url)? })
    }

    /// Whether nodes can be read by us alone.
    pub fn is_private(&self) -> bool {
        self.address.digest.is_some()
    }

    /// Connects; what is connected to takes writes (a server without a quorum, in read-only mode, is none of those).
    async fn session(&self, lifetime: Duration) -> Result<Session> {
        let mut connector = Client::connector().with_session_timeout(lifetime).with_readonly(false);
        if let Some(digest) = &self.address.digest {
            connector = connector.with_auth("digest", digest.expose().as_bytes());
        }
        // the client ends by itself after `lifetime`; a resolver that hangs is none of its business
        match timeout(lifetime + Duration::from_secs(5), connector.connect(&self.address.hosts)).await {
            Ok(Ok(client)) => Ok(Session { client, address: self.address.clone() }),
            Ok(Err(error)) => Err(self.address.unreachable(&error.to_string())),
            Err(_) => Err(self.address.unreachable("no answer in time")),
        }
    }
}

impl Address {
    fn unreachable(&self, why: &str) -> Problem {
        let message = format!("no ZooKeeper of {} takes changes: {why}", self.hosts);
        Problem::new(Code::CenterUnreachable, message)
            .hint("check center.url and the network; a server that has no quorum (read-only mode) does not do")
    }

    fn problem(&self, what: &str, error: &Error) -> Problem {
        let message = format!("ZooKeeper of {}: cannot {what}: {error}", self.hosts);
        match error {
            Error::NoAuth | Error::AuthFailed | Error::InvalidAcl => Problem::new(Code::CenterDenied, message),
            Error::QuotaExceeded => Problem::new(Code::CenterDenied, message).hint("raise ZooKeeper's quota of that path"),
            Error::NotReadOnly => self.unreachable("the server is in read-only mode"),
            _ => Problem::new(Code::CenterUnreachable, message),
        }
    }
}

impl Session {
    fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.address.root)
    }

    /// With credentials only we may see what is ours; without, everybody may.
    fn options(&self, mode: CreateMode) -> CreateOptions<'static> {
        mode.with_acls(if self.address.digest.is_some() { Acls::creator_all() } else { Acls::anyone_all() })
    }

    /// Asks, and again when the connection is lost: for what may be done twice. Every other error is the caller's.
    async fn again<T, F: Future<Output = Result<T, Error>>>(&self, what: &str, ask: impl Fn() -> F) -> Result<Result<T, Error>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match timeout(PATIENCE.min(deadline.saturating_duration_since(Instant::now())), ask()).await {
                Ok(Err(error)) if is_unsure(&error) => error,
                Ok(answer) => return Ok(answer),
                Err(_) => Error::Timeout,
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(self.address.problem(what, &error));
            }
            sleep(PAUSE).await;
        }
    }

    /// As [`Session::again`], with no error that the caller could do something about.
    async fn surely<T, F: Future<Output = Result<T, Error>>>(&self, what: &str, ask: impl Fn() -> F) -> Result<T> {
        self.again(what, ask).await?.map_err(|error| self.address.problem(what, &error))
    }

    /// Makes a node and all above it that are missing.
    async fn folder(&self, path: &str) -> Result<()> {
        let options = self.options(CreateMode::Persistent);
        self.surely(&format!("make {path}"), || self.client.mkdir(path, &options)).await
    }
}

/// The request may have been done, or not.
fn is_unsure(error: &Error) -> bool {
    matches!(error, Error::ConnectionLoss | Error::Timeout | Error::SessionMoved | Error::Throttled)
}

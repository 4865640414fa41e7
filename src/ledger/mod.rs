//! The ledger: who changed what, when, and how it ended; what is known of applications; which builds are done. In a SQLite file, or in
//! PostgreSQL for many.

mod applications;
mod builds;
mod migrations;
mod postgres;
mod releases;
mod sqlite;
mod store;
mod tls;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::RootCertStore;
use tokio::{sync::Mutex, time::Instant};

use self::store::{Failure, Link, Row, Statement};
pub use self::{
    applications::Application,
    builds::{Begun, Finished},
    postgres::Server,
    releases::Event,
};
use crate::domain::problem::{Code, Problem, Result};

/// Where a ledger is.
#[derive(Clone)]
pub enum Place {
    File(PathBuf),
    Server(Box<Server>),
}

impl Place {
    /// From `ledger.url`: `sqlite:FILE` or the file's plain path, relative to `dir`, or `postgres://…`, whose certificate one of `roots`
    /// has to vouch for.
    pub fn of(url: &str, dir: &Path, roots: RootCertStore) -> Result<Place> {
        match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => Ok(Place::Server(Box::new(Server::of(url, roots)?))),
            Some(("sqlite", file)) => Ok(Place::File(dir.join(file.strip_prefix("//").unwrap_or(file)))),
            Some((scheme, rest)) if rest.starts_with("//") => {
                Err(Problem::new(Code::SettingInvalid, format!("ledger.url begins with {scheme}, which is no ledger"))
                    .hint("write sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE"))
            }
            _ => Ok(Place::File(dir.join(url))),
        }
    }

    /// What tells it from other ledgers, without credentials.
    pub fn name(&self) -> String {
        match self {
            Place::File(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
            Place::Server(server) => server.shown.clone(),
        }
    }
}

/// An open ledger; clones share its connection, which is made anew when it was cut.
#[derive(Clone)]
pub struct Ledger {
    place: Place,
    link: Arc<Mutex<Option<Link>>>,
    limit: Duration,
}

impl Ledger {
    /// Connects, and brings the tables up to date under a lock. `limit` is for this and for each later call, with all that is tried again.
    ///
    /// # Errors
    /// `ledger-unreachable`, `ledger-denied`, `ledger-failed`, and `ledger-newer` for tables of a later version.
    pub async fn open(place: &Place, limit: Duration) -> Result<Ledger> {
        let ledger = Ledger { place: place.clone(), link: Arc::default(), limit };
        ledger.batch(Vec::new()).await?;
        Ok(ledger)
    }

    /// The same ledger, waited for so long at each call.
    pub fn within(&self, limit: Duration) -> Ledger {
        Ledger { limit, ..self.clone() }
    }

    /// Does a batch in one transaction. What may pass is tried again until the limit, so that each batch has to bear being done twice.
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>> {
        let end = Instant::now() + self.limit;
        // whoever waits for a call that hangs does not wait longer for it
        let Ok(mut link) = tokio::time::timeout_at(end, self.link.lock()).await else { return Err(silent(self.limit)) };
        let mut seen = None;
        loop {
            let tried = tokio::time::timeout_at(end, attempt(&mut link, &self.place, statements.clone())).await;
            let Ok(tried) = tried else {
                // whatever was on its way is cut with the connection
                *link = None;
                return Err(seen.unwrap_or_else(|| silent(self.limit)));
            };
            match tried {
                Ok(rows) => return Ok(rows),
                Err(failure) if failure.again => {
                    *link = None;
                    seen = Some(failure.problem);
                }
                Err(failure) => return Err(failure.problem),
            }
            let pause = pause();
            if Instant::now() + pause >= end {
                return Err(seen.unwrap_or_else(|| silent(self.limit)));
            }
            tokio::time::sleep(pause).await;
        }
    }
}

async fn attempt(link: &mut Option<Link>, place: &Place, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>, Failure> {
    if link.is_none() {
        let mut fresh = Link::open(place).await?;
        fresh.migrate().await?;
        *link = Some(fresh);
    }
    match link {
        Some(link) if !statements.is_empty() => link.batch(statements).await,
        _ => Ok(Vec::new()),
    }
}

fn silent(limit: Duration) -> Problem {
    Problem::new(Code::LedgerUnreachable, format!("the ledger did not answer in {:.1} s", limit.as_secs_f64()))
}

/// Many who wait for a full server must not come back at the same moment.
fn pause() -> Duration {
    Duration::from_millis(50 + u64::from(now_nanos() / 1000 % 200))
}

fn now_nanos() -> u32 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos())
}

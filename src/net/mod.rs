//! One HTTP client for everything but the cluster: roots, proxies, retries, redaction.

mod client;
mod failure;
mod guard;
mod request;
pub mod retry;
mod roots;
mod serve;

use std::{path::PathBuf, time::Duration};

pub use client::{Client, proxy_for};
pub use failure::{Cause, Failure};
pub use guard::{is_local_host, is_loopback, leads_inside, same_origin};
pub use request::{ByteStream, Request, Response, Source, WHOLE_BODY, display_url};
pub use roots::store as root_store;
pub use serve::{Answer, Server};

use crate::domain::secret::Secret;

/// How the outside world is reached; settings fill it in, nothing here reads the environment.
#[derive(Clone)]
pub struct Options {
    /// PEM bundle of the system's roots; None: the first of the usual places that exists.
    pub roots_file: Option<PathBuf>,
    /// Folder of PEM files that are roots, too (`SSL_CERT_DIR`).
    pub roots_dir: Option<PathBuf>,
    /// PEM files of further CAs to trust, for every host.
    pub ca: Vec<PathBuf>,
    /// What holds for single hosts beside.
    pub hosts: Vec<HostTls>,
    /// Proxy for http URLs; may hold a password.
    pub http_proxy: Option<Secret>,
    /// Proxy for https URLs; may hold a password.
    pub https_proxy: Option<Secret>,
    /// Hosts reached without a proxy, as `NO_PROXY` writes them; loopback always is.
    pub no_proxy: Option<String>,
    pub connect_timeout: Duration,
    /// Longest time in which no byte moves in either direction.
    pub idle_timeout: Duration,
    pub retry: retry::Policy,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            roots_file: None,
            roots_dir: None,
            ca: Vec::new(),
            hosts: Vec::new(),
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            retry: retry::Policy::default(),
        }
    }
}

/// TLS with one host: whom to trust there beside the usual roots, and who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTls {
    /// `host[:port]`; without a port, https's own.
    pub host: String,
    /// PEM files of CAs that are trusted for this host alone.
    pub ca: Vec<PathBuf>,
    /// Our certificate, for servers that ask their clients for one.
    pub identity: Option<Identity>,
}

/// A client certificate with its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Makes *ring* the TLS provider of the process; comes first in `main`, and in each test that makes a client. Calling it again
/// changes nothing.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

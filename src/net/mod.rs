//! One HTTP client for everything but the cluster: roots, proxies, retries, redaction.

mod client;
mod failure;
mod guard;
mod request;
pub mod retry;
mod roots;

use std::{path::PathBuf, time::Duration};

pub use client::{Client, proxy_for};
pub use failure::{Cause, Failure};
pub use guard::{is_local_host, is_loopback, same_origin};
pub use request::{ByteStream, Request, Response, Source, display_url};

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
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            retry: retry::Policy::default(),
        }
    }
}

/// Makes *ring* the TLS provider of the process; comes first in `main`, and in each test that makes a client. Calling it again
/// changes nothing.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

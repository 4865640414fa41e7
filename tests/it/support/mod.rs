//! What the integration tests share: the lab's real parts, fixture applications, a run of the binary.

// each test file uses some of it
#![allow(dead_code)]

pub mod api;
pub mod broker;
pub mod canaries;
pub mod checker;
pub mod clock;
pub mod fake;
pub mod fixture;
pub mod forge;
pub mod gitea;
pub mod gitlab;
pub mod http;
pub mod issuer;
pub mod job;
pub mod lab;
pub mod others;
pub mod own_lab;
pub mod pipeline;
pub mod postgres;
pub mod registry;
pub mod shipway;
pub mod sink;
pub mod small_disk;
pub mod traffic;
pub mod webhook;
pub mod zookeeper;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A name that no other test, run or machine takes at the same time: a DNS label of at most 40 characters that tells the test.
pub fn unique(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let label: String = test.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(24).collect();
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("t-{}-{:x}-{:x}{number:x}", label.trim_matches('-'), std::process::id(), millis & 0xff_ffff)
}

/// A port on loopback that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A port for a server that is started late, or ended and started again: below those that the kernel gives to connections, one of which could
/// take it meanwhile (be it that of a client to itself).
pub fn steady_port() -> u16 {
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let random = || 10_000 + (std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) % 22_000) as u16;
    std::iter::repeat_with(random).find(free).unwrap()
}

/// Runs a future to its end; for tests that are not async by themselves.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

//! A proxy in front of a registry that notes each call and fails the test on any of ours that the OCI distribution specification (v1.1)
//! does not allow. It passes everything on as it is; calls of other programs are noted, and not judged.

mod names;
mod rules;
mod wire;

use std::{
    io::{BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rules::Rules;
use wire::{Body, Head};

/// A call, with its answer.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub status: u16,
    /// Body bytes of the request.
    pub sent: u64,
    /// Body bytes of the answer.
    pub received: u64,
    /// Number of the connection that it came on.
    pub connection: usize,
    begun: Instant,
    ended: Instant,
}

/// The proxy; ends with the process. Dropping it fails the test when a rule was broken.
pub struct Checker {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: u16,
    latency: AtomicU64,
    connections: AtomicUsize,
    calls: Mutex<Vec<Call>>,
    rules: Mutex<Rules>,
}

impl Checker {
    /// In front of a registry that was empty when it started: what it holds came through here.
    pub fn of_new(upstream: u16) -> Self {
        Checker::start(upstream, Rules::of_new())
    }

    /// In front of a registry that holds something already.
    pub fn of(address: &str) -> Self {
        Checker::start(address.rsplit(':').next().unwrap().parse().unwrap(), Rules::default())
    }

    fn start(upstream: u16, rules: Rules) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream,
            latency: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            calls: Mutex::default(),
            rules: Mutex::new(rules),
        });
        let state = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || state.serve(client));
            }
        });
        Checker { port, shared }
    }

    /// The port of what stands behind.
    pub fn upstream(&self) -> u16 {
        self.shared.upstream
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on each answer comes so much later, as over a long line.
    pub fn delay(&self, latency: Duration) {
        self.shared.latency.store(latency.as_millis() as u64, Ordering::Relaxed);
    }

    /// The calls since the last time that they were taken.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.calls.lock().unwrap())
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        let broken = std::mem::take(&mut self.shared.rules.lock().unwrap().broken);
        if !std::thread::panicking() {
            assert!(broken.is_empty(), "not allowed by the OCI distribution specification:\n{}", broken.join("\n"));
        }
    }
}

/// How many calls had to wait for another to end: the longest chain of them.
pub fn round_trips(calls: &[Call]) -> usize {
    let mut depths: Vec<usize> = Vec::new();
    for (nth, call) in calls.iter().enumerate() {
        let before = calls[..nth].iter().zip(&depths).filter(|(earlier, _)| earlier.ended <= call.begun).map(|(_, depth)| *depth);
        depths.push(1 + before.max().unwrap_or(0));
    }
    depths.into_iter().max().unwrap_or(0)
}

/// One word for each call, sorted: what was asked, whatever the order of what went on at the same time.
pub fn summary(calls: &[Call]) -> Vec<String> {
    let kind = |call: &Call| {
        let path = call.target.split('?').next().unwrap_or_default();
        let part = if path.contains("/manifests/") {
            "manifest"
        } else if path.contains("/blobs/") {
            "blob"
        } else {
            "other"
        };
        let mount = if call.target.contains("mount=") { " mount" } else { "" };
        format!("{} {part}{mount} {}", call.method, call.status)
    };
    let mut words: Vec<String> = calls.iter().map(kind).collect();
    words.sort();
    words
}

impl Shared {
    fn serve(&self, client: TcpStream) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut first = [0];
        if client.peek(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut from = BufReader::new(client.try_clone().unwrap());
        let mut to = client;
        if first[0] == 0x16 {
            // A greeting of TLS: answered as a registry without TLS does.
            let _ = to.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        let Ok(registry) = TcpStream::connect(("127.0.0.1", self.upstream)) else { return };
        let mut upstream = BufReader::new(registry);
        while let Some(head) = Head::read(&mut from) {
            match self.call(connection, &head, &mut from, &mut to, &mut upstream) {
                Ok(true) => {}
                _ => break,
            }
        }
        let _ = upstream.get_ref().shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Passes one call on; whether the connection may have another.
    fn call(
        &self,
        connection: usize,
        head: &Head,
        from: &mut BufReader<TcpStream>,
        to: &mut TcpStream,
        upstream: &mut BufReader<TcpStream>,
    ) -> std::io::Result<bool> {
        let begun = Instant::now();
        let (method, target) = (head.word(0).to_string(), head.word(1).to_string());
        let ours = head.get("user-agent").is_some_and(|agent| agent.starts_with("shipway/"));
        upstream.get_mut().write_all(&head.raw)?;
        let mut body = Vec::new();
        let sent = head.request_body().pass(from, upstream.get_mut(), &mut body);
        if ours {
            self.rules.lock().unwrap().ask(head, &body);
        }
        // A registry may answer before it has heard everything.
        let answer = Head::read(upstream).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let complete = sent.is_ok();
        std::thread::sleep(Duration::from_millis(self.latency.load(Ordering::Relaxed)));
        let status = answer.word(1).parse().unwrap_or(0);
        let kind = answer.answer_body(&method, status);
        let mut heard = Vec::new();
        // Noted before the caller can act on it.
        let slot =
            self.note(Call { method, target, status, sent: sent.unwrap_or(0), received: 0, connection, begun, ended: Instant::now() });
        if matches!(kind, Body::None) {
            self.rules.lock().unwrap().learn(head, &body, &answer, &heard, ours);
            to.write_all(&answer.raw)?;
        } else {
            to.write_all(&answer.raw)?;
            let received = kind.pass(upstream, to, &mut heard)?;
            self.rules.lock().unwrap().learn(head, &body, &answer, &heard, ours);
            if let Some(call) = self.calls.lock().unwrap().get_mut(slot) {
                call.received = received;
            }
        }
        Ok(complete && !matches!(kind, Body::ToTheEnd) && !answer.closes() && !head.closes())
    }

    fn note(&self, call: Call) -> usize {
        let mut calls = self.calls.lock().unwrap();
        calls.push(call);
        calls.len() - 1
    }
}

/// Reads to the end of what is there; for bodies without a length.
fn drain(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<u64> {
    std::io::copy(from, to)
}

#[test]
fn chains_are_counted() {
    let start = Instant::now();
    let at = |begun: u64, ended: u64| Call {
        method: "GET".into(),
        target: "/".into(),
        status: 200,
        sent: 0,
        received: 0,
        connection: 0,
        begun: start + Duration::from_millis(begun),
        ended: start + Duration::from_millis(ended),
    };
    assert_eq!(round_trips(&[]), 0);
    assert_eq!(round_trips(&[at(0, 10), at(1, 11), at(12, 20), at(13, 21), at(22, 30)]), 3);
}

//! Requests to a service, one after the other, each on a connection of its own, so that each goes wherever the Service sends it now.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Service;
use kube::api::Api;

use super::{block_on, lab::lab};

/// At most as many requests as a test needs, whatever happens to it.
const MOST: usize = 10_000;
/// How long the node may take until its rules know a Service that is new.
const FIRST: Duration = Duration::from_secs(10);

/// Requests that go on until they are ended.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Answers>,
}

/// What came of the requests.
#[derive(Default)]
pub struct Answers {
    /// Heads and bodies of those that were answered with 200.
    pub good: Vec<String>,
    /// Each failure with its number and the seconds since the first request.
    pub failed: Vec<String>,
}

impl Answers {
    pub fn asked(&self) -> usize {
        self.good.len() + self.failed.len()
    }
}

/// The port of the node behind which a Service answers.
pub fn node_port(namespace: &str, name: &str) -> i32 {
    let service: Service = block_on(async { Api::namespaced(lab().client().await, namespace).get(name).await.unwrap() });
    service.spec.unwrap().ports.unwrap()[0].node_port.unwrap()
}

impl Traffic {
    /// Begins to ask `http://ADDRESS/`, once it has answered: what a test asks is what an update does to a service that works,
    /// not how soon the node's proxy learns of a new Service.
    pub fn begin(url: &str) -> Traffic {
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let begun = Instant::now();
        while let Err(error) = ask(&address) {
            assert!(begun.elapsed() < FIRST, "{url} does not answer: {error}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (begun, mut answers) = (Instant::now(), Answers::default());
            while !stopped.load(Ordering::Relaxed) && answers.asked() < MOST {
                match ask(&address) {
                    Ok(answer) => answers.good.push(answer),
                    Err(error) => answers.failed.push(format!("request {} after {:.2?}: {error}", answers.asked() + 1, begun.elapsed())),
                }
                // A pace that leaves the machine to the rollout.
                std::thread::sleep(Duration::from_millis(10));
            }
            answers
        });
        Traffic { stop, thread }
    }

    /// Ends them, and says what came of them.
    pub fn end(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn ask(address: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer.lines().next().unwrap_or("no answer").to_owned()) }
}

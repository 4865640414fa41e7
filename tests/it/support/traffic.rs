//! Requests to a service, one after the other, each on a connection of its own.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use k8s_openapi::api::core::v1::Service;
use kube::api::Api;

use super::{block_on, lab::lab};

/// At most as many requests as a test needs, whatever happens to it.
const MOST: usize = 10_000;

/// Requests that go on until they are ended.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

/// The port of the node behind which a Service answers.
pub fn node_port(namespace: &str, name: &str) -> i32 {
    let service: Service = block_on(async { Api::namespaced(lab().client().await, namespace).get(name).await.unwrap() });
    service.spec.unwrap().ports.unwrap()[0].node_port.unwrap()
}

impl Traffic {
    /// Begins to ask `http://ADDRESS/`.
    pub fn begin(url: &str) -> Traffic {
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut asked, mut failed) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) && asked < MOST {
                asked += 1;
                failed.extend(ask(&address).err());
                // A pace that leaves the machine to the rollout.
                std::thread::sleep(Duration::from_millis(20));
            }
            (asked, failed)
        });
        Traffic { stop, thread }
    }

    /// How many were asked, and what became of those that failed.
    pub fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn ask(address: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer.lines().next().unwrap_or("no answer").to_owned()) }
}

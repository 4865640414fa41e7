//! A registry that keeps nothing: it counts and hashes what it is sent, for content that no disk should have to hold. What it says is what
//! a registry says; a checker in front of it judges what it is asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use sha2::{Digest as _, Sha256};
use shipway::domain::digest::Digest;

use super::checker::Checker;

/// Ends with the process.
pub struct Sink {
    checker: Checker,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    uploads: Vec<Upload>,
    /// The connection ends once an upload has so many bytes.
    hang_up_at: Option<u64>,
    resumed: Vec<u64>,
}

#[derive(Clone, Default)]
struct Upload {
    size: u64,
    hash: Sha256,
    complete: bool,
}

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(connection, &shared));
            }
        });
        Sink { checker: Checker::of_new(port), state }
    }

    pub fn host(&self) -> String {
        self.checker.host()
    }

    /// From now on: once, when an upload has so many bytes.
    pub fn hang_up_at(&self, bytes: u64) {
        self.state.lock().unwrap().hang_up_at = Some(bytes);
    }

    /// The sizes of the blobs that arrived, each with the digest that was said.
    pub fn blobs(&self) -> Vec<u64> {
        self.state.lock().unwrap().uploads.iter().filter(|upload| upload.complete).map(|upload| upload.size).collect()
    }

    /// Where uploads that broke were taken up again.
    pub fn resumed(&self) -> Vec<u64> {
        self.state.lock().unwrap().resumed.clone()
    }
}

fn serve(mut client: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::with_capacity(1 << 20, client.try_clone().unwrap());
    while let Some((method, target, length, range)) = head(&mut reader) {
        let Some(answer) = answer(&method, &target, length, range.as_deref(), &mut reader, state) else { return };
        if client.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn head(reader: &mut impl BufRead) -> Option<(String, String, u64, Option<String>)> {
    let (mut first, mut length, mut range) = (String::new(), 0, None);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "content-range" => range = Some(value.trim().to_string()),
            _ => {}
        }
    }
    let mut words = first.split(' ');
    Some((words.next()?.to_string(), words.next()?.to_string(), length, range))
}

/// None: the connection ends.
fn answer(method: &str, target: &str, length: u64, range: Option<&str>, body: &mut impl Read, state: &Mutex<State>) -> Option<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let said = |status: &str, headers: &str| Some(format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n"));
    let Some((_, id)) = path.split_once("/blobs/uploads/") else {
        receive(body, length, |_| true)?;
        return if method == "PUT" { said("201 Created", "") } else { said("404 Not Found", "") };
    };
    if method == "POST" {
        receive(body, length, |_| true)?;
        let mut state = state.lock().unwrap();
        state.uploads.push(Upload::default());
        return said("202 Accepted", &format!("location: {path}{}\r\n", state.uploads.len() - 1));
    }
    let id: usize = id.parse().ok()?;
    if method == "PATCH" {
        state.lock().unwrap().resumed.extend(range.and_then(|range| range.split('-').next()?.parse::<u64>().ok()));
    }
    receive(body, length, |piece| {
        let mut state = state.lock().unwrap();
        let upload = &mut state.uploads[id];
        upload.size += piece.len() as u64;
        upload.hash.update(piece);
        let size = upload.size;
        state.hang_up_at.take_if(|at| *at <= size).is_none()
    })?;
    let mut state = state.lock().unwrap();
    let upload = &mut state.uploads[id];
    if method != "PUT" {
        return said("202 Accepted", &format!("location: {path}\r\nrange: 0-{}\r\n", upload.size.saturating_sub(1)));
    }
    let digest = Digest::from_sha256(&upload.hash.clone().finalize());
    upload.complete = url::form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "digest" && value == digest.as_str());
    if upload.complete { said("201 Created", "") } else { said("400 Bad Request", "") }
}

/// Reads a body to its end; None when it broke, or when `take` wants no more of it.
fn receive(body: &mut impl Read, length: u64, mut take: impl FnMut(&[u8]) -> bool) -> Option<()> {
    let (mut left, mut buffer) = (length, vec![0; 1 << 20]);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = body.read(&mut buffer[..most]).ok().filter(|got| *got > 0)?;
        left -= got as u64;
        if !take(&buffer[..got]) {
            return None;
        }
    }
    Some(())
}

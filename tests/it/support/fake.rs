//! A small proxy that stands in front of a real registry and does what real ones do on bad days; it notes each request.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use shipway::domain::reference::ImageReference;

/// What to do with a request.
#[derive(Clone)]
pub enum Act {
    /// This answer instead of the registry's: status line and headers (each with its line end), then the body.
    Answer(String, String),
    /// Hang up without an answer; the registry never hears of it.
    HangUp,
    /// Pass so many bytes of the request's body on, then hang up on both sides.
    CutRequest(usize),
    /// Store so many bytes of an upload's body in the registry, hang up, and know afterwards how far the upload is.
    Half(usize),
    /// Pass the request on, and hang up instead of answering.
    Swallow,
    /// Pass so many bytes of the answer's body on, then hang up.
    CutAnswer(usize),
    /// The registry's answer with a header replaced.
    Header(String, String),
    /// The registry's answer with the last byte of its body changed.
    Spoil,
    /// This status line and these headers, and then a body without an end.
    Endless(String),
    /// The registry's answer, byte by byte, with this time in between.
    Drip(Duration),
    /// A header of so many bytes.
    LongHeader(usize),
    /// Read so many bytes of the request's body, give them to the registry (or not), answer this and close.
    RefuseAfter { bytes: usize, store: bool, answer: String },
    /// Do this, then hang up; the registry never hears of the request.
    Do(Arc<dyn Fn() + Send + Sync>),
    /// What a proxy does with CONNECT: a tunnel to the registry, whatever the name.
    Tunnel,
    /// Nothing at all, for so long.
    Stall(Duration),
    /// Read the request's body in pieces of this many bytes with this time in between, then say that it was stored.
    Trickle(usize, Duration),
}

/// The first rule that matches and has a turn left is used.
pub struct Rule {
    pub method: &'static str,
    /// A part of path and query.
    pub path: String,
    pub turns: usize,
    pub act: Act,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub authorization: Option<String>,
    pub proxy_authorization: Option<String>,
    pub range: Option<String>,
}

pub struct Fake {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    upstream: u16,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

impl Fake {
    /// In front of a registry on a port of this machine; 0: nothing is behind it.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { upstream, ..State::default() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(connection, &shared));
            }
        });
        Fake { port, state }
    }

    pub fn rule(&self, method: &'static str, path: impl Into<String>, turns: usize, act: Act) {
        self.state.lock().unwrap().rules.push(Rule { method, path: path.into(), turns, act });
    }

    /// An answer of the fake's own; `headers` are lines without their ends.
    pub fn answer(&self, method: &'static str, path: &str, turns: usize, status: &str, headers: &[&str], body: &str) {
        let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        self.rule(method, path, turns, Act::Answer(format!("HTTP/1.1 {status}\r\n{lines}"), body.to_string()));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// How many requests of this method had this in their target.
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.target.contains(path)).count()
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn image(&self, name: &str) -> ImageReference {
        format!("{}/{name}", self.host()).parse().unwrap()
    }
}

struct Head {
    first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> Option<Head> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line).ok()? == 0 {
                return None;
            }
            let line = String::from_utf8(line).ok()?.trim_end().to_string();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut lines = lines.into_iter();
        let first = lines.next()?;
        let headers =
            lines.filter_map(|line| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))).collect();
        Some(Head { first, headers })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> usize {
        self.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn text(&self) -> String {
        let headers: String =
            self.headers.iter().filter(|(name, _)| name != "connection").map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{headers}connection: close\r\n\r\n", self.first)
    }
}

/// One request a connection: simple, and every answer says so.
fn serve(mut client: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let Some(head) = Head::read(&mut reader) else { return };
    let mut words = head.first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
    let (upstream, act) = {
        let mut state = state.lock().unwrap();
        let own = |name: &str| head.get(name).map(str::to_string);
        state.seen.push(Seen {
            method: method.to_string(),
            target: target.to_string(),
            authorization: own("authorization"),
            proxy_authorization: own("proxy-authorization"),
            range: own("range"),
        });
        let rule = state.rules.iter_mut().find(|rule| rule.turns > 0 && rule.method == method && target.contains(&rule.path));
        let act = rule.map(|rule| {
            rule.turns -= 1;
            rule.act.clone()
        });
        (state.upstream, act)
    };
    let mut body = vec![0; head.length()];
    if let Some(Act::Trickle(piece, pause)) = &act {
        for piece in body.chunks_mut(*piece) {
            std::thread::sleep(*pause);
            if reader.read_exact(piece).is_err() {
                return;
            }
        }
    } else if !matches!(act, Some(Act::HangUp | Act::Do(_) | Act::RefuseAfter { .. } | Act::CutRequest(_)))
        && reader.read_exact(&mut body).is_err()
    {
        return;
    }
    match act {
        Some(Act::Answer(head, body)) => {
            let _ = write!(client, "{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
        Some(Act::Trickle(..)) => {
            let _ = write!(client, "HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        Some(Act::HangUp) => {}
        Some(Act::Tunnel) => tunnel(client, upstream),
        Some(Act::Do(act)) => act(),
        Some(Act::Endless(head)) => {
            let piece = [b'x'; 64 << 10];
            let _ = write!(client, "{head}connection: close\r\n\r\n");
            while client.write_all(&piece).is_ok() {}
        }
        Some(Act::LongHeader(bytes)) => {
            let _ = write!(client, "HTTP/1.1 200 OK\r\nx-long: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(bytes));
        }
        Some(Act::RefuseAfter { bytes, store, answer }) => {
            let part = &mut body[..bytes];
            if reader.read_exact(part).is_ok() {
                if store {
                    store_half(upstream, &head, part, state);
                }
                let _ = client.write_all(answer.as_bytes());
                // What the other side still sends is left unread, as a server does that has refused; it gets time to hear why.
                let _ = client.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut reader.take(64 << 10), &mut std::io::sink());
            }
        }
        Some(Act::Stall(time)) => std::thread::sleep(time),
        Some(Act::CutRequest(bytes)) => {
            let mut part = vec![0; bytes.min(head.length())];
            if reader.read_exact(&mut part).is_ok() {
                let mut server = TcpStream::connect(("127.0.0.1", upstream)).unwrap();
                let _ = server.write_all(head.text().as_bytes()).and_then(|()| server.write_all(&part));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Some(Act::Half(bytes)) => store_half(upstream, &head, &body[..bytes], state),
        act => pass(client, upstream, &head, &body, act),
    }
}

/// Passes everything on, in both directions, until both have ended.
fn tunnel(mut client: TcpStream, upstream: u16) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)) else { return };
    let _ = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    let (mut back, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let answers = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to_client);
        let _ = to_client.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(std::net::Shutdown::Write);
    let _ = answers.join();
}

/// Makes a PATCH of the beginning of a PUT, and a rule that answers the question for the offset.
fn store_half(upstream: u16, head: &Head, body: &[u8], state: &Mutex<State>) {
    let target = head.first.split(' ').nth(1).unwrap().split("&digest=").next().unwrap().to_string();
    let mut patch = Head { first: format!("PATCH {target} HTTP/1.1"), headers: head.headers.clone() };
    patch.headers.retain(|(name, _)| name != "content-length");
    patch.headers.push(("content-length".to_string(), body.len().to_string()));
    patch.headers.push(("content-range".to_string(), format!("0-{}", body.len() - 1)));
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).unwrap();
    server.write_all(patch.text().as_bytes()).and_then(|()| server.write_all(body)).unwrap();
    let answered = Head::read(&mut BufReader::new(server)).unwrap();
    let location = answered.get("location").unwrap_or_else(|| panic!("{}", answered.text())).to_string();
    let answer = format!("HTTP/1.1 204 No Content\r\nlocation: {location}\r\nrange: 0-{}\r\n", body.len() - 1);
    let path = target.split('?').next().unwrap().to_string();
    state.lock().unwrap().rules.push(Rule { method: "GET", path, turns: 1, act: Act::Answer(answer, String::new()) });
}

fn pass(mut client: TcpStream, upstream: u16, head: &Head, body: &[u8], act: Option<Act>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)) else { return };
    if server.write_all(head.text().as_bytes()).and_then(|()| server.write_all(body)).is_err() {
        return;
    }
    let mut answer = BufReader::new(server);
    let Some(mut answered) = Head::read(&mut answer) else { return };
    let mut bytes = Vec::new();
    if !head.first.starts_with("HEAD ") {
        let _ = answer.read_to_end(&mut bytes);
    }
    let mut keep = bytes.len();
    match act {
        Some(Act::Swallow) => return,
        Some(Act::Drip(pause)) => {
            let _ = client.write_all(answered.text().as_bytes());
            for byte in bytes {
                std::thread::sleep(pause);
                if client.write_all(&[byte]).is_err() {
                    return;
                }
            }
            return;
        }
        Some(Act::CutAnswer(cut)) => keep = cut.min(keep),
        Some(Act::Spoil) => bytes.iter_mut().last().into_iter().for_each(|last| *last ^= 1),
        Some(Act::Header(name, value)) => {
            answered.headers.retain(|(held, _)| *held != name);
            answered.headers.push((name, value));
        }
        _ => {}
    }
    let _ = client.write_all(answered.text().as_bytes()).and_then(|()| client.write_all(&bytes[..keep]));
}

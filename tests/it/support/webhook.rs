//! An admission webhook that the real API server asks: over TLS, on loopback, with a certificate of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

use super::registry::make_certificate;

/// What it answers to everything.
#[derive(Clone, Copy)]
pub enum Says {
    /// It denies, with this sentence.
    No(&'static str),
    /// It takes the question and is silent.
    Nothing,
}

pub struct Webhook {
    port: u16,
    folder: tempfile::TempDir,
    asked: Arc<Asked>,
}

/// Questions without an answer yet: now, and at most.
#[derive(Default)]
struct Asked {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Webhook {
    pub fn start(says: Says) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path());
        let certificates = CertificateDer::pem_file_iter(folder.path().join("server.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(folder.path().join("server.key")).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key).unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Asked::default());
        let counts = asked.clone();
        // ends with the test's process
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (config, counts) = (config.clone(), counts.clone());
                std::thread::spawn(move || serve(connection, config, says, &counts));
            }
        });
        Webhook { port, folder, asked }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/", self.port)
    }

    /// How many questions have been without an answer at the same time, at most.
    pub fn peak(&self) -> usize {
        self.asked.peak.load(Ordering::SeqCst)
    }

    /// The certificate authority, as a webhook's configuration has it.
    pub fn ca(&self) -> String {
        BASE64_STANDARD.encode(std::fs::read(self.folder.path().join("ca.pem")).unwrap())
    }
}

/// One question a connection: simple, and every answer says so.
fn serve(connection: TcpStream, config: Arc<rustls::ServerConfig>, says: Says, asked: &Asked) {
    let session = rustls::ServerConnection::new(config).unwrap();
    let mut stream = BufReader::new(rustls::StreamOwned::new(session, connection));
    let Some(question) = question(&mut stream) else { return };
    let Says::No(sentence) = says else {
        asked.peak.fetch_max(asked.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // until the API server gives up
        let _ = stream.read(&mut [0]);
        asked.now.fetch_sub(1, Ordering::SeqCst);
        return;
    };
    let response = json!({"uid": question["request"]["uid"], "allowed": false, "status": {"code": 403, "message": sentence}});
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.get_mut().write_all(format!("{head}{body}").as_bytes());
}

/// The body of an HTTP request with a length.
fn question(stream: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

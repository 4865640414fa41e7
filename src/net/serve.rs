//! A small HTTP server, for questions that a neighbour asks.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::domain::problem::{Code, Problem, Result};

/// Connections at a time; more wait.
const MOST: usize = 64;
/// How long a client may take for its question, and between two of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is answered: a status and a JSON text.
pub type Answer = (u16, String);

/// A server that listens.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Listens at `HOST:PORT`, or at every address of the machine with `:PORT`.
    pub async fn bind(address: &str) -> Result<Self> {
        let failed = |error: io::Error| {
            Problem::new(Code::SettingInvalid, format!("cannot listen at {address}: {error}"))
                .hint("write it like :8099 or 127.0.0.1:8099, with a port that is free")
        };
        let everywhere = address.strip_prefix(':');
        let listener = match everywhere {
            // a machine without IPv6 has no [::]
            Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
                Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
                bound => bound,
            },
            None => TcpListener::bind(address).await,
        };
        Ok(Server { listener: listener.map_err(failed)? })
    }

    /// Where it listens: with the port that it got for `:0`.
    pub fn address(&self) -> String {
        self.listener.local_addr().map(|address| address.to_string()).unwrap_or_default()
    }

    /// Answers GET requests by their path until it is dropped; None: there is nothing at that path.
    pub async fn answer(self, answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) {
        let (answer, room) = (Arc::new(answer), Arc::new(Semaphore::new(MOST)));
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let answer = answer.clone();
                    tokio::spawn(async move {
                        talk(stream, &*answer).await;
                        drop(place);
                    });
                }
                // out of file descriptors, say: a moment later there may be some
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

async fn talk(stream: TcpStream, answer: &(dyn Fn(&str) -> Option<Answer> + Send + Sync)) {
    let service = service_fn(|request: Request<Incoming>| {
        let answered = match request.method().as_str() {
            "GET" | "HEAD" => answer(request.uri().path()).unwrap_or_else(|| (404, "{}\n".to_string())),
            _ => (405, "{}\n".to_string()),
        };
        std::future::ready(Ok::<_, Infallible>(response(answered)))
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // whoever hangs up has what it wanted
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn response((status, text): Answer) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    // a cached answer would outlive the lead
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

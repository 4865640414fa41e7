//! A proxy in front of the real API server that does what networks and servers do on bad days, counts, and can end the process it serves.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::FutureExt;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::lab::lab;

/// A request as it arrived, and what it cost.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    /// Its number among the requests that change something, from 1; 0 for all others.
    pub change: usize,
    /// Bytes of the bodies, request and answer.
    pub bytes: usize,
    pub authorization: Option<String>,
    /// Neither answered to the end nor given up by who asked.
    pub open: bool,
}

impl Seen {
    pub fn is_watch(&self) -> bool {
        self.query.contains("watch=")
    }

    fn changes(&self) -> bool {
        let writes = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
        writes && !self.query.contains("dryRun") && !self.path.starts_with("/apis/authorization.k8s.io")
    }
}

/// What the requests of one publish were for.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// What comes before the lock.
    pub preflight: usize,
    pub watches: usize,
    /// That which goes before each watch.
    pub lists: usize,
    /// All others.
    pub rest: usize,
}

impl Shares {
    pub fn of(seen: &[Seen], lease: &str) -> Shares {
        let watches = seen.iter().filter(|seen| seen.is_watch()).count();
        let preflight = seen.iter().position(|seen| seen.path.ends_with(lease)).unwrap();
        let watched = |list: &&Seen| seen.iter().any(|seen| seen.is_watch() && seen.path == list.path);
        let lists = seen[preflight..].iter().filter(|seen| seen.method == "GET" && !seen.is_watch()).filter(watched).count();
        Shares { preflight, watches, lists, rest: seen.len() - preflight - watches - lists }
    }
}

/// What to do with a request.
#[derive(Clone)]
pub enum Act {
    Pass,
    /// This answer instead of the server's: status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Hang up; the server never hears of it.
    HangUp,
    /// The server does it, then this happens, and nobody is answered.
    Swallow(Arc<dyn Fn() + Send + Sync>),
    /// Pass it on after this time.
    Delay(Duration),
    /// Pass it on, and cut the answer after this time.
    CutAfter(Duration),
}

type Rule = Arc<dyn Fn(&Seen) -> Act + Send + Sync>;

pub struct Api {
    pub port: u16,
    shared: Arc<Shared>,
    _folder: tempfile::TempDir,
    pub kubeconfig: PathBuf,
}

struct Shared {
    server: String,
    token: String,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
    down: watch::Sender<bool>,
    client: reqwest::Client,
}

impl Api {
    /// In front of the server of this kubeconfig, with its token for whoever brings none.
    pub fn before(kubeconfig: &Path) -> Api {
        Api::with(kubeconfig, |_| Act::Pass)
    }

    pub fn with(kubeconfig: &Path, rule: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Api {
        lab();
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        let field = |name: &str| {
            let rest = text.split_once(&format!("{name}: \"")).unwrap().1;
            rest.split_once('"').unwrap().0.to_string()
        };
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).http1_only().no_proxy().build().unwrap();
        let shared = Arc::new(Shared {
            server: field("server"),
            token: field("token"),
            rule: Mutex::new(Arc::new(rule)),
            seen: Mutex::default(),
            down: watch::Sender::new(false),
            client,
        });
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("kubeconfig");
        let namespace = text.split_once("namespace: ").map_or("default", |(_, rest)| rest.split('}').next().unwrap());
        std::fs::write(&own, format!("apiVersion: v1\nkind: Config\nclusters: [{{name: lab, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: lab, context: {{cluster: lab, user: u, namespace: {namespace}}}}}]\ncurrent-context: lab\n")).unwrap();
        let serving = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    // what is measured through here must not wait for acknowledgements that come late
                    stream.set_nodelay(true).unwrap();
                    let shared = serving.clone();
                    tokio::spawn(async move {
                        let _ = shared.connection(stream).await;
                    });
                }
            });
        });
        Api { port, shared, _folder: folder, kubeconfig: own }
    }

    /// Another rule from now on.
    pub fn rule(&self, rule: impl Fn(&Seen) -> Act + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Arc::new(rule);
    }

    /// Cuts every connection and takes no new one, or takes them again.
    pub fn down(&self, down: bool) {
        self.shared.down.send_replace(down);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests changed something so far.
    pub fn changes(&self) -> usize {
        self.seen().iter().filter(|seen| seen.change > 0).count()
    }
}

/// Both directions of a connection.
type Ends<'a> = (&'a mut BufReader<OwnedReadHalf>, &'a mut OwnedWriteHalf);

struct Head {
    first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    async fn read(reader: &mut BufReader<OwnedReadHalf>) -> Option<Head> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" if !lines.is_empty() => break,
                "" => {}
                line => lines.push(line.to_string()),
            }
        }
        let first = lines.remove(0);
        let header = |line: &String| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_string()));
        Some(Head { first, headers: lines.iter().filter_map(header).collect() })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

impl Shared {
    /// Serves requests one after the other until one side has enough, or the whole server is down.
    async fn connection(&self, stream: TcpStream) -> Option<()> {
        let mut down = self.down.subscribe();
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let work = async {
            loop {
                let head = Head::read(&mut reader).await?;
                let mut body = vec![0; head.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)];
                reader.read_exact(&mut body).await.ok()?;
                let (request, index) = self.note(&head, &body);
                let served = self.serve(head, body, (request, index), (&mut reader, &mut writer)).await;
                self.seen.lock().unwrap()[index].open = false;
                served?;
            }
        };
        tokio::select! {
            biased;
            _ = down.wait_for(|down| *down) => None,
            ended = work => ended,
        }
    }

    fn note(&self, head: &Head, body: &[u8]) -> (Seen, usize) {
        let mut words = head.first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let authorization = head.get("authorization").map(str::to_string);
        let mut request = Seen {
            method: method.to_string(),
            path: path.to_string(),
            query: query.to_string(),
            change: 0,
            bytes: body.len(),
            authorization,
            open: true,
        };
        let mut seen = self.seen.lock().unwrap();
        if request.changes() {
            request.change = seen.iter().filter(|seen| seen.change > 0).count() + 1;
        }
        seen.push(request.clone());
        (request, seen.len() - 1)
    }

    async fn serve(&self, head: Head, body: Vec<u8>, (request, index): (Seen, usize), (reader, writer): Ends<'_>) -> Option<()> {
        let rule = self.rule.lock().unwrap().clone();
        let act = rule(&request);
        match &act {
            Act::HangUp => return None,
            Act::Delay(time) => tokio::time::sleep(*time).await,
            Act::Answer(status, headers, body) => {
                let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let text = format!(
                    "HTTP/1.1 {status} Fault\r\ncontent-type: application/json\r\n{lines}content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                return writer.write_all(text.as_bytes()).await.ok();
            }
            _ => {}
        }
        let method = request.method.parse().ok()?;
        let target = head.first.split(' ').nth(1)?;
        let mut forward = self.client.request(method, format!("{}{target}", self.server)).body(body);
        for (name, value) in head.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "host" | "connection" | "content-length")) {
            forward = forward.header(name, value);
        }
        if request.authorization.is_none() {
            forward = forward.header("authorization", format!("Bearer {}", self.token));
        }
        let mut answer = forward.send().await.ok()?;
        let deadline = match &act {
            Act::Swallow(then) => {
                // the server has done it all before anybody is ended
                while answer.chunk().await.ok()?.is_some() {}
                then();
                return None;
            }
            Act::CutAfter(time) => Instant::now() + *time,
            _ => Instant::now() + Duration::from_secs(3600),
        };
        let mut text = format!("HTTP/1.1 {}\r\ntransfer-encoding: chunked\r\n", answer.status());
        for (name, value) in
            answer.headers().iter().filter(|(name, _)| !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection"))
        {
            text += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
        writer.write_all(format!("{text}\r\n").as_bytes()).await.ok()?;
        loop {
            let chunk = tokio::select! {
                chunk = tokio::time::timeout_at(deadline.into(), answer.chunk().map(Result::ok)) => chunk.ok()??,
                // nobody sends a second request before the answer to the first: they hung up
                _ = reader.fill_buf() => return None,
            };
            let Some(chunk) = chunk else { break };
            self.seen.lock().unwrap()[index].bytes += chunk.len();
            writer.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.ok()?;
            writer.write_all(&chunk).await.ok()?;
            writer.write_all(b"\r\n").await.ok()?;
        }
        writer.write_all(b"0\r\n\r\n").await.ok()
    }
}

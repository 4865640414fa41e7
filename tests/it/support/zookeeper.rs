//! A real ZooKeeper (Debian's 3.8) of a test's own: on a free port, in a temporary folder, ended when it is dropped.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{free_port, lab::lab};

pub struct Zookeeper {
    pub port: u16,
    folder: tempfile::TempDir,
    child: Child,
}

impl Zookeeper {
    pub fn start() -> Self {
        Zookeeper::with("", &["Mode: standalone"])
    }

    /// Three that are one: the second and third do as the one that leads says.
    pub fn start_three() -> Vec<Self> {
        let servers = (1..=3).map(|id| format!("server.{id}=127.0.0.1:{}:{}\n", free_port(), free_port())).collect::<String>();
        let settings = format!("initLimit=10\nsyncLimit=5\n{servers}");
        let mut all: Vec<Zookeeper> = (1..=3).map(|id| Zookeeper::begun(id, &settings)).collect();
        all.iter_mut().for_each(|server| server.wait_for(&["Mode: leader", "Mode: follower"]));
        all
    }

    /// Whether the others do as it says.
    pub fn leads(&self) -> bool {
        self.ask().is_some_and(|answer| answer.contains("Mode: leader"))
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// One of two, alone: it has no quorum, and takes no changes.
    pub fn start_read_only() -> Self {
        let servers = (1..=2).map(|id| format!("server.{id}=127.0.0.1:{}:{}\n", free_port(), free_port())).collect::<String>();
        Zookeeper::with(&format!("initLimit=5\nsyncLimit=2\n{servers}"), &["Mode: read-only"])
    }

    fn with(settings: &str, modes: &[&str]) -> Self {
        let mut server = Zookeeper::begun(1, settings);
        server.wait_for(modes);
        server
    }

    fn begun(id: u32, settings: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("myid"), id.to_string()).unwrap();
        let data = data.display();
        let all = format!(
            "tickTime=1000\nmaxSessionTimeout=60000\ndataDir={data}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n{settings}"
        );
        fs::write(folder.path().join("zoo.cfg"), all).unwrap();
        Zookeeper { child: run(folder.path()), port, folder }
    }

    /// As center.url names it.
    pub fn url(&self) -> String {
        format!("zookeeper://127.0.0.1:{}", self.port)
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it and starts it anew with what it has written down.
    pub fn restart(&mut self) {
        self.kill();
        self.child = run(self.folder.path());
        self.wait_for(&["Mode: standalone"]);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait_for(&mut self, modes: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            // Somebody's connection may have had the port for a moment.
            if self.child.try_wait().unwrap().is_some() {
                self.child = run(self.folder.path());
            }
            if self.ask().is_some_and(|answer| modes.iter().any(|mode| answer.contains(mode))) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("ZooKeeper is not up: {}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
    }

    fn ask(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        // A connection to a port that nobody listens at may be one to itself, which hears what it says and nothing more.
        if stream.local_addr().ok()? == stream.peer_addr().ok()? {
            return None;
        }
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(b"srvr").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Zookeeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(folder: &Path) -> Child {
    let jars = ["zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "metrics-core", "snappy-java", "log4j-1.2", "commons-cli"];
    let netty = ["netty-buffer", "netty-codec", "netty-common", "netty-handler", "netty-transport", "netty-resolver"];
    let path = jars.iter().chain(&netty).map(|jar| format!("/usr/share/java/{jar}.jar")).collect::<Vec<_>>().join(":");
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    // it ends with the test's thread, even when nobody is left to end it
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(lab().jdk(17).join("bin/java"));
    command.args(["-Xmx96m", "-Dreadonlymode.enabled=true", "-Dzookeeper.forceSync=no", "-cp", &path]);
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(folder.join("zoo.cfg"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// A client's way to ZooKeeper (or another server of this machine), until it is cut: then nothing gets through any more, and nobody is told.
pub struct Line {
    pub port: u16,
    cut: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

impl Line {
    pub fn before(server: u16) -> Self {
        Line::listening("127.0.0.1", server)
    }

    /// For pods, too, at any address of this machine.
    pub fn for_pods(server: u16) -> Self {
        Line::listening("0.0.0.0", server)
    }

    fn listening(address: &str, server: u16) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let (port, cut, closed) = (listener.local_addr().unwrap().port(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (seen, shut) = (cut.clone(), closed.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let own = client.peer_addr().unwrap().ip() == client.local_addr().unwrap().ip();
                if !own && shut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                for (from, to) in [(&client, &upstream), (&upstream, &client)] {
                    let (from, to, cut) = (from.try_clone().unwrap(), to.try_clone().unwrap(), seen.clone());
                    thread::spawn(move || carry(from, to, &cut));
                }
            }
        });
        Line { port, cut, closed }
    }

    /// As center.url names it.
    pub fn url(&self) -> String {
        format!("zookeeper://127.0.0.1:{}", self.port)
    }

    /// From now on whatever is sent is lost, on connections that are there and on new ones.
    pub fn drop_all(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// From now on nobody but this machine itself gets a connection, or everybody again.
    pub fn close_to_pods(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }

    /// What is sent from now on gets through; what was lost stays lost.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    let mut lossy = false;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        lossy |= cut.load(Ordering::SeqCst);
        // a stream that has lost something is never one again
        if !lossy && to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // the end of a connection is lost, too
    if !cut.load(Ordering::SeqCst) {
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// What stands between a client and ZooKeeper, and cuts the connection at one request.
pub struct Cut {
    pub port: u16,
    requests: Arc<AtomicUsize>,
}

impl Cut {
    /// At request `at` of all connections together (each begins with one of its own); `reached`: the server still gets it, its answer is lost.
    pub fn start(server: u16, at: usize, reached: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = requests.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (mut from, mut to) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                let count = count.clone();
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                thread::spawn(move || pass(client, upstream, &count, at, reached));
            }
        });
        Cut { port, requests }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Passes requests on, each with its length before it; pings do not count.
fn pass(mut client: TcpStream, mut server: TcpStream, count: &AtomicUsize, at: usize, reached: bool) {
    loop {
        let mut length = [0; 4];
        if client.read_exact(&mut length).is_err() {
            let _ = server.shutdown(Shutdown::Both);
            return;
        }
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        if client.read_exact(&mut body).is_err() {
            return;
        }
        let ping = body.len() == 8 && body[..4] == (-2_i32).to_be_bytes();
        let number = if ping { 0 } else { count.fetch_add(1, Ordering::SeqCst) + 1 };
        if number == at {
            // first nobody hears the answer any more, then the request goes out
            let _ = client.shutdown(Shutdown::Both);
            if reached {
                let _ = server.write_all(&[&length[..], &body].concat());
                thread::sleep(Duration::from_millis(100));
            }
            let _ = server.shutdown(Shutdown::Both);
            return;
        }
        if server.write_all(&[&length[..], &body].concat()).is_err() {
            return;
        }
    }
}

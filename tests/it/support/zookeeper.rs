//! A real ZooKeeper (Debian's 3.8) of a test's own: on a free port, in a temporary folder, ended when it is dropped.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
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
        Zookeeper::with("", "Mode: standalone")
    }

    /// One of two, alone: it has no quorum, and takes no changes.
    pub fn start_read_only() -> Self {
        let servers = (1..=2).map(|id| format!("server.{id}=127.0.0.1:{}:{}\n", free_port(), free_port())).collect::<String>();
        Zookeeper::with(&format!("initLimit=5\nsyncLimit=2\n{servers}"), "Mode: read-only")
    }

    fn with(settings: &str, mode: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("myid"), "1").unwrap();
        let data = data.display();
        let all = format!(
            "tickTime=1000\nmaxSessionTimeout=60000\ndataDir={data}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n{settings}"
        );
        fs::write(folder.path().join("zoo.cfg"), all).unwrap();
        let mut server = Zookeeper { child: run(folder.path()), port, folder };
        server.wait_for(mode);
        server
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
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = run(self.folder.path());
        self.wait_for("Mode: standalone");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait_for(&mut self, mode: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            // Somebody's connection may have had the port for a moment.
            if self.child.try_wait().unwrap().is_some() {
                self.child = run(self.folder.path());
            }
            if self.ask().is_some_and(|answer| answer.contains(mode)) {
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

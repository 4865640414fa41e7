//! A PostgreSQL of a test's own, from Debian's package: it is stopped, frozen and killed at will.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{registry::make_certificate, steady_port};

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// One server with an empty database.
pub struct Postgres {
    dir: TempDir,
    pub port: u16,
    tls: bool,
    server: Child,
}

impl Postgres {
    pub fn start() -> Postgres {
        Postgres::begin(false)
    }

    /// One that speaks TLS, too, with a certificate of [`Postgres::ca`].
    pub fn start_with_tls() -> Postgres {
        Postgres::begin(true)
    }

    fn begin(tls: bool) -> Postgres {
        let dir = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().is_root().then(postgres_user);
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let password = dir.path().join("password");
        std::fs::write(&password, "s3cret-word").unwrap();
        if let Some((uid, gid)) = user {
            chown(&password, Some(uid), Some(gid)).unwrap();
        }
        let made = program("initdb", dir.path())
            .args(["--no-sync", "--username=shipway", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--pwfile"])
            .arg(&password)
            .arg("--pgdata")
            .arg(dir.path().join("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = steady_port();
        if tls {
            make_certificate(dir.path());
            if let Some((uid, gid)) = user {
                chown(dir.path().join("server.key"), Some(uid), Some(gid)).unwrap();
            }
        }
        let server = serve(dir.path(), port, tls);
        let mut postgres = Postgres { dir, port, tls, server };
        postgres.wait();
        postgres
    }

    pub fn url(&self) -> String {
        format!("postgres://shipway:s3cret-word@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Without the word that permits clear text.
    pub fn url_with_tls(&self) -> String {
        self.url().replace("?sslmode=disable", "")
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Every process of it at once, as a lost machine ends them.
    pub fn kill(&mut self) {
        let processes = self.processes();
        self.signal_all(Signal::KILL);
        self.server.wait().unwrap();
        // a child that is still on its way out keeps the next server from the shared memory
        let gone = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
        while !processes.iter().all(gone) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    pub fn restart(&mut self) {
        let _ = std::fs::remove_file(self.dir.path().join("data/postmaster.pid"));
        self.server = serve(self.dir.path(), self.port, self.tls);
        self.wait();
    }

    /// The answer of the server to a statement, as `psql` prints it.
    pub fn ask(&self, sql: &str) -> String {
        let mut psql = Command::new(format!("{BIN}/psql"));
        let output = psql.arg(self.url()).args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let ready =
                program("pg_isready", self.dir.path()).args(["--host=127.0.0.1", &format!("--port={}", self.port)]).output().unwrap();
            if ready.status.success() {
                return;
            }
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(self.server.try_wait().unwrap().is_none() && Instant::now() < until, "PostgreSQL does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn processes(&self) -> Vec<i32> {
        let server = i32::try_from(self.server.id()).unwrap();
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        std::iter::once(server).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    fn signal_all(&self, signal: Signal) {
        for pid in self.processes() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal_all(Signal::KILL);
        let _ = self.server.wait();
    }
}

fn serve(dir: &Path, port: u16, tls: bool) -> Child {
    let log = std::fs::File::create(dir.join("log")).unwrap();
    program("postgres", dir)
        .arg("-D")
        .arg(dir.join("data"))
        .args(if tls { &["-c", "ssl=on", "-c", "ssl_cert_file=../server.pem", "-c", "ssl_key_file=../server.key"][..] } else { &[] })
        .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off", "-c", "max_connections=60"])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// PostgreSQL does not run as root: root lets its own user run it.
fn program(name: &str, dir: &Path) -> Command {
    let path = format!("{BIN}/{name}");
    assert!(Path::new(&path).exists(), "{path} is not there: install postgresql-15 (tests/cluster/setup.sh does)");
    let mut command = Command::new(path);
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = postgres_user();
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        std::os::unix::process::CommandExt::gid(&mut command, gid);
    }
    command.current_dir(dir).env("HOME", dir).stdin(Stdio::null());
    command
}

fn postgres_user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("Debian's package makes the user postgres");
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

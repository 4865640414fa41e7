//! A run of the binary as a CI server starts it: only the environment that is given, no terminal, no input.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{self, OpenptFlags};
use rustix::termios::Winsize;
use tempfile::TempDir;

/// How long a run may take before it is ended and the test fails; `mvn` on a cold machine is what takes long.
const LIMIT: Duration = Duration::from_secs(300);

/// A run that is being put together.
pub struct Shipway {
    command: Command,
    output: TempDir,
    limit: Duration,
}

/// A run that goes on.
pub struct Running {
    child: Child,
    output: TempDir,
    begun: Instant,
    limit: Duration,
}

/// A run that ended.
pub struct Finished {
    /// The exit code; 128 + signal when a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    /// The most memory that it had, bytes, as the kernel said shortly before its end.
    pub peak: u64,
}

/// The binary in a folder, with PATH and HOME (for Maven's local repository) and nothing else in its environment.
pub fn shipway(folder: impl AsRef<Path>) -> Shipway {
    // a soak of an hour goes on with the binary that it began with, whatever is built meanwhile
    let mut command = Command::new(std::env::var_os("SHIPWAY_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_shipway").into()));
    command.current_dir(folder).env_clear();
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let output = tempfile::tempdir().unwrap();
    // A cache of its own: what a run asks a registry does not depend on the tests before it.
    command.env("XDG_CACHE_HOME", output.path());
    Shipway { command, output, limit: LIMIT }
}

impl Shipway {
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn envs<'a>(self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        variables.into_iter().fold(self, |run, (name, value)| run.env(name, value))
    }

    /// As another user, where we are root.
    pub fn user(mut self, user: u32) -> Self {
        std::os::unix::process::CommandExt::uid(&mut self.command, user);
        std::os::unix::process::CommandExt::gid(&mut self.command, user);
        self
    }

    /// In a process group of its own: a stopped process can bring SIGHUP upon all of its group.
    pub fn own_group(mut self) -> Self {
        std::os::unix::process::CommandExt::process_group(&mut self.command, 0);
        self
    }

    /// Another limit than five minutes.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub fn spawn(mut self) -> Running {
        let file = |name: &str| File::create(self.output.path().join(name)).unwrap();
        let child = self.command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Running { child, output: self.output, begun: Instant::now(), limit: self.limit }
    }

    pub fn run(self) -> Finished {
        self.spawn().wait()
    }

    /// Runs it on a terminal of this size; gives the exit code and all that was written there.
    pub fn run_on_terminal(mut self, columns: u16, rows: u16) -> (i32, Vec<u8>) {
        let master = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        pty::grantpt(&master).and_then(|()| pty::unlockpt(&master)).unwrap();
        rustix::termios::tcsetwinsize(&master, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(name).unwrap();
        self.command.stdin(Stdio::null()).stdout(terminal.try_clone().unwrap()).stderr(terminal);
        let mut child = self.command.spawn().unwrap();
        // the run alone holds the terminal's other side now: its end is the end of what is read
        drop(self.command);
        let mut written = Vec::new();
        let _ = File::from(master).read_to_end(&mut written);
        (code(child.wait().unwrap()), written)
    }
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, as a CI server cancels a job.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// SIGSTOP: it is there, and does nothing.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// SIGKILL, as a CI server ends a job that did not listen.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// What was printed so far, both channels.
    pub fn printed(&self) -> String {
        read(&self.output, "stdout") + &read(&self.output, "stderr")
    }

    /// Waits until `text` was printed; fails with what was printed instead when the run ends or its limit passes before.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_until(&format!("printing {text:?}"), |printed| printed.contains(text));
    }

    /// Waits for a condition on what was printed, or on the world; `what` names it in the failure.
    pub fn wait_until(&mut self, what: &str, condition: impl Fn(&str) -> bool) {
        while !condition(&self.printed()) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() || condition(&self.printed()), "ended before {what}:\n{}", self.printed());
            self.still_in_time(what);
            pause();
        }
    }

    pub fn wait(mut self) -> Finished {
        let mut peak = 0;
        loop {
            peak = peak.max(self.peak());
            if let Some(status) = self.child.try_wait().unwrap() {
                let (stdout, stderr) = (read(&self.output, "stdout"), read(&self.output, "stderr"));
                return Finished { code: code(status), stdout, stderr, took: self.begun.elapsed(), peak };
            }
            self.still_in_time("ending");
            pause();
        }
    }

    /// 0 when it has ended.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        line.unwrap_or(0) << 10
    }

    fn still_in_time(&mut self, what: &str) {
        if self.begun.elapsed() > self.limit {
            let _ = self.child.kill();
            let _ = self.child.wait();
            panic!("not {what} within {:?}:\n{}", self.limit, self.printed());
        }
    }
}

impl Finished {
    /// Both channels, for messages of failed assertions.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Fails with the whole output unless the exit code is that one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code; it printed:\n{}", self.text());
        self
    }

    /// Fails with the whole output unless it holds each of these.
    #[track_caller]
    pub fn expect_text(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.text().contains(part), "no {part:?} in:\n{}", self.text());
        }
        self
    }
}

/// `report.json` that a run left in a checkout's default report folder.
pub fn report(folder: &Path) -> serde_json::Value {
    let path: PathBuf = folder.join("shipway-report/report.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn read(folder: &TempDir, name: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.path().join(name)).unwrap()).into_owned()
}

/// Short enough that no test waits for it, long enough not to spin.
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

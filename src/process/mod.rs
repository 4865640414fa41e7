//! Child processes: started by argv (never through a shell), with an environment given whole, in a process group of their own that
//! is ended with all its descendants when the limit passes or the future is dropped.

mod attached;
mod command;
mod exchange;
mod lines;
mod log_file;
mod lookup;
mod peer;
mod signals;
mod tree;
mod uptime;

use std::{
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe::Receiver,
    process::Child,
};

pub use attached::{Attached, end_marked};
pub use command::{Custom, run_custom};
pub use exchange::{Answer, exchange};
pub use lines::MAX_LINE;
pub use log_file::LogFile;
pub use lookup::find_program;
pub(crate) use lookup::is_executable;
pub use peer::{OURSELVES, Peer};
pub use rustix::process::Signal;
pub use signals::Signals;
pub use tree::{MARKER, Marker};
pub use uptime::uptime;

use crate::domain::{
    problem::{Code, Problem, Result},
    secret::Secret,
};
use lines::Lines;
use tree::Tree;

/// What to start.
pub struct Command {
    /// Path (relative ones count from `dir`) or name (looked up in `PATH` of `env`).
    pub program: PathBuf,
    pub args: Vec<String>,
    pub dir: PathBuf,
    /// The whole environment of the child; nothing else is inherited (one marker is added, by which the descendants are found).
    pub env: Vec<(String, String)>,
    /// None: no limit.
    pub timeout: Option<Duration>,
    /// All output is written there, too.
    pub log: Option<LogFile>,
    /// What the child reads from its standard input; None: nothing.
    pub input: Option<Secret>,
}

/// How the child ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ended {
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    pub seconds: f64,
    /// The limit passed and the whole process tree was killed.
    pub timed_out: bool,
}

/// Runs a child to its end; `line` sees each line of stdout and stderr (lossy UTF-8, cut at 16 KiB). Dropping the future kills the
/// whole process tree, and so does the child's own end: what it left behind does not outlive the call.
pub async fn run(command: Command, line: &mut (dyn FnMut(&str) + Send)) -> Result<Ended> {
    let timeout = command.timeout;
    let limit = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    run_until(command, line, limit, Duration::ZERO).await
}

/// As [`run`], until `stop` instead of the command's own limit. Then the child alone is told to end, and has `grace` for that before its whole
/// tree is ended.
pub async fn run_until(
    command: Command,
    line: &mut (dyn FnMut(&str) + Send),
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> Result<Ended> {
    let started = Instant::now();
    let mut output = Output::open(command.log.as_ref(), line)?;
    let (mut child, mut pipe, tree) = start(&command)?;
    let status = tokio::select! {
        status = watch(&mut child, &mut pipe, &mut output) => Some(status?),
        () = stop => None,
    };
    let status = match status {
        None if !grace.is_zero() => {
            tell(&child, Signal::TERM);
            tokio::time::timeout(grace, watch(&mut child, &mut pipe, &mut output)).await.ok().transpose()?
        }
        status => status,
    };
    let timed_out = status.is_none();
    if !timed_out {
        // What writes its last words after the child's exit (`> >(tee log)`) gets a moment to do so.
        output.drain(&mut pipe, LAST_WORDS).await?;
    }
    let tree = end(tree).await;
    output.drain(&mut pipe, LAST_WORDS).await?;
    output.finish()?;
    let status = match status {
        Some(status) => Some(status),
        // A process that is stuck in the kernel does not even obey SIGKILL; it is not waited for.
        None => tokio::time::timeout(LAST_WORDS, child.wait()).await.ok().and_then(|status| status.ok()),
    };
    drop(tree);
    Ok(Ended { code: status.map_or(KILLED, exit_code), seconds: started.elapsed().as_secs_f64(), timed_out })
}

/// How long output is waited for once the child has ended; a grandchild may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// 128 + SIGKILL.
const KILLED: i32 = 137;

fn start(command: &Command) -> Result<(Child, Receiver, Tree)> {
    let program = find_program(&command.program, &command.dir, &command.env)?;
    let failed = |error: std::io::Error| Problem::io("start", &program, &error);
    if !command.dir.is_dir() {
        let message = format!("cannot start {} in {}: no such folder", program.display(), command.dir.display());
        return Err(Problem::new(Code::FileUnreadable, message));
    }
    // One pipe for both streams keeps their lines in the order in which they were written.
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let marker = tree::Marker::new();
    let mut builder = tokio::process::Command::new(&program);
    builder.args(&command.args).current_dir(&command.dir).env_clear();
    builder.envs(command.env.iter().map(|(name, value)| (name, value))).env(tree::MARKER, marker.value());
    let input = if command.input.is_some() { Stdio::piped() } else { Stdio::null() };
    builder.stdin(input).stdout(writer.try_clone().map_err(failed)?).stderr(writer).process_group(0);
    let mut child = builder.spawn().map_err(|error| start_problem(&program, &error))?;
    let tree = Tree::new(child.id(), marker);
    if let (Some(text), Some(mut input)) = (command.input.clone(), child.stdin.take()) {
        // a child that does not read it is not waited for
        tokio::spawn(async move { drop(input.write_all(text.expose().as_bytes()).await) });
    }
    let pipe = Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(failed)?;
    Ok((child, pipe, tree))
}

fn start_problem(program: &Path, error: &std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotFound => {
            Problem::new(Code::ProgramMissing, format!("cannot start {}: {error}", program.display()))
                .hint("check that it is executable and that the interpreter in its first line is installed")
        }
        _ => Problem::io("start", program, error),
    }
}

/// Passes output on until the child has ended (not until the pipe is closed: a grandchild may keep it open).
async fn watch(child: &mut Child, pipe: &mut Receiver, output: &mut Output<'_>) -> Result<ExitStatus> {
    let mut open = true;
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(|error| Problem::bug(format!("cannot wait for a child: {error}"))),
            more = output.read(pipe), if open => open = more?,
        }
    }
}

/// Ends the tree away from the runtime's thread, since it waits for the processes to go.
async fn end(mut tree: Tree) -> Option<Tree> {
    tokio::task::spawn_blocking(move || {
        tree.end();
        tree
    })
    .await
    .ok()
}

/// One that has ended already takes no harm.
fn tell(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = kill_process(pid, signal);
    }
}

/// Lets no other process of this user read this one's memory and environment in /proc (root may still): builds run as the same user. There is no
/// core file either.
pub fn hide() {
    // where the kernel has no such switch there is nothing to hide by
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Has this process told to end (SIGTERM) when `parent` ends, which started it. False: that is gone already.
pub fn end_with(parent: u32) -> bool {
    let asked = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    let is_there = rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
    asked.is_ok() && is_there
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// Where a child's output goes: the log file and the caller's line function.
struct Output<'a> {
    log: Option<log_file::Writer>,
    lines: Lines,
    line: &'a mut (dyn FnMut(&str) + Send),
    buffer: Vec<u8>,
}

impl<'a> Output<'a> {
    fn open(log: Option<&LogFile>, line: &'a mut (dyn FnMut(&str) + Send)) -> Result<Self> {
        let log = log.map(LogFile::open).transpose()?;
        Ok(Output { log, lines: Lines::default(), line, buffer: vec![0; 64 * 1024] })
    }

    /// Reads once; false at the end of the stream.
    async fn read(&mut self, pipe: &mut Receiver) -> Result<bool> {
        let count = pipe.read(&mut self.buffer).await.map_err(|error| Problem::bug(format!("cannot read a child's output: {error}")))?;
        let bytes = &self.buffer[..count];
        if let Some(log) = &mut self.log {
            log.write(bytes)?;
        }
        self.lines.feed(bytes, self.line);
        Ok(count > 0)
    }

    /// Reads what is still to come, until the stream ends or `limit` passes.
    async fn drain(&mut self, pipe: &mut Receiver, limit: Duration) -> Result<()> {
        let all = async {
            while self.read(pipe).await? {}
            Ok(())
        };
        tokio::time::timeout(limit, all).await.unwrap_or(Ok(()))
    }

    fn finish(&mut self) -> Result<()> {
        self.lines.finish(self.line);
        self.log.as_mut().map_or(Ok(()), log_file::Writer::flush)
    }
}

//! This program once more, beside us: lines go to its input, lines come from its output, and its end of them closes when it dies.

use std::{ffi::OsString, path::Path, process::Stdio, time::Duration};

use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
};

use super::{exit_code, tell};
use crate::domain::problem::{Problem, Result};

/// The program that runs, whatever became of its file.
pub const OURSELVES: &str = "/proc/self/exe";

/// The other process; it is killed when this is dropped.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts it with these arguments and nothing but this environment; it writes to our standard error.
    pub fn start(args: &[OsString], env: &[(String, String)]) -> Result<Self> {
        let mut builder = tokio::process::Command::new(OURSELVES);
        builder.args(args).env_clear().envs(env.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        builder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = builder.spawn().map_err(|error| Problem::io("start", Path::new(OURSELVES), &error))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Peer { child, input, lines: BufReader::new(output).lines() }),
            _ => Err(Problem::bug("a child was started without its pipes")),
        }
    }

    /// One that is gone is told nothing.
    pub async fn say(&mut self, line: &str) {
        let _ = self.input.write_all(format!("{line}\n").as_bytes()).await;
        let _ = self.input.flush().await;
    }

    /// The next line; None: it has ended, or closed its output.
    pub async fn line(&mut self) -> Option<String> {
        self.lines.next_line().await.ok().flatten()
    }

    pub fn terminate(&self) {
        tell(&self.child, Signal::TERM);
    }

    /// Closes its input and waits for its end; None: it took longer, and was killed.
    pub async fn part(self, limit: Duration) -> Option<i32> {
        let Peer { mut child, input, lines } = self;
        drop(input);
        let ended = tokio::time::timeout(limit, child.wait()).await;
        drop(lines);
        match ended {
            Ok(status) => status.ok().map(exit_code),
            Err(_) => {
                let _ = child.kill().await;
                None
            }
        }
    }
}

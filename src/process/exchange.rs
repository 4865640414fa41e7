//! Programs that are asked one thing and answer it: input on stdin, the answer on stdout.

use std::{process::Stdio, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Command, end, exit_code, find_program, start_problem, tree};
use crate::domain::problem::{Code, Problem, Result};

/// More of an answer is not read, bytes.
const MOST: u64 = 1 << 20;
/// How long output is waited for once the program has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a program answered.
pub struct Answer {
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// May hold a secret: it is neither logged nor shown.
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a program with `input` on its stdin and takes its answer; None when the command's limit passed, and its whole process tree is
/// gone by then. Nothing is logged, as the answer may be a secret (`Command::log` has no effect).
pub async fn exchange(command: &Command, input: &[u8]) -> Result<Option<Answer>> {
    let program = find_program(&command.program, &command.dir, &command.env)?;
    let marker = tree::Marker::new();
    let mut builder = tokio::process::Command::new(&program);
    builder.args(&command.args).current_dir(&command.dir).env_clear();
    builder.envs(command.env.iter().map(|(name, value)| (name, value))).env(tree::MARKER, marker.value());
    builder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = builder.spawn().map_err(|error| start_problem(&program, &error))?;
    let tree = tree::Tree::new(child.id(), marker);
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(Problem::bug("a child was started without its pipes"));
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let talk = async {
        // A program that does not read its input may well answer.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        let reading = futures::future::join(read(stdout, &mut out), read(stderr, &mut err));
        tokio::pin!(reading);
        tokio::select! {
            status = child.wait() => {
                // A grandchild may hold the pipes open for ever.
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
                status
            }
            _ = &mut reading => child.wait().await,
        }
    };
    let status = match command.timeout {
        Some(limit) => tokio::time::timeout(limit, talk).await.ok(),
        None => Some(talk.await),
    };
    end(tree).await;
    let Some(status) = status else { return Ok(None) };
    let status = status.map_err(|error| Problem::new(Code::IoFailed, format!("cannot wait for {}: {error}", program.display())))?;
    Ok(Some(Answer { code: exit_code(status), stdout: out, stderr: err }))
}

async fn read(pipe: impl AsyncRead + Unpin, into: &mut Vec<u8>) {
    let _ = pipe.take(MOST).read_to_end(into).await;
}

//! `build.command`: a build by something other than Maven.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use super::{Command, LogFile, run};
use crate::domain::{
    event::{Event, Events},
    problem::{Code, EvidenceKind, Problem, Result},
    units::format_duration,
};

/// The user's own build.
pub struct Custom {
    /// `build.command`: program and arguments, never read by a shell.
    pub argv: Vec<String>,
    pub dir: PathBuf,
    /// The whole environment that it sees.
    pub env: Vec<(String, String)>,
    /// `build.timeout`.
    pub timeout: Duration,
    /// Whole output goes there.
    pub log: LogFile,
}

/// Last lines that a failed build shows.
const TAIL: usize = 40;

/// Runs the user's own build command; seconds that it took. A failure carries its last lines.
pub async fn run_custom(custom: &Custom, events: &Events) -> Result<f64> {
    let Some((program, args)) = custom.argv.split_first() else {
        return Err(
            Problem::new(Code::SettingInvalid, "build.command is an empty list").hint("name a program: build.command: [make, dist]")
        );
    };
    events.emit(Event::CommandStarted { argv: custom.argv.clone() });
    let command = Command {
        program: PathBuf::from(program),
        args: args.to_vec(),
        dir: custom.dir.clone(),
        env: custom.env.clone(),
        timeout: Some(custom.timeout),
        log: Some(custom.log.clone()),
        input: None,
    };
    let mut tail = VecDeque::new();
    let ended = run(command, &mut |line| {
        events.emit(Event::BuildLine { line: line.to_string() });
        tail.push_back(line.to_string());
        if tail.len() > TAIL {
            tail.pop_front();
        }
    })
    .await
    .map_err(|problem| name_setting(problem, program))?;
    let failure = match (ended.timed_out, ended.code) {
        (true, _) => Problem::new(Code::BuildTimeout, format!("{program} ran past build.timeout ({})", format_duration(custom.timeout))),
        (false, 0) => return Ok(ended.seconds),
        (false, code) => Problem::new(Code::BuildFailed, format!("{program} ended with exit code {code}")),
    };
    let hint = match ended.timed_out {
        true => "raise build.timeout, or find what hangs in its last lines".to_string(),
        false => format!("see its own words in {}", custom.log.path.display()),
    };
    let tail: Vec<String> = tail.into();
    Err(failure.hint(hint).evidence(EvidenceKind::Log, custom.log.name(), tail.join("\n")))
}

fn name_setting(mut problem: Problem, program: &str) -> Problem {
    if problem.code == Code::ProgramMissing {
        problem.message = format!("build.command cannot be started: {}", problem.message);
        problem.hint = format!("install {program}, or correct build.command");
    }
    problem
}

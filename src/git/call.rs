//! One call of the `git` binary: never a prompt, never a word in another language.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    domain::problem::{Code, Problem, Result},
    process::{self, Command},
};

/// A transfer that goes on is slow, not hung: git itself gives up on a stalled one (see [`Config::for_transfer`]).
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Configuration that goes to git by its environment: it is in no argv, in no file, and wins over both.
#[derive(Default)]
pub(super) struct Config(Vec<(String, String)>);

/// What a call said, and how it ended.
pub(super) struct Answer {
    pub code: i32,
    pub lines: Vec<String>,
}

impl Config {
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push((key.into(), value.into()));
    }

    /// Ends a transfer that brings less than 1 kB a second for a minute.
    pub(super) fn for_transfer() -> Self {
        let mut config = Config::default();
        config.set("http.lowSpeedLimit", "1000");
        config.set("http.lowSpeedTime", "60");
        config.set("gc.auto", "0");
        config.set("advice.detachedHead", "false");
        config
    }

    /// `GIT_CONFIG_COUNT` with its pairs, after those that the environment has already (git-config(1)).
    fn add_to(&self, env: &mut Vec<(String, String)>) {
        let count = env.iter().rfind(|(name, _)| name == "GIT_CONFIG_COUNT").and_then(|(_, count)| count.parse().ok()).unwrap_or(0);
        env.retain(|(name, _)| name != "GIT_CONFIG_COUNT");
        for (index, (key, value)) in self.0.iter().enumerate() {
            env.push((format!("GIT_CONFIG_KEY_{}", count + index), key.clone()));
            env.push((format!("GIT_CONFIG_VALUE_{}", count + index), value.clone()));
        }
        env.push(("GIT_CONFIG_COUNT".to_string(), (count + self.0.len()).to_string()));
    }
}

/// Runs git in `dir`; an exit code other than 0 is the caller's to judge.
pub(super) async fn git(dir: &Path, args: &[&str], config: &Config, env: &[(String, String)]) -> Result<Answer> {
    const OURS: &[(&str, &str)] = &[
        ("LC_ALL", "C"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_PAGER", "cat"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        // No transport helpers: `ext::…` in a URL would run a command.
        ("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh"),
    ];
    let mut env: Vec<(String, String)> = env.iter().filter(|(name, _)| !OURS.iter().any(|(ours, _)| ours == name)).cloned().collect();
    env.extend(OURS.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    if !env.iter().any(|(name, _)| name == "GIT_SSH_COMMAND" || name == "GIT_SSH") {
        env.push(("GIT_SSH_COMMAND".to_string(), "ssh -o BatchMode=yes -o ConnectTimeout=20".to_string()));
    }
    config.add_to(&mut env);
    let args = args.iter().map(|arg| arg.to_string()).collect();
    let command =
        Command { program: PathBuf::from("git"), args, dir: dir.to_path_buf(), env, timeout: Some(LIMIT), log: None, input: None };
    let mut lines = Vec::new();
    let ended = process::run(command, &mut |line| {
        if lines.len() < 1000 {
            lines.push(line.to_string());
        }
    })
    .await?;
    if ended.timed_out {
        return Err(Problem::new(Code::CloneFailed, format!("git did not end within {} minutes", LIMIT.as_secs() / 60)));
    }
    Ok(Answer { code: ended.code, lines })
}

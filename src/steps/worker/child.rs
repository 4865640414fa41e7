//! The process that does one build: this program's `run`, in an empty folder, with an environment made of the message and of the worker's
//! own settings.

use std::{
    path::{Path, PathBuf, absolute},
    time::Duration,
};

use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::rooms::{Room, size};
use crate::{
    domain::{
        identity::Asker,
        order::Order,
        problem::{Code, Problem, Result},
        secret::Secret,
        units::format_duration,
    },
    process::{self, Command, OURSELVES},
    report::answer,
    settings::{ASKER, Loaded, WORKER},
};

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Variables that a build is started with; it reads all of them from its standard input.
const OPEN: [&str; 7] = ["HOME", "LANG", "PATH", "TMPDIR", "TZ", "USER", WORKER];
/// Last lines that are kept of a build that leaves no report.
const TAIL: usize = 40;

/// What all builds of a worker have in common.
pub(super) struct Ordered {
    /// The worker's own settings.
    pub env: Vec<(String, String)>,
    pub timeout: Duration,
    /// Bytes.
    pub disk: u64,
    /// Time to come to an end by itself: what is rolled out by half is put back first.
    pub grace: Duration,
}

/// Why a build was told to end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Told {
    TooLong,
    TooLarge,
    /// The claim has passed to another worker, or this one ends.
    NotOurs,
}

/// What makes `run` of a build the same wherever the worker was started: its variables, with paths that do not depend on a folder.
pub(super) fn environment(loaded: &Loaded, dir: &Path) -> Result<Vec<(String, String)>> {
    let whole = |path: &Path| {
        let path = dir.join(path);
        absolute(&path).map(|path| path.display().to_string()).map_err(|error| Problem::io("find", &path, &error))
    };
    let settings = &loaded.settings;
    let mut env = loaded.host.worker_env();
    let mut set = |name: &str, value: String| {
        env.retain(|(other, _)| other.strip_suffix("_FILE").unwrap_or(other) != name.strip_suffix("_FILE").unwrap_or(name));
        env.push((name.to_string(), value));
    };
    if let Some(url) = settings.ledger.url.as_ref().map(|url| url.expose()) {
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        set(
            "SHIPWAY_LEDGER_URL",
            match url.starts_with("postgres") {
                true => url.to_string(),
                false => format!("sqlite:{}", whole(Path::new(path.strip_prefix("//").unwrap_or(path)))?),
            },
        );
    }
    // the rules and the permissions in it bind
    set("SHIPWAY_LEDGER_REQUIRED", "true".to_string());
    if !settings.worker.refs.is_empty() {
        set("SHIPWAY_WORKER_REFS", Value::from(settings.worker.refs.clone()).to_string());
    }
    if let Some(file) = &settings.rules.file {
        set("SHIPWAY_RULES_FILE", whole(file)?);
    }
    set("SHIPWAY_LOG_FORMAT", "json".to_string());
    set("SHIPWAY_LOG_LEVEL", "info".to_string());
    set(WORKER, std::process::id().to_string());
    Ok(env)
}

impl Ordered {
    /// Does the build; None when it was told to end for a reason that is not its own, and did so: then it has no result. `progress` hears of
    /// steps.
    pub async fn run(
        &self,
        order: &Order,
        asker: &Asker,
        room: &Room,
        progress: impl Fn(Value) + Send + Sync,
        not_ours: impl Future<Output = ()> + Send,
    ) -> Result<Option<Value>> {
        let command = self.command(order, asker, room);
        let mut tail = Vec::new();
        let mut line = |line: &str| match answer::step(line) {
            Some(step) => progress(step),
            None => {
                tail.push(line.to_string());
                if tail.len() > TAIL {
                    tail.remove(0);
                }
            }
        };
        let mut told = None;
        let stop = async {
            told = Some(tokio::select! {
                () = not_ours => Told::NotOurs,
                () = sleep(self.timeout) => Told::TooLong,
                () = self.outgrown(room) => Told::TooLarge,
            });
        };
        let ended = process::run_until(command, &mut line, stop, self.grace).await?;
        let report = room.result().filter(|report| told.is_some() || report["exit_code"] == ended.code);
        Ok(match told {
            Some(Told::NotOurs) => report.filter(|_| !ended.timed_out).and_then(|report| answer::came_first(&report)),
            Some(told) => Some(answer::ended(report.as_ref(), &self.limit(told))),
            None => Some(answer::result(report.as_ref(), ended.code, &tail)),
        })
    }

    fn command(&self, order: &Order, asker: &Asker, room: &Room) -> Command {
        let mut env = self.env.clone();
        let text = |path: PathBuf| path.display().to_string();
        env.extend([
            ("TMPDIR".to_string(), text(room.temp())),
            ("SHIPWAY_REPORT_DIR".to_string(), text(room.report())),
            ("SHIPWAY_SOURCE_URL".to_string(), order.url.clone()),
        ]);
        let jvm = (!order.jvm.is_empty()).then(|| Value::from(order.jvm.clone()).to_string());
        for (name, value) in [
            (ASKER, serde_json::to_string(asker).ok()),
            ("SHIPWAY_SOURCE_REF", order.reference.clone()),
            ("SHIPWAY_APP", order.app.clone()),
            ("SHIPWAY_ENVIRONMENT", order.environment.clone()),
            ("SHIPWAY_KUBERNETES_JVM", jvm),
        ] {
            env.extend(value.map(|value| (name.to_string(), value)));
        }
        // what a program is started with can be read by all who run as its user, other builds among them
        let open = env.iter().filter(|(name, _)| OPEN.contains(&name.as_str()) || name.starts_with("LC_")).cloned().collect();
        Command {
            program: PathBuf::from(OURSELVES),
            args: vec!["run".to_string()],
            dir: room.source(),
            env: open,
            timeout: None,
            log: None,
            input: Some(Secret::new(Value::from_iter(env.into_iter().map(|(name, value)| vec![name, value])).to_string())),
        }
    }

    async fn outgrown(&self, room: &Room) {
        loop {
            sleep(LOOK).await;
            let folder = room.path().to_path_buf();
            if tokio::task::spawn_blocking(move || size(&folder)).await.is_ok_and(|size| size > self.disk) {
                return;
            }
        }
    }

    fn limit(&self, told: Told) -> Problem {
        match told {
            Told::TooLarge => Problem::new(Code::OrderTooLarge, format!("the build took more than {} bytes of disk", self.disk))
                .hint("build less, or raise worker.disk"),
            _ => Problem::new(Code::BuildTimeout, format!("the build ran past worker.timeout ({})", format_duration(self.timeout)))
                .hint("find what hangs, or raise worker.timeout"),
        }
    }
}

/// Ends when either of them is cancelled.
pub(super) async fn either(one: &CancellationToken, other: &CancellationToken) {
    tokio::select! {
        () = one.cancelled() => {}
        () = other.cancelled() => {}
    }
}

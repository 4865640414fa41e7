//! The calls of another engine's program, and what comes of them.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Build, Found, Handed, Machine, Other, ground::Ground, save};
use crate::{
    domain::{
        event::{Event, Events},
        problem::{Code, EvidenceKind, Problem, Result},
        units::format_duration,
    },
    image::config::Platform,
    process::{self, Command},
};

/// How long a question to a program may take.
const QUESTION: Duration = Duration::from_secs(20);
/// Last lines that a failed build shows.
const TAIL: usize = 40;
/// Lines of an answer that are kept.
const MOST_LINES: usize = 200;

/// What a program answered.
pub(super) struct Answer {
    code: i32,
    pub lines: Vec<String>,
}

impl Answer {
    pub fn good(&self) -> bool {
        self.code == 0
    }

    /// What is usually the reason.
    pub fn last_line(&self) -> String {
        let last = self.lines.iter().rev().find(|line| !line.trim().is_empty());
        last.map_or_else(|| format!("it ended with exit code {}", self.code), |line| line.trim().to_string())
    }
}

/// The value of a variable that the programs see.
pub(super) fn variable<'a>(machine: &'a Machine, name: &str) -> Option<&'a str> {
    machine.env.iter().rev().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

/// Asks a program something that changes nothing.
pub(super) async fn ask(machine: &Machine, program: &str, args: &[&str], extra: &[(String, String)]) -> Result<Answer> {
    let mut lines = Vec::new();
    let command = Command {
        program: PathBuf::from(program),
        args: args.iter().map(ToString::to_string).collect(),
        dir: machine.dir.clone(),
        env: [machine.env.as_slice(), extra].concat(),
        timeout: Some(QUESTION),
        log: None,
    };
    let ended = process::run(command, &mut |line| {
        if lines.len() < MOST_LINES {
            lines.push(line.to_string());
        }
    })
    .await?;
    if ended.timed_out {
        lines.push(format!("no answer within {}", format_duration(QUESTION)));
    }
    Ok(Answer { code: ended.code, lines })
}

/// One build for one platform.
pub(super) struct Call<'a> {
    pub found: &'a Found,
    pub machine: &'a Machine,
    pub ground: &'a Ground,
    pub build: &'a Build,
    pub platform: Option<&'a Platform>,
    pub events: &'a Events,
    /// Which of several platforms this is.
    pub nth: usize,
}

impl Call<'_> {
    /// Builds, and takes the image over as files.
    pub async fn build(&self) -> Result<Handed> {
        let out = self.build.scratch.join(format!("handed-{}", self.nth));
        match self.found.engine {
            Other::Buildkit => {
                self.run(self.buildkit(&out)).await?;
                Ok(Handed::Layout(out))
            }
            Other::Docker => {
                let id = self.build_with_id(self.docker()).await?;
                let archive = self.build.scratch.join(format!("handed-{}.tar", self.nth));
                self.run(words(&["save", "--output", &shown(&archive), &id])).await?;
                let saved = save::read(&archive, &out);
                fs::remove_file(&archive).map_err(|error| Problem::io("remove", &archive, &error))?;
                self.forget(words(&["image", "rm", &id])).await;
                Ok(Handed::Saved(saved?))
            }
            Other::Buildah => {
                let id = self.build_with_id(self.buildah()).await?;
                self.run(words(&["push", "--quiet", &id, &format!("oci:{}", out.display())])).await?;
                self.forget(words(&["rmi", "--force", &id])).await;
                Ok(Handed::Layout(out))
            }
        }
    }

    fn buildkit(&self, out: &Path) -> Vec<String> {
        let ground = self.ground;
        let folder = ground.dockerfile.parent().unwrap_or(Path::new(".")).display().to_string();
        let name = ground.dockerfile.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut args = words(&["build", "--progress", "plain", "--frontend", "dockerfile.v0"]);
        args.extend(words(&["--local", &format!("context={}", self.build.context.display()), "--local", &format!("dockerfile={folder}")]));
        args.extend(words(&["--opt", &format!("filename={name}")]));
        if let Some(platform) = self.platform {
            args.extend(words(&["--opt", &format!("platform={platform}")]));
        }
        args.extend(self.build.args.iter().flat_map(|(name, value)| words(&["--opt", &format!("build-arg:{name}={value}")])));
        args.extend(self.build.target.iter().flat_map(|target| words(&["--opt", &format!("target={target}")])));
        if let Some(epoch) = self.machine.epoch {
            args.extend(words(&["--opt", &format!("build-arg:SOURCE_DATE_EPOCH={epoch}")]));
        }
        args.extend(words(&["--output", &format!("type=oci,tar=false,dest={}", out.display())]));
        args
    }

    fn docker(&self) -> Vec<String> {
        let mut args = words(&["build", "--pull", "--file", &shown(&self.ground.dockerfile), "--iidfile", &shown(&self.id_file())]);
        // A builder in a container of its own (docker-container) keeps the image to itself otherwise.
        if self.found.buildx {
            args.push("--load".to_string());
        }
        if let Some(platform) = self.platform {
            args.extend(words(&["--platform", &platform.to_string()]));
        }
        args.extend(self.arguments());
        args.push(shown(&self.build.context));
        args
    }

    fn buildah(&self) -> Vec<String> {
        let mut args = words(&["build", "--pull-always", "--file", &shown(&self.ground.dockerfile)]);
        args.extend(words(&["--ignorefile", &shown(&self.ground.ignore_file), "--iidfile", &shown(&self.id_file())]));
        if let Some(folder) = &self.ground.certificates {
            args.extend(words(&["--cert-dir", &shown(folder)]));
        }
        // Other kinds of isolation need namespaces, which most runners do not have.
        if variable(self.machine, "BUILDAH_ISOLATION").is_none() {
            args.extend(words(&["--isolation", "chroot"]));
        }
        if let Some(platform) = self.platform {
            args.extend(words(&["--platform", &platform.to_string()]));
        }
        if let Some(epoch) = self.machine.epoch {
            args.extend(words(&["--timestamp", &epoch.to_string()]));
        }
        args.extend(self.arguments());
        args.push(shown(&self.build.context));
        args
    }

    /// Build arguments and the stage, as docker and buildah are given them.
    fn arguments(&self) -> Vec<String> {
        let given = self.build.args.iter().flat_map(|(name, value)| words(&["--build-arg", &format!("{name}={value}")]));
        given.chain(self.build.target.iter().flat_map(|target| words(&["--target", target]))).collect()
    }

    fn id_file(&self) -> PathBuf {
        self.build.scratch.join(format!("image-id-{}", self.nth))
    }

    async fn build_with_id(&self, args: Vec<String>) -> Result<String> {
        self.run(args).await?;
        let file = self.id_file();
        let id = fs::read_to_string(&file).map_err(|error| Problem::io("read", &file, &error))?;
        Ok(id.trim().to_string())
    }

    /// What the engine keeps of the image is not needed any more; a failure to remove it is no failure of the build.
    async fn forget(&self, args: Vec<String>) {
        let args: Vec<String> = self.found.first.iter().cloned().chain(args).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let _ = ask(self.machine, self.found.engine.program(), &args, &self.env()).await;
    }

    fn env(&self) -> Vec<(String, String)> {
        self.ground.env.iter().chain(&self.found.extra).cloned().collect()
    }

    /// Runs a long call; its lines are seen as they come.
    async fn run(&self, args: Vec<String>) -> Result<()> {
        let program = self.found.engine.program();
        let args: Vec<String> = self.found.first.iter().cloned().chain(args).collect();
        let argv = [program.to_string()].into_iter().chain(args.iter().cloned()).collect();
        self.events.emit(Event::CommandStarted { argv });
        let command = Command {
            program: PathBuf::from(program),
            args,
            dir: self.machine.dir.clone(),
            env: self.machine.env.iter().cloned().chain(self.env()).collect(),
            timeout: Some(self.machine.timeout),
            log: Some(self.machine.log.clone()),
        };
        let mut tail = VecDeque::new();
        let ended = process::run(command, &mut |line| {
            self.events.emit(Event::BuildLine { line: line.to_string() });
            tail.push_back(line.to_string());
            if tail.len() > TAIL {
                tail.pop_front();
            }
        })
        .await?;
        let what = match (ended.timed_out, ended.code) {
            (true, _) => format!("{program} ran past build.timeout ({})", format_duration(self.machine.timeout)),
            (false, 0) => return Ok(()),
            (false, code) => format!("{program} could not build {}: it ended with exit code {code}", self.build.dockerfile.display()),
        };
        let tail: Vec<String> = tail.into();
        Err(Problem::new(Code::EngineFailed, what).evidence(EvidenceKind::Log, program, tail.join("\n")))
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

//! The calls of another engine's program, and what comes of them.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Build, Found, Handed, Machine, Other, ground::Ground, save};
use crate::{
    domain::{
        event::{Event, Events},
        image_source::ImageSource,
        problem::{Code, EvidenceKind, Problem, Result},
        units::format_duration,
    },
    image::{config::Platform, engine::base_names},
    process::{self, Command},
    registry,
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
        input: None,
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
    pub registry: &'a registry::Client,
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
                let name = self.handed_name();
                self.run(self.docker(&name).await?).await?;
                let archive = self.build.scratch.join(format!("handed-{}.tar", self.nth));
                let saved = match self.run(words(&["save", "--output", &shown(&archive), &name])).await {
                    Ok(()) => save::read(&archive, &out),
                    Err(problem) => Err(problem),
                };
                let _ = fs::remove_file(&archive);
                self.forget(words(&["image", "rm", "--no-prune", &name])).await;
                Ok(Handed::Saved(saved?))
            }
            Other::Buildah => {
                let name = self.handed_name();
                self.run(self.buildah(&name).await?).await?;
                let pushed = self.run(words(&["push", "--quiet", &name, &format!("oci:{}", out.display())])).await;
                self.forget(words(&["rmi", &name])).await;
                pushed.map(|()| Handed::Layout(out))
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

    async fn docker(&self, name: &str) -> Result<Vec<String>> {
        let mut args = words(&["build", "--file", &shown(&self.ground.dockerfile), "--tag", name]);
        if !self.stands_on_what_is_only_here(&["image", "inspect", "--format", "{{.Id}}"]).await? {
            args.push("--pull".to_string());
        }
        // A builder in a container of its own (docker-container) keeps the image to itself otherwise.
        if self.found.buildx {
            args.push("--load".to_string());
        }
        if let Some(platform) = self.platform {
            args.extend(words(&["--platform", &platform.to_string()]));
        }
        args.extend(self.arguments());
        args.push(shown(&self.build.context));
        Ok(args)
    }

    async fn buildah(&self, name: &str) -> Result<Vec<String>> {
        let mut args = words(&["build", "--file", &shown(&self.ground.dockerfile), "--tag", name]);
        args.extend(words(&["--ignorefile", &shown(&self.ground.ignore_file)]));
        if !self.stands_on_what_is_only_here(&["inspect", "--type", "image", "--format", "{{.FromImageID}}"]).await? {
            args.push("--pull-always".to_string());
        }
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
        Ok(args)
    }

    /// Whether a base is in no registry that we can see, and the engine has it: an earlier step built it there. Then bases are not pulled
    /// anew, which would fail.
    async fn stands_on_what_is_only_here(&self, question: &[&str]) -> Result<bool> {
        let mut found = false;
        for base in base_names(self.build)? {
            let Ok(ImageSource::Registry(reference)) = base.parse() else { continue };
            let args = [question, &[base.as_str()]].concat();
            if !self.ask(&args).await?.good() {
                continue;
            }
            let seen = tokio::time::timeout(QUESTION, self.registry.head(&reference)).await;
            if !matches!(seen, Ok(Ok(Some(_)))) {
                let name = self.found.engine.name();
                self.events.note(format!("{name} has the base {base}, which no registry shows: bases are not pulled anew"));
                found = true;
            }
        }
        Ok(found)
    }

    /// Build arguments and the stage, as docker and buildah are given them.
    fn arguments(&self) -> Vec<String> {
        let given = self.build.args.iter().flat_map(|(name, value)| words(&["--build-arg", &format!("{name}={value}")]));
        given.chain(self.build.target.iter().flat_map(|target| words(&["--target", target]))).collect()
    }

    /// What the engine keeps of the image is not needed any more; a failure to remove it is no failure of the build.
    async fn forget(&self, args: Vec<String>) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let _ = self.ask(&args).await;
    }

    async fn ask(&self, args: &[&str]) -> Result<Answer> {
        let args: Vec<&str> = self.found.first.iter().map(String::as_str).chain(args.iter().copied()).collect();
        ask(self.machine, self.found.engine.program(), &args, &self.env()).await
    }

    /// A name of this build's own for the image, so that no other build on the engine takes it away; its id may be another's, too.
    fn handed_name(&self) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let scratch = self.build.scratch.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let scratch: String = scratch.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        format!("shipway-handover:{}-{scratch}-{}", since.as_nanos(), self.nth)
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
            input: None,
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

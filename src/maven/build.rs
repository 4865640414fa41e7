//! The order of one build: read, choose, call, and say what came of it.

use std::{
    path::PathBuf,
    time::{Instant, SystemTime},
};

use super::{
    Built, Jdk, Repository, Request, Tools, artifacts,
    failure::{self, Scene},
    invocation::{self, Files, Program, Runtime, Target},
    jdk,
    output::Watch,
    project::Reactor,
    tests_report::{self, TestRun},
};
use crate::{
    domain::{
        event::{Event, Events},
        problem::{Code, EvidenceKind, Problem, Result},
        units::format_duration,
    },
    process::{self, Command, Ended},
};

/// See [`super::build`].
pub(super) async fn build(request: &Request, events: &Events) -> Result<Built> {
    let run = Run::prepare(request, events)?;
    let mut outcome = run.call(&run.program, request).await?;
    if outcome.ended.code != 0 && !outcome.ended.timed_out && run.program.wrapper && !outcome.watch.started {
        outcome = run.without_wrapper(outcome).await?;
    }
    run.judge(outcome).await
}

/// See [`super::tools`].
pub(super) fn tools(request: &Request) -> Result<Tools> {
    let project = Reactor::read(&request.dir, &request.args)?.project();
    let (program, _) = Program::find(request)?;
    let found = jdk::discover(&request.jdk_homes, &request.env, &request.user_home);
    let jdk = jdk::choose(&found, request.jdk, project.java, jdk::java_home(&request.env).as_deref())?;
    Ok(Tools { program: program.path, wrapper: program.wrapper, jdk, found })
}

/// What is known before Maven starts.
struct Run<'a> {
    request: &'a Request,
    events: &'a Events,
    reactor: Reactor,
    program: Program,
    jdk: Jdk,
    found: Vec<Jdk>,
    repository: Option<Repository>,
    files: Files,
    started: Instant,
    /// File times before this are of an earlier build.
    since: SystemTime,
}

/// What one call gave.
struct Outcome {
    ended: Ended,
    watch: Watch,
}

impl<'a> Run<'a> {
    fn prepare(request: &'a Request, events: &'a Events) -> Result<Run<'a>> {
        let reactor = Reactor::read(&request.dir, &request.args)?;
        let (program, word) = Program::find(request)?;
        if let Some(word) = word {
            events.warning(word, "a build that takes another Maven than the project names may differ");
        }
        let project = reactor.project();
        let found = jdk::discover(&request.jdk_homes, &request.env, &request.user_home);
        let current = jdk::java_home(&request.env);
        let jdk = jdk::choose(&found, request.jdk, project.java, current.as_deref())?;
        if request.jdk.is_none() && project.java.is_none() {
            events.note(format!("the pom names no Java level; JDK {} compiles", jdk.version));
        }
        if let (Some(asked), Some(level)) = (request.jdk, project.java)
            && level > asked
        {
            events
                .warning(format!("the pom asks for Java {level}, build.jdk for {asked}"), format!("set build.jdk to {level} or remove it"));
        }
        let repository = request.repository.as_ref().map(invocation::without_userinfo);
        let files = Files::write(request, repository.as_ref(), &reactor, &found)?;
        // File systems keep times in steps of up to a second or two; a fresh file must not look older than the run.
        let since = SystemTime::now() - std::time::Duration::from_secs(1);
        Ok(Run { request, events, reactor, program, jdk, found, repository, files, started: Instant::now(), since })
    }

    async fn call(&self, program: &Program, request: &Request) -> Result<Outcome> {
        let runtime = Runtime::choose(program, &self.jdk, &self.found);
        let version = self.reactor.version(&self.reactor.modules[0]);
        let own_target = self.reactor.project().distribution_management;
        let target = self.repository.as_ref().filter(|_| invocation::deploys(request) && !own_target);
        let target = target.map(|repository| Target { repository, version: version.as_deref() });
        let args = invocation::arguments(request, program, &runtime, &self.jdk, &self.files, target.as_ref());
        let mut argv = vec![program.path.display().to_string()];
        argv.extend(args.iter().cloned());
        self.events.emit(Event::CommandStarted { argv });
        let command = Command {
            program: program.path.clone(),
            args,
            dir: request.dir.clone(),
            env: invocation::environment(request, &runtime, &self.files),
            timeout: Some(request.timeout.saturating_sub(self.started.elapsed())),
            log: Some(request.log.clone()),
            input: None,
        };
        let mut watch = Watch::new(self.events, &request.dir);
        let ended = process::run(command, &mut |line| watch.line(line)).await?;
        Ok(Outcome { ended, watch })
    }

    /// A wrapper that never got as far as Maven (no download, no Java for its own) is no reason to fail where a Maven is installed.
    async fn without_wrapper(&self, outcome: Outcome) -> Result<Outcome> {
        let Ok(installed) = Program::installed(self.request) else { return Ok(outcome) };
        let said = outcome.watch.tail();
        let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason").to_string();
        self.events.warning(
            format!("the Maven wrapper did not start Maven ({said}); {} is used instead", installed.path.display()),
            "let the runner reach the wrapper's distributionUrl, or remove the wrapper",
        );
        self.call(&installed, self.request).await
    }

    async fn judge(&self, outcome: Outcome) -> Result<Built> {
        let tests = self.tests();
        if outcome.ended.timed_out {
            return Err(self.timed_out(&outcome));
        }
        if outcome.ended.code == 0 {
            let deployed = outcome.watch.deployed;
            return self.built(&outcome, &tests, deployed);
        }
        let problem = self.failed(&outcome, &tests);
        if problem.code == Code::VersionExists && self.request.skip_existing_release {
            return self.keep_release(outcome, &tests, problem).await;
        }
        Err(problem)
    }

    /// The release is deployed already and only its image is wanted: what was packaged counts. When Maven stopped before it came
    /// to all modules, packaging is done on its own.
    async fn keep_release(&self, outcome: Outcome, tests: &TestRun, problem: Problem) -> Result<Built> {
        self.events.note(format!("{}; it is not deployed again", problem.message.trim_start_matches("deploy failed: ")));
        let reached = |module: &super::project::Module| outcome.watch.modules.contains(&self.reactor.artifact(module));
        if self.reactor.modules.iter().all(reached) {
            return self.built(&outcome, tests, false);
        }
        let again = Request { goals: Some(vec!["package".to_string()]), ..self.request.clone() };
        let outcome = self.call(&self.program, &again).await?;
        let tests = self.tests();
        match (outcome.ended.timed_out, outcome.ended.code) {
            (true, _) => Err(self.timed_out(&outcome)),
            (false, 0) => self.built(&outcome, &tests, false),
            (false, _) => Err(self.failed(&outcome, &tests)),
        }
    }

    fn built(&self, outcome: &Outcome, tests: &TestRun, deployed: bool) -> Result<Built> {
        self.check_compiler(&outcome.watch)?;
        let artifacts = artifacts::find(&self.request.dir, &self.reactor, &outcome.watch, self.since);
        let version = self.reactor.version(&self.reactor.modules[0]).or_else(|| outcome.watch.version.clone());
        Ok(Built {
            jdk: self.jdk.clone(),
            version: version.unwrap_or_else(|| "unknown".to_string()),
            artifacts,
            deployed,
            seconds: self.started.elapsed().as_secs_f64(),
            summary: summary(outcome.watch.compiled, &self.jdk, tests, self.request.tests, deployed),
        })
    }

    /// A start script may set `JAVA_HOME` once more (`/etc/mavenrc`); then the classes are not what was asked for.
    fn check_compiler(&self, watch: &Watch) -> Result<()> {
        let runtime = Runtime::choose(&self.program, &self.jdk, &self.found);
        let Some(used) = watch.runtime.as_ref().and_then(|home| home.canonicalize().ok()) else { return Ok(()) };
        if used.starts_with(&runtime.home) {
            return Ok(());
        }
        let message = format!("Maven ran on {} instead of JDK {} ({})", used.display(), self.jdk.version, runtime.home.display());
        Err(Problem::new(Code::BuildFailed, message).hint("remove JAVA_HOME from /etc/mavenrc or from the mvnw script"))
    }

    fn failed(&self, outcome: &Outcome, tests: &TestRun) -> Problem {
        let version = self.reactor.version(&self.reactor.modules[0]).or_else(|| outcome.watch.version.clone());
        let log = self.log_name();
        failure::classify(&Scene {
            watch: &outcome.watch,
            tests,
            jdk: &self.jdk,
            version: version.as_deref(),
            repository: self.repository.as_ref(),
            log: &log,
        })
    }

    fn timed_out(&self, outcome: &Outcome) -> Problem {
        let place = match &outcome.watch.goal {
            Some(goal) => format!(" in {}:{} of {}", goal.plugin, goal.goal, goal.module),
            None => String::new(),
        };
        let limit = format_duration(self.request.timeout);
        Problem::new(Code::BuildTimeout, format!("maven ran past build.timeout ({limit}){place}; its whole process tree was ended"))
            .evidence(EvidenceKind::Log, self.log_name(), outcome.watch.tail())
    }

    fn tests(&self) -> TestRun {
        let folders: Vec<PathBuf> = self.reactor.modules.iter().map(|module| self.request.dir.join(&module.dir)).collect();
        tests_report::read(&folders, self.since)
    }

    fn log_name(&self) -> String {
        self.request.log.name()
    }
}

fn summary(compiled: u64, jdk: &Jdk, tests: &TestRun, wanted: bool, deployed: bool) -> String {
    let mut parts = Vec::new();
    parts.push(match compiled {
        0 => format!("nothing to compile, packaged with JDK {}", jdk.version),
        1 => format!("compiled 1 source file with JDK {}", jdk.version),
        count => format!("compiled {count} source files with JDK {}", jdk.version),
    });
    match (wanted, tests.tests) {
        (false, _) => parts.push("tests skipped".to_string()),
        (true, 0) => parts.push("no tests".to_string()),
        (true, 1) => parts.push("1 test".to_string()),
        (true, count) => parts.push(format!("{count} tests")),
    }
    if tests.skipped > 0 {
        parts.push(format!("{} of them skipped", tests.skipped));
    }
    if deployed {
        parts.push("deployed".to_string());
    }
    parts.join(", ")
}

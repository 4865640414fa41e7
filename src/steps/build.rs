//! From source to artifact: one Maven call, or the user's own command.

use std::path::{Path, PathBuf};

use super::run::{Done, Run};
use crate::{
    domain::{
        application::{Application, Form},
        problem::{Code, Problem, Result},
        redact::Redactor,
        secret::Credentials,
        step::Step,
    },
    image, maven,
    plan::Plan,
    process::{self, LogFile},
    settings::Kind,
};

/// What the build made.
pub(super) struct Built {
    /// The artifact that goes into the image; None for a library, or when an own Dockerfile takes what it needs by itself.
    pub application: Option<Application>,
    /// Nothing more is to be done: this is a library.
    pub library: bool,
    /// JDK that compiled, when it was Maven.
    pub jdk: Option<u32>,
}

pub(super) async fn run(run: &Run) -> Result<Built> {
    run.step(Step::Build, async {
        match &run.plan.settings.build.command {
            Some(argv) => by_command(run, argv).await,
            None => by_maven(run).await,
        }
    })
    .await
}

async fn by_maven(run: &Run) -> Result<Done<Built>> {
    let plan = &run.plan;
    if plan.facts.project.is_none() {
        return Err(Problem::new(Code::NoPom, format!("{} holds no pom.xml", plan.facts.dir.display())));
    }
    let built = maven::build(&request(plan, repository(run)?, &run.redactor)?, &run.events).await?;
    let mut candidates = Vec::new();
    for artifact in &built.artifacts {
        candidates.push(Candidate {
            module: artifact.module.clone(),
            id: artifact.artifact_id.clone(),
            application: image::inspect(&artifact.path)?,
        });
    }
    let application = choose(plan, candidates)?;
    let library = plan.is_library() || (application.is_none() && plan.settings.image.dockerfile.is_none());
    let summary = match library {
        true => format!("{}; a library: there is nothing to publish", built.summary),
        false => built.summary.clone(),
    };
    if library {
        run.recorder.record(|draft| draft.not_done(crate::report::NotDone::library()));
    }
    Ok(Done::new(Built { application, library, jdk: Some(built.jdk.version) }, summary))
}

/// The build of a plan.
pub(super) fn request(plan: &Plan, repository: Option<maven::Repository>, redactor: &Redactor) -> Result<maven::Request> {
    let build = &plan.settings.build;
    Ok(maven::Request {
        dir: plan.facts.dir.clone(),
        jdk: build.jdk,
        args: build.args.clone(),
        tests: build.tests,
        goals: build.goals.clone(),
        timeout: build.timeout,
        env: plan.host.maven_env(&build.env),
        user_home: plan.host.maven_home.clone().unwrap_or_else(|| plan.host.temp.join(".m2")),
        jdk_homes: plan.host.java_homes.clone(),
        repository,
        deploy: plan.deploys,
        skip_existing_release: !plan.is_library(),
        log: LogFile::new(plan.report_dir.join("mvn.log"), redactor),
    })
}

fn repository(run: &Run) -> Result<Option<maven::Repository>> {
    let plan = &run.plan;
    let maven = &plan.settings.maven;
    let credentials = match (&maven.username, &maven.password) {
        (Some(username), Some(password)) => Some(Credentials { username: username.clone(), password: password.clone() }),
        (None, None) => None,
        (Some(_), None) if plan.ci.is_fork() => {
            run.events.note("the Maven repository is asked without credentials: a fork's merge request gets no secrets");
            None
        }
        _ => {
            return Err(
                Problem::new(Code::SettingMissing, "only one of maven.username and maven.password is set").hint("set both, or none")
            );
        }
    };
    let text = |url: &Option<crate::settings::Url>| url.as_deref().map(str::to_string);
    let Some(url) = text(&maven.url).or_else(|| text(&maven.mirror)) else { return Ok(None) };
    Ok(Some(maven::Repository { url, snapshots_url: text(&maven.snapshots_url), mirror: text(&maven.mirror), credentials }))
}

async fn by_command(run: &Run, argv: &[String]) -> Result<Done<Built>> {
    let plan = &run.plan;
    let custom = process::Custom {
        argv: argv.to_vec(),
        dir: plan.facts.dir.clone(),
        env: plan.host.maven_env(&plan.settings.build.env),
        timeout: plan.settings.build.timeout,
        log: LogFile::new(plan.report_dir.join("build.log"), &run.redactor),
    };
    let seconds = process::run_custom(&custom, &run.events).await?;
    let application = match &plan.settings.build.artifact {
        Some(artifact) => Some(command_artifact(&plan.facts.dir.join(artifact))?),
        None if plan.settings.image.dockerfile.is_some() || plan.is_library() => None,
        None => return Err(Problem::new(Code::SettingMissing, "build.command is set, but build.artifact does not say what it makes")),
    };
    let application = check_runnable(plan, application)?;
    Ok(Done::new(
        Built { library: plan.is_library(), application, jdk: None },
        format!("{} ended well after {seconds:.1} s", argv.first().map_or("", String::as_str)),
    ))
}

fn command_artifact(path: &Path) -> Result<Application> {
    if !path.is_file() {
        return Err(Problem::new(Code::ArtifactMissing, format!("the build made no {}", path.display()))
            .hint("correct build.artifact or build.command"));
    }
    image::inspect(path)
}

fn check_runnable(plan: &Plan, application: Option<Application>) -> Result<Option<Application>> {
    match application {
        Some(application) if !application.runnable() && plan.settings.image.dockerfile.is_none() => Err(not_runnable(&application)),
        application => Ok(application),
    }
}

/// One module's artifact, looked into.
struct Candidate {
    module: PathBuf,
    id: String,
    application: Application,
}

impl Candidate {
    /// As `build.module` takes it.
    fn name(&self) -> String {
        if self.module.as_os_str().is_empty() { self.id.clone() } else { self.module.display().to_string() }
    }

    fn is_named(&self, module: &str) -> bool {
        self.id == module || self.module == Path::new(module.trim_end_matches('/'))
    }

    fn is_war(&self) -> bool {
        self.application.path.extension().is_some_and(|extension| extension == "war")
    }
}

/// The artifact that is the application: the one that is named, else the only one that runs; None for a library.
fn choose(plan: &Plan, candidates: Vec<Candidate>) -> Result<Option<Application>> {
    if plan.is_library() {
        return Ok(None);
    }
    let own_dockerfile = plan.settings.image.dockerfile.is_some();
    if let Some(module) = &plan.settings.build.module {
        let names: Vec<_> = candidates.iter().map(Candidate::name).collect();
        let named = candidates.into_iter().find(|candidate| candidate.is_named(module)).ok_or_else(|| {
            Problem::new(
                Code::ModuleUnknown,
                format!("build.module {module:?} is not among the modules with an artifact: {}", names.join(", ")),
            )
        })?;
        return check_runnable(plan, Some(named.application));
    }
    let is_service = plan.settings.kind == Some(Kind::Service);
    let (mut running, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| candidate.application.runnable());
    match (running.pop(), running.is_empty()) {
        (Some(only), true) => Ok(Some(only.application)),
        (Some(last), false) => {
            let names: Vec<_> = running.iter().map(Candidate::name).chain([last.name()]).collect();
            Err(Problem::new(Code::ModuleAmbiguous, format!("{} modules make a runnable application: {}", names.len(), names.join(", "))))
        }
        (None, _) if own_dockerfile => Ok(None),
        // A war is meant to run somewhere; a jar without a main class is a library unless the settings say otherwise.
        (None, _) => match others.iter().find(|other| is_service || other.is_war()) {
            Some(other) => Err(not_runnable(&other.application)),
            None if is_service => Err(Problem::new(Code::ArtifactMissing, "kind is service, but the build made no jar or war")),
            None => Ok(None),
        },
    }
}

fn not_runnable(application: &Application) -> Problem {
    let why = match &application.form {
        Form::NotRunnable { why } => why.as_str(),
        _ => "it cannot be started",
    };
    Problem::new(Code::NotRunnable, format!("{} does not start with java -jar: {why}", application.path.display()))
        .hint("add a main class, or bring an own Dockerfile with image.dockerfile; for a library set kind: library")
}

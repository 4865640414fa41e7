//! Maven: reads the project, finds JDKs, runs one `mvn` and says what failed.

mod artifacts;
mod build;
mod failure;
mod invocation;
mod jdk;
mod output;
mod pom;
mod project;
mod tests_report;
mod toolchains;
mod transfer;
mod user_settings;
mod xml;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    domain::{event::Events, problem::Result, secret::Credentials},
    process::LogFile,
};

pub use crate::domain::project::Project;

/// One build.
#[derive(Clone)]
pub struct Request {
    pub dir: PathBuf,
    /// `build.jdk`; None: what the pom asks for.
    pub jdk: Option<u32>,
    pub args: Vec<String>,
    pub tests: bool,
    /// `build.goals`; None: `deploy` when a repository is given and `deploy` is set, else `package`.
    pub goals: Option<Vec<String>>,
    pub timeout: Duration,
    /// The whole environment that Maven sees: clean, made by settings.
    pub env: Vec<(String, String)>,
    /// The user's own Maven home (`~/.m2`): settings.xml and repository.
    pub user_home: PathBuf,
    /// Folders to look for JDKs in, beside the usual places.
    pub jdk_homes: Vec<PathBuf>,
    pub repository: Option<Repository>,
    pub deploy: bool,
    /// A release version that is there already is no failure (services).
    pub skip_existing_release: bool,
    /// Whole output goes there.
    pub log: LogFile,
}

/// The company's Maven repository.
#[derive(Clone)]
pub struct Repository {
    pub url: String,
    pub snapshots_url: Option<String>,
    pub mirror: Option<String>,
    pub credentials: Option<Credentials>,
}

/// A JDK on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jdk {
    pub home: PathBuf,
    /// Feature version: 8, 17, 25.
    pub version: u32,
    /// As its `release` file says: `17.0.15`.
    pub full_version: String,
    pub vendor: String,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct Built {
    /// JDK that compiled.
    pub jdk: Jdk,
    pub version: String,
    /// Main artifacts (jar or war) of all modules, in the reactor's order.
    pub artifacts: Vec<Artifact>,
    pub deployed: bool,
    pub seconds: f64,
    /// In a phrase: `compiled 42 classes with JDK 17, 12 tests`.
    pub summary: String,
}

/// One module's main artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The module's folder relative to the root (empty for the root itself).
    pub module: PathBuf,
    pub artifact_id: String,
    pub path: PathBuf,
}

/// Reads pom.xml at `dir` and those of its modules.
pub fn read(dir: &Path) -> Result<Project> {
    Ok(project::Reactor::read(dir, &[])?.project())
}

/// JDKs of this machine, oldest first: `extra` folders, then `JAVA_HOME` of `env`, the user's toolchains.xml in `user_home`
/// (`~/.m2`), the usual places, and `PATH`.
pub fn find_jdks(extra: &[PathBuf], env: &[(String, String)], user_home: &Path) -> Vec<Jdk> {
    jdk::discover(extra, env, user_home)
}

/// What a build would run with.
#[derive(Debug, Clone)]
pub struct Tools {
    pub program: PathBuf,
    /// It is the project's own wrapper.
    pub wrapper: bool,
    /// JDK that compiles.
    pub jdk: Jdk,
    pub found: Vec<Jdk>,
}

/// Finds what a build would run with; runs nothing.
pub fn tools(request: &Request) -> Result<Tools> {
    build::tools(request)
}

/// Runs the one `mvn` of a run.
pub async fn build(request: &Request, events: &Events) -> Result<Built> {
    build::build(request, events).await
}

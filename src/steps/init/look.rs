//! What a checkout shows of its project: build, Dockerfile, manifests, the CI in use.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    domain::problem::Result,
    domain::project::Project,
    maven,
    plan::Plan,
    settings::{CiKind, Source},
};

/// Folders in which manifests usually lie.
const MANIFESTS: &[&str] = &["k8s", "kubernetes", "deploy", "deployment", "manifests", "kube"];
/// How far down Dockerfiles are looked for.
const DOCKERFILES: &[&str] = &["Dockerfile", "docker/Dockerfile", "src/main/docker/Dockerfile"];

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    pub dir: PathBuf,
    /// Names, each with where it was found.
    pub app: (String, String),
    pub line: (String, String),
    pub namespace: String,
    /// None without a pom.xml.
    pub project: Option<Project>,
    /// Gradle's wrapper or build file is there.
    pub gradle: bool,
    pub dockerfile: Option<String>,
    /// Folders with files of manifests.
    pub manifests: Vec<String>,
    /// The CI servers that have a file here, else the one of the remote; may be empty.
    pub ci: Vec<CiKind>,
    /// `registry.url`, when it is set somewhere.
    pub registry: Option<String>,
    /// Where the documentation is served.
    pub help: Option<String>,
}

/// Looks at the checkout of a plan.
pub fn look(plan: &Plan) -> Result<Scene> {
    let dir = &plan.facts.dir;
    let there = |name: &str| dir.join(name).exists();
    let source = |key: &str| {
        let sourced = plan.sources.iter().rev().find(|sourced| sourced.key == key);
        sourced.map_or_else(String::new, |sourced| match &sourced.source {
            Source::Detected(place) => place.clone(),
            other => other.to_string(),
        })
    };
    Ok(Scene {
        dir: dir.clone(),
        app: (plan.app.clone(), source("app")),
        line: (plan.line.clone(), source("line")),
        namespace: plan.namespace.clone(),
        project: if there("pom.xml") { Some(maven::read(dir)?) } else { None },
        gradle: ["gradlew", "build.gradle", "build.gradle.kts"].iter().any(|name| there(name)),
        dockerfile: DOCKERFILES.iter().find(|name| dir.join(name).is_file()).map(ToString::to_string),
        manifests: MANIFESTS.iter().filter(|name| holds_yaml(&dir.join(name))).map(|name| format!("{name}/")).collect(),
        ci: servers(plan),
        registry: plan.settings.registry.url.clone(),
        help: plan.settings.help.url.as_deref().map(str::to_string),
    })
}

fn holds_yaml(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
}

/// The CI servers in use: those with a pipeline here, else the one that runs us, else the one of the code host.
fn servers(plan: &Plan) -> Vec<CiKind> {
    let there = |names: &[&str]| names.iter().any(|name| plan.facts.dir.join(name).exists());
    let files = [
        (CiKind::Gitlab, &[".gitlab-ci.yml"][..]),
        (CiKind::Drone, &[".drone.yml", ".drone.yaml", ".drone.star", ".drone.jsonnet"]),
        (CiKind::Woodpecker, &[".woodpecker", ".woodpecker.yml", ".woodpecker.yaml"]),
    ];
    let found: Vec<CiKind> = files.into_iter().filter(|(_, names)| there(names)).map(|(ci, _)| ci).collect();
    if !found.is_empty() {
        return found;
    }
    if plan.ci.kind != CiKind::Shell {
        return vec![plan.ci.kind];
    }
    let remote = plan.facts.commit.as_ref().and_then(|commit| commit.remote.as_deref()).unwrap_or_default();
    let host = remote.split_once("://").map_or(remote, |(_, rest)| rest);
    let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest).split(['/', ':']).next().unwrap_or_default();
    if host.contains("gitlab") { vec![CiKind::Gitlab] } else { Vec::new() }
}

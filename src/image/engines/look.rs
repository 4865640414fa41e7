//! Which engine there is: each is asked whether it answers, and what was looked for is told when none does.

use std::path::Path;

use super::{Found, Machine, Other, call};
use crate::{
    domain::problem::{Code, Problem, Result},
    process::find_program,
};

/// The engine that is wanted, else the first that answers: BuildKit where BUILDKIT_HOST names it, a Docker engine, buildah. The error
/// lists what was looked for.
pub async fn find(machine: &Machine, wanted: Option<Other>) -> Result<Found> {
    let order: Vec<Other> = wanted.map_or_else(|| vec![Other::Buildkit, Other::Docker, Other::Buildah], |engine| vec![engine]);
    let mut missing = Vec::new();
    for engine in order {
        match look(machine, engine).await? {
            Ok(found) => return Ok(found),
            Err(why) => missing.push(format!("{}: {why}", engine.name())),
        }
    }
    let message = match wanted {
        Some(engine) => format!("image.engine is {}, and it cannot be used: {}", engine.name(), missing.join("; ")),
        None => format!("no other engine was found: {}", missing.join("; ")),
    };
    Err(Problem::new(Code::EngineMissing, message).hint(
        "start BuildKit and set BUILDKIT_HOST, or give the job docker with DOCKER_HOST, or install buildah; or do in the Maven build or in a base image \
         what the Dockerfile does by commands",
    ))
}

/// The engine, or why it is none.
async fn look(machine: &Machine, engine: Other) -> Result<Result<Found, String>> {
    if engine == Other::Buildkit && call::variable(machine, "BUILDKIT_HOST").is_none() {
        return Ok(Err("BUILDKIT_HOST is not set".to_string()));
    }
    if let Err(problem) = find_program(Path::new(engine.program()), &machine.dir, &machine.env) {
        return Ok(Err(problem.message));
    }
    match engine {
        Other::Buildkit => buildkit(machine).await,
        Other::Docker => docker(machine).await,
        Other::Buildah => buildah(machine).await,
    }
}

async fn buildkit(machine: &Machine) -> Result<Result<Found, String>> {
    let host = call::variable(machine, "BUILDKIT_HOST").unwrap_or_default().to_string();
    let workers = call::ask(machine, "buildctl", &["debug", "workers"], &[]).await?;
    if !workers.good() {
        return Ok(Err(format!("BUILDKIT_HOST={host} does not answer: {}", workers.last_line())));
    }
    let version = call::ask(machine, "buildctl", &["--version"], &[]).await?;
    let version = version.lines.first().and_then(|line| line.split_whitespace().nth(2)).unwrap_or_default().to_string();
    Ok(Ok(Found { engine: Other::Buildkit, words: format!("buildctl {version} at {host}"), first: Vec::new(), extra: Vec::new() }))
}

async fn docker(machine: &Machine) -> Result<Result<Found, String>> {
    let format = "{{.Client.Version}} {{.Server.Version}} {{.Server.Os}}";
    let place = call::variable(machine, "DOCKER_HOST").unwrap_or("its usual socket").to_string();
    let version = call::ask(machine, "docker", &["version", "--format", format], &[]).await?;
    let words: Vec<&str> = version.lines.last().map(|line| line.split_whitespace().collect()).unwrap_or_default();
    match words.as_slice() {
        [client, server, os] if version.good() => {
            if *os != "linux" {
                return Ok(Err(format!("the engine at {place} builds for {os}")));
            }
            let extra = buildkit_of_docker(machine, client).await?;
            Ok(Ok(Found { engine: Other::Docker, words: format!("docker {server} at {place}"), first: Vec::new(), extra }))
        }
        _ => Ok(Err(format!("the program is there, but no engine answers at {place}: {}", version.last_line()))),
    }
}

/// Docker's own BuildKit understands more Dockerfiles than its classic builder: up to version 22 it is part of the program, later it
/// comes with the plugin buildx. Who set DOCKER_BUILDKIT has decided.
async fn buildkit_of_docker(machine: &Machine, client: &str) -> Result<Vec<(String, String)>> {
    if call::variable(machine, "DOCKER_BUILDKIT").is_some() {
        return Ok(Vec::new());
    }
    let major: u32 = client.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default();
    let there = major < 23 || call::ask(machine, "docker", &["buildx", "version"], &[]).await?.good();
    Ok(if there { vec![("DOCKER_BUILDKIT".to_string(), "1".to_string())] } else { Vec::new() })
}

/// Where the storage that is configured cannot be used (overlay inside of a container), files are copied instead.
async fn buildah(machine: &Machine) -> Result<Result<Found, String>> {
    let version = call::ask(machine, "buildah", &["--version"], &[]).await?;
    let version = version.lines.first().and_then(|line| line.split_whitespace().nth(2)).unwrap_or_default().to_string();
    let mut last = String::new();
    for driver in [&[][..], &["--storage-driver", "vfs"][..]] {
        let info = call::ask(machine, "buildah", &[driver, &["info"]].concat(), &[]).await?;
        if info.good() {
            let words =
                if driver.is_empty() { format!("buildah {version}") } else { format!("buildah {version} with the storage driver vfs") };
            let first = driver.iter().map(ToString::to_string).collect();
            return Ok(Ok(Found { engine: Other::Buildah, words, first, extra: Vec::new() }));
        }
        last = info.last_line();
    }
    Ok(Err(format!("the program is there, but its storage cannot be used: {last}")))
}

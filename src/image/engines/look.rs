//! Which engine there is: each is asked whether it answers, and what was looked for is told when none does.

use std::path::Path;

use super::{Found, Machine, Other, call};
use crate::{
    domain::problem::{Code, Problem, Result},
    process::find_program,
};

/// Where the engines listen when nothing names another place.
const BUILDKIT_SOCKET: &str = "/run/buildkit/buildkitd.sock";
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// The engine that is wanted, else the first that answers: BuildKit where BUILDKIT_HOST or its socket names it, a Docker engine, buildah. The error
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
        "start BuildKit and set BUILDKIT_HOST (or have its socket at its usual place), or give the job docker with DOCKER_HOST, or install buildah; or do in the Maven build or in a base image \
         what the Dockerfile does by commands",
    ))
}

/// The engine, or why it is none.
async fn look(machine: &Machine, engine: Other) -> Result<Result<Found, String>> {
    let place = match engine {
        Other::Buildkit => buildkit_place(machine),
        Other::Docker => docker_place(machine),
        Other::Buildah => None,
    };
    if engine == Other::Buildkit && place.is_none() {
        return Ok(Err(format!("BUILDKIT_HOST is not set, and there is no {BUILDKIT_SOCKET}")));
    }
    if let Err(problem) = find_program(Path::new(engine.program()), &machine.dir, &machine.env) {
        let needed = place.map(|place| format!("; the engine at {place} is used by this program, which the job's image has to have"));
        return Ok(Err(format!("{}{}", problem.message, needed.unwrap_or_default())));
    }
    match engine {
        Other::Buildkit => buildkit(machine).await,
        Other::Docker => docker(machine).await,
        Other::Buildah => buildah(machine).await,
    }
}

/// Where BuildKit is: what the variable names, or the socket where buildctl looks by itself.
fn buildkit_place(machine: &Machine) -> Option<String> {
    let named = call::variable(machine, "BUILDKIT_HOST").map(str::to_string);
    named.or_else(|| Path::new(BUILDKIT_SOCKET).exists().then(|| format!("unix://{BUILDKIT_SOCKET}")))
}

/// Where Docker's engine is, as far as it shows without the program.
fn docker_place(machine: &Machine) -> Option<String> {
    let named = call::variable(machine, "DOCKER_HOST").map(str::to_string);
    named.or_else(|| Path::new(DOCKER_SOCKET).exists().then(|| format!("unix://{DOCKER_SOCKET}")))
}

async fn buildkit(machine: &Machine) -> Result<Result<Found, String>> {
    let host = buildkit_place(machine).unwrap_or_default();
    let workers = call::ask(machine, "buildctl", &["debug", "workers"], &[]).await?;
    if !workers.good() {
        return Ok(Err(format!("{host} does not answer: {}", workers.last_line())));
    }
    let version = call::ask(machine, "buildctl", &["--version"], &[]).await?;
    let version = version.lines.first().and_then(|line| line.split_whitespace().nth(2)).unwrap_or_default().to_string();
    Ok(Ok(found(Other::Buildkit, format!("buildctl {version} at {host}"))))
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
            let (extra, buildx) = buildkit_of_docker(machine, client).await?;
            Ok(Ok(Found { extra, buildx, ..found(Other::Docker, format!("docker {server} at {place}")) }))
        }
        _ => Ok(Err(format!("the program is there, but no engine answers at {place}: {}", version.last_line()))),
    }
}

/// Docker's own BuildKit understands more Dockerfiles than its classic builder: up to version 22 it is part of the program, later it
/// comes with the plugin buildx. Who set DOCKER_BUILDKIT has decided. Gives the variables for it, and whether buildx is what builds.
async fn buildkit_of_docker(machine: &Machine, client: &str) -> Result<(Vec<(String, String)>, bool)> {
    let major: u32 = client.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default();
    let set = call::variable(machine, "DOCKER_BUILDKIT");
    // As the program reads it: a Go boolean.
    let off = matches!(set, Some("0" | "f" | "F" | "false" | "False" | "FALSE"));
    let buildx = major >= 23 && !off && call::ask(machine, "docker", &["buildx", "version"], &[]).await?.good();
    let asked = set.is_none() && (major < 23 || buildx);
    Ok((if asked { vec![("DOCKER_BUILDKIT".to_string(), "1".to_string())] } else { Vec::new() }, buildx))
}

/// An engine whose calls need nothing special.
fn found(engine: Other, words: String) -> Found {
    Found { engine, words, first: Vec::new(), extra: Vec::new(), buildx: false }
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
            return Ok(Ok(Found { first, ..found(Other::Buildah, words) }));
        }
        last = info.last_line();
    }
    Ok(Err(format!("the program is there, but its storage cannot be used: {last}")))
}

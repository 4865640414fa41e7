//! Other engines: programs that build what the native engine does not cover. They hand the image over as files, so that it goes out by
//! our own client; its digest, tags, retries and report are the same as ever.

mod adopt;
mod call;
mod ground;
mod look;
mod save;

use std::{path::PathBuf, time::Duration};

pub use self::look::find;
use self::{adopt::Handed, call::Call, ground::Ground};
use super::{Build, Image, config::Platform, engine, wrap};
use crate::{
    domain::{
        event::Events,
        problem::{Problem, Result},
        secret::Secret,
    },
    process::LogFile,
    registry,
};

/// An engine that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    Buildkit,
    Docker,
    Buildah,
}

impl Other {
    pub fn name(self) -> &'static str {
        match self {
            Other::Buildkit => "buildkit",
            Other::Docker => "docker",
            Other::Buildah => "buildah",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Other::Buildkit => "buildctl",
            Other::Docker => "docker",
            Other::Buildah => "buildah",
        }
    }
}

/// What the programs of other engines are started with.
#[derive(Clone)]
pub struct Machine {
    /// Their whole environment; nothing of ours is in it.
    pub env: Vec<(String, String)>,
    /// Folder that they are started in: the checkout.
    pub dir: PathBuf,
    /// A docker `config.json` with the credentials of private bases that docker's own file does not hold; None when there are none.
    pub credentials: Option<Secret>,
    /// PEM file of an authority to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// Registries that may be spoken to by plain http.
    pub insecure: Vec<String>,
    /// Their whole output goes there.
    pub log: LogFile,
    /// How long one build may take.
    pub timeout: Duration,
    /// SOURCE_DATE_EPOCH, when it is set.
    pub epoch: Option<i64>,
}

/// An engine that answers.
#[derive(Debug, Clone)]
pub struct Found {
    pub engine: Other,
    /// With version and place, for the log: `docker 20.10.24 at unix:///var/run/docker.sock`.
    pub words: String,
    /// Arguments that every call of its program begins with.
    first: Vec<String>,
    /// Variables that its calls need beside those of the machine.
    extra: Vec<(String, String)>,
    /// Its `build` is that of buildx, which gives the image to the engine only when told to.
    buildx: bool,
}

/// Builds the image of a Dockerfile by another engine; `build.scratch` holds its files until the image is pushed or written.
pub async fn build(found: &Found, build: &Build, machine: &Machine, registry: &registry::Client, events: &Events) -> Result<Image> {
    std::fs::create_dir_all(&build.scratch).map_err(|error| Problem::io("create", &build.scratch, &error))?;
    let ground = Ground::prepare(build, machine)?;
    // Platforms that nobody asked for are left to the engine: its own is what it can run commands for.
    let platforms: Vec<Option<Platform>> = match engine::wanted_platforms(&build.platforms)? {
        wanted if wanted.is_empty() => vec![None],
        wanted => wanted.into_iter().map(Some).collect(),
    };
    let mut parts = Vec::new();
    for (nth, platform) in platforms.iter().enumerate() {
        let call = Call { found, machine, ground: &ground, build, platform: platform.as_ref(), registry, events, nth };
        let handed: Handed = call.build().await?;
        parts.push(handed.adopt(build, platform.as_ref(), registry, events).await?);
    }
    wrap::image(parts, &build.annotations)
}

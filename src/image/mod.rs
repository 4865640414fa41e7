//! The image engine: takes a Java application apart, stages a build context with its Dockerfile, builds the image from it.

mod archive;
mod arguments;
mod artifact;
mod assemble;
mod base;
mod boot;
mod class_path;
mod config;
mod context;
mod copy;
mod engine;
mod evaluate;
mod facts;
mod jar_writer;
mod layer;
mod layout;
mod manifest;
mod properties;
mod stage;
mod tree;
mod unpack;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    domain::{
        event::{Events, LayerRole},
        problem::Result,
        reference::ImageReference,
    },
    registry,
};

pub use self::facts::facts_of;
pub use crate::domain::application::{Application, Form};

/// What goes into the generated Dockerfile beside the staged files.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub base: ImageReference,
    pub port: u16,
    pub jvm: Vec<String>,
    pub args: Vec<String>,
    /// `USER`: a number or a name, with optional group.
    pub user: String,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// A staged context: a folder that `docker build` takes.
#[derive(Debug, Clone)]
pub struct Staged {
    pub dir: PathBuf,
    pub dockerfile: PathBuf,
    /// Folders of the context, in the order of their COPY.
    pub layers: Vec<StagedLayer>,
}

#[derive(Debug, Clone)]
pub struct StagedLayer {
    /// Relative to the context.
    pub path: PathBuf,
    pub role: LayerRole,
    pub files: usize,
    pub bytes: u64,
}

/// One build of an image by the native engine.
#[derive(Debug, Clone)]
pub struct Build {
    /// The context's folder.
    pub context: PathBuf,
    pub dockerfile: PathBuf,
    /// Roles of COPY sources (relative path → role), for the report.
    pub roles: BTreeMap<PathBuf, LayerRole>,
    /// Seconds since the epoch: `created` of the configuration and its history. Layers do not know it.
    pub created: i64,
    /// `os/arch` list; empty: the base's.
    pub platforms: Vec<String>,
    /// Mirror that stands in front of every FROM name that says no registry of its own (Docker Hub's): `host[:port][/path]`. Tried
    /// with the whole path (`library/…` for official images), then without `library/`.
    pub base_registry: Option<String>,
    /// Folders inside of the context that are not part of it: what this run writes, such as its report.
    pub hidden: Vec<PathBuf>,
    /// Folder for layers while they wait to be pushed.
    pub scratch: PathBuf,
}

/// A built image, ready to be pushed or written as an OCI layout.
#[derive(Debug, Clone)]
pub struct Image {
    pub blobs: Vec<registry::Blob>,
    /// The last one is the image itself (or its index).
    pub manifests: Vec<registry::Manifest>,
    pub base: Option<ImageReference>,
    /// Compressed size of all layers, bytes.
    pub size: u64,
}

/// Looks into a jar or war.
pub fn inspect(path: &Path) -> Result<Application> {
    artifact::inspect(path)
}

/// Stages the context of an application into `dir` (emptied first) and generates its Dockerfile there.
pub fn stage(application: &Application, recipe: &Recipe, dir: &Path) -> Result<Staged> {
    stage::stage(application, recipe, dir)
}

/// Builds the image of a Dockerfile without a daemon; reads the base from its registry. Every instruction but RUN and ONBUILD is
/// covered, in the stages that the last one needs. Packed layers lie in `scratch` until the image is pushed or written. Folders that
/// a base may have of its own (below /usr, /etc, /home …) are not described by our layers, so their owners and links stay.
pub async fn build(build: &Build, registry: &registry::Client, events: &Events) -> Result<Image> {
    let _ = events;
    engine::build(build, registry).await
}

/// Writes an image as an OCI image layout (image-spec, image-layout.md); base layers are fetched.
pub async fn write_layout(image: &Image, name: &ImageReference, dir: &Path, registry: &registry::Client) -> Result<()> {
    layout::write(image, name, dir, registry).await
}

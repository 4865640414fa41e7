//! The image engine: takes a Java application apart, stages a build context with its Dockerfile, builds the image from it.

mod archive;
mod arguments;
mod artifact;
mod assemble;
mod base;
mod base_files;
mod boot;
mod class_path;
mod config;
mod context;
mod copy;
mod engine;
pub mod engines;
mod entries;
mod evaluate;
mod facts;
mod gather;
mod jar_writer;
mod java;
mod layer;
mod layout;
mod manifest;
mod packing;
mod place;
mod properties;
mod rebase;
mod source;
mod stage;
mod transfer;
mod tree;
mod unpack;
mod users;
mod wrap;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use crate::{
    domain::{
        digest::Digest,
        dockerfile::{Dockerfile, Uncovered},
        event::{Events, LayerRole},
        image_source::{ImageSource, LayoutReference},
        problem::{Problem, Result},
        reference::ImageReference,
    },
    registry,
};

pub use self::{
    facts::facts_of,
    java::java_of,
    rebase::{Rebase, Rebased},
    source::Borrowed,
};
pub use crate::domain::application::{Application, Form};

/// What goes into the generated Dockerfile beside the staged files.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub base: ImageSource,
    pub port: u16,
    pub jvm: Vec<String>,
    pub args: Vec<String>,
    /// `USER`: a number or a name, with optional group.
    pub user: String,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// A staged context: a folder that `docker build` takes, once what was borrowed is copied into it.
#[derive(Debug, Clone)]
pub struct Staged {
    pub dir: PathBuf,
    /// Libraries, which are read where they are: copying them would cost more than packing them.
    pub borrowed: Borrowed,
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
    /// Files of the context that lie elsewhere.
    pub borrowed: Borrowed,
    pub dockerfile: PathBuf,
    /// Values for ARGs of the Dockerfile. They stand in the image's history, so they are no place for secrets.
    pub args: BTreeMap<String, String>,
    /// The name of the stage whose image is wanted; None: the last one.
    pub target: Option<String>,
    /// Dockerfile and context are those of [`stage`]: the base need not be looked into, and modes keep nothing of a umask. For a
    /// Dockerfile of the user's own the base's layers are fetched, to know the folders, links and users that are there.
    pub generated: bool,
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
    /// Layers that the target is known to have, by their diff ids: packed only when they are missed after all.
    pub packed: HashMap<Digest, registry::Packed>,
    /// Folder that relative OCI layouts (`FROM oci:path`) count from.
    pub root: PathBuf,
    /// Labels that the configuration gets whatever the Dockerfile says.
    pub labels: BTreeMap<String, String>,
    /// Annotations of manifest and index; OCI images alone have them.
    pub annotations: BTreeMap<String, String>,
}

/// A built image, ready to be pushed or written as an OCI layout.
#[derive(Debug, Clone)]
pub struct Image {
    pub blobs: Vec<registry::Blob>,
    /// The last one is the image itself (or its index).
    pub manifests: Vec<registry::Manifest>,
    pub base: Option<ImageSource>,
    /// Compressed size of all layers, bytes.
    pub size: u64,
}

/// Reads bytes as every kind of document that a registry or layout gives; for fuzzing alone.
#[cfg(any(test, fuzzing))]
pub fn fuzz_document(bytes: &[u8]) {
    documents(bytes);
}

/// Reads a file as a layer of a base, and takes its files out into `scratch`; for fuzzing alone.
#[cfg(any(test, fuzzing))]
pub fn fuzz_layer(path: &Path, scratch: &Path) {
    base_files::layer(path, scratch);
}

/// Reads bytes as a configuration, a manifest and an index, and writes again what was understood.
#[cfg(any(test, fuzzing))]
fn documents(bytes: &[u8]) {
    if let Ok(config) = config::ImageConfig::parse(bytes, "fuzz") {
        let written = wrap::config_bytes(&config).unwrap_or_default();
        assert_eq!(config::ImageConfig::parse(&written, "fuzz").ok().as_ref(), Some(&config), "a configuration is not what it was");
    }
    base::documents(bytes);
}

/// Looks into a jar or war.
pub fn inspect(path: &Path) -> Result<Application> {
    artifact::inspect(path)
}

/// Stages the context of an application into `dir` (emptied first) and generates its Dockerfile there. Libraries stay where they are, see
/// [`Staged::borrowed`].
pub fn stage(application: &Application, recipe: &Recipe, dir: &Path) -> Result<Staged> {
    stage::stage(application, recipe, dir)
}

/// What the native engine does not cover of a build's Dockerfile; None when it can build it. Reads the Dockerfile and nothing else. A
/// base image whose ONBUILD triggers are not covered is known when it is read only: [`build`] then ends with
/// [`crate::domain::problem::Code::DockerfileUnsupported`].
pub fn uncovered(build: &Build) -> Result<Option<Uncovered>> {
    engine::uncovered(build)
}

/// The same of a Dockerfile that was read already; `file` is its name for messages.
pub fn uncovered_in(dockerfile: &Dockerfile, file: &str, args: &BTreeMap<String, String>) -> Result<Option<Uncovered>> {
    engine::uncovered_in(dockerfile, file, &[], args)
}

/// The problem of an instruction that the native engine does not cover.
pub fn not_covered(found: &Uncovered, file: &str) -> Problem {
    arguments::not_covered(found, file)
}

/// The Dockerfile without what follows the stage `target` (image.target), which the error names; all of it without a target.
pub fn until(dockerfile: Dockerfile, target: Option<&str>, file: &str) -> Result<Dockerfile> {
    engine::until(dockerfile, target, file)
}

/// The Dockerfile that an application of this form will get, before there is an artifact to look into.
pub fn expected_dockerfile(form: &Form, recipe: &Recipe) -> Result<String> {
    stage::expected(form, recipe).map(|dockerfile| dockerfile.to_string())
}

/// The names of all images that a Dockerfile begins FROM or copies from.
pub fn base_names(build: &Build) -> Result<Vec<String>> {
    engine::base_names(build)
}

/// Builds the image of a Dockerfile without a daemon; reads the base from its registry. Covers what [`uncovered`] says, in
/// the stages that the last one needs. Packed layers lie in `scratch` until the image is pushed or written. Folders that
/// a base may have of its own (below /usr, /etc, /home …) are not described by our layers, so their owners and links stay.
pub async fn build(build: &Build, registry: &registry::Client, events: &Events) -> Result<Image> {
    engine::build(build, registry, events).await
}

/// Reads an image of an OCI layout as it is: its manifests byte for byte, so that its digest stays. `root` is the folder that a relative
/// path counts from.
pub fn read_layout(reference: &LayoutReference, root: &Path) -> Result<Image> {
    layout::read(reference, root)
}

/// Puts an application's layers on a new base: the layers of the old one have to be the first of the image, and what the application needs of
/// its base (Java, platform, the entry point's program) has to be the same. Nothing is pushed, and no layer is fetched unless the new base
/// does not say of itself what it has.
pub async fn rebase(rebase: &Rebase, registry: &registry::Client) -> Result<Rebased> {
    rebase::rebase(rebase, registry).await
}

/// Writes an image as an OCI image layout (image-spec, image-layout.md); base layers are fetched.
pub async fn write_layout(image: &Image, name: &ImageReference, dir: &Path, registry: &registry::Client) -> Result<()> {
    layout::write(image, name, dir, registry).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Text that is nearly a document: its pieces in any order.
    fn nearly() -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "null",
            "-1",
            "1e99",
            "18446744073709551616",
            "\"",
            "\\u0000",
            "\"config\"",
            "\"layers\"",
            "\"manifests\"",
            "\"digest\"",
            "\"size\"",
            "\"mediaType\"",
            "\"platform\"",
            "\"os\"",
            "\"history\"",
            "\"rootfs\"",
            "\"diff_ids\"",
            "\"Env\"",
            "\"annotations\"",
            "\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
            "\"application/vnd.oci.image.manifest.v1+json\"",
        ]);
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_document_makes_it_panic(text in nearly()) {
            super::documents(text.as_bytes());
        }

        #[test]
        fn configurations_stay_what_they_are(env in proptest::collection::vec("[A-Z=]{0,6}", 0..4), layers in 0usize..3, empty in 0usize..3) {
            let digest = format!("sha256:{}", "a".repeat(64));
            let history: Vec<_> = (0..layers + empty).map(|at| serde_json::json!({"created_by": "x", "empty_layer": at >= layers})).collect();
            let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {"Env": env, "Cmd": null}, "history": history,
                "rootfs": {"type": "layers", "diff_ids": vec![digest; layers]}});
            super::documents(config.to_string().as_bytes());
        }
    }
}

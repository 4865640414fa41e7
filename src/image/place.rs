//! Where the bytes of an image are read from: a repository of a registry, or an OCI layout on disk.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::config::Family;
use crate::{
    domain::{
        digest::Digest,
        image_source::LayoutReference,
        problem::{Code, Problem, Result},
        reference::ImageReference,
    },
    registry::{self, Content, Manifest},
};

/// Registries take manifests of at least 4 MiB (distribution-spec); nobody needs more.
const MAX_MANIFEST: u64 = 4 << 20;
/// The longest configuration that is read, bytes.
const MAX_CONFIG: u64 = 16 << 20;
/// What an index says of an image's name: the specification's annotation holds a tag (or a whole name, as some write it), containerd's
/// the whole name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// One image, to be read.
#[derive(Clone)]
pub(super) enum Place {
    Registry(registry::Client, ImageReference),
    Layout(Layout),
}

impl Place {
    pub async fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        match self {
            Place::Registry(client, reference) => client.manifest(&reference.with_digest(digest)).await,
            Place::Layout(layout) => layout.manifest(digest),
        }
    }

    /// A configuration, verified.
    pub async fn config(&self, digest: &Digest, size: u64) -> Result<Bytes> {
        match self {
            Place::Registry(client, reference) => client.blob(reference, digest, size).await,
            Place::Layout(layout) => layout.config(digest),
        }
    }

    /// Where a layer's bytes are.
    pub fn content(&self, digest: &Digest) -> Content {
        match self {
            Place::Registry(_, reference) => Content::Registry(reference.clone()),
            Place::Layout(layout) => Content::File(layout.blob(digest)),
        }
    }
}

/// An OCI image layout (image-spec, image-layout.md).
#[derive(Clone)]
pub(super) struct Layout {
    dir: PathBuf,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Value>,
}

impl Layout {
    /// Opens a folder that says of itself that it is one.
    pub fn open(dir: &Path) -> Result<Layout> {
        let layout = Layout { dir: dir.to_path_buf() };
        let marker = dir.join("oci-layout");
        let text = fs::read(&marker).map_err(|error| layout.invalid(format!("{} cannot be read: {error}", marker.display())))?;
        let version = serde_json::from_slice::<Value>(&text).ok().and_then(|it| it["imageLayoutVersion"].as_str().map(str::to_string));
        match version {
            Some(version) if version.starts_with("1.") => Ok(layout),
            other => Err(layout.invalid(format!("it is of version {other:?}, and 1.x is known"))),
        }
    }

    /// The manifest or index that a reference means.
    pub fn named(&self, reference: &LayoutReference) -> Result<Manifest> {
        match &reference.digest {
            Some(digest) => self.manifest(digest),
            None => self.find(reference.tag.as_deref()),
        }
    }

    /// The manifest or index that a tag means; without a tag the only one.
    fn find(&self, tag: Option<&str>) -> Result<Manifest> {
        let (name, index) = self.choose(tag)?;
        let text = |key: &str| name[key].as_str().unwrap_or_default().to_string();
        let digest: Digest = text("digest").parse().map_err(|problem: Problem| self.invalid(problem.message))?;
        let mut manifest = self.manifest(&digest)?;
        if manifest.media_type.is_empty() {
            manifest.media_type = text("mediaType");
        }
        match Family::of(&manifest.media_type) {
            Some(_) => Ok(manifest),
            None => {
                Err(self.invalid(format!("entry {index} of its index.json is of the type {:?}, which is no image", manifest.media_type)))
            }
        }
    }

    /// The name that the index gives an image, when it is a whole one.
    pub fn name_of(&self, tag: Option<&str>) -> Option<ImageReference> {
        let (entry, _) = self.choose(tag).ok()?;
        let named = |key: &str| entry["annotations"][key].as_str();
        let full = named(CONTAINERD_NAME).or_else(|| named(REF_NAME).filter(|name| name.contains(['/', ':'])))?;
        full.parse().ok()
    }

    fn choose(&self, tag: Option<&str>) -> Result<(Value, usize)> {
        let path = self.dir.join("index.json");
        let bytes =
            read_capped(&path, MAX_MANIFEST).map_err(|error| self.invalid(format!("{} cannot be read: {error}", path.display())))?;
        let index: Index = serde_json::from_slice(&bytes).map_err(|error| self.invalid(format!("its index.json: {error}")))?;
        let mut entries: Vec<(Value, usize)> = index.manifests.into_iter().zip(0..).collect();
        let tags: Vec<String> = entries.iter().map(|(entry, _)| tag_of(entry).unwrap_or("(no name)").to_string()).collect();
        if let Some(wanted) = tag {
            entries.retain(|(entry, _)| tag_of(entry).is_some_and(|tag| tag == wanted || tag.ends_with(&format!(":{wanted}"))));
        }
        match (entries.pop(), entries.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err(self.invalid(format!("it holds several images: {}", tags.join(", "))).hint(format!(
                "name one of them: oci:{}:{}",
                self.dir.display(),
                tags.first().map_or("TAG", String::as_str)
            ))),
            (None, _) if tags.is_empty() => Err(self.invalid("it holds no image")),
            (None, _) => Err(self.invalid(format!("it has no image {:?}; it holds {}", tag.unwrap_or_default(), tags.join(", ")))),
        }
    }

    pub fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        let bytes = self.read(digest, MAX_MANIFEST)?;
        let body: Value = serde_json::from_slice(&bytes).map_err(|error| self.invalid(format!("the manifest {digest}: {error}")))?;
        let media_type = match body["mediaType"].as_str() {
            Some(said) => said.to_string(),
            // OCI's manifests need not say what they are: what they hold tells.
            None if body["manifests"].is_array() => Family::Oci.index().to_string(),
            None if body["layers"].is_array() => Family::Oci.manifest().to_string(),
            None => String::new(),
        };
        Ok(Manifest { media_type, digest: digest.clone(), bytes })
    }

    /// A configuration, verified.
    pub fn config(&self, digest: &Digest) -> Result<Bytes> {
        self.read(digest, MAX_CONFIG)
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// A blob of any length that has to be there in full; its content is verified by who takes it.
    pub fn check(&self, digest: &Digest, size: u64) -> Result<()> {
        match fs::metadata(self.blob(digest)) {
            Ok(metadata) if metadata.is_file() && metadata.len() == size => Ok(()),
            Ok(metadata) => Err(self.invalid(format!("its blob {digest} has {} bytes instead of {size}", metadata.len()))),
            Err(_) => Err(self.invalid(format!("its blob {digest} is missing"))),
        }
    }

    fn read(&self, digest: &Digest, most: u64) -> Result<Bytes> {
        let path = self.blob(digest);
        let bytes = read_capped(&path, most).map_err(|error| self.invalid(format!("its blob {digest} cannot be read: {error}")))?;
        let found = Digest::from_sha256(&Sha256::digest(&bytes));
        if found != *digest {
            return Err(Problem::new(Code::DigestMismatch, format!("{} should be {digest} and is {found}", path.display()))
                .hint("write the layout again: one of its files was changed"));
        }
        Ok(Bytes::from(bytes))
    }

    fn invalid(&self, why: impl std::fmt::Display) -> Problem {
        Problem::new(Code::LayoutInvalid, format!("the OCI layout {} cannot be used: {why}", self.dir.display()))
    }
}

fn tag_of(entry: &Value) -> Option<&str> {
    let annotation = |key: &str| entry["annotations"][key].as_str();
    annotation(REF_NAME).or_else(|| annotation(CONTAINERD_NAME))
}

fn read_capped(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(std::io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

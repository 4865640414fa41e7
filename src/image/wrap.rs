//! Wraps layers and configurations into manifests, all of one family of media types.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    Image,
    config::{Family, ImageConfig, Packing, Platform},
};
use crate::{
    domain::{
        digest::Digest,
        event::LayerRole,
        image_source::ImageSource,
        problem::{Problem, Result},
        reference::ImageReference,
    },
    registry::{Blob, Content, Manifest},
};

/// What an image stands on: read by a rebase, and by scanners (image-spec, annotations.md).
pub(super) const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
pub(super) const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// One platform's image before it is wrapped.
pub(super) struct Part {
    pub platform: Platform,
    /// Family that the base is of; None from scratch.
    pub family: Option<Family>,
    /// The configuration, byte for byte.
    pub config: Bytes,
    pub layers: Vec<PartLayer>,
    pub base: Option<BaseName>,
    pub annotations: BTreeMap<String, String>,
}

/// A layer in the order of the image.
#[derive(Clone)]
pub(super) struct PartLayer {
    pub digest: Digest,
    /// Packed, bytes.
    pub size: u64,
    pub packing: Packing,
    pub role: LayerRole,
    pub content: Content,
}

impl PartLayer {
    pub fn blob(&self) -> Blob {
        Blob { digest: self.digest.clone(), size: self.size, role: self.role, content: self.content.clone() }
    }
}

/// How a base is recorded.
#[derive(Clone)]
pub(super) struct BaseName {
    /// As the Dockerfile names it, with the digest that was behind it.
    pub name: ImageSource,
    /// The name that others know it by; a layout may have none.
    pub known_as: Option<ImageReference>,
}

/// The image of one platform, or an index of several. Annotations of the whole stand on each manifest, and on the index.
pub(super) fn image(parts: Vec<Part>, annotations: &BTreeMap<String, String>) -> Result<Image> {
    // One base in OCI's family makes the whole image OCI's: only Docker's lacks anything.
    let families = parts.iter().filter_map(|part| part.family);
    let family = families.fold(None, |all, one| if all == Some(Family::Oci) { all } else { Some(one) }).unwrap_or(Family::Oci);
    let zstd = parts.iter().flat_map(|part| &part.layers).any(|layer| layer.packing == Packing::Zstd);
    let family = if zstd { Family::Oci } else { family };
    let mut image = Image { blobs: Vec::new(), manifests: Vec::new(), base: None, size: 0 };
    let mut descriptors = Vec::new();
    for (nth, part) in parts.iter().enumerate() {
        let size = add(&mut image, part, family, annotations)?;
        if nth == 0 {
            image.size = size;
            image.base = part.base.as_ref().map(|base| base.name.clone());
        }
        let manifest = image.manifests.last().ok_or_else(|| Problem::bug("a platform without a manifest"))?;
        descriptors.push(json!({
            "mediaType": manifest.media_type,
            "digest": manifest.digest.as_str(),
            "size": manifest.bytes.len(),
            "platform": part.platform.json(),
        }));
    }
    if descriptors.len() > 1 {
        let mut body = json!({"schemaVersion": 2, "mediaType": family.index(), "manifests": descriptors});
        if family == Family::Oci && !annotations.is_empty() {
            body["annotations"] = json!(annotations);
        }
        image.manifests.push(manifest(family.index(), &body)?);
    }
    let mut seen = HashSet::new();
    image.blobs.retain(|blob| seen.insert(blob.digest.clone()));
    Ok(image)
}

/// Adds one platform's blobs and manifest; the result is the packed size of its layers.
fn add(image: &mut Image, part: &Part, family: Family, common: &BTreeMap<String, String>) -> Result<u64> {
    let layers = part.layers.iter();
    let described: Vec<Value> = layers.map(|layer| descriptor(family.layer(layer.packing), &layer.digest, layer.size)).collect();
    image.blobs.extend(part.layers.iter().map(PartLayer::blob));
    let config = blob_of(part.config.clone());
    let mut body = json!({
        "schemaVersion": 2,
        "mediaType": family.manifest(),
        "config": descriptor(family.config(), &config.digest, config.size),
        "layers": described,
    });
    let annotations = annotations(part, family, common);
    if !annotations.is_empty() {
        body["annotations"] = json!(annotations);
    }
    image.blobs.push(config);
    image.manifests.push(manifest(family.manifest(), &body)?);
    Ok(part.layers.iter().map(|layer| layer.size).sum())
}

/// Docker's family has no annotations of its own, but its readers pass over what they do not know: what a rebase needs stands there.
fn annotations(part: &Part, family: Family, common: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if family == Family::Oci {
        annotations.extend(common.clone());
        annotations.extend(part.annotations.clone());
    }
    if let Some(base) = &part.base {
        annotations.extend(base.name.digest().map(|digest| (BASE_DIGEST.to_string(), digest.as_str().to_string())));
        let name = base.known_as.as_ref().map(|name| ImageReference { digest: None, ..name.clone() });
        annotations.extend(name.map(|name| (BASE_NAME.to_string(), name.to_string())));
    }
    annotations
}

/// A configuration's bytes: keys in the order of the struct, nothing of ours between.
pub(super) fn config_bytes(config: &ImageConfig) -> Result<Bytes> {
    bytes_of(&serde_json::to_value(config).map_err(|error| Problem::bug(format!("a configuration is no JSON: {error}")))?)
}

/// A configuration as a blob in memory.
pub(super) fn blob_of(bytes: Bytes) -> Blob {
    Blob { digest: digest(&bytes), size: bytes.len() as u64, role: LayerRole::Other, content: Content::Bytes(bytes) }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest.as_str(), "size": size})
}

fn manifest(media_type: &str, body: &Value) -> Result<Manifest> {
    let bytes = bytes_of(body)?;
    Ok(Manifest { media_type: media_type.to_string(), digest: digest(&bytes), bytes })
}

fn bytes_of(value: &Value) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Problem::bug(format!("a manifest is no JSON: {error}")))
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes))
}

//! Wraps layers and configurations into manifests, all of one family of media types.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    Build, Image,
    config::{Family, ImageConfig, Packing, timestamp},
    engine::Built,
    layer::Layer,
    tree::Tree,
};
use crate::{
    domain::{
        digest::Digest,
        event::LayerRole,
        problem::{Problem, Result},
    },
    registry::{Blob, Content, Manifest},
};

/// The image of one platform, or an index of several.
pub(super) fn image(built: &[Built], layers: &HashMap<Tree, Layer>, build: &Build) -> Result<Image> {
    // One base in OCI's family makes the whole image OCI's: only Docker's lacks anything.
    let families = built.iter().filter_map(|one| one.base.as_ref().map(|base| base.family));
    let family = families.fold(None, |all, one| if all == Some(Family::Oci) { all } else { Some(one) }).unwrap_or(Family::Oci);
    let mut image = Image { blobs: Vec::new(), manifests: Vec::new(), base: None, size: 0 };
    let mut descriptors = Vec::new();
    for (nth, one) in built.iter().enumerate() {
        let size = add_platform(&mut image, one, family, layers, build.created)?;
        if nth == 0 {
            image.size = size;
            image.base = one.base.as_ref().map(|base| base.name.clone());
        }
        let manifest = image.manifests.last().ok_or_else(|| Problem::bug("a platform without a manifest"))?;
        descriptors.push(json!({
            "mediaType": manifest.media_type,
            "digest": manifest.digest.as_str(),
            "size": manifest.bytes.len(),
            "platform": one.platform.json(),
        }));
    }
    if descriptors.len() > 1 {
        let body = json!({"schemaVersion": 2, "mediaType": family.index(), "manifests": descriptors});
        image.manifests.push(manifest(family.index(), &body)?);
    }
    let mut seen = HashSet::new();
    image.blobs.retain(|blob| seen.insert(blob.digest.clone()));
    Ok(image)
}

/// Adds one platform's blobs and manifest; the result is the compressed size of its layers.
fn add_platform(image: &mut Image, built: &Built, family: Family, layers: &HashMap<Tree, Layer>, created: i64) -> Result<u64> {
    let mut described = Vec::new();
    for layer in built.base.iter().flat_map(|base| &base.layers) {
        described.push(descriptor(family.layer(layer.packing), &layer.digest, layer.size));
        let source = built.base.as_ref().map(|base| base.source.clone());
        let content = source.map(Content::Registry).ok_or_else(|| Problem::bug("a base layer without a base"))?;
        image.blobs.push(Blob { digest: layer.digest.clone(), size: layer.size, role: LayerRole::Base, content });
    }
    let mut config = built.evaluated.config.clone();
    config.created = Some(timestamp(created));
    for (tree, role) in &built.evaluated.layers {
        let layer = layers.get(tree).ok_or_else(|| Problem::bug("a layer was not packed"))?;
        config.rootfs.diff_ids.push(layer.diff_id.clone());
        described.push(descriptor(family.layer(Packing::Gzip), &layer.digest, layer.size));
        image.blobs.push(Blob { digest: layer.digest.clone(), size: layer.size, role: *role, content: Content::File(layer.path.clone()) });
    }
    let size = described.iter().filter_map(|one| one["size"].as_u64()).sum();
    let config = config_blob(&config)?;
    let mut body = json!({
        "schemaVersion": 2,
        "mediaType": family.manifest(),
        "config": descriptor(family.config(), &config.digest, config.size),
        "layers": described,
    });
    // What a rebase needs to know later; Docker's family has no place for it.
    if let (Family::Oci, Some(base)) = (family, &built.base) {
        let digest = base.name.digest.as_ref().map(|digest| digest.as_str().to_string()).unwrap_or_default();
        let name = super::ImageReference { digest: None, ..base.name.clone() }.to_string();
        let annotations = BTreeMap::from([("org.opencontainers.image.base.digest", digest), ("org.opencontainers.image.base.name", name)]);
        body["annotations"] = json!(annotations);
    }
    image.blobs.push(config);
    image.manifests.push(manifest(family.manifest(), &body)?);
    Ok(size)
}

fn config_blob(config: &ImageConfig) -> Result<Blob> {
    let bytes = bytes_of(&serde_json::to_value(config).map_err(|error| Problem::bug(format!("a configuration is no JSON: {error}")))?)?;
    Ok(Blob { digest: digest(&bytes), size: bytes.len() as u64, role: LayerRole::Other, content: Content::Bytes(bytes) })
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

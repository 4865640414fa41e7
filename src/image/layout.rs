//! An image on disk (OCI image-spec, image-layout.md): written, and read back as it is.

use std::{
    collections::HashSet,
    fs,
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    Image,
    config::Family,
    engine::blocking,
    place::{CONTAINERD_NAME, Layout},
    wrap::blob_of,
};
use crate::{
    domain::{
        digest::Digest,
        event::LayerRole,
        image_source::{ImageSource, LayoutReference},
        problem::{Code, Problem, Result},
        reference::ImageReference,
    },
    registry::{Blob, Client, Content, Manifest},
};

/// Blobs that are fetched at the same time.
const FETCHERS: usize = 3;
const BUFFER: usize = 64 << 10;

/// See [`super::write_layout`].
pub(super) async fn write(image: &Image, name: &ImageReference, dir: &Path, registry: &Client) -> Result<()> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|error| Problem::io("create", &blobs, &error))?;
    forget_others(image, &blobs)?;
    let fetching = image.blobs.iter().map(|blob| put(blob, blobs.join(blob.digest.hex()), registry));
    stream::iter(fetching).buffer_unordered(FETCHERS).try_collect::<Vec<()>>().await?;
    for manifest in &image.manifests {
        write_file(&blobs.join(manifest.digest.hex()), &manifest.bytes)?;
    }
    let last = image.manifests.last().ok_or_else(|| Problem::bug("an image without a manifest is written"))?;
    let tag = name.tag.as_deref().unwrap_or("latest");
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": last.media_type,
            "digest": last.digest.as_str(),
            "size": last.bytes.len(),
            // The first is the specification's, and takes a tag; the second is what containerd names the image when it imports it.
            "annotations": {CONTAINERD_NAME: format!("{}:{tag}", name.name()), "org.opencontainers.image.ref.name": tag},
        }],
    });
    write_file(&dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    // Last, so that whoever finds it finds all that it names.
    write_file(&dir.join("index.json"), index.to_string().as_bytes())
}

#[derive(Deserialize)]
struct Body {
    config: Option<Described>,
    #[serde(default)]
    layers: Vec<Described>,
    #[serde(default)]
    manifests: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    digest: Digest,
    size: u64,
}

/// See [`super::read_layout`].
pub(super) fn read(reference: &LayoutReference, root: &Path) -> Result<Image> {
    let layout = Layout::open(&reference.dir(root))?;
    let top = layout.named(reference)?;
    let mut image = Image { blobs: Vec::new(), manifests: Vec::new(), base: None, size: 0 };
    add(&layout, top, &mut image)?;
    let base = image.manifests.first().and_then(base_of);
    let mut seen = HashSet::new();
    image.blobs.retain(|blob| seen.insert(blob.digest.clone()));
    Ok(Image { base, ..image })
}

/// Adds a manifest with its blobs, or an index with its children in front of it.
fn add(layout: &Layout, manifest: Manifest, image: &mut Image) -> Result<()> {
    let unreadable = |error: serde_json::Error| {
        Problem::new(Code::LayoutInvalid, format!("the manifest {} of an OCI layout cannot be read: {error}", manifest.digest))
    };
    let body: Body = serde_json::from_slice(&manifest.bytes).map_err(unreadable)?;
    if is_index(&manifest) {
        for child in &body.manifests {
            let child = layout.manifest(&child.digest)?;
            if is_index(&child) {
                return Err(Problem::new(
                    Code::LayoutInvalid,
                    format!("the index {} of an OCI layout holds another index", manifest.digest),
                ));
            }
            add(layout, child, image)?;
        }
    }
    let first = image.manifests.is_empty();
    for layer in body.layers {
        layout.check(&layer.digest, layer.size)?;
        image.size += if first { layer.size } else { 0 };
        let content = Content::File(layout.blob(&layer.digest));
        image.blobs.push(Blob { digest: layer.digest, size: layer.size, role: LayerRole::Other, content });
    }
    if let Some(config) = body.config {
        image.blobs.push(blob_of(layout.config(&config.digest)?));
    }
    image.manifests.push(manifest);
    Ok(())
}

fn is_index(manifest: &Manifest) -> bool {
    Family::of(&manifest.media_type).is_some_and(|family| family.index() == manifest.media_type)
}

fn base_of(manifest: &Manifest) -> Option<ImageSource> {
    let body: serde_json::Value = serde_json::from_slice(&manifest.bytes).ok()?;
    let name: ImageReference = body["annotations"][super::wrap::BASE_NAME].as_str()?.parse().ok()?;
    let digest = body["annotations"][super::wrap::BASE_DIGEST].as_str().and_then(|digest| digest.parse().ok());
    Some(ImageSource::Registry(ImageReference { digest, ..name }))
}

/// Brings a blob into a file, unless it is there already.
pub(super) async fn put(blob: &Blob, to: PathBuf, registry: &Client) -> Result<()> {
    if holds(&to, blob) {
        return Ok(());
    }
    match &blob.content {
        Content::Bytes(bytes) => write_file(&to, bytes),
        Content::File(from) => fs::copy(from, &to).map(|_| ()).map_err(|error| Problem::io("write", &to, &error)),
        Content::Made(maker) => {
            let maker = maker.clone();
            blocking(move || {
                let failed = |error: std::io::Error| Problem::io("write", &to, &error);
                let mut file = BufWriter::with_capacity(BUFFER, fs::File::create(&to).map_err(failed)?);
                maker.write(&mut file)?;
                file.flush().map_err(failed)
            })
            .await
        }
        Content::Registry(source) => registry.blob_to_file(source, &blob.digest, blob.size, &to).await,
    }
}

/// Whether the blob is there already, of an earlier run.
fn holds(path: &Path, blob: &Blob) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == blob.size)
        && digest_of(path).is_ok_and(|digest| digest == blob.digest)
}

fn digest_of(path: &Path) -> std::io::Result<Digest> {
    let (mut file, mut hash, mut buffer) = (fs::File::open(path)?, Sha256::new(), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_sha256(&hash.finalize())),
            got => hash.update(&buffer[..got]),
        }
    }
}

/// A layout of an earlier run gives way; what both images have stays.
fn forget_others(image: &Image, blobs: &Path) -> Result<()> {
    let keep: HashSet<&str> = image.blobs.iter().map(|blob| blob.digest.hex()).collect();
    for entry in fs::read_dir(blobs).map_err(|error| Problem::io("read", blobs, &error))? {
        let path = entry.map_err(|error| Problem::io("read", blobs, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let blob = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if blob && !keep.contains(name) {
            fs::remove_file(&path).map_err(|error| Problem::io("remove", &path, &error))?;
        }
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Problem::io("write", path, &error))
}

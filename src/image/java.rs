//! Which Java an image has: said by its configuration, else found in its layers.

use std::{collections::HashMap, io::Read, path::Path};

use serde_json::Value;

use super::{
    Image,
    config::{ImageConfig, Packing},
    engine::blocking,
    entries::{Archive, Entry},
    wrap::PartLayer,
};
use crate::{
    domain::{
        application::ImageFacts,
        event::LayerRole,
        java::JavaVersion,
        problem::{Problem, Result},
    },
    registry::{Blob, Client, Content},
};

/// A JDK's own description; longer ones are none, bytes.
const MAX_RELEASE: u64 = 64 << 10;
/// Layers above this are not looked into, bytes: a warning is not worth their transfer.
const MAX_LAYER: u64 = 400 << 20;

/// The Java of a built image: `JAVA_VERSION` of its environment, else what the folder in `JAVA_HOME` is called, else the file `release` of
/// a JDK in the base's layers, which are fetched for it into `scratch`. None when nothing tells.
pub async fn java_of(image: &Image, facts: &ImageFacts, client: &Client, scratch: &Path) -> Result<Option<u32>> {
    if let Some(known) = said(facts.java_version.as_deref(), facts.java_home.as_deref()) {
        return Ok(Some(known));
    }
    let first = image.manifests.first().map(|manifest| packings(&manifest.bytes)).unwrap_or_default();
    let base = image.blobs.iter().filter(|blob| blob.role == LayerRole::Base);
    release_of(base.filter_map(|blob| Some((blob.clone(), *first.get(blob.digest.as_str())?))).collect(), client, scratch).await
}

/// The Java in a base's layers.
pub(super) async fn in_layers(layers: &[PartLayer], client: &Client, scratch: &Path) -> Result<Option<u32>> {
    release_of(layers.iter().map(|layer| (layer.blob(), layer.packing)).collect(), client, scratch).await
}

/// The last layers are looked into first: a base puts its Java on top of its system.
async fn release_of(layers: Vec<(Blob, Packing)>, client: &Client, scratch: &Path) -> Result<Option<u32>> {
    for (blob, packing) in layers.into_iter().rev() {
        let found = look(&blob, packing, client, scratch, release).await?;
        if let Some(version) = found.as_deref().and_then(JavaVersion::parse) {
            return Ok(Some(version.feature));
        }
    }
    Ok(None)
}

/// Feature release by what an environment says.
pub(super) fn said(java_version: Option<&str>, java_home: Option<&str>) -> Option<u32> {
    java_version.and_then(JavaVersion::parse).map(|version| version.feature).or_else(|| JavaVersion::of_home(java_home?))
}

/// By the environment of a configuration.
pub(super) fn said_by(config: &ImageConfig) -> Option<u32> {
    said(config.env("JAVA_VERSION"), config.env("JAVA_HOME"))
}

/// How the layers of a manifest are packed, by their digests.
fn packings(manifest: &[u8]) -> HashMap<String, Packing> {
    let body: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let layers = body["layers"].as_array().into_iter().flatten();
    layers.filter_map(|layer| Some((layer["digest"].as_str()?.to_string(), Packing::of(layer["mediaType"].as_str()?)?))).collect()
}

/// The entries of a layer, one after the other, until one gives an answer. Layers that are too large give none.
async fn look<T: Send + 'static>(
    blob: &Blob,
    packing: Packing,
    client: &Client,
    scratch: &Path,
    mut see: impl FnMut(&mut Entry<'_>) -> Option<T> + Send + 'static,
) -> Result<Option<T>> {
    if blob.size > MAX_LAYER {
        return Ok(None);
    }
    let fetched = tempfile::Builder::new().prefix("look-").tempdir_in(scratch).map_err(|error| Problem::io("write", scratch, &error))?;
    let path = match &blob.content {
        Content::File(path) => path.clone(),
        Content::Registry(source) => {
            let path = fetched.path().join("layer");
            client.blob_to_file(source, &blob.digest, blob.size, &path).await?;
            path
        }
        Content::Bytes(_) | Content::Made(_) => return Ok(None),
    };
    blocking(move || {
        let mut archive = Archive::open(&path, packing)?;
        // A layer that cannot be read says nothing here; whoever needs its files will tell.
        let Ok(entries) = archive.entries() else { return Ok(None) };
        Ok(entries.map_while(std::io::Result::ok).find_map(|mut entry| see(&mut entry)))
    })
    .await
}

/// `JAVA_VERSION` of a JDK's file `release`.
fn release<R: Read>(entry: &mut tar::Entry<'_, R>) -> Option<String> {
    if !entry.path().ok()?.ends_with("release") || entry.size() > MAX_RELEASE || !entry.header().entry_type().is_file() {
        return None;
    }
    let mut text = String::new();
    entry.take(MAX_RELEASE).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=")).map(|value| value.trim_matches('"').to_string())
}

/// Whether any of these paths (without a leading slash) is a file or link in the layers, the last layers first.
pub(super) async fn any_is_there(paths: &[String], layers: &[PartLayer], client: &Client, scratch: &Path) -> Result<bool> {
    for layer in layers.iter().rev() {
        let paths = paths.to_vec();
        let see = move |entry: &mut Entry<'_>| {
            let path = entry.path().ok()?.to_string_lossy().trim_start_matches("./").trim_end_matches('/').to_string();
            (!entry.header().entry_type().is_dir() && paths.contains(&path)).then_some(())
        };
        if look(&layer.blob(), layer.packing, client, scratch, see).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_tells_first() {
        assert_eq!(said(Some("jdk-17.0.15+6"), Some("/opt/zulu21")), Some(17));
        assert_eq!(said(None, Some("/usr/lib/jvm/java-21-amazon-corretto")), Some(21));
        assert_eq!(said(None, Some("/opt/java/openjdk")), None);
    }

    #[test]
    fn the_release_file_of_a_jdk_is_found() {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in [("etc/os-release", "VERSION=12\n"), ("usr/lib/jvm/x/release", "IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"21.0.4\"\n")]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let bytes = tar.into_inner().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found = archive.entries().unwrap().find_map(|entry| release(&mut entry.unwrap()));
        assert_eq!(found.as_deref(), Some("21.0.4"));
    }
}

//! From the files that another engine handed over to an image of ours: its configuration byte for byte (but for labels that are set), its
//! layers packed, and those of the base as their registry has them, so that they are mounted and not sent.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Build, save::Saved};
use crate::{
    domain::{
        digest::Digest,
        event::{Events, LayerRole},
        image_source::LayoutReference,
        problem::{Code, Problem, Result},
    },
    image::{
        base::{Base, Bases},
        config::{ImageConfig, Packing, Platform},
        engine, layer,
        wrap::{Part, PartLayer},
    },
    registry,
};

/// An image as an engine gave it.
pub(super) enum Handed {
    /// The folder of an OCI layout.
    Layout(PathBuf),
    Saved(Saved),
}

/// Configuration and layers, each with what it is when unpacked.
struct Taken {
    config: Bytes,
    layers: Vec<PartLayer>,
}

impl Handed {
    pub async fn adopt(self, build: &Build, platform: Option<&Platform>, registry: &registry::Client, events: &Events) -> Result<Part> {
        let mut bases = Bases::new(registry, build.base_registry.as_deref(), &build.root);
        let config = self.config(&mut bases).await?;
        let parsed = ImageConfig::parse(&config, "what the engine built")?;
        let base = match engine::final_base(build, platform)? {
            Some(name) => standing_on(&mut bases, &name, &parsed, events).await,
            None => None,
        };
        let taken = self.take(base.as_ref(), &parsed, &mut bases, build, config).await?;
        Ok(Part {
            platform: parsed.platform(),
            family: base.as_ref().map(|base| base.family),
            config: labelled(taken.config, &build.labels)?,
            layers: taken.layers,
            base: base.as_ref().map(Base::recorded),
            annotations: BTreeMap::new(),
        })
    }

    async fn config(&self, bases: &mut Bases<'_>) -> Result<Bytes> {
        match self {
            Handed::Saved(saved) => Ok(saved.config.clone()),
            Handed::Layout(dir) => Ok(layout_of(dir, bases).await?.raw_config),
        }
    }

    async fn take(self, base: Option<&Base>, parsed: &ImageConfig, bases: &mut Bases<'_>, build: &Build, config: Bytes) -> Result<Taken> {
        let mut layers: Vec<PartLayer> = base.iter().flat_map(|base| base.parts()).collect();
        let from = layers.len();
        match self {
            Handed::Layout(dir) => {
                let image = layout_of(&dir, bases).await?;
                layers.extend(image.parts().into_iter().skip(from).map(|part| PartLayer { role: LayerRole::Other, ..part }));
            }
            Handed::Saved(saved) => {
                for (path, diff_id) in saved.layers.iter().zip(&parsed.rootfs.diff_ids).skip(from) {
                    layers.push(packed(path, diff_id, &build.scratch).await?);
                }
            }
        }
        if layers.len() != parsed.rootfs.diff_ids.len() {
            let (has, says) = (layers.len(), parsed.rootfs.diff_ids.len());
            return Err(Problem::new(
                Code::EngineFailed,
                format!("the engine gave {has} layers, and the image's configuration names {says}"),
            ));
        }
        Ok(Taken { config, layers })
    }
}

async fn layout_of(dir: &Path, bases: &mut Bases<'_>) -> Result<Base> {
    let name = LayoutReference { path: dir.to_path_buf(), tag: None, digest: None }.to_string();
    let platforms = bases.all_platforms(&name).await?;
    match platforms.as_slice() {
        [only] => bases.load(&name, only).await,
        several => Err(Problem::new(Code::EngineFailed, format!("the engine gave {} images instead of one", several.len()))),
    }
}

/// The base as its registry has it, when the image stands on just that one. An engine that had an older one at hand built on that: then
/// all layers are the engine's.
async fn standing_on(bases: &mut Bases<'_>, name: &str, image: &ImageConfig, events: &Events) -> Option<Base> {
    match bases.load(name, &image.platform()).await {
        Ok(base) if image.rootfs.diff_ids.starts_with(&base.config.rootfs.diff_ids) => Some(base),
        Ok(_) => {
            events.note(format!("the engine built on another {name} than its registry has now: all layers are taken from the engine"));
            None
        }
        Err(problem) => {
            events.note(format!("the layers of {name} are taken from the engine: {problem}"));
            None
        }
    }
}

/// A layer of `docker save`, packed by our encoder.
async fn packed(path: &Path, diff_id: &Digest, scratch: &Path) -> Result<PartLayer> {
    let (path, scratch, expected) = (path.to_path_buf(), scratch.to_path_buf(), diff_id.clone());
    let layer = engine::blocking(move || {
        let gzip = is_gzip(&path)?;
        let layer = layer::pack(&path, gzip, &scratch)?;
        match layer.diff_id == expected {
            true => Ok(layer),
            false => {
                Err(Problem::new(Code::DigestMismatch, format!("a layer from the engine should be {expected} and is {}", layer.diff_id)))
            }
        }
    })
    .await?;
    let (digest, size, content) = (layer.digest, layer.size, layer.content);
    Ok(PartLayer { digest, size, packing: Packing::Gzip, role: LayerRole::Other, content })
}

fn is_gzip(path: &Path) -> Result<bool> {
    let mut magic = [0; 2];
    let failed = |error: std::io::Error| Problem::io("read", path, &error);
    let got = File::open(path).map_err(failed)?.read(&mut magic).map_err(failed)?;
    Ok(got == 2 && magic == [0x1f, 0x8b])
}

/// Adds labels to a configuration, and changes nothing else of it.
fn labelled(config: Bytes, labels: &BTreeMap<String, String>) -> Result<Bytes> {
    if labels.is_empty() {
        return Ok(config);
    }
    let invalid = |error: serde_json::Error| Problem::new(Code::EngineFailed, format!("the configuration from the engine: {error}"));
    let mut value: Value = serde_json::from_slice(&config).map_err(invalid)?;
    let fresh = || Value::Object(Map::new());
    for level in ["/config", "/config/Labels"] {
        if !value.pointer(level).is_some_and(Value::is_object) {
            match level {
                "/config" => value["config"] = fresh(),
                _ => value["config"]["Labels"] = fresh(),
            }
        }
    }
    for (name, text) in labels {
        value["config"]["Labels"][name] = Value::from(text.as_str());
    }
    serde_json::to_vec(&value).map(Bytes::from).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_added_and_the_rest_stays() {
        let labels = BTreeMap::from([("a".to_string(), "b".to_string())]);
        for (before, after) in [
            (r#"{"z":1,"config":{"Labels":{"x":"y"},"B":2}}"#, r#"{"z":1,"config":{"Labels":{"x":"y","a":"b"},"B":2}}"#),
            (r#"{"z":1,"config":{"Labels":null}}"#, r#"{"z":1,"config":{"Labels":{"a":"b"}}}"#),
            (r#"{"z":1}"#, r#"{"z":1,"config":{"Labels":{"a":"b"}}}"#),
        ] {
            assert_eq!(labelled(Bytes::from(before), &labels).unwrap(), after);
        }
        assert_eq!(labelled(Bytes::from("not json"), &BTreeMap::new()).unwrap(), "not json");
    }
}

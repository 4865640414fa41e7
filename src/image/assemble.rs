//! From what the native engine evaluated and packed to an image.

use std::collections::{BTreeMap, HashMap};

use super::{
    Build, Image,
    base::{Base, BaseLayer},
    config::{Packing, timestamp},
    engine::Built,
    layer::Layer,
    tree::Tree,
    wrap::{self, BaseName, Part, PartLayer},
};
use crate::{
    domain::{
        event::LayerRole,
        problem::{Problem, Result},
    },
    registry::Blob,
};

/// The image of one platform, or an index of several.
pub(super) fn image(built: &[Built], layers: &HashMap<Tree, Layer>, build: &Build) -> Result<Image> {
    let parts = built.iter().map(|one| part(one, layers, build)).collect::<Result<Vec<Part>>>()?;
    wrap::image(parts, &build.annotations)
}

fn part(built: &Built, layers: &HashMap<Tree, Layer>, build: &Build) -> Result<Part> {
    let mut all: Vec<PartLayer> = built.base.iter().flat_map(Base::parts).collect();
    let mut config = built.evaluated.config.clone();
    config.created = Some(timestamp(build.created));
    config.config.labels.extend(build.labels.clone());
    for (tree, role) in &built.evaluated.layers {
        let layer = layers.get(tree).ok_or_else(|| Problem::bug("a layer was not packed"))?;
        config.rootfs.diff_ids.push(layer.diff_id.clone());
        let content = layer.content.clone();
        all.push(PartLayer { digest: layer.digest.clone(), size: layer.size, packing: Packing::Gzip, role: *role, content });
    }
    Ok(Part {
        platform: built.platform.clone(),
        family: built.base.as_ref().map(|base| base.family),
        config: wrap::config_bytes(&config)?,
        layers: all,
        base: built.base.as_ref().map(Base::recorded),
        annotations: BTreeMap::new(),
    })
}

impl Base {
    /// Its layers, as those of an image that stands on it.
    pub fn parts(&self) -> Vec<PartLayer> {
        self.layers.iter().map(|layer| self.part(layer)).collect()
    }

    /// One of its layers, wherever its bytes are.
    pub fn blob(&self, layer: &BaseLayer) -> Blob {
        self.part(layer).blob()
    }

    fn part(&self, layer: &BaseLayer) -> PartLayer {
        PartLayer {
            digest: layer.digest.clone(),
            size: layer.size,
            packing: layer.packing,
            role: LayerRole::Base,
            content: self.place.content(&layer.digest),
        }
    }

    /// As an image that stands on it names it.
    pub fn recorded(&self) -> BaseName {
        BaseName { name: self.name.clone(), known_as: self.known_as.clone() }
    }
}

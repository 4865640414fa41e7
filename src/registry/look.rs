//! One look at a repository before anything is sent: what is there, and whether it lets us in.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use serde::Deserialize;

use super::{Action, Client, Manifest, access, cache::maker, fault::Fault, pull, session::Session};
use crate::domain::{
    digest::Digest,
    problem::{Class, Code, Problem, Result},
    reference::ImageReference,
};

/// Children of an index that are read to learn what is there.
const MAX_CHILDREN: usize = 8;
/// Earlier images that are asked for until one is found: each costs a request.
const MAX_CANDIDATES: usize = 3;

/// What a repository holds, as far as one image of it tells.
#[derive(Clone, Default)]
pub struct Look {
    /// `registry/repository`.
    name: String,
    /// Tags that were asked for, and what they held.
    tags: BTreeMap<String, Option<Digest>>,
    image: Option<Digest>,
    blobs: HashSet<Digest>,
    /// Manifests that the image names and that were not read.
    children: Vec<Digest>,
    layers: HashMap<Digest, Packed>,
    /// The token server refuses rights to mount.
    pub(super) no_mounts: bool,
}

/// A layer as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

impl Look {
    /// The image that was found.
    pub fn image(&self) -> Option<&Digest> {
        self.image.as_ref()
    }

    /// What a tag held: None when it was not asked for.
    pub fn tag(&self, tag: &str) -> Option<Option<&Digest>> {
        self.tags.get(tag).map(Option::as_ref)
    }

    /// Layers that are there, by the digest of their unpacked tar (diff id): the same files need not be packed again. Only of an image
    /// that the registry has just confirmed, and that this very Shipway packed.
    pub fn layers(&self) -> &HashMap<Digest, Packed> {
        &self.layers
    }

    pub(super) fn is_of(&self, target: &ImageReference) -> bool {
        self.name == target.name()
    }

    pub(super) fn holds(&self, blob: &Digest) -> bool {
        self.blobs.contains(blob)
    }

    /// Adds what a manifest refers to; gives back the manifests that an index names.
    fn add(&mut self, manifest: &Manifest) -> Vec<Digest> {
        let Ok(references) = serde_json::from_slice::<References>(&manifest.bytes) else { return Vec::new() };
        self.blobs.extend(references.config.into_iter().chain(references.layers).map(|descriptor| descriptor.digest));
        references.manifests.into_iter().map(|descriptor| descriptor.digest).collect()
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").field("name", &self.name).field("image", &self.image).field("tags", &self.tags).finish_non_exhaustive()
    }
}

/// What an image manifest or an index refers to.
#[derive(Deserialize)]
pub(super) struct References {
    pub config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
pub(super) struct Descriptor {
    pub digest: Digest,
    size: u64,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// Asks for earlier images of the target's repository, the likeliest first, until one is there. `sources` are images whose blobs may be
/// mounted: the rights to read them are asked for along.
pub(super) async fn look(client: &Client, target: &ImageReference, earlier: &[ImageReference], sources: &[ImageReference]) -> Result<Look> {
    let mut session = client.session(target, Action::Push).await?.with_sources(mount_sources(target, sources));
    let wanted = session.scopes().len();
    let mut look = Look { name: target.name(), ..Look::default() };
    let mut candidates: Vec<&ImageReference> = Vec::new();
    for candidate in earlier.iter().filter(|candidate| candidate.name() == target.name()) {
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    for (nth, candidate) in candidates.into_iter().take(MAX_CANDIDATES).enumerate() {
        let found = if nth == 0 {
            let (asked, found) = first_call(session, candidate).await?;
            look.no_mounts = wanted > asked.scopes().len();
            session = asked;
            found
        } else {
            pull::find_manifest(&session, candidate).await.ok().flatten()
        };
        if let (None, Some(tag)) = (&candidate.digest, &candidate.tag) {
            look.tags.insert(tag.clone(), found.as_ref().map(|manifest| manifest.digest.clone()));
        }
        if let Some(manifest) = found {
            look.learn(client, target, &manifest);
            break;
        }
    }
    Ok(look)
}

/// The first request of a push: it shows how to authorize the ones after it. The session that is returned asks for no rights that
/// were refused.
async fn first_call(session: Session, reference: &ImageReference) -> Result<(Session, Option<Manifest>)> {
    let mut session = session;
    let mut found = pull::find_manifest(&session, reference).await;
    if matches!(&found, Err(Fault::Problem(problem)) if problem.class() == Class::Auth) && session.scopes().len() > 1 {
        // Some token servers give nothing at all when one scope of several is not theirs to give.
        session = session.with_sources(Vec::new());
        found = pull::find_manifest(&session, reference).await;
    }
    match found {
        Ok(manifest) => Ok((session, manifest)),
        // A repository that is not there yet may look like one that must not be read; the upload will tell.
        Err(Fault::Problem(problem)) if matches!(problem.code, Code::RegistryDenied | Code::DigestMismatch | Code::RegistryProtocol) => {
            Ok((session, None))
        }
        Err(fault) => Err(fault.into_problem(session.registry())),
    }
}

/// Repositories of the target's registry that blobs of these images may be mounted from.
pub(super) fn mount_sources<'a>(target: &ImageReference, sources: impl IntoIterator<Item = &'a ImageReference>) -> Vec<String> {
    let mut repositories: Vec<String> = sources.into_iter().filter_map(|source| mount_source(source, target)).map(str::to_string).collect();
    repositories.sort();
    repositories.dedup();
    repositories
}

pub(super) fn mount_source<'a>(source: &'a ImageReference, target: &ImageReference) -> Option<&'a str> {
    let same_registry = access::canonical(&source.registry) == access::canonical(&target.registry);
    (same_registry && source.repository != target.repository).then_some(source.repository.as_str())
}

impl Look {
    /// Takes in an image that the registry has, and what the cache knows of its parts.
    fn learn(&mut self, client: &Client, target: &ImageReference, manifest: &Manifest) {
        self.image = Some(manifest.digest.clone());
        let ours = client
            .cache()
            .and_then(|cache| cache.hint(target, false))
            .is_some_and(|hint| hint.maker == maker() && hint.digest == manifest.digest);
        let mut manifests = vec![manifest.clone()];
        for child in self.add(manifest) {
            match client.kept_manifest(&child) {
                Some(known) => {
                    self.add(&known);
                    manifests.push(known);
                }
                None => self.children.push(child),
            }
        }
        if ours {
            for manifest in &manifests {
                self.layers.extend(packed_layers(client, manifest).into_iter().flatten());
            }
        }
    }

    /// Reads the parts of an index that are not known yet, where they are needed: when another image is to be pushed.
    pub(super) async fn complete(&mut self, session: &Session, target: &ImageReference, image: &Digest) {
        let children = std::mem::take(&mut self.children);
        if self.image.as_ref() == Some(image) {
            return;
        }
        let asked = children.iter().take(MAX_CHILDREN).map(|child| {
            let reference = target.with_digest(child);
            async move { pull::find_manifest(session, &reference).await }
        });
        for child in futures::future::join_all(asked).await.into_iter().flatten().flatten() {
            self.add(&child);
        }
    }
}

/// The layers of an image by their diff ids; only the cache knows its configuration without a request.
fn packed_layers(client: &Client, manifest: &Manifest) -> Option<Vec<(Digest, Packed)>> {
    let references: References = serde_json::from_slice(&manifest.bytes).ok()?;
    let (_, config) = client.cache()?.content(&references.config?.digest)?;
    let config: Config = serde_json::from_slice(&config).ok()?;
    let same = config.rootfs.diff_ids.len() == references.layers.len();
    let packed = references.layers.into_iter().map(|layer| Packed { digest: layer.digest, size: layer.size });
    same.then(|| config.rootfs.diff_ids.into_iter().zip(packed).collect())
}

/// A problem of the look that would be one of the push, too: nothing that may pass meanwhile.
pub fn is_lasting(problem: &Problem) -> bool {
    matches!(problem.class(), Class::Auth | Class::Usage)
}

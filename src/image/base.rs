//! The image that a Dockerfile begins FROM, as its registry or layout has it.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::Deserialize;

use super::{
    config::{Family, ImageConfig, Packing, Platform},
    place::{Layout, Place},
};
use crate::{
    domain::{
        digest::Digest,
        image_source::ImageSource,
        problem::{Code, Problem, Result},
        reference::{DEFAULT_REGISTRY, ImageReference},
    },
    registry,
};

/// Platforms that a multi-arch base gives when none is asked for: those that clusters have.
const USUAL: [(&str, &str); 2] = [(LINUX, "amd64"), (LINUX, "arm64")];
/// The one operating system that images are built for.
const LINUX: &str = "linux";

/// A base for one platform.
#[derive(Clone)]
pub(super) struct Base {
    /// As the Dockerfile names it, with the digest that it had.
    pub name: ImageSource,
    /// The name for others, which a layout may know of its image.
    pub known_as: Option<ImageReference>,
    /// Where its bytes are.
    pub place: Place,
    pub family: Family,
    pub config: ImageConfig,
    /// The configuration as its registry has it.
    pub raw_config: Bytes,
    pub platform: Platform,
    pub layers: Vec<BaseLayer>,
    /// Of its manifest.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub(super) struct BaseLayer {
    pub digest: Digest,
    pub size: u64,
    pub packing: Packing,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    platform: Option<DescribedPlatform>,
}

#[derive(Debug, Clone, Deserialize)]
struct DescribedPlatform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Deserialize)]
struct ManifestBody {
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct IndexBody {
    manifests: Vec<Descriptor>,
}

/// What stands behind a name: one image, or one for each platform.
#[derive(Clone)]
struct Top {
    name: ImageSource,
    known_as: Option<ImageReference>,
    place: Place,
    family: Family,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Single(Bytes),
    Index(Vec<Descriptor>),
}

/// Reads bases; a name is asked for once.
pub(super) struct Bases<'a> {
    registry: &'a registry::Client,
    mirror: Option<&'a str>,
    /// Folder that relative layouts count from.
    root: PathBuf,
    tops: HashMap<String, Top>,
}

impl<'a> Bases<'a> {
    pub fn new(registry: &'a registry::Client, mirror: Option<&'a str>, root: &Path) -> Self {
        Bases { registry, mirror, root: root.to_path_buf(), tops: HashMap::new() }
    }

    /// Every platform that a name has an image for; a single image has its own.
    pub async fn all_platforms(&mut self, name: &str) -> Result<Vec<Platform>> {
        let top = self.top(name).await?;
        match &top.content {
            Content::Index(manifests) => Ok(manifests.iter().filter_map(platform_of).collect()),
            Content::Single(_) => Ok(vec![self.single(&top).await?.platform]),
        }
    }

    /// The name with the digest that is behind it now.
    pub async fn resolved(&mut self, name: &str) -> Result<ImageSource> {
        Ok(self.top(name).await?.name)
    }

    /// The client that reads them.
    pub fn registry(&self) -> &'a registry::Client {
        self.registry
    }

    /// The platforms to build for: those asked for, or what the base has of the usual ones.
    pub async fn platforms(&mut self, name: &str, wanted: &[Platform]) -> Result<Vec<Platform>> {
        if !wanted.is_empty() {
            return Ok(wanted.to_vec());
        }
        let top = self.top(name).await?;
        let Content::Index(manifests) = &top.content else {
            let only = self.single(&top).await?.platform;
            return if only.os == LINUX { Ok(vec![only]) } else { Err(missing(&top.name, &Platform::host(), &[only])) };
        };
        let mut found: Vec<Platform> = manifests.iter().filter_map(platform_of).collect();
        found.sort();
        found.dedup();
        if !found.is_empty() && found.iter().all(|platform| platform.os != LINUX) {
            return Err(missing(&top.name, &Platform::host(), &found));
        }
        found.retain(|platform| platform.os == LINUX);
        let usual: Vec<Platform> =
            found.iter().filter(|platform| USUAL.contains(&(platform.os.as_str(), platform.architecture.as_str()))).cloned().collect();
        let chosen = if usual.is_empty() { found.into_iter().take(1).collect() } else { usual };
        if chosen.is_empty() {
            return Err(Problem::new(Code::BaseImageMissing, format!("the index of {} holds no image", top.name)));
        }
        Ok(chosen)
    }

    /// The base for one platform.
    pub async fn load(&mut self, name: &str, platform: &Platform) -> Result<Base> {
        let top = self.top(name).await?;
        let Content::Index(manifests) = &top.content else {
            let base = self.single(&top).await?;
            return if base.platform.fits(platform) { Ok(base) } else { Err(missing(&top.name, platform, &[base.platform])) };
        };
        let candidates: Vec<(&Descriptor, Platform)> = manifests.iter().filter_map(|one| Some((one, platform_of(one)?))).collect();
        let serving = candidates.iter().filter_map(|(descriptor, has)| Some((has.distance(platform)?, descriptor)));
        let Some((_, descriptor)) = serving.min_by_key(|(distance, _)| *distance) else {
            let has: Vec<Platform> = candidates.into_iter().map(|(_, has)| has).collect();
            return Err(missing(&top.name, platform, &has));
        };
        let found = top.place.manifest(&descriptor.digest).await;
        let manifest = found.map_err(|problem| self.unread(problem, &top.name))?;
        let mut base = self.image(&top, &manifest.bytes).await?;
        // What the index says of the platform is what nodes look at.
        base.platform = platform_of(descriptor).unwrap_or(base.platform);
        Ok(base)
    }

    async fn single(&self, top: &Top) -> Result<Base> {
        match &top.content {
            Content::Single(bytes) => self.image(top, bytes).await,
            Content::Index(_) => Err(Problem::bug(format!("{} is an index and was read as an image", top.name))),
        }
    }

    async fn image(&self, top: &Top, manifest: &[u8]) -> Result<Base> {
        let name = top.name.to_string();
        let unreadable = |why: String| Problem::new(Code::RegistryProtocol, format!("the manifest of {name} cannot be used: {why}"));
        let body: ManifestBody = serde_json::from_slice(manifest).map_err(|error| unreadable(error.to_string()))?;
        let config = top.place.config(&body.config.digest, body.config.size).await;
        let raw_config = config.map_err(|problem| self.unread(problem, &top.name))?;
        let config = ImageConfig::parse(&raw_config, &name)?;
        if config.rootfs.diff_ids.len() != body.layers.len() {
            return Err(unreadable(format!("it has {} layers and its configuration {}", body.layers.len(), config.rootfs.diff_ids.len())));
        }
        let layers = body.layers.into_iter().map(|layer| match Packing::of(&layer.media_type) {
            Some(packing) => Ok(BaseLayer { digest: layer.digest, size: layer.size, packing }),
            None => Err(unreadable(format!("its layer {} is of the type {:?}", layer.digest, layer.media_type))),
        });
        let layers = layers.collect::<Result<Vec<BaseLayer>>>()?;
        // Docker's family has no zstd.
        let family = if layers.iter().any(|layer| layer.packing == Packing::Zstd) { Family::Oci } else { top.family };
        let platform = config.platform();
        let (name, known_as, place) = (top.name.clone(), top.known_as.clone(), top.place.clone());
        Ok(Base { name, known_as, place, family, config, raw_config, platform, layers, annotations: body.annotations.unwrap_or_default() })
    }

    async fn find(&self, name: &ImageReference) -> Result<(ImageReference, registry::Manifest)> {
        let mut places = places(name, self.mirror)?.into_iter().peekable();
        while let Some(place) = places.next() {
            match self.registry.manifest(&place).await {
                Err(problem) if problem.code == Code::BaseImageMissing && places.peek().is_some() => {}
                Ok(manifest) => return Ok((place, manifest)),
                Err(problem) => return Err(unread(problem, name, self.mirror)),
            }
        }
        Err(Problem::bug(format!("there is no place to look for {name}")))
    }

    fn unread(&self, problem: Problem, name: &ImageSource) -> Problem {
        match name {
            ImageSource::Registry(name) => unread(problem, name, self.mirror),
            ImageSource::Layout(_) => problem,
        }
    }

    /// Opens what a name means, with the manifest or index behind it.
    async fn open(&self, name: &ImageSource) -> Result<(Place, Option<ImageReference>, registry::Manifest)> {
        match name {
            ImageSource::Registry(name) => {
                let (found, manifest) = self.find(name).await?;
                Ok((Place::Registry(self.registry.clone(), found), Some(name.clone()), manifest))
            }
            ImageSource::Layout(reference) => {
                let layout = Layout::open(&reference.dir(&self.root))?;
                let manifest = layout.named(reference)?;
                let known_as = layout.name_of(reference.tag.as_deref());
                Ok((Place::Layout(layout), known_as, manifest))
            }
        }
    }

    async fn top(&mut self, text: &str) -> Result<Top> {
        if let Some(top) = self.tops.get(text) {
            return Ok(top.clone());
        }
        let name: ImageSource = text.parse()?;
        let (place, known_as, manifest) = self.open(&name).await?;
        let Some(family) = Family::of(&manifest.media_type) else {
            return Err(Problem::new(
                Code::RegistryProtocol,
                format!("the base {name} has a manifest of the type {:?}, which is not an image", manifest.media_type),
            )
            .hint("choose another image.base; images of Docker's first schema have to be pushed again by a newer Docker"));
        };
        let content = if manifest.media_type == family.index() {
            let body: IndexBody = serde_json::from_slice(&manifest.bytes)
                .map_err(|error| Problem::new(Code::RegistryProtocol, format!("the index of {name} cannot be read: {error}")))?;
            Content::Index(body.manifests)
        } else {
            Content::Single(manifest.bytes)
        };
        let top = Top { place, known_as, name: name.found(&manifest.digest), family, content };
        self.tops.insert(text.to_string(), top.clone());
        Ok(top)
    }
}

/// Reads bytes as a manifest and as an index; see [`super::documents`].
#[cfg(any(test, fuzzing))]
pub(super) fn documents(bytes: &[u8]) {
    let _ = serde_json::from_slice::<ManifestBody>(bytes);
    if let Ok(index) = serde_json::from_slice::<IndexBody>(bytes) {
        let _: Vec<Platform> = index.manifests.iter().filter_map(platform_of).collect();
    }
}

/// Where a name is looked for, in this order. A mirror stands in front of names without a registry of their own (that is, of Docker
/// Hub) alone: a name that says its registry means it. Pull-through mirrors have official images below `library/`, companies that
/// copied them by hand mostly have not.
fn places(name: &ImageReference, mirror: Option<&str>) -> Result<Vec<ImageReference>> {
    let Some(mirror) = mirror.filter(|_| name.registry == DEFAULT_REGISTRY) else { return Ok(vec![name.clone()]) };
    let short = name.repository.strip_prefix("library/").map(str::to_string);
    std::iter::once(name.repository.clone()).chain(short).map(|path| mirrored(name, mirror, &path)).collect()
}

fn mirrored(name: &ImageReference, mirror: &str, path: &str) -> Result<ImageReference> {
    let prefixed: ImageReference = format!("{}/{path}", mirror.trim_end_matches('/')).parse().map_err(|problem: Problem| {
        Problem::new(Code::SettingInvalid, format!("image.base_registry {mirror:?} cannot stand in front of {name}: {problem}"))
            .hint("set image.base_registry to a host, with an optional port and path: mirror.example.com/dockerhub")
    })?;
    if prefixed.registry == DEFAULT_REGISTRY && !mirror.starts_with(DEFAULT_REGISTRY) {
        return Err(Problem::new(Code::SettingInvalid, format!("image.base_registry {mirror:?} names no registry"))
            .hint("set image.base_registry to a host, with an optional port and path: mirror.example.com/dockerhub"));
    }
    Ok(ImageReference { tag: name.tag.clone(), digest: name.digest.clone(), ..prefixed })
}

/// A registry that gives no base says so of `registry.url`; what leads to another base are other settings.
fn unread(problem: Problem, name: &ImageReference, mirror: Option<&str>) -> Problem {
    let about = format!("the base image {name} cannot be read: {}", problem.message);
    let way = match mirror.filter(|_| name.registry == DEFAULT_REGISTRY) {
        Some(mirror) => format!("correct image.base_registry ({mirror}), or set image.base to an image that this runner can pull"),
        None if name.registry == DEFAULT_REGISTRY => {
            "set image.base_registry to a mirror of Docker Hub that this runner reaches, or image.base to an image of another registry"
                .to_string()
        }
        None => format!(
            "let this runner reach {}, or set image.base to an image that it can pull (image.base_registry stands in front of Docker Hub \
             alone)",
            name.registry
        ),
    };
    let hint = match problem.code {
        Code::RegistryUnreachable => way,
        Code::RegistryUnauthorized | Code::RegistryDenied | Code::RegistryFailed | Code::RegistryProtocol => {
            format!("{way}; else {}", problem.hint)
        }
        _ => return problem,
    };
    Problem { message: about, hint, ..problem }
}

fn platform_of(descriptor: &Descriptor) -> Option<Platform> {
    let platform = descriptor.platform.as_ref()?;
    // Attestations stand in an index as images for an unknown platform; what is no manifest of an image is passed over, too.
    let image = platform.os != "unknown" && [Family::Oci, Family::Docker].iter().any(|family| family.manifest() == descriptor.media_type);
    let DescribedPlatform { os, architecture, variant } = platform.clone();
    image.then_some(Platform { os, architecture, variant })
}

fn missing(name: &ImageSource, wanted: &Platform, has: &[Platform]) -> Problem {
    let list = has.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ");
    Problem::new(Code::PlatformMissing, format!("the base {name} has no image for {wanted}; it has {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_cannot_be_had_names_the_settings_of_the_base() {
        for (code, name, mirror, words) in [
            (Code::RegistryUnreachable, "eclipse-temurin:17-jre", None, "set image.base_registry to a mirror of Docker Hub"),
            (Code::RegistryUnreachable, "alpine", Some("mirror.test/hub"), "correct image.base_registry (mirror.test/hub)"),
            (Code::RegistryUnreachable, "own.test/java:17", Some("mirror.test"), "let this runner reach own.test"),
            (Code::RegistryUnauthorized, "own.test/java:17", None, "; else check registry.username"),
            (Code::RegistryDenied, "alpine", None, "; else give the user"),
        ] {
            let problem = unread(Problem::new(code, "registry x: no answer"), &name.parse().unwrap(), mirror);
            assert_eq!(problem.code, code);
            assert!(problem.hint.contains(words), "{}", problem.hint);
            assert!(problem.hint.contains("image.base ") && problem.hint.contains("image.base_registry"), "{}", problem.hint);
            assert!(!problem.hint.contains("registry.url"), "{}", problem.hint);
            assert!(problem.message.starts_with("the base image ") && problem.message.ends_with("registry x: no answer"));
        }
        let other = Problem::new(Code::BaseImageMissing, "x");
        assert_eq!(unread(other.clone(), &"alpine".parse().unwrap(), None), other);
    }

    #[test]
    fn a_mirror_stands_in_front_of_docker_hub_alone() {
        for (name, mirror, expected) in [
            (
                "eclipse-temurin:17-jre",
                Some("mirror.test"),
                "mirror.test/library/eclipse-temurin:17-jre mirror.test/eclipse-temurin:17-jre",
            ),
            ("team/app:1", Some("mirror.test:5000/hub/"), "mirror.test:5000/hub/team/app:1"),
            ("own.test/java:17", Some("mirror.test"), "own.test/java:17"),
            ("alpine", None, "docker.io/library/alpine"),
        ] {
            let found = places(&name.parse().unwrap(), mirror).unwrap();
            assert_eq!(found.iter().map(ImageReference::to_string).collect::<Vec<_>>().join(" "), expected);
        }
        for mirror in ["https://mirror.test", "mirror", "mirror.test/UPPER"] {
            let problem = places(&"alpine".parse().unwrap(), Some(mirror)).unwrap_err();
            assert_eq!(problem.code, Code::SettingInvalid, "{mirror}");
            assert!(problem.message.contains("image.base_registry"), "{}", problem.message);
        }
    }
}

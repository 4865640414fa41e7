//! The registry client: pull what a build needs of a base image, push what it made (OCI distribution-spec 1.1).

mod access;
mod auth;
mod blob_source;
mod cache;
mod challenge;
mod config_json;
mod fault;
mod hand_over;
mod helper;
mod look;
mod manifests;
mod pull;
mod push;
mod realm;
mod session;
mod trial;
mod upload;

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

pub use access::Access;
pub use cache::Cache;
pub use config_json::docker_config;
pub use hand_over::config_of;
pub use helper::Helper;
pub use look::{Look, Packed, is_lasting};
use session::{Action, Host, Session};
pub use trial::Pusher;

use crate::{
    domain::{
        digest::Digest,
        event::{Events, LayerRole, Transfer},
        problem::{Problem, Result},
        reference::ImageReference,
    },
    net,
};

/// Reads what a registry says of authentication; for fuzzing alone.
#[cfg(any(test, fuzzing))]
pub fn fuzz_challenge(text: &[u8]) {
    let Ok(value) = http::HeaderValue::from_bytes(text) else { return };
    let mut headers = http::HeaderMap::new();
    headers.append(http::header::WWW_AUTHENTICATE, value);
    let _ = challenge::parse(&headers);
}

/// A manifest or index as the registry gave it, verified.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Bytes,
}

/// A blob that an image needs in its target repository.
#[derive(Debug, Clone)]
pub struct Blob {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub role: LayerRole,
    pub content: Content,
}

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub enum Content {
    Bytes(Bytes),
    File(PathBuf),
    /// Made while it is sent: the registry mostly has it, or it is as large as the files that it is made of.
    Made(Maker),
    /// In a repository of some registry: mounted when it is the target's registry, streamed otherwise.
    Registry(ImageReference),
}

/// Writes a blob's bytes, the same ones each time, and fails when they are not those that were meant.
#[derive(Clone)]
pub struct Maker(Arc<Make>);

type Make = dyn Fn(&mut dyn Write) -> Result<()> + Send + Sync;

impl Maker {
    pub fn new(write: impl Fn(&mut dyn Write) -> Result<()> + Send + Sync + 'static) -> Self {
        Maker(Arc::new(write))
    }

    /// Blocks for as long as it takes. What was written counts only when it succeeds.
    pub fn write(&self, to: &mut dyn Write) -> Result<()> {
        (self.0)(to)
    }
}

impl std::fmt::Debug for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Maker")
    }
}

/// An image to push: blobs, then manifests in this order; the last one gets the tags.
#[derive(Debug, Clone)]
pub struct Push {
    pub target: ImageReference,
    pub extra_tags: Vec<String>,
    pub blobs: Vec<Blob>,
    pub manifests: Vec<Manifest>,
    /// The tag that is used instead of the target's where that holds another image.
    pub instead: Option<String>,
    /// What is known of the target's repository; None: the target's own tag is looked at.
    pub look: Option<Look>,
}

/// What a push did.
#[derive(Debug, Clone)]
pub struct Pushed {
    pub digest: Digest,
    /// Name and tag of it: the target's, or with the tag instead.
    pub reference: ImageReference,
    /// HTTP requests sent, all included, but for those of an earlier look.
    pub requests: u64,
    pub bytes_sent: u64,
    /// In the order of `Push::blobs`.
    pub transfers: Vec<Transfer>,
}

/// A client for all registries of a run; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    net: net::Client,
    accesses: Vec<Access>,
    helpers: helper::Answers,
    cache: Option<Cache>,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

impl Client {
    /// Fails on a CA file, a client certificate or a proxy that cannot be used.
    pub fn new(options: net::Options, accesses: Vec<Access>) -> Result<Self> {
        Client::with_cache(options, accesses, None)
    }

    /// With what earlier runs left.
    pub fn with_cache(mut options: net::Options, accesses: Vec<Access>, cache: Option<Cache>) -> Result<Self> {
        options.hosts.extend(accesses.iter().filter_map(access::tls));
        let net = net::Client::new(options)?;
        for credentials in accesses.iter().filter_map(|access| access.credentials.as_ref()) {
            net.conceal_credentials(credentials);
        }
        Ok(Client { inner: Arc::new(Inner { net, accesses, helpers: helper::Answers::default(), cache, hosts: Mutex::default() }) })
    }

    /// HTTP requests sent so far.
    pub fn requests(&self) -> u64 {
        self.inner.net.requests()
    }

    /// The manifest behind a reference, from the cache where that cannot be wrong. A reference that its registry does not know is [`crate::domain::problem::Code::BaseImageMissing`].
    pub async fn manifest(&self, reference: &ImageReference) -> Result<Manifest> {
        if let Some(kept) = reference.digest.as_ref().and_then(|digest| self.kept_manifest(digest)) {
            return Ok(kept);
        }
        let session = self.session(reference, Action::Pull).await?;
        if let Some(kept) = self.unchanged(&session, reference).await? {
            return Ok(kept);
        }
        let manifest = pull::manifest(&session, reference).await?;
        if let Some(cache) = &self.inner.cache {
            cache.keep(&manifest.digest, &manifest.media_type, &manifest.bytes);
            if reference.digest.is_none() {
                cache.remember(reference, true, &manifest.digest);
            }
        }
        Ok(manifest)
    }

    /// The manifest as the registry has it now: for what must still be there.
    pub async fn current_manifest(&self, reference: &ImageReference) -> Result<Manifest> {
        pull::manifest(&self.session(reference, Action::Pull).await?, reference).await
    }

    /// What a tag held when it was last read, when a HEAD says that it still does: registries that limit pulls do not count those.
    async fn unchanged(&self, session: &Session, reference: &ImageReference) -> Result<Option<Manifest>> {
        let Some(cache) = self.inner.cache.as_ref().filter(|_| reference.digest.is_none()) else { return Ok(None) };
        let Some(kept) = cache.hint(reference, true).and_then(|hint| self.kept_manifest(&hint.digest)) else { return Ok(None) };
        let now = pull::head(session, reference).await?;
        Ok(now.is_some_and(|digest| digest == kept.digest).then_some(kept))
    }

    /// A manifest that the cache has.
    fn kept_manifest(&self, digest: &Digest) -> Option<Manifest> {
        let (media_type, bytes) = self.inner.cache.as_ref()?.content(digest)?;
        pull::MEDIA_TYPES.contains(&media_type.as_str()).then(|| Manifest { media_type, digest: digest.clone(), bytes })
    }

    fn cache(&self) -> Option<&Cache> {
        self.inner.cache.as_ref()
    }

    /// The image that was last pushed to this repository, by tag and digest, as far as the cache remembers.
    pub fn last_pushed(&self, repository: &ImageReference) -> Option<ImageReference> {
        let hint = self.inner.cache.as_ref()?.hint(repository, false)?;
        Some(ImageReference { tag: hint.tag, digest: Some(hint.digest), ..repository.clone() })
    }

    /// The digest behind a reference; None when the registry does not know it.
    pub async fn head(&self, reference: &ImageReference) -> Result<Option<Digest>> {
        pull::head(&self.session(reference, Action::Pull).await?, reference).await
    }

    /// A small blob, such as a config, verified; `size` is what its descriptor says.
    pub async fn blob(&self, repository: &ImageReference, digest: &Digest, size: u64) -> Result<Bytes> {
        let kept = self.inner.cache.as_ref().and_then(|cache| cache.content(digest));
        if let Some((_, bytes)) = kept.filter(|(_, bytes)| bytes.len() as u64 == size) {
            return Ok(bytes);
        }
        let bytes = pull::blob(&self.session(repository, Action::Pull).await?, digest, size).await?;
        if let Some(cache) = &self.inner.cache {
            cache.keep(digest, "", &bytes);
        }
        Ok(bytes)
    }

    /// A blob of any size into a file (made, or overwritten), verified, from the cache where it has it; memory does not grow with it. On
    /// failure no file stays.
    pub async fn blob_to_file(&self, repository: &ImageReference, digest: &Digest, size: u64, path: &Path) -> Result<()> {
        let Some(cache) = self.inner.cache.clone() else {
            return pull::blob_to_file(&self.session(repository, Action::Pull).await?, digest, size, path).await;
        };
        let (wanted, to, kept) = (digest.clone(), path.to_path_buf(), cache.clone());
        if in_thread(move || kept.take_layer(&wanted, size, &to)).await? {
            return Ok(());
        }
        pull::blob_to_file(&self.session(repository, Action::Pull).await?, digest, size, path).await?;
        let (digest, from) = (digest.clone(), path.to_path_buf());
        in_thread(move || cache.keep_layer(&digest, &from)).await
    }

    /// Looks at a repository before a push: at the first of these earlier images of it that is there. Finds out, too, whether the registry
    /// lets us in. `sources` are images whose layers the push may mount.
    pub async fn look(&self, target: &ImageReference, earlier: &[ImageReference], sources: &[ImageReference]) -> Result<Look> {
        look::look(self, target, earlier, sources).await
    }

    /// Whether a push to this repository would be let in, and as whom; leaves nothing there.
    pub async fn may_push(&self, target: &ImageReference) -> Result<Pusher> {
        trial::may_push(self, target).await
    }

    /// Pushes an image: what is missing of its blobs, in parallel, then its manifests. Says [`crate::domain::event::Event::Layer`] for
    /// each layer and [`crate::domain::event::Event::ImagePushed`] for each tag of an image that was not there.
    pub async fn push(&self, push: &Push, events: &Events) -> Result<Pushed> {
        push::push(self, push, events).await
    }

    async fn session(&self, reference: &ImageReference, action: Action) -> Result<Session> {
        let host = {
            let mut hosts = self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            let made = || Arc::new(Host::new(&reference.registry, &self.inner.accesses));
            hosts.entry(access::canonical(&reference.registry).to_string()).or_insert_with(made).clone()
        };
        let (accesses, helpers) = (&self.inner.accesses, &self.inner.helpers);
        let login = access::login(accesses, helpers, &reference.registry, &reference.repository).await;
        if let Some(credentials) = &login.credentials {
            self.inner.net.conceal_credentials(credentials);
        }
        Session::open(self.inner.net.clone(), host, login, reference, action).await
    }
}

/// Runs what reads and writes whole files away from the runtime's thread.
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::bug(format!("a thread of the cache ended: {error}")))
}

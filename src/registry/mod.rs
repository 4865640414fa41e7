//! The registry client: pull what a build needs of a base image, push what it made (OCI distribution-spec 1.1).

mod access;
mod auth;
mod blob_source;
mod challenge;
mod config_json;
mod fault;
mod manifests;
mod pull;
mod push;
mod realm;
mod session;
mod upload;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

pub use access::Access;
pub use config_json::docker_config;
use session::{Action, Host, Session};

use crate::{
    domain::{
        digest::Digest,
        event::{Events, LayerRole, Transfer},
        problem::Result,
        reference::ImageReference,
    },
    net,
};

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
    /// In a repository of some registry: mounted when it is the target's registry, streamed otherwise.
    Registry(ImageReference),
}

/// An image to push: blobs, then manifests in this order; the last one gets the tags.
#[derive(Debug, Clone)]
pub struct Push {
    pub target: ImageReference,
    pub extra_tags: Vec<String>,
    pub blobs: Vec<Blob>,
    pub manifests: Vec<Manifest>,
    /// An earlier image of the target's repository (what runs, or the branch's last tag): what it refers to is there already.
    pub previous: Option<ImageReference>,
}

/// What a push did.
#[derive(Debug, Clone)]
pub struct Pushed {
    pub digest: Digest,
    /// HTTP requests sent, all included.
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
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

impl Client {
    /// Trusts the CAs of `options` and of all accesses. Fails on a CA file or a proxy that cannot be used.
    pub fn new(mut options: net::Options, accesses: Vec<Access>) -> Result<Self> {
        options.ca.extend(accesses.iter().filter_map(|access| access.ca.clone()));
        options.ca.sort();
        options.ca.dedup();
        let net = net::Client::new(options)?;
        for credentials in accesses.iter().filter_map(|access| access.credentials.as_ref()) {
            net.conceal_credentials(credentials);
        }
        Ok(Client { inner: Arc::new(Inner { net, accesses, hosts: Mutex::default() }) })
    }

    /// HTTP requests sent so far.
    pub fn requests(&self) -> u64 {
        self.inner.net.requests()
    }

    /// The manifest behind a reference. A reference that its registry does not know is [`crate::domain::problem::Code::BaseImageMissing`].
    pub async fn manifest(&self, reference: &ImageReference) -> Result<Manifest> {
        pull::manifest(&self.session(reference, Action::Pull).await?, reference).await
    }

    /// The digest behind a reference; None when the registry does not know it.
    pub async fn head(&self, reference: &ImageReference) -> Result<Option<Digest>> {
        pull::head(&self.session(reference, Action::Pull).await?, reference).await
    }

    /// A small blob, such as a config, verified; `size` is what its descriptor says.
    pub async fn blob(&self, repository: &ImageReference, digest: &Digest, size: u64) -> Result<Bytes> {
        pull::blob(&self.session(repository, Action::Pull).await?, digest, size).await
    }

    /// A blob of any size into a file (made, or overwritten), verified; memory does not grow with it. On failure no file stays.
    pub async fn blob_to_file(&self, repository: &ImageReference, digest: &Digest, size: u64, path: &Path) -> Result<()> {
        pull::blob_to_file(&self.session(repository, Action::Pull).await?, digest, size, path).await
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
        let login = access::login(&self.inner.accesses, &reference.registry, &reference.repository);
        Session::open(self.inner.net.clone(), host, login, reference, action).await
    }
}

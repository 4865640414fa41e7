//! Pushes an image: learns what is there, brings in what is missing, then puts the manifests.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde::Deserialize;
use url::Url;

use super::{
    Action, Blob, Client, Content, Manifest, Push, Pushed, access,
    blob_source::{BlobSource, Origin},
    fault::Fault,
    manifests::{self, NotTaken},
    pull,
    session::Session,
    upload,
};
use crate::{
    domain::{
        digest::Digest,
        event::{Event, Events, Transfer},
        problem::{Class, Code, Problem, Result},
        reference::ImageReference,
    },
    net::Request,
};

/// Blobs on their way at the same time.
const PARALLEL: usize = 4;
/// How often a long transfer says that it goes on.
const TELL_EVERY: Duration = Duration::from_secs(15);
/// A HEAD before the upload of less than this costs more than it saves, bytes.
const WORTH_ASKING: u64 = 1 << 20;
/// Children of an index that are read to learn what is there.
const MAX_CHILDREN: usize = 8;

pub(super) async fn push(client: &Client, push: &Push, events: &Events) -> Result<Pushed> {
    let before = client.requests();
    let Some(image) = push.manifests.last() else {
        return Err(Problem::bug(format!("nothing to push to {}", push.target)));
    };
    let session = client.session(&push.target, Action::Push).await?.with_sources(mount_sources(push));
    let (session, known) = learn(session, push, image).await?;
    let pusher = Pusher { client, push, may_mount: AtomicBool::new(session.scopes().len() > 1), session, known: &known };
    let transfers = pusher.place_all(events).await?;
    pusher.put_manifests(image, events).await?;
    let sent = |blob: &Blob| if transfers.get(&blob.digest) == Some(&Transfer::Sent) { blob.size } else { 0 };
    Ok(Pushed {
        digest: image.digest.clone(),
        requests: client.requests() - before,
        bytes_sent: unique(&push.blobs).into_iter().map(sent).sum(),
        transfers: push.blobs.iter().map(|blob| transfers.get(&blob.digest).copied().unwrap_or(Transfer::Present)).collect(),
    })
}

/// Other repositories of the target's registry that blobs may be mounted from.
fn mount_sources(push: &Push) -> Vec<String> {
    let mut sources: Vec<String> =
        push.blobs.iter().filter_map(|blob| mount_source(&blob.content, &push.target)).map(str::to_string).collect();
    sources.sort();
    sources.dedup();
    sources
}

fn mount_source<'a>(content: &'a Content, target: &ImageReference) -> Option<&'a str> {
    match content {
        Content::Registry(source) if same_registry(source, target) && source.repository != target.repository => Some(&source.repository),
        _ => None,
    }
}

fn same_registry(one: &ImageReference, other: &ImageReference) -> bool {
    access::canonical(&one.registry) == access::canonical(&other.registry)
}

/// The blobs without repetitions.
fn unique(blobs: &[Blob]) -> Vec<&Blob> {
    let mut seen = HashSet::new();
    blobs.iter().filter(|blob| seen.insert(&blob.digest)).collect()
}

/// The blobs that are an image's configuration and no layer of it.
fn configs(manifests: &[Manifest]) -> HashSet<Digest> {
    let read = |manifest: &Manifest| serde_json::from_slice::<References>(&manifest.bytes).ok()?.config;
    manifests.iter().filter_map(read).map(|config| config.digest).collect()
}

/// What the target repository holds, as far as one earlier image tells.
#[derive(Default)]
struct Known {
    blobs: HashSet<Digest>,
    /// The image that was found, and the tag under which it was.
    image: Option<Digest>,
    tag: Option<String>,
}

/// Reads an earlier image of the repository: one request that spares many.
async fn learn(session: Session, push: &Push, image: &Manifest) -> Result<(Session, Known)> {
    let earlier =
        push.previous.as_ref().filter(|previous| same_registry(previous, &push.target) && previous.repository == push.target.repository);
    let reference = match (earlier, &push.target.tag) {
        (Some(earlier), _) => earlier.clone(),
        (None, Some(tag)) => push.target.with_tag(tag),
        (None, None) => push.target.with_digest(&image.digest),
    };
    let (session, found) = first_call(session, &reference).await?;
    let mut found = found.map(|manifest| (manifest, reference));
    // The branch's last image is under a tag that moves, and is most like this one.
    if found.is_none()
        && earlier.is_none()
        && let Some(tag) = push.extra_tags.first()
    {
        let moving = push.target.with_tag(tag);
        found = pull::find_manifest(&session, &moving).await.ok().flatten().map(|manifest| (manifest, moving));
    }
    let Some((manifest, reference)) = found else { return Ok((session, Known::default())) };
    let mut known = Known { blobs: HashSet::new(), image: Some(manifest.digest.clone()), tag: None };
    if reference.digest.is_none() {
        known.tag = reference.tag.clone();
    }
    let children = known.add(&manifest);
    if manifest.digest != image.digest {
        for child in children.into_iter().take(MAX_CHILDREN) {
            if let Ok(Some(child)) = pull::find_manifest(&session, &push.target.with_digest(&child)).await {
                known.add(&child);
            }
        }
    }
    Ok((session, known))
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

/// What an image manifest or an index refers to.
#[derive(Deserialize)]
struct References {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
}

impl Known {
    /// Adds the blobs of a manifest; gives back the manifests that an index names.
    fn add(&mut self, manifest: &Manifest) -> Vec<Digest> {
        let Ok(references) = serde_json::from_slice::<References>(&manifest.bytes) else { return Vec::new() };
        self.blobs.extend(references.config.into_iter().chain(references.layers).map(|descriptor| descriptor.digest));
        references.manifests.into_iter().map(|descriptor| descriptor.digest).collect()
    }
}

struct Pusher<'a> {
    client: &'a Client,
    push: &'a Push,
    session: Session,
    known: &'a Known,
    may_mount: AtomicBool,
}

impl Pusher<'_> {
    async fn place_all(&self, events: &Events) -> Result<HashMap<Digest, Transfer>> {
        let all_there = self.known.image.as_ref() == self.push.manifests.last().map(|image| &image.digest);
        let (blobs, done) = (unique(&self.push.blobs), AtomicUsize::new(0));
        let count = blobs.len();
        let configs = configs(&self.push.manifests);
        let placing = blobs.into_iter().map(|blob| {
            let (done, configs) = (&done, &configs);
            async move {
                let there = all_there || self.known.blobs.contains(&blob.digest);
                let transfer = if there { Transfer::Present } else { self.place(blob).await? };
                done.fetch_add(1, Ordering::Relaxed);
                if !configs.contains(&blob.digest) {
                    events.emit(Event::Layer { digest: blob.digest.clone(), size: blob.size, role: blob.role, transfer });
                }
                Ok((blob.digest.clone(), transfer))
            }
        });
        tokio::select! {
            placed = stream::iter(placing).buffer_unordered(PARALLEL).try_collect() => placed,
            never = self.tell_progress(events, count, &done) => match never {},
        }
    }

    /// A slow line is no silent one.
    async fn tell_progress(&self, events: &Events, count: usize, done: &AtomicUsize) -> Infallible {
        let begun = Instant::now();
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            let what = format!("{} of {count} blobs to arrive in {}", count - done.load(Ordering::Relaxed), self.push.target.name());
            events.emit(Event::Waiting { what, seconds: begun.elapsed().as_secs() });
        }
    }

    /// Brings one blob in by the cheapest way that works.
    async fn place(&self, blob: &Blob) -> Result<Transfer> {
        let mut location = None;
        let mut asked = false;
        if let Some(source) = mount_source(&blob.content, &self.push.target)
            && self.may_mount.load(Ordering::Relaxed)
        {
            match self.mount(blob, source).await? {
                Mount::Done => return Ok(Transfer::Mounted),
                Mount::Refused(session) => location = session,
            }
            asked = true;
            if self.is_there(blob).await {
                return Ok(Transfer::Present);
            }
        }
        let worth_asking = self.known.image.is_none() || blob.size >= WORTH_ASKING;
        if !asked && worth_asking && self.is_there(blob).await {
            return Ok(Transfer::Present);
        }
        upload::upload(&self.session, &self.source(blob).await?, location).await?;
        Ok(Transfer::Sent)
    }

    /// Whether the target holds the blob. Anything but a clear yes means: send it.
    async fn is_there(&self, blob: &Blob) -> bool {
        let Ok(url) = self.session.url(&format!("blobs/{}", blob.digest)) else { return false };
        match self.session.send(Request::new(Method::HEAD, url)).await {
            Ok(response) if response.status() == 200 => {
                let length = response.header("content-length").and_then(|text| text.parse::<u64>().ok());
                length.is_none_or(|length| length == blob.size)
            }
            _ => false,
        }
    }

    async fn mount(&self, blob: &Blob, source: &str) -> Result<Mount> {
        let mut url = self.session.url("blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", blob.digest.as_str()).append_pair("from", source);
        let response = match self.session.send(Request::new(Method::POST, url).repeatable()).await {
            Ok(response) => response,
            Err(Fault::Problem(problem)) if problem.class() == Class::Auth => {
                self.may_mount.store(false, Ordering::Relaxed);
                return Ok(Mount::Refused(None));
            }
            Err(fault) => return Err(fault.into_problem(self.session.registry())),
        };
        match response.status().as_u16() {
            201 => Ok(Mount::Done),
            202 => Ok(Mount::Refused(upload::next_location(&self.session, &response, None).ok())),
            _ => Ok(Mount::Refused(None)),
        }
    }

    async fn source(&self, blob: &Blob) -> Result<BlobSource> {
        let origin = match &blob.content {
            Content::Bytes(bytes) => Origin::Bytes(bytes.clone()),
            Content::File(path) => Origin::File(path.clone()),
            Content::Registry(source) => Origin::Registry(Box::new(self.client.session(source, Action::Pull).await?)),
        };
        Ok(BlobSource { digest: blob.digest.clone(), size: blob.size, origin })
    }

    /// Children first, by digest; the image itself under its tags.
    async fn put_manifests(&self, image: &Manifest, events: &Events) -> Result<()> {
        let target = &self.push.target;
        let unchanged = self.known.image.as_ref() == Some(&image.digest);
        if !unchanged {
            for child in &self.push.manifests[..self.push.manifests.len() - 1] {
                self.put(child, &target.with_digest(&child.digest)).await?;
            }
        }
        let mut tags: Vec<&str> = Vec::new();
        for tag in target.tag.iter().chain(&self.push.extra_tags) {
            if !tags.contains(&tag.as_str()) {
                tags.push(tag);
            }
        }
        let references: Vec<ImageReference> = match tags.is_empty() {
            true => vec![target.with_digest(&image.digest)],
            false => tags.iter().map(|tag| target.with_tag(tag)).collect(),
        };
        for reference in references {
            let there = unchanged && (reference.tag.is_none() || reference.tag == self.known.tag);
            if !there {
                self.put(image, &reference).await?;
            }
            events.emit(match (unchanged, there) {
                (false, _) => Event::ImagePushed { reference: reference.to_string(), digest: image.digest.clone() },
                (true, true) => Event::Note { text: format!("{reference}@{} is there already", image.digest) },
                (true, false) => Event::Note { text: format!("{reference}@{} is there already; its tag is set", image.digest) },
            });
        }
        Ok(())
    }

    /// Puts a manifest; when the registry lacks blobs after all (it was cleaned up, say), sends them and tries once more.
    async fn put(&self, manifest: &Manifest, reference: &ImageReference) -> Result<()> {
        let named = match manifests::put(&self.session, manifest, reference).await {
            Ok(()) => return Ok(()),
            Err(NotTaken::Problem(problem)) => return Err(problem),
            Err(NotTaken::BlobsUnknown { named, .. }) => named,
        };
        self.send_missing(&named).await?;
        match manifests::put(&self.session, manifest, reference).await {
            Ok(()) => Ok(()),
            Err(NotTaken::Problem(problem) | NotTaken::BlobsUnknown { problem, .. }) => Err(problem),
        }
    }

    /// The blobs that the registry named; when it named none of ours, all that it does not say it has.
    async fn send_missing(&self, named: &[Digest]) -> Result<()> {
        let blobs = unique(&self.push.blobs);
        let ours = blobs.iter().any(|blob| named.contains(&blob.digest));
        let missing = blobs.into_iter().filter(|blob| !ours || named.contains(&blob.digest)).map(|blob| async move {
            if !ours && self.is_there(blob).await {
                return Ok(());
            }
            upload::upload(&self.session, &self.source(blob).await?, None).await
        });
        stream::iter(missing).buffer_unordered(PARALLEL).try_collect().await
    }
}

enum Mount {
    Done,
    /// With the upload session that the registry opened instead.
    Refused(Option<Url>),
}

//! Pushes an image: learns what is there, brings in what is missing, then puts the manifests.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use url::Url;

use super::{
    Action, Blob, Client, Content, Manifest, Push, Pushed,
    blob_source::{BlobSource, Origin},
    fault::Fault,
    look::{self, Look, References},
    manifests::{self, NotTaken},
    pull,
    session::Session,
    upload,
};
use crate::{
    domain::{
        digest::Digest,
        event::{Event, Events, Transfer},
        problem::{Class, Problem, Result},
        reference::ImageReference,
    },
    net::{Request, Response},
};

/// Blobs on their way at the same time.
const PARALLEL: usize = 4;
/// A HEAD before the upload of less than this costs more than it saves, bytes: where an image of the repository is known that does
/// not have the blob …
const WORTH_ASKING: u64 = 8 << 20;
/// … and where none is.
const WORTH_ASKING_UNKNOWN: u64 = 64 << 10;

pub(super) async fn push(client: &Client, push: &Push, events: &Events) -> Result<Pushed> {
    let before = client.requests();
    let Some(image) = push.manifests.last() else {
        return Err(Problem::bug(format!("nothing to push to {}", push.target)));
    };
    let mut look = match push.look.clone().filter(|look| look.is_of(&push.target)) {
        Some(look) => look,
        None => look::look(client, &push.target, &earlier(push, image), &sources(push)).await?,
    };
    let mut session = client.session(&push.target, Action::Push).await?;
    if !look.no_mounts {
        session = session.with_sources(look::mount_sources(&push.target, &sources(push)));
    }
    look.complete(&session, &push.target, &image.digest).await;
    let may_mount = AtomicBool::new(session.scopes().len() > 1);
    let pusher = Pusher { client, push, image, may_mount, session, look };
    let (transfers, target) = futures::try_join!(pusher.place_all(events), pusher.target())?;
    pusher.put_manifests(&target, events).await?;
    pusher.remember(&target);
    let sent = |blob: &Blob| if transfers.get(&blob.digest) == Some(&Transfer::Sent) { blob.size } else { 0 };
    Ok(Pushed {
        digest: image.digest.clone(),
        reference: target.reference,
        requests: client.requests() - before,
        bytes_sent: unique(&push.blobs).into_iter().map(sent).sum(),
        transfers: push.blobs.iter().map(|blob| transfers.get(&blob.digest).copied().unwrap_or(Transfer::Present)).collect(),
    })
}

/// What to look at when nobody has looked before: the target itself, then a tag that moves, as the branch's last image is under it.
fn earlier(push: &Push, image: &Manifest) -> Vec<ImageReference> {
    match &push.target.tag {
        Some(tag) => std::iter::once(tag).chain(push.extra_tags.first()).map(|tag| push.target.with_tag(tag)).collect(),
        None => vec![push.target.with_digest(&image.digest)],
    }
}

/// Images that blobs come from.
fn sources(push: &Push) -> Vec<ImageReference> {
    let sources = push.blobs.iter().filter_map(|blob| match &blob.content {
        Content::Registry(source) => Some(source.clone()),
        _ => None,
    });
    let mut sources: Vec<ImageReference> = sources.collect();
    sources.dedup();
    sources
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

/// Where the image goes, and what its tag holds, as far as that is known.
struct Target {
    reference: ImageReference,
    holds: Option<Digest>,
}

struct Pusher<'a> {
    client: &'a Client,
    push: &'a Push,
    image: &'a Manifest,
    session: Session,
    look: Look,
    may_mount: AtomicBool,
}

impl Pusher<'_> {
    async fn place_all(&self, events: &Events) -> Result<HashMap<Digest, Transfer>> {
        let all_there = self.unchanged();
        let configs = configs(&self.push.manifests);
        let placing = unique(&self.push.blobs).into_iter().map(|blob| {
            let configs = &configs;
            async move {
                let there = all_there || self.look.holds(&blob.digest);
                let events = if configs.contains(&blob.digest) { &Events::none() } else { events };
                let transfer = if there { Transfer::Present } else { self.place(blob, events).await? };
                events.emit(Event::Layer { digest: blob.digest.clone(), size: blob.size, role: blob.role, transfer });
                Ok((blob.digest.clone(), transfer))
            }
        });
        stream::iter(placing).buffer_unordered(PARALLEL).try_collect().await
    }

    /// The very image is there already.
    fn unchanged(&self) -> bool {
        self.look.image() == Some(&self.image.digest)
    }

    /// The target's tag; where that holds another image, the one that stands in for it, so that what runs never loses its tag. Asked
    /// while blobs are on their way, when nobody has looked at it before.
    async fn target(&self) -> Result<Target> {
        let target = &self.push.target;
        let Some(tag) = &target.tag else { return Ok(Target { reference: target.clone(), holds: None }) };
        let holds = match (self.look.tag(tag), &self.push.instead) {
            (Some(known), _) => known.cloned(),
            (None, None) => None,
            (None, Some(_)) => match pull::head(&self.session, &target.with_tag(tag)).await {
                Ok(holds) => holds,
                // A repository that is not there yet may look like one that must not be read.
                Err(problem) if problem.class() == Class::Auth => None,
                Err(problem) => return Err(problem),
            },
        };
        Ok(match (&self.push.instead, &holds) {
            (Some(instead), Some(other)) if *other != self.image.digest => {
                Target { holds: self.look.tag(instead).flatten().cloned(), reference: target.with_tag(instead) }
            }
            _ => Target { reference: target.clone(), holds },
        })
    }

    /// Leaves in the cache what the next run can use.
    fn remember(&self, target: &Target) {
        let Some(cache) = self.client.cache() else { return };
        let configs = configs(&self.push.manifests);
        for manifest in &self.push.manifests {
            cache.keep(&manifest.digest, &manifest.media_type, &manifest.bytes);
        }
        for blob in self.push.blobs.iter().filter(|blob| configs.contains(&blob.digest)) {
            if let Content::Bytes(bytes) = &blob.content {
                cache.keep(&blob.digest, "", bytes);
            }
        }
        cache.remember(&target.reference, false, &self.image.digest);
    }

    /// Brings one blob in by the cheapest way that works.
    async fn place(&self, blob: &Blob, events: &Events) -> Result<Transfer> {
        let mut location = None;
        let mut asked = false;
        if let Content::Registry(source) = &blob.content
            && let Some(source) = look::mount_source(source, &self.push.target)
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
        let worth_asking = blob.size >= if self.look.image().is_none() { WORTH_ASKING_UNKNOWN } else { WORTH_ASKING };
        if !asked && worth_asking && self.is_there(blob).await {
            return Ok(Transfer::Present);
        }
        upload::upload(&self.session, &self.source(blob, events).await?, location).await?;
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
        match self.ask_to_mount(url).await {
            Ok(response) if response.status() == 201 => return Ok(Mount::Done),
            Ok(response) if response.status() == 202 => {
                return Ok(Mount::Refused(upload::next_location(&self.session, &response, None).ok()));
            }
            Err(Fault::Problem(problem)) if problem.class() != Class::Auth => return Err(problem),
            Ok(_) | Err(_) => {}
        }
        // It would say the same of the other layers.
        self.may_mount.store(false, Ordering::Relaxed);
        Ok(Mount::Refused(None))
    }

    /// Asked once, for the upload does without; but a registry that is only busy or away spares us all the bytes a little later.
    async fn ask_to_mount(&self, url: Url) -> Result<Response, Fault> {
        let request = upload::empty(Request::new(Method::POST, url));
        match self.session.send(request.clone()).await {
            Ok(response) if !matches!(response.status().as_u16(), 429 | 503) => Ok(response),
            Err(fault @ (Fault::Problem(_) | Fault::Renewed)) => Err(fault),
            Ok(_) | Err(Fault::Failure(_)) => self.session.send(request.repeatable()).await,
        }
    }

    async fn source(&self, blob: &Blob, events: &Events) -> Result<BlobSource> {
        let origin = match &blob.content {
            Content::Bytes(bytes) => Origin::Bytes(bytes.clone()),
            Content::File(path) => Origin::File(path.clone()),
            Content::Made(maker) => Origin::Made(maker.clone()),
            Content::Registry(source) => Origin::Registry(Box::new(self.client.session(source, Action::Pull).await?)),
        };
        let (events, digest, size, role) = (events.clone(), blob.digest.clone(), blob.size, blob.role);
        let told = Arc::new(move |sent| events.emit(Event::Sending { digest: digest.clone(), size, role, sent }));
        Ok(BlobSource { digest: blob.digest.clone(), size, origin, told })
    }

    /// Children first, by digest; the image itself under its tags.
    async fn put_manifests(&self, target: &Target, events: &Events) -> Result<()> {
        let (image, unchanged) = (self.image, self.unchanged());
        if !unchanged {
            for child in &self.push.manifests[..self.push.manifests.len() - 1] {
                self.put(child, &target.reference.with_digest(&child.digest)).await?;
            }
        }
        for reference in self.references(target) {
            let there = match &reference.tag {
                None => unchanged,
                Some(tag) if reference == target.reference => target.holds.as_ref().or(self.look.tag(tag).flatten()) == Some(&image.digest),
                Some(tag) => self.look.tag(tag).flatten() == Some(&image.digest),
            };
            if !there {
                self.put(image, &reference).await?;
            }
            events.emit(match (unchanged, there) {
                (false, false) => Event::ImagePushed { reference: reference.to_string(), digest: image.digest.clone() },
                (_, true) => Event::Note { text: format!("{reference}@{} is there already", image.digest) },
                (true, false) => Event::Note { text: format!("{reference}@{} is there already; its tag is set", image.digest) },
            });
        }
        Ok(())
    }

    /// What the image is put under: each tag once, or its digest when there is no tag.
    fn references(&self, target: &Target) -> Vec<ImageReference> {
        let mut tags: Vec<&str> = Vec::new();
        for tag in target.reference.tag.iter().chain(&self.push.extra_tags) {
            if !tags.contains(&tag.as_str()) {
                tags.push(tag);
            }
        }
        match tags.is_empty() {
            true => vec![target.reference.with_digest(&self.image.digest)],
            false => tags.iter().map(|tag| target.reference.with_tag(tag)).collect(),
        }
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
            upload::upload(&self.session, &self.source(blob, &Events::none()).await?, None).await
        });
        stream::iter(missing).buffer_unordered(PARALLEL).try_collect().await
    }
}

enum Mount {
    Done,
    /// With the upload session that the registry opened instead.
    Refused(Option<Url>),
}

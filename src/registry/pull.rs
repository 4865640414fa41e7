//! Reads manifests and blobs; everything read is verified, and nothing is longer than it may be.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, RANGE},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::{
    Manifest,
    fault::{self, Fault, Refusal},
    session::Session,
};
use crate::{
    domain::{
        digest::Digest,
        problem::{Code, Problem, Result},
        reference::ImageReference,
    },
    net::{Cause, Failure, Request, Response, WHOLE_BODY, retry::Attempts},
};

pub(super) const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// Registries take manifests of at least 4 MiB (distribution-spec); nobody needs more.
const MAX_MANIFEST: usize = 4 << 20;
/// The longest blob that is read into memory, bytes.
const MAX_SMALL_BLOB: u64 = 16 << 20;
const BUFFER: usize = 256 << 10;

/// Less than this between two breaks is no progress, bytes.
const PROGRESS: u64 = 64 << 10;

/// Header with which a registry says a manifest's or blob's digest.
pub(super) const CONTENT_DIGEST: &str = "docker-content-digest";

pub(super) async fn manifest(session: &Session, reference: &ImageReference) -> Result<Manifest> {
    match find_manifest(session, reference).await.map_err(|fault| fault.into_problem(session.registry()))? {
        Some(manifest) => Ok(manifest),
        None => Err(missing(session, reference)),
    }
}

fn missing(session: &Session, reference: &ImageReference) -> Problem {
    Problem::new(Code::BaseImageMissing, format!("there is no image {reference} in registry {}", session.registry()))
}

/// The manifest, None when the registry does not know the reference.
pub(super) async fn find_manifest(session: &Session, reference: &ImageReference) -> Result<Option<Manifest>, Fault> {
    let mut attempts = Attempts::new(&session.net.options().retry);
    loop {
        let response = session.send(manifest_request(session, Method::GET, reference)?).await?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            _ => return Err(Refusal::read(response).await.into_problem(session).into()),
        }
        let content_type = response.header(CONTENT_TYPE.as_str()).unwrap_or_default().to_string();
        let said = response.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
        let expected = reference.digest.clone().or(said);
        let wrong = match response.bytes(MAX_MANIFEST).await {
            Ok(bytes) => match verify(session, reference, &content_type, expected, bytes) {
                Err(problem) if problem.code == Code::DigestMismatch => Fault::Problem(problem),
                verified => return Ok(Some(verified?)),
            },
            Err(failure) if failure.is_transient() => Fault::Failure(failure),
            Err(failure) => return Err(failure.into()),
        };
        // Bytes that were spoilt on the way may be good the next time; a lie stays one.
        let delay = attempts.failed_again(None, false);
        let Some(delay) = delay.filter(|_| attempts.failed() < 2 || matches!(wrong, Fault::Failure(_))) else { return Err(wrong) };
        tokio::time::sleep(delay).await;
    }
}

fn manifest_request(session: &Session, method: Method, reference: &ImageReference) -> Result<Request> {
    let url = session.url(&format!("manifests/{}", reference.manifest_reference()))?;
    Ok(Request::new(method, url).header(ACCEPT, &MEDIA_TYPES.join(", ")))
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
}

fn verify(session: &Session, reference: &ImageReference, content_type: &str, expected: Option<Digest>, bytes: Bytes) -> Result<Manifest> {
    let digest = Digest::from_sha256(&Sha256::digest(&bytes));
    if let Some(expected) = expected
        && expected != digest
    {
        return Err(mismatch(session, &format!("the manifest of {reference}"), &expected, &digest));
    }
    let head: Head = serde_json::from_slice(&bytes).map_err(|error| {
        fault::protocol(session.registry(), format!("the manifest of {reference} is no JSON ({content_type:?}): {error}"))
    })?;
    if head.schema_version != Some(2) {
        return Err(fault::protocol(session.registry(), format!("the manifest of {reference} is not of schema 2"))
            .hint("push the image again with a current tool: manifests of schema 1 are not read"));
    }
    let sent = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = match head.media_type {
        Some(inside) if MEDIA_TYPES.contains(&sent) && inside != sent => {
            return Err(fault::protocol(session.registry(), format!("the manifest of {reference} says {inside} and is sent as {sent}")));
        }
        Some(inside) => inside,
        None => sent.to_string(),
    };
    if !MEDIA_TYPES.contains(&media_type.as_str()) {
        return Err(fault::protocol(session.registry(), format!("the manifest of {reference} has the unknown media type {media_type:?}")));
    }
    Ok(Manifest { media_type, digest, bytes })
}

fn mismatch(session: &Session, what: &str, expected: &Digest, got: &Digest) -> Problem {
    Problem::new(Code::DigestMismatch, format!("registry {}: {what} should be {expected} and is {got}", session.registry()))
}

pub(super) async fn head(session: &Session, reference: &ImageReference) -> Result<Option<Digest>> {
    let found = find_digest(session, reference).await;
    found.map_err(|fault| fault.into_problem(session.registry()))
}

/// Whether a reference is known to have this digest, asked once.
pub(super) async fn holds(session: &Session, reference: &ImageReference, digest: &Digest) -> bool {
    let Ok(request) = manifest_request(session, Method::HEAD, reference) else { return false };
    match session.send(request.once()).await {
        Ok(response) if response.status() == 200 => match response.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok()) {
            Some(got) => got == *digest,
            // Some registries say no digest.
            None => matches!(find_manifest(session, reference).await, Ok(Some(manifest)) if manifest.digest == *digest),
        },
        _ => false,
    }
}

/// The digest behind a reference, None when the registry does not know it.
pub(super) async fn find_digest(session: &Session, reference: &ImageReference) -> Result<Option<Digest>, Fault> {
    let response = session.send(manifest_request(session, Method::HEAD, reference)?).await?;
    match (response.status().as_u16(), response.header(CONTENT_DIGEST).and_then(|text| text.parse().ok())) {
        (200, Some(digest)) => Ok(Some(digest)),
        (404, _) => Ok(None),
        // Some registries say no digest, some know no HEAD.
        (200 | 405, _) => Ok(find_manifest(session, reference).await?.map(|manifest| manifest.digest)),
        _ => Err(Refusal::read(response).await.into_problem(session).into()),
    }
}

pub(super) async fn blob(session: &Session, digest: &Digest, size: u64) -> Result<Bytes> {
    if size > MAX_SMALL_BLOB {
        return Err(fault::protocol(
            session.registry(),
            format!("{digest} of {} should be small and has {size} bytes", session.repository()),
        ));
    }
    let mut sink = Sink::Memory(BytesMut::with_capacity(size as usize));
    download(session, digest, size, &mut sink).await?;
    match sink {
        Sink::Memory(bytes) => Ok(bytes.freeze()),
        Sink::File(..) => Err(Problem::bug("a small blob went into a file")),
    }
}

pub(super) async fn blob_to_file(session: &Session, digest: &Digest, size: u64, path: &Path) -> Result<()> {
    let file = tokio::fs::File::create(path).await.map_err(|error| Problem::io("write", path, &error))?;
    let mut sink = Sink::File(BufWriter::with_capacity(BUFFER, file), path.to_path_buf());
    let done = match download(session, digest, size, &mut sink).await {
        Ok(()) => sink.finish().await,
        Err(problem) => Err(problem),
    };
    if done.is_err() {
        let _ = tokio::fs::remove_file(path).await;
    }
    done
}

enum Sink {
    Memory(BytesMut),
    File(BufWriter<tokio::fs::File>, PathBuf),
}

impl Sink {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Sink::Memory(memory) => {
                memory.extend_from_slice(bytes);
                Ok(())
            }
            Sink::File(file, path) => file.write_all(bytes).await.map_err(|error| Problem::io("write", path, &error)),
        }
    }

    /// Forgets everything written.
    async fn restart(&mut self) -> Result<()> {
        match self {
            Sink::Memory(memory) => {
                memory.clear();
                Ok(())
            }
            Sink::File(file, path) => rewind(file).await.map_err(|error| Problem::io("write", path, &error)),
        }
    }

    async fn finish(&mut self) -> Result<()> {
        match self {
            Sink::Memory(_) => Ok(()),
            Sink::File(file, path) => file.flush().await.map_err(|error| Problem::io("write", path, &error)),
        }
    }
}

async fn rewind(file: &mut BufWriter<tokio::fs::File>) -> std::io::Result<()> {
    file.rewind().await?;
    file.get_ref().set_len(0).await
}

/// A blob on its way into a sink.
struct Download<'a> {
    session: &'a Session,
    digest: &'a Digest,
    size: u64,
    hash: Sha256,
    have: u64,
    begun: Instant,
    /// How long it may take in all.
    limit: Option<Duration>,
}

/// Reads a blob to its end: goes on where a connection broke, and begins again once when the bytes are wrong.
async fn download(session: &Session, digest: &Digest, size: u64, sink: &mut Sink) -> Result<()> {
    // What is read into memory is small: it is dripped when it takes long.
    let limit = matches!(sink, Sink::Memory(_)).then(|| session.net.options().idle_timeout * WHOLE_BODY);
    let mut download = Download { session, digest, size, hash: Sha256::new(), have: 0, begun: Instant::now(), limit };
    let mut attempts = Attempts::new(&session.net.options().retry);
    let mut mismatched = false;
    loop {
        let before = download.have;
        let Err(fault) = download.attempt(sink).await else { return Ok(()) };
        // Progress begins the count anew: a long download over a bad line ends, too.
        if download.have >= before + PROGRESS {
            attempts.restart();
        }
        match fault {
            Fault::Problem(problem) if problem.code == Code::DigestMismatch && !mismatched => {
                mismatched = true;
                download.restart(sink).await?;
            }
            Fault::Failure(failure) if failure.is_transient() => match attempts.failed_again(None, session.is_away(&failure)) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(fault::of_failure(session.registry(), &failure)),
            },
            fault => return Err(fault.into_problem(session.registry())),
        }
    }
}

impl Download<'_> {
    async fn restart(&mut self, sink: &mut Sink) -> Result<()> {
        self.have = 0;
        self.hash = Sha256::new();
        sink.restart().await
    }

    async fn attempt(&mut self, sink: &mut Sink) -> Result<(), Fault> {
        let (mut response, from) = open_blob(self.session, self.digest, self.have).await?;
        if from != self.have {
            self.restart(sink).await?;
        }
        while let Some(chunk) = response.chunk().await? {
            if let Some(limit) = self.limit.filter(|limit| self.begun.elapsed() > *limit) {
                let message = format!("{}: the blob did not end in {} s", response.what(), limit.as_secs());
                return Err(fault::of_failure(self.session.registry(), &Failure::new(Cause::Idle, message)).into());
            }
            self.have += chunk.len() as u64;
            if self.have > self.size {
                return Err(self.wrong(&format!("more than {} bytes", self.size)).into());
            }
            self.hash.update(&chunk);
            sink.write(&chunk).await?;
        }
        if self.have < self.size {
            let message = format!("{}: ended after {} of {} bytes", response.what(), self.have, self.size);
            return Err(Failure::new(Cause::Lost, message).into());
        }
        let got = Digest::from_sha256(&self.hash.clone().finalize());
        if got != *self.digest {
            return Err(self.wrong(got.as_str()).into());
        }
        Ok(())
    }

    fn wrong(&self, got: &str) -> Problem {
        let (registry, repository) = (self.session.registry(), self.session.repository());
        Problem::new(Code::DigestMismatch, format!("registry {registry}: the blob {} of {repository} came as {got}", self.digest))
    }
}

/// Asks for a blob from a byte on. The answer begins at the byte that is returned with it: 0 where ranges are not served.
pub(super) async fn open_blob(session: &Session, digest: &Digest, from: u64) -> Result<(Response, u64), Fault> {
    let mut request = Request::new(Method::GET, session.url(&format!("blobs/{digest}"))?);
    if from > 0 {
        request = request.header(RANGE, &format!("bytes={from}-"));
    }
    let response = session.send(request).await?;
    match response.status().as_u16() {
        200 => Ok((response, 0)),
        206 if starts_at(response.header("content-range"), from) => Ok((response, from)),
        206 => Err(fault::protocol(session.registry(), format!("{} answered another range than was asked for", response.what())).into()),
        404 => {
            let message = format!("the blob {digest} is not in {} of registry {}", session.repository(), session.registry());
            Err(Problem::new(Code::BaseImageMissing, message)
                .hint("push the image that it belongs to again: its registry lost a part of it")
                .into())
        }
        _ => Err(Refusal::read(response).await.into_problem(session).into()),
    }
}

fn starts_at(content_range: Option<&str>, from: u64) -> bool {
    let start = content_range.and_then(|range| range.trim().strip_prefix("bytes ")).and_then(|range| range.split('-').next());
    start.and_then(|start| start.trim().parse::<u64>().ok()) == Some(from)
}

//! The bytes of a blob that is sent: from memory, a file, whoever makes them, or another registry, from any offset.

use std::{io, path::PathBuf, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncSeekExt, sync::mpsc};
use tokio_util::io::ReaderStream;

use super::{Maker, fault::Fault, pull, session::Session};
use crate::{
    domain::{
        digest::Digest,
        problem::{Code, Problem},
    },
    net::{self, ByteStream, Failure},
};

const BUFFER: usize = 256 << 10;
/// Pieces that are made ahead of the line.
const AHEAD: usize = 4;
/// How far a blob is, is told whenever so many more bytes were taken.
const TELL: u64 = 256 << 10;

/// Hears how many of a blob's bytes were taken from its source.
pub(super) type Told = Arc<dyn Fn(u64) + Send + Sync>;

/// A blob's bytes, to be opened as often as needed.
#[derive(Clone)]
pub(super) struct BlobSource {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub origin: Origin,
    pub told: Told,
}

#[derive(Clone)]
pub(super) enum Origin {
    Bytes(Bytes),
    File(PathBuf),
    Made(Maker),
    /// A repository from which it is read, without being stored in between.
    Registry(Box<Session>),
}

impl BlobSource {
    /// The body from `offset` to the end.
    pub fn from(&self, offset: u64) -> net::Source {
        let this = self.clone();
        Arc::new(move || -> BoxFuture<'static, io::Result<ByteStream>> {
            let this = this.clone();
            Box::pin(async move {
                let told = this.told.clone();
                let stream = this.open(offset).await?;
                Ok(tell(stream, offset, told))
            })
        })
    }

    async fn open(self, offset: u64) -> io::Result<ByteStream> {
        match self.origin {
            Origin::Bytes(bytes) => {
                let rest = bytes.slice(usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len())..);
                Ok(Box::pin(stream::once(async move { Ok(rest) })))
            }
            Origin::File(path) => open_file(path, self.size, offset).await,
            Origin::Made(maker) => Ok(open_made(maker, offset)),
            Origin::Registry(session) => open_remote(&session, self.digest, self.size, offset).await,
        }
    }
}

/// The same bytes; what is taken of them is told.
fn tell(bytes: ByteStream, offset: u64, told: Told) -> ByteStream {
    told(offset);
    let (mut at, mut said) = (offset, offset);
    Box::pin(bytes.inspect_ok(move |chunk| {
        at += chunk.len() as u64;
        if at - said >= TELL {
            said = at;
            told(at);
        }
    }))
}

async fn open_file(path: PathBuf, size: u64, offset: u64) -> io::Result<ByteStream> {
    let read_error = |error: io::Error| io::Error::other(Problem::io("read", &path, &error));
    let mut file = tokio::fs::File::open(&path).await.map_err(read_error)?;
    let length = file.metadata().await.map_err(read_error)?.len();
    if length != size {
        let message = format!("{} has {length} bytes and had {size} when it was made", path.display());
        return Err(io::Error::other(Problem::new(Code::IoFailed, message).hint("leave the files of a run alone while it works")));
    }
    file.seek(io::SeekFrom::Start(offset)).await.map_err(read_error)?;
    Ok(Box::pin(ReaderStream::with_capacity(file, BUFFER).map_err(move |error| io::Error::other(Problem::io("read", &path, &error)))))
}

/// What a maker writes, from the offset on; the bytes before it are made and dropped.
fn open_made(maker: Maker, offset: u64) -> ByteStream {
    let (line, made) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { line, piece: BytesMut::new(), skip: offset };
        let done = maker.write(&mut pieces).map_err(io::Error::other).and_then(|()| pieces.send());
        if let Err(error) = done {
            // Nobody listens any more when the request has ended: then the error is of no interest, either.
            let _ = pieces.line.blocking_send(Err(error));
        }
    });
    Box::pin(stream::unfold(made, |mut made| async move { Some((made.recv().await?, made)) }))
}

/// A blob while it is made. The last piece is held back until its maker found all of it good, so that no upload completes with wrong bytes.
struct Pieces {
    line: mpsc::Sender<io::Result<Bytes>>,
    piece: BytesMut,
    skip: u64,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = self.piece.split().freeze();
        self.line.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        if self.piece.len() >= BUFFER {
            self.send()?;
        }
        self.piece.extend_from_slice(&bytes[skipped..]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Streams from another registry; where it serves no ranges, the bytes before the offset are read and dropped.
async fn open_remote(session: &Session, digest: Digest, size: u64, offset: u64) -> io::Result<ByteStream> {
    let name = format!("{}/{}", session.registry(), session.repository());
    // The target's errors are told with its name: this one is the source's.
    let failed = {
        let name = name.clone();
        move |failure: Failure| io::Error::other(Failure { message: format!("while reading from {name}: {failure}"), ..failure })
    };
    let (response, begin) = pull::open_blob(session, &digest, offset).await.map_err(|fault| match fault {
        Fault::Failure(failure) => failed(failure),
        fault => io::Error::other(fault.into_problem(session.registry())),
    })?;
    let chunks = stream::try_unfold((response, failed), |(mut response, failed)| async move {
        let chunk = response.chunk().await.map_err(&failed)?;
        Ok(chunk.map(|chunk| (chunk, (response, failed))))
    });
    let mut check = Check { name, digest, size, seen: begin, hash: (begin == 0).then(Sha256::new) };
    let verified = chunks.map(move |chunk: io::Result<Bytes>| chunk.and_then(|chunk| check.see(chunk)));
    let skip = offset - begin;
    let mut position = 0;
    Ok(Box::pin(verified.map_ok(move |chunk| {
        let dropped = skip.saturating_sub(position).min(chunk.len() as u64);
        position += chunk.len() as u64;
        chunk.slice(dropped as usize..)
    })))
}

/// Verifies what passes by; wrong bytes are found before the last of them is handed on, so that no upload completes with them.
struct Check {
    name: String,
    digest: Digest,
    size: u64,
    seen: u64,
    /// None when the beginning was not seen: then the target alone verifies.
    hash: Option<Sha256>,
}

impl Check {
    fn see(&mut self, chunk: Bytes) -> io::Result<Bytes> {
        self.seen += chunk.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(&chunk);
        }
        let wrong = match &self.hash {
            _ if self.seen > self.size => true,
            Some(hash) if self.seen == self.size => Digest::from_sha256(&hash.clone().finalize()) != self.digest,
            _ => false,
        };
        if wrong {
            let message = format!("{} gave other bytes for the blob {} than its digest says", self.name, self.digest);
            return Err(io::Error::other(Problem::new(Code::DigestMismatch, message)));
        }
        Ok(chunk)
    }
}

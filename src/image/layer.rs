//! Layers: deterministic tar streams, packed and hashed in one pass.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::Path,
    sync::mpsc,
};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use super::{
    source::Source,
    tree::{Kind, Tree},
};
use crate::{
    domain::{
        digest::Digest,
        problem::{Code, Problem, Result},
    },
    registry::{Content, Maker, Packed},
};

const BUFFER: usize = 128 << 10;
/// Bytes that are hashed at once, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;
/// Time of every entry, seconds since the epoch: always the same, or each commit would change (and send) layers that it did not touch.
/// Not 0, which some programs take for "no time".
const ENTRY_TIME: u64 = 1;
/// The levels of gzip: jars are packed already, and classes are packed as fast as a fast line takes them.
const STORED: Compression = Compression::none();
const PACKED: Compression = Compression::fast();
/// Bytes of a file that are tried to see whether packing it is worth the time.
const SAMPLE: u64 = 32 << 10;
/// A sample that keeps more than this share of its size is packed already.
const WORTH: f64 = 0.9;

/// A layer, packed or to be packed while it is sent.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Of the tar stream.
    pub diff_id: Digest,
    /// Packed.
    pub digest: Digest,
    /// Packed, bytes.
    pub size: u64,
    pub content: Content,
}

/// Makes a layer of a tree. Its bytes depend on the tree's names, modes, owners and contents alone, and memory does not grow with them. A
/// layer that is in `packed` is only hashed. One that is worth packing goes into `scratch` under its digest; one that is not is as large as
/// its files, and costs nothing to make: it is written once more when it is sent, and needs no room on the disk.
pub(super) fn write(tree: &Tree, scratch: &Path, packed: &HashMap<Digest, Packed>) -> Result<Layer> {
    if !packed.is_empty() {
        let (done, diff_id) = hashed(std::io::sink(), |to| write_tar(tree, to));
        done?;
        if let Some(known) = packed.get(&diff_id) {
            let content = Content::Made(maker(tree.clone(), known.digest.clone()));
            return Ok(Layer { diff_id, digest: known.digest.clone(), size: known.size, content });
        }
    }
    if worth_packing(tree)? {
        return sealed(scratch, |to| write_tar(tree, to));
    }
    let (_, sums) = gzip(std::io::sink(), STORED, |to| write_tar(tree, to))?;
    let content = Content::Made(maker(tree.clone(), sums.digest.clone()));
    Ok(Layer { diff_id: sums.diff_id, digest: sums.digest, size: sums.size, content })
}

/// Packs a layer once more, and fails unless it is what it was meant to be.
fn maker(tree: Tree, expected: Digest) -> Maker {
    Maker::new(move |to| {
        let level = if worth_packing(&tree)? { PACKED } else { STORED };
        let mut gzip = packer(to, level);
        write_tar(&tree, &mut gzip)?;
        let (_, digest, _) = sealing(gzip)?;
        if digest == expected {
            return Ok(());
        }
        Err(Problem::new(Code::DigestMismatch, format!("a layer that should be {expected} is {digest}")).hint(
            "leave the files of a run alone while it works; if nothing touched them, remove the folder of image.cache, which may have said what \
             the registry has",
        ))
    })
}

/// What a layer is known by.
struct Sums {
    diff_id: Digest,
    digest: Digest,
    size: u64,
}

/// Packs and hashes in one pass what `fill` writes.
fn gzip<W: Write>(to: W, level: Compression, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<(W, Sums)> {
    let mut gzip = packer(to, level);
    let (filled, diff_id) = hashed(&mut gzip, fill);
    filled?;
    let (to, digest, size) = sealing(gzip)?;
    Ok((to, Sums { diff_id, digest, size }))
}

fn packer<W: Write>(to: W, level: Compression) -> GzEncoder<Hashing<W>> {
    // 255: the operating system is nobody's business; no time, no name.
    GzBuilder::new().mtime(0).operating_system(255).write(Hashing::new(to), level)
}

fn sealing<W: Write>(gzip: GzEncoder<Hashing<W>>) -> Result<(W, Digest, u64)> {
    Ok(gzip.finish().map_err(|error| Problem::io("pack", "a layer", &error))?.finish())
}

/// The digest of what `fill` writes, found on a thread of its own: hashing takes as long as all the rest.
fn hashed<W: Write>(to: W, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> (Result<()>, Digest) {
    std::thread::scope(|scope| {
        let (line, pieces) = mpsc::sync_channel::<Vec<u8>>(PIECES);
        let (back, used) = mpsc::channel();
        let hash = scope.spawn(move || {
            let mut hash = Sha256::new();
            for mut piece in pieces {
                hash.update(&piece);
                piece.clear();
                // The other end may be done already.
                let _ = back.send(piece);
            }
            hash.finalize()
        });
        let mut aside = Aside { to, line, used, piece: Vec::with_capacity(PIECE) };
        let done = fill(&mut aside).and_then(|()| aside.send().map_err(|error| Problem::io("hash", "a layer", &error)));
        drop(aside);
        match hash.join() {
            Ok(sum) => (done, Digest::from_sha256(&sum)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Writes through, and hands a copy in pieces to the thread that hashes; their memory comes back.
struct Aside<W> {
    to: W,
    line: mpsc::SyncSender<Vec<u8>>,
    used: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
}

impl<W> Aside<W> {
    fn send(&mut self) -> std::io::Result<()> {
        let fresh = self.used.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        self.line.send(std::mem::replace(&mut self.piece, fresh)).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

impl<W: Write> Write for Aside<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.piece.extend_from_slice(&bytes[..written]);
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// A layer of what `fill` writes, packed into `scratch` under its digest.
fn sealed(scratch: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Layer> {
    let temporary =
        tempfile::Builder::new().prefix("layer-").tempfile_in(scratch).map_err(|error| Problem::io("write", scratch, &error))?;
    let (file, temporary) = temporary.into_parts();
    let (mut file, sums) = gzip(BufWriter::with_capacity(BUFFER, file), PACKED, fill).map_err(|problem| match problem.code {
        // What is full is where the layer goes, not where its files come from.
        Code::DiskFull => Problem::new(Code::DiskFull, format!("no space is left for the image's layers in {}", scratch.display())),
        _ => problem,
    })?;
    file.flush().map_err(|error| Problem::io("write", &temporary, &error))?;
    let path = scratch.join(format!("{}.tar.gz", sums.digest.hex()));
    temporary.persist(&path).map_err(|error| Problem::io("write", &path, &error.error))?;
    Ok(Layer { diff_id: sums.diff_id, digest: sums.digest, size: sums.size, content: Content::File(path) })
}

/// Packs a tar stream that others wrote, which may be packed by gzip, as it is: unpacked it stays the same.
pub(super) fn pack(from: &Path, gzip: bool, scratch: &Path) -> Result<Layer> {
    let file = BufReader::with_capacity(BUFFER, File::open(from).map_err(|error| Problem::io("read", from, &error))?);
    let mut source: Box<dyn Read> = if gzip { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) };
    sealed(scratch, |to| std::io::copy(&mut source, to).map(|_| ()).map_err(|error| Problem::io("pack", from, &error)))
}

fn write_tar(tree: &Tree, to: &mut dyn Write) -> Result<()> {
    let mut tar = tar::Builder::new(to);
    for (path, node) in tree {
        let mut header = tar::Header::new_gnu();
        header.set_mode(node.mode);
        header.set_uid(node.owner.user);
        header.set_gid(node.owner.group);
        header.set_mtime(ENTRY_TIME);
        header.set_size(0);
        let written = match &node.kind {
            Kind::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, format!("{path}/"), std::io::empty())
            }
            Kind::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target)
            }
            Kind::File(source, size) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(*size);
                tar.append_data(&mut header, path, BufReader::with_capacity(BUFFER, source.open(*size)?))
            }
            Kind::Packed { .. } | Kind::Special => return Err(Problem::bug(format!("{path} of a base stands in a layer"))),
        };
        written.map_err(|error| match &node.kind {
            Kind::File(source, _) => source.unreadable(&error),
            _ => Problem::io("pack", path, &error),
        })?;
    }
    tar.finish().map_err(|error| Problem::io("pack", "a layer", &error))
}

/// Jars are packed already, and packing them again costs time and wins nothing: decided by trying the beginning of every file, so
/// that the same content gives the same answer everywhere.
fn worth_packing(tree: &Tree) -> Result<bool> {
    let (mut packs, mut all) = (0u64, 0u64);
    for node in tree.values() {
        if let Kind::File(source, size) = &node.kind {
            all += size;
            packs += if sample_packs(source, *size)? { *size } else { 0 };
        }
    }
    Ok(packs * 4 >= all)
}

fn sample_packs(source: &Source, size: u64) -> Result<bool> {
    let failed = |error: std::io::Error| source.unreadable(&error);
    let mut sample = Vec::with_capacity(SAMPLE as usize);
    source.open(size)?.take(SAMPLE).read_to_end(&mut sample).map_err(failed)?;
    let mut gzip = GzEncoder::new(Counter(0), PACKED);
    gzip.write_all(&sample).map_err(failed)?;
    let packed = gzip.finish().map_err(failed)?.0;
    Ok((packed as f64) < sample.len() as f64 * WORTH)
}

struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Hashes and counts what goes through.
struct Hashing<W> {
    to: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(to: W) -> Self {
        Hashing { to, hash: Sha256::new(), size: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.to, Digest::from_sha256(&self.hash.finalize()), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;
    use crate::image::tree::{Node, Owner};

    fn file(dir: &Path, name: &str, content: &[u8]) -> Node {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        Node { kind: Kind::File(Source::File(path), content.len() as u64), mode: 0o644, owner: Owner { user: 10001, group: 10001 } }
    }

    #[test]
    fn a_layer_reads_back_as_it_was_meant() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("app/{}/x.class", "long-name/".repeat(30).trim_end_matches('/'));
        let tree = Tree::from([
            ("app".to_string(), Node::folder(Owner::default())),
            (long.clone(), file(dir.path(), "x", &b"class ".repeat(3000))),
            ("link".to_string(), Node { kind: Kind::Link("app/x".to_string()), mode: 0o777, owner: Owner::default() }),
        ]);
        let layer = write(&tree, dir.path(), &HashMap::new()).unwrap();
        let Content::File(path) = &layer.content else { panic!("{:?}", layer.content) };
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(bytes.len() as u64, layer.size);
        assert_eq!(layer.digest, Digest::from_sha256(&Sha256::digest(&bytes)));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
        assert_eq!(layer.diff_id, Digest::from_sha256(&Sha256::digest(&plain)));
        let mut archive = tar::Archive::new(plain.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!(header.mtime().unwrap(), ENTRY_TIME);
                assert_eq!((header.username().unwrap(), header.groupname().unwrap()), (Some(""), Some("")));
                (entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.uid().unwrap(), header.size().unwrap())
            })
            .collect();
        assert_eq!(entries, [("app/".to_string(), 0o755, 0, 0), (long, 0o644, 10001, 18000), ("link".to_string(), 0o777, 0, 0)]);
    }

    #[test]
    fn packed_files_are_stored_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        // What an xorshift makes does not pack.
        let mut state = 88_172_645_463_325_252u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(200_000)
        .collect();
        let tree =
            Tree::from([("noise".to_string(), file(dir.path(), "noise", &noise)), ("t".to_string(), file(dir.path(), "t", &[0; 100]))]);
        assert!(!worth_packing(&tree).unwrap());
        let layer = write(&tree, dir.path(), &HashMap::new()).unwrap();
        let bytes = made(&layer).unwrap();
        assert!(layer.size > 200_000 && bytes.len() as u64 == layer.size);
        assert_eq!(Digest::from_sha256(&Sha256::digest(&bytes)), layer.digest);
        assert!(made(&layer).unwrap() == bytes, "the same each time");
        let tree = Tree::from([("zeros".to_string(), file(dir.path(), "zeros", &[0; 200_000]))]);
        assert!(write(&tree, dir.path(), &HashMap::new()).unwrap().size < 4000);
    }

    fn made(layer: &Layer) -> Result<Vec<u8>> {
        let Content::Made(maker) = &layer.content else { panic!("{:?}", layer.content) };
        let mut bytes = Vec::new();
        maker.write(&mut bytes).map(|()| bytes)
    }

    #[test]
    fn a_layer_that_is_there_is_packed_only_when_it_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::from([("x".to_string(), file(dir.path(), "x", &[b'x'; 5000]))]);
        let first = write(&tree, dir.path(), &HashMap::new()).unwrap();
        let Content::File(path) = &first.content else { panic!("{:?}", first.content) };
        let bytes = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        let packed = HashMap::from([(first.diff_id.clone(), Packed { digest: first.digest.clone(), size: first.size })]);
        let again = write(&tree, dir.path(), &packed).unwrap();
        assert_eq!((&again.diff_id, &again.digest, again.size), (&first.diff_id, &first.digest, first.size));
        assert!(made(&again).unwrap() == bytes && !path.exists());
        let wrong = HashMap::from([(first.diff_id.clone(), Packed { digest: first.diff_id.clone(), size: 1 })]);
        assert_eq!(made(&write(&tree, dir.path(), &wrong).unwrap()).unwrap_err().code, Code::DigestMismatch);
    }

    #[test]
    fn more_than_32_bits_count() {
        const LARGE: u64 = (4 << 30) + 5;
        let dir = tempfile::tempdir().unwrap();
        let sparse = dir.path().join("sparse");
        let mut hole = File::create(&sparse).unwrap();
        hole.seek(SeekFrom::Start(LARGE - 3)).unwrap();
        hole.write_all(b"end").unwrap();
        let large = Node { kind: Kind::File(Source::File(sparse), LARGE), ..file(dir.path(), "x", b"behind it") };
        let tree = Tree::from([("large".to_string(), large), ("small".to_string(), file(dir.path(), "x", b"behind it"))]);
        let layer = write(&tree, dir.path(), &HashMap::new()).unwrap();
        let Content::File(path) = &layer.content else { panic!("{:?}", layer.content) };
        let mut plain = tar::Archive::new(flate2::bufread::GzDecoder::new(BufReader::with_capacity(BUFFER, File::open(path).unwrap())));
        let mut entries = plain.entries().unwrap();
        let mut large = entries.next().unwrap().unwrap();
        assert_eq!(large.size(), LARGE);
        std::io::copy(&mut large.by_ref().take(LARGE - 3), &mut std::io::sink()).unwrap();
        assert_eq!(std::io::read_to_string(large).unwrap(), "end");
        assert_eq!(std::io::read_to_string(entries.next().unwrap().unwrap()).unwrap(), "behind it");
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::from([("x".to_string(), file(dir.path(), "x", b"12345"))]);
        std::fs::write(dir.path().join("x"), b"1234").unwrap();
        assert!(write(&tree, dir.path(), &HashMap::new()).unwrap_err().message.contains("changed while"));
    }
}

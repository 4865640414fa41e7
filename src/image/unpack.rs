//! ADD of a local archive: its entries become files of the layer.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

use super::{
    context::{Place, clean},
    entries::{Archive, Entry},
    packing::{Compression, unpacked},
    source::Source,
    tree::{Kind, Node, Owner},
};
use crate::domain::problem::{Code, Problem, Result};

/// Unpacked bytes of one archive, at most.
const MAX_UNPACKED: u64 = 8 << 30;
const MAX_ENTRIES: usize = 500_000;
/// A tar header has 512 bytes; its magic stands at 257.
const HEADER: usize = 512;

/// The entries of a tar archive, plain or packed by gzip, bzip2, xz or zstd; None when the file is no archive, which is then copied as
/// it is. Contents are unpacked into `scratch` under names of our own.
pub(super) fn unpack(path: &Path, scratch: &Path, place: Place<'_>) -> Result<Option<Vec<(String, Node)>>> {
    let compression = Compression::of(path)?;
    let mut header = Vec::with_capacity(HEADER);
    let read = unpacked(path, compression)?.take(HEADER as u64).read_to_end(&mut header);
    match (read, compression) {
        (Err(error), Compression::None) => return Err(Problem::io("read", path, &error)),
        // What begins like gzip and is none is a file as any other.
        (Err(_), _) => return Ok(None),
        (Ok(_), _) if header.len() < HEADER || &header[257..262] != b"ustar" => return Ok(None),
        (Ok(_), _) => {}
    }
    let reader = unpacked(path, compression)?;
    let dir = tempfile::Builder::new().prefix("add-").tempdir_in(scratch).map_err(|error| Problem::io("write", scratch, &error))?.keep();
    Unpacking { archive: path, dir: &dir, place, left: MAX_UNPACKED, found: Vec::new() }.run(reader).map(Some)
}

struct Unpacking<'a> {
    archive: &'a Path,
    dir: &'a Path,
    place: Place<'a>,
    left: u64,
    found: Vec<(String, Node)>,
}

impl Unpacking<'_> {
    fn run(mut self, reader: Box<dyn Read>) -> Result<Vec<(String, Node)>> {
        let mut archive = Archive::of(reader);
        let (place, path) = (self.place, self.archive);
        let broken = |error: std::io::Error| place.invalid(format!("{} cannot be unpacked: {error}", path.display()));
        for entry in archive.entries().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            if self.found.len() >= MAX_ENTRIES {
                return Err(self.place.invalid(format!("{} has more than {MAX_ENTRIES} entries", self.archive.display())));
            }
            self.entry(entry)?;
        }
        Ok(self.found)
    }

    fn entry(&mut self, mut entry: Entry<'_>) -> Result<()> {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(path) = clean(&name) else { return Err(self.escape(&name)) };
        let kind = entry.header().entry_type();
        if path.is_empty() || matches!(kind, tar::EntryType::XGlobalHeader) {
            return Ok(());
        }
        let header = entry.header();
        let mode = header.mode().unwrap_or(0o644) & 0o7777;
        let owner = Owner { user: header.uid().unwrap_or(0), group: header.gid().unwrap_or(0) };
        let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned()).unwrap_or_default();
        let node = match kind {
            tar::EntryType::Directory => Node { kind: Kind::Folder, mode, owner },
            tar::EntryType::Symlink => Node { kind: Kind::Link(target), mode: 0o777, owner },
            tar::EntryType::Regular | tar::EntryType::Continuous => Node { kind: self.content(&mut entry)?, mode, owner },
            tar::EntryType::Link => {
                let original = clean(&target).ok_or_else(|| self.escape(&target))?;
                let found = self.found.iter().rev().find(|(path, _)| *path == original);
                let missing = || self.place.invalid(format!("{} has a link to {target}, which is not in it", self.archive.display()));
                found.map(|(_, node)| node.clone()).ok_or_else(missing)?
            }
            _ => {
                return Err(self
                    .place
                    .unsupported(format!("{} holds {name}, which is neither file, folder nor link", self.archive.display())));
            }
        };
        self.found.push((path, node));
        Ok(())
    }

    fn content(&mut self, entry: &mut Entry<'_>) -> Result<Kind> {
        let path = self.dir.join(self.found.len().to_string());
        let failed = |error: std::io::Error| Problem::io("write", &path, &error);
        let mut file = File::create(&path).map_err(failed)?;
        let size = std::io::copy(&mut entry.take(self.left + 1), &mut file).map_err(failed)?;
        self.left = self
            .left
            .checked_sub(size)
            .ok_or_else(|| self.place.invalid(format!("{} unpacks to more than {MAX_UNPACKED} bytes", self.archive.display())))?;
        file.flush().map_err(failed)?;
        Ok(Kind::File(Source::File(path), size))
    }

    fn escape(&self, name: &str) -> Problem {
        self.place.problem(Code::ContextEscape, format!("{} holds {name:?}, which leads out of its target", self.archive.display()))
    }
}

//! The entries of tar archives that others made. What stands in front of an entry (long names, pax records) is read whole by the crate
//! and packs to next to nothing, so it is bounded here, and so is what an archive unpacks to.

use std::{
    cell::Cell,
    io::{Error, Read, Result},
    path::Path,
    rc::Rc,
};

use super::{config::Packing, packing};
use crate::domain::problem;

pub(super) type Entry<'a> = tar::Entry<'a, Bounded>;

/// What may stand in front of an entry, bytes.
const MAX_HEADERS: u64 = 1 << 20;
/// Unpacked bytes of one archive, at most.
const MAX_UNPACKED: u64 = 32 << 30;
/// The block of a tar archive, bytes.
const BLOCK: u64 = 512;

/// An archive that is walked through once, from its beginning.
pub(super) struct Archive {
    tar: tar::Archive<Bounded>,
    /// How much may be read until the next entry has to be there, bytes.
    left: Rc<Cell<u64>>,
}

/// The archive's bytes, as far as they may be read.
pub(super) struct Bounded {
    bytes: Box<dyn Read>,
    left: Rc<Cell<u64>>,
    in_all: u64,
}

impl Archive {
    /// A layer.
    pub fn open(path: &Path, packing: Packing) -> problem::Result<Archive> {
        packing::open(path, packing).map(Archive::of)
    }

    pub fn of(bytes: Box<dyn Read>) -> Archive {
        let left = Rc::new(Cell::new(MAX_HEADERS));
        Archive { tar: tar::Archive::new(Bounded { bytes, left: left.clone(), in_all: MAX_UNPACKED }), left }
    }

    pub fn entries(&mut self) -> Result<impl Iterator<Item = Result<Entry<'_>>>> {
        let left = self.left.clone();
        Ok(self.tar.entries()?.inspect(move |entry| left.set(entry.as_ref().map_or(0, content).saturating_add(BLOCK + MAX_HEADERS))))
    }
}

/// The bytes that an entry has in the archive: a sparse file has more of them for its reader.
fn content(entry: &Entry<'_>) -> u64 {
    let said = entry.header().entry_size().unwrap_or(0);
    if entry.header().entry_type().is_gnu_sparse() { said } else { said.max(entry.size()) }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = self.left.get().min(self.in_all);
        if most == 0 && !buffer.is_empty() {
            return Err(Error::other(match self.in_all {
                0 => format!("it unpacks to more than {} GiB", MAX_UNPACKED >> 30),
                _ => format!("what describes an entry is longer than {} MiB", MAX_HEADERS >> 20),
            }));
        }
        let end = buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let got = self.bytes.read(&mut buffer[..end])?;
        self.left.set(self.left.get() - got as u64);
        self.in_all -= got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of an archive, or why it is refused.
    fn names(bytes: Vec<u8>) -> Result<Vec<String>> {
        let mut archive = Archive::of(Box::new(std::io::Cursor::new(bytes)));
        archive.entries()?.map(|entry| Ok(String::from_utf8_lossy(&entry?.path_bytes()).into_owned())).collect()
    }

    fn archive(kind: tar::EntryType, described: usize, content: usize) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(described as u64);
        tar.append_data(&mut header, "about", vec![b'a'; described].as_slice()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(content as u64);
        tar.append_data(&mut header, "large", vec![0; content].as_slice()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        tar.append_data(&mut header, "last", [].as_slice()).unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn what_describes_an_entry_is_bounded_and_its_content_is_not() {
        assert_eq!(names(archive(tar::EntryType::GNULongName, 1000, 5 << 20)).unwrap(), ["a".repeat(1000), "last".to_string()]);
        for kind in [tar::EntryType::GNULongName, tar::EntryType::GNULongLink, tar::EntryType::XHeader] {
            let refused = names(archive(kind, 2 << 20, 0)).unwrap_err();
            assert!(refused.to_string().contains("longer than 1 MiB"), "{refused}");
        }
    }

    #[test]
    fn what_unpacks_without_an_end_is_refused() {
        let mut bytes = Bounded { bytes: Box::new(std::io::repeat(0)), left: Rc::new(Cell::new(u64::MAX)), in_all: 1000 };
        let refused = std::io::copy(&mut bytes, &mut std::io::sink()).unwrap_err();
        assert!(refused.to_string().contains("more than 32 GiB"), "{refused}");
    }
}

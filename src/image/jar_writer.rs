//! Writes jars that depend on nothing but what is in them: fixed times, explicit folders, stored entries.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use super::{
    archive::{Archive, Entry},
    artifact::MAX_TEXT,
};
use crate::domain::problem::{Problem, Result};

const SIGNATURES: [&str; 4] = [".SF", ".RSA", ".DSA", ".EC"];
const MANIFEST: &str = "META-INF/MANIFEST.MF";
/// From this size on (bytes) an entry needs zip64 fields.
const ZIP64: u64 = u32::MAX as u64;

/// Writes `entries` (new name, where from) of an archive as a jar, in their order, after `manifest`. Entries are stored, not packed:
/// the layer is packed as a whole, and its bytes then do not depend on what packed the jar that we were given.
pub(super) fn write(archive: &mut Archive, manifest: &[u8], entries: &[(String, Entry)], to: &Path) -> Result<()> {
    let file = File::create(to).map_err(|error| Problem::io("write", to, &error))?;
    let mut file = write_to(archive, manifest, entries, BufWriter::with_capacity(64 << 10, file), to)?;
    file.flush().map_err(|error| Problem::io("write", to, &error))
}

/// `to` is the name of the file, for messages.
fn write_to<W: Write + Seek>(archive: &mut Archive, manifest: &[u8], entries: &[(String, Entry)], file: W, to: &Path) -> Result<W> {
    let mut writer = Writer { zip: ZipWriter::new(Failing { to: file, at: 0, failed: false }), folders: BTreeSet::new(), to };
    writer.start(MANIFEST, manifest.len() as u64)?;
    writer.zip.write_all(manifest).map_err(|error| Problem::io("write", to, &error))?;
    let signed = entries.iter().any(|(name, _)| is_signature(name));
    for (name, entry) in entries.iter().filter(|(name, _)| name != MANIFEST) {
        if is_pom_properties(name) && !signed {
            let text = without_comments(&archive.read(entry, MAX_TEXT)?);
            writer.start(name, text.len() as u64)?;
            writer.zip.write_all(&text).map_err(|error| Problem::io("write", to, &error))?;
        } else {
            writer.start(name, entry.size)?;
            archive.copy(entry, &mut writer.zip)?;
        }
    }
    writer.zip.finish().map(|file| file.to).map_err(|error| Problem::io("write", to, &error.into()))
}

/// Fails once, and then only counts. A writer of the zip crate that failed tries to end its archive all the same when it is dropped, and when
/// that fails, too, it complains on stderr, where nobody knows what it is about.
struct Failing<W> {
    to: W,
    at: u64,
    failed: bool,
}

impl<W: Write> Write for Failing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = if self.failed { Ok(bytes.len()) } else { self.to.write(bytes) };
        self.failed |= written.is_err();
        written.inspect(|written| self.at += *written as u64)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = if self.failed { Ok(()) } else { self.to.flush() };
        self.failed |= flushed.is_err();
        flushed
    }
}

impl<W: Seek> Seek for Failing<W> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let counted = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(_) => self.at,
        };
        let found = if self.failed { Ok(counted) } else { self.to.seek(to) };
        self.failed |= found.is_err();
        found.inspect(|at| self.at = *at)
    }
}

/// Whether an entry belongs to a jar's signature.
pub(super) fn is_signature(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.starts_with("META-INF/") && name.matches('/').count() == 1 && SIGNATURES.iter().any(|end| name.ends_with(end))
}

struct Writer<'a, W: Write + Seek> {
    zip: ZipWriter<Failing<W>>,
    folders: BTreeSet<String>,
    to: &'a Path,
}

impl<W: Write + Seek> Writer<'_, W> {
    /// Begins an entry, after the folders above it: class path scanning looks for those.
    fn start(&mut self, name: &str, size: u64) -> Result<()> {
        for (end, _) in name.match_indices('/') {
            let folder = &name[..=end];
            if self.folders.insert(folder.to_string()) {
                self.zip.add_directory(folder, options(0)).map_err(|error| Problem::io("write", self.to, &error.into()))?;
            }
        }
        self.zip.start_file(name, options(size)).map_err(|error| Problem::io("write", self.to, &error.into()))
    }
}

fn options(size: u64) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .large_file(size >= ZIP64)
}

/// Maven's archiver wrote the time of the build into them, as a comment.
fn is_pom_properties(name: &str) -> bool {
    name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties")
}

fn without_comments(text: &[u8]) -> Vec<u8> {
    text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#")).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io::Read, rc::Rc};

    use super::*;

    /// A file in which zeros become holes, so that a large one takes no room.
    struct Sparse(File);

    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

    impl Write for Sparse {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if bytes == &ZEROS[..bytes.len().min(ZEROS.len())] {
                self.0.seek_relative(bytes.len() as i64).map(|()| bytes.len())
            } else {
                self.0.write(bytes)
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.0.flush()
        }
    }

    impl Seek for Sparse {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn an_entry_of_more_than_4_gib_goes_from_jar_to_jar() {
        const LARGE: u64 = (4 << 30) + 7;
        let dir = tempfile::tempdir().unwrap();
        let (given, made) = (dir.path().join("given.jar"), dir.path().join("made.jar"));
        let mut zip = ZipWriter::new(Sparse(File::create(&given).unwrap()));
        zip.start_file("data/large", options(LARGE)).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(LARGE - 3), &mut BufWriter::with_capacity(ZEROS.len(), &mut zip)).unwrap();
        zip.write_all(b"end").unwrap();
        zip.start_file("data/small", options(9)).unwrap();
        zip.write_all(b"behind it").unwrap();
        zip.finish().unwrap();

        let mut archive = Archive::open(&given).unwrap();
        let entries: Vec<(String, Entry)> = archive.entries().iter().map(|entry| (entry.name.clone(), entry.clone())).collect();
        assert_eq!(entries.iter().map(|(_, entry)| entry.size).collect::<Vec<_>>(), [LARGE, 9]);
        let to = BufWriter::with_capacity(ZEROS.len(), Sparse(File::create(&made).unwrap()));
        write_to(&mut archive, b"Main-Class: a.B\n", &entries, to, &made).unwrap().flush().unwrap();

        let mut archive = Archive::open(&made).unwrap();
        assert_eq!(archive.find("data/large").unwrap().size, LARGE);
        let mut small = Vec::new();
        archive.copy(&archive.find("data/small").unwrap(), &mut small).unwrap();
        assert_eq!(small, b"behind it");
    }

    /// A disk with room for so many bytes, and how often it was full.
    struct Full(std::io::Cursor<Vec<u8>>, usize, Rc<Cell<usize>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0.position() as usize + bytes.len() <= self.1 {
                return self.0.write(bytes);
            }
            self.2.set(self.2.get() + 1);
            Err(std::io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Full {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let given = dir.path().join("given.jar");
        let mut zip = ZipWriter::new(File::create(&given).unwrap());
        zip.start_file("data", options(3000)).unwrap();
        zip.write_all(&[b'x'; 3000]).unwrap();
        zip.finish().unwrap();
        // In front of the content, in the middle of it, and in the directory at the end.
        for room in [10, 500, 3300] {
            let (mut archive, times) = (Archive::open(&given).unwrap(), Rc::new(Cell::new(0)));
            let entries = [("data".to_string(), archive.find("data").unwrap())];
            let disk = Full(std::io::Cursor::default(), room, times.clone());
            let problem = write_to(&mut archive, b"Main-Class: a.B\n", &entries, disk, &given).err().unwrap();
            assert_eq!((problem.code, times.get()), (crate::domain::problem::Code::DiskFull, 1), "{room}: {}", problem.message);
        }
    }
}

//! A jar or war, opened with distrust: nothing is extracted to a path of the archive's choosing, and everything is capped.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use zip::{CompressionMethod, ZipArchive, result::ZipError};

use super::source::Source;
use crate::domain::problem::{Code, Problem, Result};

/// What an archive may hold at most. The largest applications stay far below; bombs do not.
const MAX_ENTRIES: u64 = 250_000;
/// Unpacked size of all entries together, bytes.
const MAX_UNPACKED: u64 = 8 << 30;
/// Unpacked size over the archive's own size; deflate itself ends at 1032.
const MAX_RATIO: u64 = 200;
/// Below this unpacked size (bytes) no ratio is too high: text of one repeated line packs very well.
const RATIO_FLOOR: u64 = 64 << 20;
const MAX_NAME: usize = 4096;
const BUFFER: usize = 64 << 10;

/// An entry's place in the archive, known without reading its content.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub name: String,
    /// Unpacked bytes.
    pub size: u64,
    index: usize,
}

/// An archive whose directory was read and found sane.
pub(super) struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    entries: Vec<Entry>,
}

impl Archive {
    /// Opens and checks an archive; whatever is wrong with it names the file.
    pub fn open(path: &Path) -> Result<Archive> {
        let file = open_regular(path)?;
        let length = file.metadata().map_err(|error| Problem::io("read", path, &error))?.len();
        check_signature(path, length)?;
        check_count(path, declared_entries(&file, length).map_err(|error| Problem::io("read", path, &error))?)?;
        let mut zip = ZipArchive::new(BufReader::with_capacity(8 << 10, file)).map_err(|error| unreadable(path, &error))?;
        check_count(path, zip.len() as u64)?;
        if zip.has_duplicate_names() {
            return Err(invalid(path, "two of its entries have the same name"));
        }
        let entries = list(path, &zip)?;
        check_sizes(path, &entries, length)?;
        if zip.has_overlapping_files().map_err(|error| unreadable(path, &error))? {
            return Err(invalid(path, "its entries overlap"));
        }
        Ok(Archive { path: path.to_path_buf(), zip, entries })
    }

    /// Files in the order of the archive's directory; folders are left out.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn find(&self, name: &str) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.name == name).cloned()
    }

    /// The first bytes of an entry, at most `most`.
    pub fn head(&mut self, entry: &Entry, most: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let reader = self.zip.by_index(entry.index).map_err(|error| unreadable(&self.path, &error))?;
        reader.take(most).read_to_end(&mut bytes).map_err(|error| broken(&self.path, entry, &error))?;
        Ok(bytes)
    }

    /// A whole small entry; more than `most` bytes are an error.
    pub fn read(&mut self, entry: &Entry, most: u64) -> Result<Vec<u8>> {
        if entry.size > most {
            return Err(invalid(&self.path, format!("its entry {} has {} bytes, and at most {most} are taken", entry.name, entry.size)));
        }
        let mut bytes = Vec::new();
        self.copy(entry, &mut bytes)?;
        Ok(bytes)
    }

    /// A small text entry by name, lossy; None when there is none.
    pub fn text(&mut self, name: &str, most: u64) -> Result<Option<String>> {
        match self.find(name) {
            Some(entry) => Ok(Some(String::from_utf8_lossy(&self.read(&entry, most)?).into_owned())),
            None => Ok(None),
        }
    }

    /// Where an entry's content stands in the archive; None when it is packed.
    pub fn stored(&mut self, entry: &Entry) -> Result<Option<Source>> {
        let reader = self.zip.by_index(entry.index).map_err(|error| unreadable(&self.path, &error))?;
        let stored = reader.compression() == CompressionMethod::Stored && reader.compressed_size() == entry.size;
        let begin = reader.data_start().filter(|_| stored);
        Ok(begin.map(|offset| Source::Stored { archive: self.path.clone(), name: entry.name.clone(), offset, crc: reader.crc32() }))
    }

    /// Streams an entry's content, verified by its CRC and against its declared size.
    pub fn copy(&mut self, entry: &Entry, to: &mut dyn Write) -> Result<()> {
        let reader = self.zip.by_index(entry.index).map_err(|error| unreadable(&self.path, &error))?;
        let mut reader = BufReader::with_capacity(BUFFER, reader.take(entry.size + 1));
        let copied = std::io::copy(&mut reader, to).map_err(|error| broken(&self.path, entry, &error))?;
        if copied != entry.size {
            return Err(invalid(&self.path, format!("its entry {} is not as long as the archive says", entry.name)));
        }
        Ok(())
    }
}

/// An artifact that cannot be used, with the file's name in front.
pub(super) fn invalid(path: &Path, why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::ArtifactInvalid, format!("{} cannot be used: {why}", path.display()))
}

fn open_regular(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Problem::new(Code::ArtifactMissing, format!("there is no file {}", path.display())),
        _ => Problem::io("open", path, &error),
    })?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(invalid(path, "it is not a file")),
        Err(error) => Err(Problem::io("read", path, &error)),
    }
}

fn check_signature(path: &Path, length: u64) -> Result<()> {
    // The shortest zip is an empty one: its end record has 22 bytes.
    if length < 22 {
        return Err(invalid(path, format!("it is not a zip archive ({length} bytes)")));
    }
    Ok(())
}

/// What the end record says of the number of entries (APPNOTE.TXT 4.3.14 and 4.3.16), before anything is kept of them. The count of
/// a zip64 archive is looked for where its record stands in practice, right in front of its locator.
fn declared_entries(mut file: &File, length: u64) -> std::io::Result<u64> {
    const LONGEST_COMMENT: u64 = 65_535;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_COMMENT + 22 + 20 + 56)))?;
    file.read_to_end(&mut tail)?;
    file.rewind()?;
    let last = |signature: &[u8]| tail.windows(4).rposition(|window| window == signature);
    let number =
        |at: usize, bytes: usize| tail.get(at..at + bytes).map(|le| le.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)));
    let short = last(b"PK\x05\x06").and_then(|at| number(at + 10, 2)).unwrap_or(0);
    let long = last(b"PK\x06\x06").and_then(|at| number(at + 32, 8));
    Ok(if short == 0xffff { long.unwrap_or(short) } else { short })
}

fn check_count(path: &Path, count: u64) -> Result<()> {
    if count > MAX_ENTRIES {
        return Err(invalid(path, format!("it has {count} entries, and at most {MAX_ENTRIES} are taken")));
    }
    Ok(())
}

fn list(path: &Path, zip: &ZipArchive<BufReader<File>>) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(zip.len());
    for index in 0..zip.len() {
        let data = zip.by_index_data(index).map_err(|error| unreadable(path, &error))?;
        let name = data.name().map_err(|error| unreadable(path, &error))?.into_owned();
        if let Some(why) = hostile_name(&name) {
            return Err(invalid(path, format!("its entry {name:?} {why}")));
        }
        if data.encrypted() {
            return Err(invalid(path, format!("its entry {name} is encrypted")));
        }
        if data.is_symlink() {
            return Err(invalid(path, format!("its entry {name} is a symbolic link")));
        }
        if !data.is_dir() {
            entries.push(Entry { name, size: data.size(), index });
        }
    }
    Ok(entries)
}

/// Why a name is no name of a jar's entry; `..` and absolute names are the way of zip slip.
fn hostile_name(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > MAX_NAME {
        Some("has no usable name")
    } else if name.starts_with(['/', '\\']) || name.as_bytes().get(1) == Some(&b':') {
        Some("has an absolute name")
    } else if name.split(['/', '\\']).any(|part| part == "..") {
        Some("leads out of the archive")
    } else if name.chars().any(char::is_control) {
        Some("has control characters in its name")
    } else {
        None
    }
}

fn check_sizes(path: &Path, entries: &[Entry], length: u64) -> Result<()> {
    let unpacked = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.size));
    if unpacked > MAX_UNPACKED {
        return Err(invalid(path, format!("it unpacks to {unpacked} bytes, and at most {MAX_UNPACKED} are taken")));
    }
    if unpacked > RATIO_FLOOR && unpacked / length.max(1) > MAX_RATIO {
        return Err(invalid(path, format!("it unpacks to {} times its size, which looks like a bomb", unpacked / length.max(1))));
    }
    Ok(())
}

fn broken(path: &Path, entry: &Entry, error: &std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Problem::io("unpack", path, error),
        _ => invalid(path, format!("its entry {} cannot be unpacked: {error}", entry.name)),
    }
}

fn unreadable(path: &Path, error: &ZipError) -> Problem {
    match error {
        ZipError::Io(error) if error.kind() != std::io::ErrorKind::UnexpectedEof && error.raw_os_error().is_some() => {
            Problem::io("read", path, error)
        }
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword => invalid(path, "it is encrypted"),
        ZipError::CompressionMethodNotSupported(method) => {
            invalid(path, format!("it is packed by method {method}, which Java cannot read either"))
        }
        error => invalid(path, format!("it is not a sound zip archive: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_told_from_good_ones() {
        for name in ["../x", "a/../../x", "/etc/passwd", "\\x", "C:x", "a\\..\\x", "a\nb", ""] {
            assert!(hostile_name(name).is_some(), "{name:?} was taken");
        }
        for name in ["META-INF/MANIFEST.MF", "a..b/c", "BOOT-INF/lib/x-1.0.jar", "Ünï/ß.class"] {
            assert_eq!(hostile_name(name), None, "{name:?}");
        }
    }
}

//! Writes jars that depend on nothing but what is in them: fixed times, explicit folders, stored entries.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Write},
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
    let mut writer = Writer { zip: ZipWriter::new(BufWriter::with_capacity(64 << 10, file)), folders: BTreeSet::new(), to };
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
    let mut file = writer.zip.finish().map_err(|error| Problem::io("write", to, &error.into()))?;
    file.flush().map_err(|error| Problem::io("write", to, &error))
}

/// Whether an entry belongs to a jar's signature.
pub(super) fn is_signature(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.starts_with("META-INF/") && name.matches('/').count() == 1 && SIGNATURES.iter().any(|end| name.ends_with(end))
}

struct Writer<'a> {
    zip: ZipWriter<BufWriter<File>>,
    folders: BTreeSet<String>,
    to: &'a Path,
}

impl Writer<'_> {
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

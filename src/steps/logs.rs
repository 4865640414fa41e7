//! The logs of an application in one archive, a file for each life of a container.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use regex::Regex;
use tempfile::NamedTempFile;

use crate::{
    cluster::{Cluster, LogQuery},
    domain::problem::{Problem, Result},
};

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Archived {
    pub logs: usize,
    /// Of all logs, before they were packed.
    pub bytes: u64,
    /// Lives of containers that are too many.
    pub left_out: usize,
}

/// Writes the archive; it appears under its name only when it is whole, and not at all where there is no log. Each log goes through a file on the disk, since its length stands
/// before it in the archive, so that no log is held in memory.
pub async fn archive_logs(cluster: &Cluster, query: &LogQuery, pattern: Option<&Regex>, to: &Path) -> Result<Archived> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: io::Error| Problem::io("write", to, &error);
    std::fs::create_dir_all(folder).map_err(|error| Problem::io("make", folder, &error))?;
    let found = cluster.log_sources(query).await?;
    let mut archived = Archived { left_out: found.left_out, ..Archived::default() };
    let spool = tempfile::tempfile_in(folder).map_err(failed)?;
    let mut tar = tar::Builder::new(BufWriter::new(spool));
    for source in &found.sources {
        let mut log = tempfile::tempfile_in(folder).map_err(failed)?;
        cluster.copy_whole_log(source, query.since, &mut log).await?;
        let mut log = matching(log, pattern, folder).map_err(failed)?;
        let bytes = log.seek(SeekFrom::End(0)).map_err(failed)?;
        log.rewind().map_err(failed)?;
        tar.append_data(&mut header(bytes), source.file(), BufReader::new(log)).map_err(failed)?;
        archived.logs += 1;
        archived.bytes += bytes;
    }
    let spool = tar.into_inner().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error)).map_err(failed)?;
    pack(spool, folder, to).map_err(failed)?;
    Ok(archived)
}

/// The lines that match; all of them without a pattern.
fn matching(mut log: File, pattern: Option<&Regex>, folder: &Path) -> io::Result<File> {
    let Some(pattern) = pattern else { return Ok(log) };
    log.rewind()?;
    let mut out = BufWriter::new(tempfile::tempfile_in(folder)?);
    let (mut reader, mut line) = (BufReader::new(log), Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        if pattern.is_match(&String::from_utf8_lossy(&line)) {
            out.write_all(&line)?;
        }
        line.clear();
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

fn header(bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    header
}

fn pack(mut spool: File, folder: &Path, to: &Path) -> io::Result<()> {
    spool.rewind()?;
    let out = NamedTempFile::new_in(folder)?;
    if to.extension().is_some_and(|extension| extension == "zst") {
        zstd(BufReader::new(spool), out.as_file())?;
    } else {
        let mut packed = GzEncoder::new(BufWriter::new(out.as_file()), Compression::default());
        io::copy(&mut spool, &mut packed)?;
        packed.finish()?.flush()?;
    }
    out.persist(to).map_err(|error| error.error)?;
    Ok(())
}

/// Packs by zstd.
fn zstd(from: impl Read, to: impl Write) -> io::Result<()> {
    let mut from = Noting { end: from, error: None };
    let mut to = Noting { end: BufWriter::new(to), error: None };
    ruzstd::encoding::compress(&mut from, &mut to, ruzstd::encoding::CompressionLevel::Fastest);
    match from.error.or(to.error) {
        Some(error) => Err(error),
        None => to.end.flush(),
    }
}

/// The compressor panics at an error of what it reads or writes: it is kept from it, and the first one is kept here.
struct Noting<T> {
    end: T,
    error: Option<io::Error>,
}

impl<T> Noting<T> {
    /// As if all had been done, after an error.
    fn noted(&mut self, done: io::Result<usize>, otherwise: usize) -> io::Result<usize> {
        done.or_else(|error| {
            self.error.get_or_insert(error);
            Ok(otherwise)
        })
    }
}

impl<T: Read> Read for Noting<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let done = self.end.read(buffer);
        self.noted(done, 0)
    }
}

impl<T: Write> Write for Noting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.end.write_all(bytes).map(|()| bytes.len());
        self.noted(done, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_cannot_be_written_whole_is_an_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        for length in [10, 5_000_000] {
            let text: Vec<u8> = (0..length).map(|n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
            assert_eq!(zstd(text.as_slice(), &full).unwrap_err().kind(), io::ErrorKind::StorageFull, "{length} bytes");
            assert!(zstd(File::open("/").unwrap(), io::sink()).is_err());
            let mut packed = Vec::new();
            zstd(text.as_slice(), &mut packed).unwrap();
            let mut back = Vec::new();
            ruzstd::decoding::StreamingDecoder::new(packed.as_slice()).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == text, "{length} bytes");
        }
    }
}

//! A child's whole output as a file, without secrets.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use crate::domain::{
    problem::{Problem, Result},
    redact::Redactor,
};

/// Bytes of a line without an end after which it is written all the same.
const LONGEST: usize = 1 << 20;

/// Where the output goes, and what must not stand in it.
#[derive(Clone)]
pub struct LogFile {
    pub path: PathBuf,
    pub redactor: Redactor,
}

impl LogFile {
    pub fn new(path: PathBuf, redactor: &Redactor) -> Self {
        LogFile { path, redactor: redactor.clone() }
    }

    /// The file's name, as evidence names its source.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// Opens it anew. Errors: `disk-full` and other failures of the file system, with the path.
    pub(super) fn open(&self) -> Result<Writer> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Problem::io("create", folder, &error))?;
        }
        let file = File::create(&self.path).map_err(|error| Problem::io("create", &self.path, &error))?;
        Ok(Writer { path: self.path.clone(), redactor: self.redactor.clone(), file, line: Vec::new() })
    }
}

/// Writes by lines: a secret that comes in two pieces is one all the same.
pub(super) struct Writer {
    path: PathBuf,
    redactor: Redactor,
    file: File,
    line: Vec<u8>,
}

impl Writer {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= LONGEST {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what has no line end yet. A line without a secret stays byte for byte as it is.
    pub(super) fn flush(&mut self) -> Result<()> {
        let text = String::from_utf8_lossy(&self.line);
        let written = match self.redactor.redact(&text) {
            std::borrow::Cow::Borrowed(_) => self.file.write_all(&self.line),
            std::borrow::Cow::Owned(redacted) => self.file.write_all(redacted.as_bytes()),
        };
        self.line.clear();
        written.map_err(|error| Problem::io("write", Path::new(&self.path), &error))
    }
}

impl Drop for Writer {
    /// The last words of a child whose run was cancelled.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    #[test]
    fn a_secret_in_two_pieces_does_not_get_through_and_the_rest_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let redactor = Redactor::new([&Secret::new("correct horse".to_string())]);
        let log = LogFile::new(folder.path().join("a/build.log"), &redactor);
        let mut writer = log.open().unwrap();
        for piece in [&b"\xff\r\npassword corr"[..], b"ect hor", b"se!\nlast words"] {
            writer.write(piece).unwrap();
        }
        drop(writer);
        assert_eq!(std::fs::read(&log.path).unwrap(), b"\xff\r\npassword (secret)!\nlast words");
        assert_eq!(log.name(), "build.log");
    }
}

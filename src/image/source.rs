//! Where the bytes of a file are: in a file of its own, or stored in an archive, from where they need not be copied to be packed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::archive::invalid;
use crate::domain::problem::{Code, Problem, Result};

/// A file's bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    File(PathBuf),
    /// An entry of an archive that is stored as it is.
    Stored {
        archive: PathBuf,
        /// Its name there.
        name: String,
        /// Where it begins, bytes.
        offset: u64,
        /// What the archive says of its content.
        crc: u32,
    },
}

impl Source {
    /// The file that holds it.
    pub fn path(&self) -> &Path {
        match self {
            Source::File(path) | Source::Stored { archive: path, .. } => path,
        }
    }

    /// What an error while it is read means: an entry that breaks off or has not its checksum is the archive's fault.
    pub fn unreadable(&self, error: &std::io::Error) -> Problem {
        match (self, error.kind()) {
            (Source::Stored { archive, name, .. }, ErrorKind::InvalidData) => {
                invalid(archive, format!("its entry {name} cannot be read: {error}"))
            }
            _ => Problem::io("pack", self.path(), error),
        }
    }

    /// Opens it for reading; it must have the size that is known of it, or what is made of it would break.
    pub fn open(&self, size: u64) -> Result<Reading> {
        let path = self.path();
        let failed = |error: std::io::Error| Problem::io("read", path, &error);
        let mut file = File::open(path).map_err(failed)?;
        let now = file.metadata().map_err(failed)?.len();
        let (begin, check) = match self {
            Source::File(_) => (0, None),
            Source::Stored { offset, crc, .. } => (*offset, Some((flate2::Crc::new(), *crc))),
        };
        let right = if check.is_some() { now >= begin.saturating_add(size) } else { now == size };
        if !right {
            return Err(Problem::new(Code::IoFailed, format!("{} changed while the image was built", path.display())));
        }
        if begin > 0 {
            file.seek(SeekFrom::Start(begin)).map_err(failed)?;
        }
        Ok(Reading { file, left: size, check })
    }
}

/// A file that is read, to the size that it had, with its checksum where there is one.
pub(super) struct Reading {
    file: File,
    left: u64,
    check: Option<(flate2::Crc, u32)>,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.file.read(&mut buffer[..most])?;
        if got == 0 && most > 0 {
            return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "it shrank while the image was built"));
        }
        self.left -= got as u64;
        if let Some((sum, expected)) = &mut self.check {
            sum.update(&buffer[..got]);
            if self.left == 0 && sum.sum() != *expected {
                return Err(std::io::Error::new(ErrorKind::InvalidData, "its checksum is wrong"));
            }
        }
        Ok(got)
    }
}

/// Files of a staged context that were not copied into it: path below the context → where their bytes are, and how many.
#[derive(Debug, Clone, Default)]
pub struct Borrowed(BTreeMap<PathBuf, (Source, u64)>);

impl Borrowed {
    pub(super) fn insert(&mut self, path: PathBuf, source: Source, size: u64) {
        self.0.insert(path, (source, size));
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// The files right in a folder, by their names.
    pub(super) fn within<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = (&'a str, &'a (Source, u64))> {
        let below = self.0.range(folder.to_path_buf()..).take_while(move |(path, _)| path.starts_with(folder));
        below.filter(move |(path, _)| path.parent() == Some(folder)).filter_map(|(path, file)| Some((path.file_name()?.to_str()?, file)))
    }

    /// Copies them into the context, so that it is whole for whoever else reads it.
    pub fn copy_into(&self, context: &Path) -> Result<()> {
        for (path, (source, size)) in &self.0 {
            let to = context.join(path);
            let mut file = File::create(&to).map_err(|error| Problem::io("write", &to, &error))?;
            std::io::copy(&mut source.open(*size)?, &mut file).map_err(|error| match error.kind() {
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof => source.unreadable(&error),
                _ => Problem::io("write", &to, &error),
            })?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).map_err(|error| Problem::io("write", &to, &error))?;
        }
        Ok(())
    }
}

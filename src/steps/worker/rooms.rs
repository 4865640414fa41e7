//! Where builds work: a folder for each, gone with its end. What a worker that was killed left behind goes when the next one starts.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::OFlags;
use serde_json::Value;

use crate::domain::problem::{Problem, Result};

const PREFIX: &str = "shipway-worker-";
/// Bytes; a report of ours has some hundred thousand.
const LONGEST_REPORT: u64 = 16 << 20;
/// Held as long as the worker lives.
const LOCK: &str = "lock";

/// The folder of one worker.
pub(super) struct Rooms {
    dir: PathBuf,
    _lock: File,
    next: AtomicU64,
}

/// The folder of one build.
pub(super) struct Room(PathBuf);

impl Rooms {
    pub fn open(parent: &Path) -> Result<Rooms> {
        let failed = |error: io::Error| Problem::io("make a folder in", parent, &error);
        fs::create_dir_all(parent).map_err(failed)?;
        sweep(parent);
        loop {
            // nobody else may look into it
            let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(failed)?.keep();
            let lock = File::create(dir.join(LOCK)).map_err(failed)?;
            // another worker that sweeps at this very moment may be first
            if lock.try_lock().is_ok() && dir.join(LOCK).exists() {
                return Ok(Rooms { dir, _lock: lock, next: AtomicU64::new(1) });
            }
        }
    }

    /// A new one. What another worker left goes first, again: one that was killed a moment ago still held its lock when we began.
    pub fn room(&self) -> Result<Room> {
        if let Some(parent) = self.dir.parent() {
            sweep(parent);
        }
        let dir = self.dir.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let room = Room(dir);
        for folder in [room.source(), room.temp()] {
            fs::create_dir_all(&folder).map_err(|error| Problem::io("make", &folder, &error))?;
        }
        Ok(room)
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
        self.dir.parent().map(sweep);
    }
}

impl Room {
    /// Empty: the build clones into it.
    pub fn source(&self) -> PathBuf {
        self.0.join("source")
    }

    pub fn temp(&self) -> PathBuf {
        self.0.join("tmp")
    }

    pub fn report(&self) -> PathBuf {
        self.0.join("report")
    }

    /// What the build's report says; a build can put anything in its place, so it is read as a file of some length that never blocks.
    pub fn result(&self) -> Option<Value> {
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).ok()?;
        let file = File::options().read(true).custom_flags(flags).open(self.report().join("report.json")).ok()?;
        file.metadata().ok().filter(Metadata::is_file)?;
        serde_json::from_reader(io::BufReader::new(file.take(LONGEST_REPORT))).ok()
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the folders of workers that live no more.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let Some(lock) = File::open(entry.path().join(LOCK)).ok().filter(|_| ours) else { continue };
        if lock.try_lock().is_ok() && fs::read_dir(entry.path()).is_ok_and(empty) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Takes all but the lock out of a folder. A build that ends after its worker may still write into it: then the next sweep finds the lock.
fn empty(folder: fs::ReadDir) -> bool {
    let mut rooms = folder.flatten().filter(|entry| entry.file_name() != LOCK);
    rooms.all(|room| fs::remove_dir_all(room.path()).is_ok())
}

/// Bytes that a folder takes on the disk; what vanishes meanwhile is not counted.
pub(super) fn size(folder: &Path) -> u64 {
    let (mut bytes, mut folders) = (0, vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_go_with_their_worker_or_with_the_next_one() {
        let parent = tempfile::tempdir().unwrap();
        let rooms = Rooms::open(parent.path()).unwrap();
        let room = rooms.room().unwrap();
        fs::write(room.source().join("file"), vec![1; 100_000]).unwrap();
        assert!(size(room.path()) >= 100_000);
        let other = Rooms::open(parent.path()).unwrap();
        assert!(room.source().is_dir(), "the folder of a worker that lives stays");
        // as a SIGKILL leaves it
        let left = parent.path().join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("1")).unwrap();
        File::create(left.join(LOCK)).unwrap();
        drop((room, rooms, other));
        drop(Rooms::open(parent.path()).unwrap());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}

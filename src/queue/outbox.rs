//! What the broker did not take, on disk: a file for each run that left something, in the order of their ends. One process at a time
//! empties it; what is sent twice because a process died in between has the same id.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::Message;
use crate::domain::problem::{Code, Problem, Result};

/// Most bytes that wait: some ten thousand messages.
const MOST: u64 = 16 << 20;
/// What ends the name of a file that is whole.
const WHOLE: &str = "jsonl";

/// The folder for one broker and exchange.
#[derive(Debug, Clone)]
pub struct Outbox(PathBuf);

/// The outbox, held by this process alone until it is dropped.
pub struct Waiting {
    dir: PathBuf,
    _lock: File,
}

impl Outbox {
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Outbox(dir.into())
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Keeps messages for a later run: all of them, or none. `name` sorts behind those of earlier runs, and no other run has it.
    ///
    /// # Errors
    /// `io-failed`, `disk-full`, and `queue-outbox-full` when too much waits already.
    pub fn keep(&self, name: &str, messages: &[Message]) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let failed = |error: io::Error| Problem::io("write", &self.0, &error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed)?;
        let text = lines(messages);
        let waiting: u64 = files(&self.0).map_err(failed)?.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum();
        if waiting + text.len() as u64 > MOST {
            let message = format!("{} is full: {waiting} bytes of messages wait there", self.0.display());
            return Err(Problem::new(Code::QueueOutboxFull, message));
        }
        write(&self.0, name, &text).map_err(failed)
    }

    /// Takes the outbox for this process; None when nothing waits, or another process is at it.
    pub fn open(&self) -> Result<Option<Waiting>> {
        let failed = |error: io::Error| Problem::io("read", &self.0, &error);
        match files(&self.0) {
            Ok(files) if files.is_empty() => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(self.0.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Waiting { dir: self.0.clone(), _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Waiting {
    /// The oldest file with its messages; lines that are none (the disk was full) are passed over.
    pub fn oldest(&self) -> Result<Option<(PathBuf, Vec<Message>)>> {
        let failed = |error: io::Error| Problem::io("read", &self.dir, &error);
        let Some(file) = files(&self.dir).map_err(failed)?.into_iter().next() else { return Ok(None) };
        let text = fs::read_to_string(&file).map_err(failed)?;
        let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Some((file, messages)))
    }

    /// What of a file is left to send: nothing removes it.
    pub fn leave(&self, file: &Path, rest: &[Message]) -> Result<()> {
        let failed = |error: io::Error| Problem::io("write", file, &error);
        match rest.is_empty() {
            true => fs::remove_file(file).map_err(failed),
            false => {
                let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
                write(&self.dir, name, &lines(rest)).map_err(failed)
            }
        }
    }
}

fn lines(messages: &[Message]) -> String {
    messages.iter().filter_map(|message| Some(serde_json::to_string(message).ok()? + "\n")).collect()
}

/// A reader sees the whole file or none.
fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let file = tempfile::Builder::new().prefix(".new").tempfile_in(dir)?;
    fs::write(file.path(), text)?;
    file.as_file().sync_all()?;
    file.persist(dir.join(name).with_extension(WHOLE)).map_err(|error| error.error)?;
    Ok(())
}

/// The oldest first.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == WHOLE));
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize) -> Message {
        Message { id: format!("run/{number}"), key: "line.app.build.started".to_string(), body: format!("{{\"n\":{number}}}") }
    }

    #[test]
    fn what_waits_comes_out_in_order_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(folder.path().join("box"));
        assert!(outbox.open().unwrap().is_none());
        outbox.keep("2", &[message(3)]).unwrap();
        outbox.keep("1", &[message(1), message(2)]).unwrap();
        let waiting = outbox.open().unwrap().unwrap();
        assert!(outbox.open().unwrap().is_none(), "two processes would send everything twice");
        let (file, messages) = waiting.oldest().unwrap().unwrap();
        assert_eq!(messages, [message(1), message(2)]);
        waiting.leave(&file, &messages[1..]).unwrap();
        assert_eq!(waiting.oldest().unwrap().unwrap().1, [message(2)]);
        waiting.leave(&file, &[]).unwrap();
        assert_eq!(waiting.oldest().unwrap().unwrap().1, [message(3)]);
        drop(waiting);
        assert!(outbox.open().unwrap().is_some());
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(folder.path());
        let large = Message { body: "x".repeat(9 << 20), ..message(1) };
        outbox.keep("1", std::slice::from_ref(&large)).unwrap();
        assert_eq!(outbox.keep("2", &[large]).unwrap_err().code, Code::QueueOutboxFull);
    }
}

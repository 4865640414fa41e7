//! What earlier runs read and pushed, in a folder that CI may keep. Content lies under its digest and is verified each time it is read;
//! the rest are hints that say what to ask the registry for, and which of its images are ours. So a cache that is lost or damaged costs time
//! and nothing else.

use std::{
    fs,
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::{
    digest::Digest,
    problem::{Problem, Result},
    reference::ImageReference,
};

/// Content is kept up to this size, bytes: manifests and configurations.
const MOST: u64 = 1 << 20;
/// So many files are kept of each kind; then the oldest half goes.
const KEEP: usize = 1024;
const HINT: u64 = 4096;
/// Layers of bases that were fetched are kept up to this size together, bytes; then the longest unused go.
const LAYERS: u64 = 1 << 30;
/// A layer's time of use is noted this often at most: CI packs a cache anew whose files have another time.
const USED: Duration = Duration::from_secs(24 * 3600);
const BUFFER: usize = 256 << 10;
/// Names the form of the files below; another form gets another folder.
const VERSION: &str = "v1";

/// The folder. Cheap to clone; several runs may use it at once.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

/// What was seen last under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Guards against a file that stands under another name's.
    name: String,
    pub tag: Option<String>,
    pub digest: Digest,
    /// Which Shipway pushed it: another may pack the same files into other bytes.
    pub maker: String,
}

impl Cache {
    /// Fails when the folder cannot be made.
    pub fn open(dir: &Path) -> Result<Cache> {
        let dir = dir.join(VERSION);
        for kind in ["content", "hints"] {
            let folder = dir.join(kind);
            fs::create_dir_all(&folder).map_err(|error| Problem::io("create", &folder, &error))?;
        }
        // One of an earlier version that cannot be written is still read.
        let _ = fs::create_dir(dir.join("layers"));
        Ok(Cache { dir })
    }

    /// Content by its digest, with the media type that it was served with; None when it is not there, or not what it should be.
    pub(super) fn content(&self, digest: &Digest) -> Option<(String, Bytes)> {
        let path = self.content_path(digest);
        let file = read(&path, MOST + 256)?;
        let found = split(&file).filter(|(_, content)| Digest::from_sha256(&Sha256::digest(content)) == *digest);
        if found.is_none() {
            tracing::debug!("{} is damaged, and is passed over", path.display());
            let _ = fs::remove_file(&path);
        }
        found.map(|(media_type, content)| (media_type, Bytes::copy_from_slice(content)))
    }

    /// Keeps content that was verified; what cannot be kept is left.
    pub(super) fn keep(&self, digest: &Digest, media_type: &str, content: &[u8]) {
        let path = self.content_path(digest);
        if content.len() as u64 > MOST || path.exists() {
            return;
        }
        let mut file = media_type.as_bytes().to_vec();
        file.push(b'\n');
        file.extend_from_slice(content);
        self.write(&path, &file);
    }

    /// What was last seen under an image's name (`tagged`: under this very tag).
    pub(super) fn hint(&self, image: &ImageReference, tagged: bool) -> Option<Hint> {
        let name = name(image, tagged);
        let hint: Hint = serde_json::from_slice(&read(&self.hint_path(&name), HINT)?).ok()?;
        (hint.name == name).then_some(hint)
    }

    /// Remembers the digest of an image, for its whole repository or for its tag.
    pub(super) fn remember(&self, image: &ImageReference, tagged: bool, digest: &Digest) {
        let name = name(image, tagged);
        let path = self.hint_path(&name);
        let hint = Hint { name, tag: image.tag.clone(), digest: digest.clone(), maker: maker().to_string() };
        if let Ok(text) = serde_json::to_vec(&hint) {
            self.write(&path, &text);
        }
    }

    /// Copies a layer to `to`, when it is there and what it should be. Reads and writes the whole of it: not for the runtime's thread.
    pub(super) fn take_layer(&self, digest: &Digest, size: u64, to: &Path) -> bool {
        let path = self.layer_path(digest);
        let Ok(there) = fs::metadata(&path) else { return false };
        let copied = copy_verified(&path, to, size);
        if there.len() != size || !copied.as_ref().is_ok_and(|copied| copied == digest) {
            tracing::debug!("{} is passed over: {copied:?}", path.display());
            let _ = fs::remove_file(to);
            // An error of the copy, such as a full disk, says nothing of the layer.
            if copied.is_ok() {
                let _ = fs::remove_file(&path);
            }
            return false;
        }
        if there.modified().is_ok_and(|used| used.elapsed().is_ok_and(|since| since > USED)) {
            let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        }
        true
    }

    /// Keeps a layer that was verified; what cannot be kept is left.
    pub(super) fn keep_layer(&self, digest: &Digest, from: &Path) {
        let path = self.layer_path(digest);
        let Ok(size) = fs::metadata(from).map(|file| file.len()) else { return };
        if size > LAYERS || path.exists() {
            return;
        }
        let folder = self.dir.join("layers");
        make_room(&folder, LAYERS - size);
        // A copy, as what was fetched may be written over in place. A name of its own until it is whole: nobody reads half a layer.
        let kept = tempfile::NamedTempFile::new_in(&folder).and_then(|mut beside| {
            std::io::copy(&mut fs::File::open(from)?, &mut beside)?;
            beside.persist(&path).map_err(|error| error.error)
        });
        if let Err(error) = kept {
            tracing::debug!("{} cannot be kept: {error}", path.display());
        }
    }

    fn layer_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("layers").join(digest.hex())
    }

    fn content_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("content").join(digest.hex())
    }

    fn hint_path(&self, name: &str) -> PathBuf {
        self.dir.join("hints").join(Digest::from_sha256(&Sha256::digest(name)).hex())
    }

    /// Writes beside and renames, so that nobody reads half a file; a cache that cannot be written is still read.
    fn write(&self, path: &Path, content: &[u8]) {
        let Some(folder) = path.parent() else { return };
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
            file.write_all(content)?;
            file.persist(path).map_err(|error| error.error)
        });
        match written {
            Ok(_) => forget_oldest(folder),
            Err(error) => tracing::debug!("{} cannot be kept: {error}", path.display()),
        }
    }
}

/// The mark of this Shipway in its hints.
pub(super) fn maker() -> &'static str {
    concat!("shipway ", env!("CARGO_PKG_VERSION"))
}

fn name(image: &ImageReference, tagged: bool) -> String {
    match (&image.tag, tagged) {
        (Some(tag), true) => format!("{}:{tag}", image.name()),
        _ => image.name(),
    }
}

/// A file that is not longer than it may be.
fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= most).then(|| fs::read(path).ok())?
}

/// The media type on the first line, and the content behind it.
fn split(file: &[u8]) -> Option<(String, &[u8])> {
    let end = file.iter().position(|byte| *byte == b'\n')?;
    Some((String::from_utf8(file[..end].to_vec()).ok()?, &file[end + 1..]))
}

/// Copies at most `size` bytes; gives the digest of what was copied.
fn copy_verified(from: &Path, to: &Path, size: u64) -> std::io::Result<Digest> {
    let mut source = fs::File::open(from)?.take(size);
    let mut target = BufWriter::with_capacity(BUFFER, fs::File::create(to)?);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            target.flush()?;
            return Ok(Digest::from_sha256(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
        target.write_all(&buffer[..read])?;
    }
}

/// A folder's files with their sizes, the longest unused first.
fn oldest_first(folder: &Path) -> Vec<(SystemTime, u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let told = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some((metadata.modified().ok()?, metadata.len(), entry.path()))
    });
    let mut files: Vec<_> = told.collect();
    files.sort();
    files
}

/// Keeps a folder from growing for ever.
fn forget_oldest(folder: &Path) {
    let files = oldest_first(folder);
    if files.len() <= KEEP {
        return;
    }
    for (_, _, path) in &files[..files.len() - KEEP / 2] {
        let _ = fs::remove_file(path);
    }
}

/// Removes the longest unused files until a folder has at most so many bytes.
fn make_room(folder: &Path, most: u64) {
    let files = oldest_first(folder);
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    for (_, size, path) in files {
        if total <= most {
            return;
        }
        let _ = fs::remove_file(path);
        total -= size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(content: &[u8]) -> Digest {
        Digest::from_sha256(&Sha256::digest(content))
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let content = b"{\"a\":1}\n";
        let digest = digest(content);
        assert!(cache.content(&digest).is_none());
        cache.keep(&digest, "a/b", content);
        assert_eq!(cache.content(&digest).unwrap(), ("a/b".to_string(), Bytes::from_static(content)));
        for damage in [&b""[..], b"a/b", b"a/b\n{\"a\":2}\n", b"a/b\n{\"a\":1}", &[0xff; 5000], &[b'x'; 2 << 20]] {
            fs::write(cache.content_path(&digest), damage).unwrap();
            assert!(cache.content(&digest).is_none(), "{} bytes", damage.len());
            let _ = fs::remove_file(cache.content_path(&digest));
            cache.keep(&digest, "a/b", content);
            assert!(cache.content(&digest).is_some());
        }
        fs::remove_file(cache.content_path(&digest)).unwrap();
        fs::create_dir(cache.content_path(&digest)).unwrap();
        assert!(cache.content(&digest).is_none());
    }

    #[test]
    fn hints_are_of_their_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let image: ImageReference = "registry.test/a:1".parse().unwrap();
        cache.remember(&image, false, &digest(b"x"));
        assert_eq!(cache.hint(&image, false).unwrap().tag.as_deref(), Some("1"));
        assert!(cache.hint(&image, true).is_none());
        let other: ImageReference = "registry.test/b:1".parse().unwrap();
        fs::copy(cache.hint_path(&image.name()), cache.hint_path(&other.name())).unwrap();
        assert!(cache.hint(&other, false).is_none());
        fs::write(cache.hint_path(&image.name()), b"{\"name\":").unwrap();
        assert!(cache.hint(&image, false).is_none());
    }

    #[test]
    fn layers_are_verified_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let (layer, digest) = (b"a layer".repeat(100_000), digest(&b"a layer".repeat(100_000)));
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let take = || cache.take_layer(&digest, layer.len() as u64, &to);
        assert!(!take());
        fs::write(&from, &layer).unwrap();
        cache.keep_layer(&digest, &from);
        fs::remove_file(&from).unwrap();
        assert!(take() && fs::read(&to).unwrap() == layer);
        let mut other = layer.clone();
        other[5] = b'x';
        fs::write(cache.layer_path(&digest), &other).unwrap();
        assert!(!take() && !to.exists() && !cache.layer_path(&digest).exists());
    }

    #[test]
    fn the_longest_unused_layers_go_first() {
        let dir = tempfile::tempdir().unwrap();
        for (name, age) in [("old", 3), ("new", 1), ("middle", 2)] {
            let path = dir.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            fs::File::open(&path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age * 3600)).unwrap();
        }
        let left = |most| {
            make_room(dir.path(), most);
            oldest_first(dir.path()).iter().map(|(_, _, path)| path.file_name().unwrap().to_str().unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(left(300), ["old", "middle", "new"]);
        assert_eq!(left(299), ["middle", "new"]);
        assert_eq!(left(0), Vec::<String>::new());
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        for number in 0..=KEEP {
            fs::write(dir.path().join(VERSION).join("content").join(number.to_string()), b"").unwrap();
        }
        let content = b"new";
        cache.keep(&digest(content), "", content);
        let left = fs::read_dir(dir.path().join(VERSION).join("content")).unwrap().count();
        assert_eq!(left, KEEP / 2);
        assert!(cache.content(&digest(content)).is_some());
    }
}

//! What earlier runs read and pushed, in a folder that CI may keep. Content lies under its digest and is verified each time it is read;
//! the rest are hints that only say what to ask the registry for. So a cache that is lost, damaged or a lie costs time and nothing else.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::{
    digest::Digest,
    problem::{Problem, Result},
    reference::ImageReference,
};

/// Content is kept up to this size, bytes: manifests and configurations, never layers.
const MOST: u64 = 1 << 20;
/// So many files are kept of each kind; then the oldest half goes.
const KEEP: usize = 1024;
const HINT: u64 = 4096;
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

/// Keeps a folder from growing for ever.
fn forget_oldest(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut files: Vec<(SystemTime, PathBuf)> =
        entries.flatten().filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    if files.len() <= KEEP {
        return;
    }
    files.sort();
    for (_, path) in &files[..files.len() - KEEP / 2] {
        let _ = fs::remove_file(path);
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

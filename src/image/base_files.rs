//! The files of a base image, as its layers make them (OCI image-spec, layer.md): what is there, and their contents on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    base::Base,
    config::Packing,
    context::clean,
    entries::{Archive, Entry},
    layout,
    tree::{Kind, Node, Owner, Tree, join},
};
use crate::{
    domain::{
        digest::Digest,
        problem::{Code, Problem, Result},
    },
    registry,
};

/// Layers that are fetched at the same time.
const FETCHERS: usize = 3;
/// More files than this are not listed …
const MAX_ENTRIES: usize = 300_000;
/// … nor more names and targets of links in one layer than so many bytes.
const MAX_NAMES: usize = 64 << 20;
/// Files that are taken out of one base, bytes at most.
const MAX_TAKEN: u64 = 8 << 30;
/// The beginning of names that take away what lower layers have, and the name that empties a folder.
pub(super) const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// All files of a base for one platform.
#[derive(Debug)]
pub(super) struct BaseFiles {
    pub tree: Tree,
    /// Its layers on disk, from the lowest.
    layers: Vec<(PathBuf, Packing)>,
}

/// Fetches the layers of a base into `scratch`, verified, and lists what they make together.
pub(super) async fn fetch(base: &Base, registry: &registry::Client, scratch: &Path) -> Result<BaseFiles> {
    let paths: Vec<(PathBuf, Packing)> = base.layers.iter().map(|layer| (place(scratch, &layer.digest), layer.packing)).collect();
    let mut seen = BTreeSet::new();
    let fetching = base.layers.iter().filter(|layer| seen.insert(layer.digest.clone())).map(async |layer| {
        let path = place(scratch, &layer.digest);
        // Another platform or stage may have brought it.
        if std::fs::metadata(&path).is_ok_and(|there| there.len() == layer.size) {
            return Ok(());
        }
        layout::put(&base.blob(layer), path, registry).await
    });
    stream::iter(fetching).buffer_unordered(FETCHERS).try_collect::<Vec<()>>().await?;
    let name = base.name.to_string();
    super::engine::blocking(move || list(paths, &name)).await
}

fn place(scratch: &Path, digest: &Digest) -> PathBuf {
    scratch.join(format!("base-{}", digest.hex()))
}

fn list(layers: Vec<(PathBuf, Packing)>, name: &str) -> Result<BaseFiles> {
    let mut tree = Tree::new();
    for (number, (path, packing)) in layers.iter().enumerate() {
        let layer = read(number, path, *packing, name, &tree)?;
        layer.put_over(&mut tree);
        if tree.len() > MAX_ENTRIES {
            return Err(broken(name, format!("it has more than {MAX_ENTRIES} files")));
        }
    }
    Ok(BaseFiles { tree, layers })
}

fn broken(name: &str, why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::RegistryProtocol, format!("the files of the base {name} cannot be listed: {why}"))
}

/// One layer: what it brings, and what it takes away of those below.
#[derive(Default)]
struct Listed {
    tree: Tree,
    gone: Vec<String>,
    emptied: Vec<String>,
}

impl Listed {
    /// Takes in an entry under its path; `at` is where its content stands.
    fn take(&mut self, path: &str, entry: &Entry<'_>, at: (usize, usize), below: &Tree) {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        if file == OPAQUE {
            self.emptied.push(folder.to_string());
        } else if let Some(gone) = file.strip_prefix(WHITEOUT) {
            self.gone.push(join(folder, gone));
        } else if !path.is_empty()
            && let Some(node) = node(entry, at, &self.tree, below)
        {
            self.tree.insert(path.to_string(), node);
        }
    }

    fn put_over(self, tree: &mut Tree) {
        for path in &self.gone {
            tree.remove(path);
            remove_below(tree, path);
        }
        for path in &self.emptied {
            remove_below(tree, path);
        }
        for (path, node) in self.tree {
            if node.kind != Kind::Folder && tree.get(&path).is_some_and(|old| old.kind == Kind::Folder) {
                remove_below(tree, &path);
            }
            tree.insert(path, node);
        }
    }
}

fn remove_below(tree: &mut Tree, folder: &str) {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let inside: Vec<String> =
        tree.range(prefix.clone()..).map(|(path, _)| path).take_while(|path| path.starts_with(&prefix)).cloned().collect();
    for path in inside {
        tree.remove(&path);
    }
}

fn read(number: usize, path: &Path, packing: Packing, name: &str, below: &Tree) -> Result<Listed> {
    let mut layer = Listed::default();
    let mut names = 0;
    let mut archive = Archive::open(path, packing)?;
    let entries = archive.entries().map_err(|error| broken(name, error))?;
    for (entry_number, entry) in entries.enumerate() {
        let entry = entry.map_err(|error| broken(name, error))?;
        if entry_number > MAX_ENTRIES {
            return Err(broken(name, format!("a layer has more than {MAX_ENTRIES} entries")));
        }
        names += entry.path_bytes().len() + entry.link_name_bytes().map_or(0, |target| target.len());
        if names > MAX_NAMES {
            return Err(broken(name, format!("a layer has names of more than {} MiB", MAX_NAMES >> 20)));
        }
        let written = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = clean(&written).ok_or_else(|| broken(name, format!("{written:?} leads out of it")))?;
        layer.take(&path, &entry, (number, entry_number), below);
    }
    Ok(layer)
}

/// None for what is no file: headers that stand for all that follows, and links to what is not there.
fn node(entry: &Entry<'_>, (layer, number): (usize, usize), own: &Tree, below: &Tree) -> Option<Node> {
    let header = entry.header();
    let owner = Owner { user: header.uid().unwrap_or(0), group: header.gid().unwrap_or(0) };
    let mode = header.mode().unwrap_or(0o644) & 0o7777;
    let target = || entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned()).unwrap_or_default();
    let kind = match header.entry_type() {
        tar::EntryType::Directory => Kind::Folder,
        tar::EntryType::Symlink => Kind::Link(target()),
        tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
            Kind::Packed { layer, entry: number, size: entry.size() }
        }
        tar::EntryType::Link => {
            let target = clean(&target())?;
            return own.get(&target).or_else(|| below.get(&target)).cloned();
        }
        tar::EntryType::Block | tar::EntryType::Char | tar::EntryType::Fifo => Kind::Special,
        _ => return None,
    };
    Some(Node { kind, mode, owner })
}

impl BaseFiles {
    /// Takes files out of the layers, each layer read once, into a folder of `scratch`: (layer, entry) → where it is now.
    pub fn unpack(&self, wanted: &BTreeSet<(usize, usize)>, scratch: &Path) -> Result<BTreeMap<(usize, usize), PathBuf>> {
        let mut found = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let dir =
            tempfile::Builder::new().prefix("files-").tempdir_in(scratch).map_err(|error| Problem::io("write", scratch, &error))?.keep();
        let mut left = MAX_TAKEN;
        for (number, (path, packing)) in self.layers.iter().enumerate() {
            let last = wanted.range((number, 0)..(number + 1, 0)).next_back().map(|(_, entry)| *entry);
            let Some(last) = last else { continue };
            let failed = |error: std::io::Error| Problem::io("read", path, &error);
            let mut archive = Archive::open(path, *packing)?;
            for (entry_number, entry) in archive.entries().map_err(failed)?.enumerate().take(last + 1) {
                let mut entry = entry.map_err(failed)?;
                if wanted.contains(&(number, entry_number)) {
                    let to = dir.join(format!("{number}-{entry_number}"));
                    write(&mut entry, &to, &mut left)?;
                    found.insert((number, entry_number), to);
                }
            }
        }
        Ok(found)
    }
}

/// Writes a file of a base; `left` is how many bytes may still be taken.
fn write(from: &mut impl Read, to: &Path, left: &mut u64) -> Result<()> {
    let failed = |error: std::io::Error| Problem::io("write", to, &error);
    let mut file = BufWriter::new(File::create(to).map_err(failed)?);
    let size = std::io::copy(&mut BufReader::new(from.take(*left + 1)), &mut file).map_err(failed)?;
    let too_much = || Problem::new(Code::RegistryProtocol, format!("files of more than {} GiB are taken out of a base", MAX_TAKEN >> 30));
    *left = left.checked_sub(size).ok_or_else(too_much)?;
    file.flush().map_err(failed)
}

/// Lists bytes as a plain layer, and takes out what it holds; see [`super::fuzz_layer`].
#[cfg(any(test, fuzzing))]
pub(super) fn layer(path: &Path, scratch: &Path) {
    let Ok(files) = list(vec![(path.to_path_buf(), Packing::Plain)], "fuzz") else { return };
    let packed = files.tree.values().filter_map(|node| match node.kind {
        Kind::Packed { layer, entry, size } if size <= MAX_NAMES as u64 => Some((layer, entry)),
        _ => None,
    });
    let _ = files.unpack(&packed.collect(), scratch);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(dir: &Path, name: &str, entries: &[(&str, tar::EntryType, &str)]) -> (PathBuf, Packing) {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o750);
            header.set_uid(7);
            header.set_gid(8);
            header.set_size(0);
            match kind {
                tar::EntryType::Symlink | tar::EntryType::Link => tar.append_link(&mut header, path, text).unwrap(),
                _ => {
                    header.set_size(text.len() as u64);
                    tar.append_data(&mut header, path, text.as_bytes()).unwrap()
                }
            }
        }
        let path = dir.join(name);
        std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
        (path, Packing::Plain)
    }

    #[test]
    fn layers_lie_over_each_other() {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let dir = tempfile::tempdir().unwrap();
        let layers = vec![
            layer(
                dir.path(),
                "1",
                &[
                    ("./", Directory, ""),
                    ("a/", Directory, ""),
                    ("a/gone", Regular, "x"),
                    ("a/kept", Regular, "kept"),
                    ("o/", Directory, ""),
                    ("o/old", Regular, "x"),
                    ("d/", Directory, ""),
                    ("d/in", Regular, "x"),
                    ("usr", Symlink, "/a"),
                ],
            ),
            layer(
                dir.path(),
                "2",
                &[
                    ("a/.wh.gone", Regular, ""),
                    ("o/.wh..wh..opq", Regular, ""),
                    ("o/new", Regular, "new"),
                    ("d", Regular, "file now"),
                    ("hard", Link, "a/kept"),
                    ("pipe", tar::EntryType::Fifo, ""),
                ],
            ),
        ];
        let files = list(layers, "base").unwrap();
        let names: Vec<&str> = files.tree.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "a/kept", "d", "hard", "o", "o/new", "pipe", "usr"]);
        assert_eq!(files.tree["hard"], files.tree["a/kept"]);
        assert_eq!(files.tree["usr"].kind, Kind::Link("/a".to_string()));
        assert_eq!((files.tree["a"].mode, files.tree["a"].owner), (0o750, Owner { user: 7, group: 8 }));
        let wanted: BTreeSet<(usize, usize)> = [(0, 3), (1, 2)].into();
        let unpacked = files.unpack(&wanted, dir.path()).unwrap();
        let texts: Vec<String> = unpacked.values().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["kept", "new"]);
    }

    #[test]
    fn a_hostile_layer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, packing) = layer(dir.path(), "1", &[("ok", tar::EntryType::Regular, "x")]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[..9].copy_from_slice(b"../../ok\0");
        let sum: u32 = bytes[..512].iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        std::fs::write(&path, bytes).unwrap();
        assert!(list(vec![(path, packing)], "base").unwrap_err().message.contains("leads out"));
        let (path, _) = layer(dir.path(), "2", &[]);
        std::fs::write(&path, b"no tar at all".repeat(60)).unwrap();
        assert_eq!(list(vec![(path, Packing::Plain)], "base").unwrap_err().code, Code::RegistryProtocol);
        // A name as no system takes it, which the crate would read whole.
        let named = layer(dir.path(), "3", &[(&"n".repeat(2 << 20), tar::EntryType::Regular, "")]);
        let problem = list(vec![named], "base").unwrap_err();
        assert_eq!(problem.code, Code::RegistryProtocol);
        assert!(problem.message.contains("longer than 1 MiB"), "{}", problem.message);
    }

    #[test]
    fn a_layer_has_so_many_entries_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(1 << 19);
        for (name, times, words) in [("a", MAX_ENTRIES + 2, "300000 entries"), (long.as_str(), 129, "of more than 64 MiB")] {
            let (path, packing) = layer(dir.path(), "1", &[(name, tar::EntryType::Regular, "")]);
            let mut entry = std::fs::read(&path).unwrap();
            // Without the two empty blocks at the end.
            entry.truncate(entry.len() - 1024);
            std::fs::write(&path, entry.repeat(times)).unwrap();
            let problem = list(vec![(path, packing)], "base").unwrap_err();
            assert_eq!(problem.code, Code::RegistryProtocol);
            assert!(problem.message.contains(words), "{}", problem.message);
        }
    }

    #[test]
    fn so_much_is_taken_out_of_a_base() {
        let dir = tempfile::tempdir().unwrap();
        let mut left = 10;
        write(&mut [7; 10].as_slice(), &dir.path().join("fits"), &mut left).unwrap();
        let problem = write(&mut [7; 1].as_slice(), &dir.path().join("more"), &mut left).unwrap_err();
        assert_eq!((problem.code, left), (Code::RegistryProtocol, 0));
        assert!(problem.message.contains("8 GiB"), "{}", problem.message);
    }
}

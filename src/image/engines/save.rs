//! What `docker save` writes (moby image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format"): `manifest.json` names the
//! configuration and the layers, in every version of Docker.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::Deserialize;

use crate::domain::problem::{Code, Problem, Result};

/// Files that are read into memory are not longer, bytes.
const MAX_JSON: u64 = 16 << 20;
const MAX_ENTRIES: usize = 10_000;

/// A saved image, unpacked.
pub(super) struct Saved {
    pub config: Bytes,
    /// In the order of the image; tar streams, plain or packed.
    pub layers: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    layers: Vec<String>,
}

/// Unpacks an archive into `folder` (made), its files under numbers of ours.
pub(super) fn read(archive: &Path, folder: &Path) -> Result<Saved> {
    fs::create_dir_all(folder).map_err(|error| Problem::io("create", folder, &error))?;
    let files = unpack(archive, folder)?;
    let text = small(&files, "manifest.json")?;
    let entries: Vec<Entry> = serde_json::from_slice(&text).map_err(|error| broken(format!("its manifest.json: {error}")))?;
    let [entry] = entries.as_slice() else { return Err(broken(format!("it holds {} images instead of one", entries.len()))) };
    let layers = entry.layers.iter().map(|name| files.find(name));
    Ok(Saved { config: Bytes::from(small(&files, &entry.config)?), layers: layers.collect::<Result<_>>()? })
}

/// Where the archive's files lie, by their names in it.
#[derive(Default)]
struct Files {
    found: HashMap<String, PathBuf>,
    /// Docker writes a layer once, and links to it where it is used again.
    links: HashMap<String, String>,
}

impl Files {
    fn find(&self, name: &str) -> Result<PathBuf> {
        let target = self.links.get(name).map_or(name, String::as_str);
        self.found.get(target).cloned().ok_or_else(|| broken(format!("{name} is not in it")))
    }
}

fn unpack(archive: &Path, folder: &Path) -> Result<Files> {
    let file = File::open(archive).map_err(|error| Problem::io("read", archive, &error))?;
    let mut archive = tar::Archive::new(BufReader::with_capacity(256 << 10, file));
    let mut files = Files::default();
    let unreadable = |error: std::io::Error| broken(error);
    for (number, entry) in archive.entries().map_err(unreadable)?.enumerate() {
        let mut entry = entry.map_err(unreadable)?;
        if number >= MAX_ENTRIES {
            return Err(broken(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                let path = folder.join(number.to_string());
                let failed = |error: std::io::Error| Problem::io("write", &path, &error);
                std::io::copy(&mut entry, &mut File::create(&path).map_err(failed)?).map_err(failed)?;
                files.found.insert(name, path);
            }
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned()).unwrap_or_default();
                files.links.insert(name, target.trim_start_matches("../").to_string());
            }
            _ => {}
        }
    }
    Ok(files)
}

fn small(files: &Files, name: &str) -> Result<Vec<u8>> {
    let path = files.find(name)?;
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(|error| Problem::io("read", &path, &error))?;
    file.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(|error| Problem::io("read", &path, &error))?;
    if bytes.len() as u64 > MAX_JSON {
        return Err(broken(format!("{name} has more than {MAX_JSON} bytes")));
    }
    Ok(bytes)
}

fn broken(why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::EngineFailed, format!("what docker saved of the image cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of these files; a content `-> target` makes a link.
    fn archive(dir: &Path, files: &[(&str, &str)]) -> PathBuf {
        let path = dir.join("saved.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            match content.strip_prefix("-> ") {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, name, target).unwrap();
                }
                None => {
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, name, content.as_bytes()).unwrap();
                }
            }
        }
        tar.finish().unwrap();
        path
    }

    fn saved(files: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
        let dir = tempfile::tempdir().unwrap();
        let saved = read(&archive(dir.path(), files), &dir.path().join("out")).map_err(|problem| problem.message)?;
        let layers = saved.layers.iter().map(|layer| fs::read_to_string(layer).unwrap()).collect();
        Ok((String::from_utf8(saved.config.to_vec()).unwrap(), layers))
    }

    #[test]
    fn archives_of_all_versions_are_read() {
        let classic = [
            ("manifest.json", r#"[{"Config": "c.json", "RepoTags": null, "Layers": ["a/layer.tar", "b/layer.tar"]}]"#),
            ("c.json", "{}"),
            ("a/layer.tar", "one"),
            ("b/layer.tar", "-> ../a/layer.tar"),
        ];
        assert_eq!(saved(&classic), Ok(("{}".to_string(), vec!["one".to_string(), "one".to_string()])));
        // Since 25.0 it is an OCI layout as well.
        let layout = [
            ("blobs/sha256/c", "{}"),
            ("blobs/sha256/l", "two"),
            ("index.json", "{}"),
            ("manifest.json", r#"[{"Config": "blobs/sha256/c", "Layers": ["blobs/sha256/l"], "LayerSources": {}}]"#),
            ("oci-layout", "{}"),
        ];
        assert_eq!(saved(&layout), Ok(("{}".to_string(), vec!["two".to_string()])));
    }

    #[test]
    fn what_is_no_image_is_told() {
        let one = r#"[{"Config": "c", "Layers": ["../../l"]}]"#;
        for (files, expected) in [
            (vec![("x", "")], "manifest.json is not in it"),
            (vec![("manifest.json", "{")], "its manifest.json: "),
            (vec![("manifest.json", "[]")], "it holds 0 images instead of one"),
            (vec![("manifest.json", r#"[{"Config": "c", "Layers": []}, {"Config": "c", "Layers": []}]"#)], "it holds 2 images"),
            (vec![("manifest.json", r#"[{"Config": "c", "Layers": []}]"#)], "c is not in it"),
            (vec![("manifest.json", one), ("c", "{}"), ("l", "-> /etc/passwd")], "../../l is not in it"),
        ] {
            let problem = saved(&files).unwrap_err();
            assert!(problem.contains(expected), "{files:?}: {problem}");
        }
    }
}

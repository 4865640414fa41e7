//! Files of an image as a sorted map, and what is known of the folders that every base has.

use std::{collections::BTreeMap, path::PathBuf};

/// Path in the image without a leading slash → what is there. Sorted, so parents come before what is in them.
pub(super) type Tree = BTreeMap<String, Node>;

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub owner: Owner,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Folder,
    /// Where its content is, and how many bytes it has.
    File(PathBuf, u64),
    Link(String),
}

/// Numbers of user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Owner {
    pub user: u64,
    pub group: u64,
}

impl Node {
    pub fn folder(owner: Owner) -> Node {
        Node { kind: Kind::Folder, mode: 0o755, owner }
    }
}

/// Folders at the root of every Linux (Filesystem Hierarchy Standard). In a base some are links to others, and all have an owner and
/// mode of their own: a layer that named them would change them.
const SYSTEM: [&str; 22] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv",
    "sys", "tmp", "usr", "var", "sysroot",
];
const WITHIN_SYSTEM: [&str; 18] = [
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "usr/local",
    "usr/local/bin",
    "usr/local/etc",
    "usr/local/lib",
    "usr/local/sbin",
    "usr/local/share",
    "usr/sbin",
    "usr/share",
    "usr/src",
    "var/cache",
    "var/lib",
    "var/log",
    "var/run",
    "var/spool",
    "var/tmp",
];

/// Whether a base surely has this folder.
pub(super) fn in_every_base(path: &str) -> bool {
    SYSTEM.contains(&path) || WITHIN_SYSTEM.contains(&path)
}

/// Whether a folder may be the base's own, so that a layer must not say how it is. Below `/opt` and `/srv` only applications live.
pub(super) fn belongs_to_base(path: &str) -> bool {
    let (top, below) = path.split_once('/').unwrap_or((path, ""));
    SYSTEM.contains(&top) && (below.is_empty() || !matches!(top, "opt" | "srv"))
}

/// Resolves a path of a Dockerfile against WORKDIR; the result has no leading slash, and `..` ends at the root.
pub(super) fn resolve(workdir: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_string() } else { format!("{workdir}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The folders above a path, from the top.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved() {
        assert_eq!(resolve("/app", "lib/x"), "app/lib/x");
        assert_eq!(resolve("app", "../../x/./y/"), "x/y");
        assert_eq!(resolve("/app", "/"), "");
        assert_eq!(parents("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
    }

    #[test]
    fn folders_of_the_base_are_left_alone() {
        for path in ["tmp", "usr/lib/jvm", "home/app", "opt", "etc/app"] {
            assert!(belongs_to_base(path), "{path}");
        }
        for path in ["app", "app/lib", "opt/app", "data", "srv/x/y"] {
            assert!(!belongs_to_base(path), "{path}");
        }
    }
}

//! Files of an image as a sorted map, what a stage holds of them, and what is known of the folders that every base has.

use std::{collections::BTreeMap, sync::Arc};

use super::{base_files::BaseFiles, source::Source};

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
    File(Source, u64),
    Link(String),
    /// A file of a base's layer that was not taken out of it yet: the layer's place, the entry's place in it, and its bytes.
    Packed {
        layer: usize,
        entry: usize,
        size: u64,
    },
    /// A device or a pipe of a base.
    Special,
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

/// All that a stage holds: its base's files, where they are known, and what its own layers put over them.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub base: BaseState,
    pub own: Tree,
}

/// What is known of the files below a stage's own layers.
#[derive(Debug, Clone)]
pub(super) enum BaseState {
    /// Built from scratch: there are none.
    Empty,
    /// There is a base, and nobody looked into it.
    Unknown,
    Known(Arc<BaseFiles>),
}

/// Links that lead from one to the next more often than this are a loop.
const MAX_LINKS: usize = 255;

impl Files {
    pub fn new(base: BaseState) -> Files {
        Files { base, own: Tree::new() }
    }

    pub fn unknown(&self) -> bool {
        matches!(self.base, BaseState::Unknown)
    }

    pub fn get(&self, path: &str) -> Option<&Node> {
        self.own.get(path).or_else(|| self.base_tree()?.get(path))
    }

    fn base_tree(&self) -> Option<&Tree> {
        match &self.base {
            BaseState::Known(base) => Some(&base.tree),
            _ => None,
        }
    }

    /// Whether it is a folder as far as is known; the root always is.
    pub fn is_folder(&self, path: &str) -> bool {
        path.is_empty() || self.get(path).is_some_and(|node| node.kind == Kind::Folder)
    }

    /// All that is below a folder (the root is ""), in order, by its whole path.
    pub fn below(&self, folder: &str) -> BTreeMap<&str, &Node> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut found = BTreeMap::new();
        for tree in self.base_tree().into_iter().chain([&self.own]) {
            let inside = tree.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
            found.extend(inside.map(|(path, node)| (path.as_str(), node)));
        }
        found
    }

    /// The path behind all links in it, which stay within the root; what is not there is taken as it is written.
    pub fn resolve(&self, path: &str) -> String {
        self.resolve_with(path, |at| self.get(at))
    }

    /// As [`Files::resolve`], with a view of one's own.
    pub fn resolve_with<'a>(&self, path: &str, get: impl Fn(&str) -> Option<&'a Node>) -> String {
        let mut open: Vec<String> = path.split('/').rev().map(str::to_string).collect();
        let (mut at, mut links) = (String::new(), 0);
        while let Some(part) = open.pop() {
            match part.as_str() {
                "" | "." => {}
                ".." => at.truncate(at.rfind('/').unwrap_or(0)),
                part => {
                    let next = join(&at, part);
                    match get(&next).map(|node| &node.kind) {
                        Some(Kind::Link(target)) if links < MAX_LINKS => {
                            links += 1;
                            open.extend(target.split('/').rev().map(str::to_string));
                            if target.starts_with('/') {
                                at.clear();
                            }
                        }
                        _ => at = next,
                    }
                }
            }
        }
        at
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

/// A name in a folder; the root is "".
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") }
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
    fn links_are_followed_within_the_root() {
        let mut files = Files::new(BaseState::Empty);
        let link = |target: &str| Node { kind: Kind::Link(target.to_string()), mode: 0o777, owner: Owner::default() };
        files.own.insert("usr/lib".to_string(), Node::folder(Owner::default()));
        files.own.insert("lib".to_string(), link("usr/lib"));
        files.own.insert("var/run".to_string(), link("../../../run"));
        files.own.insert("abs".to_string(), link("/lib/x"));
        files.own.insert("loop".to_string(), link("loop"));
        for (path, expected) in
            [("lib/a/b", "usr/lib/a/b"), ("/var/run/x", "run/x"), ("abs/y", "usr/lib/x/y"), ("none/../z", "z"), ("loop", "loop"), ("/", "")]
        {
            assert_eq!(files.resolve(path), expected, "{path}");
        }
        assert_eq!(files.below("usr").into_keys().collect::<Vec<_>>(), ["usr/lib"]);
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

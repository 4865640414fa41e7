//! COPY and ADD: from sources to the files of a layer.

use super::{
    base_files::WHITEOUT,
    context::{Item, Place},
    tree::{Files, Kind, Node, Owner, Tree, belongs_to_base, in_every_base, join, parents, resolve},
};
use crate::domain::{dockerfile::ignore::Ignore, dockerfile::pattern, problem::Result};

/// Where copied files go, and what they become.
pub(super) struct Target<'a> {
    /// As the instruction has it, expanded.
    pub path: &'a str,
    pub workdir: &'a str,
    pub owner: Option<Owner>,
    pub mode: Option<u32>,
    /// What the stage holds so far.
    pub files: &'a Files,
}

impl Target<'_> {
    /// The layer that the items make. One file may be renamed; several sources need a folder.
    pub fn lay(&self, items: Vec<Item>, several: bool, place: Place<'_>) -> Result<Tree> {
        let path = resolve(self.workdir, self.path);
        let said = self.path.is_empty() || self.path == "." || self.path.ends_with('/') || self.path.ends_with("/.");
        let mut laying = Laying { target: self, tree: Tree::new(), place };
        if several && !said && !laying.is_folder(&laying.follow(&path)) {
            return Err(place.invalid(format!("several sources need a folder as target: write {}/", self.path)));
        }
        for item in items {
            laying.item(item, &path, said)?;
        }
        Ok(laying.tree)
    }
}

/// A layer while it is made.
struct Laying<'a> {
    target: &'a Target<'a>,
    tree: Tree,
    place: Place<'a>,
}

impl Laying<'_> {
    fn get(&self, path: &str) -> Option<&Node> {
        self.tree.get(path).or_else(|| self.target.files.get(path))
    }

    fn follow(&self, path: &str) -> String {
        self.target.files.resolve_with(path, |at| self.get(at))
    }

    fn is_folder(&self, path: &str) -> bool {
        let surely = self.target.files.unknown() && (in_every_base(path) || resolve("/", self.target.workdir) == path);
        path.is_empty() || surely || self.get(path).is_some_and(|node| node.kind == Kind::Folder)
    }

    fn item(&mut self, mut item: Item, path: &str, said: bool) -> Result<()> {
        if !item.unpacked {
            // Folders before what is in them; of an archive the later entry wins.
            item.members.sort_by(|one, other| one.0.cmp(&other.0));
        }
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let ensured = self.follow(if said { path } else { parent });
        self.make_folder(&ensured)?;
        let mut root = self.follow(path);
        if item.folder || item.unpacked {
            self.make_folder(&root)?;
        } else if self.is_folder(&root) {
            root = join(&root, &item.name);
        }
        for (below, node) in item.members {
            let at = if below.is_empty() { root.clone() } else { join(&root, &below) };
            let at = if item.unpacked { self.unpacked_place(&root, &at)? } else { at };
            self.put(at, node, item.unpacked)?;
        }
        Ok(())
    }

    /// Entries of an archive may lie in folders that it does not name, and behind links that were there before.
    fn unpacked_place(&mut self, root: &str, at: &str) -> Result<String> {
        let Some((parent, name)) = at.rsplit_once('/') else { return Ok(at.to_string()) };
        let inside = parent.strip_prefix(root).unwrap_or(parent);
        let linked = |path: &str| matches!(self.get(path).map(|node| &node.kind), Some(Kind::Link(_)));
        if !inside.is_empty() && parents(&format!("{at}/")).filter(|path| path.len() > root.len() && *path != at).any(linked) {
            return Err(self.place.invalid(format!("{at} of the archive lies behind a link")).hint("unpack it in the build, and COPY it"));
        }
        self.make_folder(parent)?;
        Ok(join(parent, name))
    }

    /// Adds one entry with the target's owner and mode; what was in an archive keeps its mode.
    fn put(&mut self, at: String, mut node: Node, unpacked: bool) -> Result<()> {
        if at.is_empty() {
            return Err(self.place.invalid("the target / is a folder: name the file to write"));
        }
        if at.rsplit('/').next().is_some_and(|name| name.starts_with(WHITEOUT)) {
            return Err(self
                .place
                .invalid(format!("{at} cannot be in an image: a name that begins with {WHITEOUT} takes a file away"))
                .hint("rename it, or leave it out with .dockerignore"));
        }
        if let Some(owner) = self.target.owner {
            node.owner = owner;
        }
        if let Some(mode) = self.target.mode.filter(|_| !unpacked && !matches!(node.kind, Kind::Link(_))) {
            node.mode = mode;
        }
        let folder = node.kind == Kind::Folder;
        if folder && self.target.files.unknown() && in_every_base(&at) {
            return Ok(());
        }
        match self.get(&at).map(|there| &there.kind) {
            Some(Kind::Folder) if !folder => {
                Err(self.place.invalid(format!("{at} is a folder of the image, and a file cannot take its place")).hint(ANOTHER))
            }
            Some(Kind::Link(target)) if folder => Err(self
                .place
                .invalid(format!("{at} is a link to {target} in the image, and a folder cannot take its place"))
                .hint(ANOTHER)),
            Some(kind) if folder && *kind != Kind::Folder => {
                Err(self.place.invalid(format!("{at} is a file of the image, and a folder cannot take its place")).hint(ANOTHER))
            }
            _ => {
                self.make_parents(&at)?;
                self.tree.insert(at, node);
                Ok(())
            }
        }
    }

    fn make_folder(&mut self, path: &str) -> Result<()> {
        if path.is_empty() { Ok(()) } else { self.make_parents(&format!("{path}/")) }
    }

    /// Folders above a path stand in the layer, too, unless they are the base's own, or may be.
    fn make_parents(&mut self, path: &str) -> Result<()> {
        for parent in parents(path) {
            if self.tree.contains_key(parent) {
                continue;
            }
            let files = self.target.files;
            match files.get(parent) {
                Some(node) if node.kind == Kind::Folder => {
                    if files.own.contains_key(parent) {
                        self.tree.insert(parent.to_string(), node.clone());
                    }
                }
                Some(_) => return Err(self.place.invalid(format!("{parent} is no folder in the image")).hint(ANOTHER)),
                None if files.unknown() && belongs_to_base(parent) => {}
                None => {
                    self.tree.insert(parent.to_string(), Node::folder(self.target.owner.unwrap_or_default()));
                }
            }
        }
        Ok(())
    }
}

const ANOTHER: &str = "copy it to another place, or change the base image";

/// What `COPY --from` finds among the files of a stage or an image, links followed; nothing when there is nothing.
pub(super) fn find_in_files(files: &Files, source: &str, exclude: &Ignore) -> Vec<Item> {
    let path = resolve("/", source);
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_string();
    if !pattern::is_pattern(&path) {
        let real = files.resolve(&path);
        let there = real.is_empty() || files.get(&real).is_some();
        return there.then(|| item(files, &real, name(&path), exclude)).into_iter().collect();
    }
    matching(files, &path).iter().map(|path| item(files, &files.resolve(path), name(path), exclude)).collect()
}

/// Paths that match a pattern. Its parts before the first with a wildcard are followed; below that, links are not.
fn matching(files: &Files, glob: &str) -> Vec<String> {
    let plain: Vec<&str> = glob.split('/').take_while(|part| !pattern::is_pattern(part)).collect();
    let rest = glob.split('/').skip(plain.len()).collect::<Vec<_>>().join("/");
    let root = files.resolve(&plain.join("/"));
    let skipped = if root.is_empty() { 0 } else { root.len() + 1 };
    files.below(&root).into_keys().filter(|path| pattern::matches_path(&rest, &path[skipped..])).map(str::to_string).collect()
}

fn item(files: &Files, path: &str, name: String, exclude: &Ignore) -> Item {
    let folder = files.is_folder(path);
    let members = match files.get(path) {
        Some(node) if !folder => vec![(String::new(), node.clone())],
        _ => {
            let skipped = if path.is_empty() { 0 } else { path.len() + 1 };
            let below = files.below(path).into_iter().map(|(file, node)| (file[skipped..].to_string(), node.clone()));
            below.filter(|(below, _)| exclude.ignores(below).is_none()).collect()
        }
    };
    Item { name, folder, unpacked: false, members }
}

//! COPY and ADD: from sources to the files of a layer.

use super::{
    context::{Item, Place},
    tree::{Kind, Node, Owner, Tree, belongs_to_base, in_every_base, parents, resolve},
};
use crate::domain::{
    dockerfile::{ignore::Ignore, pattern},
    problem::Result,
};

/// Where copied files go, and what they become.
pub(super) struct Target<'a> {
    /// As the instruction has it, expanded.
    pub path: &'a str,
    pub workdir: &'a str,
    pub owner: Option<Owner>,
    pub mode: Option<u32>,
    /// What the stage is known to hold.
    pub files: &'a Tree,
    /// Whether there is a base whose files are not known.
    pub has_base: bool,
}

impl Target<'_> {
    /// The layer that the items make. One file may be renamed; several sources need a folder.
    pub fn lay(&self, items: Vec<Item>, several: bool, place: Place<'_>) -> Result<Tree> {
        let path = resolve(self.workdir, self.path);
        let as_folder = self.is_folder(&path);
        if several && !as_folder {
            return Err(place.invalid(format!("several sources need a folder as target: write {}/", self.path.trim_end_matches('/'))));
        }
        let mut tree = Tree::new();
        for item in items {
            let root = match (item.folder, as_folder) {
                (false, true) if path.is_empty() => item.name.clone(),
                (false, true) => format!("{path}/{}", item.name),
                _ => path.clone(),
            };
            if item.folder && !root.is_empty() {
                self.make_parents(&format!("{root}/"), &mut tree);
            }
            for (below, node) in item.members {
                let at = match (root.is_empty(), below.is_empty()) {
                    (true, _) => below,
                    (_, true) => root.clone(),
                    _ => format!("{root}/{below}"),
                };
                self.put(at, node, &mut tree, place)?;
            }
        }
        Ok(tree)
    }

    /// Adds one entry with the target's owner and mode, and the folders above it.
    pub fn put(&self, at: String, mut node: Node, tree: &mut Tree, place: Place<'_>) -> Result<()> {
        if at.is_empty() {
            return Err(place.invalid("the target / is a folder: name the file to write"));
        }
        if let Some(owner) = self.owner {
            node.owner = owner;
        }
        if let Some(mode) = self.mode.filter(|_| !matches!(node.kind, Kind::Link(_))) {
            node.mode = mode;
        }
        if matches!(node.kind, Kind::Folder) && self.has_base && in_every_base(&at) {
            return Ok(());
        }
        self.make_parents(&at, tree);
        tree.insert(at, node);
        Ok(())
    }

    /// Folders above a path stand in the layer, too, unless they may be the base's own.
    fn make_parents(&self, path: &str, tree: &mut Tree) {
        for parent in parents(path) {
            if tree.contains_key(parent) {
                continue;
            }
            let known = self.files.get(parent).filter(|node| node.kind == Kind::Folder).cloned();
            if known.is_some() || !self.has_base || !belongs_to_base(parent) {
                tree.insert(parent.to_string(), known.unwrap_or_else(|| Node::folder(self.owner.unwrap_or_default())));
            }
        }
    }

    fn is_folder(&self, path: &str) -> bool {
        let said = self.path.ends_with('/') || matches!(self.path.rsplit('/').next(), Some("." | ".."));
        let known = self.files.get(path).is_some_and(|node| node.kind == Kind::Folder);
        said || known || path.is_empty() || resolve("/", self.workdir) == path || (self.has_base && in_every_base(path))
    }
}

/// What `COPY --from` finds among the files that a stage made; None when there is nothing.
pub(super) fn find_in_stage(files: &Tree, source: &str, exclude: &Ignore) -> Vec<Item> {
    let path = resolve("/", source);
    let paths: Vec<String> = if pattern::is_pattern(&path) {
        files.keys().filter(|file| pattern::matches_path(&path, file)).cloned().collect()
    } else {
        follow(files, path).into_iter().collect()
    };
    let name = resolve("/", source).rsplit('/').next().unwrap_or_default().to_string();
    let single = !pattern::is_pattern(source);
    paths.iter().map(|path| stage_item(files, path, if single { name.clone() } else { last(path) }, exclude)).collect()
}

fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_string()
}

/// Follows links at the end of a path; None when it is not there.
fn follow(files: &Tree, mut path: String) -> Option<String> {
    for _ in 0..40 {
        match files.get(&path).map(|node| &node.kind) {
            Some(Kind::Link(target)) => path = resolve(path.rsplit_once('/').map_or("", |(folder, _)| folder), target),
            Some(_) => return Some(path),
            None => return (path.is_empty() && !files.is_empty()).then_some(path),
        }
    }
    None
}

fn stage_item(files: &Tree, path: &str, name: String, exclude: &Ignore) -> Item {
    // COPY gives its own owner, whatever the stage had.
    let own = |node: &Node| Node { owner: Owner::default(), ..node.clone() };
    let folder = files.get(path).is_none_or(|node| node.kind == Kind::Folder);
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let members = match files.get(path) {
        Some(node) if !folder => vec![(String::new(), own(node))],
        _ => {
            let inside = files.range(prefix.clone()..).take_while(|(file, _)| file.starts_with(&prefix));
            let below = inside.map(|(file, node)| (file[prefix.len()..].to_string(), own(node)));
            below.filter(|(below, _)| exclude.ignores(below).is_none()).collect()
        }
    };
    Item { name, folder, members }
}

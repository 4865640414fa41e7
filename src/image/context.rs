//! The build context: what COPY and ADD may take from it, and nothing beside it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::tree::{Kind, Node, Owner};
use crate::domain::{
    dockerfile::{ignore::Ignore, pattern},
    problem::{Code, Problem, Result},
};

/// `.dockerignore` and Dockerfile longer than this are not read, bytes.
const MAX_TEXT: u64 = 1 << 20;
/// Deeper folders than this are a loop.
const MAX_DEPTH: usize = 128;

/// Where an instruction stands; all its problems begin with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub file: &'a str,
    pub number: usize,
}

impl Place<'_> {
    pub fn problem(&self, code: Code, why: impl std::fmt::Display) -> Problem {
        Problem::new(code, format!("{}:{}: {why}", self.file, self.number))
    }

    pub fn invalid(&self, why: impl std::fmt::Display) -> Problem {
        self.problem(Code::DockerfileInvalid, why)
    }

    pub fn unsupported(&self, why: impl std::fmt::Display) -> Problem {
        self.problem(Code::DockerfileUnsupported, why)
    }
}

/// Something that is copied: a file, or a folder's content.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The name of its last part, under which a file goes into a folder.
    pub name: String,
    pub folder: bool,
    /// Path below the item (empty for a file) → what is there.
    pub members: Vec<(String, Node)>,
}

/// The folder with its `.dockerignore`.
pub(super) struct Context {
    root: PathBuf,
    ignore: Ignore,
    ignore_file: String,
    /// Folders that are not seen: what this run writes itself.
    hidden: Vec<PathBuf>,
}

impl Context {
    /// Opens a context; the Dockerfile's own ignore file (`<Dockerfile>.dockerignore`) goes before `.dockerignore`.
    pub fn open(root: &Path, dockerfile: &Path, hidden: &[PathBuf]) -> Result<Context> {
        let real = root.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Problem::new(Code::FileUnreadable, format!("there is no build context {}", root.display()))
                .hint("set image.context to a folder of the checkout"),
            _ => Problem::io("open", root, &error),
        })?;
        if !real.is_dir() {
            return Err(Problem::new(Code::FileUnreadable, format!("the build context {} is not a folder", root.display()))
                .hint("set image.context to a folder of the checkout"));
        }
        let hidden: Vec<PathBuf> = hidden.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        for file in [PathBuf::from(own), real.join(".dockerignore")] {
            if file.is_file() {
                let ignore_file = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                return Ok(Context { root: real, ignore: Ignore::parse(&read_text(&file)?), ignore_file, hidden });
            }
        }
        Ok(Context { root: real, ignore: Ignore::default(), ignore_file: ".dockerignore".to_string(), hidden })
    }

    /// What a source means: a path, or a pattern that may match several.
    pub fn find(&self, source: &str, exclude: &Ignore, place: Place<'_>) -> Result<Vec<Item>> {
        let path = clean(source)
            .ok_or_else(|| place.problem(Code::ContextEscape, format!("{source} leads out of the build context")).hint(STAY_INSIDE))?;
        let paths = if pattern::is_pattern(&path) && fs::symlink_metadata(self.root.join(&path)).is_err() {
            let found = self.matching(&path, place)?;
            if found.is_empty() {
                return Err(place.invalid(format!("no file of the build context matches {source}")).hint(self.hint(&path)));
            }
            found
        } else {
            vec![path]
        };
        paths.iter().map(|path| self.item(path, exclude, place)).collect()
    }

    fn item(&self, path: &str, exclude: &Ignore, place: Place<'_>) -> Result<Item> {
        let real = self.real(path, place)?;
        let metadata = fs::metadata(&real).map_err(|error| Problem::io("read", &real, &error))?;
        let left_out = self.ignore.ignores(path).filter(|_| !path.is_empty());
        let name = path.rsplit('/').next().unwrap_or(path).to_string();
        let mut item = Item { name, folder: metadata.is_dir(), members: Vec::new() };
        if !item.folder {
            match left_out {
                Some(line) => return Err(self.ignored(path, line, place)),
                None if exclude.ignores(&item.name).is_none() => {
                    item.members.push((String::new(), node(&real, &metadata, place)?));
                }
                None => {}
            }
            return Ok(item);
        }
        if left_out.is_none() || self.ignore.has_exceptions() {
            self.walk(&real, path, "", exclude, place, &mut item.members)?;
        }
        match left_out {
            Some(line) if item.members.is_empty() => Err(self.ignored(path, line, place)),
            _ => Ok(item),
        }
    }

    /// Collects what is in a folder; `below` is its path within the item.
    fn walk(
        &self,
        real: &Path,
        path: &str,
        below: &str,
        exclude: &Ignore,
        place: Place<'_>,
        members: &mut Vec<(String, Node)>,
    ) -> Result<()> {
        if below.matches('/').count() > MAX_DEPTH {
            return Err(place.invalid(format!("{path} has more than {MAX_DEPTH} folders in each other")));
        }
        for (name, child) in self.children(real, place)? {
            let (path, below) = (join(path, &name), join(below, &name));
            let metadata = fs::symlink_metadata(&child).map_err(|error| Problem::io("read", &child, &error))?;
            let left_out = self.ignore.ignores(&path).or(exclude.ignores(&below)).is_some();
            if metadata.is_dir() {
                let at = members.len();
                if !left_out || self.ignore.has_exceptions() || exclude.has_exceptions() {
                    self.walk(&child, &path, &below, exclude, place, members)?;
                }
                // A folder that is left out is there only for what stays in of it.
                if !left_out || members.len() > at {
                    members.push((below, node(&child, &metadata, place)?));
                }
            } else if !left_out {
                let node = if metadata.is_symlink() { self.link(&child, &path, place)? } else { node(&child, &metadata, place)? };
                members.push((below, node));
            }
        }
        Ok(())
    }

    /// A link inside of a copied folder stays a link, and must stay inside of the context.
    fn link(&self, child: &Path, path: &str, place: Place<'_>) -> Result<Node> {
        let target = fs::read_link(child).map_err(|error| Problem::io("read", child, &error))?;
        let escape = || {
            place
                .problem(Code::ContextEscape, format!("the link {path} leads out of the build context, to {}", target.display()))
                .hint("replace the link by the file, or leave it out with .dockerignore")
        };
        let text = target.to_str().filter(|text| !text.starts_with('/')).ok_or_else(escape)?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        clean(&format!("{folder}/{text}")).ok_or_else(escape)?;
        Ok(Node { kind: Kind::Link(text.to_string()), mode: 0o777, owner: Owner::default() })
    }

    /// The real place of a path, with its links followed, which must be inside of the context.
    fn real(&self, path: &str, place: Place<'_>) -> Result<PathBuf> {
        let wanted = self.root.join(path);
        let real = wanted.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                place.invalid(format!("{path} is not in the build context {}", self.root.display())).hint(self.hint(path))
            }
            _ => Problem::io("open", &wanted, &error),
        })?;
        if !real.starts_with(&self.root) {
            return Err(place.problem(Code::ContextEscape, format!("{path} is a link out of the build context")).hint(STAY_INSIDE));
        }
        Ok(real)
    }

    /// All paths that match a pattern and are not left out.
    fn matching(&self, glob: &str, place: Place<'_>) -> Result<Vec<String>> {
        let deepest = if glob.contains("**") { MAX_DEPTH } else { glob.split('/').count() };
        let mut found = Vec::new();
        let mut open = vec![(String::new(), self.root.clone())];
        while let Some((path, real)) = open.pop() {
            for (name, child) in self.children(&real, place)? {
                let path = join(&path, &name);
                let left_out = self.ignore.ignores(&path).is_some();
                if !left_out && pattern::matches_path(glob, &path) {
                    found.push(path.clone());
                }
                let folder = fs::symlink_metadata(&child).is_ok_and(|metadata| metadata.is_dir());
                if folder && path.split('/').count() < deepest && (!left_out || self.ignore.has_exceptions()) {
                    open.push((path, child));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn children(&self, real: &Path, place: Place<'_>) -> Result<Vec<(String, PathBuf)>> {
        let mut children = children(real, place)?;
        children.retain(|(_, child)| !self.hidden.contains(child));
        Ok(children)
    }

    fn ignored(&self, path: &str, line: usize, place: Place<'_>) -> Problem {
        place
            .invalid(format!("{path} is left out by line {line} of {}", self.ignore_file))
            .hint(format!("add the line !{path} at the end of {}", self.ignore_file))
    }

    fn hint(&self, path: &str) -> String {
        match path.starts_with("target") {
            true => "check that the build made it, and that image.context is the folder that holds it".to_string(),
            false => "paths are relative to image.context".to_string(),
        }
    }
}

const STAY_INSIDE: &str = "copy only what is below image.context, or choose a higher folder as image.context";

/// Reads a small text file, lossy; more than 1 MiB is an error.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let failed = |error: std::io::Error| Problem::new(Code::FileUnreadable, format!("cannot read {}: {error}", path.display()));
    if fs::metadata(path).map_err(failed)?.len() > MAX_TEXT {
        return Err(Problem::new(Code::FileUnreadable, format!("{} is longer than {MAX_TEXT} bytes", path.display())));
    }
    Ok(String::from_utf8_lossy(&fs::read(path).map_err(failed)?).into_owned())
}

/// The path without `.` and doubled slashes; None when `..` leads above the context.
pub(super) fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") }
}

fn children(folder: &Path, place: Place<'_>) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for child in fs::read_dir(folder).map_err(|error| Problem::io("read", folder, &error))? {
        let child = child.map_err(|error| Problem::io("read", folder, &error))?;
        let name = child.file_name().into_string().map_err(|name| {
            place
                .invalid(format!("{} has the name {name:?}, which is not UTF-8", folder.display()))
                .hint("rename it, or leave it out with .dockerignore")
        })?;
        found.push((name, child.path()));
    }
    found.sort();
    Ok(found)
}

/// Modes are kept but for what a umask decides: group and others never write, so that two checkouts give one image.
fn node(path: &Path, metadata: &fs::Metadata, place: Place<'_>) -> Result<Node> {
    let mode = metadata.permissions().mode();
    let owner = Owner::default();
    if metadata.is_dir() {
        Ok(Node { kind: Kind::Folder, mode: mode & 0o755, owner })
    } else if metadata.is_file() {
        Ok(Node { kind: Kind::File(path.to_path_buf(), metadata.len()), mode: mode & 0o7755, owner })
    } else {
        Err(place.invalid(format!("{} is neither a file nor a folder", path.display())).hint("leave it out with .dockerignore"))
    }
}

//! The build context: what COPY and ADD may take from it, and nothing beside it.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    source::{Borrowed, Source},
    tree::{Kind, Node, Owner, join},
};
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
    /// It is an archive that ADD unpacked: its members' modes are its own.
    pub unpacked: bool,
    /// Path below the item (empty for a file) → what is there.
    pub members: Vec<(String, Node)>,
}

/// The folder with its `.dockerignore`.
pub(super) struct Context<'a> {
    root: PathBuf,
    ignore: Ignore,
    ignore_file: String,
    /// Folders that are not seen: what this run writes itself.
    hidden: Vec<PathBuf>,
    /// Files that are seen, and lie elsewhere.
    borrowed: &'a Borrowed,
    /// Bits that modes keep.
    modes: u32,
    /// Links that were copied and lead to files beside the context: path and target.
    strays: RefCell<BTreeSet<(String, String)>>,
}

/// How a context is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    /// Folders that are not part of it.
    pub hidden: &'a [PathBuf],
    /// Files that belong to it, and lie elsewhere.
    pub borrowed: &'a Borrowed,
    /// Modes are taken as they are, but for what a umask decides: whether group and others may write.
    pub without_umask: bool,
}

impl<'a> Context<'a> {
    /// Opens a context; the Dockerfile's own ignore file (`<Dockerfile>.dockerignore`) goes before `.dockerignore`.
    pub fn open(root: &Path, dockerfile: &Path, look: Look<'a>) -> Result<Context<'a>> {
        let real = root.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Problem::new(Code::FileUnreadable, format!("there is no build context {}", root.display()))
                .hint("set image.context to a folder of the checkout"),
            _ => Problem::io("open", root, &error),
        })?;
        if !real.is_dir() {
            return Err(Problem::new(Code::FileUnreadable, format!("the build context {} is not a folder", root.display()))
                .hint("set image.context to a folder of the checkout"));
        }
        let hidden: Vec<PathBuf> = look.hidden.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
        let modes = if look.without_umask { 0o7755 } else { 0o7777 };
        let mut context = Context {
            root: real,
            ignore: Ignore::default(),
            ignore_file: ".dockerignore".to_string(),
            hidden,
            borrowed: look.borrowed,
            modes,
            strays: RefCell::default(),
        };
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        if let Some(file) = [PathBuf::from(own), context.root.join(".dockerignore")].into_iter().find(|file| file.is_file()) {
            context.ignore_file = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            context.ignore = Ignore::parse(&read_text(&file)?).map_err(|rule| {
                Problem::new(Code::DockerfileInvalid, format!("{}:{}: {} is no pattern", file.display(), rule.line, rule.text))
                    .hint("correct the line, or remove it: a [ needs its ], and a ! needs a pattern")
            })?;
        }
        Ok(context)
    }

    /// What a source means: a path, or a pattern that may match several.
    pub fn find(&self, source: &str, exclude: &Ignore, place: Place<'_>) -> Result<Vec<Item>> {
        let path = clean(source)
            .ok_or_else(|| place.problem(Code::ContextEscape, format!("{source} leads out of the build context")).hint(STAY_INSIDE))?;
        let paths = if pattern::is_pattern(&path) {
            let found = self.matching(&path, false, place)?;
            if found.is_empty() {
                return Err(self.nothing(source, &path, place));
            }
            found
        } else {
            vec![pattern::unescaped(&path)]
        };
        paths.iter().map(|path| self.item(path, exclude, place)).collect()
    }

    fn item(&self, path: &str, exclude: &Ignore, place: Place<'_>) -> Result<Item> {
        let real = self.real(path, place)?;
        let metadata = fs::metadata(&real).map_err(|error| Problem::io("read", &real, &error))?;
        let left_out = self.left_out(path).or_else(|| self.left_out(&self.inside(&real)));
        let name = path.rsplit('/').next().unwrap_or(path).to_string();
        let mut item = Item { name, folder: metadata.is_dir(), unpacked: false, members: Vec::new() };
        if !item.folder {
            match left_out {
                Some(line) => return Err(self.ignored(path, line, place)),
                None if exclude.ignores(&item.name).is_none() => {
                    item.members.push((String::new(), self.node(&real, &metadata, place)?));
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
                    members.push((below, self.node(&child, &metadata, place)?));
                }
            } else if !left_out {
                let node = if metadata.is_symlink() { self.link(&child, &path, place)? } else { self.node(&child, &metadata, place)? };
                members.push((below, node));
            }
        }
        for (name, (source, size)) in self.borrowed.within(Path::new(path)) {
            let (path, below) = (join(path, name), join(below, name));
            if self.ignore.ignores(&path).or(exclude.ignores(&below)).is_none() {
                members.push((below, Node { kind: Kind::File(source.clone(), *size), mode: 0o644, owner: Owner::default() }));
            }
        }
        Ok(())
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

    /// All paths that match a pattern, with or without those that are left out. Links in front of the first wildcard are followed.
    fn matching(&self, glob: &str, all: bool, place: Place<'_>) -> Result<Vec<String>> {
        let plain: Vec<&str> = glob.split('/').take_while(|part| !pattern::is_pattern(part)).collect();
        let start = pattern::unescaped(&plain.join("/"));
        let real = if start.is_empty() { self.root.clone() } else { self.real(&start, place)? };
        let rest = glob.split('/').skip(plain.len()).collect::<Vec<_>>().join("/");
        let depth = rest.split('/').count();
        let mut found = Vec::new();
        let mut open = if real.is_dir() { vec![(String::new(), real)] } else { Vec::new() };
        while let Some((below, real)) = open.pop() {
            for (name, child) in self.children(&real, place)? {
                let below = join(&below, &name);
                let left_out = !all && self.left_out(&self.inside(&child)).is_some();
                if !left_out && pattern::matches_path(&rest, &below) {
                    found.push(join(&start, &below));
                }
                let folder = fs::symlink_metadata(&child).is_ok_and(|metadata| metadata.is_dir());
                if folder && below.split('/').count() < depth && (!left_out || self.ignore.has_exceptions()) {
                    open.push((below, child));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// The line of the ignore file that leaves a path out; the context itself always stays.
    fn left_out(&self, path: &str) -> Option<usize> {
        self.ignore.ignores(path).filter(|_| !path.is_empty())
    }

    /// A real path as one of the context.
    fn inside(&self, real: &Path) -> String {
        real.strip_prefix(&self.root).map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// A link inside of a copied folder stays a link, wherever it leads in the image: nothing is read through it.
    fn link(&self, child: &Path, path: &str, place: Place<'_>) -> Result<Node> {
        let target = fs::read_link(child).map_err(|error| Problem::io("read", child, &error))?;
        let text = target.to_str().ok_or_else(|| {
            place.invalid(format!("the link {path} leads to {target:?}, which is not UTF-8")).hint("leave it out with .dockerignore")
        })?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        // An absolute target is a place in the image, unless it is the context's own on this machine.
        let beside = if target.is_absolute() { target.starts_with(&self.root) } else { clean(&format!("{folder}/{text}")).is_none() };
        if beside {
            self.strays.borrow_mut().insert((path.to_string(), text.to_string()));
        }
        Ok(Node { kind: Kind::Link(text.to_string()), mode: 0o777, owner: Owner::default() })
    }

    /// Links that lead to files which the image does not have: path and target.
    pub fn strays(self) -> BTreeSet<(String, String)> {
        self.strays.into_inner()
    }

    fn node(&self, path: &Path, metadata: &fs::Metadata, place: Place<'_>) -> Result<Node> {
        let kind = if metadata.is_dir() {
            Kind::Folder
        } else if metadata.is_file() {
            Kind::File(Source::File(path.to_path_buf()), metadata.len())
        } else {
            return Err(place
                .invalid(format!("{} is neither a file nor a folder", path.display()))
                .hint("leave it out with .dockerignore"));
        };
        Ok(Node { kind, mode: metadata.permissions().mode() & self.modes, owner: Owner::default() })
    }

    fn children(&self, real: &Path, place: Place<'_>) -> Result<Vec<(String, PathBuf)>> {
        let mut children = children(real, place)?;
        children.retain(|(_, child)| !self.hidden.contains(child));
        Ok(children)
    }

    /// Why a pattern has no match: an ignored file that it would match is the usual cause.
    fn nothing(&self, source: &str, glob: &str, place: Place<'_>) -> Problem {
        if let Ok(all) = self.matching(glob, true, place)
            && let Some((path, line)) = all.into_iter().find_map(|path| self.left_out(&path).map(|line| (path, line)))
        {
            return self.ignored(&path, line, place);
        }
        place.invalid(format!("no file of the build context matches {source}")).hint(self.hint(glob))
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

//! `shipway.yaml`: its top, and its sections by environment.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use super::{
    coerce::Wrong,
    mistake::{Mistake, Place},
    nearest::nearest,
    raw::{Node, Raw},
    reader::{Entries, Reader},
    shape,
    source::Source,
    yaml,
};
use crate::domain::problem::Code;

/// The file's name when no other is given.
pub const DEFAULT_NAME: &str = "shipway.yaml";

/// What the file says.
#[derive(Default)]
pub struct File {
    /// As messages name it.
    pub name: String,
    pub top: Entries,
    /// In the file's order; all of them are checked, one applies.
    pub sections: Vec<Section>,
}

/// One section of `environments`.
pub struct Section {
    pub name: String,
    matcher: Option<GlobMatcher>,
    pub entries: Entries,
}

/// Reads the file; when none is named and there is none of the default name, nothing is said.
pub fn read(named: Option<&Path>, dir: &Path, mistakes: &mut Vec<Mistake>) -> File {
    let name = named.map_or_else(|| PathBuf::from(DEFAULT_NAME), Path::to_path_buf);
    let path = if name.is_absolute() || named.is_some() { name.clone() } else { dir.join(&name) };
    let shown = name.display().to_string();
    let found = match named {
        Some(_) => content(&path, true),
        None => inside(&path, dir).and_then(|()| content(&path, false)),
    };
    match found {
        Ok(Some(text)) => parse(&shown, &text, mistakes),
        Ok(None) => File { name: shown, ..File::default() },
        Err(wrong) => {
            let mistake = Mistake {
                code: Code::FileUnreadable,
                setting: "--file".into(),
                source: shown.clone(),
                place: None,
                what: wrong.what,
                fix: wrong.fix,
            };
            mistakes.push(mistake);
            File { name: shown, ..File::default() }
        }
    }
}

/// A link in a repository must not show what else the machine has, be it in a message.
fn inside(path: &Path, dir: &Path) -> Result<(), Wrong> {
    let outside = fs::canonicalize(path).is_ok_and(|real| !fs::canonicalize(dir).is_ok_and(|dir| real.starts_with(dir)));
    match outside {
        true => Err(Wrong::new(
            format!("{} is a link that leaves the checkout", path.display()),
            "put the file itself there, or name the other one by --file",
        )),
        false => Ok(()),
    }
}

fn content(path: &Path, named: bool) -> Result<Option<String>, Wrong> {
    let mut bytes = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(yaml::MAX_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return Ok(None),
        Err(error) => {
            return Err(Wrong::new(
                format!("{} cannot be read: {error}", path.display()),
                "name a file that is there and that this user may read",
            ));
        }
    }
    if bytes.len() as u64 > yaml::MAX_BYTES {
        // Cut off, perhaps inside a character: parsing says that it is too large.
        return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| Wrong::new(format!("{} is not UTF-8 text", path.display()), "save it as UTF-8"))?;
    Ok(Some(text))
}

/// Reads the text of a file; `name` is for messages.
pub fn parse(name: &str, text: &str, mistakes: &mut Vec<Mistake>) -> File {
    let mut file = File { name: name.to_string(), ..File::default() };
    let mut faults = Vec::new();
    let root = match text.len() as u64 > yaml::MAX_BYTES {
        true => {
            let what = format!("{name} is larger than {} KiB", yaml::MAX_BYTES / 1024);
            faults.push(yaml::Fault { at: (1, 1), what, fix: "make it smaller: it holds settings only".to_string() });
            None
        }
        false => yaml::parse(text, &mut faults),
    };
    mistakes.extend(faults.into_iter().map(|fault| Mistake {
        code: Code::SettingInvalid,
        setting: name.to_string(),
        source: name.to_string(),
        place: Some(Place { file: name.to_string(), line: fault.at.0, column: fault.at.1 }),
        what: fault.what,
        fix: fault.fix,
    }));
    let Some(mut root) = root else { return file };
    let environments = take(&mut root, "environments");
    let mut top = Entries::new();
    reader(name, Source::File { file: name.to_string() }, false, &mut top, mistakes).section(shape::root(), &root);
    file.top = top;
    if let Some(environments) = environments {
        file.sections = sections(name, &environments, mistakes);
    }
    file
}

fn reader<'a>(name: &str, source: Source, in_section: bool, entries: &'a mut Entries, mistakes: &'a mut Vec<Mistake>) -> Reader<'a> {
    Reader { source, name: name.to_string(), file: true, in_section, entries, mistakes }
}

fn take(root: &mut Node, name: &str) -> Option<Node> {
    let Raw::Map(fields) = &mut root.raw else { return None };
    let position = fields.iter().position(|(key, ..)| key == name)?;
    Some(fields.remove(position).2)
}

fn sections(file: &str, environments: &Node, mistakes: &mut Vec<Mistake>) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut ignored = Entries::new();
    match &environments.raw {
        Raw::Null => {}
        Raw::Map(fields) => {
            for (name, at, node) in fields {
                let mut entries = Entries::new();
                let source = Source::Section { file: file.to_string(), section: name.clone() };
                reader(file, source, true, &mut entries, mistakes).section(shape::root(), node);
                let matcher = GlobBuilder::new(name).literal_separator(false).build();
                let matcher = match matcher {
                    Ok(glob) => Some(glob.compile_matcher()),
                    Err(error) => {
                        let what = format!("environments.{name} is not a pattern: {}", error.kind());
                        let wrong = Wrong::new(what, "write a name, or a pattern such as review/*");
                        reader(file, Source::Flag, true, &mut ignored, mistakes).wrong(&["environments".into(), name.clone()], *at, wrong);
                        None
                    }
                };
                sections.push(Section { name: name.clone(), matcher, entries });
            }
        }
        _ => {
            let wrong = Wrong::new(
                format!("environments is {}, where a map is wanted", environments.form()),
                "write a name below it, and keys below that",
            );
            reader(file, Source::Flag, true, &mut ignored, mistakes).wrong(&["environments".into()], environments.at, wrong);
        }
    }
    sections
}

impl File {
    /// The section of an environment: the one of that very name, else the first pattern that covers it. An environment that no
    /// section of a file with sections covers is a mistake.
    pub fn section(&self, environment: &str) -> Result<Option<&Section>, Wrong> {
        let same = self.sections.iter().find(|section| section.name == environment);
        let covers = |section: &&Section| section.matcher.as_ref().is_some_and(|matcher| matcher.is_match(environment));
        match same.or_else(|| self.sections.iter().find(covers)) {
            Some(section) => Ok(Some(section)),
            None if self.sections.is_empty() => Ok(None),
            None => {
                let names: Vec<&str> = self.sections.iter().map(|section| section.name.as_str()).collect();
                let meant = nearest(environment, names.iter().copied()).map(|name| format!("did you mean {name}? ")).unwrap_or_default();
                let what = format!("environment is {environment:?}, which no section of {} covers", self.name);
                Err(Wrong::new(what, format!("{meant}it has {}; add a section environments.{environment}, or a pattern", names.join(", "))))
            }
        }
    }
}

//! All sources together: precedence, defaults, and the settings that come out of it.

use super::{
    Input, Loaded, ci,
    coerce::plain,
    file::{self, File},
    guarded,
    host::Host,
    mistake::{Mistake, Mistakes},
    nearest::nearest,
    raw::Node,
    reader::{Entries, Entry, Reader},
    relations, result, secrets,
    shape::{self, Leaf, Shape},
    source::Source,
    variables::{self, Prefix},
};
use crate::domain::{problem::Code, redact::Redactor};

/// Settings that were refused.
pub struct Refused {
    pub mistakes: Mistakes,
    /// What could be read all the same: it tells how to log and where the report goes, and nothing is run with it.
    pub rest: Option<Box<Loaded>>,
}

/// Reads flags, variables and the file, and resolves every key by precedence; all mistakes are found at once.
pub fn load(input: &Input) -> Result<Loaded, Mistakes> {
    load_or_rest(input).map_err(|refused| refused.mistakes)
}

/// As [`load`], and keeps what could be read when there are mistakes.
pub fn load_or_rest(input: &Input) -> Result<Loaded, Refused> {
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    let variables = &input.environment;
    let file = file::read(input.file.as_deref(), &input.dir, &mut mistakes);
    let mut named = Entries::new();
    variables::read(Prefix::Shipway, variables, &mut named, &mut mistakes, &mut warnings);
    variables::read(Prefix::Plugin, variables, &mut named, &mut mistakes, &mut warnings);
    flags(&input.args, &mut named, &mut mistakes);
    let mut said = company(&input.company, &named, &file, variables, &mut mistakes);
    said.extend(file.top.clone());
    said.extend(section(&file, &named, variables, &mut mistakes));
    said.extend(named);
    let mut ci = ci::detect(variables);
    let mut entries = ci::entries(&ci, variables, &said, &mut mistakes);
    entries.extend(said);
    relations::check(&entries, &mut mistakes);
    let host = Host::read(variables);
    if host.worker.is_some() {
        guarded::check(&entries, &mut mistakes);
    }
    let sources = result::sources(&mut entries);
    let loaded = result::settings(&entries).map(|settings| {
        let secrets = secrets::all(&entries, &ci, &host, variables);
        ci.drop_links_with(&Redactor::new(&secrets));
        Loaded { settings, ci, host, sources, warnings, secrets }
    });
    match loaded {
        Ok(loaded) if mistakes.is_empty() => Ok(loaded),
        Err(wrong) if mistakes.is_empty() => Err(Refused { mistakes: wrong, rest: None }),
        rest => {
            // As a file is read, then the rest.
            mistakes.sort_by_key(|mistake| (mistake.place.is_none(), mistake.place.clone()));
            Err(Refused { mistakes: Mistakes(mistakes), rest: rest.ok().map(Box::new) })
        }
    }
}

/// Mistakes of a file's text alone, in its order, for `shipway check`: all sections are looked at, whatever the environment. `name` is
/// for messages.
pub fn check(text: &str, name: &str) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let file = file::parse(name, text, &mut mistakes);
    relations::check(&file.top, &mut mistakes);
    for section in &file.sections {
        let mut entries = file.top.clone();
        entries.extend(section.entries.clone());
        relations::check(&entries, &mut mistakes);
    }
    mistakes.sort_by(|a, b| a.place.cmp(&b.place));
    mistakes.dedup();
    mistakes
}

/// `--set` and flags; the last one wins.
fn flags(args: &[(String, String)], entries: &mut Entries, mistakes: &mut Vec<Mistake>) {
    for (key, value) in args {
        let mut reader = Reader {
            source: Source::Flag,
            name: format!("--set {key}"),
            file: false,
            in_section: false,
            entries: &mut *entries,
            mistakes: &mut *mistakes,
        };
        match find(key) {
            Some(Shape::Leaf(leaf)) => reader.leaf(leaf, None, &Node::text(value)),
            Some(Shape::Section(section)) => reader.section(section, &Node::text(value)),
            None => mistakes.push(unknown_flag(key)),
        }
    }
}

fn unknown_flag(key: &str) -> Mistake {
    let keys: Vec<String> = shape::root().leaves().into_iter().map(Leaf::key).collect();
    let fix = match nearest(key, keys.iter().map(String::as_str)) {
        Some(known) => format!("did you mean {known}?"),
        None => "see the settings reference for the keys that there are".to_string(),
    };
    let source = format!("--set {key}");
    Mistake {
        code: Code::SettingUnknown,
        setting: key.to_string(),
        source,
        place: None,
        what: format!("--set {key} is not a setting"),
        fix,
    }
}

fn find(key: &str) -> Option<&'static Shape> {
    let mut parts = key.split('.');
    let mut shape = shape::root().field(parts.next()?)?;
    for part in parts {
        shape = match shape {
            Shape::Section(section) => section.field(part)?,
            Shape::Leaf(_) => return None,
        };
    }
    Some(shape)
}

/// What the company says: an application's entry over that of all, in each the environment's section over the rest. A section that is
/// not there is no mistake: the repository's own file says which environments there are.
fn company(
    texts: &[(String, String)],
    named: &Entries,
    file: &File,
    variables: &[(String, String)],
    mistakes: &mut Vec<Mistake>,
) -> Entries {
    let environment = environment(named, file, variables).map(|entry| plain(&entry.value));
    let mut said = Entries::new();
    for (name, text) in texts {
        let company = file::parse(name, text, mistakes);
        said.extend(company.top.clone());
        let section = environment.as_deref().and_then(|environment| company.section(environment).ok().flatten());
        said.extend(section.map(|section| section.entries.clone()).unwrap_or_default());
    }
    // No file of a repository can be taken for it, whatever its name.
    said.values_mut().for_each(|entry| entry.source = Source::Company(entry.source.to_string()));
    said
}

/// What says which environment this is.
fn environment(named: &Entries, file: &File, variables: &[(String, String)]) -> Option<Entry> {
    let path = ["environment".to_string()];
    let from_ci = ci::environment(variables);
    [named, &file.top, &from_ci].into_iter().find_map(|entries| entries.get(&path[..])).cloned()
}

/// The entries of the section that applies.
fn section(file: &File, named: &Entries, variables: &[(String, String)], mistakes: &mut Vec<Mistake>) -> Entries {
    let Some(entry) = environment(named, file, variables) else { return Entries::new() };
    match file.section(&plain(&entry.value)) {
        Ok(section) => section.map(|section| section.entries.clone()).unwrap_or_default(),
        Err(wrong) => {
            let (source, place) = (entry.source.to_string(), entry.place.clone());
            mistakes.push(Mistake {
                code: Code::SettingInvalid,
                setting: "environment".into(),
                source,
                place,
                what: wrong.what,
                fix: wrong.fix,
            });
            Entries::new()
        }
    }
}

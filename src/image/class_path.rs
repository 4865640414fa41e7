//! The `Class-Path` of a plain jar: which files stand behind it, and where they go (JAR File Specification, "Class-Path attribute").

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use crate::domain::problem::{Code, Problem, Result};

/// Folders beside a jar in which builds leave libraries: Maven's assembly and dependency plugins by their usual configuration.
const FOLDERS: [&str; 5] = ["", "lib", "libs", "dependency", "dependencies"];

/// A file that has to be beside the jar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beside {
    /// Relative to the jar.
    pub name: String,
    pub source: PathBuf,
    pub library: bool,
}

/// What a class path needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    pub files: Vec<Beside>,
    /// The class path's new value (URL-encoded) when a library cannot stay where the manifest has it.
    pub rewritten: Option<Vec<String>>,
}

/// Finds every library; those that are missing are an error that lists them all. Folders on the class path are taken when they are
/// there: Java passes over those that are not.
pub(super) fn resolve(jar: &Path, entries: &[String]) -> Result<Resolved> {
    let home = jar.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut resolved = Resolved::default();
    let mut names = Vec::new();
    let mut missing = Vec::new();
    for entry in entries {
        let inside = beneath(entry);
        if entry.ends_with('/') || matches!(entry.as_str(), "." | "..") {
            if let Some(folder) = inside.as_ref().filter(|folder| !folder.is_empty()) {
                add_folder(home, folder, &mut resolved.files)?;
            }
            names.push(encode(entry));
            continue;
        }
        let file = entry.rsplit(['/', '\\']).next().unwrap_or(entry);
        let Some(source) = find(home, inside.as_deref(), file) else {
            missing.push(entry.as_str());
            continue;
        };
        let name = inside.unwrap_or_else(|| format!("lib/{file}"));
        names.push(encode(&name));
        resolved.files.push(Beside { name, source, library: true });
    }
    if !missing.is_empty() {
        let message = format!("{} names libraries in its Class-Path that are not there: {}", jar.display(), missing.join(", "));
        return Err(Problem::new(Code::ArtifactInvalid, message).hint(
            "copy them with dependency:copy-dependencies to where the Class-Path points, or package one jar with spring-boot:repackage or maven-shade-plugin",
        ));
    }
    let moved = names.iter().zip(entries).any(|(name, entry)| !entry.ends_with('/') && beneath(entry).is_none() && name != entry);
    resolved.rewritten = moved.then_some(names);
    Ok(resolved)
}

/// A class path entry is a URL: what is neither plain nor a slash is written in percent form.
pub(super) fn encode(path: &str) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'+' | b'~' | b'@' | b'!' | b',' | b'(' | b')')
    };
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The entry as a clean path below the jar's folder; None when it leads elsewhere, or is a URL.
fn beneath(entry: &str) -> Option<String> {
    if entry.contains([':', '\\']) {
        return None;
    }
    let mut parts = Vec::new();
    for component in Path::new(entry).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

fn find(home: &Path, inside: Option<&str>, file: &str) -> Option<PathBuf> {
    let exact = inside.map(|inside| home.join(inside));
    exact.into_iter().chain(FOLDERS.iter().map(|folder| home.join(folder).join(file))).find(|path| path.is_file())
}

fn add_folder(home: &Path, folder: &str, files: &mut Vec<Beside>) -> Result<()> {
    let root = home.join(folder);
    let mut open = BTreeMap::from([(folder.to_string(), root)]);
    while let Some((name, path)) = open.pop_first() {
        let Ok(children) = fs::read_dir(&path) else { continue };
        for child in children {
            let child = child.map_err(|error| Problem::io("read", &path, &error))?;
            let kind = child.file_type().map_err(|error| Problem::io("read", child.path(), &error))?;
            let Ok(file) = child.file_name().into_string() else { continue };
            let name = format!("{name}/{file}");
            if kind.is_dir() {
                open.insert(name, child.path());
            } else if kind.is_file() {
                files.push(Beside { name, source: child.path(), library: false });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_where_builds_leave_them() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["lib/a.jar", "dependency/b.jar", "c d.jar", "conf/x/y.yml", "lib/e.jar"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let jar = dir.path().join("app.jar");
        let entries = ["lib/a.jar", "./lib/b.jar", "c d.jar", "conf/", ".", "missing-folder/"].map(String::from);
        let resolved = resolve(&jar, &entries).unwrap();
        let names: Vec<&str> = resolved.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["lib/a.jar", "lib/b.jar", "c d.jar", "conf/x/y.yml"]);
        assert_eq!(resolved.rewritten, None);
        let resolved = resolve(&jar, &["../x/e.jar".to_string(), "file:/opt/lib/a.jar".to_string(), "c d.jar".to_string()]).unwrap();
        assert_eq!(resolved.rewritten.unwrap(), ["lib/e.jar", "lib/a.jar", "c%20d.jar"]);
        let problem = resolve(&jar, &["lib/no.jar".to_string(), "lib/a.jar".to_string(), "../etc/nor.jar".to_string()]).unwrap_err();
        assert_eq!(problem.code, Code::ArtifactInvalid);
        assert!(problem.message.ends_with("not there: lib/no.jar, ../etc/nor.jar"), "{}", problem.message);
    }
}

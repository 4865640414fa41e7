//! The user's own manifests and patches: the files and folders that the settings name, read from the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    domain::{
        custom::{Custom, File},
        problem::{Code, Problem, Result},
    },
    plan::Plan,
};

/// Bytes that one file may have.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Files that a publish may have.
const MAX_FILES: usize = 500;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads `kubernetes.manifests` and `kubernetes.patches`.
/// Fails with `file-unreadable`, `context-escape` or `manifest-invalid`, naming setting or file.
pub(super) fn read(plan: &Plan) -> Result<Custom> {
    let kubernetes = &plan.settings.kubernetes;
    let root = &plan.facts.dir;
    let manifests = files(root, "kubernetes.manifests", &kubernetes.manifests)?;
    let patches = files(root, "kubernetes.patches", &kubernetes.patches)?;
    Custom::read(&manifests, &patches, &plan.namespace)
}

/// The files of one setting.
pub(super) fn files(root: &Path, key: &str, named: &[String]) -> Result<Vec<File>> {
    let mut paths = Vec::new();
    for name in named {
        let mut found = Vec::new();
        collect(&root.join(name), &mut found, true).map_err(|error| unreadable(key, name, &error.to_string()))?;
        if found.is_empty() {
            return Err(unreadable(key, name, "the folder holds no file that ends in .yaml, .yml or .json"));
        }
        found.retain(|path| !paths.contains(path));
        paths.append(&mut found);
    }
    if paths.len() > MAX_FILES {
        return Err(unreadable(key, &named.join(", "), &format!("there are {} files, more than {MAX_FILES}", paths.len())));
    }
    paths.iter().map(|path| file(root, key, path)).collect()
}

/// Files of a folder and its folders, by name, as `kubectl apply -R` takes them; what is named itself may end in anything.
fn collect(path: &Path, found: &mut Vec<PathBuf>, named: bool) -> std::io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        let manifest = path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        if named || manifest {
            found.push(path.to_path_buf());
        }
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.retain(|entry| entry.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    // a linked folder could be one of those that lead to it
    entries.retain(|entry| !(entry.is_symlink() && entry.is_dir()));
    entries.sort();
    entries.iter().try_for_each(|entry| collect(entry, found, false))
}

fn file(root: &Path, key: &str, path: &Path) -> Result<File> {
    let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
    let unreadable = |why: &str| unreadable(key, &shown, why);
    let real = fs::canonicalize(path).map_err(|error| unreadable(&error.to_string()))?;
    // a link may not lead out of what was checked out
    if !fs::canonicalize(root).is_ok_and(|root| real.starts_with(root)) {
        return Err(Problem::new(Code::ContextEscape, format!("{shown} of {key} leads out of the checkout"))
            .hint(format!("copy what {key} needs into the checkout")));
    }
    let size = fs::metadata(&real).map_err(|error| unreadable(&error.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(unreadable(&format!("it has {size} bytes, more than {MAX_BYTES}")));
    }
    let bytes = fs::read(&real).map_err(|error| unreadable(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8"))?;
    Ok(File { path: shown, text })
}

fn unreadable(key: &str, name: &str, why: &str) -> Problem {
    Problem::new(Code::FileUnreadable, format!("{name} of {key} cannot be read: {why}")).hint(format!("correct {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "a: 1\n").unwrap();
        }
        folder
    }

    fn names(folder: &Path, named: &[&str]) -> Result<Vec<String>> {
        let named: Vec<String> = named.iter().map(ToString::to_string).collect();
        Ok(files(folder, "kubernetes.manifests", &named)?.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn folders_are_read_by_name_and_files_once() {
        let folder = folder(&["deploy/b.yaml", "deploy/a.yml", "deploy/sub/c.json", "deploy/.hidden.yaml", "deploy/README.md", "one.txt"]);
        let read = names(folder.path(), &["deploy", "deploy/a.yml", "one.txt"]).unwrap();
        assert_eq!(read, ["deploy/a.yml", "deploy/b.yaml", "deploy/sub/c.json", "one.txt"]);
    }

    #[test]
    fn what_cannot_be_read_names_setting_and_file() {
        let folder = folder(&["empty/README.md"]);
        let missing = names(folder.path(), &["gone.yaml"]).unwrap_err();
        assert_eq!((missing.code.slug(), missing.exit_code()), ("file-unreadable", 2));
        assert!(missing.message.starts_with("gone.yaml of kubernetes.manifests cannot be read"), "{}", missing.message);
        assert!(names(folder.path(), &["empty"]).unwrap_err().message.contains("no file that ends in .yaml"));
        fs::write(folder.path().join("latin.yaml"), b"a: \xe9\n").unwrap();
        assert!(names(folder.path(), &["latin.yaml"]).unwrap_err().message.contains("not UTF-8"));
    }

    #[test]
    fn a_link_out_of_the_checkout_is_refused() {
        let (folder, outside) = (folder(&["deploy/a.yaml"]), folder(&["secret.yaml"]));
        std::os::unix::fs::symlink(outside.path().join("secret.yaml"), folder.path().join("deploy/z.yaml")).unwrap();
        assert_eq!(names(folder.path(), &["deploy"]).unwrap_err().code.slug(), "context-escape");
    }
}

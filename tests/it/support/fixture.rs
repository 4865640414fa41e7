//! The applications of tests/fixtures: copied as a checkout of their own, or built once for all tests.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A copy of a fixture in a folder of its own: a Git repository with one commit on `main`.
pub struct Checkout {
    folder: TempDir,
    name: String,
}

impl Checkout {
    /// The repository's folder; it is named as the fixture, since the application's default name comes from it.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Puts a file into the checkout.
    pub fn write(&self, file: &str, content: &str) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Replaces text that must be there in a file of the checkout.
    pub fn replace(&self, file: &str, from: &str, to: &str) {
        let content = fs::read_to_string(self.path().join(file)).unwrap();
        assert!(content.contains(from), "{file} holds no {from:?}");
        self.write(file, &content.replace(from, to));
    }

    /// Commits everything; says the commit's id.
    pub fn commit(&self, message: &str) -> String {
        git(&self.path(), &["add", "--all"]);
        git(&self.path(), &["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// The id of the newest commit.
    pub fn head(&self) -> String {
        git(&self.path(), &["rev-parse", "HEAD"])
    }
}

/// A fresh checkout of a fixture.
pub fn checkout(name: &str) -> Checkout {
    let folder = tempfile::tempdir().unwrap();
    let checkout = Checkout { folder, name: name.to_owned() };
    copy(&source(name), &checkout.path());
    init(&checkout);
    checkout
}

/// A checkout that holds nothing but one file, for what needs no application.
pub fn empty_checkout(name: &str) -> Checkout {
    let checkout = Checkout { folder: tempfile::tempdir().unwrap(), name: name.to_owned() };
    checkout.write("README.md", "# empty\n");
    init(&checkout);
    checkout
}

/// The folder of a fixture with its `target`, packaged by Maven without its tests: built once for the sources as they are and
/// shared by all tests and test runs, so it is only to be read.
pub fn built(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", &hash(&source(name))[..12]));
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.exists() {
        let unfinished = folder.with_extension("part");
        let _ = fs::remove_dir_all(&unfinished);
        copy(&source(name), &unfinished);
        package(&unfinished);
        fs::rename(&unfinished, &folder).unwrap();
    }
    folder
}

/// The jar or war that [`built`] made in `target` of the project (or of a module, `module/target`).
pub fn archive(name: &str, module: &str) -> PathBuf {
    let target = built(name).join(module).join("target");
    let mut found: Vec<PathBuf> = fs::read_dir(&target)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jar" || extension == "war"))
        .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with("original-"))
        .collect();
    assert_eq!(found.len(), 1, "archives in {}: {found:?}", target.display());
    found.remove(0)
}

fn source(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    assert!(folder.is_dir(), "no fixture {name}; see tests/fixtures/README.md");
    folder
}

fn init(checkout: &Checkout) {
    checkout.write(".gitignore", "target/\nshipway-report/\n");
    git(&checkout.path(), &["init", "--quiet", "--initial-branch=main"]);
    checkout.commit("Begin");
}

/// Git without the machine's own settings, so that every machine makes the same commits.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([("GIT_AUTHOR_NAME", "Dana Developer"), ("GIT_AUTHOR_EMAIL", "dana@example.test")])
        .envs([("GIT_COMMITTER_NAME", "Dana Developer"), ("GIT_COMMITTER_EMAIL", "dana@example.test")])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn package(folder: &Path) {
    let output = Command::new("mvn")
        .args(["--batch-mode", "--no-transfer-progress", "-Dstyle.color=never", "-DskipTests", "package"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "mvn package in {}:\n{}", folder.display(), String::from_utf8_lossy(&output.stdout));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

/// All files below a folder, sorted, without what a build by hand left.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("target") => {}
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn hash(folder: &Path) -> String {
    let mut hash = Sha256::new();
    for file in files(folder) {
        hash.update(file.strip_prefix(folder).unwrap().to_string_lossy().as_bytes());
        hash.update(fs::read(&file).unwrap());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

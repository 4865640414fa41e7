//! Real git: local repositories, and Gitea over HTTP.

use std::path::{Path, PathBuf};

use shipway::{
    domain::{
        problem::{Code, Problem},
        secret::{Credentials, Secret},
    },
    git::{self, Commit, Source},
};

use crate::support::{
    block_on, fixture, free_port,
    lab::{Registry, lab},
    unique,
};

fn env() -> Vec<(String, String)> {
    vec![("PATH".to_string(), std::env::var("PATH").unwrap()), ("HOME".to_string(), "/nowhere".to_string())]
}

fn head(dir: &Path) -> Option<Commit> {
    block_on(git::head(dir, &env())).unwrap()
}

fn source(url: &str, reference: Option<&str>) -> Source {
    Source { url: url.to_string(), reference: reference.map(str::to_string), credentials: None, ca: None, refs: Vec::new() }
}

fn clone(source: &Source) -> (tempfile::TempDir, Result<Commit, Problem>) {
    let dir = tempfile::tempdir().unwrap();
    let commit = block_on(git::clone(source, &dir.path().join("clone"), &env()));
    (dir, commit)
}

#[test]
fn the_commit_of_a_checkout() {
    let checkout = fixture::empty_checkout("head");
    let sha = checkout.head();
    fixture::git(&checkout.path(), &["tag", "v1.0.0"]);
    fixture::git(&checkout.path(), &["remote", "add", "origin", "https://job:token@git.example/a/b.git"]);
    let commit = head(&checkout.path()).unwrap();
    assert_eq!((commit.sha.as_str(), commit.branch.as_deref(), commit.tag.as_deref()), (sha.as_str(), Some("main"), Some("v1.0.0")));
    assert_eq!((commit.author.as_str(), commit.remote.as_deref()), ("Dana Developer", Some("https://git.example/a/b.git")));
    assert!(commit.time > 1_500_000_000);

    // As CI has it: detached, and asked for from a folder of the checkout.
    fixture::git(&checkout.path(), &["checkout", "--quiet", "--detach"]);
    checkout.write("sub/file", "");
    assert_eq!(head(&checkout.path().join("sub")).unwrap().branch, None);
}

#[test]
fn a_checkout_of_another_owner_is_read_too() {
    let checkout = fixture::empty_checkout("owned");
    if std::os::unix::fs::chown(checkout.path(), Some(12345), Some(12345)).is_err() {
        println!("not run: only root can give a folder away");
        return;
    }
    std::os::unix::fs::chown(checkout.path().join(".git"), Some(12345), Some(12345)).unwrap();
    assert_eq!(head(&checkout.path()).unwrap().sha.len(), 40);
}

#[test]
fn what_is_no_checkout_is_none() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(head(dir.path()), None);
    assert_eq!(block_on(git::head(dir.path(), &[])).unwrap(), None, "also where there is no git");
    fixture::git(dir.path(), &["init", "--quiet"]);
    assert_eq!(head(dir.path()), None, "no commit yet");
    let problem = block_on(git::head(dir.path(), &[])).unwrap_err();
    assert_eq!(problem.code, Code::ProgramMissing);
    std::fs::write(dir.path().join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    std::fs::create_dir_all(dir.path().join(".git/refs/heads")).unwrap();
    std::fs::write(dir.path().join(".git/refs/heads/main"), format!("{}\n", "1".repeat(40))).unwrap();
    let problem = block_on(git::head(dir.path(), &env())).unwrap_err();
    assert!(problem.message.contains("git cannot read the checkout"), "{}", problem.message);
}

/// A repository with two commits on main, a branch, and an annotated tag on the first commit.
fn origin() -> (fixture::Checkout, String, String) {
    let checkout = fixture::empty_checkout("origin");
    let first = checkout.head();
    fixture::git(&checkout.path(), &["tag", "--annotate", "--message", "one", "v1.0.0"]);
    checkout.write("second", "");
    let second = checkout.commit("Second");
    fixture::git(&checkout.path(), &["branch", "feature/Ünïcode#1"]);
    (checkout, first, second)
}

#[test]
fn one_ref_is_cloned_shallow() {
    let (origin, first, second) = origin();
    let path = origin.path().display().to_string();
    let url = format!("file://{path}");
    for (source, sha, branch, tag) in [
        (source(&path, None), &second, Some("main"), None),
        (source(&url, Some("main")), &second, Some("main"), None),
        (source(&url, Some("feature/Ünïcode#1")), &second, Some("feature/Ünïcode#1"), None),
        (source(&url, Some("v1.0.0")), &first, None, Some("v1.0.0")),
        (source(&url, Some("refs/heads/main")), &second, Some("main"), None),
        (source(&url, Some(first.as_str())), &first, None, None),
    ] {
        let (dir, commit) = clone(&source);
        let commit = commit.unwrap_or_else(|problem| panic!("{:?}: {}", source.reference, problem.message));
        assert_eq!(&commit.sha, sha, "{:?}", source.reference);
        assert_eq!((commit.branch.as_deref(), commit.tag.as_deref()), (branch, tag), "{:?}", source.reference);
        let clone = dir.path().join("clone");
        assert_eq!(fixture::git(&clone, &["rev-list", "--all", "--count"]), "1", "{:?}", source.reference);
        assert!(clone.join("README.md").is_file());
    }
}

#[test]
fn what_cannot_be_cloned_is_told() {
    let (origin, _, _) = origin();
    let url = format!("file://{}", origin.path().display());
    let problem = clone(&source(&url, Some("gone"))).1.unwrap_err();
    assert_eq!(problem.code, Code::SourceRefMissing);
    assert!(problem.message.starts_with("gone is no branch, tag or commit of file://"), "{}", problem.message);
    let problem = clone(&source(&url, Some(&"1".repeat(40)))).1.unwrap_err();
    assert_eq!(problem.code, Code::SourceRefMissing, "{}", problem.message);
    let problem = clone(&source("file:///no/such/repository", None)).1.unwrap_err();
    assert_eq!(problem.code, Code::SourceMissing, "{}", problem.message);
    let problem = clone(&source(&format!("http://127.0.0.1:{}/a/b.git", free_port()), None)).1.unwrap_err();
    assert_eq!(problem.code, Code::CloneFailed, "{}", problem.message);
    assert!(problem.message.contains("127.0.0.1"), "{}", problem.message);
    let problem = clone(&source(&url, Some("--upload-pack=touch /tmp/x"))).1.unwrap_err();
    assert_eq!(problem.code, Code::SettingInvalid);

    let full = tempfile::tempdir().unwrap();
    std::fs::write(full.path().join("file"), "").unwrap();
    let problem = block_on(git::clone(&source(&url, None), full.path(), &env())).unwrap_err();
    assert!(problem.message.ends_with("the folder is not empty"), "{}", problem.message);
}

/// A private repository of Gitea with one commit; its URL and the host's account.
fn private() -> (String, Registry, String) {
    let gitea = lab().gitea();
    let name = unique("clone");
    let url = format!("http://{}/{}/{name}.git", gitea.address, gitea.user);
    let checkout = fixture::empty_checkout("private");
    let push = url.replace("://", &format!("://{}:{}@", gitea.user, gitea.password));
    fixture::git(&checkout.path(), &["push", "--quiet", &push, "main"]);
    (url, gitea, checkout.head())
}

#[test]
fn credentials_are_used_and_left_nowhere() {
    let (url, gitea, sha) = private();
    let mut with = source(&url, Some("main"));
    with.credentials = Some(Credentials { username: gitea.user.clone(), password: Secret::new(gitea.password.clone()) });
    let written = source(&url.replace("://", &format!("://{}:{}@", gitea.user, gitea.password)), None);
    for source in [with, written] {
        let (dir, commit) = clone(&source);
        let commit = commit.unwrap_or_else(|problem| panic!("{}", problem.message));
        assert_eq!((commit.sha.as_str(), commit.remote.as_deref()), (sha.as_str(), Some(url.as_str())));
        for file in files(&dir.path().join("clone")) {
            let content = std::fs::read(&file).unwrap();
            let content = String::from_utf8_lossy(&content);
            assert!(!content.contains(&gitea.password) && !content.contains("Authorization"), "{}", file.display());
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_host_that_refuses_is_told_without_the_password() {
    let (url, gitea, _) = private();
    let problem = clone(&source(&url, None)).1.unwrap_err();
    assert_eq!(problem.code, Code::CloneDenied, "{}", problem.message);
    assert!(problem.message.ends_with("refused a request without credentials"), "{}", problem.message);

    let mut wrong = source(&url, Some("main"));
    wrong.credentials = Some(Credentials { username: gitea.user.clone(), password: Secret::new("wrong-password") });
    let problem = clone(&wrong).1.unwrap_err();
    assert_eq!(problem.code, Code::CloneDenied, "{}", problem.message);
    assert!(problem.message.ends_with(&format!("refused user {}", gitea.user)), "{}", problem.message);
    assert!(!format!("{problem:?}").contains("wrong-password"));

    let mut gone = source(&url.replace(".git", "-gone.git"), None);
    gone.credentials = Some(Credentials { username: gitea.user, password: Secret::new(gitea.password) });
    let problem = clone(&gone).1.unwrap_err();
    assert_eq!(problem.code, Code::SourceMissing, "{}", problem.message);
}

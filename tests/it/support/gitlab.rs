//! A GitLab pipeline run by `gitlab-ci-local`, which starts each job's script as GitLab's shell executor does.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{
    fixture::{Checkout, git},
    lab::lab,
};

/// A pipeline in a checkout that holds `.gitlab-ci.yml`.
pub struct Pipeline<'a> {
    checkout: &'a Checkout,
    /// What a company sets once: name, then value by environment, `*` for all.
    variables: BTreeMap<String, BTreeMap<String, String>>,
    /// What GitLab itself would say of the pipeline.
    predefined: BTreeMap<String, String>,
    home: TempDir,
}

impl<'a> Pipeline<'a> {
    /// Pipeline 1 of the default branch; what its host has is the checkout as it is now, so later commits are what changed.
    pub fn new(checkout: &'a Checkout) -> Pipeline<'a> {
        host(&checkout.path());
        let predefined = [("GITLAB_CI", "true"), ("CI_PIPELINE_ID", "1"), ("CI_DEFAULT_BRANCH", "main")];
        let predefined = predefined.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Pipeline { checkout, variables: BTreeMap::new(), predefined: BTreeMap::from(predefined), home: empty_home() }
    }

    pub fn variable(self, name: &str, value: impl Into<String>) -> Self {
        self.scoped(name, "*", value)
    }

    /// A variable with an environment's scope.
    pub fn scoped(mut self, name: &str, environment: &str, value: impl Into<String>) -> Self {
        self.variables.entry(name.to_owned()).or_default().insert(environment.to_owned(), value.into());
        self
    }

    pub fn predefined(mut self, name: &str, value: &str) -> Self {
        self.predefined.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The folder that the jobs have as their home, empty at the beginning.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs the pipeline, or one of its jobs by name, which starts a manual one; gives what was printed. Fails when a job fails.
    #[track_caller]
    pub fn run(&self, job: Option<&str>) -> String {
        let (folder, tools) = (self.checkout.path(), lab().npm());
        self.prepare(&folder);
        let bin = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_shipway"), bin.path().join("shipway")).unwrap();
        let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
        let output = Command::new(tools.join("node"))
            .arg(tools.join("gitlab-ci-local"))
            .args(["--force-shell-executor", "--ignore-predefined-vars", &self.predefined.keys().cloned().collect::<Vec<_>>().join(",")])
            .args(self.predefined.iter().flat_map(|(name, value)| ["--variable".to_owned(), format!("{name}={value}")]))
            .args(job)
            .current_dir(&folder)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{job:?}:\n{text}");
        text
    }

    /// The variables in the file that `gitlab-ci-local` reads them from.
    fn prepare(&self, folder: &Path) {
        let variables: serde_json::Map<_, _> =
            self.variables.iter().map(|(name, values)| (name.clone(), serde_json::json!({"type": "variable", "values": values}))).collect();
        fs::write(folder.join(".gitlab-ci-local-variables.yml"), serde_json::Value::Object(variables).to_string()).unwrap();
    }
}

/// As on a fresh runner: no cache, no local repository of Maven. The mirror that its settings name, as a company has one, is what Maven has
/// loaded on this machine before.
fn empty_home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let loaded = Path::new(&std::env::var("HOME").unwrap()).join(".m2/repository");
    let mirror = format!("<mirror><id>company</id><mirrorOf>*</mirrorOf><url>file://{}</url></mirror>", loaded.display());
    fs::create_dir(home.path().join(".m2")).unwrap();
    fs::write(home.path().join(".m2/settings.xml"), format!("<settings><mirrors>{mirror}</mirrors></settings>")).unwrap();
    home
}

fn host(folder: &Path) {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    git(folder, &["remote", "add", "origin", &format!("https://git.example.test/trade/{name}.git")]);
    git(folder, &["update-ref", "refs/remotes/origin/main", "HEAD"]);
    git(folder, &["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
    git(folder, &["config", "user.name", "Dana Developer"]);
    git(folder, &["config", "user.email", "dana@example.test"]);
}

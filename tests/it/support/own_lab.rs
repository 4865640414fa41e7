//! A cluster of a test's own, of pretended nodes, whose parts may be restarted: the lab's own is everybody's.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{lab::script_path, unique};

/// It goes with all its parts when it goes out of scope.
pub struct OwnLab {
    folder: PathBuf,
    _parent: tempfile::TempDir,
}

impl OwnLab {
    pub fn up() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let lab = OwnLab { folder: parent.path().join("lab"), _parent: parent };
        lab.script(&["up", "kwok"]);
        lab
    }

    /// A new namespace with an account that may publish; its name and kubeconfig.
    pub fn namespace(&self, test: &str) -> (String, PathBuf) {
        let name = unique(test);
        let kubeconfig = self.folder.join(format!("{name}.yaml"));
        std::fs::write(&kubeconfig, self.script(&["kubeconfig", &name])).unwrap();
        (name, kubeconfig)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Kills the API server and waits until it answers again.
    pub fn restart_the_api_server(&self) {
        self.script(&["restart", "apiserver"]);
    }

    fn script(&self, arguments: &[&str]) -> String {
        let output = run(&self.folder, arguments);
        assert!(output.status.success(), "lab.sh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for OwnLab {
    fn drop(&mut self) {
        let ended = run(&self.folder, &["down"]);
        assert!(ended.status.success() || std::thread::panicking(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

fn run(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let output = Command::new(script_path()).args(arguments).env("SHIPWAY_LAB", folder).output();
    output.unwrap()
}

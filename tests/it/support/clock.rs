//! A wall clock that a test sets, for one process and all that it starts (libfaketime). The clocks that never jump stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::shipway::Shipway;

/// The multithreaded one of Debian's two libraries.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// One that goes right at first; its file is made in the folder.
    pub fn new(folder: &Path, name: &str) -> Clock {
        assert!(Path::new(LIBRARY).exists(), "libfaketime is missing: tests/cluster/lab.sh packages");
        let clock = Clock { file: folder.join(format!("clock-{name}")) };
        clock.jump("+0");
        clock
    }

    /// Sets it so far from the right time, such as `-3h`.
    pub fn jump(&self, by: &str) {
        // as a whole: a reader in between must not find half a number
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, by).unwrap();
        fs::rename(fresh, &self.file).unwrap();
    }

    /// The run goes by this clock.
    pub fn of(&self, run: Shipway) -> Shipway {
        let run = run.env("LD_PRELOAD", LIBRARY).env("FAKETIME_TIMESTAMP_FILE", self.file.as_os_str());
        run.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1")
    }
}

#![no_main]

use std::{cell::RefCell, fs, path::PathBuf};

use libfuzzer_sys::fuzz_target;
use shipway::image::{self, Recipe};
use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    let folder: PathBuf = FOLDER.with(|folder| folder.borrow_mut().get_or_insert_with(|| tempfile::tempdir().unwrap()).path().to_path_buf());
    let path = folder.join("app.jar");
    fs::write(&path, bytes).unwrap();
    let Ok(application) = image::inspect(&path) else { return };
    let recipe = Recipe {
        base: "example.test/java:17".parse().unwrap(),
        port: 8080,
        jvm: Vec::new(),
        args: Vec::new(),
        user: "1".to_string(),
        env: Default::default(),
        labels: Default::default(),
    };
    let _ = image::stage(&application, &recipe, &folder.join("context"));
    let beside = fs::read_dir(&folder).unwrap().flatten().filter(|entry| !["app.jar", "context"].iter().any(|name| entry.file_name() == *name));
    assert_eq!(beside.count(), 0, "something was written beside the context");
});

//! What each fuzz target does with its bytes. The unit tests of the package do the same with the seeds, so that a target cannot rot.

use std::{cell::RefCell, fs};

use shipway::{
    domain::{
        dockerfile::{Dockerfile, Instruction, Scope, ignore::Ignore, parse, stages},
        image_source::ImageSource,
    },
    image::{self, Recipe},
    registry,
};
use tempfile::TempDir;

/// What was understood of a reference reads back as itself.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(source) = text.parse::<ImageSource>() {
        assert_eq!(source.to_string().parse::<ImageSource>().ok(), Some(source));
    }
}

/// What was understood of a Dockerfile reads back as itself.
pub fn dockerfile(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(dockerfile) = parse(text, "Dockerfile") else { return };
    let scope = Scope::default();
    let (_, found) = dockerfile.stages();
    let _ = stages::needed(&found, &scope);
    for line in &dockerfile.lines {
        match &line.instruction {
            Instruction::Env(pairs) | Instruction::Label(pairs) => {
                for (name, value) in pairs {
                    let _ = (scope.expand(name), scope.expand(value));
                }
            }
            Instruction::From { image, .. } => {
                let _ = scope.expand(image);
            }
            _ => {}
        }
    }
    let written = dockerfile.to_string();
    let again = parse(&written, "Dockerfile").unwrap_or_else(|problem| panic!("{problem}: {written:?}"));
    let instructions = |one: &Dockerfile| one.lines.iter().map(|line| line.instruction.clone()).collect::<Vec<_>>();
    assert_eq!(instructions(&again), instructions(&dockerfile), "{written:?}");
}

/// Patterns, and behind a NUL the path that they are asked about.
pub fn ignore(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (patterns, path) = text.split_once('\0').unwrap_or((text, "target/app.jar"));
    if let Ok(ignore) = Ignore::parse(patterns) {
        let _ = ignore.ignores(path);
    }
}

/// Configurations, manifests and indexes.
pub fn documents(bytes: &[u8]) {
    image::fuzz_document(bytes);
}

/// `WWW-Authenticate`.
pub fn challenge(bytes: &[u8]) {
    registry::fuzz_challenge(bytes);
}

/// A jar may be refused or taken, but nothing of it gets beside the context.
pub fn archive(bytes: &[u8]) {
    thread_local! {
        static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    let folder = FOLDER.with(|folder| folder.borrow_mut().get_or_insert_with(|| tempfile::tempdir().unwrap()).path().to_path_buf());
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
    let beside =
        fs::read_dir(&folder).unwrap().flatten().filter(|entry| !["app.jar", "context"].iter().any(|name| entry.file_name() == *name));
    assert_eq!(beside.count(), 0, "something was written beside the context");
}

/// A layer of a base may be refused or taken, but nothing of it gets out of the folder for its files.
pub fn layer(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let (path, scratch) = (folder.path().join("layer.tar"), folder.path().join("scratch"));
    fs::write(&path, bytes).unwrap();
    fs::create_dir(&scratch).unwrap();
    image::fuzz_layer(&path, &scratch);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something was written beside the folder");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    type Body = fn(&[u8]);

    /// Runs a target's body over its seeds; how many there are.
    fn over_seeds(target: &str, body: Body) -> usize {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let seeds = super::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        seeds.map(|seed| body(&super::fs::read(seed.unwrap().path()).unwrap())).count()
    }

    #[test]
    fn every_target_takes_its_seeds() {
        let targets: [(&str, Body); 7] = [
            ("reference", super::reference),
            ("dockerfile", super::dockerfile),
            ("ignore", super::ignore),
            ("documents", super::documents),
            ("challenge", super::challenge),
            ("archive", super::archive),
            ("layer", super::layer),
        ];
        for (target, body) in targets {
            assert!(over_seeds(target, body) > 0, "{target} has no seeds");
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        assert_eq!(super::fs::read_dir(folder).unwrap().count(), targets.len(), "a target that is not here");
    }
}

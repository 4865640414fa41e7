//! What a successful build made: each module's main artifact, in the reactor's order.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    Artifact,
    output::Watch,
    project::{Module, Reactor},
};

/// Main artifacts of all modules that were packaged; `since` is the start of the run.
pub(super) fn find(root: &Path, reactor: &Reactor, watch: &Watch, since: SystemTime) -> Vec<Artifact> {
    let mut modules: Vec<&Module> = reactor.modules.iter().collect();
    // Maven sorts modules by what they need of each other; its log is the only witness of that order.
    modules.sort_by_key(|module| {
        let name = reactor.artifact(module);
        watch.modules.iter().position(|seen| *seen == name).unwrap_or(usize::MAX)
    });
    modules.into_iter().filter_map(|module| Search { root, reactor, watch, since }.main_artifact(module)).collect()
}

struct Search<'a> {
    root: &'a Path,
    reactor: &'a Reactor,
    watch: &'a Watch,
    since: SystemTime,
}

impl Search<'_> {
    fn main_artifact(&self, module: &Module) -> Option<Artifact> {
        let ending = match self.reactor.packaging(module).as_str() {
            "pom" => return None,
            "war" => "war",
            _ => "jar",
        };
        let name = self.reactor.artifact(module);
        let target = self.root.join(&module.dir).join("target");
        let named: Vec<&PathBuf> = self.archives(&name, ending).collect();
        let packaged = self.watch.packaged.contains(&name);
        let by_name = self.reactor.final_name(module).map(|name| target.join(format!("{name}.{ending}")));
        // A plugin that finds its archive up to date says nothing, so the usual name counts when packaging ran at all;
        // otherwise a file that is older than this run is another build's.
        let main = named
            .iter()
            .find(|path| !is_side_artifact(path))
            .map(|path| path.to_path_buf())
            .or_else(|| by_name.filter(|path| path.is_file() && (packaged || self.is_fresh(path))))
            .filter(|path| path.is_file())?;
        let path = self.runnable_beside(&main, &name, ending).unwrap_or(main);
        Some(Artifact { module: module.dir.clone(), artifact_id: name, path })
    }

    /// Spring Boot's classifier, assembly and shade may put the runnable archive beside a main one that cannot start by itself.
    fn runnable_beside(&self, main: &Path, module: &str, ending: &str) -> Option<PathBuf> {
        let boot = self.watch.archives.iter().filter(|archive| archive.module == module && archive.plugin == "spring-boot");
        if let Some(archive) = boot.map(|archive| &archive.path).find(|path| path.is_file()) {
            return Some(archive.clone());
        }
        if Manifest::read(main).is_some_and(|manifest| manifest.is_complete()) {
            return None;
        }
        let stem = main.file_stem()?.to_str()?;
        let beside = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&format!("{stem}-")) && name.ends_with(&format!(".{ending}")) && !is_side_artifact(path) && self.is_fresh(path)
        };
        let files = std::fs::read_dir(main.parent()?).ok()?.flatten().map(|entry| entry.path());
        let candidates = files.filter(beside).filter(|path| Manifest::read(path).is_some_and(|manifest| manifest.main_class));
        candidates.max_by_key(|path| path.metadata().map_or(0, |data| data.len()))
    }

    fn archives(&self, module: &str, ending: &str) -> impl Iterator<Item = &PathBuf> {
        let own = self.watch.archives.iter().filter(move |archive| archive.module == module && archive.plugin == ending);
        own.map(|archive| &archive.path).filter(|path| path.is_file())
    }

    fn is_fresh(&self, path: &Path) -> bool {
        path.metadata().and_then(|data| data.modified()).is_ok_and(|modified| modified >= self.since)
    }
}

/// Sources, documentation, tests, and what repackaging keeps of the original.
fn is_side_artifact(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.starts_with("original-") || ["-sources", "-test-sources", "-javadoc", "-tests", "-plain"].iter().any(|end| stem.ends_with(end))
}

/// What counts in an archive's manifest.
struct Manifest {
    main_class: bool,
    /// It brings its dependencies, or names them.
    dependencies: bool,
}

impl Manifest {
    fn read(path: &Path) -> Option<Manifest> {
        let mut archive = zip::ZipArchive::new(File::open(path).ok()?).ok()?;
        let entry = archive.by_name("META-INF/MANIFEST.MF").ok()?;
        let mut text = String::new();
        entry.take(1 << 20).read_to_string(&mut text).ok()?;
        let has = |name: &str| text.lines().any(|line| line.len() > name.len() && line[..].to_ascii_lowercase().starts_with(name));
        Some(Manifest { main_class: has("main-class:"), dependencies: has("class-path:") || has("start-class:") })
    }

    fn is_complete(&self) -> bool {
        self.main_class && self.dependencies
    }
}

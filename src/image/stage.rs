//! Stages a build context: the application taken apart into folders, from rarely to often changing, and its Dockerfile.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    Application, Borrowed, Form, Recipe, Staged, StagedLayer,
    archive::{Archive, Entry},
    artifact, boot, class_path, jar_writer,
    manifest::Manifest,
    source::Source,
};
use crate::domain::{
    dockerfile::{
        Dockerfile,
        generate::{Generate, generate},
    },
    event::LayerRole,
    problem::{Code, Problem, Result},
};

/// Where the application lives in the image; its user owns it.
pub(super) const WORKDIR: &str = "/app";

/// See [`super::stage`].
pub(super) fn stage(application: &Application, recipe: &Recipe, dir: &Path) -> Result<Staged> {
    let mut context = Context::create(dir)?;
    let program = match &application.form {
        Form::BootJar => boot_jar(application, &mut context)?,
        Form::BootWar => whole(application, &mut context, "app.war")?,
        Form::Jar { class_path } => plain_jar(application, class_path, &mut context)?,
        Form::NotRunnable { why } => {
            return Err(Problem::new(Code::NotRunnable, format!("{} does not start with java -jar: {why}", application.path.display())));
        }
    };
    let layers: Vec<StagedLayer> = context.layers.into_iter().filter(|layer| layer.files > 0).collect();
    let copies = layers.iter().map(|layer| layer.path.display().to_string()).collect();
    let dockerfile = context.dir.join("Dockerfile");
    let text = dockerfile_of(recipe, copies, program)?;
    fs::write(&dockerfile, text.to_string()).map_err(|error| Problem::io("write", &dockerfile, &error))?;
    Ok(Staged { dir: context.dir, borrowed: context.borrowed, dockerfile, layers })
}

/// See [`super::expected_dockerfile`].
pub(super) fn expected(form: &Form, recipe: &Recipe) -> Result<Dockerfile> {
    let (copies, program) = match form {
        Form::BootWar => (&["application"][..], "app.war"),
        _ => (&["dependencies", "application"][..], "app.jar"),
    };
    dockerfile_of(recipe, copies.iter().map(ToString::to_string).collect(), program)
}

fn dockerfile_of(recipe: &Recipe, copies: Vec<String>, program: &str) -> Result<Dockerfile> {
    let options = recipe.jvm.iter().cloned();
    let entrypoint = ["java".to_string()].into_iter().chain(options).chain(["-jar".to_string(), format!("{WORKDIR}/{program}")]);
    generate(&Generate {
        base: recipe.base.to_string(),
        labels: &recipe.labels,
        workdir: WORKDIR,
        copies,
        env: &recipe.env,
        port: recipe.port,
        user: &recipe.user,
        entrypoint: entrypoint.collect(),
        args: &recipe.args,
    })
}

/// A fat jar becomes what Spring Boot's own `jarmode=tools extract` makes of it: `lib/` and a thin jar beside it.
fn boot_jar(application: &Application, context: &mut Context) -> Result<&'static str> {
    let mut archive = Archive::open(&application.path)?;
    let libraries = boot_libraries(&mut archive)?;
    let names: Vec<String> = libraries.iter().map(|entry| entry.name.clone()).collect();
    let index = archive.text(boot::LAYERS_INDEX, artifact::MAX_TEXT)?;
    let layers = index.and_then(|text| boot::Layers::parse(&text)).unwrap_or_else(|| boot::Layers::by_name(&names));
    let home = layers.find(boot::JAR_CLASSES);
    let folders: Vec<usize> = layers.names().enumerate().map(|(at, name)| context.layer(name, role(name, Some(at) == home))).collect();
    let home = match home {
        Some(at) => folders[at],
        None => context.layer("application", LayerRole::Application),
    };
    for library in &libraries {
        let layer = layers.find(&library.name).map_or(home, |at| folders[at]);
        let name = library.name.strip_prefix(boot::JAR_LIB).unwrap_or(&library.name);
        let path = format!("lib/{name}");
        match archive.stored(library)? {
            Some(source) => context.borrow(layer, &path, source, library.size)?,
            None => context.add(layer, &path, |to| {
                let mut file = fs::File::create(to).map_err(|error| Problem::io("write", to, &error))?;
                archive.copy(library, &mut file)
            })?,
        }
    }
    let manifest = thin_manifest(application, artifact::read_manifest(&mut archive)?, &names);
    let entries = thin_entries(&archive);
    context.add(home, "app.jar", |to| jar_writer::write(&mut archive, manifest.as_bytes(), &entries, to))?;
    Ok("app.jar")
}

/// The libraries in the order of the class path.
fn boot_libraries(archive: &mut Archive) -> Result<Vec<Entry>> {
    let mut libraries: Vec<Entry> = archive.entries().iter().filter(|entry| entry.name.starts_with(boot::JAR_LIB)).cloned().collect();
    if let Some(order) = archive.text(boot::CLASSPATH_INDEX, artifact::MAX_TEXT)?.and_then(|text| boot::parse_classpath(&text)) {
        let place: std::collections::HashMap<&str, usize> = order.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        // A stable sort: libraries that the index does not name keep their order, behind those that it names.
        libraries.sort_by_key(|entry| place.get(entry.name.as_str()).copied().unwrap_or(usize::MAX));
    }
    Ok(libraries)
}

fn role(layer: &str, application: bool) -> LayerRole {
    match layer {
        _ if application => LayerRole::Application,
        "snapshot-dependencies" => LayerRole::SnapshotDependencies,
        _ => LayerRole::Dependencies,
    }
}

fn thin_manifest(application: &Application, mut manifest: Manifest, libraries: &[String]) -> String {
    for name in boot::LAUNCHER_ATTRIBUTES {
        manifest.remove(name);
    }
    manifest.drop_digests();
    manifest.set("Main-Class", application.main_class.clone().unwrap_or_default());
    let library = |name: &String| class_path::encode(&format!("lib/{}", name.strip_prefix(boot::JAR_LIB).unwrap_or(name)));
    manifest.set("Class-Path", libraries.iter().map(library).collect::<Vec<_>>().join(" "));
    manifest.render()
}

/// The application's classes move to the root; of the rest META-INF stays, without the loader's own and without signatures.
fn thin_entries(archive: &Archive) -> Vec<(String, Entry)> {
    let mut found = std::collections::BTreeMap::new();
    for entry in archive.entries() {
        let loader = entry.name == "META-INF/services/java.nio.file.spi.FileSystemProvider";
        if entry.name.starts_with("META-INF/") && !loader && !jar_writer::is_signature(&entry.name) {
            found.insert(entry.name.clone(), entry.clone());
        }
    }
    // What the application brings itself wins over what the packaging put beside it.
    for entry in archive.entries() {
        if let Some(name) = entry.name.strip_prefix(boot::JAR_CLASSES) {
            found.insert(name.to_string(), entry.clone());
        }
    }
    found.into_iter().collect()
}

/// An executable war stays whole: its web root is found by the war's own name and place.
fn whole(application: &Application, context: &mut Context, name: &'static str) -> Result<&'static str> {
    let mut archive = Archive::open(&application.path)?;
    // In their own order, which is the order of the class path where a war has no index.
    let entries: Vec<(String, Entry)> = archive.entries().iter().map(|entry| (entry.name.clone(), entry.clone())).collect();
    let manifest = manifest_bytes(&mut archive)?;
    let layer = context.layer("application", LayerRole::Application);
    context.add(layer, name, |to| jar_writer::write(&mut archive, &manifest, &entries, to))?;
    Ok(name)
}

fn manifest_bytes(archive: &mut Archive) -> Result<Vec<u8>> {
    match archive.find("META-INF/MANIFEST.MF") {
        Some(entry) => archive.read(&entry, artifact::MAX_TEXT),
        None => Ok(Manifest::default().render().into_bytes()),
    }
}

/// A jar with its libraries beside it, or with everything inside.
fn plain_jar(application: &Application, entries: &[String], context: &mut Context) -> Result<&'static str> {
    let resolved = class_path::resolve(&application.path, entries)?;
    let layers = [
        context.layer("dependencies", LayerRole::Dependencies),
        context.layer("snapshot-dependencies", LayerRole::SnapshotDependencies),
        context.layer("application", LayerRole::Application),
    ];
    for file in &resolved.files {
        let layer = match file.library {
            true if boot::is_snapshot(&file.name) => layers[1],
            true => layers[0],
            false => layers[2],
        };
        let size = fs::metadata(&file.source).map_err(|error| Problem::io("read", &file.source, &error))?.len();
        context.borrow(layer, &file.name, Source::File(file.source.clone()), size)?;
    }
    let mut archive = Archive::open(&application.path)?;
    let mut members: Vec<(String, Entry)> = archive.entries().iter().map(|entry| (entry.name.clone(), entry.clone())).collect();
    members.sort_by(|one, other| one.0.cmp(&other.0));
    let mut manifest = manifest_bytes(&mut archive)?;
    if let Some(entries) = resolved.rewritten {
        let mut parsed = Manifest::parse(&String::from_utf8_lossy(&manifest));
        parsed.drop_digests();
        parsed.set("Class-Path", entries.join(" "));
        manifest = parsed.render().into_bytes();
        members.retain(|(name, _)| !jar_writer::is_signature(name));
    }
    context.add(layers[2], "app.jar", |to| jar_writer::write(&mut archive, &manifest, &members, to))?;
    Ok("app.jar")
}

/// The folder that is filled. Each layer is a folder that holds the image's root, so that COPY sets the owner of WORKDIR, too, with
/// every builder.
struct Context {
    dir: PathBuf,
    borrowed: Borrowed,
    layers: Vec<StagedLayer>,
}

impl Context {
    fn create(dir: &Path) -> Result<Context> {
        match fs::symlink_metadata(dir) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(Problem::new(Code::IoFailed, format!("cannot stage into {}: it is not a folder", dir.display())));
            }
            Ok(_) => fs::remove_dir_all(dir).map_err(|error| Problem::io("empty", dir, &error))?,
            Err(_) => {}
        }
        make_dir(dir)?;
        Ok(Context { dir: dir.to_path_buf(), borrowed: Borrowed::default(), layers: Vec::new() })
    }

    /// Adds a layer; a name that is no plain folder name is replaced (`layers.idx` is foreign text).
    fn layer(&mut self, name: &str, role: LayerRole) -> usize {
        let plain = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= 64
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !name.eq_ignore_ascii_case("dockerfile")
            && !self.layers.iter().any(|layer| layer.path == Path::new(name));
        let path = if plain { PathBuf::from(name) } else { PathBuf::from(format!("layer-{}", self.layers.len() + 1)) };
        self.layers.push(StagedLayer { path, role, files: 0, bytes: 0 });
        self.layers.len() - 1
    }

    /// Writes one file below WORKDIR; the first of a name wins, as on a class path.
    fn add(&mut self, layer: usize, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let Some(inside) = self.room_for(layer, name)? else { return Ok(()) };
        let path = self.dir.join(inside);
        write(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(|error| Problem::io("write", &path, &error))?;
        let size = fs::metadata(&path).map_err(|error| Problem::io("read", &path, &error))?.len();
        self.count(layer, size);
        Ok(())
    }

    /// Like [`Context::add`], but leaves the file's bytes where they are.
    fn borrow(&mut self, layer: usize, name: &str, source: Source, size: u64) -> Result<()> {
        let Some(inside) = self.room_for(layer, name)? else { return Ok(()) };
        self.borrowed.insert(inside, source, size);
        self.count(layer, size);
        Ok(())
    }

    /// Makes the folder of a file below WORKDIR and says its path in the context; None when there is one of that name.
    fn room_for(&self, layer: usize, name: &str) -> Result<Option<PathBuf>> {
        let inside = self.layers[layer].path.join(WORKDIR.trim_start_matches('/')).join(name);
        let path = self.dir.join(&inside);
        if self.borrowed.contains(&inside) || path.exists() {
            return Ok(None);
        }
        make_dir(path.parent().unwrap_or(&self.dir))?;
        Ok(Some(inside))
    }

    fn count(&mut self, layer: usize, size: u64) {
        self.layers[layer].files += 1;
        self.layers[layer].bytes += size;
    }
}

/// Makes a folder and those above it, readable for everybody whatever the umask is.
fn make_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_dir(parent)?;
    }
    fs::create_dir(dir).map_err(|error| Problem::io("create", dir, &error))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(|error| Problem::io("create", dir, &error))
}

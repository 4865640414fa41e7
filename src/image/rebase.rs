//! The layers of an application on a new base: no build, nothing downloaded but descriptions. What the application changed of its old
//! base's configuration is changed of the new one's.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    Image,
    base::{Base, Bases},
    config::{History, ImageConfig, Platform, RunConfig, timestamp},
    java,
    tree::resolve,
    wrap::{self, BASE_DIGEST, BASE_NAME, Part, PartLayer},
};
use crate::{
    domain::{
        digest::Digest,
        event::LayerRole,
        image_source::ImageSource,
        problem::{Code, Problem, Result},
        reference::ImageReference,
    },
    registry::Client,
};

/// Where programs are looked for when an image's environment has no PATH (moby's default for Linux).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is to be rebased.
#[derive(Debug, Clone)]
pub struct Rebase {
    pub image: ImageReference,
    /// None: what stands now under the name of the base that the image was built on.
    pub onto: Option<ImageSource>,
    /// See [`super::Build::base_registry`].
    pub base_registry: Option<String>,
    /// Folder that relative OCI layouts count from.
    pub root: PathBuf,
    /// SOURCE_DATE_EPOCH, when it is set; else the younger of application and base counts.
    pub created: Option<i64>,
    /// Folder for layers that have to be looked into.
    pub scratch: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub struct Rebased {
    /// None: the image stands on that base already.
    pub image: Option<Image>,
    /// Digest of the image that was rebased.
    pub from: Digest,
    /// Its `org.opencontainers.image.version`.
    pub version: Option<String>,
    /// The base before and now, each with its digest.
    pub old: ImageSource,
    pub new: ImageSource,
}

/// See [`super::rebase`].
pub(super) async fn rebase(rebase: &Rebase, client: &Client) -> Result<Rebased> {
    let name = rebase.image.to_string();
    // A mirror stands in front of bases alone.
    let mut apps = Bases::new(client, None, &rebase.root);
    let mut bases = Bases::new(client, rebase.base_registry.as_deref(), &rebase.root);
    let mut moves = Vec::new();
    for platform in apps.all_platforms(&name).await.map_err(absent)? {
        moves.push(Move::load(&name, &platform, rebase, &mut apps, &mut bases).await?);
    }
    let Some(first) = moves.first() else { return Err(refused(format!("{name} holds no image for any platform"))) };
    let annotations = first.annotations();
    let (old, new) = (first.old.name.clone(), first.new.name.clone());
    let version = first.app.config.config.labels.get("org.opencontainers.image.version").cloned();
    let image = if moves.iter().all(Move::is_nothing) {
        None
    } else {
        let mut parts = Vec::new();
        for one in &moves {
            one.check(rebase, client).await?;
            parts.push(one.part(rebase.created)?);
        }
        Some(wrap::image(parts, &annotations)?)
    };
    let from = apps.resolved(&name).await?.digest().cloned().ok_or_else(|| Problem::bug(format!("{name} has no digest")))?;
    Ok(Rebased { image, from, version, old, new })
}

/// The registry takes every image that it cannot find for a base.
fn absent(problem: Problem) -> Problem {
    match problem.code {
        Code::BaseImageMissing => Problem { code: Code::ImageMissing, ..problem }.hint("correct rebase.image"),
        _ => problem,
    }
}

fn refused(why: impl Into<String>) -> Problem {
    Problem::new(Code::RebaseRefused, why)
}

/// One platform's application with its base before and after.
struct Move {
    app: Base,
    old: Base,
    new: Base,
}

impl Move {
    async fn load(name: &str, platform: &Platform, rebase: &Rebase, apps: &mut Bases<'_>, bases: &mut Bases<'_>) -> Result<Move> {
        let app = apps.load(name, platform).await?;
        let (base, digest) = recorded(&app).ok_or_else(|| {
            refused(format!("{name} does not say what it stands on: it has no annotations {BASE_NAME} and {BASE_DIGEST}"))
                .hint("build it again with Shipway, which writes them; then it can be rebased")
        })?;
        let before = ImageReference { digest: Some(digest), ..base.clone() };
        let old = bases.load(&before.to_string(), platform).await.map_err(|problem| match problem.code {
            Code::BaseImageMissing => refused(format!("the old base {before} of {name} is not in its registry any more"))
                .hint("build the application again: which of its layers are the base's cannot be told for sure"),
            _ => problem,
        })?;
        let onto = rebase.onto.clone().unwrap_or(ImageSource::Registry(base));
        let new = bases.load(&onto.to_string(), platform).await?;
        if !app.config.rootfs.diff_ids.starts_with(&old.config.rootfs.diff_ids) {
            return Err(refused(format!("{name} does not begin with the layers of {before}, which it says it stands on")));
        }
        Ok(Move { app, old, new })
    }

    /// Another index may hold the same image: layers and configuration decide.
    fn is_nothing(&self) -> bool {
        self.old.config.rootfs.diff_ids == self.new.config.rootfs.diff_ids && self.old.config.config == self.new.config.config
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let own = self.app.annotations.iter().filter(|(key, _)| !matches!(key.as_str(), BASE_NAME | BASE_DIGEST));
        own.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// What the application was built for has to be there on the new base, too.
    async fn check(&self, rebase: &Rebase, client: &Client) -> Result<()> {
        let java = |base: &Base| java::said_by(&base.config);
        let (old, new) = (java(&self.old), java(&self.new));
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) => (Some(old), Some(new)),
            _ => (self.java_of(&self.old, client, rebase).await?, self.java_of(&self.new, client, rebase).await?),
        };
        if old != new {
            let words = |java: Option<u32>| java.map_or("no Java that is known".to_string(), |java| format!("Java {java}"));
            return Err(refused(format!("{} has {}, and {} has {}", self.old.name, words(old), self.new.name, words(new)))
                .hint("rebase onto an image of the same Java, or build the application again on the new one"));
        }
        self.check_program(rebase, client, new).await
    }

    async fn java_of(&self, base: &Base, client: &Client, rebase: &Rebase) -> Result<Option<u32>> {
        match java::said_by(&base.config) {
            Some(java) => Ok(Some(java)),
            None => java::in_layers(&base.parts(), client, &rebase.scratch).await,
        }
    }

    /// The program that the entry point starts; its arguments are the application's matter. `java` is what both bases have.
    async fn check_program(&self, rebase: &Rebase, client: &Client, java: Option<u32>) -> Result<()> {
        let config = merged(&self.app.config.config, &self.old.config.config, &self.new.config.config);
        let words = config.entrypoint.as_ref().or(config.cmd.as_ref());
        let Some(program) = words.and_then(|words| words.first()) else { return Ok(()) };
        if program == "java" && self.java_is_said() {
            return Ok(());
        }
        let paths = candidates(program, &self.new.config, &config.working_dir);
        let untold = java.is_none() && program.rsplit('/').next() == Some("java");
        let in_base = java::any_is_there(&paths, &self.new.parts(), client, &rebase.scratch).await?;
        if in_base && !untold {
            return Ok(());
        }
        let own = self.app.parts().split_off(self.old.layers.len());
        if java::any_is_there(&paths, &own, client, &rebase.scratch).await? {
            return Ok(());
        }
        if in_base {
            return Err(self.untold());
        }
        Err(refused(format!("the entry point starts {program}, and {} has no such program", self.new.name))
            .hint("rebase onto an image that has it in its PATH, or build the application again"))
    }

    fn untold(&self) -> Problem {
        refused(format!("the entry point starts java, and neither {} nor {} tells which Java it has", self.old.name, self.new.name))
            .hint("set JAVA_VERSION in the base's environment, or build the application again on the new one")
    }

    /// The new base says of itself that it has Java where the old one had it, and in its PATH: its layers need not be fetched to see it.
    fn java_is_said(&self) -> bool {
        let home = self.new.config.env("JAVA_HOME");
        let in_path = |home: &str| {
            let path = self.new.config.env("PATH").unwrap_or_default();
            path.split(':').any(|folder| folder.strip_prefix(home) == Some("/bin"))
        };
        home.is_some() && home == self.old.config.env("JAVA_HOME") && home.is_some_and(in_path) && java::said_by(&self.new.config).is_some()
    }

    fn part(&self, created: Option<i64>) -> Result<Part> {
        let mut layers = self.new.parts();
        let own = self.app.parts().into_iter().skip(self.old.layers.len());
        layers.extend(own.map(|layer| PartLayer { role: LayerRole::Other, ..layer }));
        let kept = self.old.layers.len();
        let mut config = ImageConfig {
            config: merged(&self.app.config.config, &self.old.config.config, &self.new.config.config),
            ..self.new.config.clone()
        };
        config.author.clone_from(&self.app.config.author);
        config.rootfs.diff_ids.extend(self.app.config.rootfs.diff_ids.iter().skip(kept).cloned());
        config.history.extend(own_history(&self.app.config, &self.old.config));
        // Times in UTC of one form: the later text is the later time.
        config.created = created.map(timestamp).or_else(|| self.app.config.created.clone().max(self.new.config.created.clone()));
        Ok(Part {
            platform: self.new.platform.clone(),
            family: Some(if self.app.family == self.new.family { self.new.family } else { super::config::Family::Oci }),
            config: wrap::config_bytes(&config)?,
            layers,
            base: Some(self.new.recorded()),
            annotations: self.annotations(),
        })
    }
}

/// What the image says of its base: annotations, or labels as some builders write them.
fn recorded(app: &Base) -> Option<(ImageReference, Digest)> {
    let said = |key: &str| app.annotations.get(key).or_else(|| app.config.config.labels.get(key));
    Some((said(BASE_NAME)?.parse().ok()?, said(BASE_DIGEST)?.parse().ok()?))
}

/// The entries of the history that are not the base's.
fn own_history(app: &ImageConfig, old: &ImageConfig) -> Vec<History> {
    if app.history.starts_with(&old.history) {
        return app.history[old.history.len()..].to_vec();
    }
    let mut layers = old.rootfs.diff_ids.len();
    let mut rest = app.history.iter();
    while layers > 0
        && let Some(entry) = rest.next()
    {
        layers -= usize::from(!entry.empty_layer);
    }
    rest.cloned().collect()
}

/// The new base's configuration with all that the application changed of the old one's.
fn merged(app: &RunConfig, old: &RunConfig, new: &RunConfig) -> RunConfig {
    fn pick<T: PartialEq + Clone>(app: &T, old: &T, new: &T) -> T {
        if app == old { new.clone() } else { app.clone() }
    }
    fn map<T: PartialEq + Clone>(app: &BTreeMap<String, T>, old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> BTreeMap<String, T> {
        let own = app.iter().filter(|(key, value)| old.get(*key) != Some(value));
        new.iter().chain(own).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
    let mut config = ImageConfig { config: new.clone(), ..ImageConfig::scratch(&Platform::host()) };
    let before: BTreeSet<&String> = old.env.iter().collect();
    for line in app.env.iter().filter(|line| !before.contains(line)) {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        config.set_env(name, value);
    }
    RunConfig {
        cmd: pick(&app.cmd, &old.cmd, &new.cmd),
        entrypoint: pick(&app.entrypoint, &old.entrypoint, &new.entrypoint),
        env: config.config.env,
        exposed_ports: map(&app.exposed_ports, &old.exposed_ports, &new.exposed_ports),
        healthcheck: pick(&app.healthcheck, &old.healthcheck, &new.healthcheck),
        labels: map(&app.labels, &old.labels, &new.labels),
        on_build: pick(&app.on_build, &old.on_build, &new.on_build),
        shell: pick(&app.shell, &old.shell, &new.shell),
        stop_signal: pick(&app.stop_signal, &old.stop_signal, &new.stop_signal),
        user: pick(&app.user, &old.user, &new.user),
        volumes: map(&app.volumes, &old.volumes, &new.volumes),
        working_dir: pick(&app.working_dir, &old.working_dir, &new.working_dir),
    }
}

/// Where a program may lie, without leading slashes.
fn candidates(program: &str, config: &ImageConfig, workdir: &str) -> Vec<String> {
    let mut paths = if program.contains('/') {
        vec![resolve(workdir, program)]
    } else {
        let path = config.env("PATH").unwrap_or(DEFAULT_PATH);
        path.split(':').filter(|folder| Path::new(folder).is_absolute()).map(|folder| resolve(folder, program)).collect()
    };
    // Where /bin is a link to /usr/bin, the layers name the latter.
    let merged_usr: Vec<String> = paths.iter().filter(|path| !path.starts_with("usr/")).map(|path| format!("usr/{path}")).collect();
    paths.extend(merged_usr);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(env: &[&str], user: &str, entrypoint: Option<&str>, labels: &[(&str, &str)]) -> RunConfig {
        RunConfig {
            env: env.iter().map(ToString::to_string).collect(),
            user: user.to_string(),
            entrypoint: entrypoint.map(|word| vec![word.to_string()]),
            labels: labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            ..RunConfig::default()
        }
    }

    #[test]
    fn what_the_application_changed_is_kept_and_the_rest_is_the_new_bases() {
        let old = config(&["PATH=/a", "JAVA_VERSION=17.0.1", "LANG=C"], "", Some("sh"), &[("vendor", "x"), ("patch", "1")]);
        let new = config(&["PATH=/b", "JAVA_VERSION=17.0.2", "NEW=1"], "nobody", Some("bash"), &[("vendor", "x"), ("patch", "2")]);
        let app = config(
            &["PATH=/a", "JAVA_VERSION=17.0.1", "LANG=D", "TZ=UTC"],
            "10001",
            Some("java"),
            &[("vendor", "x"), ("patch", "1"), ("mine", "1")],
        );
        let merged = merged(&app, &old, &new);
        assert_eq!(merged.env, ["PATH=/b", "JAVA_VERSION=17.0.2", "NEW=1", "LANG=D", "TZ=UTC"]);
        assert_eq!((merged.user.as_str(), merged.entrypoint), ("10001", Some(vec!["java".to_string()])));
        let labels: Vec<String> = merged.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(labels, ["mine=1", "patch=2", "vendor=x"]);
        let plain = super::merged(&old, &old, &new);
        assert_eq!(plain, new);
    }

    #[test]
    fn programs_are_looked_for_where_the_image_would() {
        let mut image = ImageConfig::scratch(&Platform::host());
        image.set_env("PATH", "/opt/java/bin:relative:/bin");
        assert_eq!(candidates("java", &image, "/app"), ["opt/java/bin/java", "bin/java", "usr/opt/java/bin/java", "usr/bin/java"]);
        assert_eq!(candidates("./run", &image, "/app")[0], "app/run");
        assert_eq!(candidates("/usr/bin/java", &image, "/app"), ["usr/bin/java"]);
    }
}

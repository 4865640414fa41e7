//! The configuration files of `kubernetes.config`, read from the checkout.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    hold::{KUBERNETES, center},
    pushed::place,
};
use crate::{
    domain::{
        config::Config,
        fetch::{Fetch, Pushed},
        problem::{Code, Problem, Result},
        pushed::Wanted,
    },
    plan::Plan,
};

/// More files than that are no configuration.
const MOST_FILES: usize = 1000;

/// Reads the files; None when none are asked for. Fails with `file-unreadable`, `config-invalid` or `config-too-large`.
pub(super) fn read(plan: &Plan) -> Result<Option<Config>> {
    let settings = &plan.settings.kubernetes.config;
    let Some(from) = &settings.from else { return Ok(None) };
    let path = plan.facts.dir.join(from);
    if !path.exists() {
        return Err(Problem::new(Code::FileUnreadable, format!("kubernetes.config.from: there is no {from} in the checkout"))
            .hint("correct kubernetes.config.from, or build what makes it first"));
    }
    let mut found = BTreeMap::new();
    let root = fs::canonicalize(&plan.facts.dir).map_err(|error| Problem::io("read", &plan.facts.dir, &error))?;
    if path.is_file() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        take(&root, &path, name, &mut found)?;
    } else {
        walk(&root, &path, "", &mut found)?;
    }
    let sizes = found.iter().map(|(name, (_, size))| (name.clone(), *size)).collect();
    Config::check_size(from, &sizes)?;
    let mut files = BTreeMap::new();
    for (name, (path, _)) in found {
        files.insert(name, fs::read(&path).map_err(|error| Problem::io("read", &path, &error))?);
    }
    Config::new(from, &settings.mount, settings.secret, files).map(Some)
}

/// What the pods get: the files of the checkout, or the version that is pushed now. Without a cluster there is no version to be found in it,
/// and manifests go to a file without their configuration. Fails with `config-missing` when nothing was pushed.
pub(super) async fn of_release(plan: &Plan) -> Result<(Option<Config>, Option<Pushed>)> {
    let settings = &plan.settings.kubernetes.config;
    let zookeeper = plan.settings.center.url.expose() != KUBERNETES;
    match settings.pushed {
        false => return Ok((read(plan)?, None)),
        true if !zookeeper && !plan.has_cluster() => return Ok((None, None)),
        true => {}
    }
    let (version, config) = center(plan, "kubernetes.config.pushed").await?.pull(&place(plan), &Wanted::Current).await?;
    let fetch = match zookeeper {
        true => Some(Fetch { image: fetcher(plan)?, offline: settings.offline }),
        false => None,
    };
    Ok((Some(config.at(&settings.mount)), Some(Pushed { version, fetch })))
}

/// The image that fetches.
fn fetcher(plan: &Plan) -> Result<String> {
    plan.settings.kubernetes.config.image.clone().ok_or_else(|| {
        Problem::new(Code::SettingMissing, "kubernetes.config.pushed: pods fetch their files by an image of shipway's, but none is named")
            .hint("set kubernetes.config.image to the image of shipway that this cluster can pull")
    })
}

/// Looks before the long part of a run; what the build only makes is not there yet.
pub(super) fn foresee(plan: &Plan) -> Result<()> {
    if plan.settings.kubernetes.config.pushed {
        let zookeeper = plan.settings.center.url.expose() != KUBERNETES;
        return if zookeeper { fetcher(plan).map(drop) } else { Ok(()) };
    }
    match &plan.settings.kubernetes.config.from {
        Some(from) if plan.facts.dir.join(from).exists() => read(plan).map(|_| ()),
        _ => Ok(()),
    }
}

/// The files of a folder in which the kubelet shows an object, by links to folders of its own.
pub(super) fn read_copy(folder: &Path) -> Result<Config> {
    let mut files = BTreeMap::new();
    follow(folder, "", &mut files).map_err(|error| Problem::io("read", folder, &error))?;
    Config::new(&folder.display().to_string(), "", false, files)
}

fn follow(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        match fs::metadata(entry.path())?.is_dir() {
            _ if name.starts_with("..") || files.len() > MOST_FILES => {}
            true => follow(&entry.path(), &format!("{path}/"), files)?,
            false => drop(files.insert(path, fs::read(entry.path())?)),
        }
    }
    Ok(())
}

type Found = BTreeMap<String, (PathBuf, usize)>;

fn walk(root: &Path, folder: &Path, prefix: &str, found: &mut Found) -> Result<()> {
    let unreadable = |error: std::io::Error| Problem::io("read", folder, &error);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Ok(name) = entry.file_name().into_string() else {
            let message = format!("kubernetes.config.from: the name of {} is no UTF-8", entry.path().display());
            return Err(Problem::new(Code::ConfigInvalid, message).hint("rename the file"));
        };
        let name = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            walk(root, &entry.path(), &format!("{name}/"), found)?;
        } else {
            take(root, &entry.path(), name, found)?;
        }
    }
    Ok(())
}

/// One file. A link must not bring in what is not of the checkout: other jobs' files, or the runner's keys.
fn take(root: &Path, path: &Path, name: String, found: &mut Found) -> Result<()> {
    let real = fs::canonicalize(path).map_err(|error| Problem::io("read", path, &error))?;
    if !real.starts_with(root) {
        let message = format!("kubernetes.config.from: {} leads out of the checkout", path.display());
        return Err(Problem::new(Code::ConfigInvalid, message).hint("put the file itself there instead of the link"));
    }
    let metadata = fs::metadata(&real).map_err(|error| Problem::io("read", path, &error))?;
    if !metadata.is_file() {
        let message = format!("kubernetes.config.from: {} is no file", path.display());
        return Err(Problem::new(Code::ConfigInvalid, message).hint("keep files and folders there, no links to folders"));
    }
    if found.len() >= MOST_FILES {
        let message = format!("kubernetes.config.from: there are more than {MOST_FILES} files");
        return Err(Problem::new(Code::ConfigInvalid, message).hint("name the folder that holds the configuration alone"));
    }
    found.insert(name, (real, usize::try_from(metadata.len()).unwrap_or(usize::MAX)));
    Ok(())
}

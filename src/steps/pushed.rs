//! Configurations that are pushed on their own: from files, and to files.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::config;
use crate::{
    center::Center,
    domain::{
        claim::Timing,
        config::Config,
        event::Events,
        problem::{Class, Code, Problem, Result},
        pushed::{Place, Pushing, Version, Wanted},
    },
    plan::Plan,
};

/// Stands in a folder that a pull wrote, and says by their hash which files it has.
const STAMP: &str = ".shipway-config.json";

/// Threads that write files.
const WRITERS: usize = 16;

/// Whose configuration the settings name.
pub fn place(plan: &Plan) -> Place {
    Place { namespace: plan.namespace.clone(), application: plan.name.clone(), environment: plan.settings.environment.clone() }
}

/// Who pushes, and how.
pub fn pushing(plan: &Plan, reason: Option<String>) -> Pushing {
    let author = plan.ci.commit.author.clone().or_else(|| plan.host.user.clone());
    Pushing {
        place: place(plan),
        author,
        reason,
        kept: plan.settings.kubernetes.history,
        time: Timestamp::from_second(plan.facts.now).map(|now| now.to_string()).unwrap_or_default(),
        holder: plan.holder(),
        wait: plan.settings.lock.wait,
        timing: Timing { ttl: plan.settings.lock.ttl },
    }
}

/// The files of `kubernetes.config.from`.
pub fn config_files(plan: &Plan) -> Result<Config> {
    let missing = || {
        Problem::new(Code::SettingMissing, "no configuration files are named")
            .hint("name their folder: shipway config push FOLDER, or kubernetes.config.from")
    };
    config::read(plan)?.ok_or_else(missing)
}

/// Files that are taken when the centre does not have them.
pub struct Copy {
    pub folder: PathBuf,
    /// When it does not answer, too.
    pub offline: bool,
}

/// The files that are wanted, from the centre or from the copy; None in place of the version: from the copy.
pub async fn pull(
    center: &Center,
    place: &Place,
    wanted: &Wanted,
    copy: Option<&Copy>,
    events: &Events,
) -> Result<(Option<Version>, Config)> {
    let problem = match center.pull(place, wanted).await {
        Ok((version, config)) => return Ok((Some(version), config)),
        Err(problem) => problem,
    };
    let (Some(copy), Wanted::Content(hash)) = (copy, wanted) else { return Err(problem) };
    let gone = matches!(problem.code, Code::ConfigMissing | Code::RevisionUnknown);
    let away = problem.class() == Class::Transient;
    match gone || (away && copy.offline) {
        true => {}
        false if away => return Err(problem.hint("kubernetes.config.offline lets pods start with the copy that their release has")),
        false => return Err(problem),
    }
    let config = config::read_copy(&copy.folder)?;
    if config.reference("").hash != *hash {
        return Err(problem);
    }
    events.warning(
        format!(
            "the files are those of the release's copy, {}, as the centre does not have them: {}",
            copy.folder.display(),
            problem.message
        ),
        "see to it that the centre is there again; the copy has the same content",
    );
    Ok((None, config))
}

/// Writes these files, as a set: `to` is replaced as a whole, and only when a pull wrote it or it is empty. False: it has them already.
pub fn write_config(config: &Config, to: &Path) -> Result<bool> {
    let failed = |error: io::Error| Problem::io("write", to, &error);
    let stamp = serde_json::json!({"content": config.reference("").hash}).to_string();
    match fs::read_to_string(to.join(STAMP)) {
        Ok(found) if found == stamp => return Ok(false),
        Ok(_) => {}
        Err(_) if fs::read_dir(to).map_or(true, |mut entries| entries.next().is_none()) => {}
        Err(_) => {
            let message = format!("{} holds files that no shipway config pull wrote", to.display());
            return Err(Problem::new(Code::FileExists, message).hint("name a folder that is not there yet, or is empty"));
        }
    }
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let fresh = tempfile::Builder::new().prefix(".shipway-config-").tempdir_in(parent).map_err(failed)?;
    let files: Vec<(PathBuf, &[u8])> =
        config.files().map(|(path, content)| Ok((fresh.path().join(inside(path)?), content))).collect::<Result<_>>()?;
    write_all(&files, config.secret).map_err(failed)?;
    write_one(&fresh.path().join(STAMP), stamp.as_bytes(), false).map_err(failed)?;
    open_folder(fresh.path()).map_err(failed)?;
    put(fresh.path(), to).map_err(failed)?;
    Ok(true)
}

/// Whoever reads sees the old folder or the new one; the old one is left at `fresh`, to be removed.
fn put(fresh: &Path, to: &Path) -> io::Result<()> {
    if !to.exists() {
        return fs::rename(fresh, to);
    }
    renameat_with(CWD, fresh, CWD, to, RenameFlags::EXCHANGE).map_err(|error| match error {
        rustix::io::Errno::BUSY | rustix::io::Errno::XDEV => io::Error::other("it is a mount point; name a folder below it"),
        other => other.into(),
    })
}

/// A temporary folder is its owner's alone, which the application may not be.
fn open_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

/// A file is on the disk before the folder takes its name; that many wait for the disk together, which is asked once for them then.
fn write_all(files: &[(PathBuf, &[u8])], secret: bool) -> io::Result<()> {
    std::thread::scope(|scope| {
        let write = move |part: &[(PathBuf, &[u8])]| part.iter().try_for_each(|(path, content)| write_one(path, content, secret));
        let parts = files.chunks(files.len().div_ceil(WRITERS).max(1));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || write(part))).collect();
        running.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended"))))
    })
}

fn write_one(path: &Path, content: &[u8], secret: bool) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mode = if secret { 0o600 } else { 0o644 };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()
}

/// The paths come from the cluster: none may lead elsewhere.
fn inside(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    match path.components().all(|part| matches!(part, Component::Normal(_))) && path != Path::new(STAMP) {
        true => Ok(path),
        false => Err(Problem::new(Code::ConfigInvalid, format!("the configuration names the file {:?}, which cannot be written", path))),
    }
}

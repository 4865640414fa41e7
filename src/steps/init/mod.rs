//! The first files of a project: settings and the CI's job, made from what the checkout shows.

mod adopt;
mod job;
mod look;
mod settings_file;

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

pub use self::{
    adopt::{settings_file, write_settings},
    look::{Scene, look},
};
use crate::{
    domain::problem::{Problem, Result},
    settings::{self, CiKind},
};

/// Where editors find the schema, beside the settings file.
pub const SCHEMA_FILE: &str = ".shipway.schema.json";

/// A file that would be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// In the checkout.
    pub path: PathBuf,
    /// What it holds; None: it is not there.
    pub before: Option<String>,
    /// None: it stays as it is, because of this.
    pub after: Result<String, String>,
}

/// What is wished beside what is found.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The CI to write a job for; None: the one that is in use.
    pub ci: Option<CiKind>,
    /// No job at all.
    pub no_job: bool,
    /// No schema beside the settings file.
    pub no_schema: bool,
}

/// All files that the project would get; nothing is written.
pub fn drafts(scene: &Scene, wishes: &Wishes) -> Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    let help = scene.help.as_deref().map(|help| format!("{}/shipway.schema.json", help.trim_end_matches('/')));
    let schema = help.clone().or_else(|| (!wishes.no_schema).then(|| SCHEMA_FILE.to_string()));
    let before = read(&scene.dir.join("shipway.yaml"))?;
    let after = match before {
        Some(_) => Err("it is there; `shipway check` looks for mistakes in it, `shipway plan` shows what it means".to_string()),
        None => Ok(settings_file::text(scene, schema.as_deref())),
    };
    let new = after.is_ok();
    drafts.push(Draft { path: "shipway.yaml".into(), before, after });
    if new && help.is_none() && !wishes.no_schema {
        let text = format!("{}\n", settings::schema());
        drafts.push(Draft { path: SCHEMA_FILE.into(), before: read(&scene.dir.join(SCHEMA_FILE))?, after: Ok(text) });
    }
    let jobs = match (wishes.no_job, wishes.ci) {
        (true, _) => Vec::new(),
        (false, Some(ci)) => vec![ci],
        (false, None) => scene.ci.clone(),
    };
    for ci in jobs {
        let (path, before) = job_file(scene, ci)?;
        let after = job::with_job(scene, ci, before.as_deref());
        drafts.push(Draft { path, before, after });
    }
    Ok(drafts)
}

/// The file that holds the CI's pipeline, and what it says.
fn job_file(scene: &Scene, ci: CiKind) -> Result<(PathBuf, Option<String>)> {
    let names: &[&str] = match ci {
        CiKind::Drone => &[".drone.yml"],
        CiKind::Woodpecker if scene.dir.join(".woodpecker").is_dir() => &[".woodpecker/shipway.yaml"],
        CiKind::Woodpecker => &[".woodpecker.yaml", ".woodpecker.yml"],
        CiKind::Gitlab | CiKind::Shell => &[".gitlab-ci.yml"],
    };
    for name in names {
        if let Some(text) = read(&scene.dir.join(name))? {
            return Ok((name.into(), Some(text)));
        }
    }
    Ok((names[0].into(), None))
}

/// Writes what is new; what would change a file that is there only when that is wished.
pub fn write(dir: &Path, drafts: &[Draft], change: bool) -> Result<()> {
    for draft in drafts {
        let Ok(after) = &draft.after else { continue };
        if draft.before.as_ref() == Some(after) || (draft.before.is_some() && !change) {
            continue;
        }
        let path = dir.join(&draft.path);
        fs::write(&path, after).map_err(|error| Problem::io("write", &path, &error))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::io("read", path, &error)),
    }
}

//! The files that a run leaves in `report.dir`; the one place of `report` that touches the disk.

use std::{fs, io::Write, path::Path};

use super::{comment, dotenv, foreign, html, json, junit, model::Report};
use crate::domain::{
    problem::{Problem, Result},
    redact::Redactor,
};

/// What the run made, to be shown in the page and left beside the report.
#[derive(Debug, Clone, Default)]
pub struct Attachments {
    pub dockerfile: Option<String>,
    /// Rendered manifests, YAML.
    pub manifests: Option<String>,
}

/// Writes every file of the report into `dir`, which is made when it is not there. A file is there whole or not at all: it is written
/// beside its place and moved.
pub fn write_all(report: &Report, dir: &Path, attachments: &Attachments, redactor: &Redactor) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| Problem::io("create", dir, &error))?;
    let safe = |text: &String| foreign::safe(text, redactor);
    let shown = Attachments { dockerfile: attachments.dockerfile.as_ref().map(safe), manifests: attachments.manifests.as_ref().map(safe) };
    let mut files = vec![
        ("report.json", json::render(report)?),
        ("report.html", html::render(report, &shown)?),
        ("comment.md", comment::render(report, comment::LIMIT)),
        ("junit.xml", junit::render(report)),
        ("shipway.env", dotenv::render(report)),
    ];
    files.extend(attachments.dockerfile.clone().map(|text| ("Dockerfile", text)));
    files.extend(attachments.manifests.clone().map(|text| ("manifests.yaml", text)));
    files.iter().try_for_each(|(name, text)| write(&dir.join(name), &redactor.redact(text)))
}

/// Leaves a text where a CI takes it from; `more` adds it to what is there.
pub fn leave(path: &Path, text: &str, more: bool) -> Result<()> {
    let file = fs::OpenOptions::new().create(true).append(more).write(true).truncate(!more).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| Problem::io("write", path, &error))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let failed = |error: std::io::Error| {
        let _ = fs::remove_file(&beside);
        Problem::io("write", path, &error)
    };
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).map_err(failed)
}

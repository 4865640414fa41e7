//! `check`: lints what a project brings, without touching anything.

use std::path::PathBuf;

use super::print;
use crate::{
    domain::problem::Result,
    report::{self, Style},
    settings::{self, Input},
    steps,
};

pub(super) fn run(file: Option<PathBuf>, json: bool, input: Input) -> Result<u8> {
    let asked = file.or_else(|| input.file.clone());
    let path = asked.clone().unwrap_or_else(|| input.dir.join("shipway.yaml"));
    let mut checked = steps::check(&input.dir, &path, asked.is_some())?;
    // variables and flags have no line, but the same mistakes
    let loaded = settings::load(&Input { file: Some(path).filter(|path| path.is_file()), ..input });
    let others = loaded.err().map(|mistakes| mistakes.0).unwrap_or_default();
    checked.findings.extend(others.iter().filter(|mistake| mistake.place.is_none()).map(steps::of_mistake));
    match json {
        true => print::text(&print::json(&checked.findings)?),
        false => print::text(&report::check(&checked.files, &checked.findings, &Style::default())),
    }
    Ok(checked.findings.iter().map(|finding| finding.exit_code()).find(|code| *code != 0).unwrap_or(0))
}

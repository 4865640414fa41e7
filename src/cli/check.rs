//! `check`: lints shipway.yaml without touching anything.

use std::{fs, path::PathBuf};

use super::print;
use crate::{
    domain::problem::{Code, Problem, Result},
    report,
    settings::{self, Input},
};

pub(super) fn run(file: Option<PathBuf>, input: Input) -> Result<u8> {
    let file = file.or(input.file).unwrap_or_else(|| input.dir.join("shipway.yaml"));
    let text = fs::read_to_string(&file).map_err(|error| {
        Problem::new(Code::FileUnreadable, format!("cannot read {}: {error}", file.display()))
            .hint("name the file, or run in its folder; a project without one is fine, too: every setting has a default")
    })?;
    let name = file.strip_prefix("./").unwrap_or(&file).display().to_string();
    let mistakes = settings::check(&text, &name);
    print::text(&report::check(&name, &mistakes));
    Ok(if mistakes.is_empty() { 0 } else { 2 })
}

//! `version`, `schema` and the reference documents: what the code says of itself.

use super::{arguments::Document, print};
use crate::{
    domain::problem::{Code, Problem, Result},
    report, settings,
};

pub(super) fn version() -> Result<u8> {
    print::text(&format!("shipway {}\n", env!("CARGO_PKG_VERSION")));
    Ok(0)
}

pub(super) fn schema() -> Result<u8> {
    print::text(&format!("{:#}\n", settings::schema()));
    Ok(0)
}

pub(super) fn reference(document: Document) -> Result<u8> {
    print::text(&match document {
        Document::Settings => settings::reference(),
        Document::Problems => report::problems_reference(),
        Document::ExitCodes => report::exit_codes_reference(),
    });
    Ok(0)
}

/// A command that the contract names and that this version does not have.
pub(super) fn not_there(command: settings::Command) -> Problem {
    let name = format!("{command:?}").to_lowercase();
    Problem::new(Code::SettingInvalid, format!("command: {name} is not in this version")).hint(
        "run, plan, build, dockerfile, image, publish, rollback, rebase, restart, scale, remove, status, history, logs, unstick, check and \
             version are there",
    )
}

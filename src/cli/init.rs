//! `init`: writes a first shipway.yaml, or with `--from-cluster` the one that reproduces what runs.

use super::{print, session::Session};
use crate::{
    domain::problem::Result,
    settings::Input,
    steps::{settings_file, write_settings},
};

pub(super) async fn run(input: Input, from_cluster: bool, force: bool) -> Result<u8> {
    let path = input.file.clone().unwrap_or_else(|| input.dir.join("shipway.yaml"));
    let mut session = Session::start(input, "init")?;
    let plan = session.plan(false, false).await?;
    let text = settings_file(&plan, from_cluster).await?;
    let name = path.strip_prefix(".").unwrap_or(&path).display();
    match write_settings(&path, &text, force) {
        Ok(true) => print::text(&format!("{name} is written; `shipway plan` shows what it means\n")),
        Ok(false) => print::text(&format!("{name} is there and says this already\n")),
        Err(problem) => {
            problem.evidence.iter().for_each(|evidence| print::text(&session.redactor.redact(&evidence.text)));
            return Err(problem);
        }
    }
    Ok(0)
}

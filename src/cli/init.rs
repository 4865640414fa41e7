//! `init`: writes a first shipway.yaml and the CI's job, or with `--from-cluster` the settings that reproduce what runs.

use super::{arguments::Init, print, session::Session};
use crate::{
    domain::problem::Result,
    report::{self, FileRow},
    settings::Input,
    steps,
};

pub(super) async fn run(input: Input, asked: Init) -> Result<u8> {
    let path = input.file.clone().unwrap_or_else(|| input.dir.join("shipway.yaml"));
    let mut session = Session::start(input, "init")?;
    let plan = session.plan(false, false).await?;
    if asked.from_cluster {
        let text = steps::settings_file(&plan).await?;
        return adopted(&session, &path, &text, asked.force);
    }
    let (scene, wishes) = (steps::look(&plan)?, asked.wishes());
    let no_ci = scene.ci.is_empty() && wishes.ci.is_none() && !wishes.no_job;
    let drafts = steps::drafts(&scene, &wishes)?;
    steps::write(&plan.facts.dir, &drafts, asked.force)?;
    let row = |draft: steps::Draft| FileRow {
        name: draft.path.display().to_string(),
        written: draft.before.is_none() || asked.force,
        before: draft.before,
        after: draft.after,
    };
    let rows: Vec<FileRow> = drafts.into_iter().map(row).collect();
    print::text(&report::init(&rows, no_ci, &print::style(&session.loaded)));
    Ok(0)
}

fn adopted(session: &Session, path: &std::path::Path, text: &str, force: bool) -> Result<u8> {
    let name = path.strip_prefix(".").unwrap_or(path).display();
    match steps::write_settings(path, text, force) {
        Ok(true) => print::text(&format!("{name} is written; `shipway plan` shows what it means\n")),
        Ok(false) => print::text(&format!("{name} is there and says this already\n")),
        Err(problem) => {
            problem.evidence.iter().for_each(|evidence| print::text(&session.redactor.redact(&evidence.text)));
            return Err(problem);
        }
    }
    Ok(0)
}

//! `history`: the recorded releases, as a table or as JSON.

use super::{print, session::Session};
use crate::{domain::problem::Result, report, settings::Input, steps};

pub(super) async fn run(input: Input, json: bool) -> Result<u8> {
    let mut session = Session::start(input, "history")?;
    let plan = session.plan(false, false).await?;
    let history = steps::cluster_for(&plan, "history").await?.history(&plan.name).await?;
    let text = match json {
        true => print::json(&history)?,
        false => report::history(&history, &print::style(&session.loaded)),
    };
    print::text(&session.redactor.redact(&text));
    Ok(0)
}

//! `doctor`: what a run needs, and how it stands with it.

use super::{print, session::Session};
use crate::{
    domain::{
        checkup::{Examined, exit_code},
        problem::Result,
    },
    report,
    settings::Input,
    steps,
};

pub(super) async fn run(input: Input, json: bool) -> Result<u8> {
    let mut session = Session::start(input, "doctor")?;
    let plan = session.plan(false, false).await?;
    let examined = steps::examine(&plan).await;
    let text = match json {
        true => print::json(&examined.iter().map(Examined::record).collect::<Vec<_>>())?,
        false => report::doctor(&examined, plan.settings.help.url.as_deref(), &print::style(&session.loaded)),
    };
    print::text(&session.redactor.redact(&text));
    Ok(exit_code(&examined))
}

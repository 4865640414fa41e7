//! `status`: what runs, on one screen or as JSON, once or kept fresh.

use std::io::IsTerminal;

use jiff::Timestamp;

use super::{print, session::Session};
use crate::{
    domain::{problem::Result, status::Status},
    report::{self, Style},
    settings::Input,
    steps,
};

/// Clears a terminal's screen and begins at its top.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

pub(super) async fn run(input: Input, json: bool, watch: bool) -> Result<u8> {
    let mut session = Session::start(input, "status")?;
    let plan = session.plan(false, false).await?;
    let cluster = steps::cluster_for(&plan, "status").await?;
    let style = print::style(&session.loaded);
    if !watch {
        let status = cluster.status(&plan.name).await?;
        print::text(&session.redactor.redact(&screen(&status, json, &style)?));
        return Ok(0);
    }
    session.listen()?;
    let before = if std::io::stdout().is_terminal() && !json { CLEAR } else { "" };
    let mut last = String::new();
    let mut each = |status: &Status| {
        let text = match json {
            true => serde_json::to_string(status).map(|text| text + "\n").unwrap_or_default(),
            false => screen(status, json, &style).unwrap_or_default(),
        };
        // where nobody sees ages grow, only changes are worth a line
        if text != last {
            print::text(&format!("{before}{}", session.redactor.redact(&text)));
            last = text;
        }
    };
    cluster.watch_status(&plan.name, &session.cancel, &mut each).await?;
    Ok(0)
}

fn screen(status: &Status, json: bool, style: &Style) -> Result<String> {
    if json { print::json(status) } else { Ok(report::status(status, Timestamp::now(), style)) }
}

//! `history`: the recorded releases, as a table as JSON or as CSV.

use jiff::Timestamp;

use super::{asked::History, print, session::Session};
use crate::{
    domain::{
        problem::{Code, Problem, Result},
        record::Filter,
        units,
    },
    report,
    settings::Input,
    steps,
};

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

/// What the ledger has of all applications.
pub(super) async fn all(input: Input, asked: &History) -> Result<u8> {
    let flag = |key: &str| input.args.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.clone()).unwrap_or_default();
    let filter = Filter {
        app: flag("app"),
        line: asked.line.clone().unwrap_or_default(),
        environment: flag("environment"),
        result: result(asked.result.as_deref().unwrap_or_default())?,
        since: asked.since.as_deref().map(since).transpose()?.unwrap_or(0),
        limit: asked.limit,
    };
    let dir = input.dir.clone();
    // a section of the file that is not there is no mistake here: the environment is a filter
    let input = Input { args: input.args.into_iter().filter(|(key, _)| key != "environment").collect(), ..input };
    let session = Session::start(input, "history")?;
    let changes = steps::ledger(&session.loaded, &dir).await?.changes(&filter).await?;
    let text = match (asked.json, asked.csv) {
        (true, _) => print::json(&changes)?,
        (_, true) => report::changes_csv(&changes),
        _ => report::changes(&changes, &print::style(&session.loaded)),
    };
    print::text(&session.redactor.redact(&text));
    Ok(0)
}

fn result(text: &str) -> Result<String> {
    const KNOWN: [&str; 8] = ["", "succeeded", "failed", "rolled_back", "superseded", "cancelled", "running", "unknown"];
    match KNOWN.contains(&text) {
        true => Ok(text.to_string()),
        false => Err(Problem::new(Code::SettingInvalid, format!("--result {text:?} is no result"))
            .hint(format!("write one of {}", KNOWN[1..].join(", ")))),
    }
}

fn since(text: &str) -> Result<i64> {
    let invalid = || Problem::new(Code::SettingInvalid, format!("--since {text:?} is no duration")).hint("write it like 90m or 48h");
    let back = units::parse_duration(text).ok_or_else(invalid)?;
    Ok(Timestamp::now().as_millisecond() - i64::try_from(back.as_millis()).map_err(|_| invalid())?)
}

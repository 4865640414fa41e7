//! `logs`: what all pods say, on the screen or in an archive.

use regex::Regex;

use super::{print, session::Session};
use crate::{
    cluster::{LogLine, LogQuery},
    domain::problem::{Code, Problem, Result},
    report::{self, LogRow},
    settings::Input,
    steps,
};

pub(super) async fn run(input: Input) -> Result<u8> {
    let mut session = Session::start(input, "logs")?;
    let plan = session.plan(false, false).await?;
    let settings = &plan.settings.logs;
    let cluster = steps::cluster_for(&plan, "logs").await?;
    let query = LogQuery { name: plan.name.clone(), revision: settings.revision, since: settings.since };
    let pattern = settings.grep.as_deref().map(pattern).transpose()?;
    session.listen()?;
    if let Some(to) = &settings.to {
        let to = plan.facts.work_dir.join(to);
        let written = tokio::select! {
            written = steps::archive_logs(&cluster, &query, pattern.as_ref(), &to) => written?,
            () = session.cancel.cancelled() => return Err(Problem::new(Code::Cancelled, "cancelled while the logs were read; there is no archive")),
        };
        print::text(&format!("{}: {} logs, {}\n", to.display(), written.logs, report::bytes(written.bytes)));
        left_out(&session, written.left_out);
        return Ok(0);
    }
    let style = print::style(&session.loaded);
    let mut each = |line: LogLine| {
        if pattern.as_ref().is_none_or(|pattern| pattern.is_match(&line.text)) {
            let row = LogRow { at: line.at.to_string(), pod: line.pod, container: line.container, text: line.text };
            print::text(&session.redactor.redact(&report::log_row(&row, &style)));
        }
    };
    if settings.follow {
        cluster.follow_logs(&query, &session.cancel, &mut each).await?;
        return Ok(0);
    }
    let found = cluster.log_sources(&query).await?;
    tokio::select! {
        done = cluster.read_logs(&found.sources, query.since, &mut each) => done?,
        () = session.cancel.cancelled() => {}
    }
    left_out(&session, found.left_out);
    Ok(0)
}

fn left_out(session: &Session, count: usize) {
    if count > 0 {
        let text = format!("the logs of {count} more containers were left out, those of the oldest pods");
        session.events.warning(text, "narrow it down with --revision");
    }
}

fn pattern(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|error| {
        let why = error.to_string().lines().last().unwrap_or_default().trim().to_string();
        Problem::new(Code::SettingInvalid, format!("logs.grep is no regular expression: {why}")).hint("escape special characters with \\")
    })
}

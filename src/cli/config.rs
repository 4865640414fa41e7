//! `config push|pull|diff|history|rollback|watch`: configurations that are pushed on their own.

use super::{
    asked::{ConfigAction, Told},
    print,
    session::Session,
};
use crate::{
    center::Center,
    domain::{
        config::{Config, text_of},
        problem::{Code, Result},
        pushed::Wanted,
    },
    plan::Plan,
    report::{self, ObjectDiff},
    settings::Input,
    steps,
};

pub(super) async fn run(action: ConfigAction, input: Input) -> Result<u8> {
    // input and output are those of the command that it runs, and so are signals
    let ours = !matches!(action, ConfigAction::Watch { .. });
    let dir = input.dir.clone();
    let mut session = if ours { Session::start(input, "config")? } else { Session::beside(input, "config")? };
    if ours {
        session.listen()?;
    }
    let plan = session.plan(false, false).await?;
    if matches!(action, ConfigAction::Push { .. } | ConfigAction::Rollback { .. }) {
        session.ask(&plan, "config").await?;
    }
    let center = steps::center(&plan, "config").await?;
    let text = match action {
        ConfigAction::Push { reason, .. } => push(&session, &plan, &center, reason).await?,
        ConfigAction::Pull { to, version, content, copy, offline } => {
            let wanted = content.map_or(Wanted::number(version), Wanted::Content);
            let copy = copy.map(|folder| steps::Copy { folder, offline });
            let (version, config) = steps::pull(&center, &steps::place(&plan), &wanted, copy.as_ref(), &session.events).await?;
            let to = plan.facts.work_dir.join(to);
            let what = version.map_or("the copy".to_string(), |version| format!("version {}", version.version));
            match steps::write_config(&config, &to)? {
                true => format!("{what} is in {}, {}\n", to.display(), report::count(config.paths().count(), "file")),
                false => format!("{} has {what} already\n", to.display()),
            }
        }
        ConfigAction::Diff { .. } => diff(&session, &plan, &center).await?,
        ConfigAction::History { json } => {
            let place = steps::place(&plan);
            let versions = center.versions(&place).await?;
            match json {
                true => print::json(&versions)?,
                false => report::pushed(&place, &versions, &print::style(&session.loaded)),
            }
        }
        ConfigAction::Rollback { to, reason } => {
            let pushing = steps::pushing(&plan, reason);
            let version = center.rollback(&pushing, to, &session.events, &session.cancel).await?;
            let restored = version.restores.unwrap_or_default();
            format!("version {} of the configuration of {} puts back version {restored}\n", version.version, pushing.place.words())
        }
        ConfigAction::Watch { to, signal, grace, command } => {
            let (env, to) = (session.loaded.host.own_env(), plan.facts.work_dir.join(to));
            let watched = steps::Watched { argv: command, dir, env, to, signal: signal.map(Told::signal), grace };
            let code = steps::watch(&center, &steps::place(&plan), &watched, &session.events).await?;
            return Ok(u8::try_from(code).unwrap_or(70));
        }
    };
    print::text(&session.redactor.redact(&text));
    Ok(0)
}

async fn push(session: &Session, plan: &Plan, center: &Center, reason: Option<String>) -> Result<String> {
    let config = steps::config_files(plan)?;
    let pushing = steps::pushing(plan, reason);
    let (version, changed) = center.push(&pushing, &config, &session.events, &session.cancel).await?;
    let (number, words, files) = (version.version, pushing.place.words(), report::count(version.files, "file"));
    Ok(match changed {
        true => format!("version {number} of the configuration of {words} is pushed, {files}\n"),
        false => format!("version {number} of the configuration of {words} has these files already\n"),
    })
}

/// The files as they are pushed, beside those that would be.
async fn diff(session: &Session, plan: &Plan, center: &Center) -> Result<String> {
    let wanted = steps::config_files(plan)?;
    let pushed = match center.pull(&steps::place(plan), &Wanted::Current).await {
        Ok((_, config)) => Some(config),
        Err(problem) if problem.code == Code::ConfigMissing && center.versions(&steps::place(plan)).await?.current().is_none() => None,
        Err(problem) => return Err(problem),
    };
    let diffs = differences(pushed.as_ref(), &wanted);
    Ok(match diffs.is_empty() {
        true => "the files are those of the current version\n".to_string(),
        false => report::diffs(&diffs, &print::style(&session.loaded)),
    })
}

fn differences(pushed: Option<&Config>, wanted: &Config) -> Vec<ObjectDiff> {
    let secret = wanted.secret || pushed.is_some_and(|pushed| pushed.secret);
    let shown = |content: &[u8], side: &str| if secret { format!("(secret, {side})\n") } else { text_of(content) };
    let mut paths: Vec<&str> = wanted.paths().chain(pushed.into_iter().flat_map(Config::paths)).collect();
    paths.sort_unstable();
    paths.dedup();
    let one = |path: &str| {
        let (before, after) = (pushed.and_then(|pushed| pushed.file(path)), wanted.file(path));
        let [before, after] = match before == after {
            true => return None,
            false => [before.map(|content| shown(content, "before")), after.map(|content| shown(content, "after"))],
        };
        Some(ObjectDiff { object: path.to_string(), before, after })
    };
    paths.into_iter().filter_map(one).collect()
}

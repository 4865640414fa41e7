//! `can`: whether somebody may do something, and why.

use super::{asked::Can, print, session::Session};
use crate::{
    domain::{identity::Asker, permission::Answer, policy::Target, problem::Result},
    report,
    settings::Input,
    steps::{self, Question},
};

/// 0: permitted; 30: not.
const DENIED: u8 = 30;
/// Whoever asks.
const ME: &str = "@me";

pub(super) async fn run(input: Input, asked: Can) -> Result<u8> {
    let dir = input.dir.clone();
    let environment = input.args.iter().rev().find(|(key, _)| key == "environment").map(|(_, value)| value.clone()).unwrap_or_default();
    // the environment is asked for, whatever sections a file has
    let input = Input { args: input.args.into_iter().filter(|(key, _)| key != "environment").collect(), ..input };
    let session = Session::start(input, "can")?;
    let target = Target { app: asked.application, line: asked.line.unwrap_or_default(), environment };
    let asker = Asker { project: asked.project, protected: asked.protected, ..Asker::claimed(Some(&asked.user)) };
    let asker = (asked.user != ME).then_some(asker);
    let (myself, question) = (asker.is_none(), Question { asker, action: asked.action, target });
    let (asker, answers) = steps::can(&session.loaded, &dir, question, &session.events).await?;
    let who = if myself { report::asks(&asker) } else { String::new() };
    print::text(&session.redactor.redact(&format!("{who}{}", report::can(&answers))));
    Ok(if answers.iter().any(|answer| matches!(answer, Answer::No(_))) { DENIED } else { 0 })
}

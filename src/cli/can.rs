//! `can`: whether somebody may do something, and why.

use super::{asked::Can, print, session::Session};
use crate::{
    domain::{permission::Answer, policy::Target, problem::Result},
    report,
    settings::Input,
    steps::{self, Question},
};

/// 0: permitted; 30: not.
const DENIED: u8 = 30;

pub(super) async fn run(input: Input, asked: Can) -> Result<u8> {
    let dir = input.dir.clone();
    let environment = input.args.iter().rev().find(|(key, _)| key == "environment").map(|(_, value)| value.clone()).unwrap_or_default();
    // the environment is asked for, whatever sections a file has
    let input = Input { args: input.args.into_iter().filter(|(key, _)| key != "environment").collect(), ..input };
    let session = Session::start(input, "can")?;
    let target = Target { app: asked.application, line: asked.line.unwrap_or_default(), environment };
    let answers = steps::can(&session.loaded, &dir, Question { user: asked.user, action: asked.action, target }).await?;
    print::text(&session.redactor.redact(&report::can(&answers)));
    Ok(if answers.iter().any(|answer| matches!(answer, Answer::No(_))) { DENIED } else { 0 })
}

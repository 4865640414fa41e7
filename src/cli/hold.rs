//! `lock NAME -- CMD`, `lead NAME -- CMD` and `lead NAME --http`: what runs only while a claim is held.

use std::{io::BufRead, sync::mpsc, thread};

use tokio::sync::mpsc::UnboundedReceiver;

use super::{print, session::Session};
use crate::{
    domain::{
        claim::{Claim, Kind, Tenure, Timing},
        problem::Result,
    },
    plan::Plan,
    settings::Input,
    steps::{self, Guarded},
};

/// Runs a command under a claim; its exit code is ours.
pub(super) async fn run(kind: Kind, name: &str, shared: bool, argv: Vec<String>, input: Input) -> Result<u8> {
    let claim = Claim::new(kind, name)?;
    let dir = input.dir.clone();
    let session = Session::beside(input, kind.word())?;
    if session.loaded.host.keeper {
        return keep(session, claim, shared).await;
    }
    let guarded = Guarded {
        claim,
        timing: Timing { ttl: session.loaded.settings.lock.ttl },
        argv,
        dir,
        env: session.loaded.host.own_env(),
        keeper: std::env::args_os().skip(1).collect(),
    };
    let code = steps::guard(&guarded).await?;
    Ok(u8::try_from(code).unwrap_or(70))
}

/// Tells at an address whether the lead is ours.
pub(super) async fn serve(name: &str, address: &str, input: Input) -> Result<u8> {
    let claim = Claim::new(Kind::Lead, name)?;
    let mut session = Session::start(input, "lead")?;
    session.listen()?;
    let plan = plan(&mut session).await?;
    let center = steps::center(&plan, "lead").await?;
    steps::serve(&center, &steps::wanted(&plan, claim, false), address, &session.events, &session.cancel).await?;
    Ok(0)
}

/// This process is the keeper of another one: see `steps::keep`.
async fn keep(mut session: Session, claim: Claim, shared: bool) -> Result<u8> {
    session.listen()?;
    let guard = input_lines();
    let plan = plan(&mut session).await?;
    let center = steps::center(&plan, claim.kind().word()).await?;
    let say = output();
    let told = |tenure: &Tenure| drop(say.send(tenure.to_line()));
    steps::keep(&center, &steps::wanted(&plan, claim, shared), guard, told, &session.events, &session.cancel).await?;
    Ok(0)
}

async fn plan(session: &mut Session) -> Result<Plan> {
    let settings = &mut session.loaded.settings;
    if settings.kubernetes.namespace.is_some() {
        // the folder of a side-car names no application, and nothing is published here
        settings.app.get_or_insert_with(|| "none".to_string());
    }
    session.plan(false, false).await
}

/// The lines of our input, until it ends.
fn input_lines() -> UnboundedReceiver<String> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Prints from a thread of its own: a guard that does not read for hours must not keep the claim from being renewed.
fn output() -> mpsc::Sender<String> {
    let (sender, receiver) = mpsc::channel::<String>();
    thread::spawn(move || receiver.iter().for_each(|line| print::text(&line)));
    sender
}

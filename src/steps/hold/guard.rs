//! The process that runs the command.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    domain::{
        claim::{Claim, Tenure, Timing},
        problem::{Code, Problem, Result},
    },
    process::{Attached, Command, Marker, Peer, Signals, find_program, uptime},
    settings::KEEPER,
};

/// What guarded commands see: a number that grows whenever the claim passes on.
const TOKEN: &str = "SHIPWAY_FENCING_TOKEN";
/// How long a keeper may take to end that has lost its claim, and told why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A command that runs only while a claim is held.
pub struct Guarded {
    pub claim: Claim,
    pub timing: Timing,
    /// Program and arguments, never read by a shell.
    pub argv: Vec<String>,
    pub dir: PathBuf,
    /// The command's whole environment, and the keeper's.
    pub env: Vec<(String, String)>,
    /// With which arguments this program is the keeper.
    pub keeper: Vec<OsString>,
}

/// How a guarded command came to its end.
enum End {
    /// By itself, with this code.
    Own(Result<i32>),
    /// The claim may not be counted on any more.
    Lost,
}

/// Runs the command once the claim is held; gives its exit code, or that of a keeper that has told why it could not have the claim. The
/// claim is given back after the last process of the command is gone.
pub async fn guard(guarded: &Guarded) -> Result<i32> {
    let command = command(guarded)?;
    find_program(&command.program, &command.dir, &command.env)?;
    let marker = Marker::new();
    let mut signals = Signals::listen()?;
    let mut env = guarded.env.clone();
    env.push((KEEPER.to_string(), "1".to_string()));
    let mut keeper = Peer::start(&guarded.keeper, &env)?;
    keeper.say(marker.value()).await;
    let mut ended = false;
    let first = loop {
        tokio::select! {
            line = keeper.line() => break line.as_deref().and_then(Tenure::parse),
            _ = signals.next() => {
                ended = true;
                keeper.terminate();
            }
        }
    };
    let Some(tenure) = first else { return part(keeper, guarded, guarded.timing.ttl).await };
    if ended {
        let _ = keeper.part(guarded.timing.ttl).await;
        return Err(Problem::new(Code::Cancelled, "cancelled before the command was started"));
    }
    run(guarded, command, &marker, tenure, keeper, &mut signals).await
}

fn command(guarded: &Guarded) -> Result<Command> {
    let Some((program, args)) = guarded.argv.split_first() else {
        return Err(Problem::new(Code::SettingMissing, "no command is named").hint("write it after --: shipway lock NAME -- CMD ARGUMENTS"));
    };
    let (program, args) = (PathBuf::from(program), args.to_vec());
    Ok(Command { program, args, dir: guarded.dir.clone(), env: guarded.env.clone(), timeout: None, log: None, input: None })
}

async fn run(
    guarded: &Guarded,
    mut command: Command,
    marker: &Marker,
    mut tenure: Tenure,
    mut keeper: Peer,
    signals: &mut Signals,
) -> Result<i32> {
    command.env.retain(|(name, _)| name != TOKEN);
    command.env.push((TOKEN.to_string(), tenure.token.to_string()));
    let mut child = match Attached::start(&command, marker) {
        Ok(child) => child,
        Err(problem) => {
            let _ = keeper.part(guarded.timing.ttl).await;
            return Err(problem);
        }
    };
    let end = loop {
        tokio::select! {
            biased;
            line = keeper.line() => match line.as_deref().and_then(Tenure::parse) {
                Some(renewed) => tenure = renewed,
                None => break End::Lost,
            },
            code = child.wait() => break End::Own(code),
            signal = signals.next() => child.signal(signal),
            () = sleep(guarded.timing.tick()) => if uptime() >= tenure.until {
                match timeout(guarded.timing.tick(), renewed(&mut keeper)).await {
                    Ok(Some(renewed)) => tenure = renewed,
                    _ => break End::Lost,
                }
            },
        }
    };
    child.end(guarded.timing.grace()).await;
    match end {
        End::Own(code) => match keeper.part(guarded.timing.ttl).await {
            // the command ended because the keeper saw first that the claim is lost
            Some(lost @ 1..128) => Ok(lost),
            _ => code,
        },
        End::Lost => part(keeper, guarded, LAST_WORDS).await,
    }
}

/// What the keeper has said meanwhile: a guard that was stopped finds it unread. None: it is gone.
async fn renewed(keeper: &mut Peer) -> Option<Tenure> {
    loop {
        let tenure = Tenure::parse(&keeper.line().await?)?;
        if uptime() < tenure.until {
            return Some(tenure);
        }
    }
}

/// The code of a keeper that ended with a problem, which it has told; one that did not even do that is told of here.
async fn part(keeper: Peer, guarded: &Guarded, limit: Duration) -> Result<i32> {
    match keeper.part(limit).await {
        Some(code @ 1..128) => Ok(code),
        Some(143) => Ok(143),
        _ => Err(guarded.claim.lost("the process that renewed it is gone or does not answer")),
    }
}

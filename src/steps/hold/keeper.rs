//! The process that holds the claim.

use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};
use tokio_util::sync::CancellationToken;

use super::again;
use crate::{
    center::{Center, Hold, Wanted},
    domain::{
        claim::Tenure,
        event::Events,
        problem::{Class, Problem, Result},
    },
    process::{Marker, end_marked, uptime},
};

/// Waits for the claim. Who waits as long as it takes also waits for a centre that is away.
async fn claim(center: &Center, wanted: &Wanted, events: &Events, cancel: &CancellationToken) -> Result<Hold> {
    loop {
        match center.claim(wanted, events, cancel).await {
            Err(problem) if wanted.wait.is_none() && problem.class() == Class::Transient && !cancel.is_cancelled() => {
                again(problem, wanted, events, cancel).await;
            }
            claimed => return claimed,
        }
    }
}

/// Holds the claim until the guard is done: `guard` gives the marker of what it starts, then nothing, and ends with the guard itself. `say`
/// tells the guard how long the claim may be counted on. Whatever the guard left running is ended before the claim is given back.
pub async fn keep(
    center: &Center,
    wanted: &Wanted,
    mut guard: UnboundedReceiver<String>,
    say: impl Fn(&Tenure),
    events: &Events,
    cancel: &CancellationToken,
) -> Result<()> {
    let Some(marker) = guard.recv().await.map(|line| Marker::of(&line)) else { return Ok(()) };
    let hold = tokio::select! {
        hold = claim(center, wanted, events, cancel) => hold?,
        _ = guard.recv() => return Ok(()),
    };
    let (timing, token) = (wanted.timing, hold.tenure().token);
    events.note(format!("{} is ours, with fencing token {token}", wanted.claim.words()));
    let mut told = None;
    let lost: Problem = loop {
        let tenure = hold.tenure();
        if told != Some(tenure) {
            say(&tenure);
            told = Some(tenure);
        }
        tokio::select! {
            biased;
            () = hold.lost().cancelled() => break wanted.claim.lost("another took it, or it could not be renewed in time"),
            _ = guard.recv() => {
                end_marked(marker, timing.grace()).await;
                hold.release().await;
                return Ok(());
            }
            () = sleep(timing.tick()) => if uptime() >= hold.tenure().until {
                break wanted.claim.lost("it was not renewed in time");
            },
        }
    };
    end_marked(marker, timing.grace()).await;
    Err(lost)
}

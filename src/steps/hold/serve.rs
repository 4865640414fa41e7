//! The lead, told to whoever asks: `lead NAME --http :8099`. Nothing has to be ended: an answer is given by the clock at that moment.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::again;
use crate::{
    center::{Center, Hold, Wanted},
    domain::{
        claim::Tenure,
        event::Events,
        problem::{Class, Result},
    },
    net::{Answer, Server},
    process::uptime,
};

/// What the lead is worth now; None while another has it.
type Shared = Arc<Mutex<Option<Tenure>>>;

/// Stands for the lead again and again, and answers at `/leader` with 200 or 503, until it is cancelled.
pub async fn serve(center: &Center, wanted: &Wanted, address: &str, events: &Events, cancel: &CancellationToken) -> Result<()> {
    let server = Server::bind(address).await?;
    events.note(format!("http://{}/leader tells whether {} is ours", server.address(), wanted.claim.words()));
    let shared = Shared::default();
    let told = shared.clone();
    let answering = server.answer(move |path| match path {
        "/leader" => Some(leader(*told.lock().unwrap_or_else(PoisonError::into_inner), uptime())),
        "/healthz" => Some((200, "{}\n".to_string())),
        _ => None,
    });
    tokio::select! {
        () = answering => Ok(()),
        ended = stand(center, wanted, &shared, events, cancel) => ended,
    }
}

/// `seconds` is how long the answer may be counted on, unless a later one says more.
fn leader(tenure: Option<Tenure>, now: Duration) -> Answer {
    match tenure {
        Some(Tenure { token, until }) if now < until => {
            (200, format!("{}\n", json!({"leader": true, "token": token, "seconds": (until - now).as_secs_f64()})))
        }
        _ => (503, format!("{}\n", json!({"leader": false}))),
    }
}

async fn stand(center: &Center, wanted: &Wanted, shared: &Shared, events: &Events, cancel: &CancellationToken) -> Result<()> {
    while !cancel.is_cancelled() {
        match center.claim(wanted, events, cancel).await {
            Ok(hold) => lead(hold, wanted, shared, events, cancel).await,
            Err(problem) if cancel.is_cancelled() => tracing::debug!(%problem, "no longer waits for the lead"),
            // whoever asks meanwhile is told that the lead is not ours
            Err(problem) if problem.class() == Class::Transient => again(problem, wanted, events, cancel).await,
            Err(problem) => return Err(problem),
        }
    }
    Ok(())
}

/// Until it is lost, or until we are to end: then others have it at once.
async fn lead(hold: Hold, wanted: &Wanted, shared: &Shared, events: &Events, cancel: &CancellationToken) {
    let tell = |tenure: Option<Tenure>| *shared.lock().unwrap_or_else(PoisonError::into_inner) = tenure;
    events.note(format!("{} is ours, with fencing token {}", wanted.claim.words(), hold.tenure().token));
    loop {
        tell(Some(hold.tenure()));
        tokio::select! {
            biased;
            () = hold.lost().cancelled() => {
                tell(None);
                let lost = wanted.claim.words();
                events.warning(format!("{lost} was lost: another took it, or it could not be renewed in time"), "nothing: it is stood for again");
                return;
            }
            () = cancel.cancelled() => {
                tell(None);
                hold.release().await;
                return;
            }
            () = sleep(wanted.timing.tick()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_by_the_clock_of_its_moment() {
        let tenure = Some(Tenure { token: 3, until: Duration::from_secs(10) });
        let (status, text) = leader(tenure, Duration::from_secs(8));
        assert_eq!((status, text.as_str()), (200, "{\"leader\":true,\"token\":3,\"seconds\":2.0}\n"));
        assert_eq!(leader(tenure, Duration::from_secs(10)).0, 503);
        assert_eq!(leader(None, Duration::ZERO), (503, "{\"leader\":false}\n".to_string()));
    }
}

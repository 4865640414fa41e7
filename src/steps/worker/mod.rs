//! `worker`: builds that are asked for by message. The ledger says which worker does a build, a process of its own does it, and a message is
//! acknowledged only when the ledger has the result. So whoever dies (a build, a worker, the broker), no build is lost, and none is
//! recorded twice.

mod child;
mod desk;
mod rooms;

use std::{
    path::{Path, absolute},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    child::Ordered,
    desk::{Desk, Identity},
    rooms::Rooms,
};
use super::identity::{self, Given};
use crate::{
    domain::{
        event::Events,
        order::check_pattern,
        problem::{Code, Problem, Result},
        units::{format_duration, parse_quantity},
    },
    queue::{Intake, Place},
    settings::Loaded,
};

/// Pauses between two attempts to reach the broker, the last of them for ever.
const PAUSES: [Duration; 4] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10)];
/// How much longer than a rollback a build may take to come to its end when it is told to.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Works until `cancel`, then ends what runs; `dir` is what paths of the settings are relative to.
///
/// # Errors
/// Settings that are missing, and what the broker and the ledger answer at the start; later both are waited for.
pub async fn work(loaded: &Loaded, dir: &Path, events: &Events, cancel: &CancellationToken) -> Result<()> {
    let settings = &loaded.settings;
    let worker = &settings.worker;
    let place = place(loaded, dir)?;
    let desk = Arc::new(desk(loaded, dir, events, cancel).await?);
    let mut intake = Intake::open(&place, &worker.queue, worker.parallel).await?;
    desk.answers_go_to(&intake);
    events.note(format!("{} waits for builds in {}, {} at a time", desk.name, worker.queue, worker.parallel));
    let mut builds = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(_) = builds.join_next() => {}
            task = intake.next() => match task {
                Some(task) => drop(builds.spawn(desk.clone().handle(task))),
                None => {
                    intake.close().await;
                    let again = reach_again(&place, &desk, worker.parallel);
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => break,
                        again = again => intake = again,
                    }
                }
            },
        }
    }
    events.note(format!("no new builds are begun; {} have {} to end", builds.len(), format_duration(worker.drain)));
    intake.stop().await;
    if timeout(worker.drain, all(&mut builds)).await.is_err() {
        desk.stop.cancel();
        all(&mut builds).await;
    }
    intake.close().await;
    Ok(())
}

async fn all(builds: &mut JoinSet<()>) {
    while builds.join_next().await.is_some() {}
}

/// What runs goes on meanwhile: its message comes again, and finds the result in the ledger.
async fn reach_again(place: &Place, desk: &Desk, parallel: u16) -> Intake {
    let mut pauses = PAUSES.into_iter().chain(std::iter::repeat(PAUSES[PAUSES.len() - 1]));
    desk.events.warning("the connection to the broker of queue.url is gone", "nothing: it is made again; builds that run go on");
    loop {
        match Intake::open(place, &desk.orders.queue, parallel).await {
            Ok(intake) => {
                desk.answers_go_to(&intake);
                desk.events.note("the broker is back");
                return intake;
            }
            Err(problem) => tracing::debug!(%problem, "the broker is away still"),
        }
        sleep(pauses.next().unwrap_or_default()).await;
    }
}

fn place(loaded: &Loaded, dir: &Path) -> Result<Place> {
    let queue = &loaded.settings.queue;
    let missing = |what: &str, hint: &str| Problem::new(Code::SettingMissing, format!("a worker needs {what}")).hint(hint);
    let url = queue.url.clone().ok_or_else(|| missing("a message broker", "set queue.url (SHIPWAY_QUEUE_URL)"))?;
    if loaded.settings.worker.repositories.is_empty() {
        let hint = "set worker.repositories (SHIPWAY_WORKER_REPOSITORIES), such as https://git.example.test/trade/*";
        return Err(missing("to know which repositories it may build", hint));
    }
    for pattern in &loaded.settings.worker.repositories {
        check_pattern(pattern).map_err(|why| Problem::new(Code::SettingInvalid, format!("worker.repositories: {why}")))?;
    }
    Ok(Place { url, exchange: queue.exchange.clone(), ca: queue.ca.as_ref().map(|ca| dir.join(ca)) })
}

async fn desk(loaded: &Loaded, dir: &Path, events: &Events, cancel: &CancellationToken) -> Result<Desk> {
    let settings = &loaded.settings;
    let worker = &settings.worker;
    let ledger = super::ledger(loaded, dir).await?;
    let parent = worker.dir.as_ref().map_or_else(|| loaded.host.temp.clone(), |folder| dir.join(folder));
    let parent = absolute(&parent).map_err(|error| Problem::io("find", &parent, &error))?;
    let disk = parse_quantity(worker.disk.as_str()).unwrap_or(f64::MAX);
    let ordered = Ordered {
        env: child::environment(loaded, dir)?,
        timeout: worker.timeout,
        // a quantity of bytes
        disk: disk as u64,
        grace: settings.rollback.timeout + LAST_WORDS,
    };
    let name = format!("{}-{}", loaded.host.hostname.as_deref().unwrap_or("worker"), std::process::id());
    Ok(Desk::new(name, ledger, settings, ordered, Rooms::open(&parent)?, events, cancel)?.proving(identity(loaded, dir)?))
}

fn identity(loaded: &Loaded, dir: &Path) -> Result<Option<Identity>> {
    let Some(address) = loaded.settings.identity.issuer.as_deref() else { return Ok(None) };
    let issuer = identity::issuer(&Given::loaded(loaded, dir), address)?;
    Ok(Some(Identity { issuer, repositories: identity::repositories(&loaded.settings, address) }))
}

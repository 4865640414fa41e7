//! A claim that is held on ZooKeeper, for as long as our session certainly lives; `domain::claim` has the times.

use std::time::Duration;

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use zookeeper_client::{Client, Error};

use super::{Session, Zookeeper, queue::Queue};
use crate::{
    center::Wanted,
    cluster::Fence,
    domain::{
        claim::SessionTiming,
        event::Events,
        problem::{Code, Problem, Result},
        units::format_duration,
    },
    process::uptime,
};

/// How long giving it back may take; after that the end of the session does it.
const FAREWELL: Duration = Duration::from_secs(3);

/// The claim, held. Dropping it without [`Held::release`] ends the session with it, too, unless the network does not let it.
pub struct Held {
    client: Client,
    path: String,
    fence: Fence,
    token: u64,
    stop: DropGuard,
    renewal: JoinHandle<()>,
}

impl Zookeeper {
    /// Waits for a claim and takes it, with a session of its own.
    pub(in crate::center) async fn claim(&self, wanted: &Wanted, events: &Events, cancel: &CancellationToken) -> Result<Held> {
        let timing = SessionTiming { ttl: wanted.timing.ttl };
        let session = tokio::select! {
            session = self.session(timing.session()) => session?,
            () = cancel.cancelled() => return Err(Problem::new(Code::Cancelled, "cancelled while connecting; nothing was changed")),
        };
        check_lifetime(session.client.session_timeout(), timing)?;
        let path = Queue::new(&session, wanted, events).turn(cancel).await?;
        Held::begin(session, path, wanted, timing).await
    }
}

/// A session that ends sooner than was asked for would end before the command does.
fn check_lifetime(granted: Duration, timing: SessionTiming) -> Result<()> {
    if granted + Duration::from_millis(1) >= timing.session() {
        return Ok(());
    }
    let longest = Duration::from_secs((granted * 6 / 5).as_secs());
    let (ttl, granted) = (format_duration(timing.ttl), format_duration(granted));
    let message = format!("lock.ttl is {ttl}, but ZooKeeper lets no session outlive its client for more than {granted}");
    Err(Problem::new(Code::SettingInvalid, message)
        .hint(format!("set lock.ttl to {} at most, or raise maxSessionTimeout of the servers", format_duration(longest))))
}

impl Held {
    async fn begin(session: Session, path: String, wanted: &Wanted, timing: SessionTiming) -> Result<Held> {
        let holder = wanted.holder.as_bytes();
        let deadline = Instant::now() + timing.ttl;
        let (sent, stat) = loop {
            let sent = uptime();
            match timeout(timing.renewal(), session.client.set_data(&path, holder, None)).await {
                Ok(Ok(stat)) => break (sent, stat),
                Ok(Err(error)) if is_over(&error) => {
                    return Err(session.address.unreachable("the session expired in the moment in which it was our turn"));
                }
                Ok(Err(error)) if !super::is_unsure(&error) => return Err(session.address.problem("take the claim", &error)),
                _ if Instant::now() >= deadline => return Err(session.address.unreachable("no answer in time")),
                _ => sleep_until(Instant::now() + super::PAUSE).await,
            }
        };
        let fence = Fence::new(&path, timing.tenure(), sent);
        let stop = CancellationToken::new();
        let renewal = renew(session.client.clone(), path.clone(), holder.to_vec(), timing, fence.clone(), stop.clone());
        let token = u64::try_from(stat.czxid).unwrap_or(0);
        Ok(Held { client: session.client, path, fence, token, stop: stop.drop_guard(), renewal: tokio::spawn(renewal) })
    }

    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The transaction that made our place in the queue: nobody who comes later has a lower one.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Gives it back, by a request, and ends the session.
    pub async fn release(self) {
        drop(self.stop);
        let _ = self.renewal.await;
        if self.fence.lost().is_cancelled() {
            return;
        }
        let given_back = async {
            loop {
                match self.client.delete(&self.path, None).await {
                    Err(error) if super::is_unsure(&error) => sleep(super::PAUSE).await,
                    answer => return matches!(answer, Ok(()) | Err(Error::NoNode)),
                }
            }
        };
        if !timeout(FAREWELL, given_back).await.unwrap_or(false) {
            tracing::warn!(path = self.path, "the claim was not given back and ends with its session");
        }
    }
}

/// Our node is gone, or goes.
fn is_over(error: &Error) -> bool {
    matches!(error, Error::NoNode | Error::SessionExpired | Error::ClientClosed | Error::AuthFailed)
}

/// Writes our node again and again. Pings do not do: a server that is cut off from the others answers them for a while.
async fn renew(client: Client, path: String, holder: Vec<u8>, timing: SessionTiming, fence: Fence, stop: CancellationToken) {
    let mut next = Instant::now() + timing.renewal();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(next) => {}
        }
        let (began, sent) = (Instant::now(), uptime());
        let limit = timing.renewal().min(fence.left());
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = timeout(limit, client.set_data(&path, &holder, None)) => answer,
        };
        match answer {
            Ok(Ok(_)) => {
                fence.renew(sent);
                next = began + timing.renewal();
                continue;
            }
            Ok(Err(error)) if is_over(&error) => return fence.lost().cancel(),
            Ok(Err(_)) | Err(_) => {}
        }
        if fence.left().is_zero() {
            return fence.lost().cancel();
        }
        next = Instant::now() + super::PAUSE.min(fence.left());
    }
}

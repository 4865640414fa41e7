//! What keeps a run without its lock from changing anything: asked before each change, whoever keeps the lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::problem::{Code, Problem, Result},
    process::uptime,
};

/// So many times its tenure a patient lock's renewal is waited for.
const PATIENCE: u32 = 2;

/// Says whether the lock still holds: nothing is changed any more once it does not.
#[derive(Clone)]
pub struct Fence {
    pub(super) name: Arc<str>,
    lost: CancellationToken,
    /// When the last renewal that succeeded was sent, in nanoseconds of [`uptime`].
    renewed: Arc<AtomicU64>,
    pub(super) tenure: Duration,
    pub(super) patient: bool,
    /// Told of each renewal.
    news: Arc<Notify>,
}

impl Fence {
    /// A lock of that name, counted on for `tenure` from the moment `sent` of [`uptime`].
    pub fn new(name: &str, tenure: Duration, sent: Duration) -> Self {
        Fence::with(name, tenure, false, sent)
    }

    pub(super) fn with(name: &str, tenure: Duration, patient: bool, sent: Duration) -> Self {
        let fence =
            Fence { name: name.into(), lost: CancellationToken::new(), renewed: Arc::default(), tenure, patient, news: Arc::default() };
        fence.renew(sent);
        fence
    }

    /// A renewal that was sent at that moment has succeeded.
    pub fn renew(&self, sent: Duration) {
        self.renewed.store(u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.news.notify_waiters();
    }

    /// Until when it may be counted on, by [`uptime`], unless it is renewed before.
    pub fn until(&self) -> Duration {
        Duration::from_nanos(self.renewed.load(Ordering::SeqCst)) + self.tenure
    }

    /// Cancelled by whoever renews it, once it is lost.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    pub fn left(&self) -> Duration {
        self.until().saturating_sub(uptime())
    }

    /// Fails with `lock-lost`. A process that was stopped for a while finds out here, before its renewal does.
    pub fn check(&self) -> Result<()> {
        if self.lost.is_cancelled() || self.left().is_zero() { Err(lost(&self.name)) } else { Ok(()) }
    }

    /// As [`Fence::check`]; a patient lock that could not be renewed in time may still be ours: its renewal is waited for.
    pub async fn hold(&self) -> Result<()> {
        let over = Instant::now() + self.tenure * PATIENCE;
        while self.patient && !self.lost.is_cancelled() && Instant::now() < over {
            let renewed = self.news.notified();
            if !self.left().is_zero() {
                break;
            }
            tokio::select! {
                () = renewed => {}
                () = self.lost.cancelled() => {}
                () = sleep_until(over) => {}
            }
        }
        self.check()
    }
}

/// The problem of a lock that was lost: whoever has it now decides what becomes of what we began.
pub(super) fn lost(name: &str) -> Problem {
    Problem::new(Code::LockLost, format!("the lock ({name}) was lost to another run, or could not be renewed")).unrestored()
}

//! Signals that are meant for a child that runs in our place.

use std::io::IsTerminal;

use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::domain::problem::{Problem, Result};

/// The signals that this process got since it listens, one after the other; none of them ends it any more.
pub struct Signals(mpsc::UnboundedReceiver<Signal>);

impl Signals {
    pub fn listen() -> Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for caught in [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1, Signal::USR2] {
            let failed = |error: std::io::Error| Problem::bug(format!("cannot listen to signals: {error}"));
            let mut stream = signal(SignalKind::from_raw(caught.as_raw())).map_err(failed)?;
            let sender = sender.clone();
            // a terminal's Ctrl-C reaches the child by itself: it is in our process group
            let told = caught == Signal::INT && std::io::stdin().is_terminal();
            tokio::spawn(async move { while stream.recv().await.is_some() && (told || sender.send(caught).is_ok()) {} });
        }
        Ok(Signals(receiver))
    }

    pub async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

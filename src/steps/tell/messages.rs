//! Carries the events of a run to the message broker: in their order, beside the run. What the broker has not confirmed when the run ends
//! waits in the outbox, and the next run sends it before its own.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

use super::super::unique::unique;
use crate::{
    domain::{
        digest::Digest,
        event::{Event, Events},
        problem::{Code, Problem, Result},
        redact::Redactor,
    },
    plan::Plan,
    queue::{Line, Message, Outbox, Place},
    report::{
        Recorder, Report,
        cloud_event::{CloudEvent, Number},
    },
};

/// Most events that wait in memory: a run has some twenty.
const MOST: usize = 1000;

/// The events of one run on their way to the broker.
pub(super) struct Messages {
    shared: Arc<Shared>,
    courier: Mutex<Option<JoinHandle<()>>>,
    recorder: Recorder,
    redactor: Redactor,
    events: Events,
}

/// What the run and the courier share.
struct Shared {
    run: String,
    place: Place,
    /// None: there is no folder that one could be in.
    outbox: Option<Outbox>,
    /// What the broker has not confirmed, the oldest first; with how many there were in all.
    pending: Mutex<(VecDeque<Message>, u64)>,
    wake: Notify,
    ended: AtomicBool,
    /// Why the last attempt did not succeed.
    failure: Mutex<Option<Problem>>,
}

impl Messages {
    /// None when no broker is set.
    pub fn start(plan: &Plan, recorder: &Recorder, redactor: &Redactor, events: &Events) -> Option<Messages> {
        let settings = &plan.settings.queue;
        let url = settings.url.clone()?;
        let place = Place { url, exchange: settings.exchange.clone(), ca: settings.ca.as_ref().map(|ca| plan.facts.dir.join(ca)) };
        let shared = Arc::new(Shared {
            run: run_id(),
            outbox: outbox(plan, &place),
            place,
            pending: Mutex::default(),
            wake: Notify::new(),
            ended: AtomicBool::new(false),
            failure: Mutex::default(),
        });
        let courier = tokio::spawn(shared.clone().carry());
        let (recorder, redactor, events) = (recorder.clone(), redactor.clone(), events.clone());
        Some(Messages { shared, courier: Mutex::new(Some(courier)), recorder, redactor, events })
    }

    /// Begins and ends of steps are told, the rest is not.
    pub fn hear(&self, event: &Event) {
        if !matches!(event, Event::StepStarted { .. } | Event::StepFinished { .. }) {
            return;
        }
        let Some(so_far) = self.recorder.so_far(&self.redactor) else { return };
        match event {
            Event::StepStarted { step } => self.shared.add(|number| CloudEvent::started(number, &so_far, *step)),
            Event::StepFinished { step, state, seconds, summary } => {
                self.shared.add(|number| CloudEvent::ended(number, &so_far, (*step, *state), *seconds, summary, &self.redactor));
            }
            _ => {}
        }
    }

    /// Tells the end, waits `patience` at most, and keeps for the next run what the broker did not confirm.
    pub async fn finish(&self, report: &Report, patience: Duration) {
        self.shared.add(|number| CloudEvent::finished(number, report));
        // in this order: whoever sees the end sees the last event, too
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.wake.notify_one();
        let courier = self.courier.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut courier) = courier
            && timeout(patience, &mut courier).await.is_err()
        {
            courier.abort();
            // it must be gone before what it holds is written down
            let _ = courier.await;
        }
        let left: Vec<Message> = self.shared.pending().0.drain(..).collect();
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if !left.is_empty() {
            self.keep(&left, failure);
        }
    }

    fn keep(&self, left: &[Message], failure: Option<Problem>) {
        let late = || Problem::new(Code::QueueUnreachable, "the broker of queue.url was not fast enough");
        let failure = failure.unwrap_or_else(late);
        let name = format!("{:013}-{}", Timestamp::now().as_millisecond(), self.shared.run);
        let kept = match &self.shared.outbox {
            Some(outbox) => outbox.keep(&name, left).map(|()| outbox.dir().display().to_string()),
            None => Err(Problem::new(Code::SettingMissing, "there is no folder to keep them in").hint("set queue.outbox")),
        };
        match kept {
            Ok(dir) => {
                let text = format!("{} events of this run wait in {dir}: {}", left.len(), failure.message);
                self.events.warning(text, failure.hint);
            }
            Err(problem) => {
                let text = format!("{} events of this run are lost: {}; {}", left.len(), failure.message, problem.message);
                self.events.warning(text, problem.hint);
            }
        }
    }
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, (VecDeque<Message>, u64)> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, event: impl FnOnce(Number<'_>) -> CloudEvent) {
        let mut pending = self.pending();
        pending.1 += 1;
        let event = event(Number { run: &self.run, number: pending.1, time: Timestamp::now() });
        if let Ok(body) = serde_json::to_string(&event)
            && pending.0.len() < MOST
        {
            pending.0.push_back(Message { key: event.routing_key(), id: event.id, body });
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// Sends what there is whenever something is added; whoever is away is asked again with the next event, and at the end.
    async fn carry(self: Arc<Self>) {
        let mut line = None;
        loop {
            let last = self.ended.load(Ordering::SeqCst);
            let sent = self.send(&mut line).await;
            if sent.is_err() {
                line = None;
            }
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = sent.err();
            if last {
                break;
            }
            self.wake.notified().await;
        }
        if let Some(line) = line {
            line.close().await;
        }
    }

    async fn send(&self, line: &mut Option<Line>) -> Result<()> {
        if self.pending().0.is_empty() {
            return Ok(());
        }
        let line = match line {
            Some(line) => line,
            None => {
                let new = line.insert(Line::connect(&self.place).await?);
                self.empty_outbox(new).await?;
                new
            }
        };
        loop {
            let Some(message) = self.pending().0.front().cloned() else { return Ok(()) };
            line.publish(&message).await?;
            self.pending().0.pop_front();
        }
    }

    /// What earlier runs left comes first.
    async fn empty_outbox(&self, line: &Line) -> Result<()> {
        let Some(waiting) = self.outbox.as_ref().map(Outbox::open).transpose()?.flatten() else { return Ok(()) };
        while let Some((file, messages)) = waiting.oldest()? {
            for (sent, message) in messages.iter().enumerate() {
                if let Err(problem) = line.publish(message).await {
                    waiting.leave(&file, &messages[sent..])?;
                    return Err(problem);
                }
            }
            waiting.leave(&file, &[])?;
        }
        Ok(())
    }
}

/// A folder for each broker and exchange, named by their digest: an address holds a password.
fn outbox(plan: &Plan, place: &Place) -> Option<Outbox> {
    let set = plan.settings.queue.outbox.as_ref().map(|dir| plan.facts.work_dir.join(dir));
    let dir = set.or_else(|| Some(plan.host.cache.as_ref()?.join("shipway/outbox")))?;
    let name = format!("{}\n{}", address(place), place.exchange);
    let digest = Digest::from_sha256(&Sha256::digest(name.as_bytes()));
    Some(Outbox::at(dir.join(&digest.hex()[..16])))
}

/// Without credentials: another password is the same broker.
fn address(place: &Place) -> String {
    let whole = place.url.expose();
    match whole.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => whole.to_string(),
    }
}

/// The same in no other run; without randomness the time tells runs apart.
fn run_id() -> String {
    unique().unwrap_or_else(|_| format!("{:032x}", Timestamp::now().as_nanosecond()))
}

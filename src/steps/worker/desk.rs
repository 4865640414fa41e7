//! What a worker does with one message.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    super::unique::unique,
    child::{Ordered, either},
    rooms::Rooms,
};
use crate::{
    domain::{
        event::Events,
        order::{Bounds, Order},
        problem::{Code, Problem, Result},
    },
    ledger::{Begun, Event, Finished, Ledger},
    queue::{Answers, Intake, Reply, Task},
    report::answer,
    settings::{self, Settings},
};

/// Pause before the ledger, or a build that another worker has, is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the last words of a build's progress may take.
const LAST: Duration = Duration::from_secs(5);

/// What all builds of a worker share.
pub(super) struct Desk {
    /// This worker, among others.
    pub name: String,
    pub orders: settings::WorkerSettings,
    pub events: Events,
    /// The builds that run are ended, too.
    pub stop: CancellationToken,
    ledger: Ledger,
    /// How long a claim outlives its holder.
    ttl: Duration,
    ordered: Ordered,
    rooms: Rooms,
    places: Semaphore,
    /// The way back, by the connection that there is now.
    answers: Mutex<Option<Answers>>,
    claims: AtomicU64,
    /// Nothing new is begun.
    drain: CancellationToken,
}

impl Desk {
    pub fn new(
        name: String,
        ledger: Ledger,
        settings: &Settings,
        ordered: Ordered,
        rooms: Rooms,
        events: &Events,
        drain: &CancellationToken,
    ) -> Desk {
        Desk {
            name,
            orders: settings.worker.clone(),
            events: events.clone(),
            stop: CancellationToken::new(),
            ledger,
            ttl: settings.lock.ttl,
            ordered,
            rooms,
            places: Semaphore::new(settings.worker.parallel.into()),
            answers: Mutex::default(),
            claims: AtomicU64::new(1),
            drain: drain.clone(),
        }
    }

    pub fn answers_go_to(&self, intake: &Intake) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = Some(intake.answers());
    }

    /// Takes a message to its end: acknowledged when the ledger has the result and whoever asked has it, too; else given back.
    pub async fn handle(self: Arc<Self>, task: Task) {
        let bounds = Bounds { repositories: self.orders.repositories.clone(), max_age: self.orders.max_age, now: Timestamp::now() };
        let done = match Order::read(&task.body, &bounds) {
            Err(problem) => self.refuse(&task, Order::id_of(&task.body), &problem).await,
            Ok(order) => match self.result_of(&order, &task).await {
                None => return task.give_back().await,
                Some(result) => self.deliver(&task, &order, &result).await,
            },
        };
        match done {
            Ok(()) => task.acknowledge().await,
            Err(problem) => {
                tracing::debug!(%problem, "the message will come again");
                sleep(AGAIN).await;
                task.give_back().await;
            }
        }
    }

    async fn refuse(&self, task: &Task, id: Option<String>, problem: &Problem) -> Result<()> {
        self.events.warning(format!("a message was put aside: {}", problem.message), problem.hint.clone());
        if problem.code == Code::OrderDenied {
            self.tell_ledger(task, id.as_deref(), problem).await;
        }
        self.way_back()?.bury(task, problem).await?;
        self.reply(task.reply.as_ref(), &answer::refused(id.as_deref(), &self.name, problem)).await
    }

    /// Somebody asked for what is not permitted; the refusal stands without its record.
    async fn tell_ledger(&self, task: &Task, id: Option<&str>, problem: &Problem) {
        let told = async {
            let detail = json!({"id": id, "allowed": false, "why": problem.message});
            let author = task.user.clone().unwrap_or_default();
            let (app, environment) = (String::new(), String::new());
            self.ledger.event(&Event { id: unique()?, kind: "order".to_string(), app, environment, author, detail }).await
        };
        if let Err(problem) = told.await {
            self.events.warning(format!("the ledger does not have this decision: {}", problem.message), problem.hint);
        }
    }

    async fn deliver(&self, task: &Task, order: &Order, result: &Value) -> Result<()> {
        if result["problem"]["code"] == Code::OrderGivenUp.slug() {
            self.way_back()?.bury(task, &given_up(self.orders.attempts)).await?;
        }
        self.reply(task.reply.as_ref(), &answer::done(&order.id, &self.name, result)).await
    }

    fn way_back(&self) -> Result<Answers> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        answers.ok_or_else(|| Problem::bug("a message came without a connection"))
    }

    async fn reply(&self, reply: Option<&Reply>, body: &Value) -> Result<()> {
        match reply {
            Some(reply) => self.way_back()?.reply(reply, &body.to_string()).await,
            None => Ok(()),
        }
    }

    /// The result that the ledger has in the end, by this worker or another; None when this one is to end before.
    async fn result_of(self: &Arc<Self>, order: &Order, task: &Task) -> Option<Value> {
        let holder = format!("{}-{}", self.name, self.claims.fetch_add(1, Ordering::Relaxed));
        let mut told = false;
        loop {
            let place = tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                place = self.places.acquire() => place.ok()?,
            };
            let pause = match self.ledger.begin(&order.id, &holder, self.ttl).await {
                Ok(Begun::AlreadyDone(result)) => return Some(result),
                Ok(Begun::New { attempt }) => return self.build(order, task, &holder, attempt).await,
                Ok(Begun::AlreadyRunning { left, .. }) => left.min(AGAIN),
                Err(problem) => {
                    if !std::mem::replace(&mut told, true) {
                        let text = format!("the build {} waits for the ledger: {}", order.id, problem.message);
                        self.events.warning(text, problem.hint);
                    }
                    AGAIN
                }
            };
            drop(place);
            tokio::select! {
                () = self.drain.cancelled() => return None,
                () = sleep(pause.max(Duration::from_millis(50))) => {}
            }
            if !task.is_ours() {
                return None;
            }
        }
    }

    /// Does the build under a claim that is kept until the ledger has the result.
    async fn build(self: &Arc<Self>, order: &Order, task: &Task, holder: &str, attempt: i64) -> Option<Value> {
        let lost = CancellationToken::new();
        let _keeper =
            AbortOnDropHandle::new(tokio::spawn(keep(self.ledger.clone(), order.id.clone(), holder.to_string(), self.ttl, lost.clone())));
        let result = match attempt > i64::from(self.orders.attempts) {
            true => Some(answer::failed(&given_up(self.orders.attempts))),
            false => self.attempt(order, task, attempt, &lost).await,
        };
        let recorded = match result {
            Some(result) => self.record(order, holder, result).await,
            None => None,
        };
        if recorded.is_none() && !lost.is_cancelled() {
            // the next who asks has it at once
            let _ = self.ledger.give_up(&order.id, holder).await;
        }
        recorded
    }

    async fn attempt(self: &Arc<Self>, order: &Order, task: &Task, attempt: i64, lost: &CancellationToken) -> Option<Value> {
        self.events.note(format!("build {} of {} begins, attempt {attempt}", order.id, order.url));
        let (progress, heard) = mpsc::unbounded_channel();
        drop(progress.send(answer::started(&order.id, &self.name, attempt)));
        let telling = AbortOnDropHandle::new(tokio::spawn(self.clone().tell(task.reply.clone(), heard)));
        let tell = |step| drop(progress.send(answer::stepped(&order.id, &self.name, step)));
        let done = match self.rooms.room() {
            Ok(room) => self.ordered.run(order, task.user.as_deref(), &room, tell, either(lost, &self.stop)).await,
            Err(problem) => Err(problem),
        };
        drop(progress);
        let _ = timeout(LAST, telling).await;
        let result = done.unwrap_or_else(|problem| Some(answer::failed(&problem)));
        let end = result.as_ref().map_or_else(|| "was stopped without a result".to_string(), answer::words);
        self.events.note(format!("build {} {end}", order.id));
        result
    }

    /// Progress is told beside the build; what does not arrive is not told again.
    async fn tell(self: Arc<Self>, reply: Option<Reply>, mut heard: mpsc::UnboundedReceiver<Value>) {
        while let Some(answer) = heard.recv().await {
            let _ = self.reply(reply.as_ref(), &answer).await;
        }
    }

    /// Tries until the ledger has the result.
    async fn record(&self, order: &Order, holder: &str, result: Value) -> Option<Value> {
        let mut told = false;
        loop {
            match self.ledger.finish(&order.id, holder, &result).await {
                Ok(Finished::Recorded) => return Some(result),
                Ok(Finished::Already(other)) => return Some(other),
                Ok(Finished::Lost) => return None,
                Err(problem) if !std::mem::replace(&mut told, true) => {
                    let text = format!("the result of build {} waits for the ledger: {}", order.id, problem.message);
                    self.events.warning(text, problem.hint);
                }
                Err(_) => {}
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = sleep(AGAIN) => {}
            }
        }
    }
}

/// Keeps a claim until this is dropped; a ledger that is away gives it to nobody else meanwhile.
async fn keep(ledger: Ledger, key: String, holder: String, ttl: Duration, lost: CancellationToken) {
    loop {
        sleep(ttl / 3).await;
        if let Ok(false) = ledger.keep(&key, &holder, ttl).await {
            return lost.cancel();
        }
    }
}

fn given_up(attempts: u32) -> Problem {
    Problem::new(Code::OrderGivenUp, format!("the build did not come to an end {attempts} times, since its worker ended first"))
}

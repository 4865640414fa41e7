//! What a worker does with one message.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    super::{ledger::tell, unique::unique},
    child::{Ordered, either},
    rooms::Rooms,
};
use crate::{
    domain::{
        digest::Digest,
        event::Events,
        identity::{Asker, Proof},
        order::{Bounds, Order},
        policy::Target,
        problem::{Class, Code, Problem, Result},
    },
    issuer::Issuer,
    ledger::{Begun, Finished, Ledger},
    queue::{Answers, Intake, Reply, Task},
    report::answer,
    settings::{self, Settings},
};

/// Pause before the ledger, or a build that another worker has, is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// Characters that tell this worker from an earlier one of the same name: a pod that was restarted has its name and its process' number again.
const MARK: usize = 8;
/// How long the last words of a build's progress may take.
const LAST: Duration = Duration::from_secs(5);

/// What becomes of a message.
enum Outcome {
    Done(Value),
    Refused(Problem),
    /// This worker ends before it is done, or it is on its way to another already.
    Later,
}

/// What all builds of a worker share.
pub(super) struct Desk {
    /// This worker, among others.
    pub name: String,
    pub orders: settings::WorkerSettings,
    pub events: Events,
    /// The builds that run are ended, too.
    pub stop: CancellationToken,
    ledger: Ledger,
    /// No other worker's claims have it, nor those of one that had the same name before.
    mark: String,
    /// How long a claim outlives its holder.
    ttl: Duration,
    ordered: Ordered,
    identity: Option<Identity>,
    rooms: Rooms,
    places: Semaphore,
    /// The way back, by the connection that there is now.
    answers: Mutex<Option<Answers>>,
    claims: AtomicU64,
    /// It is said already that who asks cannot be proved.
    told: AtomicBool,
    /// Nothing new is begun.
    drain: CancellationToken,
}

/// Who proves who asks.
pub(super) struct Identity {
    pub issuer: Issuer,
    /// What stands before a project's path in the addresses of its repositories.
    pub repositories: Vec<String>,
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
    ) -> Result<Desk> {
        Ok(Desk {
            name,
            orders: settings.worker.clone(),
            events: events.clone(),
            stop: CancellationToken::new(),
            // a call that takes longer would find the claim gone
            ledger: ledger.within(settings.ledger.timeout.min(settings.lock.ttl / 3)),
            mark: unique()?.chars().take(MARK).collect(),
            ttl: settings.lock.ttl,
            ordered,
            identity: None,
            rooms,
            places: Semaphore::new(settings.worker.parallel.into()),
            answers: Mutex::default(),
            claims: AtomicU64::new(1),
            told: AtomicBool::new(false),
            drain: drain.clone(),
        })
    }

    /// Builds for messages with a token only that proves who asks.
    pub fn proving(self, identity: Option<Identity>) -> Desk {
        Desk { identity, ..self }
    }

    pub fn answers_go_to(&self, intake: &Intake) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = Some(intake.answers());
    }

    /// Takes a message to its end: acknowledged when the ledger has the result and whoever asked has it, too; else given back.
    pub async fn handle(self: Arc<Self>, task: Task) {
        let done = AssertUnwindSafe(self.work_on(&task)).catch_unwind().await;
        match done {
            Ok(Ok(true)) => task.acknowledge().await,
            Ok(Ok(false)) => task.give_back().await,
            Ok(Err(problem)) => {
                tracing::debug!(%problem, "the message will come again");
                sleep(AGAIN).await;
                task.give_back().await;
            }
            Err(_) => {
                self.events
                    .warning("a bug of ours ended the work on a message; it goes back to the queue", "report it, with what was printed");
                sleep(AGAIN).await;
                task.give_back().await;
            }
        }
    }

    /// Whether the message is done with.
    async fn work_on(self: &Arc<Self>, task: &Task) -> Result<bool> {
        let bounds = Bounds { repositories: self.orders.repositories.clone(), max_age: self.orders.max_age, now: Timestamp::now() };
        let order = match Order::read(&task.body, &bounds) {
            Ok(order) => order,
            Err(problem) => return self.refuse(task, Order::id_of(&task.body), &problem).await.map(|()| true),
        };
        if let Err(problem) = order.check_time(&bounds)
            && !self.ledger.knows(&order.id).await?
        {
            return self.refuse(task, Some(order.id), &problem).await.map(|()| true);
        }
        let id = order.id.clone();
        let (order, asker) = match self.identify(order, task).await {
            Ok(identified) => identified,
            Err(problem) if problem.class() == Class::Transient => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    self.events.warning(format!("builds wait: {}", problem.message), problem.hint.clone());
                }
                return Err(problem);
            }
            Err(problem) => return self.refuse(task, Some(id), &problem).await.map(|()| true),
        };
        match self.result_of(&order, &asker, task).await {
            Outcome::Done(result) => self.deliver(task, &order, &result).await.map(|()| true),
            Outcome::Refused(problem) => self.refuse(task, Some(order.id), &problem).await.map(|()| true),
            Outcome::Later => Ok(false),
        }
    }

    /// Who asks: with an issuer it is who the message's token is of, and nobody else; without, it is the broker's word.
    async fn identify(&self, order: Order, task: &Task) -> Result<(Order, Asker)> {
        let Some(identity) = &self.identity else {
            let proof = if task.user.is_some() { Proof::Broker } else { Proof::Claim };
            return Ok((order, Asker { proof, ..Asker::claimed(task.user.as_deref()) }));
        };
        let token = task.token.as_ref().ok_or_else(|| Problem::new(Code::IdentityMissing, "the message has no identity token"))?;
        let claims = match identity.issuer.verify(token, true).await {
            // what is known was in time when it was begun; its content and who asked are compared there
            Err(problem) if problem.code == Code::IdentityExpired && self.ledger.knows(&order.id).await? => {
                identity.issuer.verify(token, false).await?
            }
            verified => verified?,
        };
        self.told.store(false, Ordering::Relaxed);
        let reference = claims.speaks_for(&order.url, order.reference.as_deref(), &identity.repositories)?;
        Ok((Order { reference: Some(reference), ..order }, claims.asker()))
    }

    async fn refuse(&self, task: &Task, id: Option<String>, problem: &Problem) -> Result<()> {
        self.events.warning(format!("a message was put aside: {}", problem.message), problem.hint.clone());
        if problem.class() == Class::Auth {
            self.tell_ledger(task, id.as_deref(), problem).await;
        }
        self.way_back()?.bury(task, problem).await?;
        self.reply(task.reply.as_ref(), &answer::refused(id.as_deref(), &self.name, problem)).await
    }

    /// Somebody asked for what is not permitted; the refusal stands without its record.
    async fn tell_ledger(&self, task: &Task, id: Option<&str>, problem: &Problem) {
        let told = async {
            let detail = json!({"id": id, "allowed": false, "code": problem.code.slug(), "why": problem.message});
            let author = task.user.clone().unwrap_or_default();
            tell(&self.ledger, "order", &Target::default(), &author, detail).await
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
            // an answer that asked for a build would go round for ever
            Some(reply) if reply.is_to(&self.orders.queue) => Ok(()),
            Some(reply) => self.way_back()?.reply(reply, &body.to_string()).await,
            None => Ok(()),
        }
    }

    /// The result that the ledger has in the end, by this worker or another.
    async fn result_of(self: &Arc<Self>, order: &Order, asker: &Asker, task: &Task) -> Outcome {
        let holder = format!("{}-{}-{}", self.name, self.mark, self.claims.fetch_add(1, Ordering::Relaxed));
        let content = Digest::from_sha256(&Sha256::digest(order.content(asker.named()).as_bytes()));
        let mut told = false;
        let mut aside = None;
        loop {
            let place = tokio::select! {
                biased;
                () = self.drain.cancelled() => return Outcome::Later,
                place = self.places.acquire() => place,
            };
            let pause = match self.ledger.begin(&order.id, content.hex(), &holder, self.ttl).await {
                Ok(Begun::AlreadyDone(result)) => return Outcome::Done(result),
                Ok(Begun::Another) => return Outcome::Refused(taken(&order.id)),
                Ok(Begun::New { attempt }) => {
                    return self.build(order, asker, task, (&holder, attempt)).await.map_or(Outcome::Later, Outcome::Done);
                }
                Ok(Begun::AlreadyRunning { left, .. }) => {
                    // whoever has nothing else to do takes another message meanwhile
                    aside.get_or_insert_with(|| task.step_aside());
                    left.min(AGAIN)
                }
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
                () = self.drain.cancelled() => return Outcome::Later,
                () = sleep(pause.max(Duration::from_millis(50))) => {}
            }
            if !task.is_ours() {
                return Outcome::Later;
            }
        }
    }

    /// Does the build under a claim that is kept until the ledger has the result.
    async fn build(self: &Arc<Self>, order: &Order, asker: &Asker, task: &Task, (holder, attempt): (&str, i64)) -> Option<Value> {
        let lost = CancellationToken::new();
        let _keeper =
            AbortOnDropHandle::new(tokio::spawn(keep(self.ledger.clone(), order.id.clone(), holder.to_string(), self.ttl, lost.clone())));
        let result = match attempt > i64::from(self.orders.attempts) {
            true => Some(answer::failed(&given_up(self.orders.attempts))),
            false => self.attempt(order, asker, task, attempt, &lost).await,
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

    async fn attempt(self: &Arc<Self>, order: &Order, asker: &Asker, task: &Task, attempt: i64, lost: &CancellationToken) -> Option<Value> {
        self.events.note(format!("build {} of {} begins, attempt {attempt}", order.id, order.url));
        let (progress, heard) = mpsc::unbounded_channel();
        drop(progress.send(answer::started(&order.id, &self.name, attempt)));
        let telling = AbortOnDropHandle::new(tokio::spawn(self.clone().tell(task.reply.clone(), heard)));
        let tell = |step| drop(progress.send(answer::stepped(&order.id, &self.name, step)));
        let done = match self.rooms.room() {
            Ok(room) => self.ordered.run(order, asker, &room, tell, either(lost, &self.stop)).await,
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
    let mut pause = ttl / 3;
    loop {
        sleep(pause).await;
        pause = match ledger.keep(&key, &holder, ttl).await {
            Ok(true) => ttl / 3,
            Ok(false) => return lost.cancel(),
            // what is left of the claim is not waited away
            Err(_) => ttl / 15,
        };
    }
}

fn taken(id: &str) -> Problem {
    Problem::new(
        Code::OrderTaken,
        format!("the id {id} is that of another build: it asks for something else, or somebody else asked for it"),
    )
}

fn given_up(attempts: u32) -> Problem {
    Problem::new(Code::OrderGivenUp, format!("the build did not come to an end {attempts} times, since its worker ended first"))
}

//! Messages that ask for work: each is taken by one worker at a time, and stays with the broker until it is acknowledged.

use std::sync::Arc;

use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use lapin::{
    Acker, BasicProperties, Channel, Connection,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{PATIENCE, PERSISTENT, Place, asked, confirming, connection, unreachable_because};
use crate::domain::{
    problem::{Problem, Result},
    secret::Secret,
};

/// Header of a dead letter that says why, by the problem's slug; the other one says it in a sentence.
const SLUG: &str = "x-shipway-code";
const REASON: &str = "x-shipway-reason";
/// Bytes that the message had, where not all of them are kept.
const LENGTH: &str = "x-shipway-length";
/// Most bytes of a message that are kept.
const KEPT: usize = 64 << 10;
/// Whoever sends copies without end gets no more channels than this.
const MOST_ASIDE: usize = 32;
/// Stands behind the name of the queue, for its dead letters.
const DEAD: &str = ".dead";
/// Header of the identity token: in the body a dead letter would keep it.
const TOKEN: &str = "x-shipway-identity-token";
/// Longest reason, characters: headers are no place for more.
const LONGEST: usize = 1000;

/// A connection that brings messages.
pub struct Intake {
    source: Arc<Source>,
    channel: Channel,
    tag: ShortString,
    bringing: SelectAll<Bringing>,
    /// What brings messages in the place of those that stepped aside.
    more: UnboundedReceiver<Bringing>,
    answers: Answers,
    /// The broker did not hear what became of a message: it would keep the place of that one as long as the connection lasts.
    broken: CancellationToken,
}

/// One message. What is not acknowledged goes to another worker when the connection ends.
pub struct Task {
    pub body: Vec<u8>,
    /// Where answers go; none are wanted without.
    pub reply: Option<Reply>,
    /// Whose it is: the broker takes no message that names another user than the one that sends it.
    pub user: Option<String>,
    /// A token of the asker's CI.
    pub token: Option<Secret>,
    /// Somebody has had it before.
    pub again: bool,
    acker: Acker,
    broken: CancellationToken,
    source: Arc<Source>,
    /// It lives as long as what came by it.
    _channel: Channel,
}

/// Messages as they come, each with its channel.
type Bringing = BoxStream<'static, (Channel, lapin::Result<Delivery>)>;

/// Where more messages come from.
struct Source {
    connection: Arc<Connection>,
    queue: String,
    more: UnboundedSender<Bringing>,
    /// As many as may step aside at once.
    aside: Arc<Semaphore>,
}

/// Where the answers to a message go.
#[derive(Debug, Clone)]
pub struct Reply {
    queue: String,
    /// What the asker knows the answer by.
    correlation: Option<String>,
}

/// The way back: answers and dead letters, each confirmed by the broker.
#[derive(Clone)]
pub struct Answers {
    channel: Channel,
    dead: String,
}

impl Intake {
    /// Connects, and declares the queue and the one for dead letters (the same name with `.dead` behind it) where they are not there;
    /// `at_once` is how many messages are brought before one is acknowledged.
    ///
    /// # Errors
    /// `queue-unreachable` and `queue-denied`.
    pub async fn open(place: &Place, queue: &str, at_once: u16) -> Result<Intake> {
        let connection = Arc::new(connection(place).await?);
        let dead = format!("{queue}{DEAD}");
        for name in [queue, &dead] {
            declare(&connection, name).await?;
        }
        let answers = Answers { channel: confirming(&connection).await?, dead };
        let (channel, tag, bringing) = bring(&connection, queue, at_once).await?;
        let (sender, more) = unbounded_channel();
        let source = Arc::new(Source { connection, queue: queue.to_string(), more: sender, aside: Arc::new(Semaphore::new(MOST_ASIDE)) });
        Ok(Intake { source, channel, tag, bringing: [bringing].into_iter().collect(), more, answers, broken: CancellationToken::new() })
    }

    /// The next message; None: the connection is gone, or has to be.
    pub async fn next(&mut self) -> Option<Task> {
        loop {
            let (channel, delivery) = tokio::select! {
                biased;
                () = self.broken.cancelled() => return None,
                Some(more) = self.more.recv() => {
                    self.bringing.push(more);
                    continue;
                }
                next = self.bringing.next() => next?,
            };
            match delivery {
                Ok(delivery) => return Some(self.task(channel, delivery)),
                Err(error) => {
                    tracing::debug!(%error, "the broker brings no more messages");
                    return None;
                }
            }
        }
    }

    fn task(&self, channel: Channel, delivery: Delivery) -> Task {
        let correlation = delivery.properties.correlation_id().as_ref().map(ToString::to_string);
        let user = delivery.properties.user_id().as_ref().map(ToString::to_string);
        let headers = delivery.properties.headers().as_ref();
        let token = headers.and_then(|headers| headers.inner().get(TOKEN)?.as_long_string().map(|text| Secret::new(text.to_string())));
        let reply = delivery.properties.reply_to().as_ref().map(ToString::to_string).filter(|queue| !queue.is_empty());
        Task {
            body: delivery.data,
            reply: reply.map(|queue| Reply { queue, correlation }),
            user,
            token,
            again: delivery.redelivered,
            acker: delivery.acker,
            broken: self.broken.clone(),
            source: self.source.clone(),
            _channel: channel,
        }
    }

    /// Takes no more; what has come already and is not taken goes to others.
    pub async fn stop(&mut self) {
        let stopping = self.channel.basic_cancel(self.tag.clone(), BasicCancelOptions::default());
        if let Err(problem) = asked("bring no more", stopping).await {
            tracing::debug!(%problem, "the broker may bring more");
            return;
        }
        // the broker has said that nothing comes any more, but for those that have stepped aside and end now
        let _ = timeout(PATIENCE, async {
            while let Some(task) = self.next().await {
                task.give_back().await;
            }
        })
        .await;
    }

    pub fn answers(&self) -> Answers {
        self.answers.clone()
    }

    /// Gives everything back that is not acknowledged. One that does not answer is left.
    pub async fn close(&self) {
        if let Err(problem) = asked("close", self.source.connection.close(200, "done".into())).await {
            tracing::debug!(%problem, "the broker did not say goodbye");
        }
    }
}

/// Has messages brought, so many before one is acknowledged, by a channel of their own.
async fn bring(connection: &Connection, queue: &str, at_once: u16) -> Result<(Channel, ShortString, Bringing)> {
    let channel = asked("open a channel", connection.create_channel()).await?;
    asked("bring messages", channel.basic_qos(at_once, BasicQosOptions::default())).await?;
    let consuming = channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let consumer = asked("bring messages", consuming).await?;
    let (tag, by) = (consumer.tag(), channel.clone());
    Ok((channel, tag, consumer.map(move |delivery| (by.clone(), delivery)).boxed()))
}

/// A queue that is there stays as its owner made it.
async fn declare(connection: &Connection, name: &str) -> Result<()> {
    let open = || asked("open a channel", connection.create_channel());
    let options = QueueDeclareOptions { durable: true, passive: true, ..QueueDeclareOptions::default() };
    let channel = open().await?;
    let there = asked("look for the queue", channel.queue_declare(name.into(), options, FieldTable::default())).await;
    match there {
        Ok(_) => Ok(()),
        // the broker has closed that channel
        Err(problem) if problem.message.contains("NOT_FOUND") || problem.message.contains("NOT-FOUND") => {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let channel = open().await?;
            asked("declare the queue", channel.queue_declare(name.into(), options, FieldTable::default())).await.map(drop)
        }
        Err(problem) => Err(problem),
    }
}

impl Task {
    /// Lets another message come in the place of this one, which waits, until what is returned is dropped.
    pub fn step_aside(&self) -> DropGuard {
        let over = CancellationToken::new();
        let (until, source) = (over.clone(), self.source.clone());
        tokio::spawn(async move {
            let Ok(_place) = source.aside.clone().try_acquire_owned() else { return };
            let Ok((channel, tag, bringing)) = bring(&source.connection, &source.queue, 1).await else { return };
            drop(source.more.send(bringing));
            until.cancelled().await;
            let cancelled = asked("bring no more", channel.basic_cancel(tag, BasicCancelOptions::default())).await;
            if let Err(problem) = cancelled {
                tracing::debug!(%problem, "the broker may bring one more");
            }
        });
        over.drop_guard()
    }

    /// It is done. The broker does not confirm that: should the word be lost, the message comes again.
    pub async fn acknowledge(&self) {
        if let Err(problem) = asked("take an acknowledgement", self.acker.ack(BasicAckOptions::default())).await {
            tracing::debug!(%problem, "the message will come again");
            self.broken.cancel();
        }
    }

    /// To another worker, or to this one again.
    pub async fn give_back(&self) {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        if let Err(problem) = asked("take a message back", self.acker.nack(options)).await {
            tracing::debug!(%problem, "the message comes back with the end of the connection");
            self.broken.cancel();
        }
    }

    /// Whether it can be acknowledged still: otherwise it is on its way to another worker, or to this one again.
    pub fn is_ours(&self) -> bool {
        self.acker.usable()
    }
}

impl Reply {
    /// Whether it would go to this queue of messages, or to its dead letters.
    pub fn is_to(&self, queue: &str) -> bool {
        self.queue == queue || self.queue.strip_suffix(DEAD) == Some(queue)
    }
}

impl Answers {
    /// Sends JSON to whoever asked. A queue that is not there any more is nobody's fault.
    ///
    /// # Errors
    /// `queue-unreachable`.
    pub async fn reply(&self, reply: &Reply, body: &str) -> Result<()> {
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(PERSISTENT);
        let properties = match &reply.correlation {
            Some(correlation) => properties.with_correlation_id(correlation.as_str().into()),
            None => properties,
        };
        self.publish(&reply.queue, body.as_bytes(), properties).await
    }

    /// Puts a message that cannot be worked on aside, with the reason; of a large one its beginning.
    ///
    /// # Errors
    /// `queue-unreachable`.
    pub async fn bury(&self, task: &Task, why: &Problem) -> Result<()> {
        let mut headers = FieldTable::default();
        let reason: String = why.message.chars().take(LONGEST).collect();
        headers.insert(SLUG.into(), AMQPValue::LongString(why.code.slug().into()));
        headers.insert(REASON.into(), AMQPValue::LongString(reason.into()));
        let kept = &task.body[..task.body.len().min(KEPT)];
        if kept.len() < task.body.len() {
            headers.insert(LENGTH.into(), AMQPValue::LongLongInt(i64::try_from(task.body.len()).unwrap_or(i64::MAX)));
        }
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
        self.publish(&self.dead, kept, properties).await
    }

    async fn publish(&self, queue: &str, body: &[u8], properties: BasicProperties) -> Result<()> {
        let sent =
            async { self.channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), body, properties).await?.await };
        match asked("take a message", sent).await?.is_ack() {
            true => Ok(()),
            false => Err(unreachable_because("take a message", "it did not confirm it")),
        }
    }
}

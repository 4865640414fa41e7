//! Messages that ask for work: each is taken by one worker at a time, and stays with the broker until it is acknowledged.

use futures::StreamExt;
use lapin::{
    Acker, BasicProperties, Channel, Connection, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};

use tokio::time::timeout;

use super::{PATIENCE, PERSISTENT, Place, asked, confirming, connection, unreachable_because};
use crate::domain::problem::{Problem, Result};

/// Header of a dead letter that says why, by the problem's slug; the other one says it in a sentence.
const SLUG: &str = "x-shipway-code";
const REASON: &str = "x-shipway-reason";
/// Longest reason, characters: headers are no place for more.
const LONGEST: usize = 1000;

/// A connection that brings messages.
pub struct Intake {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    answers: Answers,
}

/// One message. What is not acknowledged goes to another worker when the connection ends.
pub struct Task {
    pub body: Vec<u8>,
    /// Where answers go; none are wanted without.
    pub reply: Option<Reply>,
    /// Whose it is: the broker takes no message that names another user than the one that sends it.
    pub user: Option<String>,
    acker: Acker,
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
        let connection = connection(place).await?;
        let dead = format!("{queue}.dead");
        for name in [queue, &dead] {
            declare(&connection, name).await?;
        }
        let answers = Answers { channel: confirming(&connection).await?, dead };
        let channel = asked("open a channel", connection.create_channel()).await?;
        asked("bring messages", channel.basic_qos(at_once, BasicQosOptions::default())).await?;
        let consuming = channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let consumer = asked("bring messages", consuming).await?;
        Ok(Intake { connection, channel, consumer, answers })
    }

    /// The next message; None: the connection is gone.
    pub async fn next(&mut self) -> Option<Task> {
        match self.consumer.next().await? {
            Ok(delivery) => Some(Task::of(delivery)),
            Err(error) => {
                tracing::debug!(%error, "the broker brings no more messages");
                None
            }
        }
    }

    /// Takes no more; what has come already and is not taken goes to others.
    pub async fn stop(&mut self) {
        let stopping = self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        if let Err(problem) = asked("bring no more", stopping).await {
            tracing::debug!(%problem, "the broker may bring more");
            return;
        }
        let rest = async {
            while let Some(Ok(delivery)) = self.consumer.next().await {
                Task::of(delivery).give_back().await;
            }
        };
        // the broker has said that nothing comes any more
        let _ = timeout(PATIENCE, rest).await;
    }

    pub fn answers(&self) -> Answers {
        self.answers.clone()
    }

    /// Gives everything back that is not acknowledged.
    pub async fn close(self) {
        if let Err(problem) = asked("close", self.connection.close(200, "done".into())).await {
            tracing::debug!(%problem, "the broker did not say goodbye");
        }
    }
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
    fn of(delivery: Delivery) -> Task {
        let correlation = delivery.properties.correlation_id().as_ref().map(ToString::to_string);
        let user = delivery.properties.user_id().as_ref().map(ToString::to_string);
        let reply = delivery.properties.reply_to().as_ref().map(ToString::to_string).filter(|queue| !queue.is_empty());
        Task { body: delivery.data, reply: reply.map(|queue| Reply { queue, correlation }), user, acker: delivery.acker }
    }

    /// It is done. The broker does not confirm that: should the word be lost, the message comes again.
    pub async fn acknowledge(&self) {
        if let Err(problem) = asked("take an acknowledgement", self.acker.ack(BasicAckOptions::default())).await {
            tracing::debug!(%problem, "the message will come again");
        }
    }

    /// To another worker, or to this one again.
    pub async fn give_back(&self) {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        if let Err(problem) = asked("take a message back", self.acker.nack(options)).await {
            tracing::debug!(%problem, "the message comes back with the end of the connection");
        }
    }

    /// Whether it can be acknowledged still: otherwise it is on its way to another worker, or to this one again.
    pub fn is_ours(&self) -> bool {
        self.acker.usable()
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

    /// Puts a message that cannot be worked on aside, with the reason.
    ///
    /// # Errors
    /// `queue-unreachable`.
    pub async fn bury(&self, task: &Task, why: &Problem) -> Result<()> {
        let mut headers = FieldTable::default();
        let reason: String = why.message.chars().take(LONGEST).collect();
        headers.insert(SLUG.into(), AMQPValue::LongString(why.code.slug().into()));
        headers.insert(REASON.into(), AMQPValue::LongString(reason.into()));
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
        self.publish(&self.dead, &task.body, properties).await
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

//! The message broker (AMQP 0-9-1, as RabbitMQ speaks it): messages go to a topic exchange, and each counts as sent only when the broker
//! has confirmed it. What it did not take waits on disk, in the [`Outbox`].

mod intake;
mod outbox;

use std::{fs, future::Future, path::PathBuf, time::Duration};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    runtime::default_runtime,
    tcp::OwnedTLSConfig,
    types::FieldTable,
};
use serde::{Deserialize, Serialize};

pub use self::{
    intake::{Answers, Intake, Reply, Task},
    outbox::{Outbox, Waiting},
};

use crate::domain::{
    problem::{Code, Problem, Result},
    secret::Secret,
};

/// How long the broker may take for one thing that it is asked.
const PATIENCE: Duration = Duration::from_secs(4);

/// The broker writes the message to its disk.
const PERSISTENT: u8 = 2;

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same each time that it is sent: receivers know by it what they have.
    pub id: String,
    /// The routing key.
    pub key: String,
    /// JSON.
    pub body: String,
}

/// Where messages go.
#[derive(Clone)]
pub struct Place {
    /// `amqp://` or `amqps://`, with credentials.
    pub url: Secret,
    /// Name of the topic exchange; it is declared, durable.
    pub exchange: String,
    /// PEM file of the broker's certificate authority, beside the machine's own.
    pub ca: Option<PathBuf>,
}

/// A connection whose messages are confirmed.
pub struct Line {
    connection: Connection,
    channel: Channel,
    exchange: String,
}

impl Line {
    /// Connects and declares the exchange.
    ///
    /// # Errors
    /// `queue-unreachable` when the broker does not answer, `queue-denied` when it refuses credentials, virtual host or exchange.
    pub async fn connect(place: &Place) -> Result<Line> {
        let connection = connection(place).await?;
        let channel = confirming(&connection).await?;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = channel.exchange_declare(place.exchange.as_str().into(), ExchangeKind::Topic, options, FieldTable::default());
        asked("declare the exchange of queue.exchange", declared).await?;
        Ok(Line { connection, channel, exchange: place.exchange.clone() })
    }

    /// Sends one message and waits until the broker has it.
    ///
    /// # Errors
    /// As [`Line::connect`]; whether the broker has the message is not known then.
    pub async fn publish(&self, message: &Message) -> Result<()> {
        let properties = BasicProperties::default()
            .with_content_type("application/cloudevents+json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(message.id.as_str().into());
        let (exchange, key) = (self.exchange.as_str().into(), message.key.as_str().into());
        let sent = async {
            let options = BasicPublishOptions::default();
            self.channel.basic_publish(exchange, key, options, message.body.as_bytes(), properties).await?.await
        };
        match asked("take a message", sent).await?.is_ack() {
            true => Ok(()),
            false => Err(unreachable_because("take a message", "it did not confirm it")),
        }
    }

    /// Says goodbye; what was confirmed is safe without it.
    pub async fn close(self) {
        if let Err(problem) = asked("close", self.connection.close(200, "done".into())).await {
            tracing::debug!(%problem, "the broker did not say goodbye");
        }
    }
}

async fn connection(place: &Place) -> Result<Connection> {
    let tls = match &place.ca {
        Some(path) => Some(fs::read_to_string(path).map_err(|error| Problem::io("read", path, &error))?),
        None => None,
    };
    let tls = OwnedTLSConfig { cert_chain: tls, ..OwnedTLSConfig::default() };
    let properties = ConnectionProperties::default().with_connection_name("shipway".into());
    let connecting = async { Connection::connect_with_config(place.url.expose(), properties, tls, default_runtime()?).await };
    asked("connect", connecting).await
}

/// A channel on which the broker confirms what it has.
async fn confirming(connection: &Connection) -> Result<Channel> {
    let channel = asked("open a channel", connection.create_channel()).await?;
    asked("confirm", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// An answer of the broker, within its time.
async fn asked<T>(what: &str, answer: impl Future<Output = lapin::Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(refused(what, &error.to_string())),
        Err(_) => Err(unreachable_because(what, &format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// The names of AMQP's reply codes 403, 404, 406 and 530, which no second try changes.
const REFUSALS: [&str; 6] = ["ACCESS_REFUSED", "ACCESS-REFUSED", "NOT_ALLOWED", "NOT-ALLOWED", "NOT_FOUND", "PRECONDITION_FAILED"];

fn refused(what: &str, why: &str) -> Problem {
    match REFUSALS.iter().any(|refusal| why.contains(refusal)) {
        true => Problem::new(Code::QueueDenied, format!("the broker of queue.url refused to {what}: {why}")),
        false => unreachable_because(what, why),
    }
}

fn unreachable_because(what: &str, why: &str) -> Problem {
    Problem::new(Code::QueueUnreachable, format!("the broker of queue.url did not {what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_no_outages() {
        assert_eq!(refused("connect", "ACCESS_REFUSED - Login was refused").code, Code::QueueDenied);
        assert_eq!(refused("connect", "NOT_ALLOWED - vhost x not found").code, Code::QueueDenied);
        assert_eq!(refused("connect", "Connection refused (os error 111)").code, Code::QueueUnreachable);
    }
}

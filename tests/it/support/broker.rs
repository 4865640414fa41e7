//! A RabbitMQ of its own, from Debian's package, on free ports of the loopback and in a folder of its own.

use std::{
    net::TcpStream,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    message::Delivery,
    options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::Value;

use super::steady_port;

/// Erlang's machine starts slowly on a machine that does other things, too.
const LIMIT: Duration = Duration::from_secs(240);
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

pub struct Broker {
    folder: tempfile::TempDir,
    /// AMQP, distribution, and Erlang's port mapper.
    ports: [u16; 3],
    child: Option<Child>,
    /// What was read from: a connection that is dropped closes its channels.
    open: Option<(Connection, Channel)>,
}

impl Broker {
    /// Starts one and waits until it answers.
    pub fn start() -> Broker {
        let mut broker = Broker::stopped();
        broker.up();
        broker
    }

    /// One that is away.
    pub fn stopped() -> Broker {
        let ports = [(); 3].map(|()| steady_port());
        Broker { folder: tempfile::tempdir().unwrap(), ports, child: None, open: None }
    }

    pub fn up(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("out")).unwrap();
        let child = self.command(PROGRAM).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{PROGRAM}: {error} (apt-get install rabbitmq-server)")));
        let begun = Instant::now();
        while !self.answers() {
            assert!(begun.elapsed() < LIMIT, "no RabbitMQ: {}", std::fs::read_to_string(self.folder.path().join("out")).unwrap());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The port opens before the users are there: the first word of the protocol tells that it is ready.
    fn answers(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.ports[0])).is_ok()
            && std::fs::read_to_string(self.folder.path().join("out")).is_ok_and(|text| text.contains("completed with"))
    }

    fn command(&self, program: &str) -> Command {
        let at = |name: &str| self.folder.path().join(name);
        let [port, distribution, mapper] = self.ports.map(|port| port.to_string());
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).current_dir(self.folder.path()).process_group(0);
        command
            .env("HOME", self.folder.path())
            .envs([("RABBITMQ_NODENAME", format!("t{port}@localhost")), ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into())])
            .envs([("RABBITMQ_NODE_PORT", &port), ("RABBITMQ_DIST_PORT", &distribution), ("ERL_EPMD_PORT", &mapper)])
            .envs([
                ("ERL_EPMD_ADDRESS", "127.0.0.1"),
                ("ERL_EPMD_RELAXED_COMMAND_CHECK", "true"),
                ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1"),
            ])
            .envs([("RABBITMQ_MNESIA_BASE", at("mnesia")), ("RABBITMQ_LOG_BASE", at("log"))])
            .envs([("RABBITMQ_ENABLED_PLUGINS_FILE", at("none")), ("RABBITMQ_CONFIG_FILE", at("none.conf"))]);
        command
    }

    /// Ends it at once, as a power cut does.
    pub fn kill(&mut self) {
        self.open = None;
        if let Some(mut child) = self.child.take() {
            if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            child.wait().unwrap();
            // what the script had started is gone with its port
            while TcpStream::connect(("127.0.0.1", self.ports[0])).is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    pub fn url(&self) -> String {
        self.url_of("guest:guest")
    }

    pub fn url_of(&self, credentials: &str) -> String {
        format!("amqp://{credentials}@127.0.0.1:{}/%2f", self.ports[0])
    }

    /// A durable queue for all that comes to this exchange.
    pub async fn listen(&mut self, exchange: &str, queue: &str) {
        let channel = self.channel().await;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default()).await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), durable, FieldTable::default()).await.unwrap();
        let all = "#".into();
        channel.queue_bind(queue.into(), exchange.into(), all, QueueBindOptions::default(), FieldTable::default()).await.unwrap();
    }

    /// A durable queue.
    pub async fn declare(&mut self, queue: &str) {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel().await.queue_declare(queue.into(), durable, FieldTable::default()).await.unwrap();
    }

    /// Puts a message into a queue, to be answered into another one, under this id.
    pub async fn send(&mut self, queue: &str, body: &[u8], reply: Option<(&str, &str)>) {
        self.send_as(queue, body, reply, None).await.unwrap();
    }

    /// The same with a token of the asker's CI.
    pub async fn send_token(&mut self, queue: &str, body: &[u8], (to, id): (&str, &str), token: &str) {
        let mut headers = FieldTable::default();
        headers.insert("x-shipway-identity-token".into(), lapin::types::AMQPValue::LongString(token.into()));
        let properties = BasicProperties::default().with_delivery_mode(2).with_reply_to(to.into()).with_correlation_id(id.into());
        self.put(queue, body, properties.with_headers(headers)).await.unwrap();
    }

    /// The same as a user; an error when the broker does not believe that.
    pub async fn send_as(&mut self, queue: &str, body: &[u8], reply: Option<(&str, &str)>, user: Option<&str>) -> lapin::Result<()> {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let properties = match reply {
            Some((to, id)) => properties.with_reply_to(to.into()).with_correlation_id(id.into()),
            None => properties,
        };
        let properties = match user {
            Some(user) => properties.with_user_id(user.into()),
            None => properties,
        };
        self.put(queue, body, properties).await
    }

    async fn put(&mut self, queue: &str, body: &[u8], properties: BasicProperties) -> lapin::Result<()> {
        self.channel().await;
        // one of its own: what the broker does not believe ends it
        let channel = self.open.as_ref().unwrap().0.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let sent = channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), body, properties).await?;
        assert!(sent.await?.is_ack());
        channel.close(200, "sent".into()).await
    }

    /// Everything that has come to a queue: routing key and body.
    pub async fn take(&mut self, queue: &str) -> Vec<(String, Value)> {
        let taken = self.take_whole(queue).await;
        taken.into_iter().map(|message| (message.routing_key.to_string(), serde_json::from_slice(&message.data).unwrap())).collect()
    }

    /// Everything that has come to a queue, whatever it is.
    pub async fn take_whole(&mut self, queue: &str) -> Vec<Delivery> {
        let channel = self.channel().await;
        let mut taken = Vec::new();
        while let Some(message) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() {
            taken.push(message.delivery);
        }
        taken
    }

    async fn channel(&mut self) -> Channel {
        if self.open.is_none() {
            let connection = Connection::connect(&self.url(), ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            self.open = Some((connection, channel));
        }
        self.open.as_ref().unwrap().1.clone()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        // Erlang's port mapper is a daemon of its own
        let _ =
            self.command("epmd").args(["-port", &self.ports[2].to_string(), "-kill"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

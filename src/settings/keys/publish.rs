//! Keys of the publish and of what is around it.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::kinds::{self, DurationText};
use crate::domain::secret::Secret;

/// The cluster to publish to.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Kubeconfig file; several are separated as in KUBECONFIG.
    #[schemars(extend("x-kind" = "kubeconfig", "x-default" = "KUBECONFIG"))]
    pub kubeconfig: Option<String>,
    /// Context of the kubeconfig.
    #[schemars(extend("x-default" = "the kubeconfig's current one"))]
    pub context: Option<String>,
    /// Address of the API server, instead of a kubeconfig.
    #[schemars(extend("x-kind" = "url"))]
    pub server: Option<String>,
    /// Bearer token for the API server.
    #[schemars(extend("x-secret" = true, "x-kind" = "token"))]
    pub token: Option<Secret>,
    /// PEM file of the API server's certificate authority.
    #[schemars(extend("x-kind" = "file"))]
    pub ca: Option<PathBuf>,
    /// Use the cluster that the runner's pod lives in.
    #[schemars(extend("default" = false))]
    pub in_cluster: bool,
}

/// For the command rollback.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Revision to go back to.
    #[schemars(range(min = 1), extend("x-default" = "the last good revision"))]
    pub to: Option<u64>,
    /// Limit of a rollback, by command or after a rollout that failed.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "5m"))]
    pub timeout: Duration,
}

/// For the command scale.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Number of pods to scale to.
    #[schemars(range(min = 0, max = 10000))]
    pub to: Option<i32>,
    /// Forget a manual scale.
    #[schemars(extend("default" = false))]
    pub reset: bool,
}

/// For the command remove.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// Delete the namespace, too: only one that Shipway created, and that holds nothing else.
    #[schemars(extend("default" = false))]
    pub namespace: bool,
}

/// For the command unstick.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unstick {
    /// This pod alone.
    #[schemars(extend("x-kind" = "dns-name"))]
    pub pod: Option<String>,
    /// Take this finalizer away from the pods that are stuck.
    #[schemars(extend("x-kind" = "qualified"))]
    pub finalizer: Option<String>,
    /// Delete by force pods whose node is gone; any other stuck pod only when unstick.pod names it.
    #[schemars(extend("default" = false))]
    pub force: bool,
}

/// For the command logs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Only pods of this revision.
    #[schemars(range(min = 1), extend("x-default" = "all pods of the application"))]
    pub revision: Option<u64>,
    /// Only lines that are not older.
    #[serde(default, deserialize_with = "kinds::maybe_duration")]
    #[schemars(with = "Option<DurationText>")]
    pub since: Option<Duration>,
    /// Only lines that match this regular expression.
    pub grep: Option<String>,
    /// Write whole logs into this archive (.tar.gz or .tar.zst), a file for each life of a container.
    #[schemars(extend("x-kind" = "archive"))]
    pub to: Option<PathBuf>,
    /// Go on with what the pods say from now on, until it is stopped.
    #[schemars(extend("default" = false))]
    pub follow: bool,
}

/// The publish lock, and the commands lock and lead.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Who keeps the publish lock: zookeeper is that of center.url, and all who publish the application have to set it.
    #[schemars(extend("default" = "kubernetes"))]
    pub backend: LockBackend,
    /// How long to wait for another publish of the same application, or for the lock of the command lock.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "10m"))]
    pub wait: Duration,
    /// How long a lock outlives a holder that is gone.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "15s"))]
    pub ttl: Duration,
}

/// Who keeps the publish lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LockBackend {
    Kubernetes,
    Zookeeper,
}

/// A message at the end of the run.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// Where one JSON message goes: generic, Slack, DingTalk, WeCom or Feishu by the shape of the address.
    #[schemars(extend("x-secret" = true))]
    pub url: Option<Secret>,
    /// Signs the message: DingTalk's and Feishu's signing key; a generic receiver gets a header X-Shipway-Signature-256.
    #[schemars(extend("x-secret" = true))]
    pub secret: Option<Secret>,
    /// Which runs send one: publish is what was published, and every failure outside of merge requests; failure is failures alone,
    /// outside of merge requests; always is every run.
    #[schemars(extend("default" = "publish"))]
    pub when: NotifyWhen,
}

/// Which runs send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyWhen {
    Publish,
    Failure,
    Always,
}

/// The configuration centre.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Center {
    /// `kubernetes`, or zookeeper://HOST:PORT,HOST:PORT/PATH, with USER:PASSWORD@ before the hosts where nodes are not for everybody.
    #[schemars(extend("default" = "kubernetes", "x-secret" = "credentials"))]
    pub url: Secret,
}

/// A message broker that is told of each step.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// amqp://… or amqps://…: gets an event at the start and the end of each step.
    #[schemars(extend("x-secret" = "credentials"))]
    pub url: Option<Secret>,
    /// Name of the topic exchange that the events go to.
    #[schemars(extend("default" = "shipway.events"))]
    pub exchange: String,
    /// PEM file of the broker's certificate authority.
    #[schemars(extend("x-kind" = "file"))]
    pub ca: Option<PathBuf>,
    /// Folder where events wait when the broker is away: the next run with it sends them.
    #[schemars(extend("x-kind" = "file", "x-default" = "shipway/outbox in XDG_CACHE_HOME or ~/.cache"))]
    pub outbox: Option<PathBuf>,
}

/// The record of all publishes.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE.
    #[schemars(extend("x-secret" = "credentials", "x-outside" = true))]
    pub url: Option<Secret>,
    /// PEM file of the certificate authority of the PostgreSQL server.
    #[schemars(extend("x-kind" = "file", "x-outside" = true))]
    pub ca: Option<PathBuf>,
    /// Change nothing on the cluster when the ledger cannot be written; without it the record is kept in ledger.outbox, and sent later.
    #[schemars(extend("default" = false, "x-outside" = true))]
    pub required: bool,
    /// How long the ledger is waited for.
    #[serde(deserialize_with = "kinds::duration")]
    #[schemars(with = "DurationText", extend("default" = "20s", "x-outside" = true))]
    pub timeout: Duration,
    /// Folder of records that the ledger has not yet; keep it between jobs (a CI's cache), and the next run sends them.
    #[schemars(extend("x-default" = "shipway/ledger in XDG_CACHE_HOME or ~/.cache, else ledger/ in report.dir", "x-outside" = true))]
    pub outbox: Option<PathBuf>,
    /// Days after which the ledger forgets what has ended.
    #[schemars(range(min = 1, max = 36500), extend("x-default" = "nothing is forgotten", "x-outside" = true))]
    pub keep_days: Option<u32>,
}

/// The company's rules.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// YAML file of rules that a publish has to keep, beside those of /etc/shipway/rules.yaml and of the ledger; a variable or a flag, never
    /// the repository's file.
    #[schemars(extend("x-outside" = true, "x-kind" = "file"))]
    pub file: Option<PathBuf>,
}

/// Who asks, proved by a token that the CI gives to its job.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentitySettings {
    /// Who signs the tokens, as they name it; a worker that has it set builds for messages with such a token only.
    #[schemars(extend("x-outside" = true, "x-default" = "CI_SERVER_URL of a GitLab job; a worker has none"))]
    pub issuer: Option<super::super::kinds::Url>,
    /// What tokens have to be made for.
    #[schemars(extend("default" = "shipway", "x-outside" = true))]
    pub audience: String,
    /// What stands before a project's path in the addresses of the issuer's repositories.
    #[serde(default)]
    #[schemars(extend("x-outside" = true, "x-default" = "https://HOST/, git@HOST: and ssh://git@HOST/ of the issuer"))]
    pub repositories: Vec<String>,
    /// PEM file of the certificate authority of the issuer.
    #[schemars(extend("x-kind" = "file", "x-outside" = true))]
    pub ca: Option<PathBuf>,
    /// The token of this job (GitLab's id_tokens).
    #[schemars(extend("x-secret" = true, "x-kind" = "token"))]
    pub token: Option<Secret>,
}

/// Where reports go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Folder of the reports, relative to the checkout.
    #[schemars(extend("default" = "shipway-report/"))]
    pub dir: PathBuf,
    /// Where report.html can be opened, such as the address of the job's artifacts: comment, message and card lead there.
    pub url: Option<super::super::kinds::Url>,
    /// Where the template of Drone's card is served (plugin/drone/card.json); without it the card brings its template along.
    pub card: Option<super::super::kinds::Url>,
}

/// Where people read on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Help {
    /// Where the company serves this documentation (the site of docs/): a problem links to its page there, init to the schema.
    pub url: Option<super::super::kinds::Url>,
}

/// The job log.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Form of the log.
    #[schemars(extend("default" = "text"))]
    pub format: LogFormat,
    /// How much the log says.
    #[schemars(extend("default" = "info"))]
    pub level: LogLevel,
}

/// Forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    Text,
    Json,
}

/// How much the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

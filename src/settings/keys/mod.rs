//! The one definition of every key: the shape of `shipway.yaml`. Names, types, descriptions, defaults and secrecy stand here and
//! nowhere else; the JSON schema, the reference, the variables' names and the rules of reading are derived from it.
//!
//! Attributes beside serde's: `default` fills the key in when nobody sets it, `x-default` describes a default that depends on the
//! repository or the CI, `x-secret` keeps the value out of files, flags and messages, `x-baked` forbids the key under `environments`.

mod artifact;
mod kubernetes;
mod publish;
mod worker;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::{artifact::*, kubernetes::*, publish::*, worker::*};
use super::kinds::{Auto, Url};

/// All settings of a run, resolved: fixed defaults are filled in, what depends on the repository is None until the plan knows it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Which command a plugin step runs; a step has only settings.
    #[schemars(extend("default" = "run", "x-baked" = true))]
    pub command: Command,
    /// Name of the application: names the image, the Deployment and the Service.
    #[schemars(extend("x-kind" = "dns-label", "x-default" = "the repository's name, as a DNS label"))]
    pub app: Option<String>,
    /// Product line: part of the image's path, and the default namespace.
    #[schemars(extend("x-kind" = "dns-label", "x-default" = "the root group of the project, as a DNS label"))]
    pub line: Option<String>,
    /// Whether the project is deployed as a service or only as a library.
    #[schemars(extend("x-default" = "service when the build makes a runnable jar, else library"))]
    pub kind: Option<Kind>,
    /// Which section of environments applies, and the environment's name at the forge.
    #[schemars(extend("x-baked" = true, "x-default" = "the CI's: CI_ENVIRONMENT_NAME, DRONE_DEPLOY_TO, Woodpecker's deploy target"))]
    pub environment: Option<String>,
    /// Publish to the cluster: auto is the default branch, tags, or a named environment, and never a fork's merge request; true is
    /// always, and a missing cluster is an error.
    #[schemars(extend("default" = "auto"))]
    pub publish: Auto,
    /// One comment at the merge request, kept up to date.
    #[schemars(extend("default" = "update"))]
    pub comment: Comment,
    /// Set the commit's status: auto is on, but off on GitLab, where the job itself is the check.
    #[schemars(extend("default" = "auto"))]
    pub status: Auto,
    /// What to clone when the working directory is no checkout.
    pub source: SourceSettings,
    /// Compile, test, package.
    pub build: Build,
    /// The company's Maven repository.
    pub maven: Maven,
    /// The image registry.
    pub registry: Registry,
    /// The image and what is baked into it.
    pub image: Image,
    /// The cluster to publish to.
    pub cluster: Cluster,
    /// What runs on the cluster; may differ by environment.
    pub kubernetes: Kubernetes,
    /// For the command rebase.
    pub rebase: Rebase,
    /// For the command rollback.
    pub rollback: Rollback,
    /// For the command scale.
    pub scale: Scale,
    /// For the command remove.
    pub remove: Remove,
    /// For the command unstick.
    pub unstick: Unstick,
    /// For the command logs.
    pub logs: Logs,
    /// The publish lock, one publish of an application at a time; and the commands lock and lead.
    pub lock: Lock,
    /// The code host: comments and statuses.
    pub forge: Forge,
    /// A message at the end of the run.
    pub notify: Notify,
    /// The configuration centre, for leader election and locks.
    pub center: Center,
    /// A message broker that is told of each step.
    pub queue: Queue,
    /// The record of all publishes.
    pub ledger: Ledger,
    /// The company's rules.
    pub rules: RuleSettings,
    /// Who asks, proved by a token that the CI gives to its job.
    pub identity: IdentitySettings,
    /// For the command worker: builds that are asked for by message.
    pub worker: WorkerSettings,
    /// Where reports go.
    pub report: Report,
    /// The job log.
    pub log: Log,
    /// Where people read on.
    pub help: Help,
}

/// What `command` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    Run,
    Plan,
    Build,
    Dockerfile,
    Image,
    Publish,
    Rollback,
    Scale,
    Restart,
    Status,
    History,
    Logs,
    Unstick,
    Rebase,
    Remove,
    Check,
    Doctor,
    Can,
    Version,
}

/// Service or library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Service,
    Library,
}

/// How the merge request's comment is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Comment {
    Update,
    Off,
}

/// What to clone when the working directory is no checkout.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// Where to clone from (https, ssh or a path); on the host of forge.url it is read with forge.token.
    #[schemars(extend("x-kind" = "url"))]
    pub url: Option<String>,
    /// Branch, tag or commit to clone.
    #[serde(rename = "ref")]
    #[schemars(extend("x-default" = "the remote's default branch"))]
    pub reference: Option<String>,
}

/// The code host.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forge {
    /// Address of the code host or of its API.
    #[schemars(extend("x-default" = "the CI's own"))]
    pub url: Option<Url>,
    /// Which API it speaks; auto knows it from the CI or the address, else asks the host.
    #[schemars(extend("default" = "auto"))]
    pub kind: ForgeKind,
    /// Token that may write comments and statuses; docs/forges.md names its scopes.
    #[schemars(extend("x-secret" = true, "x-kind" = "token"))]
    pub token: Option<crate::domain::secret::Secret>,
    /// PEM file of the certificate authority of the code host.
    #[schemars(extend("x-kind" = "file", "x-default" = "CI_SERVER_TLS_CA_FILE"))]
    pub ca: Option<std::path::PathBuf>,
    /// Where the environment answers, as people reach it: the code host links to it.
    #[schemars(extend("x-default" = "CI_ENVIRONMENT_URL, else the Service's address when it is reached from outside"))]
    pub environment_url: Option<Url>,
}

/// Which API the code host speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForgeKind {
    Auto,
    Gitlab,
    Github,
    Gitea,
    Forgejo,
}

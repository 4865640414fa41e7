//! What may stand behind `shipway`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::asked::{App, Can, ConfigAction, History, RulesAction};
use crate::{
    settings::{self, CiKind},
    steps,
};

/// From a commit to running pods in one CI step.
///
/// Compiles and packages a Maven application, generates its Dockerfile, builds the image without a daemon, pushes it, publishes it
/// to Kubernetes as a rolling update, watches until it is really up, and rolls back with the evidence when it is not.
///
/// Without a command, `run` is meant (or what the setting `command` says, in a plugin step). Settings come from flags, PLUGIN_* and
/// SHIPWAY_* variables, shipway.yaml and the CI's own variables, in this order; `shipway plan` shows each value with its source.
#[derive(Parser)]
#[command(name = "shipway", version, disable_help_subcommand = true, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// Flags that every command takes.
#[derive(Args)]
struct Overrides {
    /// The settings file [default: shipway.yaml in the checkout].
    #[arg(long, short, global = true, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Work in this folder instead of the current one.
    #[arg(long, short = 'C', global = true, value_name = "FOLDER")]
    directory: Option<PathBuf>,
    /// Set any key, such as kubernetes.replicas=3; wins over everything else, may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// The section of `environments` that applies.
    #[arg(long, short, global = true, value_name = "NAME")]
    environment: Option<String>,
    /// The image's tag [default: the Git tag, else the commit].
    #[arg(long, global = true, value_name = "TAG")]
    tag: Option<String>,
    /// The application's name [default: the repository's].
    #[arg(long, global = true, value_name = "NAME")]
    app: Option<String>,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// The whole job: build, image, push, publish, watch, report.
    ///
    /// What is not configured is left out and said: without a registry the image becomes an OCI layout in the report folder, without a
    /// cluster the manifests are written there.
    Run,
    /// Show what `run` would do: every setting with its source, the Dockerfile, the manifests, the diff to what runs. Changes nothing.
    ///
    /// The Dockerfile is that of the last build when its artifact is still there, else what the pom lets expect. The diff comes from a
    /// server-side dry run, so it holds what admission webhooks and defaults would make of the objects.
    Plan,
    /// Write a first shipway.yaml, and the job for the CI that this repository uses; shows what it writes.
    ///
    /// Looks at the pom, the Dockerfile, manifests, the remote and the CI's own files, and asks nothing. A shipway.yaml that is there
    /// stays; what would change another file is shown, and done only with --force.
    Init(Init),
    /// Compile, test and package with one Maven call (and deploy, when a Maven repository is configured).
    ///
    /// The JDK is the smallest installed one that knows the pom's level, or build.jdk. When it fails, the log ends with the compiler's or
    /// the tests' own lines; the whole output is in shipway-report/mvn.log. Settings: build.*, maven.*.
    Build,
    /// Build, then print the Dockerfile that `run` would use; the context stays in the report folder for `docker build`.
    Dockerfile,
    /// Build and push the image; stops before the cluster.
    ///
    /// shipway-report/shipway.env hands it on by digest (SHIPWAY_OUT_IMAGE), for a later job that runs `shipway publish`. Settings:
    /// registry.*, image.*.
    Image,
    /// Publish an image that is there already: --image, image.ref, or SHIPWAY_OUT_IMAGE of an earlier job.
    ///
    /// Needs neither Maven nor the source, only shipway.yaml where there is one. Publishes on any branch, as somebody asked for it; never
    /// for a fork's merge request. Settings: cluster.*, kubernetes.*, lock.*.
    Publish {
        /// Tag or digest reference of the image.
        #[arg(long, value_name = "REFERENCE")]
        image: Option<String>,
    },
    /// Put an earlier revision back (Deployment, Service, autoscaler, budget and configuration together), and watch it like a publish.
    Rollback {
        /// The revision; `history` lists them [default: the last good one before what runs].
        #[arg(long, value_name = "REVISION")]
        to: Option<u64>,
    },
    /// Replace all pods by new ones of the same revision, one after the other, and watch them like a publish.
    Restart,
    /// Set the number of pods by hand; publishes keep it until --reset.
    ///
    /// With an autoscaler the number becomes its lower bound (and its upper one, when that was lower): it still adds pods under load.
    /// 0 makes it rest, until another number or --reset wakes it.
    Scale {
        /// How many.
        #[arg(required_unless_present = "reset", conflicts_with = "reset")]
        number: Option<u32>,
        /// Forget the manual scale: kubernetes.replicas, else the number before it, and the autoscaler's own bounds.
        #[arg(long)]
        reset: bool,
    },
    /// Take the application out of the cluster: everything that shipway made for it, and nothing else. Asks nothing.
    Remove {
        /// The namespace, too, when shipway created it and nothing else runs in it.
        #[arg(long)]
        namespace: bool,
    },
    /// Put an application's layers onto a new base without a build, and push the result under a new tag (1.2 → 1.2-r1).
    ///
    /// The Java of both bases must be the same. Nothing is published: `publish` takes the new image from SHIPWAY_OUT_IMAGE.
    Rebase {
        /// The image [default: rebase.image, image.ref, SHIPWAY_OUT_IMAGE of an earlier job, or what runs on the cluster].
        image: Option<String>,
        /// The new base [default: what is now under the name of the base that the image was built on].
        #[arg(long, value_name = "BASE")]
        onto: Option<String>,
    },
    /// What runs: image, revision, pods, recent releases, on one screen.
    ///
    /// Reads the cluster and changes nothing; the application is that of the checkout, or of --app and kubernetes.namespace.
    Status {
        /// As JSON (with --watch, a line for each change).
        #[arg(long)]
        json: bool,
        /// Keep it fresh until it is stopped.
        #[arg(long, short)]
        watch: bool,
    },
    /// The recorded releases: who, what, when, how it ended.
    ///
    /// The numbers are what `rollback --to` takes; kubernetes.history says how many are kept.
    ///
    /// With --all it is the ledger that answers (ledger.url): all changes of all applications, or of those that the filters let through.
    History(History),
    /// What the company knows of its applications, in the ledger (ledger.url).
    App {
        #[command(subcommand)]
        action: App,
    },
    /// The company's rules, in the ledger (ledger.url).
    Rules {
        #[command(subcommand)]
        action: RulesAction,
    },
    /// What all pods say, previous lives of their containers too, in the order of time.
    Logs {
        /// Only pods of this revision.
        #[arg(long, value_name = "REVISION")]
        revision: Option<u64>,
        /// Go on with what they say from now on.
        #[arg(long)]
        follow: bool,
        /// Only lines that are not older, such as 10m.
        #[arg(long, value_name = "DURATION")]
        since: Option<String>,
        /// Only lines that match this regular expression.
        #[arg(long, value_name = "PATTERN")]
        grep: Option<String>,
        /// Write whole logs into this archive instead: .tar.gz or .tar.zst.
        #[arg(long, value_name = "FILE", conflicts_with = "follow")]
        to: Option<String>,
    },
    /// Pods that do not go away: why, and what could be done. Changes nothing without one of the flags.
    Unstick {
        /// This pod alone.
        #[arg(long, value_name = "NAME")]
        pod: Option<String>,
        /// Take this finalizer away from them.
        #[arg(long, value_name = "NAME")]
        finalizer: Option<String>,
        /// Delete those whose node is gone; any other only together with --pod.
        #[arg(long)]
        force: bool,
    },
    /// Configuration files that are pushed on their own, for one environment: versioned, with author and reason, each push whole or not at all.
    ///
    /// They are kept in ConfigMaps (Secrets with kubernetes.config.secret) of kubernetes.namespace, beside those of the releases. The files
    /// that a release brings along (kubernetes.config) are published and rolled back with it, and have nothing to do with these.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Run a command while holding a lock of the cluster: nobody else holds a lock of that name meanwhile.
    ///
    /// The exit code is the command's. When the lock is lost, the command is ended with all that it started before another can have the
    /// lock, and the exit code is 51. SHIPWAY_FENCING_TOKEN is a number that grows from holder to holder. The lock is a Lease in
    /// kubernetes.namespace, or in the ZooKeeper of center.url; lock.ttl says how long it outlives a holder that is gone.
    Lock {
        /// The lock's name; it has nothing to do with the publish lock of an application of that name.
        name: String,
        /// How long to wait for it, such as 30s [default: lock.wait, 10m].
        #[arg(long, value_name = "DURATION")]
        wait: Option<String>,
        /// Together with others that share it, never with one that does not; in ZooKeeper alone.
        #[arg(long)]
        shared: bool,
        /// The command and its arguments; no shell reads them.
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Run a command in exactly one of several replicas, the leader; the others wait for their turn.
    ///
    /// The exit code is the command's, as with `lock`. With --http there is no command: whoever asks is told whether this replica leads.
    Lead {
        /// What is led; replicas that name the same stand for the same lead.
        name: String,
        /// Answer at http://ADDRESS/leader with 200 while this replica leads, else 503; such as :8099.
        #[arg(long, value_name = "ADDRESS", conflicts_with = "command")]
        http: Option<String>,
        /// The command and its arguments; no shell reads them.
        #[arg(last = true, required_unless_present = "http", value_name = "CMD")]
        command: Vec<String>,
    },
    /// Say whether somebody may do something, by the permissions of the company's rules, and which of them says so; asks the cluster nothing.
    ///
    /// Exit code 0: yes; 30: no. Such as: shipway can ada publish orders --environment prod.
    Can(Can),
    /// Build what messages ask for (queue.url), each build in a process of its own, until SIGTERM.
    ///
    /// Any number of workers share a queue and a ledger (ledger.url), which has each result once; worker.repositories says what may be built.
    Worker,
    /// Look for mistakes without the network: in shipway.yaml, in the Dockerfile, manifests and patches that it names, in the pom, in
    /// steps of Drone's and Woodpecker's pipelines and in the variables; each with file, line and column.
    ///
    /// Exit code 2: a setting is wrong. 10: a file of the project is. 0: a run would get past them, warnings or not.
    Check {
        /// The settings file [default: that of --file, else shipway.yaml].
        file: Option<PathBuf>,
        /// As JSON: a list of findings, for editors and other tools.
        #[arg(long)]
        json: bool,
    },
    /// Find out whether a run can do what it is to do: Maven and JDK, registry, cluster, code host; as whom, with which rights, and what is
    /// missing, the most important first.
    ///
    /// Asks everything that a run would ask, with the same settings and credentials, and changes nothing. The exit code is that of the
    /// first thing that would stop a run.
    Doctor {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say of a problem, by the name that a log or report gives it, what happened and what to do; without a name, list them all.
    Explain {
        /// Such as image-not-found.
        name: Option<String>,
    },
    /// Print the JSON schema of shipway.yaml, with which editors complete and check the file.
    Schema,
    /// Print what makes a shell complete commands and flags.
    ///
    /// bash: shipway completions bash > ~/.local/share/bash-completion/completions/shipway
    /// zsh:  shipway completions zsh > "${fpath[1]}/_shipway"
    /// fish: shipway completions fish > ~/.config/fish/completions/shipway.fish
    #[command(verbatim_doc_comment)]
    Completions {
        /// Whose.
        shell: Shell,
    },
    /// Print a reference document.
    #[command(hide = true)]
    Reference { document: Document },
    /// Print the version.
    Version,
}

#[derive(Args)]
pub(super) struct Init {
    /// Write the settings that reproduce the Deployment that runs under the application's name, with its Service and autoscaler; no job.
    #[arg(long, conflicts_with_all = ["ci", "no_schema"])]
    pub(super) from_cluster: bool,
    /// Change files that are there, as it is shown.
    #[arg(long)]
    pub(super) force: bool,
    /// The CI that gets a job [default: the one in use].
    #[arg(long, value_name = "CI")]
    ci: Option<Server>,
    /// No schema for editors beside shipway.yaml (nor where help.url says that it is served).
    #[arg(long)]
    no_schema: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Server {
    Gitlab,
    Drone,
    Woodpecker,
    None,
}

impl Init {
    pub(super) fn wishes(&self) -> steps::Wishes {
        let ci = self.ci.and_then(|server| match server {
            Server::Gitlab => Some(CiKind::Gitlab),
            Server::Drone => Some(CiKind::Drone),
            Server::Woodpecker => Some(CiKind::Woodpecker),
            Server::None => None,
        });
        steps::Wishes { ci, no_job: self.ci == Some(Server::None), no_schema: self.no_schema }
    }
}

/// Reference documents that are generated from the code's own tables.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Document {
    Settings,
    Problems,
    ExitCodes,
    Drone,
    Woodpecker,
    Report,
    /// The JSON schema of report.json.
    ReportSchema,
}

pub(super) fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.to_string())),
        _ => Err("write it as KEY=VALUE, such as kubernetes.replicas=3".to_string()),
    }
}

impl Arguments {
    /// What settings are loaded from: flags are the first source.
    pub(super) fn input(&self, environment: Vec<(String, String)>) -> settings::Input {
        let overrides = &self.overrides;
        let mut args = overrides.set.clone();
        let mut flag = |key: &str, value: Option<String>| args.extend(value.map(|value| (key.to_string(), value)));
        flag("environment", overrides.environment.clone());
        flag("image.tag", overrides.tag.clone());
        flag("app", overrides.app.clone());
        match &self.command {
            Some(Command::Publish { image }) => flag("image.ref", image.clone()),
            Some(Command::Rebase { image, onto }) => {
                flag("rebase.image", image.clone());
                flag("rebase.onto", onto.clone());
            }
            Some(Command::Rollback { to }) => flag("rollback.to", to.map(|revision| revision.to_string())),
            Some(Command::Scale { number, reset }) => {
                flag("scale.to", number.map(|number| number.to_string()));
                flag("scale.reset", reset.then(|| "true".to_string()));
            }
            Some(Command::Config { action: ConfigAction::Push { folder, .. } | ConfigAction::Diff { folder } }) => {
                flag("kubernetes.config.from", folder.clone());
            }
            Some(Command::Lock { wait, .. }) => flag("lock.wait", wait.clone()),
            Some(Command::Remove { namespace }) => flag("remove.namespace", namespace.then(|| "true".to_string())),
            Some(Command::Logs { revision, follow, since, grep, to }) => {
                flag("logs.revision", revision.map(|revision| revision.to_string()));
                flag("logs.follow", follow.then(|| "true".to_string()));
                flag("logs.since", since.clone());
                flag("logs.grep", grep.clone());
                flag("logs.to", to.clone());
            }
            Some(Command::Unstick { pod, finalizer, force }) => {
                flag("unstick.pod", pod.clone());
                flag("unstick.finalizer", finalizer.clone());
                flag("unstick.force", force.then(|| "true".to_string()));
            }
            _ => {}
        }
        settings::Input {
            args,
            file: overrides.file.clone(),
            dir: overrides.directory.clone().unwrap_or_else(|| PathBuf::from(".")),
            environment,
            company: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn everyday_flags_are_keys() {
        let arguments =
            Arguments::parse_from(["shipway", "rollback", "--to", "3", "-e", "prod", "--set", "kubernetes.env={\"A\":\"x=y\"}"]);
        let keys: Vec<_> = arguments.input(Vec::new()).args;
        assert!(keys.contains(&("environment".into(), "prod".into())));
        assert!(keys.contains(&("rollback.to".into(), "3".into())));
        assert!(keys.contains(&("kubernetes.env".into(), "{\"A\":\"x=y\"}".into())));
    }
}

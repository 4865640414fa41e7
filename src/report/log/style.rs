//! How the log looks, and what it begins with.

use super::super::model::Commit;

/// How the log looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Style {
    pub format: Format,
    pub level: Level,
    /// ANSI colours.
    pub color: bool,
    /// GitLab's collapsible sections.
    pub sections: bool,
    /// Columns of the terminal; a CI's log has 120.
    pub width: usize,
    /// `✓ ✗ …`, else ASCII.
    pub unicode: bool,
}

impl Default for Style {
    fn default() -> Self {
        Style { format: Format::Text, level: Level::Info, color: false, sections: false, width: 120, unicode: true }
    }
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.level`: how much of a run is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The problem and the summary.
    Error,
    /// And the warnings.
    Warn,
    /// And the steps and what they change.
    Info,
    /// And objects that were found as they should be.
    Debug,
}

/// What the log begins with.
#[derive(Debug, Clone, Default)]
pub struct Header {
    /// Version of Shipway.
    pub version: String,
    /// The command: `run`.
    pub command: String,
    pub app: Option<String>,
    pub line: Option<String>,
    pub environment: Option<String>,
    pub commit: Option<Commit>,
    /// What will happen, in order.
    pub intents: Vec<Intent>,
}

/// Something that a run is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// Clone the source.
    Clone {
        url: String,
    },
    /// Build with Maven; `goal` is `package` or `deploy`.
    Maven {
        jdk: Option<u32>,
        goal: String,
    },
    /// Build with the user's own command.
    Command {
        argv: Vec<String>,
    },
    /// Put an application's layers onto another base.
    Rebase {
        image: String,
        onto: Option<String>,
    },
    /// Take a ready image.
    ReadyImage {
        reference: String,
    },
    /// Build an image on this base.
    Image {
        base: String,
    },
    Push {
        reference: String,
    },
    /// Write an OCI layout, for want of a registry.
    Layout {
        dir: String,
    },
    Publish {
        context: Option<String>,
        namespace: String,
        name: String,
    },
    /// Render the manifests, for want of a cluster.
    Render {
        file: String,
    },
    /// Nothing is published, because of this.
    NoPublish {
        because: String,
    },
    RollBack {
        namespace: String,
        name: String,
        revision: Option<u64>,
    },
    Restart {
        namespace: String,
        name: String,
    },
    /// None: back to what the settings say.
    Scale {
        namespace: String,
        name: String,
        to: Option<i32>,
    },
    Remove {
        namespace: String,
        name: String,
    },
}

impl Intent {
    /// What it is, in a phrase.
    pub fn words(&self) -> String {
        match self {
            Intent::Clone { url } => format!("clone {url}"),
            Intent::Maven { jdk: Some(jdk), goal } => format!("mvn {goal} with JDK {jdk}"),
            Intent::Maven { jdk: None, goal } => format!("mvn {goal}"),
            Intent::Command { argv } => format!("build with {}", command_line(argv)),
            Intent::Rebase { image, onto: Some(onto) } => format!("put the layers of {image} onto {onto}"),
            Intent::Rebase { image, onto: None } => format!("put the layers of {image} onto what its base is now"),
            Intent::ReadyImage { reference } => format!("take the image {reference}"),
            Intent::Image { base } => format!("build the image on {base}"),
            Intent::Push { reference } => format!("push it to {reference}"),
            Intent::Layout { dir } => format!("write it to {dir} (registry.url is not set)"),
            Intent::Publish { context, namespace, name } => {
                let at = context.as_ref().map(|context| format!(" of {context}")).unwrap_or_default();
                format!("publish {name} in namespace {namespace}{at}")
            }
            Intent::Render { file } => format!("render the manifests to {file} (no cluster is set: cluster.kubeconfig)"),
            Intent::NoPublish { because } => format!("publish nothing: {because}"),
            Intent::RollBack { namespace, name, revision } => {
                let to = revision.map_or("the last good revision".to_string(), |revision| format!("revision {revision}"));
                format!("roll {name} in namespace {namespace} back to {to}")
            }
            Intent::Restart { namespace, name } => format!("replace all pods of {name} in namespace {namespace} by new ones"),
            Intent::Scale { namespace, name, to: Some(to) } => format!("scale {name} in namespace {namespace} to {to}"),
            Intent::Scale { namespace, name, to: None } => {
                format!("give the number of pods of {name} in namespace {namespace} back to the settings")
            }
            Intent::Remove { namespace, name } => format!("delete {name} in namespace {namespace}, with all that shipway made for it"),
        }
    }
}

/// An argv as a person would type it: words with other characters than the usual ones are quoted. For reading only.
pub fn command_line(argv: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@,+%".contains(c);
    let word = |word: &String| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

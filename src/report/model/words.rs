//! What is made of a report's values: records for what happens often, words for people.

use super::{EvidenceRecord, Image, NotDone, Outcome, ProblemRecord, Report, SettingRecord};
use crate::{
    domain::{
        event::{Change, LayerRole},
        problem::{Class, Code, Problem},
        step::Step,
    },
    settings::Sourced,
};

impl Image {
    /// Whether a reference names this very image.
    pub(in crate::report) fn is(&self, reference: &str) -> bool {
        reference == self.reference || self.digest.as_ref().is_some_and(|digest| reference.ends_with(digest.as_str()))
    }
}

impl SettingRecord {
    pub fn new(key: impl Into<String>, value: impl Into<String>, source: impl Into<String>) -> Self {
        SettingRecord { key: key.into(), value: value.into(), source: source.into() }
    }

    /// A setting whose value must not be shown.
    pub fn secret(key: impl Into<String>, source: impl Into<String>) -> Self {
        SettingRecord::new(key, crate::domain::redact::SECRET, source)
    }
}

impl NotDone {
    /// The image was not pushed, for want of a registry.
    pub fn no_registry(layout: &str) -> Self {
        NotDone {
            what: "the image was not pushed: no registry is configured".to_string(),
            instead: Some(format!("it is an OCI image layout at {layout}")),
            setting: "registry.url".to_string(),
        }
    }

    /// The image was not pushed: the pipeline of a fork has no password for the registry, on purpose.
    pub fn no_secrets(layout: &str) -> Self {
        NotDone {
            what: "the image was not pushed: this is a fork's merge request, which gets no secrets".to_string(),
            instead: Some(format!("it is an OCI image layout at {layout}")),
            setting: "registry.password".to_string(),
        }
    }

    /// Nothing was published, for want of a cluster.
    pub fn no_cluster(manifests: &str) -> Self {
        NotDone {
            what: "nothing was published: no cluster is configured".to_string(),
            instead: Some(format!("the manifests are at {manifests}")),
            setting: "cluster.kubeconfig".to_string(),
        }
    }

    /// Nothing was published, because `publish` says so: `because` names the rule (`the branch is not the default branch`).
    pub fn publish_off(because: &str) -> Self {
        NotDone { what: format!("nothing was published: {because}"), instead: None, setting: "publish".to_string() }
    }

    /// The run ended after the build.
    pub fn library() -> Self {
        let what = "no image was built and nothing was published: this is a library";
        NotDone { what: what.to_string(), instead: None, setting: "kind".to_string() }
    }
}

impl From<&Sourced> for SettingRecord {
    fn from(setting: &Sourced) -> Self {
        SettingRecord::new(&setting.key, &setting.value, setting.source.to_string())
    }
}

impl Report {
    pub fn result(&self) -> Outcome {
        self.result
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    pub fn problem(&self) -> Option<&ProblemRecord> {
        self.problem.as_ref()
    }

    /// The image by digest: what is deployed, and what a later job takes as `image.ref`. None without a registry.
    pub fn image_by_digest(&self) -> Option<String> {
        let image = self.image.as_ref().filter(|image| image.layout.is_none())?;
        let reference: crate::domain::reference::ImageReference = image.reference.parse().ok()?;
        Some(reference.with_digest(image.digest.as_ref()?).to_string())
    }
}

impl Outcome {
    /// What a problem makes of the run.
    pub(in crate::report) fn of(problem: Option<&Problem>) -> Self {
        match problem {
            None => Outcome::Succeeded,
            Some(problem) if problem.unrestored => Outcome::Failed,
            Some(problem) if problem.code == Code::Superseded => Outcome::Superseded,
            Some(problem) if problem.is_rolled_back() => Outcome::RolledBack,
            Some(problem) => match problem.class() {
                Class::Cancelled => Outcome::Cancelled,
                _ => Outcome::Failed,
            },
        }
    }

    /// In words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled back",
            Outcome::Superseded => "superseded",
            Outcome::Cancelled => "cancelled",
        }
    }
}

impl ProblemRecord {
    pub(in crate::report) fn new(problem: &Problem, step: Option<Step>) -> Self {
        let evidence = problem.evidence.iter();
        ProblemRecord {
            class: problem.class(),
            code: problem.code.slug().to_string(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            evidence: evidence.map(|e| EvidenceRecord { kind: e.kind, source: e.source.clone(), text: e.text.clone() }).collect(),
            step,
            unrestored: problem.unrestored,
            page: None,
        }
    }
}

/// The page of a problem in the documentation, which is served at `help`.
pub fn page_of(help: &str, slug: &str) -> String {
    format!("{}/problems.html#{slug}", help.trim_end_matches('/'))
}

/// The word for what became of an object, as kubectl says it.
pub(in crate::report) fn change_word(change: Change) -> &'static str {
    match change {
        Change::Created => "created",
        Change::Configured => "configured",
        Change::Unchanged => "unchanged",
        Change::Deleted => "deleted",
    }
}

/// What a layer holds, in words.
pub(in crate::report) fn role_words(role: LayerRole) -> &'static str {
    match role {
        LayerRole::Base => "base",
        LayerRole::Dependencies => "dependencies",
        LayerRole::SnapshotDependencies => "snapshot dependencies",
        LayerRole::Application => "application",
        LayerRole::Other => "other",
    }
}

//! Configurations that are pushed on their own, beside releases: every version of an application's files for one environment, who pushed it
//! and why. The list of versions is one object, and its last one counts, so that a reader sees a push as a whole or not at all.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    claim::Timing,
    config::ConfigReference,
    digest::Digest,
    problem::{Code, Problem, Result},
    reference::dns_label,
};

/// Whose configuration it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Namespace that the application runs in.
    pub namespace: String,
    /// Name of the application's Deployment.
    pub application: String,
    pub environment: Option<String>,
}

impl Place {
    /// Names the objects that hold the files; the dot keeps them apart from those of releases, which go with their releases.
    pub fn owner(&self) -> String {
        format!("{}.pushed", self.application)
    }

    /// Where it is kept in a tree of nodes: `trade/web/prod`, and `-` without an environment, which no label is.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.application, self.environment.as_deref().map_or("-".to_string(), label))
    }

    /// Name of the object that lists the versions, and of the lock under which they are changed.
    pub fn head(&self) -> String {
        match &self.environment {
            None => self.owner(),
            Some(environment) => format!("{}.{}", self.owner(), label(environment)),
        }
    }

    /// As people read it: `web (prod)`.
    pub fn words(&self) -> String {
        match &self.environment {
            None => self.application.clone(),
            Some(environment) => format!("{} ({environment})", self.application),
        }
    }

    /// The problem of a change that did not know of the newest version.
    pub fn changed_meanwhile(&self, newest: Option<&Version>) -> Problem {
        let words = self.words();
        let message = match newest {
            Some(Version { version, author: Some(author), .. }) => {
                format!("{author} made version {version} of the configuration of {words} meanwhile")
            }
            Some(Version { version, .. }) => format!("version {version} of the configuration of {words} was made meanwhile"),
            None => format!("the configuration of {words} was changed by somebody else in the same moment"),
        };
        Problem::new(Code::LockHeld, message).hint("look at shipway config diff, then do it again")
    }
}

/// Who changes a configuration, and how.
pub struct Pushing {
    pub place: Place,
    pub author: Option<String>,
    pub reason: Option<String>,
    /// Versions that are kept.
    pub kept: usize,
    /// Now, RFC 3339.
    pub time: String,
    pub holder: String,
    /// For the lock, where there is one.
    pub wait: Duration,
    pub timing: Timing,
}

/// What becomes of a list of versions.
pub enum Change {
    /// The current version has these files already.
    None(Version),
    Next {
        versions: Versions,
        version: Version,
        /// Objects that no version has any more.
        gone: Vec<ConfigReference>,
    },
}

/// A DNS label that no other environment has: `review/a` and `review-a` are two.
fn label(environment: &str) -> String {
    match dns_label(environment) {
        Some(label) if label == environment => label,
        other => {
            let digest = Digest::from_sha256(&Sha256::digest(environment));
            let label = other.unwrap_or_default();
            format!("{}-{}", label.get(..40).unwrap_or(&label), &digest.hex()[..8]).trim_start_matches('-').to_string()
        }
    }
}

/// Which version is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Current,
    Number(u64),
    /// The newest one with these files, by their hash.
    Content(String),
}

impl Wanted {
    /// By its number, else the current one.
    pub fn number(number: Option<u64>) -> Self {
        number.map_or(Wanted::Current, Wanted::Number)
    }
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub version: u64,
    pub config: ConfigReference,
    /// How many files.
    pub files: usize,
    /// RFC 3339.
    pub time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version that a rollback put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
}

/// All versions that are kept, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    pub versions: Vec<Version>,
}

impl Versions {
    /// The one that counts.
    pub fn current(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// Fails with `lock-held` when a version came after those that were seen before.
    pub fn check_since(&self, before: &Versions, place: &Place) -> Result<()> {
        let number = |versions: &Versions| versions.current().map(|current| current.version);
        if number(self) == number(before) { Ok(()) } else { Err(place.changed_meanwhile(self.current())) }
    }

    /// The list with one more version; a rollback makes one even when it is to the current one.
    pub fn push(&self, pushing: &Pushing, config: ConfigReference, files: usize, restores: Option<u64>) -> Change {
        if let Some(current) = self.current().filter(|current| current.config == config && restores.is_none()) {
            return Change::None(current.clone());
        }
        let version = Version {
            version: self.next(),
            config,
            files,
            time: pushing.time.clone(),
            author: pushing.author.clone(),
            reason: pushing.reason.clone(),
            restores,
        };
        let mut versions = self.clone();
        versions.versions.push(version.clone());
        let gone = versions.trim(pushing.kept);
        Change::Next { versions, version, gone }
    }

    /// What a rollback goes to. Fails with `config-missing`, `revision-unknown` or `nothing-to-roll-back-to`.
    pub fn target(&self, place: &Place, to: Option<u64>) -> Result<&Version> {
        if to.is_some() { self.find(place, &Wanted::number(to)) } else { self.before(place) }
    }

    fn next(&self) -> u64 {
        self.current().map_or(1, |current| current.version + 1)
    }

    /// The version that is wanted. Fails with `config-missing` or `revision-unknown`.
    pub fn find(&self, place: &Place, wanted: &Wanted) -> Result<&Version> {
        let nothing =
            || Problem::new(Code::ConfigMissing, format!("no configuration of {} was pushed", place.words())).hint("shipway config push");
        let unknown = |which: String| {
            Problem::new(Code::RevisionUnknown, format!("there is no version {which} of the configuration of {}", place.words()))
                .hint("choose one that shipway config history lists")
        };
        match wanted {
            Wanted::Current => self.current().ok_or_else(nothing),
            _ if self.versions.is_empty() => Err(nothing()),
            Wanted::Number(number) => {
                self.versions.iter().find(|version| version.version == *number).ok_or_else(|| unknown(number.to_string()))
            }
            Wanted::Content(hash) => self
                .versions
                .iter()
                .rev()
                .find(|version| version.config.hash == *hash)
                .ok_or_else(|| unknown(format!("with the content {hash}"))),
        }
    }

    /// The last version before the current one that holds other files. Fails with `nothing-to-roll-back-to`.
    fn before(&self, place: &Place) -> Result<&Version> {
        let current = self.find(place, &Wanted::Current)?;
        self.versions.iter().rev().find(|version| version.config != current.config).ok_or_else(|| {
            Problem::new(Code::NothingToRollBackTo, format!("there is no earlier configuration of {}", place.words()))
                .hint("push a good one")
        })
    }

    /// Forgets the oldest versions; gives the objects that no version has any more.
    fn trim(&mut self, kept: usize) -> Vec<ConfigReference> {
        let going: Vec<Version> = self.versions.drain(..self.versions.len().saturating_sub(kept)).collect();
        let mut gone: Vec<ConfigReference> = Vec::new();
        for config in going.into_iter().map(|version| version.config) {
            if !gone.contains(&config) && !self.versions.iter().any(|version| version.config == config) {
                gone.push(config);
            }
        }
        gone
    }
}

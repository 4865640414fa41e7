//! Releases: the compact record of each, and the rules of revision and sequence.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Service, Volume},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    config::ConfigReference,
    custom::Identity,
    manifests::{Objects, keys},
    problem::{Code, Problem, Result},
    pushed::Version,
};

/// How a release ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not ended: a run is at work, or was killed.
    #[default]
    Pending,
    Succeeded,
    /// It failed and is still in place.
    Failed,
    /// It failed or was cancelled, and the previous release is back.
    RolledBack,
    /// The run that made it was killed; a later run found out.
    Interrupted,
}

impl Outcome {
    /// In words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Outcome::Pending => "pending",
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled back",
            Outcome::Interrupted => "interrupted",
        }
    }
}

/// What made a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    #[default]
    Publish,
    Rollback,
    Restart,
    /// It ran already when Shipway came.
    Found,
}

impl Cause {
    /// In a word, for people.
    pub fn words(self) -> &'static str {
        match self {
            Cause::Publish => "publish",
            Cause::Rollback => "rollback",
            Cause::Restart => "restart",
            Cause::Found => "found",
        }
    }
}

/// The record of one release: written as intent before the Deployment is touched, completed afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    pub revision: u64,
    #[serde(default)]
    pub cause: Cause,
    pub outcome: Outcome,
    /// Slug of the problem that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    pub image: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_url: Option<String>,
    pub sequence: Option<Sequence>,
    /// RFC 3339.
    pub started: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The revision that this one is a copy of, when it is a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
    /// Hash of what runs: two releases with the same one have the same pods.
    pub spec_hash: String,
    /// The object that holds its configuration files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigReference>,
    /// The version of the pushed configuration that these files are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<Version>,
    pub deployment: Deployment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption: Option<PodDisruptionBudget>,
    /// The user's other manifests, Secrets by name alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Value>,
    /// Of the user's Secrets the resourceVersion that was published: it tells a change, and nothing of the content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
}

impl Release {
    /// Whether a Deployment has the images and the configuration of this release, as nobody has changed them since.
    pub fn is_what_runs(&self, live: &Deployment) -> bool {
        let mounts = |config: &ConfigReference| {
            let pod = live.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
            pod.into_iter().flat_map(|pod| pod.volumes.iter().flatten()).any(|volume| mounted(volume) == Some(config.name.as_str()))
        };
        images(&self.deployment).all(|image| images(live).any(|running| running == image)) && self.config.as_ref().is_none_or(mounts)
    }

    /// What this release applied.
    pub fn objects(&self) -> Objects {
        Objects {
            deployment: self.deployment.clone(),
            service: self.service.clone(),
            autoscaler: self.autoscaler.clone(),
            disruption: self.disruption.clone(),
            others: self.others.clone(),
        }
    }
}

/// What grows from publish to publish, such as GitLab's pipeline id; written `gitlab/4711`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sequence {
    /// Who counts; numbers of different kinds are never compared.
    pub kind: String,
    pub number: u64,
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.number)
    }
}

impl TryFrom<String> for Sequence {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = |text: &str| {
            let (kind, number) = text.rsplit_once('/')?;
            Some(Sequence { kind: kind.to_string(), number: number.parse().ok()? })
        };
        read(&text).ok_or_else(|| format!("{text:?} is no sequence such as gitlab/4711"))
    }
}

impl From<Sequence> for String {
    fn from(sequence: Sequence) -> String {
        sequence.to_string()
    }
}

/// The revision and the sequence that a Deployment says it is at; None where it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    pub revision: Option<u64>,
    pub sequence: Option<Sequence>,
}

/// Reads the position from the annotations of a Deployment.
pub fn position(meta: &ObjectMeta) -> Position {
    let text = |key: &str| meta.annotations.as_ref()?.get(key);
    Position {
        revision: text(keys::REVISION).and_then(|text| text.parse().ok()),
        sequence: text(keys::SEQUENCE).and_then(|text| Sequence::try_from(text.clone()).ok()),
    }
}

/// Containers and what they run.
fn images(deployment: &Deployment) -> impl Iterator<Item = (&str, Option<&str>)> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let all = pod.into_iter().flat_map(|pod| pod.init_containers.iter().flatten().chain(&pod.containers));
    all.map(|container| (container.name.as_str(), container.image.as_deref()))
}

/// The object whose files a volume holds.
fn mounted(volume: &Volume) -> Option<&str> {
    let map = volume.config_map.as_ref().map(|map| map.name.as_str());
    map.or_else(|| volume.secret.as_ref()?.secret_name.as_deref())
}

/// One above everything that was ever seen.
pub fn next_revision(records: &[Release], live: &Position) -> u64 {
    records.iter().map(|record| record.revision).chain(live.revision).max().unwrap_or(0) + 1
}

/// Refuses a pipeline that is older than one that was published or tried; the same one may come again (a retried job).
pub fn check_sequence(live: &Position, ours: &Sequence) -> Result<()> {
    match &live.sequence {
        Some(theirs) if theirs.kind == ours.kind && theirs.number > ours.number => {
            let runs = live.revision.map(|revision| format!("; revision {revision} runs")).unwrap_or_default();
            Err(Problem::new(Code::Superseded, format!("{theirs} came before this one, and is newer ({ours}){runs}")))
        }
        _ => Ok(()),
    }
}

/// The last good release below `revision`: where a failed one goes back to.
pub fn previous_good(records: &[Release], revision: u64) -> Option<&Release> {
    records.iter().filter(|record| record.outcome == Outcome::Succeeded && record.revision < revision).max_by_key(|record| record.revision)
}

/// What `rollback` goes to: the revision that is asked for, else the last good one that does not run already. What failed and was put back
/// has been rolled back by itself: a step further has to be asked for.
pub fn rollback_target<'a>(records: &'a [Release], live: &Position, running: Option<&str>, to: Option<u64>) -> Result<&'a Release> {
    if let Some(to) = to {
        return records.iter().find(|record| record.revision == to).ok_or_else(|| unknown(records, to));
    }
    let live = live.revision.unwrap_or(u64::MAX);
    let last = records.iter().max_by_key(|record| record.revision).filter(|last| last.revision > live);
    let good =
        |record: &&Release| record.outcome == Outcome::Succeeded && record.revision != live && Some(record.spec_hash.as_str()) != running;
    let nothing = || {
        Problem::new(
            Code::NothingToRollBackTo,
            format!("none of the {} recorded releases is good and differs from what runs", records.len()),
        )
    };
    let target = records.iter().filter(good).max_by_key(|record| record.revision);
    match last.filter(|last| last.outcome == Outcome::RolledBack && last.restores.is_none()) {
        Some(failed) => Err(is_back(failed.revision, live, target)),
        None => target.ok_or_else(nothing),
    }
}

fn is_back(failed: u64, live: u64, further: Option<&Release>) -> Problem {
    let further = further.map(|release| format!("; shipway rollback --to {} goes back further", release.revision)).unwrap_or_default();
    Problem::new(Code::NothingToRollBackTo, format!("revision {failed} failed and was rolled back at once: revision {live} runs"))
        .hint(format!("nothing, if {live} is well{further}"))
}

/// The revision that a rollback which nobody ended was going back to: done again, it goes there too, and not back from there. Whoever came
/// between has written down that it was interrupted.
pub fn unended_rollback(records: &[Release]) -> Option<u64> {
    let last = records.iter().max_by_key(|record| record.revision)?;
    let unended = matches!(last.outcome, Outcome::Pending | Outcome::Interrupted);
    last.restores.filter(|_| unended && last.cause == Cause::Rollback)
}

/// Releases without an end, seen by a run that holds the lock: whoever made them is gone.
pub fn interrupted(records: &[Release]) -> impl Iterator<Item = &Release> {
    records.iter().filter(|record| record.outcome == Outcome::Pending)
}

/// Objects of one release that the next has not.
pub fn outgrown(before: &[Value], now: &[Value]) -> Vec<Value> {
    let stays = |value: &Value| now.iter().any(|now| Identity::of(now) == Identity::of(value));
    before.iter().filter(|value| !stays(value)).cloned().collect()
}

/// Records that can go: all but the newest `kept`, the one that runs (`live`: or is to run), and what a rollback can go to: of good releases
/// the newest one of each of the last `kept` pod templates, so that neither restarts nor failures take the way back.
pub fn prunable(records: &[Release], kept: usize, live: Option<u64>) -> Vec<&Release> {
    let mut newest: Vec<&Release> = records.iter().collect();
    newest.sort_unstable_by_key(|record| std::cmp::Reverse(record.revision));
    let mut templates: Vec<&str> = Vec::new();
    let mut needed = Vec::new();
    for record in &newest {
        let (template, runs) = (record.spec_hash.as_str(), Some(record.revision) == live);
        let way_back = (record.outcome == Outcome::Succeeded || runs) && templates.len() < kept.max(2) && !templates.contains(&template);
        if way_back {
            templates.push(template);
        }
        needed.push(way_back || runs);
    }
    newest.into_iter().zip(needed).skip(kept.max(1)).filter(|(_, needed)| !needed).map(|(record, _)| record).collect()
}

/// Configurations that go with these records, because none of the others has them.
pub fn unneeded_config(going: &[&Release], records: &[Release]) -> Vec<ConfigReference> {
    let goes = |record: &Release| going.iter().any(|gone| gone.revision == record.revision);
    let needed = |config: &ConfigReference| records.iter().any(|record| !goes(record) && record.config.as_ref() == Some(config));
    let mut found: Vec<ConfigReference> = Vec::new();
    for config in going.iter().filter_map(|record| record.config.as_ref()) {
        if !needed(config) && !found.contains(config) {
            found.push(config.clone());
        }
    }
    found
}

fn unknown(records: &[Release], to: u64) -> Problem {
    let known: Vec<String> = records.iter().map(|record| record.revision.to_string()).collect();
    let known = if known.is_empty() { "there are none".to_string() } else { format!("there are {}", known.join(", ")) };
    Problem::new(Code::RevisionUnknown, format!("there is no record of revision {to}; {known}"))
        .hint("choose one of those: shipway history tells what each was")
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;

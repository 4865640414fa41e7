//! A rollback that the owner asks for: a recorded release becomes the next one, watched and verified as a publish is.

use std::{path::PathBuf, time::Duration};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Released,
    connect::Cluster,
    lock::Wanted,
    publish::{Change, Held},
    records::{Records, spec_hash},
};
use crate::domain::{
    event::Events,
    manifests::{is_ours, keys},
    problem::{Code, Problem, Result},
    release::{Outcome, Release, Sequence, next_revision, position, rollback_target},
};

/// One rollback.
pub struct Rollback {
    /// Name of the Deployment.
    pub name: String,
    /// The revision to go back to; None: the last good one that does not run already.
    pub to: Option<u64>,
    /// Limit of the rollout.
    pub timeout: Duration,
    pub author: Option<String>,
    pub job_url: Option<String>,
    /// As for a publish.
    pub lock_wait: Duration,
    pub lock_ttl: Duration,
    pub holder: String,
    pub evidence: PathBuf,
}

impl Cluster {
    /// Makes a recorded release the next one. The sequence stays where it is, so that a pipeline which was overtaken before stays so.
    /// Fails with `nothing-to-roll-back-to` or `revision-unknown` before anything is changed.
    pub async fn rollback(&self, rollback: &Rollback, events: &Events, cancel: &CancellationToken) -> Result<Released> {
        let began = Instant::now();
        let name = &rollback.name;
        let wanted = Wanted { application: name, holder: &rollback.holder, wait: rollback.lock_wait, ttl: rollback.lock_ttl };
        let lock = self.lock(&wanted, events, cancel).await?;
        let result = match Box::pin(self.choose(rollback, Held { lock: &lock, events, cancel, began })).await {
            Ok(change) => Box::pin(self.carry_out(change)).await,
            Err(problem) => Err(problem),
        };
        lock.release().await;
        result
    }

    async fn choose<'a>(&self, rollback: &'a Rollback, held: Held<'a>) -> Result<Change<'a>> {
        let name = &rollback.name;
        let live = self.live(name).await?;
        let deployment = live.deployment.as_ref().filter(|deployment| is_ours(&deployment.metadata, name));
        let Some(deployment) = deployment else {
            return Err(Problem::new(
                Code::NotPublished,
                format!("there is no deployment {name} of shipway's in namespace {}", self.namespace),
            ));
        };
        let at = position(&deployment.metadata);
        let records = Records::new(self, name);
        let known = self.known(&records, Some(deployment), &at, held.events).await?;
        let running = known.iter().find(|release| Some(release.revision) == at.revision);
        let target = rollback_target(&known, &at, running.map(|release| release.spec_hash.as_str()), rollback.to)?;
        let chosen = if rollback.to.is_some() { "as asked for" } else { "the last good one that does not run already" };
        let (revision, version, image) = (target.revision, &target.version, &target.image);
        held.events.note(format!("rolling back to revision {revision} ({chosen}): version {version}, {image}"));
        let release = next(target, rollback, next_revision(&known, &at), at.sequence.clone());
        held.lock.check()?;
        records.create(&release).await?;
        let previous = running.filter(|release| release.outcome == Outcome::Succeeded).cloned();
        let objects = release.objects();
        Ok(Change {
            name,
            objects,
            release,
            previous,
            pull_secret: None,
            force: true,
            timeout: rollback.timeout,
            evidence: &rollback.evidence,
            live,
            known,
            held,
        })
    }
}

/// The release that a rollback makes: what the old one applied, stamped anew.
fn next(target: &Release, rollback: &Rollback, revision: u64, sequence: Option<Sequence>) -> Release {
    let mut deployment = target.deployment.clone();
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(keys::REVISION.to_string(), revision.to_string());
    let counted = sequence.as_ref().map(Sequence::to_string);
    for (key, value) in [(keys::SEQUENCE, &counted), (keys::JOB, &rollback.job_url), (keys::AUTHOR, &rollback.author)] {
        match value {
            Some(value) => drop(annotations.insert(key.to_string(), value.clone())),
            None => drop(annotations.remove(key)),
        }
    }
    Release {
        revision,
        sequence,
        outcome: Outcome::Pending,
        problem: None,
        author: rollback.author.clone(),
        job_url: rollback.job_url.clone(),
        started: Timestamp::now().to_string(),
        seconds: None,
        restores: Some(target.revision),
        spec_hash: spec_hash(&deployment),
        deployment,
        ..target.clone()
    }
}

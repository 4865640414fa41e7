//! A rollback that the owner asks for: a recorded release becomes the next one, watched and verified as a publish is.

use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Errand, Released,
    apply::{Live, kept, restarted},
    connect::Cluster,
    lock::Wanted,
    publish::{Change, Held, say_scale},
    records::{Records, spec_hash},
};
use crate::domain::{
    event::Events,
    manifests::{is_ours, keys},
    problem::{Code, Problem, Result},
    release::{Cause, Outcome, Position, Release, next_revision, position, rollback_target, unended_rollback},
};

/// One rollback.
pub struct Rollback {
    pub errand: Errand,
    /// The revision to go back to; None: the last good one that does not run already.
    pub to: Option<u64>,
}

/// New pods of an application that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pods {
    /// Of what runs.
    Same,
    /// Of what runs, until there are so many.
    UpTo(i32),
    /// Of the revision that a rollback goes back to.
    Back(Option<u64>),
}

/// An application of ours as it is found under the lock.
pub(super) struct Running {
    pub live: Live,
    pub deployment: Deployment,
    pub at: Position,
    pub known: Vec<Release>,
    /// Where a rollback that nobody ended was going back to.
    pub going_back: Option<u64>,
}

impl Running {
    /// The record of what runs.
    pub fn release(&self) -> Option<&Release> {
        self.known.iter().find(|release| Some(release.revision) == self.at.revision)
    }
}

impl Cluster {
    /// Makes a recorded release the next one. The sequence stays where it is, so that a pipeline which was overtaken before stays so.
    /// Fails with `nothing-to-roll-back-to`, `revision-unknown` or `config-missing` before anything is changed.
    pub async fn rollback(&self, rollback: &Rollback, events: &Events, cancel: &CancellationToken) -> Result<Released> {
        self.locked(&rollback.errand, true, events, cancel, async |cluster, held| {
            let change = Box::pin(cluster.choose(rollback, held)).await?;
            Box::pin(cluster.carry_out(change)).await
        })
        .await
    }

    /// The image that these pods would start; None: what would become of them is not known. Changes nothing.
    pub async fn image_of(&self, name: &str, pods: Pods) -> Result<Option<String>> {
        let (records, live) = (Records::new(self, name), self.get::<Deployment>(name).await?);
        let Some(live) = live else { return Ok(None) };
        let (at, replicas) = (position(&live.metadata), live.spec.and_then(|spec| spec.replicas).unwrap_or(1));
        let known = records.list().await?;
        let current = known.iter().find(|release| Some(release.revision) == at.revision);
        let found = match pods {
            Pods::Same => current,
            Pods::UpTo(number) => current.filter(|_| number > replicas),
            Pods::Back(to) => {
                let to = to.or_else(|| unended_rollback(&known));
                rollback_target(&known, &at, current.map(|release| release.spec_hash.as_str()), to).ok()
            }
        };
        Ok(found.map(|release| release.image.clone()))
    }

    /// Does something under the application's lock, by a connection that changes nothing once it is lost. `records`: it makes a release.
    pub(super) async fn locked<T>(
        &self,
        errand: &Errand,
        records: bool,
        events: &Events,
        cancel: &CancellationToken,
        work: impl AsyncFnOnce(&Cluster, Held<'_>) -> Result<T>,
    ) -> Result<T> {
        let began = Instant::now();
        if errand.preflight {
            self.check_rights(records).await?;
        }
        let wanted = Wanted { application: &errand.name, holder: &errand.holder, wait: errand.lock_wait, ttl: errand.lock_ttl };
        let lock = self.lock(&wanted, events, cancel).await?;
        let fenced = self.under(&lock);
        let result = Box::pin(work(&fenced, Held { lock: &lock, events, cancel, began })).await;
        lock.release().await;
        result
    }

    /// Reads the application; fails with `not-published` where there is none of ours.
    pub(super) async fn running(&self, name: &str, held: Held<'_>) -> Result<Running> {
        let live = self.live(name).await?;
        let Some(deployment) = live.deployment.clone().filter(|deployment| is_ours(&deployment.metadata, name)) else {
            let message = format!("there is no deployment {name} of shipway's in namespace {}", self.namespace);
            return Err(Problem::new(Code::NotPublished, message));
        };
        let at = position(&deployment.metadata);
        let records = Records::new(self, name);
        let mut known = records.list().await?;
        let going_back = unended_rollback(&known);
        self.end_interrupted(&records, &mut known, Some(&deployment), &at, held.events).await?;
        Ok(Running { live, deployment, at, known, going_back })
    }

    async fn choose<'a>(&self, rollback: &'a Rollback, held: Held<'a>) -> Result<Change<'a>> {
        let errand = &rollback.errand;
        let running = self.running(&errand.name, held).await?;
        let current = running.release();
        let (asked, going_back) = (rollback.to, running.going_back.filter(|to| running.known.iter().any(|known| known.revision == *to)));
        let running_hash = current.map(|release| release.spec_hash.as_str());
        let target = rollback_target(&running.known, &running.at, running_hash, asked.or(going_back))?;
        let chosen = match (asked, going_back) {
            (Some(_), _) => "as asked for",
            (None, Some(_)) => "where the rollback that was interrupted was going",
            (None, None) => "the last good one that does not run already",
        };
        let (revision, version, image) = (target.revision, &target.version, &target.image);
        self.check_config(target.config.as_ref(), revision).await?;
        held.events.note(format!("rolling back to revision {revision} ({chosen}): version {version}, {image}"));
        let mut release = next(target, errand, &running, restarted(&running.deployment));
        (release.cause, release.restores) = (Cause::Rollback, Some(revision));
        release.secrets = self.say_changed_secrets(target, held.events).await;
        self.begin(errand, running, release, true, held).await
    }

    /// Writes the intent down, and makes the change of it.
    pub(super) async fn begin<'a>(
        &self,
        errand: &'a Errand,
        running: Running,
        release: Release,
        force: bool,
        held: Held<'a>,
    ) -> Result<Change<'a>> {
        let others = self.recorded_others(&release).await?;
        held.lock.hold().await?;
        Records::new(self, &errand.name).create(&release).await?;
        say_scale(Some(&running.deployment), held.events);
        let previous = way_back(&running, &release).cloned();
        Ok(Change {
            name: &errand.name,
            objects: kept(release.objects(), &running.live),
            others,
            release,
            previous,
            secrets: Vec::new(),
            config: None,
            force,
            timeout: errand.timeout,
            budgets: errand.budgets.clone(),
            back_timeout: errand.timeout,
            history: errand.history,
            evidence: &errand.evidence,
            live: running.live,
            known: running.known,
            held,
        })
    }
}

/// Where a failed change goes back to: what runs, when that is good, else the last good release that is not the very one that is tried.
fn way_back<'a>(running: &'a Running, next: &Release) -> Option<&'a Release> {
    let current = running.release().filter(|release| release.outcome == Outcome::Succeeded);
    let good = |known: &&Release| known.outcome == Outcome::Succeeded && known.spec_hash != next.spec_hash;
    current.or_else(|| running.known.iter().filter(good).max_by_key(|known| known.revision))
}

/// The release after what runs: what `target` applied, stamped anew; `restarted` is when its pods were last restarted by hand.
pub(super) fn next(target: &Release, errand: &Errand, running: &Running, restarted: Option<String>) -> Release {
    let (revision, sequence) = (next_revision(&running.known, &running.at), running.at.sequence.clone());
    let mut deployment = target.deployment.clone();
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(keys::REVISION.to_string(), revision.to_string());
    let counted = sequence.as_ref().map(ToString::to_string);
    for (key, value) in [(keys::SEQUENCE, &counted), (keys::JOB, &errand.job_url), (keys::AUTHOR, &errand.author)] {
        match value {
            Some(value) => drop(annotations.insert(key.to_string(), value.clone())),
            None => drop(annotations.remove(key)),
        }
    }
    if let (Some(at), Some(spec)) = (restarted, deployment.spec.as_mut()) {
        let template = spec.template.metadata.get_or_insert_default();
        template.annotations.get_or_insert_default().insert(keys::RESTARTED.to_string(), at);
    }
    Release {
        revision,
        sequence,
        outcome: Outcome::Pending,
        problem: None,
        author: errand.author.clone(),
        job_url: errand.job_url.clone(),
        started: Timestamp::now().to_string(),
        seconds: None,
        restores: None,
        spec_hash: spec_hash(&deployment),
        deployment,
        ..target.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(revision: u64, outcome: &str, spec: &str) -> Release {
        let text = json!({"revision": revision, "outcome": outcome, "image": "a", "version": "1", "sequence": null, "started": "",
            "specHash": spec, "deployment": {"metadata": {}}});
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_rollback_from_what_is_not_good_has_a_way_back_all_the_same() {
        let mut running = Running {
            live: Live::default(),
            deployment: Deployment::default(),
            at: Position { revision: Some(4), sequence: None },
            known: vec![
                release(1, "succeeded", "a"),
                release(2, "succeeded", "b"),
                release(3, "succeeded", "c"),
                release(4, "interrupted", "d"),
            ],
            going_back: None,
        };
        let back = |running: &Running, spec: &str| way_back(running, &release(5, "pending", spec)).map(|release| release.revision);
        assert_eq!(back(&running, "c"), Some(2), "3 is what is tried");
        assert_eq!(back(&running, "a"), Some(3));
        running.known[3].outcome = Outcome::Succeeded;
        assert_eq!(back(&running, "a"), Some(4), "what runs, when it is good");
        running.known.truncate(1);
        assert_eq!(back(&running, "a"), None);
    }
}

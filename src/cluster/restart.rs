//! A rolling restart: the same release again with new pods, watched and judged as a publish is, and recorded.

use k8s_openapi::jiff::{Timestamp, Unit};
use tokio_util::sync::CancellationToken;

use super::{
    Errand, Released,
    connect::Cluster,
    publish::{Change, Held},
    records::Records,
    rollback::next,
};
use crate::domain::{
    event::Events,
    problem::{Code, Problem, Result},
    release::Cause,
};

impl Cluster {
    /// Replaces all pods by new ones of the same release. Fails with `not-published`; goes back when the new pods do not come up, to the
    /// old ones as far as they are still there.
    pub async fn restart(&self, errand: &Errand, force: bool, events: &Events, cancel: &CancellationToken) -> Result<Released> {
        self.locked(errand, true, events, cancel, async |cluster, held| {
            let change = Box::pin(cluster.again(errand, force, held)).await?;
            Box::pin(cluster.carry_out(change)).await
        })
        .await
    }

    async fn again<'a>(&self, errand: &'a Errand, force: bool, held: Held<'a>) -> Result<Change<'a>> {
        let mut running = self.running(&errand.name, held).await?;
        let records = Records::new(self, &errand.name);
        if let Some(found) = self.baseline(&records, &running.known, &running.live, &running.at).await? {
            running.at.revision = Some(found.revision);
            running.known.push(found);
        }
        let Some(current) = running.release() else {
            let message = format!("what runs of {} has no record and is not fully up", errand.name);
            return Err(Problem::new(Code::NotPublished, message).hint("publish it"));
        };
        let now = Timestamp::now();
        let now = now.round(Unit::Second).unwrap_or(now).to_string();
        let mut release = next(current, errand, &running, Some(now));
        release.cause = Cause::Restart;
        self.begin(errand, running, release, force, held).await
    }
}

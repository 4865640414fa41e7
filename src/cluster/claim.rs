//! Claims on Leases: the locks and leads that `shipway lock` and `shipway lead` hold.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    connect::Cluster,
    lease::{Lock, Terms},
};
use crate::domain::{
    claim::{Claim, Kind, Timing},
    event::Events,
    manifests::{MANAGER, keys},
    problem::Result,
};

/// Says what a Lease of ours is for.
const KIND: &str = "shipway.dev/claim";

impl Cluster {
    /// Waits for a claim and takes it; without `wait` as long as it takes.
    /// Fails with `lock-held` after the wait, with `cancelled` when that comes first.
    pub async fn claim(
        &self,
        claim: &Claim,
        holder: &str,
        wait: Option<Duration>,
        timing: Timing,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Lock> {
        let labels = [(keys::MANAGED_BY, MANAGER), (KIND, claim.kind().word())];
        let terms = Terms {
            lease: claim.object(),
            labels: labels.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            holder: holder.to_string(),
            what: claim.words(),
            taken: format!("{} of", claim.words()),
            held: match claim.kind() {
                Kind::Lead => format!("{} is taken by", claim.words()),
                Kind::Lock | Kind::Publish => format!("{} is held by", claim.words()),
            },
            wait,
            ttl: timing.ttl,
            tenure: timing.tenure(),
            renewal: timing.renewal(),
            patient: false,
            trusts_clocks: false,
        };
        self.take(&terms, events, cancel).await
    }
}

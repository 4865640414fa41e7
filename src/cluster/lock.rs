//! The publish lock: one Lease for each application, unless it is held elsewhere.

use std::{collections::BTreeMap, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    connect::Cluster,
    lease::{Lock, Terms},
};
use crate::domain::{
    event::Events,
    manifests::{MANAGER, keys, label_value},
    problem::Result,
};

/// Who wants the lock, for how long it lives without renewal, and how long to wait for it.
pub struct Wanted<'a> {
    pub application: &'a str,
    pub holder: &'a str,
    pub wait: Duration,
    pub ttl: Duration,
}

impl Cluster {
    /// Waits for the lock of an application and takes it.
    /// Fails with `lock-held` after the wait, with `cancelled` when that comes first.
    pub(super) async fn lock(&self, wanted: &Wanted<'_>, events: &Events, cancel: &CancellationToken) -> Result<Lock> {
        if let Some(fence) = &self.held {
            return Ok(Lock::elsewhere(self, fence.clone()));
        }
        let labels = [(keys::MANAGED_BY, MANAGER.to_string()), (keys::INSTANCE, label_value(wanted.application))];
        let terms = Terms {
            lease: lease_name(wanted.application),
            labels: labels.map(|(key, value)| (key.to_string(), value)).into_iter().collect::<BTreeMap<_, _>>(),
            holder: wanted.holder.to_string(),
            what: format!("the lock of {}", wanted.application),
            taken: "the lock of".to_string(),
            held: format!("{} is being published by", wanted.application),
            wait: Some(wanted.wait),
            ttl: wanted.ttl,
            // nothing has to be ended in time: every single change asks first, and carries the version that it was decided on
            tenure: wanted.ttl,
            patient: true,
            renewal: wanted.ttl / 3,
            trusts_clocks: true,
        };
        self.take(&terms, events, cancel).await
    }
}

/// Name of an application's Lease.
pub fn lease_name(application: &str) -> String {
    format!("shipway-{application}")
}

//! Rollback, restart, scale and remove, ended by SIGKILL at every change that they make; the same command once more finishes them.

use std::path::Path;

use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Service},
};
use kube::api::ListParams;
use shipway::domain::release::Outcome;

use super::{
    ground::{Ground, NAME, image},
    killed::{KILLED, all_is_well, each_change, killed_at, publish},
};
use crate::support::{
    block_on,
    shipway::{Shipway, shipway},
};

/// The command on what the publishes of these tags made, killed at each of its changes and then run again; `then` looks at what is there.
/// Gives how many changes there are.
fn killed_everywhere(command: &[&str], tags: &[&str], then: impl AsyncFn(&Ground, usize) + Sync) -> usize {
    each_change(1, |change| {
        let ground = block_on(Ground::pretended(&format!("killed {} {change}", command[0])));
        let (folder, kubeconfig) = (tempfile::tempdir().unwrap(), ground.namespace.kubeconfig.clone());
        for (number, tag) in (1..).zip(tags) {
            publish(folder.path(), &kubeconfig, &ground, tag, number).run().expect_code(0);
        }
        let run = |kubeconfig: &Path| errand(folder.path(), kubeconfig, &ground, command);
        let (finished, changes) = killed_at(change, &ground, run);
        if changes < change {
            finished.expect_code(0);
            return false;
        }
        finished.expect_code(KILLED);
        // one that had ended, but for the lock, would be another rollback
        let ended = block_on(ground.records()).last().is_some_and(|last| last.restores.is_some() && last.outcome == Outcome::Succeeded);
        let again = if ended { run(&kubeconfig).args(["--to", "1"]) } else { run(&kubeconfig) };
        again.run().expect_code(0);
        block_on(then(&ground, change));
        true
    })
}

fn errand(folder: &Path, kubeconfig: &Path, ground: &Ground, command: &[&str]) -> Shipway {
    let settings = [
        ("SHIPWAY_APP", NAME),
        ("SHIPWAY_REGISTRY_INSECURE", "true"),
        ("SHIPWAY_KUBERNETES_NAMESPACE", ground.namespace.name.as_str()),
        ("SHIPWAY_LOCK_TTL", "5s"),
    ];
    shipway(folder).args(command).envs(settings).env("KUBECONFIG", kubeconfig)
}

#[test]
fn a_rollback_killed_at_any_change_is_ended_by_the_next() {
    let points = killed_everywhere(&["rollback"], &["1", "2"], async |ground, change| {
        all_is_well(ground, "1", change).await;
        assert_eq!(ground.records().await.last().unwrap().restores, Some(1), "killed at change {change}");
    });
    assert!(points > 5, "lease, record, Service, Deployment, record, lease: {points}");
}

#[test]
fn a_restart_killed_at_any_change_is_ended_by_the_next() {
    let points = killed_everywhere(&["restart"], &["1"], async |ground, change| {
        all_is_well(ground, "1", change).await;
        let template = ground.deployment().await.spec.unwrap().template;
        assert!(template.metadata.unwrap().annotations.unwrap().contains_key("shipway.dev/restarted"), "killed at change {change}");
    });
    assert!(points > 5, "lease, record, Service, Deployment, record, lease: {points}");
}

#[test]
fn a_scale_killed_at_any_change_is_ended_by_the_next() {
    let points = killed_everywhere(&["scale", "3"], &["1"], async |ground, change| {
        assert_eq!(ground.running().await, vec![image("1").to_string(); 3], "killed at change {change}");
        let lease = ground.api::<Lease>().await.get("shipway-web").await.unwrap();
        assert_eq!(lease.spec.unwrap().holder_identity, None, "killed at change {change}");
        assert!(ground.records().await.iter().all(|record| record.outcome == Outcome::Succeeded), "killed at change {change}");
    });
    assert!(points > 2, "lease, Deployment, lease: {points}");
}

#[test]
fn a_removal_killed_at_any_change_is_ended_by_the_next() {
    let points = killed_everywhere(&["remove"], &["1", "2"], async |ground, change| {
        assert!(ground.api::<Deployment>().await.get_opt(NAME).await.unwrap().is_none(), "killed at change {change}");
        assert!(ground.api::<Service>().await.get_opt(NAME).await.unwrap().is_none(), "killed at change {change}");
        assert!(ground.api::<Lease>().await.get_opt("shipway-web").await.unwrap().is_none(), "killed at change {change}");
        let ours = ListParams::default().labels("app.kubernetes.io/managed-by=shipway");
        let left = ground.api::<ConfigMap>().await.list(&ours).await.unwrap().items;
        assert!(left.is_empty(), "killed at change {change}: {left:?}");
    });
    assert!(points > 5, "lease, Service, Deployment, two records, lease: {points}");
}

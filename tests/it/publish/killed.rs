//! The process ended by SIGKILL at every change that it makes of the cluster; one rerun then finishes or reverts what it left.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, Ordering},
    },
};

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace},
    policy::v1::PodDisruptionBudget,
};
use kube::api::{Api as Objects, ListParams, Patch, PatchParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use shipway::domain::release::{Outcome, Release};

use super::ground::{Ground, NAME, image};
use crate::support::{
    api::{Act, Api},
    block_on,
    lab::lab,
    shipway::{Finished, Shipway, shipway},
};

pub const KILLED: i32 = 128 + 9;

pub fn publish(folder: &Path, kubeconfig: &Path, ground: &Ground, tag: &str, number: u32) -> Shipway {
    let settings = [
        ("CI", "true"),
        ("GITLAB_CI", "true"),
        ("CI_COMMIT_BRANCH", "main"),
        ("CI_DEFAULT_BRANCH", "main"),
        ("SHIPWAY_APP", NAME),
        ("SHIPWAY_REGISTRY_INSECURE", "true"),
        ("SHIPWAY_KUBERNETES_NAMESPACE", ground.namespace.name.as_str()),
        ("SHIPWAY_KUBERNETES_ROLLING_MIN_READY_SECONDS", "0"),
        ("SHIPWAY_LOCK_TTL", "5s"),
    ];
    let run = shipway(folder).args(["publish", "--image", &image(tag).to_string()]).envs(settings).env("KUBECONFIG", kubeconfig);
    run.env("CI_PIPELINE_ID", number.to_string()).env("CI_JOB_URL", format!("https://ci.test/jobs/{number}"))
}

/// A run behind a proxy that kills it once the server has done its n-th change.
pub fn killed_at(change: usize, ground: &Ground, run: impl FnOnce(&Path) -> Shipway) -> (Finished, usize) {
    let process = Arc::new(AtomicI32::new(0));
    let ended = process.clone();
    let end: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        let process = Pid::from_raw(ended.load(Ordering::SeqCst)).unwrap();
        let _ = kill_process(process, Signal::KILL);
    });
    let api =
        Api::with(&ground.namespace.kubeconfig, move |seen| if seen.change == change { Act::Swallow(end.clone()) } else { Act::Pass });
    let run = run(&api.kubeconfig).spawn();
    process.store(run.id().try_into().unwrap(), Ordering::SeqCst);
    let finished = run.wait();
    (finished, api.changes())
}

/// After the rerun: the newest image runs, nothing is pending, the record of what runs is a good one, and the lock is free.
pub async fn all_is_well(ground: &Ground, tag: &str, at: usize) {
    let wanted = vec![image(tag).to_string(); 2];
    for _ in 0..100 {
        // a release is up before the controller has told the last old pod to go
        if ground.running().await == wanted {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(ground.running().await, wanted, "killed at change {at}");
    let revision: u64 = ground.deployment().await.metadata.annotations.unwrap()["shipway.dev/revision"].parse().unwrap();
    let records = ground.records().await;
    assert!(records.iter().all(|record| record.outcome != Outcome::Pending), "killed at change {at}: {:?}", outcomes(&records));
    let last = records.last().unwrap();
    assert_eq!((last.revision, last.outcome), (revision, Outcome::Succeeded), "killed at change {at}");
    let lease = ground.api::<Lease>().await.get("shipway-web").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity, None, "killed at change {at}");
}

fn outcomes(records: &[Release]) -> Vec<(u64, Outcome)> {
    records.iter().map(|record| (record.revision, record.outcome)).collect()
}

/// Tries every change from `first` on until a run makes so few that it ends by itself; several at a time, since each waits for a lock
/// to expire. Gives how many there were.
pub fn each_change(first: usize, one: impl Fn(usize) -> bool + Sync) -> usize {
    let (next, last) = (Mutex::new(first), Mutex::new(usize::MAX));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let change = {
                        let mut next = next.lock().unwrap();
                        *next += 1;
                        *next - 1
                    };
                    if change >= *last.lock().unwrap() {
                        return;
                    }
                    if !one(change) {
                        let mut last = last.lock().unwrap();
                        *last = change.min(*last);
                        return;
                    }
                }
            });
        }
    });
    *last.lock().unwrap()
}

#[test]
fn a_publish_killed_at_any_change_is_ended_by_the_next() {
    let points = each_change(1, |change| {
        let ground = block_on(Ground::pretended(&format!("killed {change}")));
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = ground.namespace.kubeconfig.clone();
        publish(folder.path(), &kubeconfig, &ground, "1", 1).run().expect_code(0);
        let (finished, changes) = killed_at(change, &ground, |proxied| publish(folder.path(), proxied, &ground, "2", 2));
        if changes < change {
            finished.expect_code(0);
            return false;
        }
        let finished = finished.expect_code(KILLED);
        println!("killed at change {change} after {:.1?}", finished.took);
        publish(folder.path(), &kubeconfig, &ground, "2", 2).run().expect_code(0);
        block_on(all_is_well(&ground, "2", change));
        true
    });
    assert!(points > 5, "a publish makes at least lease, record, Service, Deployment, record, lease: {points}");
}

/// With everything that a release may have: configuration, an autoscaler that takes the number over, a budget.
fn with_all(run: Shipway, folder: &Path) -> Shipway {
    std::fs::create_dir_all(folder.join("config")).unwrap();
    std::fs::write(folder.join("config/app.yml"), "mode: two").unwrap();
    run.envs([
        ("SHIPWAY_KUBERNETES_CONFIG_FROM", "config/"),
        ("SHIPWAY_KUBERNETES_CONFIG_MOUNT", "/config"),
        ("SHIPWAY_KUBERNETES_AUTOSCALE_ENABLED", "true"),
        ("SHIPWAY_KUBERNETES_AUTOSCALE_MIN", "2"),
        ("SHIPWAY_KUBERNETES_AUTOSCALE_MAX", "4"),
        ("SHIPWAY_KUBERNETES_DISRUPTION_ENABLED", "true"),
    ])
}

#[test]
fn a_publish_with_all_there_is_killed_at_any_change_is_ended_by_the_next() {
    let points = each_change(2, |change| {
        let ground = block_on(Ground::pretended(&format!("killed rich {change}")));
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = ground.namespace.kubeconfig.clone();
        publish(folder.path(), &kubeconfig, &ground, "1", 1).run().expect_code(0);
        let rich = |kubeconfig: &Path| with_all(publish(folder.path(), kubeconfig, &ground, "2", 2), folder.path());
        let (finished, changes) = killed_at(change, &ground, rich);
        if changes < change {
            finished.expect_code(0);
            return false;
        }
        finished.expect_code(KILLED);
        rich(&kubeconfig).run().expect_code(0);
        block_on(async {
            all_is_well(&ground, "2", change).await;
            all_is_there(&ground, change).await;
        });
        true
    });
    assert!(points > 9, "beside what a plain one makes: configuration, number, autoscaler, budget: {points}");
}

/// Configuration (once), autoscaler and budget are there, and the number is the autoscaler's.
async fn all_is_there(ground: &Ground, at: usize) {
    let deployment = ground.deployment().await;
    let entries = deployment.metadata.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some("shipway"));
    let ours = entries.filter_map(|entry| entry.fields_v1.as_ref()).any(|fields| fields.0.pointer("/f:spec/f:replicas").is_some());
    let spec = deployment.spec.unwrap();
    assert!(spec.replicas == Some(2) && !ours, "killed at change {at}");
    let mounted = spec.template.spec.unwrap().volumes.unwrap().remove(0).config_map.unwrap().name;
    let maps = ground.api::<ConfigMap>().await.list(&ListParams::default().labels("shipway.dev/config")).await.unwrap().items;
    let names: Vec<_> = maps.into_iter().filter_map(|map| map.metadata.name).collect();
    assert_eq!(names, [mounted], "killed at change {at}");
    assert!(ground.api::<HorizontalPodAutoscaler>().await.get_opt(NAME).await.unwrap().is_some(), "killed at change {at}");
    assert!(ground.api::<PodDisruptionBudget>().await.get_opt(NAME).await.unwrap().is_some(), "killed at change {at}");
}

#[test]
fn a_way_back_killed_at_any_change_is_ended_by_the_next() {
    // up to the Deployment's patch it is as above: lease, record, Service, Deployment
    let points = each_change(5, |change| {
        let ground = block_on(Ground::pretended(&format!("killed back {change}")));
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = ground.namespace.kubeconfig.clone();
        publish(folder.path(), &kubeconfig, &ground, "1", 1).run().expect_code(0);
        block_on(async {
            let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
            let namespaces: Objects<Namespace> = Objects::all(lab().client().await);
            namespaces.patch(&ground.namespace.name, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
        });
        let broken = |kubeconfig: &Path| publish(folder.path(), kubeconfig, &ground, "3", 2).env("SHIPWAY_KUBERNETES_SECURITY", "off");
        let (finished, changes) = killed_at(change, &ground, broken);
        if changes < change {
            finished.expect_code(50);
            return false;
        }
        finished.expect_code(KILLED);
        publish(folder.path(), &kubeconfig, &ground, "2", 3).run().expect_code(0);
        block_on(all_is_well(&ground, "2", change));
        true
    });
    assert!(points > 7, "a way back makes at least Deployment, record, lease: {points}");
}

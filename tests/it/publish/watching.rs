//! Looking on: logs of all pods, and a status that keeps itself fresh.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
    policy::v1::PodDisruptionBudget,
    rbac::v1::Role,
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use shipway::{
    cluster::{self, LogLine, LogQuery, Scaling, Target},
    domain::status::Status,
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, NAME, image};
use crate::support::api::{Act, Api};

/// Kinds that a status watches, each with a list and a watch.
const WATCHED: usize = 6;

fn query(revision: Option<u64>) -> LogQuery {
    LogQuery { name: NAME.to_string(), revision, since: None }
}

#[tokio::test]
async fn logs_of_all_pods_come_in_the_order_of_time_with_lives_before() {
    let ground = Ground::new("logs");
    // the second revision crashes on and on, and stays, because there is nothing to go back to
    ground.publish_tag("crash", 1).await.unwrap_err();
    let cluster = ground.cluster().await;
    let found = cluster.log_sources(&query(None)).await.unwrap();
    assert!(found.sources.iter().any(|source| source.previous), "{found:?}");
    let mut lines = Vec::new();
    cluster.read_logs(&found.sources, None, &mut |line: LogLine| lines.push(line)).await.unwrap();
    assert!(!lines.is_empty() && lines.is_sorted_by_key(|line| line.at), "{lines:?}");
    assert!(lines.iter().all(|line| line.container == "app" && line.pod.starts_with("web-")));

    let archived = archive(&ground, "1");
    let lives =
        |end: &str| archived.iter().filter(|(name, text)| name.starts_with("web-") && name.ends_with(end) && !text.is_empty()).count();
    assert!(lives("/app-previous.log") > 0, "{:?}", archived.iter().map(|(name, _)| name).collect::<Vec<_>>());

    ground.publish_tag("1", 2).await.unwrap();
    let of = async |revision| cluster.log_sources(&query(Some(revision))).await.unwrap().sources;
    assert_eq!(of(2).await.len(), 2, "two pods, one life each");
    assert!(of(2).await.iter().all(|source| !source.previous));
    let unknown = cluster.log_sources(&query(Some(9))).await.unwrap_err();
    assert_eq!(unknown.code.slug(), "revision-unknown");
    assert!(unknown.message.contains("1, 2"), "{}", unknown.message);
    // a test of the archive by itself would wait for the same crashes once more
    assert!(archive(&ground, "2").iter().all(|(name, text)| name.ends_with("/app.log") && text.contains('Z')));
    let mut whole = Vec::new();
    let bytes = cluster.copy_whole_log(&of(2).await[0], None, &mut whole).await.unwrap();
    assert!(bytes > 0 && bytes == whole.len() as u64);
}

#[tokio::test]
async fn a_followed_log_takes_in_pods_that_come() {
    let ground = Ground::new("follow logs");
    let mut workload = ground.workload("1");
    workload.replicas = Some(1);
    ground.publish(&ground.publish_of(workload, 1)).await.unwrap();
    let seen: Arc<Mutex<Vec<LogLine>>> = Arc::default();
    let (cluster, cancel, sink) = (ground.cluster().await, CancellationToken::new(), seen.clone());
    let stop = cancel.clone();
    let following = async {
        cluster.follow_logs(&query(None), &stop, &mut |line| sink.lock().unwrap().push(line)).await.unwrap();
    };
    let pods = || {
        let lines = seen.lock().unwrap();
        lines.iter().map(|line| line.pod.clone()).collect::<std::collections::BTreeSet<_>>().len()
    };
    let acting = async {
        until("the first pod's lines", || pods() == 1).await;
        stranger(&ground).await;
        let scaling = Scaling { errand: ground.errand(), to: Some(2), replicas: None };
        ground.cluster().await.scale(&scaling, &ground.events, &CancellationToken::new()).await.unwrap();
        until("the second pod's lines", || pods() == 2).await;
        cancel.cancel();
    };
    tokio::join!(following, acting);
    assert!(seen.lock().unwrap().iter().all(|line| line.pod.starts_with("web-")), "a pod of others");

    let mut following = ground.binary(&["logs", "--follow"]).spawn();
    following.wait_until("lines of both pods", |printed| {
        printed.lines().filter_map(|line| line.split_once('/')).map(|(pod, _)| pod).collect::<std::collections::BTreeSet<_>>().len() == 2
    });
    following.terminate();
    following.wait().expect_code(0);
}

/// What `logs --revision N --to` writes: names and contents.
fn archive(ground: &Ground, revision: &str) -> Vec<(String, String)> {
    ground.binary(&["logs", "--revision", revision, "--to", "logs.tar.gz"]).run().expect_code(0).expect_text(&["logs.tar.gz"]);
    let packed = std::fs::File::open(ground.folder.path().join("logs.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        (name, std::io::read_to_string(entry).unwrap())
    };
    archive.entries().unwrap().map(read).collect()
}

#[tokio::test]
async fn logs_of_a_revision_whose_pods_are_gone_say_where_they_are() {
    let ground = Ground::new("logs gone");
    ground.publish_tag("1", 1).await.unwrap();
    ground.publish_tag("crash", 2).await.unwrap_err();
    let cluster = ground.cluster().await;
    let gone = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            match cluster.log_sources(&query(Some(2))).await {
                Err(problem) if problem.message.contains("is left") => return problem,
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    });
    let gone = gone.await.unwrap();
    assert_eq!((gone.code.slug(), gone.exit_code()), ("not-published", 10));
    assert_eq!(gone.message, format!("no pod of revision 2 of web is left in namespace {}", ground.namespace.name));
    assert_eq!(gone.hint, "what its pods said is in the report of https://ci.test/jobs/2 (pods/)");
    let told = ["no pod of revision 2 of web is left", "https://ci.test/jobs/2 (pods/)"];
    for more in [&["--follow"][..], &["--to", "logs.tar.gz"], &[]] {
        ground.binary(&[&["logs", "--revision", "2"], more].concat()).run().expect_code(10).expect_text(&told);
    }
    assert!(!ground.folder.path().join("logs.tar.gz").exists());
    ground.binary(&["logs", "--revision", "1"]).run().expect_code(0);
}

/// A pod of somebody else with the labels that the Deployment selects.
async fn stranger(ground: &Ground) {
    let pods = ground.api::<Pod>().await;
    let labels = ground.deployment().await.spec.unwrap().selector.match_labels;
    let container = json!({"name": "app", "image": image("1").to_string()});
    let pod = json!({"metadata": {"name": "stranger", "labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let started = |pod: Pod| {
        pod.status.and_then(|status| status.container_statuses).is_some_and(|all| all.iter().all(|one| one.started == Some(true)))
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !started(pods.get("stranger").await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.expect("the stranger starts");
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} did not come"));
}

#[tokio::test]
async fn a_watched_status_is_told_by_changes_and_asks_for_nothing() {
    let ground = Ground::new("watch status");
    let mut workload = ground.workload("1");
    workload.replicas = Some(1);
    ground.publish(&ground.publish_of(workload, 1)).await.unwrap();
    let seen: Arc<Mutex<Vec<Status>>> = Arc::default();
    let (cluster, cancel, sink) = (ground.cluster().await, CancellationToken::new(), seen.clone());
    let stop = cancel.clone();
    let watching = async {
        cluster.watch_status(NAME, &stop, &mut |status: &Status| sink.lock().unwrap().push(status.clone())).await.unwrap();
    };
    let last = |condition: &dyn Fn(&Status) -> bool| seen.lock().unwrap().last().is_some_and(condition);
    let acting = async {
        until("the first status", || last(&|status| status.pods.len() == 1 && status.revisions.len() == 1)).await;
        until("all watches", || cluster.requests() == 1 + 2 * WATCHED).await;
        let two = json!({"spec": {"replicas": 2}, "metadata": {"annotations": {"shipway.dev/commit": "another"}}});
        ground.api::<Deployment>().await.patch(NAME, &PatchParams::default(), &Patch::Merge(&two)).await.unwrap();
        until("the second pod", || last(&|status| status.replicas.ready == 2 && status.commit.as_deref() == Some("another"))).await;
        let port = json!({"spec": {"ports": [{"name": "http", "port": 8088}]}});
        ground.api::<Service>().await.patch(NAME, &PatchParams::default(), &Patch::Merge(&port)).await.unwrap();
        until("the Service's port", || last(&|status| status.url.as_deref().is_some_and(|url| url.ends_with(":8088")))).await;
        budget(&ground).await;
        until("the budget", || last(&|status| status.disruption.is_some())).await;
        stranger(&ground).await;
        assert!(last(&|status| status.pods.len() == 2), "a pod of others");
        assert_eq!(cluster.requests(), 1 + 2 * WATCHED, "watches alone");
        cancel.cancel();
    };
    tokio::join!(watching, acting);
    assert_eq!(seen.lock().unwrap()[0].revision, Some(1));
}

async fn budget(ground: &Ground) {
    let budget = json!({"metadata": {"name": NAME}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/instance": NAME}}}});
    ground.api::<PodDisruptionBudget>().await.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
}

#[tokio::test]
async fn an_account_of_an_older_role_watches_all_the_same() {
    let ground = Ground::pretended("watch older role").await;
    ground.publish_tag("1", 1).await.unwrap();
    let roles = ground.api::<Role>().await;
    let mut role = roles.get("shipway").await.unwrap();
    for rule in role.rules.iter_mut().flatten() {
        let resources = rule.resources.clone().unwrap_or_default();
        if resources.iter().any(|resource| resource == "services" || resource == "poddisruptionbudgets") {
            rule.verbs.retain(|verb| verb != "list" && verb != "watch");
        }
    }
    roles.replace("shipway", &PostParams::default(), &role).await.unwrap();
    let seen: Arc<Mutex<Vec<Status>>> = Arc::default();
    let (cluster, cancel, sink) = (ground.cluster().await, CancellationToken::new(), seen.clone());
    let stop = cancel.clone();
    let watching = async {
        cluster.watch_status(NAME, &stop, &mut |status: &Status| sink.lock().unwrap().push(status.clone())).await.unwrap();
    };
    let acting = async {
        until("the Service", || seen.lock().unwrap().last().is_some_and(|status| status.url.is_some())).await;
        budget(&ground).await;
        until("the budget, at a tick", || seen.lock().unwrap().last().is_some_and(|status| status.disruption.is_some())).await;
        cancel.cancel();
    };
    tokio::join!(watching, acting);
}

#[tokio::test]
async fn a_watched_status_says_since_when_nobody_answers() {
    let ground = Ground::pretended("watch unheard").await;
    ground.publish_tag("1", 1).await.unwrap();
    let api = Api::before(&ground.namespace.kubeconfig);
    let target = Target { kubeconfig: vec![api.kubeconfig.clone()], ..Target::default() };
    let cluster = cluster::connect(&target, &ground.namespace.name).await.unwrap();
    let seen: Arc<Mutex<Vec<Status>>> = Arc::default();
    let (cancel, sink) = (CancellationToken::new(), seen.clone());
    let stop = cancel.clone();
    let watching = async {
        cluster.watch_status(NAME, &stop, &mut |status: &Status| sink.lock().unwrap().push(status.clone())).await.unwrap();
    };
    let last = |condition: &dyn Fn(&Status) -> bool| seen.lock().unwrap().last().is_some_and(condition);
    let acting = async {
        until("the first status", || last(&|status| status.pods.len() == 2 && status.unheard_since.is_none())).await;
        api.down(true);
        let away = json!({"metadata": {"annotations": {"shipway.dev/commit": "meanwhile"}}});
        ground.api::<Deployment>().await.patch(NAME, &PatchParams::default(), &Patch::Merge(&away)).await.unwrap();
        until("a word that nobody answers", || last(&|status| status.unheard_since.is_some())).await;
        assert!(last(&|status| status.pods.len() == 2 && status.replicas.ready == 2), "what was seen last stays");
        api.down(false);
        until("the change", || last(&|status| status.unheard_since.is_none() && status.commit.as_deref() == Some("meanwhile"))).await;
        cancel.cancel();
    };
    tokio::join!(watching, acting);
    assert!(seen.lock().unwrap().iter().all(|status| status.pods.len() == 2), "a list that comes in takes nothing away until it is whole");
}

#[tokio::test]
async fn an_application_that_is_deleted_while_no_watch_stands_is_gone() {
    let ground = Ground::pretended("status gap").await;
    ground.publish_tag("1", 1).await.unwrap();
    let (api, forgotten) = (Api::before(&ground.namespace.kubeconfig), Arc::new(AtomicBool::new(false)));
    let expired =
        json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}});
    let gap = forgotten.clone();
    api.rule(move |seen| match seen.is_watch() && seen.path.ends_with("/deployments") && gap.load(Ordering::SeqCst) {
        true => Act::Answer(200, Vec::new(), format!("{expired}\n")),
        false => Act::Pass,
    });
    let target = Target { kubeconfig: vec![api.kubeconfig.clone()], ..Target::default() };
    let cluster = cluster::connect(&target, &ground.namespace.name).await.unwrap();
    let (seen, never) = (AtomicBool::new(false), CancellationToken::new());
    let mut tell = |_: &Status| seen.store(true, Ordering::SeqCst);
    let watching = tokio::time::timeout(Duration::from_secs(60), cluster.watch_status(NAME, &never, &mut tell));
    let acting = async {
        until("the first status", || seen.load(Ordering::SeqCst)).await;
        forgotten.store(true, Ordering::SeqCst);
        api.down(true);
        ground.api::<Deployment>().await.delete(NAME, &DeleteParams::default()).await.unwrap();
        while ground.api::<Deployment>().await.get_opt(NAME).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        api.down(false);
    };
    let (ended, ()) = tokio::join!(watching, acting);
    assert_eq!(ended.unwrap().unwrap_err().code.slug(), "not-published");
}

#[tokio::test]
async fn the_events_of_a_pod_are_read_no_longer_than_it_is_there() {
    let ground = Ground::new("events end");
    let mut workload = ground.workload("never-ready");
    workload.replicas = Some(1);
    let api = Api::before(&ground.namespace.kubeconfig);
    let target = Target { kubeconfig: vec![api.kubeconfig.clone()], ..Target::default() };
    let cluster = cluster::connect(&target, &ground.namespace.name).await.unwrap();
    let (publish, cancel) = (ground.publish_of(workload, 1), CancellationToken::new());
    let first = || api.seen().into_iter().find(|seen| seen.is_watch() && seen.path.ends_with("/events"));
    let acting = async {
        until("the watch of the pod's events", || first().is_some_and(|seen| seen.open)).await;
        let pods = ground.api::<Pod>().await;
        pods.delete(&ground.pod_names().await[0], &DeleteParams::default().grace_period(0)).await.unwrap();
        until("the end of that watch", || first().is_some_and(|seen| !seen.open)).await;
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(cluster.publish(&publish, &ground.events, &cancel), acting);
    assert_eq!(ended.unwrap_err().code.slug(), "cancelled");
}

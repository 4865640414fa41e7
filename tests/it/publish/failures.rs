//! Releases that fail: the cause by its slug, the evidence, the time to the verdict, and the last good release back.

use k8s_openapi::api::core::v1::{Namespace, ResourceQuota, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use shipway::domain::{
    event::Event,
    problem::{EvidenceKind, Problem},
    workload::{Probe, SecretKey, Security, Timing, Workload},
};

use super::ground::{Ground, NAME, image, quantities};
use crate::support::lab::lab;

/// Publishes something good, then what is broken, and expects the good one back; gives the problem and the seconds to its verdict.
async fn broken(ground: &Ground, change: impl FnOnce(&mut Workload)) -> (Problem, f64) {
    ground.publish_tag("1", 1).await.unwrap();
    ground.said();
    let mut workload = ground.workload("1");
    change(&mut workload);
    let began = std::time::Instant::now();
    let problem = ground.publish(&ground.publish_of(workload, 2)).await.unwrap_err();
    let whole = began.elapsed().as_secs_f64();
    println!("{}: {} ({whole:.1} s with the way back)\n  {}", ground.namespace.name, problem.code.slug(), problem.message);
    assert_eq!(problem.exit_code(), 50, "{problem:?}");
    assert!(problem.message.contains("revision 1 (version 1) is back and verified"), "{}", problem.message);
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
    let deployment = ground.deployment().await;
    assert_eq!(deployment.metadata.annotations.unwrap()["shipway.dev/revision"], "1");
    let status = ground.cluster().await.status(NAME).await.unwrap();
    assert_eq!(status.revisions[0].problem.as_deref(), Some(problem.code.slug()));
    assert!(ground.said().iter().any(|event| matches!(event, Event::RollingBack { revision: 1, .. })));
    (problem, status.revisions[0].seconds.unwrap())
}

fn evidence(problem: &Problem, kind: EvidenceKind) -> String {
    problem
        .evidence
        .iter()
        .filter(|evidence| evidence.kind == kind)
        .map(|evidence| format!("{}\n{}\n", evidence.source, evidence.text))
        .collect()
}

#[tokio::test]
async fn an_application_that_crashes() {
    let ground = Ground::new("crash loop");
    let (problem, seconds) = broken(&ground, |workload| workload.image = image("crash")).await;
    println!("crash loop: {seconds:.1} s to the verdict");
    assert_eq!(problem.code.slug(), "crash-loop");
    assert!(seconds < 15.0, "{seconds}");
    assert!(evidence(&problem, EvidenceKind::Log).contains("pod/web-"), "{:?}", problem.evidence);
    assert!(evidence(&problem, EvidenceKind::Event).contains("BackOff"), "{:?}", problem.evidence);
    let logs = std::fs::read_dir(ground.folder.path().join("pods")).unwrap().count();
    assert!(logs >= 1);
    let next = ground.publish_tag("2", 3).await.unwrap();
    assert_eq!((next.revision, next.previous), (3, Some(1)));
}

#[tokio::test]
async fn an_image_that_is_not_there() {
    let ground = Ground::new("image not found");
    let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let (problem, seconds) = broken(&ground, |workload| workload.image = workload.image.with_digest(&digest)).await;
    println!("image not found: {seconds:.1} s to the verdict");
    assert_eq!(problem.code.slug(), "image-not-found");
    assert!(problem.message.contains(&digest.to_string()), "{}", problem.message);
}

#[tokio::test]
async fn an_image_that_may_not_be_pulled() {
    let ground = Ground::new("image denied");
    let closed = lab().registry_auth().address;
    let (problem, seconds) = broken(&ground, |workload| workload.image.registry = closed).await;
    println!("image denied: {seconds:.1} s to the verdict");
    assert_eq!(problem.code.slug(), "image-pull-denied");
    assert!(problem.hint.contains("registry.pull_username"), "{}", problem.hint);
}

#[tokio::test]
async fn an_application_that_never_gets_ready() {
    let ground = Ground::new("never ready");
    let (problem, seconds) = broken(&ground, |workload| {
        workload.image = image("never-ready");
        workload.probes.startup = None;
    })
    .await;
    println!("never ready: {seconds:.1} s to the verdict");
    assert_eq!(problem.code.slug(), "never-ready");
    assert!(evidence(&problem, EvidenceKind::Probe).contains("Readiness probe failed"), "{:?}", problem.evidence);
}

#[tokio::test]
async fn a_port_that_never_opens() {
    let ground = Ground::new("port closed");
    let (problem, seconds) = broken(&ground, |workload| {
        workload.image = image("2");
        let timing = Timing { period: 5, timeout: 1, failure_threshold: 12 };
        workload.probes.startup = Some(Probe::Tcp { port: 8081, timing });
        workload.rolling.timeout = std::time::Duration::from_secs(180);
    })
    .await;
    println!("port closed: {seconds:.1} s to the verdict");
    assert_eq!(problem.code.slug(), "probe-failed");
    assert!(seconds < 90.0, "{seconds}");
    assert!(problem.message.contains("its startup probe, which had 1m: startup probe failed: connection refused ("), "{}", problem.message);
}

#[tokio::test]
async fn an_application_that_runs_out_of_memory() {
    let ground = Ground::new("out of memory");
    let (problem, seconds) = broken(&ground, |workload| {
        workload.image = image("out-of-memory");
        workload.jvm = vec!["-Xmx512m".to_string()];
    })
    .await;
    println!("out of memory: {seconds:.1} s to the verdict");
    assert_eq!(problem.code.slug(), "oom-killed");
    assert!(problem.message.contains("64Mi") && problem.hint.contains("-Xmx512m"), "{} / {}", problem.message, problem.hint);
}

#[tokio::test]
async fn a_secret_without_the_key() {
    let ground = Ground::new("secret key");
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "database"}, "stringData": {"user": "ada"}})).unwrap();
    ground.api::<Secret>().await.create(&PostParams::default(), &secret).await.unwrap();
    let from = SecretKey { secret: "database".to_string(), key: "password".to_string() };
    let (problem, seconds) = broken(&ground, |workload| drop(workload.secrets.insert("DB_PASSWORD".to_string(), from))).await;
    println!("secret key: {seconds:.1} s to the verdict");
    assert_eq!(problem.code.slug(), "container-config");
    assert!(problem.message.contains("password") && problem.hint.contains("add the key"), "{} / {}", problem.message, problem.hint);
}

#[tokio::test]
async fn a_quota_without_room_for_the_surge() {
    let ground = Ground::new("quota");
    let quota: ResourceQuota = serde_json::from_value(json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}})).unwrap();
    ground.api::<ResourceQuota>().await.create(&PostParams::default(), &quota).await.unwrap();
    let (problem, seconds) = broken(&ground, |workload| workload.image = image("2")).await;
    println!("quota: {seconds:.1} s to the verdict");
    assert_eq!(problem.code.slug(), "quota-exceeded");
    assert!(problem.message.contains("exceeded quota: small"), "{}", problem.message);
}

#[tokio::test]
async fn a_restricted_namespace_takes_the_default_and_refuses_less() {
    let ground = Ground::new("pod security");
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(lab().client().await);
    namespaces.patch(&ground.namespace.name, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    let (problem, seconds) = broken(&ground, |workload| workload.security = Security::Off).await;
    println!("pod security: {seconds:.1} s to the verdict");
    assert_eq!(problem.code.slug(), "pod-rejected");
    assert!(problem.message.contains("violates PodSecurity"), "{}", problem.message);
    assert!(problem.hint.starts_with("set kubernetes.security: restricted, or "), "{}", problem.hint);
    let again = ground.publish_of(Workload { security: Security::Off, ..ground.workload("1") }, 3);
    assert_eq!(ground.publish(&again).await.unwrap_err().code.slug(), "pod-rejected");
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.contains("the API server warns: would violate PodSecurity")), "{notes:?}");
}

#[tokio::test]
async fn a_first_publish_that_fails_is_left_with_its_evidence() {
    let ground = Ground::new("first fails");
    let problem = ground.publish_tag("crash", 1).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("crash-loop", 51));
    assert!(problem.hint.contains("kubectl") && problem.hint.contains("delete"), "{}", problem.hint);
    assert!(!problem.evidence.is_empty());
    assert_eq!(ground.deployment().await.metadata.name.as_deref(), Some(NAME));
    let mended = ground.publish_tag("1", 2).await.unwrap();
    assert_eq!((mended.revision, mended.previous), (2, None));
}

#[tokio::test]
async fn a_limit_that_passes_says_what_it_waited_for() {
    let ground = Ground::new("deadline");
    let (problem, _) = broken(&ground, |workload| {
        workload.image = image("2");
        workload.resources.requests = quantities(&[("memory", "4Ti")]);
        workload.resources.limits.clear();
        workload.rolling.timeout = std::time::Duration::from_secs(8);
    })
    .await;
    assert_eq!(problem.code.slug(), "unschedulable");
    assert!(problem.message.contains("Insufficient memory"), "{}", problem.message);
}

//! Releases that fail: the cause by its slug, its sentence and evidence, the time to the verdict, and the last good release back.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolume, PersistentVolumeClaim, ResourceQuota, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use shipway::domain::{
    problem::EvidenceKind,
    workload::{Probe, SecretKey, Security},
};

use super::{
    causes::{Sign, broken, broken_next, container, create, edit, ends_twice, pull_fails, refused, start_fails},
    ground::{Ground, NAME, image, image_that_starts, patched, quantities},
};
use crate::support::lab::lab;

/// A probe that ends its container within two seconds; the delivered grace of half a minute would only prolong the test.
fn impatient(port: u16) -> Probe {
    Probe::Custom(json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 2, "terminationGracePeriodSeconds": 1}))
}

#[tokio::test]
async fn an_application_that_crashes() {
    let ground = Ground::new("crash loop");
    let broken = broken(&ground, "crash loop", ends_twice(), |workload| workload.image = image("crash")).await;
    broken
        .at_once()
        .code("crash-loop")
        .says(&["container app of pod web-", "ended twice with exit code 1", "fatal: the configuration names no database"])
        .shows(EvidenceKind::Log, "fatal: the configuration names no database")
        .shows(EvidenceKind::Event, "BackOff");
    let logs: Vec<String> = std::fs::read_dir(ground.folder.path().join("pods"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(logs.iter().any(|log| log.contains("names no database")), "{logs:?}");
    let next = ground.publish_tag("2", 3).await.unwrap();
    assert_eq!((next.revision, next.previous), (3, Some(1)));
}

#[tokio::test]
async fn of_two_containers_the_one_at_fault_is_shown_first() {
    let ground = Ground::new("second container");
    let script = "echo fatal: the configuration names no database; exit 1";
    let side = json!({"name": "side", "image": image("1").to_string(), "command": ["/bin/sh", "-c", script]});
    let broken = broken(&ground, "second container", ends_twice(), |workload| {
        // without a probe of its own it counts as ready until it ends
        workload.rolling.min_ready_seconds = 10;
        patched(workload, json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [side]}}}}));
    });
    let broken = broken.await.code("crash-loop").says(&["container side of pod web-"]);
    let logs = broken.evidence(EvidenceKind::Log);
    let first = logs.lines().take(2).collect::<Vec<_>>();
    assert!(first[0].contains("/side") && first[1].contains("names no database"), "the one at fault comes first: {logs}");
}

#[tokio::test]
async fn an_image_that_is_not_there() {
    let ground = Ground::new("image not found");
    let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let broken = broken(&ground, "image not found", pull_fails(), |workload| workload.image = workload.image.with_digest(&digest)).await;
    broken.at_once().code("image-not-found").says(&[&digest.to_string()]).shows(EvidenceKind::Event, "Failed");
}

#[tokio::test]
async fn an_image_name_that_cannot_be_one() {
    let ground = Ground::new("image name");
    let broken = broken(&ground, "invalid image name", pull_fails(), |workload| workload.image.repository = "lab/WEB".to_string()).await;
    broken.at_once().code("image-not-found").says(&["lab/WEB", "is no valid image name"]).hints("correct the name");
}

#[tokio::test]
async fn an_image_that_may_not_be_pulled() {
    let ground = Ground::new("image denied");
    let closed = lab().registry_auth().address;
    let broken = broken(&ground, "image pull denied (budget 2 pulls)", pull_fails(), |workload| workload.image.registry = closed).await;
    broken.code("image-pull-denied").hints("registry.pull_username").shows(EvidenceKind::Event, "Failed");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_has_its_budget() {
    let ground = Ground::new("registry down");
    let nobody = format!("127.0.0.1:{}", crate::support::free_port());
    let broken = broken(&ground, "registry down (budget 4 s)", pull_fails(), |workload| {
        workload.image.registry = nobody;
        workload.rolling.budgets.image_pull = Duration::from_secs(4);
    })
    .await;
    assert!((3.0..9.0).contains(&broken.seconds), "{} s", broken.seconds);
    broken.code("image-pull-failed").says(&["connection refused"]);
}

#[tokio::test]
async fn a_program_that_the_image_does_not_have() {
    let ground = Ground::new("no program");
    let image = image_that_starts("/app/run").await;
    let broken = broken(&ground, "command not found in the image", start_fails(), |workload| workload.image = image).await;
    broken.at_once().code("container-config").says(&["cannot start: exec: \"/app/run\"", "no such file or directory"]).hints("ENTRYPOINT");
}

#[tokio::test]
async fn an_application_that_never_gets_ready() {
    let ground = Ground::new("never ready");
    let unhealthy = Sign::Event(|event| {
        event.reason.as_deref() == Some("Unhealthy") && event.message.as_deref().is_some_and(|message| message.starts_with("Readiness"))
    });
    let broken = broken(&ground, "never ready (window 8 s)", unhealthy, |workload| {
        workload.image = image("never-ready");
        workload.probes.startup = None;
        workload.rolling.budgets.readiness = 1;
        workload.rolling.budgets.readiness_least = Duration::from_secs(8);
    })
    .await;
    assert!(broken.seconds < 14.0, "{} s", broken.seconds);
    broken
        .code("never-ready")
        .says(&["runs but is not ready after", "connection refused (http://10.244.", ":8080/health)"])
        .shows(EvidenceKind::Probe, "readiness probe of app: http://10.244.")
        .shows(EvidenceKind::Probe, "Readiness probe failed")
        .shows(EvidenceKind::Log, "listens on port 9");
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_told_with_its_url() {
    let ground = Ground::new("not found");
    let unhealthy = Sign::Event(|event| event.message.as_deref().is_some_and(|message| message.contains("statuscode: 404")));
    let broken = broken(&ground, "readiness answers 404 (window 8 s)", unhealthy, |workload| {
        let Some(Probe::Http { path, .. }) = &mut workload.probes.readiness else { panic!("another probe") };
        *path = "/actuator/health".to_string();
        workload.rolling.budgets.readiness = 1;
        workload.rolling.budgets.readiness_least = Duration::from_secs(8);
    })
    .await;
    broken.code("never-ready").says(&["readiness probe failed: HTTP 404 from http://10.244.", ":8080/actuator/health"]);
}

#[tokio::test]
async fn a_startup_probe_that_never_succeeds() {
    let ground = Ground::new("port closed");
    let broken = broken(&ground, "startup probe never (2nd kill)", ends_twice(), |workload| {
        workload.image = image("2");
        workload.probes.startup = Some(impatient(8081));
    })
    .await;
    broken
        .at_once()
        .code("probe-failed")
        .says(&["was ended twice by its startup probe, which had 2s: startup probe failed: connection refused (10.244."])
        .shows(EvidenceKind::Probe, "startup probe of app: tcp 10.244.");
}

#[tokio::test]
async fn a_liveness_probe_that_kills_a_slow_start() {
    let ground = Ground::new("slow start");
    let broken = broken(&ground, "liveness kills a slow start (2nd kill)", ends_twice(), |workload| {
        workload.image = image("slow-start");
        workload.probes.startup = None;
        workload.probes.liveness = Some(impatient(8080));
    })
    .await;
    broken
        .at_once()
        .code("probe-failed")
        .says(&["was ended twice by its liveness probe: liveness probe failed: connection refused"])
        .hints("kubernetes.probes.startup")
        .shows(EvidenceKind::Probe, "liveness probe of app: tcp 10.244.");
}

#[tokio::test]
async fn an_application_that_runs_out_of_memory() {
    let ground = Ground::new("out of memory");
    let broken = broken(&ground, "out of memory (2nd kill)", ends_twice(), |workload| {
        workload.image = image("out-of-memory");
        workload.jvm = vec!["-Xmx512m".to_string()];
    })
    .await;
    let message = "its limit of 64Mi; -Xmx512m lets the heap alone take 800 % of it";
    broken.at_once().code("oom-killed").says(&[message]).hints("-Xmx512m");
}

#[tokio::test]
async fn a_secret_without_the_key() {
    let ground = Ground::new("secret key");
    create::<Secret>(&ground, json!({"metadata": {"name": "database"}, "stringData": {"user": "ada"}})).await;
    let from = SecretKey { secret: "database".to_string(), key: "password".to_string() };
    let broken = broken(&ground, "missing key of a Secret", start_fails(), |workload| {
        workload.secrets.insert("DB_PASSWORD".to_string(), from);
    })
    .await;
    broken.at_once().code("container-config").says(&["couldn't find key password"]).hints("add the key");
}

#[tokio::test]
async fn a_secret_that_is_not_there() {
    let ground = Ground::new("secret missing");
    let from = SecretKey { secret: "nowhere".to_string(), key: "password".to_string() };
    let broken = broken(&ground, "missing Secret", start_fails(), |workload| drop(workload.secrets.insert("A".to_string(), from))).await;
    broken
        .at_once()
        .code("container-config")
        .says(&["secret \"nowhere\" not found"])
        .hints("create the Secret nowhere")
        .shows(EvidenceKind::Event, "nowhere");
}

#[tokio::test]
async fn a_config_map_that_lost_its_key() {
    let ground = Ground::new("config key");
    create::<ConfigMap>(&ground, json!({"metadata": {"name": "common"}, "data": {"mode": "fast"}})).await;
    ground.publish_tag("1", 1).await.unwrap();
    let from = json!({"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "common", "key": "mode"}}});
    edit(&ground, json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "env": [from]}]}}}})).await;
    let gone = json!({"data": {"mode": null}});
    ground.api::<ConfigMap>().await.patch("common", &PatchParams::default(), &Patch::Merge(&gone)).await.unwrap();
    let broken =
        broken_next(&ground, "missing key of a ConfigMap", start_fails(), |workload| drop(workload.env.insert("A".into(), "b".into())))
            .await;
    broken.at_once().code("container-config").says(&["couldn't find key mode in ConfigMap"]);
}

#[tokio::test]
async fn a_volume_whose_secret_is_gone() {
    let ground = Ground::new("volume secret");
    create::<Secret>(&ground, json!({"metadata": {"name": "certs"}, "stringData": {"a": "b"}})).await;
    ground.publish_tag("1", 1).await.unwrap();
    let volume = json!({"name": "certs", "secret": {"secretName": "certs"}});
    let mount = json!({"name": "certs", "mountPath": "/certs"});
    let pod = json!({"volumes": [volume], "containers": [{"name": "app", "volumeMounts": [mount]}]});
    edit(&ground, json!({"spec": {"template": {"spec": pod}}})).await;
    ground.api::<Secret>().await.delete("certs", &DeleteParams::default()).await.unwrap();
    let fails = Sign::Event(|event| event.message.as_deref().is_some_and(|message| message.ends_with("secret \"certs\" not found")));
    let broken =
        broken_next(&ground, "missing Secret of a volume", fails, |workload| drop(workload.env.insert("A".into(), "b".into()))).await;
    // a second goes by before the events of a pod without its volumes are read; the rest is what a busy machine adds
    assert!(broken.seconds <= 4.0, "{} s", broken.seconds);
    broken.code("volume-missing").says(&["the Secret certs does not exist"]).hints("create the Secret certs");
}

#[tokio::test]
async fn a_claim_that_is_gone() {
    let ground = Ground::new("claim");
    let volume = format!("{}-disk", ground.namespace.name);
    let spec = json!({"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteMany"], "hostPath": {"path": "/tmp"}, "storageClassName": "none",
        "claimRef": {"namespace": ground.namespace.name, "name": "disk"}});
    let disk: PersistentVolume = serde_json::from_value(json!({"metadata": {"name": volume}, "spec": spec})).unwrap();
    let disks: Api<PersistentVolume> = Api::all(lab().client().await);
    disks.create(&PostParams::default(), &disk).await.unwrap();
    let claim = json!({"accessModes": ["ReadWriteMany"], "storageClassName": "none", "volumeName": volume, "resources": {"requests": {"storage": "1Mi"}}});
    create::<PersistentVolumeClaim>(&ground, json!({"metadata": {"name": "disk"}, "spec": claim})).await;
    ground.publish_tag("1", 1).await.unwrap();
    let pod = json!({"volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}]});
    edit(&ground, json!({"spec": {"template": {"spec": pod}}})).await;
    let claims = ground.api::<PersistentVolumeClaim>().await;
    claims.delete("disk", &DeleteParams::default()).await.unwrap();
    let released = json!({"metadata": {"finalizers": null}});
    claims.patch("disk", &PatchParams::default(), &Patch::Merge(&released)).await.unwrap();
    let unplaced = Sign::Pod(|pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
    });
    let broken =
        broken_next(&ground, "missing PersistentVolumeClaim", unplaced, |workload| drop(workload.env.insert("A".into(), "b".into()))).await;
    disks.delete(&volume, &DeleteParams::default()).await.unwrap();
    broken
        .at_once()
        .code("volume-missing")
        .says(&["the PersistentVolumeClaim disk does not exist"])
        .hints("create the PersistentVolumeClaim disk")
        .shows(EvidenceKind::Event, "FailedScheduling");
}

#[tokio::test]
async fn an_init_container_that_does_not_end() {
    let ground = Ground::new("init stuck");
    create::<ConfigMap>(&ground, json!({"metadata": {"name": "gate"}, "data": {"go": "yes"}})).await;
    ground.publish_tag("1", 1).await.unwrap();
    let wait = "until [ \"$GO\" = yes ]; do echo waiting for the database; sleep 1; done";
    let init = json!({"name": "wait-db", "image": lab().web("1"), "command": ["/bin/sh", "-c", wait],
        "env": [{"name": "GO", "valueFrom": {"configMapKeyRef": {"name": "gate", "key": "go"}}}],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    edit(&ground, json!({"spec": {"template": {"spec": {"initContainers": [init]}}}})).await;
    let shut = json!({"data": {"go": "no"}});
    ground.api::<ConfigMap>().await.patch("gate", &PatchParams::default(), &Patch::Merge(&shut)).await.unwrap();
    let runs = Sign::Pod(|pod| {
        pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending")
            && container(pod, |status| status.name == "wait-db" && status.state.as_ref().is_some_and(|state| state.running.is_some()))
    });
    let broken = broken_next(&ground, "init container stuck (budget 4 s)", runs, |workload| {
        workload.image = image("2");
        workload.rolling.budgets.init = Some(Duration::from_secs(4));
    })
    .await;
    assert!(broken.seconds < 7.0, "{} s", broken.seconds);
    broken
        .code("init-stuck")
        .says(&["init container wait-db of pod web-", "has not ended after 4s"])
        .shows(EvidenceKind::Log, "waiting for the database");
}

#[tokio::test]
async fn a_quota_without_room_for_the_surge() {
    let ground = Ground::new("quota");
    create::<ResourceQuota>(&ground, json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}})).await;
    let broken = broken(&ground, "quota exceeded", refused(), |workload| workload.image = image("2")).await;
    broken.at_once().code("quota-exceeded").says(&["exceeded quota: small"]).shows(EvidenceKind::Event, "FailedCreate");
}

#[tokio::test]
async fn a_restricted_namespace_takes_the_default_and_refuses_less() {
    let ground = Ground::new("pod security");
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(lab().client().await);
    namespaces.patch(&ground.namespace.name, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    let broken = broken(&ground, "PodSecurity", refused(), |workload| workload.security = Security::Off).await;
    broken
        .at_once()
        .code("pod-rejected")
        .says(&["violates PodSecurity"])
        .hints("set kubernetes.security: restricted, or ")
        .shows(EvidenceKind::Event, "FailedCreate");
    let off = shipway::domain::workload::Workload { security: Security::Off, ..ground.workload("1") };
    assert_eq!(ground.publish(&ground.publish_of(off, 3)).await.unwrap_err().code.slug(), "pod-rejected");
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.contains("the API server warns: would violate PodSecurity")), "{notes:?}");
}

#[tokio::test]
async fn a_pod_that_no_node_can_take() {
    let ground = Ground::new("unschedulable");
    let unplaced = Sign::Pod(|pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
    });
    let broken = broken(&ground, "unschedulable (grace 3 s)", unplaced, |workload| {
        workload.resources.requests = quantities(&[("cpu", "4000")]);
        workload.rolling.budgets.unschedulable = Duration::from_secs(3);
    })
    .await;
    assert!(broken.seconds < 5.0, "{} s", broken.seconds);
    broken.code("unschedulable").says(&["no node can take pod web-", "Insufficient cpu"]).shows(EvidenceKind::Event, "FailedScheduling");
}

#[tokio::test]
async fn a_first_publish_that_fails_is_left_with_its_evidence() {
    let ground = Ground::new("first fails");
    let problem = ground.publish_tag("crash", 1).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("crash-loop", 51));
    assert!(problem.hint.contains("shipway remove"), "{}", problem.hint);
    assert!(!problem.evidence.is_empty());
    assert_eq!(ground.deployment().await.metadata.name.as_deref(), Some(NAME));
    let mended = ground.publish_tag("1", 2).await.unwrap();
    assert_eq!((mended.revision, mended.previous), (2, None));
}

#[tokio::test]
async fn a_limit_that_passes_says_what_it_waited_for() {
    let ground = Ground::new("deadline");
    let any = Sign::Pod(|_| true);
    let broken = broken(&ground, "time limit (8 s)", any, |workload| {
        workload.image = image("2");
        workload.resources.requests = quantities(&[("memory", "4Ti")]);
        workload.resources.limits.clear();
        workload.rolling.timeout = Duration::from_secs(8);
    })
    .await;
    broken.code("unschedulable").says(&["Insufficient memory", "0 of 2 new pods were available after 8s"]);
}

//! Bad days between Shipway and the API server: throttling, errors, cuts, tokens that expire, credential plugins that do not work.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::{apps::v1::Deployment, authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::api::{Api as Objects, Patch, PatchParams};
use serde_json::json;
use shipway::{
    cluster::{self, Publish, Target},
    domain::{
        custom::{Custom, File},
        problem::{Problem, Result},
        release::Outcome,
    },
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, NAME, image};
use crate::support::{
    api::{Act, Api, Seen, Shares},
    block_on,
    lab::lab,
};

/// The one change that counts.
fn is_commit(seen: &Seen) -> bool {
    seen.change > 0 && seen.method == "PATCH" && seen.path.ends_with(&format!("/deployments/{NAME}"))
}

fn target(api: &Api) -> Target {
    Target { kubeconfig: vec![api.kubeconfig.clone()], ..Target::default() }
}

async fn publish(ground: &Ground, target: &Target, tag: &str, number: u64) -> Result<cluster::Released> {
    let cluster = cluster::connect(target, &ground.namespace.name).await?;
    cluster.publish(&ground.publish_of(ground.workload(tag), number), &ground.events, &CancellationToken::new()).await
}

/// True the first `times` times.
fn first(times: usize) -> impl Fn() -> bool + Send + Sync + 'static {
    let count = AtomicUsize::new(0);
    move || count.fetch_add(1, Ordering::SeqCst) < times
}

fn failure(code: u16, reason: &str) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code}).to_string()
}

#[tokio::test]
async fn throttling_is_respected() {
    let ground = Ground::pretended("throttled").await;
    let (api, turn) = (Api::before(&ground.namespace.kubeconfig), first(1));
    let answer = Act::Answer(429, vec![("retry-after", "2".to_string())], failure(429, "TooManyRequests"));
    api.rule(move |seen| if is_commit(seen) && turn() { answer.clone() } else { Act::Pass });
    let began = Instant::now();
    publish(&ground, &target(&api), "1", 1).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2), "it came back before the server wanted it to");
    assert_eq!(api.seen().iter().filter(|seen| is_commit(seen)).count(), 2);
}

#[tokio::test]
async fn an_error_after_the_patch_is_read_back_before_anything_is_repeated() {
    let ground = Ground::pretended("unclear").await;
    publish(&ground, &ground.target(), "1", 1).await.unwrap();
    let (api, turn) = (Api::before(&ground.namespace.kubeconfig), first(1));
    api.rule(move |seen| if is_commit(seen) && turn() { Act::Swallow(Arc::new(|| {})) } else { Act::Pass });
    let released = publish(&ground, &target(&api), "2", 2).await.unwrap();
    assert_eq!(released.revision, 2);
    assert_eq!(api.seen().iter().filter(|seen| is_commit(seen)).count(), 1, "the patch that went through is not sent again");
    let (api, turn) = (Api::before(&ground.namespace.kubeconfig), first(1));
    api.rule(move |seen| if is_commit(seen) && turn() { Act::Answer(500, Vec::new(), failure(500, "InternalError")) } else { Act::Pass });
    publish(&ground, &target(&api), "3", 3).await.unwrap();
    assert_eq!(api.seen().iter().filter(|seen| is_commit(seen)).count(), 2, "what did not go through is");
    assert_eq!(ground.running().await, vec![image("3").to_string(); 2]);
}

/// Whoever takes no lock may publish between our look and our patch: the version that we looked at is what the patch is for.
#[tokio::test]
async fn what_another_published_in_the_same_moment_stays() {
    let ground = Ground::pretended("same moment").await;
    publish(&ground, &ground.target(), "1", 1).await.unwrap();
    let (namespace, turn) = (ground.namespace.name.clone(), first(1));
    let api = Api::with(&ground.namespace.kubeconfig, move |seen| {
        if is_commit(seen) && turn() {
            let namespace = namespace.clone();
            // a runtime of its own: the rule is asked in the midst of another's work
            std::thread::spawn(move || block_on(publish_beside(&namespace))).join().unwrap();
        }
        Act::Pass
    });
    // the fields of theirs belong to another manager; that is not what keeps us
    let ours = Publish { force_conflicts: true, ..ground.publish_of(ground.workload("2"), 2) };
    let cluster = cluster::connect(&target(&api), &ground.namespace.name).await.unwrap();
    let problem = cluster.publish(&ours, &ground.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("superseded", 40), "{problem:?}");
    let live = ground.deployment().await;
    assert_eq!(live.metadata.annotations.unwrap()["shipway.dev/revision"], "9", "theirs stays");
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2], "and none of our pods was begun");
}

async fn publish_beside(namespace: &str) {
    let deployments: Objects<Deployment> = Objects::namespaced(lab().client().await, namespace);
    let theirs = json!({"metadata": {"annotations": {"shipway.dev/revision": "9", "shipway.dev/sequence": "gitlab/9"}}});
    deployments.patch(NAME, &PatchParams::default(), &Patch::Merge(&theirs)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_for_a_while_does_not_end_the_run() {
    let ground = Ground::new("server away");
    publish(&ground, &ground.target(), "1", 1).await.unwrap();
    let api = Arc::new(Api::before(&ground.namespace.kubeconfig));
    let (away, patched) = (api.clone(), tokio::sync::Notify::new());
    let patched = Arc::new(patched);
    let told = patched.clone();
    let watches = AtomicUsize::new(0);
    api.rule(move |seen| {
        // four watches stand: the rollout is being followed
        if seen.is_watch() && watches.fetch_add(1, Ordering::SeqCst) == 3 {
            told.notify_one();
        }
        Act::Pass
    });
    let outage = async {
        patched.notified().await;
        away.down(true);
        // longer than the lock lives without renewal, by default
        tokio::time::sleep(Duration::from_secs(25)).await;
        away.down(false);
    };
    let cluster = cluster::connect(&target(&api), &ground.namespace.name).await.unwrap();
    let publish = cluster::Publish { lock_ttl: Duration::from_secs(15), ..ground.publish_of(ground.workload("2"), 2) };
    let never = CancellationToken::new();
    let (released, ()) = tokio::join!(cluster.publish(&publish, &ground.events, &never), outage);
    assert_eq!(released.unwrap().revision, 2);
    assert_eq!(ground.running().await, vec![image("2").to_string(); 2]);
    assert_eq!(ground.cluster().await.history(NAME).await.unwrap().revisions[0].outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn watches_that_end_or_are_too_old_are_listed_anew() {
    let ground = Ground::new("watch gone");
    publish(&ground, &ground.target(), "1", 1).await.unwrap();
    let (api, gone) = (Api::before(&ground.namespace.kubeconfig), first(4));
    let expired =
        json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}});
    api.rule(move |seen| match seen.is_watch() && !seen.path.ends_with("/leases") {
        true if gone() => Act::Answer(200, Vec::new(), format!("{expired}\n")),
        true => Act::CutAfter(Duration::from_millis(700)),
        false => Act::Pass,
    });
    assert_eq!(publish(&ground, &target(&api), "2", 2).await.unwrap().revision, 2);
    let lists = api.seen().iter().filter(|seen| seen.method == "GET" && seen.path.ends_with("/pods") && !seen.is_watch()).count();
    assert!(lists >= 2, "{lists} lists of pods");
}

#[tokio::test]
async fn a_cluster_before_the_sleep_handler_gets_none() {
    let ground = Ground::pretended("old cluster").await;
    let api = Api::before(&ground.namespace.kubeconfig);
    let version = json!({"major": "1", "minor": "27+", "gitVersion": "v1.27.9", "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
    api.rule(move |seen| if seen.path == "/version" { Act::Answer(200, Vec::new(), version.to_string()) } else { Act::Pass });
    publish(&ground, &target(&api), "1", 1).await.unwrap();
    let pod = ground.deployment().await.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.containers[0].lifecycle, None);
    let notes = ground.notes();
    assert!(notes.iter().any(|note| note.contains("no preStop sleep: the cluster is older than 1.30")), "{notes:?}");
}

#[tokio::test]
async fn a_publish_among_many_pods_costs_no_more() {
    let ground = Ground::pretended("other pods").await;
    let others: k8s_openapi::api::apps::v1::Deployment =
        serde_json::from_value(json!({"metadata": {"name": "others"}, "spec": {"replicas": 100,
        "selector": {"matchLabels": {"run": "others"}}, "template": {"metadata": {"labels": {"run": "others"}},
            "spec": {"containers": [{"name": "a", "image": "nowhere.test/a:1"}]}}}}))
        .unwrap();
    ground.api().await.create(&Default::default(), &others).await.unwrap();
    publish(&ground, &ground.target(), "1", 1).await.unwrap();
    let api = Api::before(&ground.namespace.kubeconfig);
    publish(&ground, &target(&api), "2", 2).await.unwrap();
    let seen = api.seen();
    let shares = Shares::of(&seen, "/leases/shipway-web");
    println!("{shares:?}");
    assert!(shares.watches <= 4 && shares.lists <= 4 && shares.rest <= 12, "{shares:?}: {seen:#?}");
    let scoped = |seen: &&Seen| seen.query.contains("labelSelector=") || seen.query.contains("fieldSelector=");
    let lists = seen.iter().filter(|seen| {
        seen.method == "GET" && ["/pods", "/replicasets", "/endpointslices", "/deployments"].iter().any(|kind| seen.path.ends_with(kind))
    });
    assert!(lists.clone().all(|seen| scoped(&seen)), "{:?}", lists.collect::<Vec<_>>());
}

/// A kubeconfig whose user asks this program for a token.
fn with_plugin(ground: &Ground, script: &str) -> Target {
    let plugin = ground.folder.path().join("plugin");
    std::fs::write(&plugin, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    with_command(ground, plugin.to_str().unwrap())
}

fn with_command(ground: &Ground, command: &str) -> Target {
    let text = std::fs::read_to_string(&ground.namespace.kubeconfig).unwrap();
    let user = text.lines().find(|line| line.starts_with("users:")).unwrap();
    let exec = format!(
        "users: [{{name: shipway, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: \"{command}\", interactiveMode: IfAvailable}}}}}}]"
    );
    let file = ground.folder.path().join("kubeconfig");
    std::fs::write(&file, text.replace(user, &exec)).unwrap();
    Target { kubeconfig: vec![file], ..Target::default() }
}

fn token(ground: &Ground) -> String {
    let text = std::fs::read_to_string(&ground.namespace.kubeconfig).unwrap();
    text.split_once("token: \"").unwrap().1.split('"').next().unwrap().to_string()
}

async fn refused(ground: &Ground, target: &Target) -> Problem {
    cluster::connect(target, &ground.namespace.name).await.err().unwrap()
}

#[tokio::test]
async fn a_credential_plugin_that_does_not_work_is_named() {
    let ground = Ground::new("plugin");
    let missing = refused(&ground, &with_command(&ground, "no-such-plugin")).await;
    assert_eq!((missing.code.slug(), missing.exit_code()), ("cluster-config-invalid", 2));
    assert!(missing.message.contains("no-such-plugin cannot be started") && missing.hint.contains("cluster.token"), "{missing:?}");
    let rubbish = refused(&ground, &with_plugin(&ground, "echo 'Welcome! token: hush-hush'")).await;
    assert_eq!(rubbish.code.slug(), "cluster-config-invalid");
    assert!(rubbish.message.contains("printed no ExecCredential") && !format!("{rubbish:?}").contains("hush"), "{rubbish:?}");
    let failing = refused(&ground, &with_plugin(&ground, "echo 'hush-hush'; echo 'not logged in: run login' >&2; exit 3")).await;
    assert_eq!((failing.code.slug(), failing.exit_code()), ("cluster-unauthorized", 30));
    assert!(
        failing.message.contains("ended with exit code 3: not logged in: run login") && !format!("{failing:?}").contains("hush"),
        "{failing:?}"
    );
}

#[tokio::test]
async fn a_plugins_token_is_renewed_while_the_rollout_goes_on() {
    let ground = Ground::pretended("plugin renews").await;
    let calls = ground.folder.path().join("calls");
    let script = format!(
        "echo x >> {}\necho '{{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", \"status\": {{\"token\": \"{}\", \"expirationTimestamp\": \"2026-01-02T03:04:05Z\"}}}}'",
        calls.display(),
        token(&ground)
    );
    publish(&ground, &with_plugin(&ground, &script), "1", 1).await.unwrap();
    let asked = std::fs::read_to_string(&calls).unwrap().lines().count();
    assert!(asked > 3, "a token that has expired is asked for again: {asked}");
}

#[tokio::test]
async fn a_token_that_is_refused_in_the_midst_of_the_watch_is_told() {
    let ground = Ground::new("token expires");
    publish(&ground, &ground.target(), "1", 1).await.unwrap();
    let api = Api::before(&ground.namespace.kubeconfig);
    let patched = Arc::new(AtomicUsize::new(0));
    let seen_patch = patched.clone();
    api.rule(move |seen| {
        if is_commit(seen) {
            seen_patch.store(1, Ordering::SeqCst);
            return Act::Pass;
        }
        match patched.load(Ordering::SeqCst) {
            1 => Act::Answer(401, Vec::new(), failure(401, "Unauthorized")),
            _ => Act::Pass,
        }
    });
    let problem = publish(&ground, &target(&api), "2", 2).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("cluster-unauthorized", 51), "{problem:?}");
}

/// A token of the ground's account besides the one that its kubeconfig has.
async fn another_token(ground: &Ground) -> String {
    let accounts = ground.api::<ServiceAccount>().await;
    let request: TokenRequest = serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": []}})).unwrap();
    accounts.create_token_request("shipway", &Default::default(), &request).await.unwrap().status.unwrap().token.unwrap()
}

#[tokio::test]
async fn a_token_that_is_refused_in_the_midst_is_read_anew_from_where_it_came() {
    let ground = Ground::pretended("token renewed").await;
    publish(&ground, &ground.target(), "1", 1).await.unwrap();
    let api = Api::before(&ground.namespace.kubeconfig);
    let (old, new) = (token(&ground), another_token(&ground).await);
    let with = |token: &str| {
        let text = std::fs::read_to_string(&api.kubeconfig).unwrap();
        text.replace("user: {}", &format!("user: {{token: \"{token}\"}}"))
    };
    let file = ground.folder.path().join("renewed");
    std::fs::write(&file, with(&old)).unwrap();
    let (renewed, refused) = ((file.clone(), with(&new)), format!("Bearer {old}"));
    let patched = AtomicUsize::new(0);
    api.rule(move |seen| {
        if is_commit(seen) {
            // whoever keeps the kubeconfig has renewed it, and the old token ends
            std::fs::write(&renewed.0, &renewed.1).unwrap();
            patched.store(1, Ordering::SeqCst);
            return Act::Pass;
        }
        match patched.load(Ordering::SeqCst) {
            1 if seen.authorization.as_deref() == Some(&refused) => Act::Answer(401, Vec::new(), failure(401, "Unauthorized")),
            _ => Act::Pass,
        }
    });
    let released = publish(&ground, &Target { kubeconfig: vec![file], ..Target::default() }, "2", 2).await.unwrap();
    assert_eq!(released.revision, 2);
    let renewed = format!("Bearer {new}");
    let last = api.seen().pop().unwrap();
    assert_eq!(last.authorization.as_deref(), Some(renewed.as_str()), "the lock is given back with the new one");
    assert_eq!(ground.running().await, vec![image("2").to_string(); 2]);
}

#[tokio::test]
async fn a_token_file_is_read() {
    let ground = Ground::new("token file");
    let file: PathBuf = ground.folder.path().join("token");
    std::fs::write(&file, token(&ground)).unwrap();
    let text = std::fs::read_to_string(&ground.namespace.kubeconfig).unwrap();
    let user = text.lines().find(|line| line.starts_with("users:")).unwrap();
    let own = ground.folder.path().join("kubeconfig");
    std::fs::write(&own, text.replace(user, &format!("users: [{{name: shipway, user: {{tokenFile: \"{}\"}}}}]", file.display()))).unwrap();
    let cluster = cluster::connect(&Target { kubeconfig: vec![own], ..Target::default() }, &ground.namespace.name).await.unwrap();
    assert_eq!(cluster.status(NAME).await.unwrap_err().code.slug(), "not-published");
}

#[tokio::test]
async fn a_lock_that_cannot_be_renewed_in_time_stops_all_changes() {
    let ground = Ground::pretended("lock not renewed").await;
    publish(&ground, &ground.target(), "1", 1).await.unwrap();
    let api = Api::before(&ground.namespace.kubeconfig);
    api.rule(|seen| match seen.change {
        0 => Act::Pass,
        // the lock was taken; from now on it cannot be renewed, and the Service's patch takes longer than it lives
        change if change > 1 && seen.path.contains("/leases/") => Act::HangUp,
        _ if seen.path.ends_with("/services/web") => Act::Delay(Duration::from_secs(3)),
        _ => Act::Pass,
    });
    let cluster = cluster::connect(&target(&api), &ground.namespace.name).await.unwrap();
    let publish = cluster::Publish { lock_ttl: Duration::from_secs(2), ..ground.publish_of(ground.workload("2"), 2) };
    let problem = cluster.publish(&publish, &ground.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("lock-lost", 51), "{problem:?}");
    assert!(!api.seen().iter().any(is_commit), "the Deployment was patched without the lock");
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_and_a_node_port_that_is_taken() {
    let ground = Ground::pretended("node port taken").await;
    let service = |name: &str, port: i32| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80, "nodePort": port}]}})
    };
    let mut theirs: k8s_openapi::api::core::v1::Service = serde_json::from_value(service("theirs", 0)).unwrap();
    theirs.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].node_port = None;
    let theirs = ground.api().await.create(&Default::default(), &theirs).await.unwrap();
    let port = theirs.spec.unwrap().ports.unwrap()[0].node_port.unwrap();
    let mut workload = ground.workload("1");
    let file = File { path: "deploy/service.yaml".to_string(), text: service(NAME, port).to_string() };
    workload.custom = Custom::read(&[file], &[], &ground.namespace.name).unwrap();
    let problem = ground.publish(&ground.publish_of(workload, 1)).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("manifest-invalid", 10));
    assert!(problem.message.contains("already allocated"), "{}", problem.message);
    assert!(ground.pod_names().await.is_empty());

    let pod = json!({"metadata": {"name": "holds", "finalizers": ["example.test/holds"]}});
    let holds: k8s_openapi::api::core::v1::ConfigMap = serde_json::from_value(pod).unwrap();
    let maps = ground.api::<k8s_openapi::api::core::v1::ConfigMap>().await;
    maps.create(&Default::default(), &holds).await.unwrap();
    let namespaces: Objects<k8s_openapi::api::core::v1::Namespace> = Objects::all(lab().client().await);
    namespaces.delete(&ground.namespace.name, &Default::default()).await.unwrap();
    let admin = Target { kubeconfig: vec![lab().kubeconfig()], ..Target::default() };
    let going = publish(&ground, &admin, "1", 1).await.unwrap_err();
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("holds", &Default::default(), &free).await.unwrap();
    assert_eq!((going.code.slug(), going.exit_code()), ("namespace-missing", 10), "{going:?}");
    assert!(going.message.contains("is being deleted"), "{}", going.message);
}

//! What is found before anything changes: all of it at once, each with its setting.

use std::time::Duration;

use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration,
    core::v1::{ConfigMap, LimitRange, Namespace, ResourceQuota, Secret, Service},
    rbac::v1::Role,
};
use kube::{
    Resource,
    api::{Api as Objects, DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use shipway::{
    cluster::{self, Publish, Scaling},
    domain::{
        problem::Problem,
        workload::{SecretKey, Workload},
    },
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, NAME, image, patched, quantities, workload};
use crate::support::{
    api::{Act, Api},
    block_on,
    lab::{Namespace as Namespaced, lab},
    shipway::shipway,
    webhook::{Says, Webhook},
};

async fn create<K>(ground: &Ground, object: Value)
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object).unwrap();
    ground.api::<K>().await.create(&PostParams::default(), &object).await.unwrap();
}

/// A publish that is refused before it changes anything.
async fn refused(ground: &Ground, workload: Workload) -> Problem {
    let problem = ground.publish(&ground.publish_of(workload, 1)).await.unwrap_err();
    println!("{}: {}", problem.code.slug(), problem.message);
    assert!(!problem.unrestored, "{problem:?}");
    assert!(ground.pod_names().await.is_empty());
    let records = ground.api::<ConfigMap>().await.list(&ListParams::default().labels("shipway.dev/record")).await.unwrap();
    assert!(records.items.is_empty(), "nothing is written down that does not begin");
    problem
}

fn secret(secret: &str, key: &str) -> SecretKey {
    SecretKey { secret: secret.to_string(), key: key.to_string() }
}

/// The quota's controller counts in its own time.
async fn counted(ground: &Ground, name: &str) {
    for _ in 0..300 {
        let quota = ground.api::<ResourceQuota>().await.get(name).await.unwrap();
        if quota.status.and_then(|status| status.used).is_some_and(|used| !used.is_empty()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the quota {name} is not counted");
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let ground = Ground::new("all at once");
    create::<Secret>(&ground, json!({"metadata": {"name": "database"}, "stringData": {"user": "ada"}})).await;
    create::<ResourceQuota>(&ground, json!({"metadata": {"name": "small"}, "spec": {"hard": {"requests.memory": "24Mi"}}})).await;
    let bounds = json!({"limits": [{"type": "Container", "max": {"memory": "32Mi"}}]});
    create::<LimitRange>(&ground, json!({"metadata": {"name": "bounds"}, "spec": bounds})).await;
    counted(&ground, "small").await;
    let mut workload = ground.workload("1");
    workload.secrets.insert("DB_PASSWORD".to_string(), secret("database", "password"));
    workload.secrets.insert("TOKEN".to_string(), secret("nowhere", "token"));
    workload.service_account = Some("robot".to_string());
    workload.port = 0;
    let problem = refused(&ground, workload).await;
    let name = &ground.namespace.name;
    assert!(problem.message.contains("things keep this publish from starting; nothing was changed:"), "{}", problem.message);
    for words in [
        "kubernetes.secrets.DB_PASSWORD names the Secret database, which has no key password (it has user)".to_string(),
        format!("kubernetes.secrets.TOKEN names the Secret nowhere, which does not exist in namespace {name}"),
        format!("kubernetes.service_account names the ServiceAccount robot, which does not exist in namespace {name}"),
        format!("container app has a limit of 64Mi memory, but may have 32Mi at most, says a LimitRange of namespace {name}"),
        format!("the quota small of namespace {name} has no room for the new pods: 2 pods make requests.memory 32Mi of 24Mi"),
        "containerPort".to_string(),
    ] {
        assert!(problem.message.contains(&words), "{words:?} is not in: {}", problem.message);
    }
    assert!(
        problem.message.contains("(correct kubernetes.resources.limits.memory, or have the LimitRange changed)"),
        "{}",
        problem.message
    );
}

#[tokio::test]
async fn files_variables_and_claims_that_are_not_there_are_named() {
    let ground = Ground::pretended("not there").await;
    create::<ConfigMap>(&ground, json!({"metadata": {"name": "settings"}, "data": {"colour": "blue"}})).await;
    let variable = |name: &str, map: &str| json!({"name": name, "valueFrom": {"configMapKeyRef": {"name": map, "key": "color"}}});
    let mounts = json!([{"name": "files", "mountPath": "/files"}, {"name": "data", "mountPath": "/data"}]);
    let container = json!({"name": "app", "env": [variable("COLOUR", "settings"), variable("SHAPE", "shapes")], "volumeMounts": mounts});
    let volumes =
        json!([{"name": "files", "configMap": {"name": "templates"}}, {"name": "data", "persistentVolumeClaim": {"claimName": "orders"}}]);
    let mut workload = ground.workload("1");
    let pod = json!({"containers": [container], "volumes": volumes});
    patched(&mut workload, json!({"kind": "Deployment", "spec": {"template": {"spec": pod}}}));
    let problem = refused(&ground, workload).await;
    let absent = format!("which does not exist in namespace {}", ground.namespace.name);
    for words in [
        "variable COLOUR of container app names the ConfigMap settings, which has no key color (it has colour)".to_string(),
        format!("variable SHAPE of container app names the ConfigMap shapes, {absent}"),
        format!("volume files names the ConfigMap templates, {absent}"),
        format!("volume data names the PersistentVolumeClaim orders, {absent}"),
    ] {
        assert!(problem.message.contains(&words), "{words:?} is not in: {}", problem.message);
    }
}

#[tokio::test]
async fn a_surge_that_the_quota_has_no_room_for() {
    let ground = Ground::new("no room");
    ground.publish_tag("1", 1).await.unwrap();
    create::<ResourceQuota>(&ground, json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}})).await;
    counted(&ground, "small").await;
    let before = ground.deployment().await.metadata.resource_version;
    let problem = ground.publish_tag("2", 2).await.unwrap_err();
    assert_eq!(problem.code.slug(), "quota-exceeded");
    assert!(problem.message.ends_with("2 is used, and one pod more makes pods 3 of 2"), "{}", problem.message);
    assert!(problem.hint.contains("kubernetes.rolling.max_unavailable: 1"), "{}", problem.hint);
    assert_eq!(ground.deployment().await.metadata.resource_version, before);
    let mut workload = ground.workload("2");
    workload.rolling.max_unavailable = "1".to_string();
    workload.rolling.max_surge = "0".to_string();
    ground.publish(&ground.publish_of(workload, 3)).await.unwrap();
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted() {
    let ground = Ground::new("deleted");
    create::<ConfigMap>(&ground, json!({"metadata": {"name": "held", "finalizers": ["shipway.test/held"]}})).await;
    let namespaces: Objects<Namespace> = Objects::all(lab().client().await);
    namespaces.delete(&ground.namespace.name, &DeleteParams::default()).await.unwrap();
    let problem = ground.publish_tag("1", 1).await.unwrap_err();
    let released = json!({"metadata": {"finalizers": null}});
    ground.api::<ConfigMap>().await.patch("held", &PatchParams::default(), &Patch::Merge(&released)).await.unwrap();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("namespace-missing", 10));
    assert_eq!(problem.message, format!("namespace {} is being deleted", ground.namespace.name));
}

#[tokio::test]
async fn an_account_that_may_not_look_publishes_all_the_same() {
    let ground = Ground::new("may not look");
    let roles: Objects<Role> = ground.api().await;
    let mut role = roles.list(&ListParams::default()).await.unwrap().items.remove(0);
    let looks = ["secrets", "namespaces", "serviceaccounts", "persistentvolumeclaims", "resourcequotas", "limitranges"];
    let only_looks = |resource: &String| looks.contains(&resource.as_str());
    role.rules.as_mut().unwrap().retain(|rule| !rule.resources.iter().flatten().all(only_looks));
    roles.replace(role.metadata.name.as_deref().unwrap(), &PostParams::default(), &role).await.unwrap();
    create::<Secret>(&ground, json!({"metadata": {"name": "database"}, "stringData": {"password": "x"}})).await;
    let mut workload = ground.workload("1");
    workload.secrets.insert("DB_PASSWORD".to_string(), secret("database", "password"));
    ground.publish(&ground.publish_of(workload, 1)).await.unwrap();
    let notes = ground.notes();
    let note = notes.iter().find(|note| note.starts_with("not looked at before publishing")).unwrap_or_else(|| panic!("{notes:?}"));
    for what in ["the Secret database", "ResourceQuotas", "LimitRanges", "the nodes' processors"] {
        assert!(note.contains(what), "{note}");
    }
}

#[tokio::test]
async fn an_image_for_other_processors_than_the_nodes_have() {
    let ground = Ground::new("processors");
    let target = cluster::Target { kubeconfig: vec![lab().kubeconfig()], ..cluster::Target::default() };
    let admin = cluster::connect(&target, &ground.namespace.name).await.unwrap();
    let mut workload = ground.workload("1");
    workload.platforms = vec!["linux/s390x".to_string()];
    let problem = admin.publish(&ground.publish_of(workload, 1), &ground.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("platform-missing", 10));
    assert!(problem.message.contains("it is built for linux/s390x, and the nodes are linux/amd64"), "{}", problem.message);
    assert!(problem.hint.contains("image.platforms"));
}

#[tokio::test]
async fn a_preflight_that_is_switched_off_leaves_out_what_safety_does_not_need() {
    let ground = Ground::new("preflight off");
    let publish = Publish { preflight: false, ..ground.publish_of(ground.workload("1"), 20) };
    ground.publish(&publish).await.unwrap();
    let cluster = ground.cluster().await;
    let older = Publish { preflight: false, ..ground.publish_of(ground.workload("1"), 19) };
    let problem = cluster.publish(&older, &ground.events, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(problem.code.slug(), "superseded", "safety is no look");
    assert!(cluster.requests() <= super::LEAST_PREFLIGHT, "{} requests", cluster.requests());
}

/// Registers the webhook for the Deployments and Services of the ground's namespace; gives the name to unregister it by.
async fn register(ground: &Ground, webhook: &Webhook, timeout: i32) -> String {
    let name = format!("policy.{}.test", ground.namespace.name);
    let configuration: ValidatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": {"name": name},
        "webhooks": [{
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": timeout,
            "clientConfig": {"url": webhook.url(), "caBundle": webhook.ca()},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ground.namespace.name}},
            "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps", ""], "apiVersions": ["v1"], "resources": ["deployments", "services"]}],
        }],
    }))
    .unwrap();
    let api: Objects<ValidatingWebhookConfiguration> = Objects::all(lab().client().await);
    api.create(&PostParams::default(), &configuration).await.unwrap();
    // the API server takes a moment to know it: until then it asks nobody
    for _ in 0..200 {
        if is_asked(ground).await {
            return name;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the API server does not ask the webhook");
}

/// Whether a Service in a dry run meets the webhook, which lets none pass.
async fn is_asked(ground: &Ground) -> bool {
    let service: Service = serde_json::from_value(json!({"metadata": {"name": "probe"}, "spec": {"ports": [{"port": 80}]}})).unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    ground.api::<Service>().await.create(&params, &service).await.is_err()
}

async fn unregister(name: &str) {
    let api: Objects<ValidatingWebhookConfiguration> = Objects::all(lab().client().await);
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_webhook_that_denies_says_so_before_anything_changes() {
    let ground = Ground::new("webhook denies");
    let webhook = Webhook::start(Says::No("images of this line need a label team"));
    let name = register(&ground, &webhook, 5).await;
    let problem = refused(&ground, ground.workload("1")).await;
    unregister(&name).await;
    assert_eq!((problem.code.slug(), problem.exit_code()), ("admission-denied", 30));
    assert!(problem.message.contains("images of this line need a label team") && problem.message.contains(&name), "{}", problem.message);
}

#[tokio::test]
async fn a_webhook_that_hangs_is_named_and_all_objects_wait_for_it_together() {
    let ground = Ground::new("webhook hangs");
    let webhook = Webhook::start(Says::Nothing);
    let name = register(&ground, &webhook, 3).await;
    let problem = refused(&ground, ground.workload("1")).await;
    unregister(&name).await;
    assert_eq!((problem.code.slug(), problem.exit_code()), ("webhook-failed", 20));
    assert!(problem.message.contains(&name) && problem.hint.contains(&name), "{problem:?}");
    assert!(webhook.peak() >= 2, "one object after the other waited for it");
}

#[tokio::test]
async fn a_limit_that_a_quota_asks_for_is_named() {
    let ground = Ground::new("quota asks");
    create::<ResourceQuota>(&ground, json!({"metadata": {"name": "cpu"}, "spec": {"hard": {"limits.cpu": "4"}}})).await;
    counted(&ground, "cpu").await;
    let problem = refused(&ground, ground.workload("1")).await;
    assert_eq!((problem.code.slug(), problem.hint.as_str()), ("quota-exceeded", "set kubernetes.resources.limits.cpu"));
    let mut workload = ground.workload("1");
    workload.resources.limits = quantities(&[("memory", "64Mi"), ("cpu", "1")]);
    ground.publish(&ground.publish_of(workload, 2)).await.unwrap();
}

#[tokio::test]
async fn a_field_that_cannot_be_changed_is_named_and_nothing_is_made_anew() {
    let ground = Ground::pretended("immutable").await;
    ground.publish_tag("1", 1).await.unwrap();
    let services = ground.api::<Service>().await;
    let before = services.get(NAME).await.unwrap().metadata;
    let mut workload = ground.workload("2");
    patched(&mut workload, json!({"kind": "Service", "spec": {"clusterIP": "None"}}));
    let problem = ground.publish(&ground.publish_of(workload, 2)).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("field-immutable", 10), "{problem:?}");
    assert!(problem.message.contains("spec.clusterIP") && problem.message.contains("cannot be changed"), "{}", problem.message);
    let after = services.get(NAME).await.unwrap().metadata;
    assert_eq!((after.uid, after.resource_version), (before.uid, before.resource_version));
    assert_eq!(ground.running().await, vec![image("1").to_string(); 2]);
}

#[test]
fn an_image_that_is_not_in_its_registry_is_told_before_the_cluster_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    let reference = format!("{}@{digest}", image("1").name());
    // nothing listens there: had the cluster been asked, that would be the problem
    let settings = [("SHIPWAY_APP", NAME), ("SHIPWAY_REGISTRY_INSECURE", "true"), ("SHIPWAY_CLUSTER_TOKEN", "none")];
    let server = format!("https://127.0.0.1:{}", crate::support::free_port());
    let run = shipway(folder.path()).args(["publish", "--image", &reference]).envs(settings).env("SHIPWAY_CLUSTER_SERVER", server);
    run.run().expect_code(10).expect_text(&["image-missing", &digest]);
}

#[test]
fn pods_whose_image_is_gone_are_not_started() {
    let ground = block_on(Ground::pretended("image gone"));
    let gone = image("1").with_digest(&format!("sha256:{:064x}", 1).parse().unwrap());
    block_on(async {
        ground.publish(&ground.publish_of(Workload { image: gone.clone(), ..ground.workload("1") }, 1)).await.unwrap();
        ground.publish_tag("2", 2).await.unwrap();
    });
    let run = |arguments: &[&str]| {
        let run = shipway(ground.folder.path()).args(arguments).env("KUBECONFIG", &ground.namespace.kubeconfig).env("SHIPWAY_APP", NAME);
        run.env("SHIPWAY_KUBERNETES_NAMESPACE", &ground.namespace.name).env("SHIPWAY_REGISTRY_INSECURE", "true")
    };
    let refused = |arguments: &[&str]| drop(run(arguments).run().expect_code(10).expect_text(&["image-missing", &gone.to_string()]));
    refused(&["rollback"]);
    assert_eq!(block_on(ground.records()).len(), 2, "nothing was begun");
    run(&["rollback"]).env("SHIPWAY_KUBERNETES_PREFLIGHT", "false").run().expect_code(0);
    refused(&["restart"]);
    refused(&["scale", "3"]);
    run(&["scale", "1"]).run().expect_code(0);
    assert_eq!(block_on(ground.running()), [gone.to_string()]);
}

#[tokio::test]
async fn what_an_account_may_not_is_told_before_a_change_of_what_runs() {
    let (ours, other) = (Ground::new("small rights"), Ground::new("small rights other"));
    let cluster = cluster::connect(&ours.target(), &other.namespace.name).await.unwrap();
    let (cancel, scaling) = (CancellationToken::new(), Scaling { errand: ours.errand(), to: Some(3), replicas: None });
    let problems = [
        cluster.rollback(&ours.rollback_of(None), &ours.events, &cancel).await.unwrap_err(),
        cluster.restart(&ours.errand(), false, &ours.events, &cancel).await.unwrap_err(),
        cluster.scale(&scaling, &ours.events, &cancel).await.unwrap_err(),
    ];
    for problem in problems {
        assert_eq!((problem.code.slug(), problem.exit_code()), ("cluster-forbidden", 30), "{problem:?}");
        for right in ["patch deployments.apps", "get services", "update, watch leases.coordination.k8s.io"] {
            assert!(problem.message.contains(right), "no {right} in {}", problem.message);
        }
    }
}

#[tokio::test]
async fn rights_that_no_list_shows_are_asked_for_one_by_one() {
    let (ours, other) = (Ground::pretended("asked rights").await, Ground::new("asked rights other"));
    // as a cluster answers whose rights a webhook knows
    let unknown = json!({"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "spec": {},
        "status": {"incomplete": true, "resourceRules": [], "nonResourceRules": []}});
    let api = Api::with(&ours.namespace.kubeconfig, move |seen| match seen.path.ends_with("/selfsubjectrulesreviews") {
        true => Act::Answer(201, Vec::new(), unknown.to_string()),
        false => Act::Pass,
    });
    let target = cluster::Target { kubeconfig: vec![api.kubeconfig.clone()], ..cluster::Target::default() };
    let publish = async |namespace: &Namespaced| {
        let cluster = cluster::connect(&target, &namespace.name).await.unwrap();
        let publish = ours.publish_of(workload(&namespace.name, "1"), 1);
        cluster.publish(&publish, &ours.events, &CancellationToken::new()).await
    };
    publish(&ours.namespace).await.unwrap();
    let asked = api.seen().iter().filter(|seen| seen.path.ends_with("/selfsubjectaccessreviews")).count();
    assert!(asked > 20, "each right that the list did not show: {asked}");
    let problem = publish(&other.namespace).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("cluster-forbidden", 30), "{problem:?}");
    assert!(problem.message.contains("patch deployments.apps"), "{}", problem.message);
}

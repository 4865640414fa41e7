//! The user's own manifests and patches on the real API server: applied, recorded, put back, taken away; and what is refused.

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::CronJob,
    core::v1::{ConfigMap, Secret, Service},
    rbac::v1::{Role, RoleBinding},
};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use sha2::Digest as _;
use shipway::domain::{
    custom::{Custom, File},
    event::{Change, Event},
    problem::Problem,
    workload::{Security, Workload},
};
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, NAME, image, record};
use crate::support::lab::lab;

/// The delivered Role knows the generated objects; who brings others gives the account their rights.
pub async fn may_more(ground: &Ground) {
    let role: Role = serde_json::from_value(json!({"metadata": {"name": "more"}, "rules": [
        {"apiGroups": ["", "batch", "apps", "networking.k8s.io", "events.k8s.io"],
         "resources": ["configmaps", "secrets", "serviceaccounts", "cronjobs", "jobs", "persistentvolumeclaims", "ingresses", "statefulsets", "events", "endpoints"],
         "verbs": ["get", "create", "patch", "delete"]}]}))
    .unwrap();
    ground.api::<Role>().await.create(&PostParams::default(), &role).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({"metadata": {"name": "more"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "more"},
        "subjects": [{"kind": "ServiceAccount", "name": "shipway", "namespace": ground.namespace.name}]}))
    .unwrap();
    ground.api::<RoleBinding>().await.create(&PostParams::default(), &binding).await.unwrap();
}

fn custom(ground: &Ground, manifests: &str, patches: &str) -> Result<Custom, Problem> {
    let file =
        |path: &str, text: &str| if text.is_empty() { Vec::new() } else { vec![File { path: path.to_string(), text: text.to_string() }] };
    Custom::read(&file("deploy/app.yaml", manifests), &file("deploy/patch.yaml", patches), &ground.namespace.name)
}

pub fn with(ground: &Ground, tag: &str, manifests: &str, patches: &str) -> Workload {
    Workload { custom: custom(ground, manifests, patches).unwrap(), ..ground.workload(tag) }
}

const BESIDE: &str = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: '0 3 * * *'
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: job, image: 'IMAGE:latest'}]}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: COLOUR}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {password: hush-hush}
---
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: marker}
eventTime: '2026-01-02T03:04:05.000000Z'
reportingController: test
reportingInstance: test
action: Mark
reason: Marked
type: Normal
regarding: {kind: Pod, name: a, namespace: NAMESPACE}
";

fn beside(ground: &Ground, colour: &str) -> String {
    BESIDE.replace("IMAGE", &image("1").name()).replace("COLOUR", colour).replace("NAMESPACE", &ground.namespace.name)
}

async fn colour(ground: &Ground) -> Option<String> {
    ground.api::<ConfigMap>().await.get_opt("settings").await.unwrap()?.data?.remove("colour")
}

#[tokio::test]
async fn manifests_are_published_beside_recorded_and_taken_away() {
    let ground = Ground::pretended("manifests").await;
    may_more(&ground).await;
    let cluster = ground.cluster().await;
    let first = ground.publish_of(with(&ground, "1", &beside(&ground, "red"), ""), 1);
    let diff = cluster.diff(&first).await.unwrap();
    let shown: String = diff.iter().filter_map(|diff| diff.dry_run_yaml.clone()).collect();
    assert!(diff.len() == 6 && diff.iter().all(|diff| diff.change == Change::Created), "{diff:?}");
    assert!(shown.contains("(secret)") && !shown.contains("hush-hush") && !shown.contains("aHVzaC1odXNo"), "{shown}");
    ground.publish(&first).await.unwrap();
    let applied: Vec<String> = ground
        .said()
        .into_iter()
        .filter_map(|event| match event {
            Event::Applied { kind, change: Change::Created, .. } => Some(kind),
            _ => None,
        })
        .collect();
    assert_eq!(applied, ["Secret", "ConfigMap", "Event", "Service", "Deployment", "CronJob"]);
    let job = ground.api::<CronJob>().await.get("nightly").await.unwrap();
    let pod = job.spec.job_template.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.containers[0].image.as_deref(), Some(image("1").to_string().as_str()));
    let recorded = record(&ground.api::<ConfigMap>().await.get("shipway-web-r1").await.unwrap());
    assert!(recorded.contains("\"colour\":\"red\"") && !recorded.contains("hush-hush"), "{recorded}");

    let blue = beside(&ground, "blue").replace("name: nightly", "name: hourly");
    ground.publish(&ground.publish_of(with(&ground, "2", &blue, ""), 2)).await.unwrap();
    assert_eq!(colour(&ground).await.as_deref(), Some("blue"));
    assert!(ground.api::<CronJob>().await.get_opt("nightly").await.unwrap().is_none(), "what the release does not have any more goes");
    let back = cluster.rollback(&ground.rollback_of(None), &ground.events, &CancellationToken::new()).await.unwrap();
    assert_eq!(back.restores, Some(1));
    assert_eq!(colour(&ground).await.as_deref(), Some("red"), "manifests go back with the Deployment");
    let jobs = ground.api::<CronJob>().await;
    assert!(jobs.get_opt("nightly").await.unwrap().is_some() && jobs.get_opt("hourly").await.unwrap().is_none());
    assert!(ground.api::<Secret>().await.get_opt("password").await.unwrap().is_some());
    ground.publish(&ground.publish_of(ground.workload("2"), 3)).await.unwrap();
    assert_eq!(colour(&ground).await, None);
}

#[tokio::test]
async fn a_failed_release_takes_its_manifests_back() {
    let ground = Ground::pretended("manifests back").await;
    may_more(&ground).await;
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(lab().client().await);
    namespaces.patch(&ground.namespace.name, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    ground
        .publish(
            &ground
                .publish_of(with(&ground, "1", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: red}", ""), 1),
        )
        .await
        .unwrap();
    let new = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: blue}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: extra}";
    let broken = Workload { security: Security::Off, ..with(&ground, "2", new, "") };
    let problem = ground.publish(&ground.publish_of(broken, 2)).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("pod-rejected", 50), "{problem:?}");
    assert_eq!(colour(&ground).await.as_deref(), Some("red"));
    let extra = ground.api::<k8s_openapi::api::core::v1::ServiceAccount>().await.get_opt("extra").await.unwrap();
    assert!(extra.is_none(), "only the failed release had it");
}

#[tokio::test]
async fn a_deployment_of_the_users_own_stands_in_and_patches_change_the_rest() {
    let ground = Ground::pretended("own deployment").await;
    let own = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {run: web}}
  template:
    metadata: {labels: {run: web}}
    spec: {containers: [{name: proxy, image: 'proxy:1'}, {name: web, image: 'placeholder', ports: [{containerPort: 9000}]}]}
";
    let patch = "target: {kind: Service}\npatch: [{op: add, path: /spec/sessionAffinity, value: ClientIP}]";
    let released = ground.publish(&ground.publish_of(with(&ground, "1", own, patch), 1)).await.unwrap();
    assert_eq!(released.replicas, 3);
    let service: Service = ground.api().await.get(NAME).await.unwrap();
    let spec = service.spec.unwrap();
    assert_eq!((spec.session_affinity.as_deref(), spec.selector.unwrap()["run"].as_str()), (Some("ClientIP"), "web"));
    let containers = ground.deployment().await.spec.unwrap().template.spec.unwrap().containers;
    assert_eq!((containers[0].image.as_deref(), containers[1].image.as_deref()), (Some("proxy:1"), Some(image("1").to_string().as_str())));
    let back = Workload { custom: Custom::default(), ..ground.workload("2") };
    let problem = ground.publish(&ground.publish_of(back, 2)).await;
    assert!(problem.is_ok(), "the generated one follows the selector that is there: {problem:?}");
    assert_eq!(ground.deployment().await.spec.unwrap().selector.match_labels.unwrap()["run"], "web");
}

#[tokio::test]
async fn a_version_that_will_go_is_warned_of_before_anything_changes() {
    let ground = Ground::pretended("deprecated").await;
    may_more(&ground).await;
    let old =
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: database}\nsubsets: [{addresses: [{ip: 192.0.2.7}], ports: [{port: 5432}]}]";
    ground.publish(&ground.publish_of(with(&ground, "1", old, ""), 1)).await.unwrap();
    let notes = ground.notes();
    let warned = notes.iter().any(|note| note.starts_with("the API server warns: v1 Endpoints is deprecated"));
    assert!(warned, "{notes:?}");
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_before_anything_changes() {
    let ground = Ground::pretended("manifests refused").await;
    let refused = async |manifests: &str| ground.publish(&ground.publish_of(with(&ground, "1", manifests, ""), 1)).await.unwrap_err();
    let unknown = refused("apiVersion: example.test/v1\nkind: Widget\nmetadata: {name: a}").await;
    assert_eq!(unknown.code.slug(), "manifest-invalid");
    assert!(unknown.message.contains("does not know the kind of Widget a in example.test/v1"), "{}", unknown.message);
    let shared = refused("apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\nmetadata: {name: a}").await;
    assert!(shared.message.contains("belongs to the whole cluster"), "{}", shared.message);
    let forbidden = refused("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}").await;
    assert_eq!(forbidden.code.slug(), "cluster-forbidden");
    assert!(forbidden.hint.contains("get, create, patch and delete of cronjobs.batch"), "{}", forbidden.hint);
    may_more(&ground).await;
    let misspelt = refused("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}\nspec: {shedule: x}").await;
    assert_eq!(misspelt.code.slug(), "manifest-invalid");
    assert!(misspelt.message.contains("shedule"), "{}", misspelt.message);
    let old = refused("apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: old}").await;
    assert_eq!((old.code.slug(), old.exit_code()), ("manifest-invalid", 10), "{old:?}");
    assert!(old.message.contains("does not serve PodDisruptionBudget old in policy/v1beta1"), "{}", old.message);
    assert!(old.hint.contains("policy/v1"), "{}", old.hint);
    let both = refused("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}\nspec: {shedule: x}\n---\napiVersion: example.test/v1\nkind: Widget\nmetadata: {name: b}").await;
    assert!(both.message.contains("shedule") && both.message.contains("the kind of Widget b"), "all at once: {}", both.message);
    let big = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata: {{a: '{}'}}", "x".repeat(1_100_000));
    let big = refused(&big).await;
    assert_eq!(big.exit_code(), 10, "{big:?}");
    let theirs: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "theirs"}})).unwrap();
    ground.api::<ConfigMap>().await.create(&PostParams::default(), &theirs).await.unwrap();
    let foreign = refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs}\ndata: {a: b}").await;
    assert_eq!(foreign.code.slug(), "not-ours", "{foreign:?}");
    assert!(ground.api::<Deployment>().await.get_opt(NAME).await.unwrap().is_none());
}

#[tokio::test]
async fn a_record_takes_large_manifests_and_names_those_that_it_does_not() {
    let ground = Ground::pretended("manifests large").await;
    may_more(&ground).await;
    let object =
        |name: &str, text: &str| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: '{text}'}}\n");
    let random = |seed: u32| -> String {
        let hashes = (0..9_000_u32).map(|number| sha2::Sha256::digest(format!("{seed} {number}")));
        hashes.flat_map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>()).collect()
    };
    let repeated = object("first", &"a line of text; ".repeat(38_000)) + &object("second", &"b".repeat(600_000));
    ground.publish(&ground.publish_of(with(&ground, "1", &repeated, ""), 1)).await.unwrap();
    ground.publish_tag("2", 2).await.unwrap();
    assert!(ground.api::<ConfigMap>().await.get_opt("first").await.unwrap().is_none());
    let cluster = ground.cluster().await;
    cluster.rollback(&ground.rollback_of(None), &ground.events, &CancellationToken::new()).await.unwrap();
    assert!(ground.api::<ConfigMap>().await.get("second").await.unwrap().data.unwrap()["a"].len() == 600_000, "brought back by the record");

    let all: String = (0..4).map(|seed| object(&format!("random-{seed}"), &random(seed))).collect();
    let problem = ground.publish(&ground.publish_of(with(&ground, "2", &all, ""), 3)).await.unwrap_err();
    assert_eq!((problem.code.slug(), problem.exit_code()), ("manifest-invalid", 10), "{problem:?}");
    assert!(problem.message.contains("ConfigMap random-") && problem.message.contains("1 MiB"), "{}", problem.message);
    assert_eq!(ground.records().await.len(), 3);
    assert!(ground.api::<ConfigMap>().await.get_opt("random-0").await.unwrap().is_none());
}

#[tokio::test]
async fn a_secret_that_is_another_than_at_that_revision_is_told_by_a_rollback() {
    let ground = Ground::pretended("manifests secret").await;
    may_more(&ground).await;
    let secret = |word: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: password}}\nstringData: {{password: {word}}}");
    let publish = async |tag: &str, word: &str, number: u64| {
        ground.publish(&ground.publish_of(with(&ground, tag, &secret(word), ""), number)).await.unwrap();
    };
    let rollback = async |to: u64| {
        ground.notes();
        ground.cluster().await.rollback(&ground.rollback_of(Some(to)), &ground.events, &CancellationToken::new()).await.unwrap();
        ground.notes().into_iter().filter(|note| note.contains("Secret password")).collect::<Vec<_>>()
    };
    publish("1", "one", 1).await;
    publish("2", "one", 2).await;
    assert!(rollback(1).await.is_empty(), "it is the same");
    publish("2", "two", 3).await;
    let said = rollback(1).await;
    assert!(said.len() == 1 && said[0].starts_with("Secret password is not as revision 1 published it, and stays as it is"), "{said:?}");
    assert!(rollback(4).await.is_empty(), "revision 4 was published with this one");
    let data = ground.api::<Secret>().await.get("password").await.unwrap().data.unwrap();
    assert_eq!(data["password"].0, b"two");
}

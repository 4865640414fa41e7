//! YAML in, problems out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    authorization::v1::ResourceRule,
    core::v1::{LimitRange, PodSpec, ResourceQuota},
};

use super::*;
use crate::domain::problem::Code;

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> ResourceRule {
    ResourceRule {
        api_groups: Some(vec![group.to_string()]),
        resources: Some(vec![resource.to_string()]),
        verbs: verbs.iter().map(ToString::to_string).collect(),
        resource_names: None,
    }
}

#[test]
fn what_is_lacking_is_named_by_verb_and_resource() {
    let deployments = &rights::NEEDS[0];
    let lacking = rights::lacking(&[rule("apps", "deployments", &["get", "list", "watch"])], deployments);
    let problem = rights::refusal(&lacking, "trade").unwrap();
    assert_eq!(problem.message, "the account may not do in namespace trade: create, patch deployments.apps");
    assert!(rights::lacking(&[rule("*", "*", &["*"])], deployments).is_empty());
    let named = ResourceRule { resource_names: Some(vec!["web".to_string()]), ..rule("apps", "deployments", &["*"]) };
    assert!(!rights::lacking(&[named], deployments).is_empty(), "a rule for one name is not enough to create");
    assert!(rights::lacking(&[rule("", "*/log", &["get"])], &("", "pods/log", &["get"])).is_empty());
    assert_eq!(rights::Lacking { group: "", resource: "pods/log", verb: "get" }.parts(), ("pods", Some("log")));
    assert_eq!(rights::refusal(&[], "trade"), None);
}

const POD: &str = "{serviceAccountName: robot, imagePullSecrets: [{name: pull}],
 initContainers: [{name: init, envFrom: [{configMapRef: {name: common}}, {secretRef: {name: maybe, optional: true}}]}],
 containers: [{name: app, env: [{name: PLAIN, value: x},
   {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: database, key: password}}},
   {name: MODE, valueFrom: {configMapKeyRef: {name: common, key: mode, optional: true}}}]}],
 volumes: [{name: certs, secret: {secretName: tls, items: [{key: tls.crt, path: a}]}}, {name: data, persistentVolumeClaim: {claimName: disk}},
   {name: mix, projected: {sources: [{configMap: {name: app-config}}, {secret: {name: none, optional: true}}]}}, {name: tmp, emptyDir: {}}]}";

#[test]
fn everything_that_a_pod_cannot_start_without_is_found() {
    let found = references(&read::<PodSpec>(POD));
    let names: Vec<String> =
        found.iter().map(|found| format!("{} {} {}", found.kind, found.name, found.key.as_deref().unwrap_or("-"))).collect();
    assert_eq!(
        names,
        [
            "ConfigMap common -",
            "Secret database password",
            "Secret tls tls.crt",
            "PersistentVolumeClaim disk -",
            "ConfigMap app-config -",
            "ServiceAccount robot -",
            "Secret pull -"
        ]
    );
}

#[test]
fn what_is_missing_is_named_with_its_setting() {
    let keys = |keys: &[&str]| Known::Keys(keys.iter().map(ToString::to_string).collect());
    let known: BTreeMap<(Kind, String), Known> = [
        ((Kind::Secret, "database"), keys(&["user"])),
        ((Kind::ConfigMap, "common"), Known::Absent),
        ((Kind::Secret, "tls"), Known::Hidden),
        ((Kind::PersistentVolumeClaim, "disk"), Known::Absent),
        ((Kind::ConfigMap, "app-config"), keys(&["a"])),
        ((Kind::ServiceAccount, "robot"), Known::Absent),
    ]
    .map(|((kind, name), known)| ((kind, name.to_string()), known))
    .into();
    let from_settings = BTreeSet::from(["DB_PASSWORD".to_string()]);
    let problems = missing(&references(&read::<PodSpec>(POD)), &known, &from_settings, "trade");
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "envFrom of container init names the ConfigMap common, which does not exist in namespace trade",
            "kubernetes.secrets.DB_PASSWORD names the Secret database, which has no key password (it has user)",
            "volume data names the PersistentVolumeClaim disk, which does not exist in namespace trade",
            "kubernetes.service_account names the ServiceAccount robot, which does not exist in namespace trade",
        ]
    );
    assert_eq!(problems[1].hint, "add the key to it, or correct kubernetes.secrets.DB_PASSWORD");
    let one = all(problems).unwrap();
    assert_eq!((one.code, one.exit_code()), (Code::ReferenceMissing, 10));
    assert!(one.message.starts_with("4 things keep this publish from starting; nothing was changed:\n  envFrom of"), "{}", one.message);
}

#[test]
fn one_problem_stays_as_it_is() {
    let problem = Problem::new(Code::QuotaExceeded, "full").hint("wait");
    assert_eq!(all(vec![problem.clone(), problem.clone()]), Some(problem));
    assert_eq!(all(Vec::new()), None);
}

fn spec(requests: &str, limits: &str) -> PodSpec {
    read(&format!("containers: [{{name: app, resources: {{requests: {requests}, limits: {limits}}}}}]"))
}

#[test]
fn a_pod_asks_for_what_its_containers_do() {
    let pod: PodSpec = read(
        "{initContainers: [{name: migrate, resources: {requests: {cpu: '2'}}}, {name: proxy, restartPolicy: Always, resources: {requests: {cpu: 100m}}}],
 containers: [{name: app, resources: {limits: {cpu: 500m, memory: 256Mi}}}]}",
    );
    let demand = demand(&pod, &[]);
    assert_eq!((demand.requests["cpu"], demand.requests["memory"], demand.limits["cpu"]), (2.0, 256.0 * 1048576.0, 0.5));
    assert_eq!(demand.containers.len(), 3);
}

#[test]
fn a_limit_range_fills_in_what_is_not_given_and_bounds_what_is() {
    let range: LimitRange = read(
        "spec: {limits: [{type: Container, default: {cpu: '1'}, defaultRequest: {cpu: 200m}, max: {memory: 128Mi}, min: {cpu: 100m}, maxLimitRequestRatio: {cpu: '4'}}, {type: Pod, max: {memory: 1Gi}}]}",
    );
    let ranges = [range];
    let filled = demand(&spec("{memory: 64Mi}", "{memory: 64Mi}"), &ranges);
    assert_eq!((filled.requests["cpu"], filled.limits["cpu"]), (0.2, 1.0));
    let messages: Vec<String> = outside_limits(&filled, &ranges, "trade").into_iter().map(|problem| problem.message).collect();
    assert_eq!(messages, ["container app has a limit of cpu of more than 4 times its request, says a LimitRange of namespace trade"]);
    let big = demand(&spec("{cpu: 50m}", "{cpu: 100m, memory: 256Mi}"), &ranges);
    let problems = outside_limits(&big, &ranges, "trade");
    let words = "container app has a limit of 256Mi memory, but may have 128Mi at most, says a LimitRange of namespace trade";
    assert_eq!((problems[0].message.as_str(), problems.len()), (words, 2));
    assert_eq!(problems[0].hint, "correct kubernetes.resources.limits.memory, or have the LimitRange changed");
    assert!(problems[1].message.contains("asks for 50m cpu, but has to ask for 100m at least"), "{}", problems[1].message);
    let none = demand(&spec("{}", "{}"), &ranges);
    assert!(outside_limits(&none, &ranges, "trade").iter().any(|problem| problem.message.contains("has to have a limit of memory")));
}

fn quota(hard: &str, used: &str, more: &str) -> ResourceQuota {
    read(&format!("metadata: {{name: small}}\nspec: {{hard: {hard}{more}}}\nstatus: {{hard: {hard}, used: {used}}}"))
}

/// Two pods of 100m cpu and 64Mi run, and are replaced by such pods.
fn growth() -> Growth {
    let pod = demand(&spec("{cpu: 100m, memory: 64Mi}", "{memory: 64Mi}"), &[]);
    Growth { new: pod.clone(), old: pod, running: 2, desired: 2, old_first: false, same: false }
}

fn no_room(hard: &str, used: &str, growth: &Growth) -> Vec<String> {
    without_room(&[quota(hard, used, "")], growth, "trade").into_iter().map(|problem| problem.message).collect()
}

#[test]
fn a_surge_needs_room_for_one_pod_more() {
    let full = no_room("{pods: '2'}", "{pods: '2'}", &growth());
    assert_eq!(full, ["the quota small of namespace trade has no room for the new pods: 2 is used, and one pod more makes pods 3 of 2"]);
    assert!(no_room("{pods: '3'}", "{pods: '2'}", &growth()).is_empty());
    assert!(no_room("{pods: '2'}", "{pods: '2'}", &Growth { old_first: true, ..growth() }).is_empty(), "an old one goes first");
    assert!(no_room("{pods: '2'}", "{pods: '2'}", &Growth { same: true, ..growth() }).is_empty(), "no pod is replaced");
    let memory = no_room("{requests.memory: 150Mi}", "{requests.memory: 128Mi}", &growth());
    assert!(memory[0].ends_with("128Mi is used, and one pod more makes requests.memory 192Mi of 150Mi"), "{memory:?}");
}

#[test]
fn a_first_publish_and_a_greater_number_need_room_for_all() {
    let first = Growth { running: 0, ..growth() };
    assert!(no_room("{pods: '1'}", "{pods: '0'}", &first)[0].ends_with("2 pods make pods 2 of 1"));
    let more = Growth { desired: 5, same: true, ..growth() };
    assert!(no_room("{cpu: 400m}", "{cpu: 200m}", &more)[0].ends_with("5 pods make cpu 500m of 400m"));
    let smaller = Growth { desired: 1, ..growth() };
    assert!(no_room("{pods: '3'}", "{pods: '4'}", &smaller).iter().all(|why| why.contains("one pod more")), "fewer in the end");
}

#[test]
fn a_quota_of_a_resource_wants_it_named() {
    let problems = without_room(&[quota("{limits.cpu: '4'}", "{limits.cpu: '0'}", "")], &growth(), "trade");
    let words = "the quota small of namespace trade wants a limit of cpu for every container, but container app has none";
    assert_eq!((problems[0].message.as_str(), problems[0].hint.as_str()), (words, "set kubernetes.resources.limits.cpu"));
    let other = quota("{pods: '0'}", "{pods: '0'}", ", scopes: [Terminating]");
    assert!(without_room(&[other], &growth(), "trade").is_empty(), "it counts other pods");
    assert!(no_room("{services: '0', count/secrets: '0'}", "{}", &growth()).is_empty(), "it counts no pods");
}

#[test]
fn an_image_without_the_nodes_processor_is_named() {
    let of = |image: &[&str], nodes: &[&str]| {
        let image: Vec<String> = image.iter().map(ToString::to_string).collect();
        other_platforms(&image, &nodes.iter().map(ToString::to_string).collect(), "web:1")
    };
    let (problem, _) = of(&["linux/amd64"], &["linux/arm64"]);
    assert_eq!(problem.unwrap().message, "no node can run web:1: it is built for linux/amd64, and the nodes are linux/arm64");
    assert_eq!(of(&["linux/amd64"], &["linux/amd64", "linux/arm64"]), (None, vec!["linux/arm64".to_string()]));
    assert_eq!(of(&["linux/arm64/v8"], &["linux/arm64"]), (None, Vec::new()));
    assert_eq!((of(&[], &["linux/arm64"]), of(&["linux/amd64"], &[])), ((None, Vec::new()), (None, Vec::new())));
}

#[test]
fn an_update_that_cannot_end_in_its_time_is_told_before() {
    let deployment = |replicas: i32, surge: &str| -> k8s_openapi::api::apps::v1::Deployment {
        read(&format!(
            "spec: {{replicas: {replicas}, minReadySeconds: 10, selector: {{}}, template: {{}},
              strategy: {{rollingUpdate: {{maxSurge: {surge}, maxUnavailable: 0}}}}}}"
        ))
    };
    let limit = std::time::Duration::from_secs(600);
    let problem = too_slow(&deployment(60, "1"), limit).unwrap();
    assert!(problem.message.contains("60 pods, 1 at a time") && problem.message.ends_with("take 10m at least"), "{problem:?}");
    assert!(problem.hint.contains("kubernetes.rolling.max_surge"));
    assert_eq!(too_slow(&deployment(59, "1"), limit), None);
    assert_eq!(too_slow(&deployment(100, "25%"), limit), None);
}

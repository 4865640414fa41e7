//! YAML in, verdict out.

use std::time::Duration;

use super::*;

mod certain;
mod ends;
mod images;
mod logs;
mod refused;
mod waiting;

const HASH: &str = "abc";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn expect(generation: i64, service: bool) -> Expect {
    Expect { generation, service, ..Expect::default() }
}

/// A Deployment of two replicas at generation 2 that the controller has seen.
fn deployment(observed: i64, extra: &str) -> Deployment {
    read(&format!(
        "metadata: {{name: web, uid: d, generation: 2, annotations: {{deployment.kubernetes.io/revision: '2'}}}}
spec: {{replicas: 2, selector: {{}}, template: {{}}, strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}}}
status: {{observedGeneration: {observed}, replicas: 2, availableReplicas: 2{extra}}}"
    ))
}

fn set(uid: &str, revision: u32, status: &str) -> ReplicaSet {
    read(&format!(
        "metadata: {{name: web-{uid}, uid: {uid}, ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, name: web, uid: d}}],
  annotations: {{deployment.kubernetes.io/revision: '{revision}'}}}}
spec: {{replicas: 2, selector: {{}}}}
status: {status}"
    ))
}

/// A pod of a ReplicaSet; `status` and `spec` as flow mappings.
fn pod(name: &str, set: &str, spec: &str, status: &str) -> Pod {
    read(&format!(
        "metadata: {{name: {name}, uid: {name}, labels: {{pod-template-hash: {HASH}}},
  ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: web-{set}, uid: {set}}}]}}
spec: {spec}
status: {status}"
    ))
}

const SPEC: &str = "{containers: [{name: app, image: registry.test/web@sha256:1, readinessProbe: {periodSeconds: 5, failureThreshold: 3, httpGet: {path: /, port: 80}},
  resources: {limits: {memory: 256Mi}}, env: [{name: JAVA_TOOL_OPTIONS, value: '-Xmx512m -Xlog:gc'}]}]}";

fn waiting(reason: &str, message: &str, restarts: i32, last: &str) -> String {
    format!(
        "{{phase: Pending, containerStatuses: [{{name: app, image: x, imageID: '', ready: false, started: false, restartCount: {restarts},
  state: {{waiting: {{reason: {reason}, message: '{}'}}}}{last}}}]}}",
        message.replace('\'', "''")
    )
}

fn last_end(code: i32, reason: &str) -> String {
    format!(", lastState: {{terminated: {{exitCode: {code}, reason: {reason}}}}}")
}

const READY: &str = "{phase: Running, conditions: [{type: Ready, status: 'True'}],
  containerStatuses: [{name: app, image: x, imageID: '', ready: true, started: true, restartCount: 0, state: {running: {}}}]}";
const UNREADY: &str = "{phase: Running, conditions: [{type: Ready, status: 'False'}],
  containerStatuses: [{name: app, image: x, imageID: '', ready: false, started: true, restartCount: 0, state: {running: {}}}]}";
const STARTING: &str = "{phase: Running, conditions: [{type: Ready, status: 'False'}],
  containerStatuses: [{name: app, image: x, imageID: '', ready: false, started: false, restartCount: 0, state: {running: {}}}]}";
const ALL_UP: &str = "{replicas: 2, readyReplicas: 2, availableReplicas: 2}";
const NONE_UP: &str = "{replicas: 2}";

/// A rollout with the new ReplicaSet `n`, and nothing else.
fn rollout(set_status: &str) -> Rollout {
    let mut rollout = Rollout::new(expect(2, false), Budgets::default());
    rollout.see_deployment(Some(deployment(2, "")), secs(0));
    rollout.see_set(set("n", 2, set_status), secs(0));
    rollout
}

/// Two new pods in the same state, seen at these times.
fn pods(status: &str, times: &[u64]) -> Rollout {
    let mut rollout = rollout(NONE_UP);
    for at in times {
        for name in ["a", "b"] {
            rollout.see_pod(pod(name, "n", SPEC, status), secs(*at));
        }
    }
    rollout
}

fn doomed(rollout: &Rollout, at: u64) -> Option<Finding> {
    match rollout.judge(secs(at)).verdict {
        Verdict::Doomed(finding) => Some(finding),
        Verdict::Done | Verdict::Going => None,
    }
}

fn event(pod: &str, reason: &str, message: &str) -> Event {
    read(&format!(
        "metadata: {{name: {pod}-{reason}, uid: {pod}-{reason}}}
involvedObject: {{kind: Pod, uid: {pod}}}
reason: {reason}
message: '{}'",
        message.replace('\'', "''")
    ))
}

#[test]
fn done_needs_the_controller_to_have_seen_our_generation() {
    let mut rollout = rollout(ALL_UP);
    rollout.see_pod(pod("a", "n", SPEC, READY), secs(1));
    rollout.see_deployment(Some(deployment(1, "")), secs(0));
    assert_eq!(rollout.judge(secs(1)).verdict, Verdict::Going);
    rollout.see_deployment(Some(deployment(2, "")), secs(0));
    assert_eq!(rollout.judge(secs(1)).verdict, Verdict::Done);
    let mut later = Rollout::new(expect(3, false), Budgets::default());
    later.see_deployment(Some(deployment(2, "")), secs(0));
    later.see_set(set("n", 2, ALL_UP), secs(0));
    assert_eq!(later.judge(secs(1)).verdict, Verdict::Going, "an answer from before our patch");
}

#[test]
fn done_means_the_newest_pods_not_the_old_ones() {
    let mut rollout = rollout(NONE_UP);
    rollout.see_set(set("o", 1, ALL_UP), secs(0));
    let judgement = rollout.judge(secs(1));
    assert_eq!((judgement.verdict, judgement.waiting.as_str()), (Verdict::Going, "new pods: 0 of 2 are ready"));
    for (status, words) in [
        ("{replicas: 1}", "new pods: 1 of 2 are made"),
        ("{replicas: 2, readyReplicas: 2, availableReplicas: 1}", "new pods: 1 of 2 have been ready for min_ready_seconds"),
    ] {
        rollout.see_set(set("n", 2, status), secs(0));
        assert_eq!(rollout.judge(secs(1)).waiting, words);
    }
    rollout.see_set(set("n", 2, ALL_UP), secs(0));
    assert_eq!(rollout.judge(secs(1)).waiting, "2 old pods to be stopped", "whatever the Deployment, which may be late, says");
    for status in ["{replicas: 1}", "{replicas: 0}"] {
        assert_eq!(rollout.judge(secs(1)).verdict, Verdict::Going);
        let mut old = set("o", 1, status);
        old.spec.as_mut().unwrap().replicas = Some(0);
        rollout.see_set(old, secs(0));
    }
    assert_eq!(rollout.judge(secs(1)).verdict, Verdict::Done);
}

#[test]
fn an_old_pod_that_is_told_to_go_is_not_waited_for_any_longer() {
    let mut rollout = rollout(ALL_UP);
    let mut old = set("o", 1, "{replicas: 2}");
    let mut leaving = pod("x", "o", SPEC, READY);
    leaving.metadata.deletion_timestamp = Some(read("2026-01-02T03:04:05Z"));
    rollout.see_set(old.clone(), secs(0));
    rollout.see_pod(leaving, secs(1));
    assert_eq!(rollout.judge(secs(1)).waiting, "2 old pods to be stopped", "so many are wanted still, and another may come");
    old.spec.as_mut().unwrap().replicas = Some(0);
    rollout.see_set(old, secs(1));
    rollout.see_pod(pod("y", "o", SPEC, READY), secs(1));
    assert_eq!(rollout.judge(secs(1)).waiting, "1 old pods to be stopped", "y was not told yet");
    rollout.gone("y");
    assert_eq!(rollout.judge(secs(1)).verdict, Verdict::Done, "whatever the ReplicaSet still counts");
}

#[test]
fn done_needs_the_service_to_have_the_new_pods() {
    let mut rollout = Rollout::new(expect(2, true), Budgets::default());
    rollout.see_deployment(Some(deployment(2, "")), secs(0));
    rollout.see_set(set("n", 2, ALL_UP), secs(0));
    rollout.see_pod(pod("a", "n", SPEC, READY), secs(0));
    rollout.see_pod(pod("b", "n", SPEC, READY), secs(0));
    let slice = |ready: bool| -> EndpointSlice {
        read(&format!(
            "metadata: {{name: web-1, uid: s}}
addressType: IPv4
endpoints: [{{addresses: [10.0.0.1], conditions: {{ready: true}}, targetRef: {{uid: a}}}}, {{addresses: [10.0.0.2], conditions: {{ready: {ready}}}, targetRef: {{uid: b}}}},
  {{addresses: [10.0.0.3], conditions: {{ready: true}}, targetRef: {{uid: old}}}}]"
        ))
    };
    rollout.see_slice(slice(false));
    assert_eq!(rollout.judge(secs(1)).waiting, "the service: 1 of 2 endpoints are ready");
    rollout.see_slice(slice(true));
    assert_eq!(rollout.judge(secs(1)).verdict, Verdict::Done);
}

#[test]
fn a_broken_configuration_is_fatal_and_names_what_to_create() {
    let finding = doomed(&pods(&waiting("CreateContainerConfigError", "secret \"database\" not found", 0, ""), &[1]), 1).unwrap();
    assert_eq!(finding.code, Code::ContainerConfig);
    assert_eq!(finding.hint.as_deref(), Some("create the Secret database, or correct kubernetes.secrets"));
    let cache = waiting("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition", 0, "");
    assert_eq!(doomed(&pods(&cache, &[1]), 1), None);
    let passing = waiting("RunContainerError", "cannot start", 1, &last_end(128, "StartError"));
    assert_eq!(doomed(&pods(&passing, &[1]), 1), None, "128 may pass");
    let again = waiting("CrashLoopBackOff", "back-off", 2, &last_end(128, "StartError"));
    assert_eq!(doomed(&pods(&again, &[1]), 1).unwrap().code, Code::ContainerConfig);
}

#[test]
fn crashes_are_fatal_by_their_number_not_by_the_clock() {
    let once = waiting("ContainerCreating", "", 1, &last_end(1, "Error"));
    assert_eq!(doomed(&pods(&once, &[1]), 100), None);
    let loops = waiting("CrashLoopBackOff", "back-off 10s", 1, &last_end(1, "Error"));
    let finding = doomed(&pods(&loops, &[3]), 3).unwrap();
    assert_eq!(finding.code, Code::CrashLoop);
    assert_eq!(finding.message, "container app of pod a ended twice with exit code 1");
    let ends = waiting("CrashLoopBackOff", "back-off 10s", 2, &last_end(0, "Completed"));
    assert!(doomed(&pods(&ends, &[3]), 3).unwrap().hint.unwrap().contains("must not end by itself"));
}

#[test]
fn restarts_of_an_earlier_life_do_not_count() {
    let mut rollout = rollout(ALL_UP);
    let long_ago = READY.replace("restartCount: 0", "restartCount: 7");
    rollout.see_pod(pod("a", "n", SPEC, &long_ago), secs(0));
    let again = UNREADY.replace("restartCount: 0", "restartCount: 8");
    rollout.see_set(set("n", 2, "{replicas: 2, readyReplicas: 1}"), secs(1));
    rollout.see_pod(pod("a", "n", SPEC, &again), secs(1));
    assert_eq!(doomed(&rollout, 1), None);
}

#[test]
fn init_containers_count_like_containers() {
    let status = waiting("CrashLoopBackOff", "back-off", 1, &last_end(3, "Error")).replace("containerStatuses", "initContainerStatuses");
    assert_eq!(doomed(&pods(&status, &[1]), 1).unwrap().code, Code::CrashLoop);
}

#[test]
fn a_lack_of_memory_is_compared_with_the_heap() {
    let finding = doomed(&pods(&waiting("CrashLoopBackOff", "", 1, &last_end(137, "OOMKilled")), &[1]), 1).unwrap();
    assert_eq!(finding.code, Code::OomKilled);
    assert!(finding.message.ends_with("its limit of 256Mi; -Xmx512m lets the heap alone take 200 % of it"), "{}", finding.message);
    assert!(finding.hint.as_deref().unwrap().starts_with("-Xmx512m leaves"), "{:?}", finding.hint);
    assert_eq!(doomed(&pods(&waiting("ContainerCreating", "", 1, &last_end(137, "OOMKilled")), &[1]), 1), None, "once may happen");
}

#[test]
fn a_kill_by_a_probe_is_named() {
    let mut rollout = pods(&waiting("CrashLoopBackOff", "", 1, &last_end(143, "Error")), &[1]);
    for name in ["a", "b"] {
        rollout.see_event(event(name, "Killing", "Container app failed liveness probe, will be restarted"));
    }
    let finding = doomed(&rollout, 1).unwrap();
    assert_eq!(finding.code, Code::ProbeFailed);
    assert!(finding.message.contains("failed liveness probe"), "{}", finding.message);
}

#[test]
fn readiness_has_its_window_from_the_start_of_the_container() {
    let mut rollout = pods(STARTING, &[0]);
    assert_eq!(doomed(&rollout, 300), None, "the startup probe decides as long as it runs");
    for name in ["a", "b"] {
        rollout.see_pod(pod(name, "n", SPEC, UNREADY), secs(100));
        rollout.see_event(event(name, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"));
    }
    // (3 failures + 1 success) × 5 s + 1 s, three times
    assert_eq!(doomed(&rollout, 162), None);
    let finding = doomed(&rollout, 163).unwrap();
    assert_eq!(finding.code, Code::NeverReady);
    assert!(finding.message.ends_with("after 1m3s: readiness probe failed: HTTP 503 from http://pod:80/"), "{}", finding.message);
}

#[test]
fn a_pod_without_a_node_has_a_grace_that_grows_with_the_cluster() {
    let status = "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: '0/3 nodes are available: 3 Insufficient memory.'}]}";
    let mut rollout = pods(status, &[10]);
    assert_eq!(doomed(&rollout, 129), None);
    let finding = doomed(&rollout, 130).unwrap();
    assert_eq!(finding.code, Code::Unschedulable);
    assert_eq!(finding.message, "no node can take pod a: 0/3 nodes are available: 3 Insufficient memory");
    for name in ["a", "b"] {
        rollout.see_event(event(name, "TriggeredScaleUp", "pod triggered scale-up"));
    }
    assert_eq!(doomed(&rollout, 130), None);
    let claim = status.replace("3 Insufficient memory.", "persistentvolumeclaim \"data\" not found");
    assert_eq!(doomed(&pods(&claim, &[1]), 1).unwrap().code, Code::VolumeMissing);
}

#[test]
fn a_mount_is_fatal_when_its_object_does_not_exist() {
    let mut rollout = pods(&waiting("ContainerCreating", "", 0, ""), &[1]);
    for name in ["a", "b"] {
        rollout.see_event(event(name, "FailedMount", "MountVolume.SetUp failed for volume \"c\" : configmap \"settings\" not found"));
    }
    let finding = doomed(&rollout, 2).unwrap();
    assert_eq!((finding.code, finding.hint.as_deref()), (Code::VolumeMissing, Some("create the ConfigMap settings")));
    let mut slow = pods(&waiting("ContainerCreating", "", 0, ""), &[1]);
    slow.see_event(event("a", "FailedMount", "MountVolume.SetUp failed for volume \"c\" : timed out"));
    assert_eq!(doomed(&slow, 100), None);
    assert!(slow.judge(secs(100)).warnings[0].message.ends_with("timed out"), "it is said, though");
    let mut key = pods(&waiting("ContainerCreating", "", 0, ""), &[1]);
    for name in ["a", "b"] {
        key.see_event(event(name, "FailedMount", "MountVolume.SetUp failed for volume \"c\" : references non-existent config key: a.yml"));
    }
    assert_eq!(doomed(&key, 2).unwrap().message, "pod a cannot mount a volume: its ConfigMap has no key a.yml");
}

#[test]
fn a_volume_that_another_node_has_is_told_with_the_way_out() {
    let mut rollout = pods(&waiting("ContainerCreating", "", 0, ""), &[1]);
    rollout.see_event(event("a", "FailedAttachVolume", "Multi-Attach error for volume \"v\" Volume is already used by pod(s) b"));
    let warning = &rollout.judge(secs(100)).warnings[0];
    assert!(warning.hint.as_deref().unwrap().contains("kubernetes.rolling.max_surge 0"), "{warning:?}");
}

#[test]
fn failed_pods_are_fatal_unless_their_node_is_to_blame() {
    let finding = doomed(&pods("{phase: Failed, reason: DeadlineExceeded, message: too long}", &[1]), 1).unwrap();
    assert_eq!((finding.code, finding.message.as_str()), (Code::PodFailed, "pod a failed: DeadlineExceeded: too long"));
    for reason in ["Evicted", "NodeShutdown", "Preempting"] {
        assert_eq!(doomed(&pods(&format!("{{phase: Failed, reason: {reason}}}"), &[1]), 1), None, "{reason}");
    }
}

#[test]
fn one_bad_pod_of_many_is_a_warning() {
    let mut rollout = rollout("{replicas: 2, readyReplicas: 1, availableReplicas: 1}");
    rollout.see_pod(pod("a", "n", SPEC, READY), secs(1));
    rollout.see_pod(pod("b", "n", SPEC, &waiting("CrashLoopBackOff", "", 4, &last_end(1, "Error"))), secs(1));
    let judgement = rollout.judge(secs(1));
    assert_eq!((judgement.verdict, judgement.warnings.len()), (Verdict::Going, 1));
    let finding = doomed(&rollout, 600).unwrap();
    assert_eq!(finding.code, Code::CrashLoop, "in the end it is what kept the rollout from its end");
    assert!(finding.message.ends_with("1 of 2 new pods were available after 10m"), "{}", finding.message);
}

#[test]
fn old_pods_never_doom_a_rollout() {
    let mut rollout = pods(READY, &[1]);
    rollout.see_set(set("o", 1, NONE_UP), secs(0));
    rollout.see_pod(pod("x", "o", SPEC, &waiting("CrashLoopBackOff", "", 9, &last_end(1, "Error"))), secs(1));
    assert_eq!(doomed(&rollout, 1), None);
    assert!(rollout.is_old(&pod("x", "o", SPEC, READY)) && !rollout.is_old(&pod("a", "n", SPEC, READY)));
}

#[test]
fn states_are_words_for_people() {
    for (status, word) in [
        (READY, "ready"),
        (STARTING, "starting"),
        (UNREADY, "running"),
        ("{phase: Pending}", "pending"),
        ("{phase: Failed, reason: Evicted}", "Evicted"),
    ] {
        assert_eq!(state(&pod("a", "n", SPEC, status)), word);
    }
    assert_eq!(state(&pod("a", "n", SPEC, &waiting("ImagePullBackOff", "", 0, ""))), "ImagePullBackOff");
    assert_eq!(state(&pod("a", "n", SPEC, &waiting("ContainerCreating", "", 0, ""))), "creating");
}

#[test]
fn pods_that_should_be_gone_do_not_block() {
    let mut rollout = rollout(ALL_UP);
    let mut old = pod("x", "o", "{nodeName: node1, containers: []}", READY);
    old.metadata.deletion_timestamp = Some(read("2026-01-02T03:04:05Z"));
    old.metadata.finalizers = Some(vec!["backup.test/hold".to_string()]);
    rollout.see_pod(old, secs(0));
    assert_eq!(rollout.judge(secs(1)).verdict, Verdict::Done);
}

#[test]
fn an_autoscaler_that_does_not_act_says_why() {
    let autoscaler = |reason: &str| {
        let text = format!(
            "spec: {{maxReplicas: 3, scaleTargetRef: {{kind: Deployment, name: web}}}}
status: {{desiredReplicas: 1, conditions: [{{type: ScalingActive, status: 'False', reason: {reason}, message: no such target}}]}}"
        );
        sets::idle_autoscaler(&read(&text))
    };
    assert_eq!(autoscaler("InvalidSelector").as_deref(), Some("no such target"));
    assert_eq!((autoscaler("FailedGetResourceMetric"), autoscaler("ScalingDisabled")), (None, None));
}

#[test]
fn a_paused_deployment_says_so() {
    let mut rollout = Rollout::new(expect(2, false), Budgets::default());
    let mut paused = deployment(2, "");
    paused.spec.as_mut().unwrap().paused = Some(true);
    rollout.see_deployment(Some(paused), secs(0));
    assert!(rollout.judge(secs(1)).waiting.contains("kubectl rollout resume"));
}

#[test]
fn pods_in_trouble_have_their_events_read() {
    let rollout = pods(&waiting("ContainerCreating", "", 0, ""), &[0]);
    assert!(rollout.troubled(secs(4)).is_empty());
    assert_eq!(rollout.troubled(secs(5)).len(), 2);
    assert_eq!(rollout.judge(secs(2)).wake, secs(5), "no news comes of a pod that does nothing");
    let unprepared =
        waiting("ContainerCreating", "", 0, "").replacen('{', "{conditions: [{type: PodReadyToStartContainers, status: 'False'}], ", 1);
    assert_eq!(pods(&unprepared, &[0]).troubled(secs(2)).len(), 2, "its volumes are not there");
    assert_eq!(pods(&waiting("CrashLoopBackOff", "", 1, ""), &[0]).troubled(secs(1)).len(), 2);
    assert!(pods(READY, &[0]).troubled(secs(60)).is_empty());
    let mut starts = pods(STARTING, &[0]);
    assert_eq!((starts.troubled(secs(19)).len(), starts.troubled(secs(20)).len()), (0, 2), "a JVM takes its time");
    starts.see_pod(pod("a", "n", SPEC, UNREADY), secs(15));
    assert_eq!((starts.troubled(secs(16)), starts.troubled(secs(17))), (vec![], vec!["a".to_string()]), "it is up, and not ready at once");
    starts.see_pod(pod("a", "n", SPEC, READY), secs(21));
    assert_eq!(starts.troubled(secs(21)), ["b"], "whose place is free for another");
}

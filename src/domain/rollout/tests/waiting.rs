//! What is waited for, in words, and ports that never open.

use super::*;

const REFUSED: &str = "Startup probe failed: dial tcp 10.0.0.7:8080: connect: connection refused";
const KILLED: &str = "Container app failed startup probe, will be restarted";

fn with_startup(period: i32, failures: i32) -> String {
    SPEC.replace("readinessProbe", &format!("startupProbe: {{periodSeconds: {period}, failureThreshold: {failures}}}, readinessProbe"))
}

/// The first of two new pods (the next is made when it is ready), with the startup probe's answers.
fn refusing(spec: &str, status: &str, at: u64) -> Rollout {
    let mut rollout = rollout("{replicas: 1}");
    rollout.see_pod(pod("a", "n", spec, STARTING), secs(0));
    rollout.see_pod(pod("a", "n", spec, status), secs(at));
    rollout.see_event(event("a", "Unhealthy", REFUSED));
    rollout
}

fn restarted(restarts: i32) -> String {
    STARTING.replace("restartCount: 0", &format!("restartCount: {restarts}{}", last_end(143, "Error")))
}

#[test]
fn a_kill_after_a_long_startup_window_is_fatal_at_the_first_sight() {
    for (period, failures) in [(5, 60), (20, 3)] {
        let mut rollout = refusing(&with_startup(period, failures), &restarted(1), 301);
        assert_eq!(doomed(&rollout, 301), None, "any end may happen once");
        rollout.see_event(event("a", "Killing", KILLED));
        let finding = doomed(&rollout, 301).unwrap();
        assert_eq!((finding.code, finding.container.as_deref()), (Code::ProbeFailed, Some("app")));
        let had = if period == 5 { "5m" } else { "1m" };
        let cause = "startup probe failed: connection refused (10.0.0.7:8080)";
        assert_eq!(finding.message, format!("container app of pod a was ended by its startup probe, which had {had}: {cause}"));
    }
}

#[test]
fn a_kill_after_a_short_startup_window_has_the_budget() {
    let spec = with_startup(2, 29);
    let mut rollout = refusing(&spec, &restarted(1), 60);
    rollout.see_event(event("a", "Killing", KILLED));
    assert_eq!(doomed(&rollout, 60), None);
    rollout.see_pod(pod("a", "n", &spec, &restarted(2)), secs(120));
    let finding = doomed(&rollout, 120).unwrap();
    assert_eq!(finding.code, Code::ProbeFailed);
    assert!(finding.message.contains("was ended twice by its startup probe, which had 58s"), "{}", finding.message);
}

#[test]
fn the_kill_of_another_container_or_by_another_probe_has_the_budget() {
    for (path, message) in [
        ("fieldPath: 'spec.containers{proxy}'", KILLED.replace("app", "proxy")),
        ("fieldPath: 'spec.containers{app}'", "Container app failed liveness probe, will be restarted".to_string()),
    ] {
        let mut rollout = refusing(&with_startup(5, 60), &restarted(1), 301);
        let kill: Event =
            read(&format!("metadata: {{name: k, uid: k}}\ninvolvedObject: {{uid: a, {path}}}\nreason: Killing\nmessage: '{message}'"));
        rollout.see_event(kill);
        assert_eq!(doomed(&rollout, 301), None, "{message}");
    }
}

#[test]
fn a_pod_that_does_not_get_ready_is_waited_for_with_the_answer_of_its_probe() {
    let mut rollout = refusing(&with_startup(5, 60), STARTING, 10);
    assert_eq!(rollout.judge(secs(20)).waiting, "pod a to get ready: startup probe failed: connection refused (10.0.0.7:8080)");
    let get = "Startup probe failed: Get \"http://10.0.0.7:8080/\": dial tcp 10.0.0.7:8080: connect: connection refused";
    rollout.see_event(event("a", "Unhealthy", get));
    assert!(rollout.judge(secs(20)).waiting.ends_with("startup probe failed: connection refused (http://10.0.0.7:8080/)"));
    rollout.see_event(event("a", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"));
    assert_eq!(rollout.judge(secs(20)).waiting, "pod a to get ready: readiness probe failed: HTTP 503 from http://pod:80/");
    let late =
        "Readiness probe failed: Get \"http://10.0.0.7:80/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    rollout.see_event(event("a", "Unhealthy", late));
    assert!(rollout.judge(secs(20)).waiting.ends_with("failed: no answer within the probe's timeout (http://10.0.0.7:80/)"));
    assert_eq!(pods(STARTING, &[1]).judge(secs(2)).waiting, "pod a and 1 other to get ready: starting");
    let mut half = refusing(&with_startup(5, 60), READY, 10);
    half.see_set(set("n", 2, "{replicas: 1, readyReplicas: 1}"), secs(10));
    assert_eq!(half.judge(secs(11)).waiting, "new pods: 1 of 2 are made", "the pod that is there is not what is waited for");
}

#[test]
fn a_trouble_is_waited_for_in_a_sentence() {
    let crashed = pods(&waiting("ContainerCreating", "", 1, &last_end(1, "Error")), &[1]);
    assert_eq!(crashed.judge(secs(2)).waiting, "pod a to get ready: container app ended with exit code 1");
    let unplaced = "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: '0/1 nodes.'}]}";
    assert_eq!(pods(unplaced, &[1]).judge(secs(2)).waiting, "pod a to get ready: no node can take it: 0/1 nodes");
    let denied = rollout("{replicas: 0, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: later}]}");
    assert_eq!(denied.judge(secs(2)).waiting, "new pods: 0 of 2 are made; the cluster refuses the new pods: later");
}

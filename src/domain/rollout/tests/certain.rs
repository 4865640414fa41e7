//! False success and false failure, the worst that a verdict can be.

use super::*;

const CRASHES: &str = "CrashLoopBackOff";

fn crashed(restarts: i32) -> String {
    waiting(CRASHES, "back-off", restarts, &last_end(1, "Error"))
}

/// A rollout of ten pods of which these many are doomed by `status`, the rest ready.
fn ten(bad: usize, status: &str) -> Rollout {
    let mut rollout = rollout("{replicas: 10, readyReplicas: 9, availableReplicas: 9}");
    let mut wanted = deployment(2, "");
    wanted.spec.as_mut().unwrap().replicas = Some(10);
    rollout.see_deployment(Some(wanted), secs(0));
    for number in 0..10 {
        rollout.see_pod(pod(&format!("p{number}"), "n", SPEC, if number < bad { status } else { READY }), secs(1));
    }
    rollout
}

#[test]
fn counts_of_an_earlier_generation_of_the_set_are_no_success() {
    let mut rollout = rollout(ALL_UP);
    let mut reused = set("n", 2, "{replicas: 2, readyReplicas: 2, availableReplicas: 2, observedGeneration: 3}");
    reused.metadata.generation = Some(4);
    rollout.see_set(reused.clone(), secs(1));
    assert_eq!(rollout.judge(secs(1)).waiting, "the ReplicaSet controller to count the new pods");
    reused.metadata.generation = Some(3);
    rollout.see_set(reused, secs(1));
    assert_eq!(rollout.judge(secs(1)).verdict, Verdict::Done);
}

#[test]
fn a_refusal_of_an_earlier_generation_of_the_set_is_no_failure() {
    let mut rollout = rollout(NONE_UP);
    let status = "{replicas: 1, observedGeneration: 3, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: 'exceeded quota: small'}]}";
    let mut reused = set("n", 2, status);
    reused.metadata.generation = Some(4);
    rollout.see_set(reused.clone(), secs(1));
    assert_eq!(doomed(&rollout, 1), None);
    reused.metadata.generation = Some(3);
    rollout.see_set(reused, secs(1));
    assert_eq!(doomed(&rollout, 1).unwrap().code, Code::QuotaExceeded);
}

#[test]
fn a_limit_that_had_passed_before_is_no_failure_of_the_way_back() {
    let over = |time: &str| {
        let condition =
            format!(", conditions: [{{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, lastUpdateTime: '{time}'}}]");
        deployment(2, &condition)
    };
    let mut back = Rollout::new(Expect::of(&over("2026-01-02T03:04:05Z"), false), Budgets::default());
    back.see_deployment(Some(over("2026-01-02T03:04:05Z")), secs(0));
    back.see_set(set("n", 2, NONE_UP), secs(0));
    assert_eq!(doomed(&back, 5), None, "the controller said that of the release that failed");
    back.see_deployment(Some(over("2026-01-02T03:14:05Z")), secs(500));
    assert_eq!(doomed(&back, 500).unwrap().code, Code::DeadlineExceeded);
}

#[test]
fn a_new_pod_that_dies_within_min_ready_seconds_is_no_success() {
    let ready = "{replicas: 2, readyReplicas: 2, availableReplicas: 0}";
    let mut rollout = rollout(ready);
    for name in ["a", "b"] {
        rollout.see_pod(pod(name, "n", SPEC, READY), secs(5));
    }
    assert_eq!(rollout.judge(secs(6)).verdict, Verdict::Going);
    rollout.see_set(set("n", 2, NONE_UP), secs(9));
    for name in ["a", "b"] {
        rollout.see_pod(pod(name, "n", SPEC, &waiting("ContainerCreating", "", 1, &last_end(1, "Error"))), secs(9));
    }
    assert_eq!(rollout.judge(secs(9)).verdict, Verdict::Going, "once may happen");
    for name in ["a", "b"] {
        rollout.see_pod(pod(name, "n", SPEC, &crashed(1)), secs(15));
    }
    assert_eq!(doomed(&rollout, 15).unwrap().code, Code::CrashLoop);
}

#[test]
fn a_ready_pod_that_wavers_has_its_window_anew() {
    let mut rollout = rollout("{replicas: 1, readyReplicas: 1}");
    rollout.see_pod(pod("a", "n", SPEC, READY), secs(5));
    rollout.see_pod(pod("a", "n", SPEC, UNREADY), secs(300));
    assert_eq!(doomed(&rollout, 301), None, "its container has been up for five minutes, and unready for a second");
    // (3 failures + 1 success) × 5 s + 1 s, three times
    assert_eq!((doomed(&rollout, 362), doomed(&rollout, 363).map(|finding| finding.code)), (None, Some(Code::NeverReady)));
}

#[test]
fn a_container_that_was_started_anew_has_its_window_anew() {
    let mut rollout = rollout("{replicas: 1}");
    rollout.see_pod(pod("a", "n", SPEC, UNREADY), secs(5));
    let second = UNREADY.replace("restartCount: 0", &format!("restartCount: 1{}", last_end(1, "Error")));
    rollout.see_pod(pod("a", "n", SPEC, &second), secs(60));
    assert_eq!(doomed(&rollout, 70), None);
}

#[test]
fn evictions_and_lost_nodes_are_no_failure() {
    let disrupted =
        UNREADY.replace("conditions: [", "conditions: [{type: DisruptionTarget, status: 'True', reason: EvictionByEvictionAPI}, ");
    for status in [
        "{phase: Failed, reason: Evicted, message: 'The node was low on resource: memory.'}",
        "{phase: Failed, reason: OutOfmemory}",
        "{phase: Failed, reason: Terminated}",
        disrupted.as_str(),
    ] {
        assert_eq!(doomed(&pods(status, &[1]), 300), None, "{status}");
    }
    let mut lost = pods(UNREADY, &[1]);
    for name in ["a", "b"] {
        lost.see_event(event(name, "NodeNotReady", "Node is not ready"));
    }
    assert_eq!(doomed(&lost, 300), None);
    assert!(lost.judge(secs(300)).waiting.contains("does not answer; the cluster moves the pod in its time"));
}

#[test]
fn pods_that_are_evicted_for_what_they_wrote_are_counted() {
    let evicted = "{phase: Failed, reason: Evicted, message: 'Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". '}";
    let mut rollout = rollout("{replicas: 1}");
    rollout.see_pod(pod("a", "n", SPEC, evicted), secs(12));
    assert_eq!(doomed(&rollout, 12), None, "another pod is on its way");
    rollout.see_pod(pod("b", "n", SPEC, STARTING), secs(12));
    assert_eq!(doomed(&rollout, 12), None, "once may happen");
    rollout.see_pod(pod("b", "n", SPEC, evicted), secs(24));
    rollout.see_pod(pod("c", "n", SPEC, STARTING), secs(24));
    let finding = doomed(&rollout, 24).unwrap();
    assert_eq!(finding.code, Code::PodFailed);
    assert!(finding.message.ends_with("was evicted for what it wrote: Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\""));
    rollout.see_pod(pod("d", "n", SPEC, READY), secs(25));
    assert_eq!(doomed(&rollout, 25), None, "others of them run");
}

#[test]
fn one_bad_pod_of_ten_is_a_warning() {
    let judgement = ten(1, &crashed(4)).judge(secs(2));
    assert_eq!((judgement.verdict, judgement.warnings.len()), (Verdict::Going, 1));
    assert_eq!(judgement.warnings[0].code, Code::CrashLoop);
    assert_eq!(doomed(&ten(10, &crashed(4)), 2).unwrap().code, Code::CrashLoop, "all ten are no warning");
}

#[test]
fn pods_of_older_sets_neither_fail_nor_fill_a_rollout() {
    let mut rollout = rollout("{replicas: 2, readyReplicas: 1, availableReplicas: 1}");
    rollout.see_set(set("o", 1, ALL_UP), secs(0));
    rollout.see_pod(pod("a", "n", SPEC, READY), secs(1));
    rollout.see_pod(pod("x", "o", SPEC, &crashed(9)), secs(1));
    rollout.see_pod(pod("y", "o", SPEC, READY), secs(1));
    let judgement = rollout.judge(secs(2));
    assert_eq!((judgement.verdict, judgement.warnings.len()), (Verdict::Going, 0));
}

#[test]
fn a_quota_that_new_pods_free_by_getting_ready_is_waited_for() {
    let status =
        "{replicas: 1, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: 'exceeded quota: small'}]}";
    let mut rollout = rollout(status);
    for name in ["x", "y"] {
        rollout.see_pod(pod(name, "o", SPEC, READY), secs(0));
    }
    assert_eq!(doomed(&rollout, 1).unwrap().code, Code::QuotaExceeded, "no new pod is there that could get ready");
    rollout.see_pod(pod("a", "n", SPEC, STARTING), secs(1));
    assert_eq!(doomed(&rollout, 1), None);
}

#[test]
fn a_quota_that_a_pod_has_just_freed_is_tried_again() {
    let status =
        "{replicas: 0, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: 'exceeded quota: small'}]}";
    let mut rollout = rollout(status);
    rollout.see_pod(pod("x", "o", SPEC, READY), secs(0));
    let mut going = pod("y", "o", SPEC, READY);
    going.metadata.deletion_timestamp = Some(read("2026-01-02T03:04:05Z"));
    rollout.see_pod(going, secs(20));
    assert_eq!(doomed(&rollout, 30), None);
    rollout.gone("y");
    assert_eq!((doomed(&rollout, 39), rollout.judge(secs(31)).wake), (None, secs(40)), "the controller pauses for a while");
    assert_eq!(doomed(&rollout, 40).unwrap().code, Code::QuotaExceeded);
}

#[test]
fn an_autoscaler_may_come_late_but_within_the_grace() {
    let status = "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: '0/3 nodes.'}]}";
    for reason in ["TriggeredScaleUp", "Nominated"] {
        let mut rollout = pods(status, &[10]);
        assert_eq!(doomed(&rollout, 129), None);
        for name in ["a", "b"] {
            rollout.see_event(event(name, reason, "a node comes"));
        }
        assert_eq!((doomed(&rollout, 599), doomed(&rollout, 600).map(|finding| finding.code)), (None, Some(Code::Unschedulable)));
    }
}

#[test]
fn pods_whose_events_are_not_read_share_the_fate_of_those_that_are() {
    let creating = waiting("ContainerCreating", "", 0, "");
    let mut rollout = ten(10, &creating);
    for name in ["p0", "p1", "p2"] {
        rollout.see_event(event(name, "FailedMount", "MountVolume.SetUp failed for volume \"c\" : secret \"key\" not found"));
    }
    assert_eq!(doomed(&rollout, 10), None, "the others may be well");
    rollout.follows_only(["p0", "p1", "p2"].map(str::to_string).to_vec());
    assert_eq!(doomed(&rollout, 10).unwrap().code, Code::VolumeMissing);
    rollout.see_pod(pod("p9", "n", SPEC, STARTING), secs(11));
    assert_eq!(doomed(&rollout, 31), None, "one has its volume, and starts");
    rollout.see_pod(pod("p9", "n", SPEC, READY), secs(41));
    assert_eq!(doomed(&rollout, 41), None, "it got ready");
}

fn with_image(generation: i64, image: &str) -> Deployment {
    let mut deployment = deployment(generation, "");
    deployment.metadata.generation = Some(generation);
    deployment.metadata.managed_fields = Some(vec![read("{manager: kubectl-set, time: '2026-01-02T03:04:05Z'}")]);
    deployment.spec.as_mut().unwrap().template = read(&format!("spec: {{containers: [{{name: app, image: {image}}}]}}"));
    deployment
}

#[test]
fn what_somebody_else_made_of_it_is_no_success_of_ours() {
    let mut rollout = Rollout::new(Expect::of(&with_image(2, "ours"), false), Budgets::default());
    rollout.see_set(set("n", 2, ALL_UP), secs(0));
    rollout.see_deployment(Some(with_image(3, "ours")), secs(1));
    assert_eq!(rollout.judge(secs(1)).verdict, Verdict::Done, "a change that is not about images");
    rollout.see_deployment(Some(with_image(3, "theirs")), secs(2));
    let finding = doomed(&rollout, 2).unwrap();
    assert_eq!(finding.code, Code::ReleaseStateUnknown);
    assert_eq!(finding.message, "the deployment was changed by kubectl-set while it was rolled out: container app is to run theirs now");
    rollout.see_deployment(None, secs(3));
    assert_eq!(doomed(&rollout, 3).unwrap().message, "the deployment was deleted while it was rolled out");
}

#[test]
fn a_set_that_cannot_be_made_is_seen() {
    let refused = |message: &str| {
        let condition =
            format!(", conditions: [{{type: Progressing, status: 'False', reason: ReplicaSetCreateError, message: '{message}'}}]");
        let mut rollout = Rollout::new(expect(2, false), Budgets::default());
        rollout.see_deployment(Some(deployment(2, &condition)), secs(1));
        rollout
    };
    let quota = refused("replicasets.apps \"web-1\" is forbidden: exceeded quota: small");
    assert_eq!(doomed(&quota, 1).unwrap().code, Code::QuotaExceeded);
    let webhook = refused("admission webhook \"policy.test\" denied the request: not on Fridays");
    let finding = doomed(&webhook, 1).unwrap();
    assert_eq!(finding.code, Code::PodRejected);
    assert!(finding.message.ends_with("not on Fridays") && finding.hint.unwrap().contains("webhook"), "{}", finding.message);
}

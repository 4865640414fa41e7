//! Pods that cannot be made, and the controller's own limit.

use super::*;

fn refused(message: &str) -> String {
    format!(
        "{{replicas: 0, conditions: [{{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: '{}'}}]}}",
        message.replace('\'', "''")
    )
}

#[test]
fn pods_that_the_cluster_refuses() {
    for message in [
        "pods \"web-1\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
        "admission webhook \"policy.test\" denied the request: no latest tags",
        "Pod \"web-1\" is invalid: spec.containers[0].resources.requests: Invalid value: must be less than or equal to cpu limit",
    ] {
        assert_eq!(doomed(&rollout(&refused(message)), 1).map(|finding| finding.code), Some(Code::PodRejected), "{message}");
    }
    let account =
        rollout(&refused("pods \"web-1\" is forbidden: error looking up service account a/web: serviceaccount \"web\" not found"));
    assert_eq!(doomed(&account, 9), None, "a new namespace gets its account in a moment");
    assert_eq!(doomed(&account, 10).unwrap().code, Code::PodRejected);
    let unknown = rollout(&refused("Internal error occurred: the webhook did not answer"));
    assert_eq!((doomed(&unknown, 59), doomed(&unknown, 60).map(|finding| finding.code)), (None, Some(Code::PodRejected)));
}

#[test]
fn a_refusal_that_passes_by_itself_has_its_time() {
    for message in [
        "pods \"web-1\" is forbidden: not yet ready to handle request",
        "pods \"web-1\" is forbidden: status unknown for quota: small, resources: pods",
    ] {
        let passing = rollout(&refused(message));
        assert_eq!((doomed(&passing, 59), doomed(&passing, 60).map(|finding| finding.code)), (None, Some(Code::PodRejected)), "{message}");
    }
}

#[test]
fn a_refusal_names_the_setting_where_there_is_one() {
    for (message, hint) in [
        ("pods \"web-1\" is forbidden: failed quota: q: must specify limits.cpu for: app", "kubernetes.resources"),
        ("pods \"web-1\" is forbidden: maximum memory usage per Container is 128Mi, but limit is 256Mi", "LimitRange"),
        ("admission webhook \"policy.test\" denied the request: no latest tags", "webhook"),
        ("pods \"web-1\" is forbidden: no PriorityClass with name high was found", "PriorityClass"),
    ] {
        let finding = doomed(&rollout(&refused(message)), 1).unwrap();
        assert!(finding.hint.as_deref().is_some_and(|given| given.contains(hint)), "{message}: {finding:?}");
    }
    let slow = rollout(&refused("Internal error occurred: failed calling webhook \"slow.test\": context deadline exceeded"));
    assert_eq!(doomed(&slow, 59), None, "it may answer yet");
    assert!(doomed(&slow, 60).unwrap().hint.unwrap().contains("webhook"));
}

#[test]
fn a_namespace_that_wants_more_security_names_the_setting() {
    let sentence = "pods \"web-1\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
    let mut rollout = rollout(&refused(sentence));
    assert!(doomed(&rollout, 1).unwrap().hint.unwrap().starts_with("set kubernetes.security: restricted, or "));
    let mut restricted = set("n", 2, &refused(sentence));
    restricted.spec.as_mut().unwrap().template = Some(read("spec: {containers: [], securityContext: {runAsNonRoot: true}}"));
    rollout.see_set(restricted, secs(1));
    assert_eq!(doomed(&rollout, 1).unwrap().hint, None, "it is set already");
}

#[test]
fn a_quota_is_fatal_when_no_old_pod_will_go() {
    let status = refused("pods \"web-1\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2");
    let mut full = rollout(&status);
    full.see_set(set("o", 1, ALL_UP), secs(0));
    full.see_pod(pod("x", "o", SPEC, READY), secs(0));
    full.see_pod(pod("y", "o", SPEC, READY), secs(0));
    assert_eq!(doomed(&full, 1).unwrap().code, Code::QuotaExceeded);
    let mut going = pod("y", "o", SPEC, READY);
    going.metadata.deletion_timestamp = Some(read("2026-01-02T03:04:05Z"));
    full.see_pod(going, secs(1));
    assert_eq!(doomed(&full, 1), None, "a terminating pod will free some");
    let mut spare = rollout(&status);
    let loose = deployment(2, "");
    let loose = Deployment {
        spec: loose.spec.map(|mut spec| {
            spec.strategy = read("rollingUpdate: {maxSurge: 0, maxUnavailable: 1}");
            spec
        }),
        ..loose
    };
    spare.see_deployment(Some(loose), secs(0));
    spare.see_pod(pod("x", "o", SPEC, READY), secs(0));
    assert_eq!(doomed(&spare, 1), None, "the rolling update may stop one first");
}

#[test]
fn the_controllers_deadline_is_the_last_resort() {
    let mut rollout = rollout(NONE_UP);
    let over = ", conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: ReplicaSet has timed out progressing.}]";
    rollout.see_deployment(Some(deployment(2, over)), secs(0));
    let finding = doomed(&rollout, 5).unwrap();
    assert_eq!(
        (finding.code, finding.message.as_str()),
        (Code::DeadlineExceeded, "the deployment controller gave up: ReplicaSet has timed out progressing")
    );
    rollout.see_deployment(Some(deployment(1, over)), secs(0));
    assert_eq!(doomed(&rollout, 5), None, "it may be about the generation before");
}

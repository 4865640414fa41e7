//! Images that cannot be pulled.

use super::*;

#[test]
fn an_image_that_is_not_there_is_fatal_at_once() {
    let sentence = "failed to pull and unpack image \"registry.test/web@sha256:1\": failed to resolve reference \"registry.test/web@sha256:1\": registry.test/web@sha256:1: not found";
    let finding = doomed(&pods(&waiting("ErrImagePull", sentence, 0, ""), &[1]), 1).unwrap();
    assert_eq!((finding.code, finding.container.as_deref()), (Code::ImageNotFound, Some("app")));
    assert_eq!(finding.message, "the node cannot find image registry.test/web@sha256:1: not found");
    assert_eq!(doomed(&pods(&waiting("InvalidImageName", "x", 0, ""), &[1]), 1).unwrap().code, Code::ImageNotFound);
    assert_eq!(doomed(&pods(&waiting("ErrImageNeverPull", "x", 0, ""), &[1]), 1).unwrap().code, Code::ImageNotFound);
}

#[test]
fn a_denied_pull_is_fatal_at_the_second_sight() {
    let denied = waiting("ErrImagePull", "pulling from host registry.test failed with status code 401 Unauthorized", 0, "");
    let mut rollout = pods(&denied, &[1]);
    assert_eq!(doomed(&rollout, 2), None);
    for (status, at) in [(waiting("ImagePullBackOff", "Back-off pulling image", 0, ""), 3), (denied, 12)] {
        for name in ["a", "b"] {
            rollout.see_pod(pod(name, "n", SPEC, &status), secs(at));
        }
    }
    let finding = doomed(&rollout, 12).unwrap();
    assert_eq!(finding.code, Code::ImagePullDenied);
    assert!(finding.message.contains("401 Unauthorized"), "{}", finding.message);
}

#[test]
fn the_name_of_an_image_says_nothing_of_why_it_cannot_be_pulled() {
    let image = "registry.test:5401/trade/denied-app:1@sha256:4010000000000000000000000000000000000000000000000000000000000401";
    let spec = SPEC.replace("registry.test/web@sha256:1", image);
    assert_ne!(spec, SPEC);
    let digest = image.split_once('@').unwrap().1;
    let seen = |why: &str, at: u64| {
        let sentence = format!(
            "failed to pull and unpack image \"{image}\": failed to do request: Head \"https://registry.test:5401/v2/trade/denied-app/manifests/{digest}\": {why}"
        );
        let mut rollout = pods("{}", &[]);
        rollout.see_pod(pod("a", "n", &spec, &waiting("ErrImagePull", &sentence, 0, "")), secs(1));
        doomed(&rollout, at).map(|finding| finding.code)
    };
    assert_eq!(
        (seen("dial tcp 10.0.0.1:5401: i/o timeout", 60), seen("dial tcp 10.0.0.1:5401: i/o timeout", 61)),
        (None, Some(Code::ImagePullFailed))
    );
    assert_eq!(seen("unexpected status: 401 Unauthorized", 61), Some(Code::ImagePullDenied));
}

#[test]
fn another_failing_pull_has_a_minute() {
    let rollout = pods(&waiting("ErrImagePull", "dial tcp: i/o timeout", 0, ""), &[5]);
    assert_eq!(doomed(&rollout, 64), None);
    assert_eq!(rollout.judge(secs(10)).wake, secs(65));
    assert_eq!(doomed(&rollout, 65).unwrap().code, Code::ImagePullFailed);
}

#[test]
fn a_registry_that_comes_back_in_time_is_no_failure() {
    let mut rollout = pods(&waiting("ErrImagePull", "received unexpected HTTP status: 503 Service Unavailable", 0, ""), &[5]);
    for name in ["a", "b"] {
        rollout.see_pod(pod(name, "n", SPEC, &waiting("ImagePullBackOff", "Back-off pulling image", 0, "")), secs(20));
        rollout.see_pod(pod(name, "n", SPEC, STARTING), secs(50));
    }
    assert_eq!(doomed(&rollout, 66), None);
    rollout.see_set(set("n", 2, ALL_UP), secs(60));
    assert_eq!(rollout.judge(secs(60)).verdict, Verdict::Done);
}

#[test]
fn the_budget_of_a_pull_is_a_setting() {
    let mut rollout = Rollout::new(expect(2, false), Budgets { image_pull: secs(5), ..Budgets::default() });
    rollout.see_deployment(Some(deployment(2, "")), secs(0));
    rollout.see_set(set("n", 2, NONE_UP), secs(0));
    rollout.see_pod(pod("a", "n", SPEC, &waiting("ErrImagePull", "dial tcp: i/o timeout", 0, "")), secs(1));
    assert_eq!((doomed(&rollout, 5), doomed(&rollout, 6).map(|finding| finding.code)), (None, Some(Code::ImagePullFailed)));
}

#[test]
fn an_image_for_other_processors_is_told_from_one_that_is_missing() {
    let sentence = "failed to pull and unpack image \"registry.test/web@sha256:1\": no match for platform in manifest: not found";
    let finding = doomed(&pods(&waiting("ErrImagePull", sentence, 0, ""), &[1]), 1).unwrap();
    assert_eq!(finding.code, Code::ImageNotFound);
    assert!(finding.message.contains("has no variant for the processor of the node of pod a"), "{}", finding.message);
    assert!(finding.hint.unwrap().contains("image.platforms"));
}

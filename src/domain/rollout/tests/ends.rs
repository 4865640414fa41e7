//! Containers that end or cannot start, and init containers that do not end.

use super::*;

const NO_PROGRAM: &str = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/app/run\": stat /app/run: no such file or directory: unknown";

#[test]
fn a_program_that_is_not_in_the_image_is_fatal_at_once() {
    for status in [
        waiting("RunContainerError", NO_PROGRAM, 0, &last_end(128, "StartError")),
        waiting(
            "CrashLoopBackOff",
            "back-off",
            0,
            &format!(", lastState: {{terminated: {{exitCode: 128, reason: StartError, message: '{NO_PROGRAM}'}}}}"),
        ),
    ] {
        let finding = doomed(&pods(&status, &[1]), 1).unwrap();
        assert_eq!(finding.code, Code::ContainerConfig);
        let words = "container app of pod a cannot start: exec: \"/app/run\": stat /app/run: no such file or directory";
        assert_eq!(finding.message, words);
        assert!(finding.hint.unwrap().contains("ENTRYPOINT"));
    }
    let other = "failed to create containerd task: runc create failed: exec /start: exec format error: unknown";
    let finding = doomed(&pods(&waiting("RunContainerError", other, 0, &last_end(128, "StartError")), &[1]), 1).unwrap();
    assert!(finding.hint.unwrap().contains("image.platforms"));
}

#[test]
fn an_image_that_runs_as_root_names_what_to_do() {
    let sentence = "container has runAsNonRoot and image will run as root (pod: \"a\", container: app)";
    let finding = doomed(&pods(&waiting("CreateContainerConfigError", sentence, 0, ""), &[1]), 1).unwrap();
    assert_eq!(finding.code, Code::ContainerConfig);
    assert!(finding.hint.unwrap().contains("kubernetes.security"));
}

#[test]
fn exit_codes_say_what_they_mean() {
    for (code, words) in [(127, "a program that the image does not have"), (126, "may not run"), (137, "not its own limit")] {
        let finding = doomed(&pods(&waiting("CrashLoopBackOff", "", 1, &last_end(code, "Error")), &[1]), 1).unwrap();
        assert_eq!(finding.code, Code::CrashLoop);
        assert!(finding.hint.as_deref().unwrap().contains(words), "{code}: {finding:?}");
    }
}

#[test]
fn the_number_of_ends_is_a_setting() {
    let mut rollout = Rollout::new(expect(2, false), Budgets { restarts: 4, ..Budgets::default() });
    rollout.see_deployment(Some(deployment(2, "")), secs(0));
    rollout.see_set(set("n", 2, NONE_UP), secs(0));
    for (restarts, fatal) in [(1, false), (2, false), (3, true)] {
        rollout.see_pod(pod("a", "n", SPEC, &waiting("CrashLoopBackOff", "", restarts, &last_end(1, "Error"))), secs(1));
        assert_eq!(doomed(&rollout, 1).is_some(), fatal, "{restarts} restarts");
    }
}

fn with_init(policy: &str) -> String {
    SPEC.replacen("{containers:", &format!("{{initContainers: [{{name: wait-db, image: x{policy}}}], containers:"), 1)
}

const INIT_RUNS: &str = "{phase: Pending, initContainerStatuses: [{name: wait-db, image: x, imageID: '', ready: false, started: true, restartCount: 0, state: {running: {}}}],
  containerStatuses: [{name: app, image: x, imageID: '', ready: false, started: false, restartCount: 0, state: {waiting: {reason: PodInitializing}}}]}";

#[test]
fn an_init_container_that_does_not_end_is_what_the_limit_names() {
    let mut rollout = rollout(NONE_UP);
    for name in ["a", "b"] {
        rollout.see_pod(pod(name, "n", &with_init(""), INIT_RUNS), secs(10));
    }
    assert_eq!(doomed(&rollout, 599), None, "it may have much to do");
    assert_eq!(
        rollout.judge(secs(40)).waiting,
        "pod a to get ready: init container wait-db has not ended after 30s, and the others wait for it"
    );
    let finding = doomed(&rollout, 600).unwrap();
    assert_eq!((finding.code, finding.container.as_deref()), (Code::InitStuck, Some("wait-db")));
    assert!(finding.message.ends_with("0 of 2 new pods were available after 10m"), "{}", finding.message);
    assert_eq!(state(&pod("a", "n", &with_init(""), INIT_RUNS)), "init container wait-db runs");
}

#[test]
fn an_init_container_has_a_budget_when_it_is_set() {
    let mut rollout = Rollout::new(expect(2, false), Budgets { init: Some(secs(60)), ..Budgets::default() });
    rollout.see_deployment(Some(deployment(2, "")), secs(0));
    rollout.see_set(set("n", 2, NONE_UP), secs(0));
    rollout.see_pod(pod("a", "n", &with_init(""), INIT_RUNS), secs(10));
    assert_eq!((doomed(&rollout, 69), rollout.judge(secs(20)).wake), (None, secs(70)));
    assert_eq!(doomed(&rollout, 70).unwrap().code, Code::InitStuck);
    rollout.see_pod(pod("a", "n", &with_init(", restartPolicy: Always"), INIT_RUNS), secs(70));
    assert_eq!(doomed(&rollout, 200), None, "a sidecar is to run on");
}

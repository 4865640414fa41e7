//! Rollouts that fail: one cause, its evidence, and what ran before runs again.

use super::{deployment, image_of, left};
use crate::support::{
    fixture::{self, Checkout},
    job::{jar_checkout, publishing},
    lab::{Namespace, lab},
    shipway::{Finished, report},
};

/// A good version first, then the jar of another fixture under the same name.
fn good_then_bad(namespace: &Namespace, bad: &str, settings: &[(&'static str, &'static str)]) -> (Checkout, String, Finished) {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    publishing(&checkout, namespace, 1).run().expect_code(0);
    let good = image_of(&deployment(&namespace.name, "web"));
    std::fs::copy(fixture::archive(bad, ""), checkout.path().join("app.jar")).unwrap();
    checkout.commit("Break it");
    let done = publishing(&checkout, namespace, 2).envs(settings.iter().copied()).run();
    (checkout, good, done)
}

#[test]
fn a_crash_at_start_is_rolled_back_with_its_last_words() {
    let namespace = lab().namespace("crash");
    let (checkout, good, done) = good_then_bad(&namespace, "crash-at-start", &[]);
    let done = done.expect_code(50).expect_text(&["crash-loop", "no database is configured: set DATABASE_URL"]);
    println!("a crash loop was judged, rolled back and verified in {:.1} s", done.took.as_secs_f64());
    let live = deployment(&namespace.name, "web");
    assert_eq!(image_of(&live), good, "the good image runs again");
    assert_eq!(live.status.unwrap().available_replicas, Some(1));
    let report = report(&checkout.path());
    assert_eq!((report["result"].as_str(), report["problem"]["code"].as_str()), (Some("rolled_back"), Some("crash-loop")));
    assert!(left(&checkout.path(), "comment.md").contains("DATABASE_URL"));
    let logs = std::fs::read_dir(checkout.path().join("shipway-report/pods")).unwrap().count();
    assert!(logs > 0, "no pod's log was kept");
}

#[test]
fn memory_over_the_limit_is_named_as_that() {
    let namespace = lab().namespace("memory");
    // It listens before it takes memory, so it may well be ready for a moment; only staying ready would make it good.
    let settings = [("SHIPWAY_KUBERNETES_RESOURCES_LIMITS_MEMORY", "96Mi"), ("SHIPWAY_KUBERNETES_ROLLING_MIN_READY_SECONDS", "30")];
    let (_checkout, good, done) = good_then_bad(&namespace, "out-of-memory", &settings);
    done.expect_code(50).expect_text(&["oom-killed", "96Mi"]);
    assert_eq!(image_of(&deployment(&namespace.name, "web")), good);
}

#[test]
fn a_service_that_never_gets_ready_is_ended_by_its_limit() {
    let namespace = lab().namespace("never ready");
    let settings = [
        ("SHIPWAY_KUBERNETES_ENV", r#"{"HEALTH":"503"}"#),
        ("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health"),
        ("SHIPWAY_KUBERNETES_PROBES_STARTUP", "tcp"),
        ("SHIPWAY_KUBERNETES_ROLLING_TIMEOUT", "40s"),
    ];
    let (_checkout, good, done) = good_then_bad(&namespace, "never-ready", &settings);
    done.expect_code(50).expect_text(&["never-ready", "503"]);
    assert_eq!(image_of(&deployment(&namespace.name, "web")), good);
}

#[test]
fn a_first_publish_that_fails_stays_with_its_evidence() {
    let namespace = lab().namespace("first fails");
    let checkout = jar_checkout("web", &fixture::archive("crash-at-start", ""));
    let done = publishing(&checkout, &namespace, 1).run().expect_code(51).expect_text(&["crash-loop", "DATABASE_URL"]);
    assert!(super::has_deployment(&namespace.name, "web"), "{}", done.text());
    assert_eq!(report(&checkout.path())["result"], "failed");
}

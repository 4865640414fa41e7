//! `lock`, as long as nothing fails.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use kube::api::{ObjectMeta, PostParams};

use super::{ALONE, FAMILY, Site};
use crate::support::block_on;

#[test]
fn one_holds_it_and_the_next_has_it_when_all_of_the_first_is_gone() {
    let site = Site::new("lock");
    let mut first = site.lock("ada", FAMILY).spawn();
    first.wait_for("token 1\n");
    let late = site.shipway("eve").args(["lock", "nightly", "--wait", "1s", "--", "touch", "never"]).run().expect_code(40);
    late.expect_text(&["lock nightly is held by ada@test (waited 1s for lease shipway-lock.nightly)", "[lock-held]"]);
    assert!(!site.path("never").exists());
    let mut next = site.lock("bob", ALONE).spawn();
    next.wait_for("waiting for lock nightly, held by ada@test");
    // another lock is nobody's business
    site.shipway("eve").args(["lock", "other", "--wait", "1s", "--", "true"]).run().expect_code(0);
    site.mark("go");
    first.wait().expect_code(7);
    next.wait().expect_code(0).expect_text(&["alone with token 2\n"]);
    assert_eq!(site.holder("shipway-lock.nightly"), None);
}

#[test]
fn the_command_has_our_input_output_and_environment_but_no_shell() {
    let site = Site::new("lock stdin");
    let mut command = Command::new(env!("CARGO_BIN_EXE_shipway"));
    command
        .args(["lock", "nightly", "--", "cat", "-", "$HOME;*"])
        .current_dir(site.folder.path())
        .env("KUBECONFIG", &site.namespace.kubeconfig);
    command.env("SHIPWAY_KUBERNETES_NAMESPACE", &site.namespace.name).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through and \xff through").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"through and \xff through");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("$HOME;*") && said.contains("No such file"), "{said}");

    let seen = site.lock("ada", "echo $MINE; env").env("MINE", "is here").run().expect_code(0).expect_text(&["is here"]);
    assert!(seen.stdout.contains("SHIPWAY_FENCING_TOKEN=2") && !seen.stdout.contains("_SHIPWAY_KEEPER"), "{}", seen.stdout);
    assert!(!seen.text().contains("is not a setting"), "{}", seen.text());
}

#[test]
fn a_signal_goes_to_the_command_and_the_lock_is_given_back_last() {
    let site = Site::new("lock term");
    let script = "trap 'sleep 0.5; touch gone; echo last words; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut first = site.lock("ada", script).spawn();
    first.wait_for("ready");
    let mut next = site.lock("bob", "test -e gone").spawn();
    next.wait_for("held by ada@test");
    first.terminate();
    first.wait().expect_code(9).expect_text(&["last words"]);
    next.wait().expect_code(0);
}

#[test]
fn a_cancelled_wait_starts_nothing() {
    let site = Site::new("lock cancelled");
    let mut first = site.lock("ada", "echo ready; while [ ! -e go ]; do sleep 0.05; done").spawn();
    first.wait_for("ready");
    let mut waiting = site.lock("bob", "touch never").spawn();
    waiting.wait_for("held by ada@test");
    waiting.terminate();
    waiting.wait().expect_code(143).expect_text(&["[cancelled]"]);
    site.mark("go");
    first.wait().expect_code(0);
    assert!(!site.path("never").exists());
}

#[test]
fn what_cannot_be_started_takes_no_lock() {
    let site = Site::new("lock wrong");
    let name = site.shipway("ada").args(["lock", "Nightly_Report", "--", "true"]).run().expect_code(2);
    name.expect_text(&["\"Nightly_Report\" cannot be the name of a lock", "[setting-invalid]"]);
    site.shipway("ada").args(["lock", "nightly", "--", "no-such-tool"]).run().expect_code(2).expect_text(&["no-such-tool was not found"]);
    site.shipway("ada").args(["lock", "nightly"]).run().expect_code(2).expect_text(&["CMD"]);
    let shared = site.shipway("ada").args(["lock", "nightly", "--shared", "--", "touch", "never"]).run().expect_code(2);
    shared.expect_text(&["a lock that is a Lease of the cluster cannot be shared", "set center.url to a ZooKeeper"]);
    assert!(site.lease("shipway-lock.nightly").is_none() && !site.path("never").exists());
}

/// What a wall clock that is wrong by an hour would see: a holder that seems long gone, but has not been watched for its whole TTL.
#[test]
fn no_wall_clock_decides_that_a_holder_is_gone() {
    let site = Site::new("lock clock");
    block_on(async {
        let long_ago = MicroTime(Timestamp::now() - SignedDuration::from_hours(1));
        let spec = LeaseSpec {
            holder_identity: Some("ada@elsewhere".to_string()),
            lease_duration_seconds: Some(5),
            renew_time: Some(long_ago.clone()),
            acquire_time: Some(long_ago),
            lease_transitions: Some(41),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta { name: Some("shipway-lock.nightly".to_string()), ..ObjectMeta::default() };
        site.leases().await.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await.unwrap();
    });
    let early = site.shipway("bob").args(["lock", "nightly", "--wait", "2s", "--", "touch", "never"]).run().expect_code(40);
    early.expect_text(&["held by ada@elsewhere"]);
    assert!(!site.path("never").exists());
    let later = site.lock("bob", "echo token $SHIPWAY_FENCING_TOKEN").run().expect_code(0);
    assert!(later.took >= Duration::from_secs(5), "{:?}", later.took);
    later.expect_text(&["took over lock nightly of ada@elsewhere, which was not renewed", "token 42\n"]);
}

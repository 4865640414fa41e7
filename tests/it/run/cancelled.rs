//! SIGTERM in every step: children end, the state is said, the exit code is 143; and a disk that is full.

use std::{fs, path::Path, time::Duration};

use super::{deployment, has_deployment, image_of};
use crate::support::{
    fake::{Act, Fake},
    fixture,
    job::{gitlab, jar_checkout, publishing},
    lab::lab,
    others,
    shipway::{Running, shipway},
    small_disk::SmallDisk,
};

#[test]
fn during_the_build_the_whole_tree_of_maven_ends() {
    let checkout = fixture::checkout("hangs");
    let mut run = gitlab(&checkout, 1).arg("build").spawn();
    let pid = checkout.path().join("target/hangs.pid");
    run.wait_until("the test hangs", |_| fs::read_to_string(&pid).is_ok_and(|text| !text.trim().is_empty()));
    run.terminate();
    run.wait().expect_code(143).expect_text(&["cancelled"]);
    let pid = fs::read_to_string(pid).unwrap();
    assert!(!lives(pid.trim()), "the test's process {pid} still lives");
}

/// Whether a process runs; one that ended and that nobody has asked after is a zombie.
fn lives(pid: &str) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn during_the_clone_and_the_push_nothing_outside_is_changed() {
    // Connections get through and are never answered: nobody accepts them.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();

    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{address}/trade/web.git");
    let run = shipway(folder.path()).env("SHIPWAY_SOURCE_URL", &url).spawn();
    ends_politely(run, "checkout", |printed| printed.contains("checkout"));

    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let image =
        |registry: &str| gitlab(&checkout, 1).env("SHIPWAY_REGISTRY_URL", registry).env("SHIPWAY_IMAGE_BASE", lab().base(17)).arg("image");
    ends_politely(image(&address).spawn(), "the look at the registry", |printed| printed.contains("push it to"));

    let (_, port) = lab().registry().address.rsplit_once(':').map(|(host, port)| (host.to_string(), port.parse().unwrap())).unwrap();
    let registry = Fake::start(port);
    registry.rule("POST", "/blobs/uploads/", usize::MAX, Act::Stall(Duration::from_secs(120)));
    ends_politely(image(&registry.host()).spawn(), "image", |_| registry.count("POST", "/blobs/uploads/") > 0);
    assert_eq!(registry.count("PUT", "/manifests/"), 0);
}

fn ends_politely(mut run: Running, step: &str, begun: impl Fn(&str) -> bool) {
    run.wait_until(step, begun);
    run.terminate();
    let done = run.wait().expect_code(143).expect_text(&[&format!("cancelled during {step}")]);
    assert!(done.took.as_secs() < 30, "{:?}", done.took);
}

#[test]
fn a_run_that_was_killed_in_its_rollout_is_taken_over_by_the_next() {
    let namespace = lab().namespace("killed");
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    publishing(&checkout, &namespace, 1).run().expect_code(0);
    let good = image_of(&deployment(&namespace.name, "web"));
    let jar = fs::read(checkout.path().join("app.jar")).unwrap();
    fs::copy(fixture::archive("never-ready", ""), checkout.path().join("app.jar")).unwrap();
    checkout.commit("Never get ready");
    let mut run = publishing(&checkout, &namespace, 2).spawn();
    run.wait_until("the patch", |_| image_of(&deployment(&namespace.name, "web")) != good);
    run.kill();
    assert_eq!(run.wait().code, 137);

    fs::write(checkout.path().join("app.jar"), jar).unwrap();
    checkout.commit("Get ready again");
    publishing(&checkout, &namespace, 3).env("SHIPWAY_LOCK_TTL", "5s").run().expect_code(0).expect_text(&["jobs/2"]);
    let live = deployment(&namespace.name, "web");
    assert_eq!(live.status.unwrap().available_replicas, Some(1));
    let status = publishing(&checkout, &namespace, 3).args(["status", "--json"]).run().expect_code(0);
    assert!(status.stdout.contains("interrupted"), "{}", status.stdout);
}

#[test]
fn during_the_rollout_what_ran_before_is_put_back() {
    let namespace = lab().namespace("term in rollout");
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    publishing(&checkout, &namespace, 1).run().expect_code(0);
    let good = image_of(&deployment(&namespace.name, "web"));
    fs::copy(fixture::archive("never-ready", ""), checkout.path().join("app.jar")).unwrap();
    checkout.commit("Never get ready");
    let mut run = publishing(&checkout, &namespace, 2).spawn();
    run.wait_until("the patch", |_| image_of(&deployment(&namespace.name, "web")) != good);
    run.terminate();
    run.wait().expect_code(143);
    assert_eq!(image_of(&deployment(&namespace.name, "web")), good);
    publishing(&checkout, &namespace, 3).args(["rollback", "--to", "1"]).run().expect_code(0);
}

#[test]
fn while_waiting_for_the_lock_nothing_is_changed() {
    let namespace = lab().namespace("term in lock");
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    others::lease(&namespace.name, "shipway-web", 120);
    let mut run = publishing(&checkout, &namespace, 1).spawn();
    run.wait_for("another-job");
    run.terminate();
    run.wait().expect_code(143);
    assert!(!has_deployment(&namespace.name, "web"));
}

#[test]
fn a_full_disk_is_named_and_nothing_is_published() {
    let namespace = lab().namespace("disk full");
    let checkout = jar_checkout("web", &fixture::archive("spring-boot-service", ""));
    // the context is put together there, of which the libraries are no part
    let small = SmallDisk::of(8);
    let done = publishing(&checkout, &namespace, 1).env("SHIPWAY_REPORT_DIR", small.path()).run();
    done.expect_code(20).expect_text(&["disk-full", &small.path().display().to_string()]);
    assert!(!has_deployment(&namespace.name, "web"));
}

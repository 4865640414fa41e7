//! Code hosts on bad days: a run is never held up, and says what was not told.

use std::time::Duration;

use crate::support::{
    fixture::empty_checkout,
    forge::{Flavour, Mock},
    free_port,
    job::on_cluster,
    lab::lab,
};

use super::{gitlab_job, quick_checkout, with_build};

#[test]
fn a_host_that_hangs_delays_nothing_but_the_end_a_little() {
    let checkout = with_build("[sleep, '2']");
    let host = Mock::start(Flavour::Gitlab);
    host.hang(Duration::from_secs(30));
    let done = gitlab_job(&checkout, &host.api()).env("SHIPWAY_STATUS", "true").arg("build").run().expect_code(0);
    let done = done.expect_text(&["the code host did not take the commit status and the comment within 5 s"]);
    let report = crate::support::shipway::report(&checkout.path());
    assert!(report["seconds"].as_f64().unwrap() < 4.0, "the run itself was held up: {}", report["seconds"]);
    assert!(done.took < Duration::from_secs(11), "took {:?}", done.took);
}

#[test]
fn a_host_that_hangs_is_never_in_the_way_of_a_rollout() {
    let (checkout, namespace) = (empty_checkout("web"), lab().namespace("hanging host"));
    let host = Mock::start(Flavour::Gitlab);
    host.hang(Duration::from_secs(600));
    let job =
        on_cluster(gitlab_job(&checkout, &host.api()), &namespace, 17).env("SHIPWAY_STATUS", "true").env("SHIPWAY_ENVIRONMENT", "prod");
    let job = job.env("SHIPWAY_APP", "web").env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health");
    job.args(["publish", "--image", &lab().web("1")]).run().expect_code(0).expect_text(&["did not take the commit status"]);
    let report = crate::support::shipway::report(&checkout.path());
    let waiting = report["seconds"].as_f64().unwrap() - report["steps"][0]["seconds"].as_f64().unwrap();
    assert!(waiting < 20.0, "beside its publish the run took {waiting} s");
    assert!(host.count("POST", "/statuses/") > 0, "nobody was told");
}

#[test]
fn a_host_that_is_down_is_a_warning() {
    let checkout = quick_checkout();
    let done = gitlab_job(&checkout, &format!("http://127.0.0.1:{}/api/v4", free_port())).arg("build").run().expect_code(0);
    let done = done.expect_text(&["GitLab cannot be asked to write the merge request's comment", "forge.url"]);
    assert!(done.took < Duration::from_secs(8), "took {:?}", done.took);
}

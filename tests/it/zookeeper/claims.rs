//! `lock` and `lead`.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use rustix::process::Signal;

use super::Site;
use crate::{
    hold::{ALONE, FAMILY, keeper, signal},
    support::{
        block_on,
        clock::Clock,
        lab::lab,
        zookeeper::{Cut, Line, Zookeeper},
    },
};

/// The token that a holder's script has printed.
fn token(printed: &str) -> u64 {
    printed.lines().find_map(|line| line.strip_prefix("token ").or(line.strip_prefix("alone with token "))).unwrap().parse().unwrap()
}

#[test]
fn one_holds_it_the_next_has_it_at_once_and_the_queue_is_fair() {
    let site = Site::new();
    let mut first = site.lock("ada", FAMILY).spawn();
    first.wait_for("begun");
    let late = site.shipway("eve").args(["lock", "nightly", "--wait", "1s", "--", "touch", "never"]).run().expect_code(40);
    late.expect_text(&["lock nightly is held by ada@test (waited 1s for /shipway/lock/nightly in ZooKeeper)", "[lock-held]"]);
    assert!(!site.path("never").exists());
    let mut next = site.lock("bob", &format!("{ALONE} && date +%s%N >bob")).spawn();
    next.wait_for("waiting for lock nightly, held by ada@test");
    let mut third = site.lock("cyd", "date +%s%N >cyd; test -s bob").spawn();
    third.wait_for("waiting for lock nightly, held by ada@test");
    // another lock, and the lead of that name, are nobody's business
    site.shipway("eve").args(["lock", "other", "--wait", "1s", "--", "true"]).run().expect_code(0);
    site.shipway("eve").args(["lead", "nightly", "--", "true"]).run().expect_code(0);
    site.write("go", "");
    let first = first.wait().expect_code(7);
    let next = next.wait().expect_code(0);
    assert!(token(&next.stdout) > token(&first.stdout), "{} {}", next.stdout, first.stdout);
    third.wait().expect_code(0);
    let time = |name: &str| fs::read_to_string(site.path(name)).unwrap().trim().parse::<u128>().unwrap();
    let pause = (time("cyd") - time("bob")) / 1_000_000;
    // no timer of ours or of the server's is that short
    assert!(pause < 1000, "handed over in {pause} ms");
}

#[test]
fn readers_share_it_and_a_writer_has_it_alone() {
    let site = Site::new();
    let stay = "echo in; while [ ! -e go ]; do sleep 0.05; done";
    let shared = |person: &str, script: &str| site.shipway(person).args(["lock", "nightly", "--shared", "--", "sh", "-c", script]).spawn();
    let mut readers = [shared("ada", stay), shared("bob", stay)];
    readers.iter_mut().for_each(|reader| reader.wait_for("in\n"));
    let mut writer = site.lock("cyd", "echo writes; touch written").spawn();
    writer.wait_for("waiting for lock nightly, held by");
    let mut late = shared("eve", "test -e written");
    late.wait_for("waiting for lock nightly, held by");
    assert!(!site.path("written").exists());
    site.write("go", "");
    readers.into_iter().for_each(|reader| drop(reader.wait().expect_code(0)));
    writer.wait().expect_code(0);
    late.wait().expect_code(0);
}

#[test]
fn who_is_killed_is_followed_within_the_ttl_and_nothing_of_it_runs() {
    let site = Site::short();
    let mut first = site.lock("ada", FAMILY).spawn();
    first.wait_for("begun");
    let mut next = site.lock("bob", ALONE).spawn();
    next.wait_for("held by ada@test");
    let killed = Instant::now();
    signal(keeper(first.id()), Signal::KILL);
    first.wait().expect_code(51).expect_text(&["lock nightly was lost", "[lock-lost]"]);
    next.wait_for("alone with token");
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
    next.wait().expect_code(0);
}

#[test]
fn a_frozen_server_ends_the_command_before_the_session_can_expire() {
    let site = Site::short();
    let mut first = site.lock("ada", FAMILY).spawn();
    first.wait_for("begun");
    let frozen = Instant::now();
    site.server.freeze();
    let ended = first.wait();
    let took = frozen.elapsed();
    site.server.thaw();
    ended.expect_code(51).expect_text(&["[lock-lost]"]);
    // told at 5/12 of the TTL after the last renewal, killed 1/6 later
    assert!(took < Duration::from_millis(5500), "{took:?}");
    site.lock("bob", ALONE).run().expect_code(0);
}

/// Neither the session nor the tenure goes by a wall clock.
#[test]
fn a_wall_clock_that_jumps_moves_nothing() {
    let site = Site::short();
    let clock = Clock::new(site.folder.path(), "ada");
    let script = "echo begun; while [ ! -e go ]; do date +%s >now; sleep 0.05; done; exit 7";
    let mut first = clock.of(site.lock("ada", script)).spawn();
    first.wait_for("begun");
    for (jump, hours) in [("+5h", 5), ("-7h", -7), ("+3000d", 72000)] {
        clock.jump(jump);
        let since = Instant::now();
        let right = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let ahead = || fs::read_to_string(site.path("now")).unwrap().trim().parse::<i64>().map_or(0, |now| now - right());
        while (ahead() - hours * 3600).abs() > 600 {
            assert!(since.elapsed() < Duration::from_secs(20), "{} s ahead, {jump}", ahead());
        }
        // as long as a session lives that nobody renews
        site.shipway("eve").args(["lock", "nightly", "--wait", "8s", "--", "touch", "never"]).run().expect_code(40);
    }
    site.write("go", "");
    first.wait().expect_code(7);
    assert!(!site.path("never").exists());
}

#[test]
fn a_stopped_keeper_ends_the_command_and_its_session_expires() {
    let site = Site::short();
    let mut first = site.lock("ada", FAMILY).spawn();
    first.wait_for("begun");
    let stopped = keeper(first.id());
    signal(stopped, Signal::STOP);
    site.lock("bob", ALONE).run().expect_code(0);
    first.wait().expect_code(51);
}

#[test]
fn a_server_that_comes_back_in_time_disturbs_nobody() {
    let mut site = Site::new();
    let mut first = site.lock("ada", FAMILY).spawn();
    first.wait_for("begun");
    let mut next = site.lock("bob", ALONE).spawn();
    next.wait_for("held by ada@test");
    site.server.restart();
    let late = site.shipway("eve").args(["lock", "nightly", "--wait", "2s", "--", "touch", "never"]).run();
    late.expect_code(40).expect_text(&["is held by ada@test"]);
    site.write("go", "");
    first.wait().expect_code(7);
    next.wait().expect_code(0);
}

/// Whether a request was done whose answer is lost: for every request, cut before and after it reached the server.
#[test]
fn a_connection_lost_at_any_request_neither_loses_nor_doubles_the_lock() {
    let site = Site::new();
    let mut at = 0;
    loop {
        at += 1;
        let mut cut = false;
        for reached in [false, true] {
            let proxy = Cut::start(site.server.port, at, reached);
            let url = format!("zookeeper://127.0.0.1:{}", proxy.port);
            let script = "echo once >>done; sleep 0.3";
            site.through(&url, "ada").args(["lock", "nightly", "--", "sh", "-c", script]).run().expect_code(0);
            assert_eq!(fs::read_to_string(site.path("done")).unwrap(), "once\n", "request {at}, reached: {reached}");
            fs::remove_file(site.path("done")).unwrap();
            // nothing of ours is left in the queue: neither a second node nor a session that has to expire
            site.shipway("bob").args(["lock", "nightly", "--wait", "1s", "--", "true"]).run().expect_code(0);
            cut |= proxy.requests() >= at;
        }
        if !cut {
            break;
        }
    }
    assert!(at > 5, "only {at} requests");
}

/// The servers end the session of a holder that they do not hear of; when it is back, it is told so.
#[test]
fn a_session_that_expired_is_not_the_holders_any_more() {
    let site = Site::short();
    let line = Line::before(site.server.port);
    let mut first = site.through(&line.url(), "ada").args(["lock", "nightly", "--", "sh", "-c", FAMILY]).spawn();
    first.wait_for("begun");
    line.drop_all();
    site.lock("bob", ALONE).run().expect_code(0);
    line.mend();
    first.wait().expect_code(51).expect_text(&["lock nightly was lost", "[lock-lost]"]);
}

/// A place in the queue goes with its session. Who waits in bounds is told, who waits as long as it takes stands in the queue again.
#[test]
fn who_waits_while_the_servers_are_away_waits_on_for_the_lead_alone() {
    let site = Site::short();
    let line = Line::before(site.server.port);
    let through =
        |name: &str, kind: &str, command: &[&str]| site.through(&line.url(), name).args([kind, "nightly", "--"]).args(command).spawn();
    let stay = "echo in; while [ ! -e go ]; do sleep 0.05; done";
    let mut holders = ["lock", "lead"].map(|kind| site.shipway("bob").args([kind, "nightly", "--", "sh", "-c", stay]).spawn());
    holders.iter_mut().for_each(|holder| holder.wait_for("in\n"));
    let (mut lock, mut lead) = (through("cyd", "lock", &["touch", "never"]), through("cyd", "lead", &["touch", "led"]));
    lock.wait_for("waiting for lock nightly, held by bob@test");
    lead.wait_for("waiting for lead nightly, held by bob@test");
    line.drop_all();
    lead.wait_for("takes changes");
    lock.wait().expect_code(20).expect_text(&["[center-unreachable]"]);
    line.mend();
    site.write("go", "");
    holders.into_iter().for_each(|holder| drop(holder.wait().expect_code(0)));
    lead.wait().expect_code(0);
    assert!(site.path("led").exists() && !site.path("never").exists());
}

/// The servers choose another leader; sessions, queues and versions go on.
#[test]
fn an_ensemble_whose_leader_is_killed_disturbs_nobody() {
    let mut servers = Zookeeper::start_three();
    let hosts: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let url = format!("zookeeper://{}", hosts.join(","));
    let site = Site { server: servers.remove(0), folder: tempfile::tempdir().unwrap(), ttl: "30s" };
    let run = |name: &str, arguments: &[&str]| site.through(&url, name).args(arguments);
    let lock = |name: &str, script: &str| run(name, &["lock", "nightly", "--", "sh", "-c", script]).spawn();
    site.write("config/a.yml", "1\n");
    run("ada", &["config", "push", "config"]).run().expect_code(0);
    let mut first = lock("ada", FAMILY);
    first.wait_for("begun");
    let mut next = lock("bob", ALONE);
    next.wait_for("held by ada@test");
    // one of the two that are not the site's leads, or the site's own does: that one is only stopped, as it is still needed
    match servers.iter_mut().find(|server| server.leads()) {
        Some(leader) => leader.kill(),
        None => site.server.freeze(),
    }
    site.write("config/a.yml", "2\n");
    run("ada", &["config", "push", "config"]).run().expect_code(0).expect_text(&["version 2 of the configuration of web is pushed"]);
    run("eve", &["lock", "nightly", "--wait", "1s", "--", "touch", "never"]).run().expect_code(40).expect_text(&["is held by ada@test"]);
    site.write("go", "");
    first.wait().expect_code(7);
    next.wait().expect_code(0);
    run("ada", &["config", "pull", "--to", "out"]).run().expect_code(0);
    assert_eq!(fs::read_to_string(site.path("out/a.yml")).unwrap(), "2\n");
}

#[test]
fn a_server_that_takes_no_changes_is_none() {
    let server = Zookeeper::start_read_only();
    let folder = tempfile::tempdir().unwrap();
    let run =
        |ttl: &str| crate::support::shipway::shipway(folder.path()).env("SHIPWAY_CENTER_URL", server.url()).env("SHIPWAY_LOCK_TTL", ttl);
    let lock = run("5s").env("SHIPWAY_KUBERNETES_NAMESPACE", "trade").args(["lock", "nightly", "--", "touch", "never"]).run();
    lock.expect_code(20).expect_text(&["takes changes", "read-only mode", "[center-unreachable]"]);
    assert!(!folder.path().join("never").exists());
    fs::create_dir(folder.path().join("config")).unwrap();
    fs::write(folder.path().join("config/a.yml"), "1\n").unwrap();
    for asked in [["push", "config"], ["pull", "--to=out"]] {
        let config = run("5s").envs([("SHIPWAY_KUBERNETES_NAMESPACE", "trade"), ("SHIPWAY_APP", "web")]).arg("config").args(asked).run();
        config.expect_code(20).expect_text(&["takes changes", "read-only mode", "[center-unreachable]"]);
    }
}

/// What changes an application waits in the queue of `lock.backend`, and takes no Lease.
#[test]
fn the_publish_lock_may_be_there_too() {
    let (site, namespace) = (Site::new(), lab().namespace("zookeeper lock"));
    let scale = |wait: &str| {
        let run = site.shipway("ada").env("KUBECONFIG", &namespace.kubeconfig).env("SHIPWAY_KUBERNETES_NAMESPACE", &namespace.name);
        run.env("SHIPWAY_LOCK_BACKEND", "zookeeper").env("SHIPWAY_LOCK_WAIT", wait).args(["scale", "2"]).run()
    };
    scale("10s").expect_code(10).expect_text(&["not-published in scale"]);
    block_on(async {
        let connector = zookeeper_client::Client::connector().with_session_timeout(Duration::from_secs(60));
        let client = connector.connect(&format!("127.0.0.1:{}", site.server.port)).await.unwrap();
        let options = zookeeper_client::CreateMode::EphemeralSequential.with_acls(zookeeper_client::Acls::anyone_all());
        let queue = format!("/shipway/publish/{}.web", namespace.name);
        client.create(&format!("{queue}/alone-0-"), b"eve@test", &options).await.unwrap();
        // far sooner than the foreign session would expire
        scale("1s").expect_code(40).expect_text(&["is held by eve@test", "lock-held in scale"]);
        let leases: Api<Lease> = Api::namespaced(lab().client().await, &namespace.name);
        assert!(leases.list(&ListParams::default()).await.unwrap().items.is_empty());
    });
}

#[test]
fn what_cannot_be_is_said() {
    let site = Site::new();
    let long = site.shipway("ada").env("SHIPWAY_LOCK_TTL", "10m").args(["lock", "nightly", "--", "touch", "never"]).run().expect_code(2);
    long.expect_text(&["lock.ttl is 10m", "set lock.ttl to 1m12s at most"]);
    let address = site.through("zookeeper://ada:hidden@:1", "ada").args(["lock", "nightly", "--", "touch", "never"]).run().expect_code(2);
    assert!(!address.text().contains("hidden"), "{}", address.text());
    assert!(!site.path("never").exists());
}

//! `make bench`: a rolling update by `kubectl`, by Helm and by Shipway, side by side; and what a publish costs among 5,000 other pods.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api as Objects,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use super::ground::{Ground, NAME, image};
use crate::support::{
    api::{Api, Seen, Shares},
    block_on,
    lab::lab,
};

/// What one run cost.
struct Cost {
    /// Seconds from the start of the program to its end.
    whole: f64,
    /// Seconds from the moment the last new pod was available to the program's end.
    late: f64,
    megabytes: f64,
    requests: usize,
    kilobytes: usize,
    seen: Vec<Seen>,
}

fn number(variable: &str, default: i32) -> i32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn binary() -> PathBuf {
    std::env::var_os("SHIPWAY_BENCH_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_shipway").into(), PathBuf::from)
}

/// Says when, after `image` was asked for, all of its pods were ready.
fn observe(namespace: &str, image: String) -> mpsc::Receiver<Instant> {
    let (sender, receiver) = mpsc::channel();
    let namespace = namespace.to_string();
    std::thread::spawn(move || {
        block_on(async {
            let pods: Objects<Pod> = Objects::namespaced(lab().client().await, &namespace);
            let config = watcher::Config::default().labels("app.kubernetes.io/instance=web");
            let mut changes = std::pin::pin!(watcher::watcher(pods, config).applied_objects());
            let mut ready = BTreeMap::new();
            while let Some(Ok(pod)) = changes.next().await {
                let ours = pod.spec.as_ref().is_some_and(|spec| spec.containers[0].image.as_deref() == Some(&image));
                let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
                let is_ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
                if ours && is_ready {
                    ready.insert(pod.metadata.name.unwrap_or_default(), ());
                }
                if ready.len() == 2 {
                    let _ = sender.send(Instant::now());
                    return;
                }
            }
        });
    });
    receiver
}

/// Runs to the end of the last program; gives the greatest memory of any.
fn run(programs: Vec<Command>) -> f64 {
    let mut most: f64 = 0.0;
    for mut program in programs {
        let mut child = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        loop {
            most = most.max(peak(&child));
            match child.try_wait().unwrap() {
                Some(status) if status.success() => break,
                Some(status) => {
                    let mut words = String::new();
                    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut words).unwrap();
                    panic!("{program:?}: {status}: {words}");
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
    most
}

fn peak(child: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn shipway(folder: &Path, kubeconfig: &Path, namespace: &str, tag: &str) -> Command {
    let mut command = Command::new(binary());
    command.args(["publish", "--image", &image(tag).to_string()]).current_dir(folder).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", folder).env("KUBECONFIG", kubeconfig);
    for (key, value) in [
        ("SHIPWAY_APP", NAME),
        ("SHIPWAY_KUBERNETES_NAMESPACE", namespace),
        ("SHIPWAY_REGISTRY_INSECURE", "true"),
        ("SHIPWAY_KUBERNETES_ROLLING_MIN_READY_SECONDS", "0"),
        ("SHIPWAY_KUBERNETES_ROLLING_DRAIN", "1s"),
        ("SHIPWAY_KUBERNETES_RESOURCES_REQUESTS_CPU", "10m"),
        ("SHIPWAY_KUBERNETES_RESOURCES_LIMITS_MEMORY", "64Mi"),
    ] {
        command.env(key, value);
    }
    command
}

fn kubectl(folder: &Path, kubeconfig: &Path, namespace: &str) -> Vec<Command> {
    let file = folder.join("manifests.yaml");
    let call = |arguments: &[&str]| {
        let mut command = Command::new(lab().program("kubectl"));
        command.args(["-n", namespace]).args(arguments).env_clear().env("KUBECONFIG", kubeconfig).env("HOME", folder);
        command
    };
    vec![call(&["apply", "-f", file.to_str().unwrap()]), call(&["rollout", "status", "deployment/web"])]
}

fn helm(folder: &Path, kubeconfig: &Path, namespace: &str) -> Vec<Command> {
    let mut command = Command::new(lab().program("helm"));
    let chart = folder.join("chart");
    command.args(["-n", namespace, "upgrade", "--install", "--wait", NAME, chart.to_str().unwrap()]);
    command.env_clear().env("KUBECONFIG", kubeconfig).env("HOME", folder);
    vec![command]
}

/// The Deployment and Service that Shipway would make, for the others.
fn write_manifests(ground: &Ground, tag: &str) {
    let folder = ground.folder.path();
    let mut workload = ground.workload(tag);
    workload.replicas = Some(2);
    let text = shipway::cluster::render(&workload).unwrap();
    std::fs::create_dir_all(folder.join("chart/templates")).unwrap();
    std::fs::write(folder.join("chart/Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.0.0\n").unwrap();
    std::fs::write(folder.join("chart/templates/all.yaml"), &text).unwrap();
    std::fs::write(folder.join("manifests.yaml"), text).unwrap();
}

fn measured(ground: &Ground, tag: &str, programs: impl FnOnce(&Path) -> Vec<Command>) -> Cost {
    let api = Api::before(&lab().kubeconfig());
    let available = observe(&ground.namespace.name, image(tag).to_string());
    let programs = programs(&api.kubeconfig);
    let begun = Instant::now();
    let megabytes = run(programs);
    let ended = Instant::now();
    let available = available.recv_timeout(Duration::from_secs(30)).unwrap();
    let late =
        if ended > available { ended.duration_since(available).as_secs_f64() } else { -available.duration_since(ended).as_secs_f64() };
    let seen = api.seen();
    let kilobytes = seen.iter().map(|seen| seen.bytes).sum::<usize>() / 1000;
    Cost { whole: ended.duration_since(begun).as_secs_f64(), late, megabytes, requests: seen.len(), kilobytes, seen }
}

fn tell(name: &str, costs: &[Cost]) {
    let median = |of: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let most = |of: fn(&Cost) -> f64| costs.iter().map(of).fold(f64::MIN, f64::max);
    println!(
        "{name:<34} whole {:.2} s, after the last available pod {:.2} s (at most {:.2} s), {} requests, {} kB, {:.0} MB",
        median(|cost| cost.whole),
        median(|cost| cost.late),
        most(|cost| cost.late),
        median(|cost| cost.requests as f64),
        median(|cost| cost.kilobytes as f64),
        most(|cost| cost.megabytes)
    );
}

#[test]
#[ignore = "a measurement; run by make bench"]
fn a_rolling_update_beside_kubectl_and_helm() {
    let (ours, theirs, helms) = (Ground::new("bench shipway"), Ground::new("bench kubectl"), Ground::new("bench helm"));
    let mut costs: BTreeMap<&str, Vec<Cost>> = BTreeMap::new();
    for round in 0..=number("BENCH_ROUNDS", 6) {
        let tag = if round % 2 == 0 { "1" } else { "2" };
        for ground in [&theirs, &helms] {
            write_manifests(ground, tag);
        }
        let of = |ground: &Ground| (ground.folder.path().to_path_buf(), ground.namespace.name.clone());
        let (folder, namespace) = of(&theirs);
        let by_kubectl = measured(&theirs, tag, |kubeconfig| kubectl(&folder, kubeconfig, &namespace));
        let (folder, namespace) = of(&helms);
        let by_helm = measured(&helms, tag, |kubeconfig| helm(&folder, kubeconfig, &namespace));
        let (folder, namespace) = of(&ours);
        let by_shipway = measured(&ours, tag, |kubeconfig| vec![shipway(&folder, kubeconfig, &namespace, tag)]);
        // the first one creates, and pulls the image
        if round > 0 {
            costs.entry("kubectl apply, rollout status").or_default().push(by_kubectl);
            costs.entry("helm upgrade --wait").or_default().push(by_helm);
            costs.entry("shipway publish").or_default().push(by_shipway);
        }
    }
    for (name, costs) in &costs {
        tell(name, costs);
    }
    let late = |name: &str| {
        let mut values: Vec<f64> = costs[name].iter().map(|cost| cost.late).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (ours, fastest) = (late("shipway publish"), late("kubectl apply, rollout status").min(late("helm upgrade --wait")));
    let conditions = [("at most 0.3 s after the last available pod", 0.3), ("never later than the faster of the others", fastest)];
    for (words, limit) in conditions {
        println!("{words}: {} ({ours:.2} s, {limit:.2} s)", if ours <= limit { "reached" } else { "MISSED" });
    }
    assert!(conditions.iter().all(|(_, limit)| ours <= *limit));
}

#[test]
#[ignore = "a measurement; run by make bench"]
fn a_publish_among_5000_other_pods() {
    let ground = block_on(Ground::pretended("bench pods"));
    let number = number("BENCH_PODS", 5000);
    block_on(async {
        let others: Deployment = serde_json::from_value(json!({"metadata": {"name": "others"}, "spec": {"replicas": number,
            "selector": {"matchLabels": {"run": "others"}}, "template": {"metadata": {"labels": {"run": "others"}},
                "spec": {"containers": [{"name": "a", "image": "nowhere.test/a:1"}]}}}}))
        .unwrap();
        let api = ground.api::<Deployment>().await;
        api.create(&Default::default(), &others).await.unwrap();
        let begun = Instant::now();
        while api.get("others").await.unwrap().status.and_then(|status| status.ready_replicas).unwrap_or(0) < number {
            assert!(begun.elapsed() < Duration::from_secs(900), "the pods do not come");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        println!("{number} pods after {:.0?}", begun.elapsed());
    });
    let mut costs = Vec::new();
    for tag in ["1", "2", "3"] {
        let folder = ground.folder.path().to_path_buf();
        costs.push(measured(&ground, tag, |kubeconfig| vec![shipway(&folder, kubeconfig, &ground.namespace.name, tag)]));
    }
    tell(&format!("shipway publish among {number} pods"), &costs);
    for cost in &costs {
        let shares = Shares::of(&cost.seen, "/leases/shipway-web");
        let Shares { preflight, watches, lists, rest } = shares;
        println!("of them {preflight} of the preflight, {lists} lists and {watches} watches, {rest} others");
        assert!(shares.watches <= 4 && shares.lists <= 4 && shares.rest <= 12, "{shares:?}");
    }
    // a debug build has a megabyte more here and there
    assert!(std::env::var_os("SHIPWAY_BENCH_BINARY").is_none() || costs.iter().all(|cost| cost.megabytes <= 30.0));
}

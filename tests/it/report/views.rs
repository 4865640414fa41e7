//! What the commands answer, word for word.

use shipway::{
    domain::{
        finding::Finding,
        problem::{Code, Problem},
        release::Outcome,
        rollout::Progress,
        status::{AutoscaleStatus, PodStatus, RevisionStatus, Status},
    },
    report::{Header, Intent, ObjectDiff, PlanView, SettingRecord, Style, WarningRecord, check, plan, status},
};

use super::{golden, sample};

fn plan_view() -> PlanView {
    let run = sample::succeeded();
    let deployment =
        |replicas: &str| format!("spec:\n  minReadySeconds: 10\n  replicas: {replicas}\n  strategy:\n    type: RollingUpdate\n");
    PlanView {
        header: run.header.clone(),
        settings: run.report().settings,
        warnings: vec![WarningRecord {
            text: "SHIPWAY_SERVICE_HOST is no setting".into(),
            hint: "unset it, if it was meant to be one".into(),
        }],
        dockerfile: sample::attachments().dockerfile,
        manifests: sample::attachments().manifests,
        diff: Some(vec![
            ObjectDiff { object: "deployment/order-service".into(), before: Some(deployment("2")), after: Some(deployment("3")) },
            ObjectDiff { object: "service/order-service".into(), before: Some("a: 1\n".into()), after: Some("a: 1\n".into()) },
            ObjectDiff { object: "horizontalpodautoscaler/order-service".into(), before: None, after: Some("a: 1\n".into()) },
        ]),
    }
}

#[test]
fn a_plan() {
    golden::check("plan.txt", &plan(&plan_view(), &Style::default()));
    let coloured = plan(&plan_view(), &Style { color: true, ..Style::default() });
    assert!(
        coloured.contains("\u{1b}[32m+   replicas: 3\u{1b}[0m") && coloured.contains("\u{1b}[1;31m-   replicas: 2\u{1b}[0m"),
        "{coloured}"
    );
}

#[test]
fn settings_stand_in_the_order_of_the_reference() {
    let setting = |key: &str| SettingRecord::new(key, "x", "found");
    let keys = ["build.jdk", "kubernetes.env.B", "kubernetes.env.A", "image.base", "kubernetes.name", "app", "image.tag", "line"];
    let view = PlanView { settings: keys.map(setting).to_vec(), ..PlanView::default() };
    let text = plan(&view, &Style::default());
    let shown: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_suffix("found")?.split_whitespace().next()).collect();
    assert_eq!(shown, ["app", "line", "build.jdk", "image.tag", "image.base", "kubernetes.name", "kubernetes.env.B", "kubernetes.env.A"]);
}

#[test]
fn a_plan_of_almost_nothing() {
    let header = Header { app: Some("a".into()), intents: vec![Intent::NoPublish { because: "x".into() }], ..Header::default() };
    let view = PlanView { header, diff: Some(Vec::new()), ..PlanView::default() };
    let text = plan(&view, &Style { unicode: false, ..Style::default() });
    assert_eq!(text, "a\n  would   publish nothing: x\n\nchanges on the cluster\n  nothing\n\nnothing was changed: this is a plan\n");
}

fn status_view() -> Status {
    let pod = |name: &str, ready: bool, state: &str, restarts: i32| PodStatus {
        name: format!("order-service-{name}"),
        state: state.into(),
        ready,
        restarts,
        started: Some("2026-01-02T01:34:05Z".into()),
        node: Some("node-1".into()),
    };
    let release = |revision: u64, outcome: Outcome, problem: Option<&str>, restores: Option<u64>| RevisionStatus {
        revision,
        outcome,
        problem: problem.map(String::from),
        version: format!("2.{revision}.0"),
        commit: Some("1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d".into()),
        author: Some("Ada Lovelace".into()),
        started: format!("2026-01-{revision:02}T03:04:05Z"),
        restores,
        ..RevisionStatus::default()
    };
    Status {
        namespace: "trade".into(),
        name: "order-service".into(),
        ours: true,
        revision: Some(12),
        image: format!("registry.example.test/trade/order-service@{}", sample::digest(0x9c)),
        version: Some("2.12.0".into()),
        commit: Some("1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d".into()),
        author: Some("Ada Lovelace".into()),
        job_url: Some("https://gitlab.example.test/trade/order-service/-/jobs/991".into()),
        url: Some("http://order-service.trade.svc".into()),
        replicas: Progress { desired: 2, updated: 2, ready: 1, available: 1 },
        autoscale: Some(AutoscaleStatus { min: 2, max: 10, current: 2, desired: 2 }),
        pods: vec![pod("2xkqp", true, "ready", 0), pod("m8wzt", false, "CrashLoopBackOff", 3)],
        revisions: vec![
            release(12, Outcome::Succeeded, None, None),
            release(11, Outcome::RolledBack, Some("crash-loop"), None),
            release(10, Outcome::Succeeded, None, Some(8)),
        ],
        ..Status::default()
    }
}

#[test]
fn a_status() {
    golden::check("status.txt", &status(&status_view(), sample::begin(), &Style::default()));
    let silent = Status { unheard_since: Some("2026-01-02T03:04:05Z".to_string()), ..status_view() };
    let text = status(&silent, sample::begin(), &Style::default());
    assert!(text.contains("not heard from the API server since 2026-01-02 03:04:05 UTC: what is shown may be old"), "{text}");
    let foreign = Status { namespace: "trade".into(), name: "web".into(), image: "nginx".into(), ..Status::default() };
    let text = status(&foreign, sample::begin(), &Style::default());
    assert_eq!(text, "✓ trade/web (not published by shipway) 0 of 0 ready\n  image     nginx\n");
}

#[test]
fn a_check() {
    let finding = |file: &str, at: Option<(usize, usize)>, message: &str, hint: &str| {
        Finding::new(file, at, &Problem::new(Code::SettingUnknown, message).hint(hint))
    };
    let findings = [
        finding("shipway.yaml", Some((3, 5)), "kubernetes.replica is no setting", "use kubernetes.replicas"),
        finding("Dockerfile", Some((4, 1)), "RUN needs an engine that runs commands", "install one").warning(),
        finding("PLUGIN_REPLICA", None, "no setting has this name", "use PLUGIN_KUBERNETES_REPLICAS"),
    ];
    let (files, style) = (["shipway.yaml".to_string(), "Dockerfile".to_string()], Style::default());
    golden::check("check.txt", &check(&files, &findings, &style));
    assert_eq!(check(&files[..1], &[], &style), "✓ shipway.yaml is good\n");
    assert_eq!(check(&files, &findings[1..2], &style).lines().last(), Some("✓ shipway.yaml and 1 file more are good, 1 warning"));
    assert!(check(&[], &[], &style).starts_with("– nothing to look at"));
}

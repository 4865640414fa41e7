//! The page: complete by itself, escaped, light.

use shipway::{
    domain::{
        event::{Change, Event},
        problem::{Code, EvidenceKind, Problem},
        redact::Redactor,
        step::{Step, StepState},
    },
    report::{Attachments, Draft, html},
};

use super::sample;

fn page(run: &sample::Run) -> String {
    html::render(&run.report(), &sample::attachments()).unwrap()
}

#[test]
fn the_page_needs_nothing_from_outside() {
    for run in [sample::succeeded(), sample::rolled_back(), sample::nothing_configured()] {
        let page = page(&run);
        for word in
            ["<script", "src=", "@import", "url(", "<iframe", "<object", "<embed", "<form", "javascript:", "onload", "http-equiv=\"refresh"]
        {
            assert!(!page.contains(word), "{word}");
        }
        for (at, _) in page.match_indices("<link") {
            assert!(page[at..].starts_with("<link rel=\"icon\" href=\"data:,\">"));
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
    }
}

#[test]
fn the_page_says_what_the_run_was() {
    let page = page(&sample::rolled_back());
    for words in [
        "Rolled back",
        "exit 50",
        "revision 11 runs again",
        "no rounding mode for currency CHF",
        "crash-loop",
        "What to do",
        "pod/order-service-7d9f8c6b54-2xkqp/app (previous)",
        "CrashLoopBackOff",
        "registry.example.test/trade/order-service:1a2b3c4d5e6f",
        "deployment/order-service",
        "<b>ENTRYPOINT</b>",
        "kubernetes.autoscale.enabled",
        "(secret)",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn foreign_text_is_escaped_everywhere() {
    let evil = "\"><img src=x onerror=alert(1)>'&lt;</pre></details><script>";
    let mut draft = Draft::new(evil, evil, sample::begin());
    draft.app(evil, evil);
    draft.environment(Some(evil.into()));
    draft.event(Event::Pod { name: evil.into(), state: evil.into(), ready: false, old: false }, sample::begin());
    draft.event(Event::Warning { text: evil.into(), hint: evil.into() }, sample::begin());
    draft.commit(shipway::report::Commit {
        sha: evil.into(),
        reference: Some(evil.into()),
        author: Some(evil.into()),
        title: Some(evil.into()),
    });
    draft.release(Default::default(), Some("javascript:alert(1)".into()));
    draft.settings(vec![shipway::report::SettingRecord::new(evil, evil, evil)]);
    let problem = Problem::new(Code::CrashLoop, evil).hint(evil).evidence(EvidenceKind::Log, evil, evil);
    let report = draft.finish(Some(&problem), sample::begin(), &Redactor::default());
    let attachments = Attachments { dockerfile: Some(evil.into()), manifests: Some(format!("{evil}: {evil}\n# {evil}")) };
    let page = html::render(&report, &attachments).unwrap();
    assert!(!page.contains("<img") && !page.contains("<script") && !page.contains("href=\"javascript"), "{page}");
    assert_eq!(page.matches("</pre>").count(), page.matches("<pre").count());
}

/// As a real cluster tells of it: the pod is judged before its state says so, and those that ran all the time are told of at the end.
#[test]
fn a_rollback_shows_which_pod_failed_and_that_others_ran_all_the_time() {
    let mut draft = Draft::new("0.1.0", "publish", sample::begin());
    let mut tell = |millis: i64, event: Event| draft.event(event, sample::begin() + jiff::SignedDuration::from_millis(millis));
    let pod = |name: &str, state: &str, ready: bool| Event::Pod { name: name.into(), state: state.into(), ready, old: false };
    let applied = || Event::Applied { kind: "Deployment".into(), name: "web".into(), change: Change::Configured };
    tell(0, Event::StepStarted { step: Step::Publish });
    tell(100, applied());
    tell(500, pod("web-new", "running, restarted 1×", false));
    tell(2000, Event::RollingBack { revision: 1, because: "it crashes".into() });
    tell(2100, applied());
    tell(2500, pod("web-before", "ready", true));
    tell(2600, pod("web-put-back", "starting", false));
    tell(3500, pod("web-put-back", "ready", true));
    tell(4000, Event::StepFinished { step: Step::Publish, state: StepState::Failed, seconds: 4.0, summary: String::new() });
    let problem = Problem::new(Code::CrashLoop, "it crashes").evidence(EvidenceKind::Log, "pod/web-new/app", "no database");
    let end = sample::begin() + jiff::SignedDuration::from_secs(4);
    let page = html::render(&draft.finish(Some(&problem), end, &Redactor::default()), &Attachments::default()).unwrap();

    let lane = |name: &str| page.lines().find(|line| line.contains(&format!("<code class=\"name\">{name}</code>"))).unwrap();
    let failed = lane("web-new");
    assert!(failed.contains("<title>running, restarted 1× for 1.5 s</title>") && failed.contains("<title>crash-loop for 2.0 s</title>"));
    assert!(failed.contains("<rect class=\"bad\" x=\"500\" width=\"500\"") && failed.contains("<span class=\"time bad\">crash-loop"));
    let stayed = lane("web-before");
    assert!(stayed.starts_with("<li class=\"old\">") && stayed.contains("<rect class=\"ready\" x=\"0\" width=\"1000\""), "{stayed}");
    assert!(stayed.contains("<span class=\"time ready\">ready</span>"), "{stayed}");
    assert!(lane("web-put-back").contains("<span class=\"time ready\">ready after 3.5 s</span>"));
    assert!(page.contains(">configured</td>") && page.contains(">configured by the rollback</td>"));
}

/// A page of two hundred pods with logs that have no end.
pub fn many_pods() -> String {
    let mut draft = Draft::new("0.1.0", "run", sample::begin());
    draft.app("order-service", "trade");
    let states = ["Pending", "ContainerCreating", "Running", "CrashLoopBackOff", "Running", "Terminating", "gone"];
    for (second, state) in states.iter().enumerate() {
        for pod in 0..200 {
            let name = format!("order-service-7d9f8c6b54-{pod:05}");
            let now = sample::begin() + jiff::SignedDuration::from_millis(second as i64 * 3000 + pod * 20);
            draft.event(Event::Pod { name, state: state.to_string(), ready: second == 4, old: pod < 100 }, now);
        }
    }
    let long = "at com.example.order.Prices.<init>(Prices.java:31)\n".repeat(20_000);
    let mut problem = Problem::new(Code::CrashLoop, "all crash");
    for pod in 0..4 {
        problem = problem.evidence(EvidenceKind::Log, format!("pod/{pod}"), &long);
    }
    let end = sample::begin() + jiff::SignedDuration::from_secs(30);
    let report = draft.finish(Some(&problem), end, &Redactor::default());
    html::render(&report, &Attachments { manifests: Some(long), dockerfile: None }).unwrap()
}

#[test]
fn two_hundred_pods_and_a_long_log_stay_light() {
    let page = many_pods();
    println!("the page of 200 pods has {} bytes", page.len());
    assert!(page.len() < 300_000, "{} bytes", page.len());
    assert!(page.contains("140 more pods") && page.matches("order-service-7d9f8c6b54-").count() == 60);
    let drawn = page.split("class=\"many\"").nth(1).unwrap().split("</svg>").next().unwrap();
    assert!(drawn.matches('M').count() >= 140 * 6, "each state of each pod that has no lane is drawn");
}

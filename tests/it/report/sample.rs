//! Runs as they happen at users', told as events.

use jiff::{Timestamp, ToSpan};
use shipway::{
    domain::{
        digest::Digest,
        event::{Change, Event, LayerRole, Transfer},
        problem::{Code, EvidenceKind, Problem},
        redact::Redactor,
        step::{Step, StepState},
    },
    report::{Attachments, Ci, Commit, Draft, Header, Image, Intent, NotDone, Release, Report, SettingRecord},
};

/// When every sample begins.
pub fn begin() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

pub fn digest(byte: u8) -> Digest {
    Digest::from_sha256(&[byte, byte ^ 0x5a, 0x3f, 0x2a].repeat(8))
}

/// A run in the making: events with their times.
pub struct Run {
    pub events: Vec<(f64, Event)>,
    pub header: Header,
    pub problem: Option<Problem>,
    fill: fn(&mut Draft),
}

impl Run {
    pub fn report(&self) -> Report {
        self.report_with(&Redactor::default())
    }

    pub fn report_with(&self, redactor: &Redactor) -> Report {
        let mut draft = Draft::new("0.1.0", &self.header.command, begin());
        draft.app("order-service", "trade");
        draft.ci(Ci {
            kind: "gitlab".into(),
            job_url: Some("https://gitlab.example.test/trade/order-service/-/jobs/991".into()),
            pipeline: Some(4711),
        });
        draft.report_url(Some(
            "https://gitlab.example.test/trade/order-service/-/jobs/991/artifacts/file/shipway-report/report.html".into(),
        ));
        draft.settings(settings());
        if let Some(commit) = &self.header.commit {
            draft.commit(commit.clone());
        }
        draft.environment(self.header.environment.clone());
        (self.fill)(&mut draft);
        let mut last = 0.0;
        for (at, event) in &self.events {
            draft.event(event.clone(), begin() + ((at * 1000.0) as i64).milliseconds());
            last = *at;
        }
        draft.finish(self.problem.as_ref(), begin() + ((last * 1000.0) as i64 + 150).milliseconds(), redactor)
    }
}

pub fn commit() -> Commit {
    Commit {
        sha: "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d".into(),
        reference: Some("main".into()),
        author: Some("Ada Lovelace".into()),
        title: Some("Round prices half to even".into()),
    }
}

fn header(intents: Vec<Intent>) -> Header {
    Header {
        version: "0.1.0".into(),
        command: "run".into(),
        app: Some("order-service".into()),
        line: Some("trade".into()),
        environment: Some("prod".into()),
        commit: Some(commit()),
        intents,
    }
}

fn all_intents() -> Vec<Intent> {
    vec![
        Intent::Maven { jdk: Some(17), goal: "deploy".into() },
        Intent::Image { base: "docker.io/library/eclipse-temurin:17-jre".into() },
        Intent::Push { reference: "registry.example.test/trade/order-service:1a2b3c4d5e6f".into() },
        Intent::Publish { context: Some("prod".into()), namespace: "trade".into(), name: "order-service".into() },
    ]
}

fn settings() -> Vec<SettingRecord> {
    let mut settings = vec![
        SettingRecord::new("app", "order-service", "shipway.yaml"),
        SettingRecord::new("line", "trade", "shipway.yaml"),
        SettingRecord::new("environment", "prod", "CI_ENVIRONMENT_NAME"),
        SettingRecord::new("build.jdk", "17", "pom.xml"),
        SettingRecord::new("registry.url", "registry.example.test", "CI_REGISTRY"),
        SettingRecord::new("registry.username", "ci-user", "CI_REGISTRY_USER"),
        SettingRecord::secret("registry.password", "CI_REGISTRY_PASSWORD"),
        SettingRecord::new("kubernetes.autoscale.enabled", "true", "shipway.yaml environments.prod"),
        SettingRecord::new("kubernetes.resources.limits", "memory: 768Mi", "shipway.yaml"),
    ];
    for (key, value) in [("build.tests", "true"), ("build.timeout", "30m"), ("kubernetes.rolling.max_surge", "1"), ("lock.wait", "10m")] {
        settings.push(SettingRecord::new(key, value, "default"));
    }
    settings
}

fn image() -> Image {
    Image {
        reference: "registry.example.test/trade/order-service:1a2b3c4d5e6f".into(),
        digest: Some(digest(0x9c)),
        size: 118_412_530,
        requests: 6,
        base: Some("docker.io/library/eclipse-temurin:17-jre".into()),
        ..Image::default()
    }
}

fn started(step: Step) -> Event {
    Event::StepStarted { step }
}

fn finished(step: Step, seconds: f64, summary: &str) -> Event {
    Event::StepFinished { step, state: StepState::Succeeded, seconds, summary: summary.into() }
}

fn applied(kind: &str, change: Change) -> Event {
    Event::Applied { kind: kind.into(), name: "order-service".into(), change }
}

fn pod(name: &str, state: &str, ready: bool, old: bool) -> Event {
    Event::Pod { name: format!("order-service-{name}"), state: state.into(), ready, old }
}

fn rollout(updated: i32, ready: i32, available: i32) -> Event {
    Event::Rollout { desired: 3, updated, ready, available }
}

fn layer(byte: u8, size: u64, role: LayerRole, transfer: Transfer) -> Event {
    Event::Layer { digest: digest(byte), size, role, transfer }
}

fn build_and_image() -> Vec<(f64, Event)> {
    let goal = |goal: &str| Event::MavenGoal { goal: format!("maven-x-plugin:3.1:{goal} (default)"), module: "order-service".into() };
    vec![
        (0.0, started(Step::Checkout)),
        (0.1, finished(Step::Checkout, 0.1, "the CI's checkout of main")),
        (0.1, started(Step::Build)),
        (0.2, Event::CommandStarted { argv: ["mvn", "-B", "-Pprod", "deploy"].map(String::from).to_vec() }),
        (1.0, goal("resources")),
        (1.4, goal("compile")),
        (4.8, goal("test")),
        (8.1, goal("jar")),
        (9.0, goal("repackage")),
        (9.4, goal("deploy")),
        (10.0, finished(Step::Build, 9.9, "compiled 42 source files with JDK 17, 118 tests, deployed 2.4.0")),
        (10.0, started(Step::Dockerfile)),
        (10.2, finished(Step::Dockerfile, 0.2, "3 layers on eclipse-temurin:17-jre")),
        (10.2, started(Step::Image)),
        (10.4, layer(0x11, 29_536_818, LayerRole::Base, Transfer::Present)),
        (10.4, layer(0x22, 48_201_337, LayerRole::Base, Transfer::Mounted)),
        (10.5, layer(0x33, 38_610_007, LayerRole::Dependencies, Transfer::Present)),
        (10.7, layer(0x44, 1_822_112, LayerRole::SnapshotDependencies, Transfer::Sent)),
        (10.8, layer(0x55, 242_256, LayerRole::Application, Transfer::Sent)),
        (11.1, Event::ImagePushed { reference: image().reference, digest: digest(0x9c) }),
        (11.1, finished(Step::Image, 0.9, "2.1 MB of 118.4 MB sent in 6 requests")),
        (11.1, started(Step::Publish)),
        (11.6, applied("Deployment", Change::Configured)),
        (
            11.6,
            Event::Difference {
                kind: "Deployment".into(),
                name: "order-service".into(),
                text: "@@ -20,2 +20,2 @@\n-        image: registry.example.test/trade/order-service:0f1e2d3c4b5a\n+        image: registry.example.test/trade/order-service:1a2b3c4d5e6f\n".into(),
                image: Some("registry.example.test/trade/order-service:0f1e2d3c4b5a".into()),
                replicas: Some(2),
            },
        ),
        (11.7, applied("Service", Change::Unchanged)),
        (11.7, applied("HorizontalPodAutoscaler", Change::Created)),
    ]
}

/// All went well.
pub fn succeeded() -> Run {
    let mut events = build_and_image();
    let new = ["7d9f8c6b54-2xkqp", "7d9f8c6b54-m8wzt", "7d9f8c6b54-vr4hn"];
    let old = ["5c4d7b9f68-8kd2s", "5c4d7b9f68-hq7lx", "5c4d7b9f68-zz9pf"];
    for (at, (new, old)) in new.iter().zip(old).enumerate() {
        let base = 11.9 + at as f64 * 9.2;
        let ready = at as i32;
        events.extend([
            (base, pod(new, "pending", false, false)),
            (base + 0.3, pod(new, "creating", false, false)),
            (base + 1.1, pod(new, "starting", false, false)),
            (base + 1.2, rollout(ready + 1, 3 + ready, 3)),
            (base + 6.4, pod(new, "ready", true, false)),
            (base + 6.5, rollout(ready + 1, 4, 3)),
            (base + 8.4, pod(old, "terminating", false, true)),
            (base + 9.1, pod(old, "gone", false, true)),
        ]);
    }
    events.push((
        31.0,
        Event::Warning {
            text: "order-service has no readiness probe on the class path".into(),
            hint: "add spring-boot-starter-actuator, or set kubernetes.probes.readiness".into(),
        },
    ));
    events.push((39.6, rollout(3, 3, 3)));
    events.push((39.7, finished(Step::Publish, 28.6, "revision 12 is up, 3 of 3 ready")));
    let fill = |draft: &mut Draft| {
        draft.image(image());
        let release = Release {
            namespace: "trade".into(),
            name: "order-service".into(),
            revision: 12,
            previous: Some(11),
            restores: None,
            replicas: 3,
        };
        draft.release(release, Some("http://order-service.trade.svc:80".into()));
    };
    Run { events, header: header(all_intents()), problem: None, fill }
}

/// The new version crashes and is taken back.
pub fn rolled_back() -> Run {
    let mut events = build_and_image();
    let name = "7d9f8c6b54-2xkqp";
    events.extend([
        (12.0, pod(name, "creating", false, false)),
        (13.1, pod(name, "starting", false, false)),
        (16.3, pod(name, "Error", false, false)),
        (17.9, pod(name, "running, restarted 1×", false, false)),
        (18.5, Event::Waiting { what: "the start of order-service-7d9f8c6b54-2xkqp".into(), seconds: 6 }),
        (21.0, pod(name, "CrashLoopBackOff", false, false)),
        (21.2, Event::RollingBack { revision: 11, because: "the application ends again and again".into() }),
        (21.9, applied("Deployment", Change::Configured)),
        (22.4, pod(name, "terminating", false, true)),
        (23.2, pod("5c4d7b9f68-8kd2s", "ready", true, false)),
        (23.2, pod("5c4d7b9f68-hq7lx", "ready", true, false)),
        (24.0, pod(name, "gone", false, true)),
        (
            24.1,
            Event::StepFinished {
                step: Step::Publish,
                state: StepState::Failed,
                seconds: 13.0,
                summary: "crash loop; revision 11 runs again, 2 of 2 ready".into(),
            },
        ),
    ]);
    let log = "  .   ____          _            __ _ _\n2026-01-02T03:04:18.112Z  INFO 1 --- [main] c.e.o.OrderServiceApplication : Starting OrderServiceApplication v2.4.0 using Java 17.0.15\n2026-01-02T03:04:20.871Z ERROR 1 --- [main] o.s.b.SpringApplication : Application run failed\njava.lang.IllegalStateException: no rounding mode for currency CHF\n\tat com.example.order.Prices.<init>(Prices.java:31)\n\tat com.example.order.OrderServiceApplication.main(OrderServiceApplication.java:12)";
    let problem = Problem::new(Code::CrashLoop, "container app of pod/order-service-7d9f8c6b54-2xkqp ended 2 times with exit code 1: java.lang.IllegalStateException: no rounding mode for currency CHF")
        .hint("correct what the last lines of its log name; the previous revision 11 runs again")
        .evidence(EvidenceKind::Log, "pod/order-service-7d9f8c6b54-2xkqp/app (previous)", log)
        .evidence(EvidenceKind::Event, "pod/order-service-7d9f8c6b54-2xkqp", "03:04:17 Normal   Pulled   Container image already present on machine\n03:04:18 Normal   Started  Started container app\n03:04:26 Warning  BackOff  Back-off restarting failed container app in pod order-service-7d9f8c6b54-2xkqp");
    let fill = |draft: &mut Draft| draft.image(image());
    Run { events, header: header(all_intents()), problem: Some(problem), fill }
}

/// A pom.xml and a JDK, nothing else.
pub fn nothing_configured() -> Run {
    let mut events: Vec<_> = build_and_image().into_iter().take(18).collect();
    events.push((
        10.8,
        Event::StepFinished { step: Step::Image, state: StepState::Succeeded, seconds: 0.6, summary: "118.4 MB in 5 layers".into() },
    ));
    events.push((
        10.8,
        Event::StepFinished { step: Step::Publish, state: StepState::Skipped, seconds: 0.0, summary: "no cluster is configured".into() },
    ));
    let intents = vec![
        Intent::Maven { jdk: Some(17), goal: "package".into() },
        Intent::Image { base: "docker.io/library/eclipse-temurin:17-jre".into() },
        Intent::Layout { dir: "shipway-report/image".into() },
        Intent::Render { file: "shipway-report/manifests.yaml".into() },
    ];
    let fill = |draft: &mut Draft| {
        draft.image(Image { layout: Some("shipway-report/image".into()), ..image() });
        draft.not_done(NotDone::no_registry("shipway-report/image"));
        draft.not_done(NotDone::no_cluster("shipway-report/manifests.yaml"));
    };
    Run { events, header: Header { environment: None, ..header(intents) }, problem: None, fill }
}

pub fn attachments() -> Attachments {
    Attachments {
        dockerfile: Some(include_str!("Dockerfile.sample").into()),
        manifests: Some(include_str!("manifests.sample.yaml").into()),
    }
}

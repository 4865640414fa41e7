//! The log on a terminal, judged by a terminal emulator; and the heartbeat of a log that is never redrawn.

use std::{cell::Cell, time::Duration};

use jiff::{SignedDuration, Timestamp};
use shipway::{
    domain::{
        event::{Event, LayerRole, Transfer},
        redact::Redactor,
        step::{Step, StepState},
    },
    report::{Format, Log, Style},
};

use super::{log::Paper, sample};
use crate::support::{
    fake::{Act, Fake},
    fixture,
    job::{QUICK, jar_checkout},
    lab::lab,
    shipway::shipway,
    unique,
};

thread_local! {
    /// Milliseconds since the sample's begin.
    static NOW: Cell<i64> = const { Cell::new(0) };
}

fn clock() -> Timestamp {
    sample::begin() + SignedDuration::from_millis(NOW.get())
}

fn at(seconds: f64) {
    NOW.set((seconds * 1000.0) as i64);
}

/// A log, and the screen that it is written to.
struct Terminal {
    log: Log,
    paper: Paper,
    seen: usize,
    screen: vt100::Parser,
}

impl Terminal {
    fn new(columns: u16, rows: u16, style: Style, size: fn() -> Option<(usize, usize)>) -> Terminal {
        at(0.0);
        let paper = Paper::default();
        let log = Log::with_clock(Box::new(paper.clone()), style, Redactor::default(), clock).on_screen(size);
        Terminal { log, paper, seen: 0, screen: vt100::Parser::new(rows, columns, 0) }
    }

    fn event(&mut self, seconds: f64, event: Event) {
        at(seconds);
        self.log.event(&event);
    }

    /// What stands on the screen after another beat at that time.
    fn screen(&mut self, seconds: f64) -> String {
        at(seconds);
        self.log.beat();
        let text = self.paper.text();
        // what the terminal's driver makes of a line break
        self.screen.process(text[self.seen..].replace('\n', "\r\n").as_bytes());
        self.seen = text.len();
        self.screen.screen().contents()
    }
}

fn sending(byte: u8, size: u64, sent: u64) -> Event {
    Event::Sending { digest: sample::digest(byte), size, role: LayerRole::Dependencies, sent }
}

fn pod(name: &str, state: &str, ready: bool, old: bool) -> Event {
    Event::Pod { name: format!("order-service-{name}"), state: state.into(), ready, old }
}

fn finished(step: Step) -> Event {
    Event::StepFinished { step, state: StepState::Succeeded, seconds: 4.0, summary: "done".into() }
}

#[test]
fn layers_are_shown_with_bytes_and_rate_and_become_lines() {
    let mut terminal = Terminal::new(100, 20, Style::default(), || Some((100, 20)));
    terminal.event(0.0, Event::StepStarted { step: Step::Image });
    terminal.event(0.0, sending(0x11, 40_000_000, 0));
    terminal.event(1.0, sending(0x11, 40_000_000, 10_000_000));
    terminal.event(1.0, sending(0x22, 1000, 0));
    let screen = terminal.screen(2.0);
    assert!(screen.contains("image          2.0 s"), "{screen}");
    assert!(screen.contains("layer 114b3f2a114b ━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌   10.0 MB of   40.0 MB    5.0 MB/s (dependencies)"), "{screen}");
    assert!(screen.contains("layer 22783f2a2278 ╌╌╌"), "{screen}");

    terminal.event(
        4.0,
        Event::Layer { digest: sample::digest(0x11), size: 40_000_000, role: LayerRole::Dependencies, transfer: Transfer::Sent },
    );
    let screen = terminal.screen(4.0);
    assert!(
        screen.contains("  layer 114b3f2a114b   40.0 MB sent (dependencies)\n") && screen.matches("114b3f2a114b").count() == 1,
        "{screen}"
    );
    terminal.event(4.0, finished(Step::Image));
    let screen = terminal.screen(5.0);
    assert_eq!(screen, "\n▸ image\n  layer 114b3f2a114b   40.0 MB sent (dependencies)\n✓ image          4.0 s  done");
}

#[test]
fn pods_are_a_table_that_is_drawn_anew() {
    let mut terminal = Terminal::new(100, 20, Style { color: true, ..Style::default() }, || Some((100, 20)));
    terminal.event(0.0, Event::StepStarted { step: Step::Publish });
    terminal.event(0.0, pod("old-1", "ready", true, true));
    terminal.event(1.0, pod("new-1", "starting", false, false));
    terminal.event(1.0, Event::Rollout { desired: 1, updated: 1, ready: 1, available: 1 });
    let screen = terminal.screen(3.0);
    assert!(screen.contains("publish        3.0 s  1 of 1 updated, 1 ready, 1 available"), "{screen}");
    assert!(screen.contains("    order-service-new-1  starting"), "{screen}");
    assert!(screen.contains("    order-service-old-1  ready              (old)     3.0 s"), "{screen}");
    terminal.event(6.0, pod("new-1", "ready", true, false));
    terminal.event(6.5, pod("old-1", "gone", false, true));
    let screen = terminal.screen(7.0);
    assert!(screen.contains("order-service-new-1  ready") && !screen.contains("starting") && !screen.contains("old-1"), "{screen}");
    assert_eq!(screen.matches("order-service-new-1").count(), 1, "{screen}");
    // what was last seen of them stays
    terminal.event(8.0, finished(Step::Publish));
    assert!(terminal.screen(9.0).contains("▸ publish\n    order-service-new-1  ready"));
}

#[test]
fn many_pods_and_a_narrow_terminal_leave_no_rests() {
    let mut terminal = Terminal::new(40, 12, Style { width: 40, ..Style::default() }, || Some((40, 12)));
    terminal.event(0.0, Event::StepStarted { step: Step::Publish });
    for number in 0..200 {
        let state = if number < 3 { "CrashLoopBackOff" } else { "ready" };
        terminal.event(1.0, pod(&format!("{number:03}"), state, number >= 3, false));
    }
    let waiting = "日本語の名前 と 絵文字 🚢🚢🚢🚢🚢🚢🚢🚢🚢🚢🚢🚢🚢🚢";
    terminal.event(1.0, Event::Waiting { what: waiting.into(), seconds: 1 });
    let before = terminal.screen(1.0);
    assert!(before.contains("order-service-000") && before.contains("192 ready"), "the failing ones come first:\n{before}");
    let screen = (10..40).map(|second| terminal.screen(f64::from(second))).last().unwrap();
    assert_eq!(before.lines().count(), screen.lines().count(), "rows that were not taken away:\n{screen}");
    assert_eq!(screen.matches("▸ publish").count(), 1, "{screen}");
}

#[test]
fn goals_of_maven_stay_one_line() {
    let mut terminal = Terminal::new(80, 20, Style { width: 80, ..Style::default() }, || Some((80, 20)));
    let goal = |goal: &str| Event::MavenGoal { goal: format!("maven-x-plugin:3.1:{goal} (default)"), module: "order-service".into() };
    terminal.event(0.0, Event::StepStarted { step: Step::Build });
    terminal.event(0.1, Event::CommandStarted { argv: vec!["/usr/bin/mvn".into()] });
    assert!(terminal.screen(0.2).ends_with("0.2 s  mvn"));
    terminal.event(1.0, goal("compile"));
    terminal.event(2.0, goal("test"));
    let screen = terminal.screen(3.0);
    assert!(screen.ends_with("build          3.0 s  test of order-service") && !screen.contains("compile, test"), "{screen}");
    terminal.event(4.0, finished(Step::Build));
    assert!(terminal.screen(5.0).ends_with("  order-service: compile, test\n✓ build          4.0 s  done"));
}

fn heartbeats(format: Format) -> (Log, Paper) {
    at(0.0);
    let paper = Paper::default();
    (Log::with_clock(Box::new(paper.clone()), Style { format, ..Style::default() }, Redactor::default(), clock), paper)
}

#[test]
fn a_pipe_hears_every_twenty_seconds_what_is_waited_for() {
    let (log, paper) = heartbeats(Format::Text);
    let said = |seconds: f64| {
        let before = paper.text().len();
        at(seconds);
        log.beat();
        paper.text()[before..].to_string()
    };
    assert_eq!(said(60.0), "", "between steps nothing is waited for");
    log.event(&Event::StepStarted { step: Step::Image });
    assert_eq!(said(79.0), "");
    log.event(&sending(0x11, 40_000_000, 8_000_000));
    log.event(&sending(0x22, 10_000_000, 2_000_000));
    assert_eq!(said(89.0), "  waiting for 2 layers: 10.0 MB of 50.0 MB sent, 1.0 MB/s (10s)\n");
    assert_eq!((80..109).map(|second| said(f64::from(second))).collect::<String>(), "");
    assert!(said(109.0).starts_with("  waiting for 2 layers"));
    log.event(&Event::Layer { digest: sample::digest(0x11), size: 1, role: LayerRole::Base, transfer: Transfer::Sent });
    log.event(&Event::Layer { digest: sample::digest(0x22), size: 1, role: LayerRole::Base, transfer: Transfer::Sent });
    assert_eq!(said(130.0), "  waiting for the end of image (1m10s)\n");
}

#[test]
fn waiting_is_never_said_oftener_than_every_twenty_seconds() {
    let (log, paper) = heartbeats(Format::Text);
    log.event(&Event::StepStarted { step: Step::Publish });
    for second in 0..60 {
        at(f64::from(second));
        log.event(&Event::Waiting { what: "pod/x".into(), seconds: second as u64 });
        log.beat();
    }
    let text = paper.text();
    let said: Vec<&str> = text.lines().filter(|line| line.contains("waiting for")).collect();
    assert_eq!(said, ["  waiting for pod/x (0s)", "  waiting for pod/x (20s)", "  waiting for pod/x (40s)"]);
}

#[test]
fn machines_get_the_heartbeat_as_an_object() {
    let (log, paper) = heartbeats(Format::Json);
    log.event(&Event::StepStarted { step: Step::Build });
    log.event(&Event::CommandStarted { argv: vec!["mvn".into()] });
    at(20.0);
    log.beat();
    let last: serde_json::Value = serde_json::from_str(paper.text().lines().last().unwrap()).unwrap();
    assert_eq!((last["event"].as_str(), last["what"].as_str(), last["seconds"].as_u64()), (Some("waiting"), Some("mvn"), Some(20)));
}

/// Everything on a screen, each time that it was drawn anew.
fn screens(written: &[u8], columns: u16, rows: u16) -> Vec<String> {
    let mut screen = vt100::Parser::new(rows, columns, 0);
    let mut screens = Vec::new();
    for piece in written.split_inclusive(|byte| *byte == 0x1b) {
        screens.push(screen.screen().contents());
        screen.process(piece);
    }
    screens.push(screen.screen().contents());
    screens
}

#[test]
fn a_real_terminal_shows_layers_and_pods_as_they_move() {
    let namespace = lab().namespace("terminal");
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    let registry = lab().registry();
    let proxy = Fake::start(registry.address.rsplit(':').next().unwrap().parse().unwrap());
    // the first layer arrives late: there is something to see
    proxy.rule("POST", "/blobs/uploads/?digest=", 1, Act::Trickle(1 << 20, Duration::from_millis(700)));
    proxy.rule("PUT", "/blobs/uploads/", 1, Act::Trickle(1 << 20, Duration::from_millis(700)));
    let job = |registry: &str| {
        shipway(checkout.path())
            .env("TERM", "xterm-256color")
            .env("SHIPWAY_REGISTRY_URL", registry)
            .env("SHIPWAY_LINE", unique("terminal"))
            .env("SHIPWAY_IMAGE_BASE", lab().base(17))
    };
    let (code, written) = job(&proxy.host()).arg("image").run_on_terminal(110, 40);
    let drawn = screens(&written, 110, 40);
    assert_eq!(code, 0, "{}", drawn.last().unwrap());
    assert!(drawn.iter().any(|screen| screen.contains("MB/s") || screen.contains("kB/s") || screen.contains("B/s")), "{:#?}", drawn.last());
    assert!(!drawn.last().unwrap().contains("B/s"), "a row was left:\n{}", drawn.last().unwrap());

    let job = job(&registry.address).env("KUBECONFIG", &namespace.kubeconfig).env("SHIPWAY_KUBERNETES_NAMESPACE", &namespace.name);
    let job = job.env("SHIPWAY_KUBERNETES_PROBES_READINESS", "/health").envs(QUICK.iter().copied());
    let (code, written) = job.args(["publish", "--image", &lab().web("1")]).run_on_terminal(110, 40);
    let drawn = screens(&written, 110, 40);
    let last = drawn.last().unwrap();
    assert_eq!(code, 0, "{last}");
    let rows = |screen: &str| screen.lines().filter(|line| line.starts_with("    web-")).count();
    assert!(drawn.iter().any(|screen| rows(screen) == 1 && screen.contains("starting")), "{last}");
    assert!(drawn.iter().all(|screen| rows(screen) <= 2), "rows pile up:\n{last}");
    assert!(last.contains("✓ publish") && last.contains("web is up"), "{last}");
}

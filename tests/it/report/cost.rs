//! What all reporting takes of a run, as processor time: a busy machine does not change it.

use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use shipway::{
    domain::{
        event::Event,
        redact::Redactor,
        secret::Secret,
        step::{Step, StepState},
    },
    report::{Attachments, Image, Log, Recorder, Release, Stage, Style, card, comment, events, message, write_all},
};

use super::log::Paper;

/// Milliseconds that the processor has worked for this thread.
fn processor() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1000.0 + time.tv_nsec as f64 / 1e6
}

/// A rollout of two hundred pods, a build that says a thousand lines, ten secrets, every file and everyone who is told.
#[test]
fn reporting_takes_a_moment() {
    let secrets: Vec<Secret> = (0..10).map(|number| Secret::new(format!("canary-password-{number}"))).collect();
    let redactor = Redactor::new(&secrets);
    let (paper, dir) = (Paper::default(), tempfile::tempdir().unwrap());
    let manifests = "          - name: JAVA_TOOL_OPTIONS\n            value: -XX:MaxRAMPercentage=70\n".repeat(300);
    let before = processor();

    let log = Log::new(Box::new(paper.clone()), Style::default(), redactor.clone());
    let recorder = Recorder::new("0.1.0", "run");
    let sink = events(&log, &recorder);
    recorder.record(|draft| {
        draft.app("order-service", "trade");
        draft.image(Image { reference: "registry.example.test/trade/order-service:1".into(), ..Image::default() });
    });
    sink.emit(Event::StepStarted { step: Step::Build });
    (0..1000).for_each(|line| sink.emit(Event::BuildLine { line: format!("[INFO] Tests run: {line}, Failures: 0, Errors: 0") }));
    sink.emit(Event::StepStarted { step: Step::Publish });
    for state in ["pending", "creating", "starting", "ready"] {
        for pod in 0..200 {
            let name = format!("order-service-7d9f8c6b54-{pod:05}");
            sink.emit(Event::Pod { name, state: state.into(), ready: state == "ready", old: false });
        }
    }
    for stage in [Stage::Started, Stage::Rolling] {
        let so_far = recorder.so_far(&redactor).unwrap();
        assert!(comment::live(&so_far, stage, comment::LIMIT).contains("order-service"));
    }
    sink.emit(Event::StepFinished { step: Step::Publish, state: StepState::Succeeded, seconds: 30.0, summary: "200 of 200 ready".into() });
    let release = Release { namespace: "trade".into(), name: "order-service".into(), revision: 1, replicas: 200, ..Release::default() };
    recorder.record(|draft| draft.release(release, None));
    let report = recorder.finish(None, &redactor).unwrap();
    let texts = [comment::render(&report, comment::LIMIT), card::render(&report, None, &redactor), message::message(&report).title];
    write_all(&report, dir.path(), &Attachments { dockerfile: None, manifests: Some(manifests) }, &redactor).unwrap();
    log.summary(&report, Some(Path::new("shipway-report")));

    let took = processor() - before;
    println!("reporting took {took:.0} ms of the processor");
    assert!(texts.iter().all(|text| text.contains("order-service")) && paper.text().contains("is up: revision 1"));
    assert!(took < LIMIT, "reporting took {took:.0} ms of the processor");
}

/// The figure is 150 ms; a build without optimization is about ten times as slow as the one that runs in pipelines.
const LIMIT: f64 = if cfg!(debug_assertions) { 1500.0 } else { 150.0 };

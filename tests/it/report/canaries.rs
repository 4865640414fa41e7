//! Secrets appear in nothing that leaves: fifty of them, in each of their forms, through every text of a run.

use std::path::Path;

use shipway::{
    domain::{
        event::{Change, Event},
        problem::{Code, EvidenceKind, Problem},
        redact::Redactor,
        secret::Secret,
        step::{Step, StepState},
    },
    report::{
        Attachments, Ci, Commit, Draft, Format, Header, Image, Level, Log, NotDone, Recorder, Release, SettingRecord, Stage, Style, card,
        comment, message, write_all,
    },
};

use super::{log::Paper, sample};
use crate::support::canaries::{assert_clean, leak, secrets};

fn events(leak: &str) -> Vec<Event> {
    let leak = || leak.to_string();
    vec![
        Event::StepStarted { step: Step::Publish },
        Event::CommandStarted { argv: vec![leak()] },
        Event::MavenGoal { goal: leak(), module: leak() },
        Event::BuildLine { line: leak() },
        Event::ImagePushed { reference: leak(), digest: sample::digest(1) },
        Event::Applied { kind: "Deployment".into(), name: leak(), change: Change::Created },
        Event::Difference { kind: "Deployment".into(), name: leak(), text: leak(), image: Some(leak()), replicas: None },
        Event::Pod { name: leak(), state: leak(), ready: false, old: false },
        Event::Waiting { what: leak(), seconds: 1 },
        Event::RollingBack { revision: 1, because: leak() },
        Event::Note { text: leak() },
        Event::Warning { text: leak(), hint: leak() },
        Event::StepFinished { step: Step::Publish, state: StepState::Failed, seconds: 1.0, summary: leak() },
    ]
}

#[test]
fn no_secret_leaves() {
    let leak = leak();
    let known: Vec<Secret> = secrets().into_iter().map(Secret::new).collect();
    let redactor = Redactor::new(&known);
    let text = || leak.clone();
    let commit = Commit { sha: text(), reference: Some(text()), author: Some(text()), title: Some(text()) };
    let problem = Problem::new(Code::CrashLoop, text()).hint(text()).evidence(EvidenceKind::Log, text(), text());

    let mut draft = Draft::new(text(), text(), sample::begin());
    draft.app(text(), text());
    draft.environment(Some(text()));
    draft.ci(Ci { kind: text(), job_url: Some(format!("https://ci.example.test/?{leak}")), pipeline: Some(1) });
    draft.commit(commit.clone());
    draft.report_url(Some(format!("https://ci.example.test/report?{leak}")));
    draft.image(Image { reference: text(), base: Some(text()), layout: Some(text()), ..Image::default() });
    draft.release(Release { namespace: text(), name: text(), ..Release::default() }, Some(text()));
    draft.not_done(NotDone { what: text(), instead: Some(text()), setting: text() });
    draft.settings(vec![SettingRecord::new(text(), text(), text())]);
    events(&leak).into_iter().for_each(|event| draft.event(event, sample::begin()));
    let report = draft.finish(Some(&problem), sample::begin(), &redactor);

    let message = message::message(&report);
    assert_clean("the message", &format!("{:?} {}", message, message.data));
    assert_clean("the status", &message::status_words(&report));
    assert_clean("the card", &card::render(&report, None, &redactor).split("\"data\"").nth(1).unwrap().replace('＠', "@"));
    let recorder = Recorder::new(text(), text());
    recorder.record(|draft| draft.app(text(), text()));
    events(&leak).into_iter().for_each(|event| recorder.event(event));
    let so_far = recorder.so_far(&redactor).unwrap();
    for stage in [Stage::Started, Stage::Rolling, Stage::RollingBack] {
        assert_clean("the comment on its way", &comment::live(&so_far, stage, comment::LIMIT));
    }

    let dir = tempfile::tempdir().unwrap();
    let attachments = Attachments { dockerfile: Some(text()), manifests: Some(text()) };
    write_all(&report, dir.path(), &attachments, &redactor).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let file = std::fs::read_to_string(&path).unwrap();
        assert_clean(&path.display().to_string(), &file);
        files += 1;
    }
    assert_eq!(files, 7);

    for format in [Format::Text, Format::Json] {
        let paper = Paper::default();
        let log = Log::new(Box::new(paper.clone()), Style { format, level: Level::Debug, ..Style::default() }, redactor.clone());
        log.header(&Header { version: text(), command: text(), app: Some(text()), commit: Some(commit.clone()), ..Header::default() });
        events(&leak).iter().for_each(|event| log.event(event));
        log.problem(&problem);
        log.print(&leak);
        log.summary(&report, Some(Path::new("shipway-report")));
        let written = paper.text();
        assert!(written.contains("(secret)"));
        assert_clean("the log", &written);
    }
}

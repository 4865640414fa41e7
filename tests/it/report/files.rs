//! The files of `report.dir`.

use shipway::{
    domain::{
        problem::{Code, Problem},
        redact::Redactor,
    },
    report::{Draft, Image, NotDone, Outcome, Release, Report, dotenv, junit, write_all},
};

use super::sample;

fn empty(problem: Option<Problem>) -> Report {
    Draft::new("0.1.0", "run", sample::begin()).finish(problem.as_ref(), sample::begin(), &Redactor::default())
}

#[test]
fn all_files_are_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("a/b");
    write_all(&sample::succeeded().report(), &inside, &sample::attachments(), &Redactor::default()).unwrap();
    let mut names: Vec<String> =
        std::fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["Dockerfile", "comment.md", "junit.xml", "manifests.yaml", "report.html", "report.json", "shipway.env"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = write_all(&empty(None), &file.path().join("x"), &Default::default(), &Redactor::default()).unwrap_err();
    assert!(error.message.contains(&*file.path().to_string_lossy()), "{}", error.message);
}

#[test]
fn result_and_exit_code_follow_from_the_problem() {
    for (problem, result, exit_code) in [
        (None, Outcome::Succeeded, 0),
        (Some(Problem::new(Code::CompileFailed, "x")), Outcome::Failed, 10),
        (Some(Problem::new(Code::CrashLoop, "x")), Outcome::RolledBack, 50),
        (Some(Problem::new(Code::CrashLoop, "x").unrestored()), Outcome::Failed, 51),
        (Some(Problem::new(Code::Superseded, "x")), Outcome::Superseded, 40),
        (Some(Problem::new(Code::LockHeld, "x")), Outcome::Failed, 40),
        (Some(Problem::new(Code::Cancelled, "x")), Outcome::Cancelled, 143),
        (Some(Problem::new(Code::Cancelled, "x").unrestored()), Outcome::Failed, 51),
    ] {
        let report = empty(problem);
        assert_eq!((report.result(), report.exit_code()), (result, exit_code));
    }
}

#[test]
fn a_step_that_never_ended_failed_with_the_run() {
    let mut draft = Draft::new("0.1.0", "run", sample::begin());
    draft.event(shipway::domain::event::Event::StepStarted { step: shipway::domain::step::Step::Build }, sample::begin());
    let problem = Problem::new(Code::CompileFailed, "cannot find symbol");
    let end = sample::begin() + jiff::SignedDuration::from_secs(3);
    let report = draft.finish(Some(&problem), end, &Redactor::default());
    assert_eq!((report.steps[0].state, report.steps[0].seconds), (shipway::domain::step::StepState::Failed, 3.0));
    assert_eq!(report.problem().unwrap().step, Some(shipway::domain::step::Step::Build));
}

#[test]
fn dotenv_holds_what_it_can() {
    let mut draft = Draft::new("0.1.0", "run", sample::begin());
    draft.image(Image { reference: "r.test/a/b:1".into(), digest: Some(sample::digest(1)), layout: Some("x".into()), ..Image::default() });
    draft.release(Release { revision: 3, ..Release::default() }, Some("http://a\nEVIL=1".into()));
    draft.not_done(NotDone::no_registry("x"));
    let text = dotenv::render(&draft.finish(None, sample::begin(), &Redactor::default()));
    assert_eq!(text, "SHIPWAY_OUT_REVISION=3\n");
}

#[test]
fn junit_is_well_formed_whatever_failed() {
    let run = Problem::new(Code::SettingInvalid, "\u{0}\u{1b}[1m\"<x>\" & 'y' ]]>\u{ffff}");
    for report in [empty(Some(run)), empty(None), sample::nothing_configured().report(), sample::rolled_back().report()] {
        let xml = junit::render(&report);
        let document = roxmltree::Document::parse(&xml).unwrap_or_else(|error| panic!("{error}\n{xml}"));
        let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        let count = |tag: &str| document.descendants().filter(|node| node.has_tag_name(tag)).count().to_string();
        assert_eq!(suite.attribute("tests"), Some(count("testcase").as_str()));
        assert_eq!(suite.attribute("failures"), Some(count("failure").as_str()));
        assert_eq!(suite.attribute("skipped"), Some(count("skipped").as_str()));
    }
}

use super::*;

fn record(revision: u64, outcome: Outcome, spec_hash: &str) -> Release {
    Release {
        revision,
        cause: Cause::Publish,
        outcome,
        problem: None,
        image: "registry.test/app@sha256:1".to_string(),
        version: "1".to_string(),
        commit: None,
        author: None,
        job_url: None,
        sequence: None,
        started: "2026-01-02T03:04:05Z".to_string(),
        seconds: None,
        restores: None,
        spec_hash: spec_hash.to_string(),
        config: None,
        pushed: None,
        deployment: Deployment::default(),
        service: None,
        autoscaler: None,
        others: Vec::new(),
        secrets: BTreeMap::new(),
        disruption: None,
    }
}

fn gitlab(number: u64) -> Sequence {
    Sequence { kind: "gitlab".to_string(), number }
}

fn at(revision: u64, sequence: u64) -> Position {
    Position { revision: Some(revision), sequence: Some(gitlab(sequence)) }
}

#[test]
fn revisions_only_rise() {
    assert_eq!(next_revision(&[], &Position::default()), 1);
    assert_eq!(next_revision(&[record(3, Outcome::RolledBack, "a")], &at(2, 1)), 4);
    assert_eq!(next_revision(&[record(3, Outcome::Succeeded, "a")], &at(7, 1)), 8, "records were lost, the Deployment still knows");
}

#[test]
fn an_older_pipeline_is_superseded_and_the_same_is_not() {
    assert!(check_sequence(&Position::default(), &gitlab(1)).is_ok());
    assert!(check_sequence(&at(4, 70), &gitlab(70)).is_ok());
    assert!(check_sequence(&at(4, 70), &gitlab(71)).is_ok());
    let commit = Sequence { kind: "commit".to_string(), number: 3 };
    assert!(check_sequence(&at(4, 70), &commit).is_ok(), "of another kind");
    let problem = check_sequence(&at(4, 70), &gitlab(69)).unwrap_err();
    assert_eq!((problem.code, problem.exit_code()), (Code::Superseded, 40));
    assert!(problem.message.contains("gitlab/70") && problem.message.contains("revision 4"), "{}", problem.message);
}

#[test]
fn a_failed_release_goes_back_to_the_last_good_one() {
    let records = [record(1, Outcome::Succeeded, "a"), record(2, Outcome::Succeeded, "b"), record(3, Outcome::RolledBack, "c")];
    assert_eq!(previous_good(&records, 4).map(|r| r.revision), Some(2));
    assert_eq!(previous_good(&records, 2).map(|r| r.revision), Some(1));
    assert_eq!(previous_good(&records[..1], 1), None);
}

#[test]
fn a_rollback_goes_to_what_does_not_run_already() {
    let records = [
        record(1, Outcome::Succeeded, "a"),
        record(2, Outcome::Failed, "b"),
        record(3, Outcome::Succeeded, "c"),
        record(4, Outcome::Succeeded, "c"),
    ];
    assert_eq!(rollback_target(&records, &at(4, 4), Some("c"), None).unwrap().revision, 1, "3 has the same pods as 4");
    assert_eq!(rollback_target(&records, &at(4, 4), Some("c"), Some(2)).unwrap().revision, 2, "asked for by number");
    let problem = rollback_target(&records, &at(4, 4), Some("c"), Some(9)).unwrap_err();
    assert_eq!(problem.code, Code::RevisionUnknown);
    assert!(problem.message.contains("1, 2, 3, 4"), "{}", problem.message);
    assert_eq!(rollback_target(&records[2..], &at(4, 4), Some("c"), None).unwrap_err().code, Code::NothingToRollBackTo);
}

#[test]
fn a_rollback_that_nobody_ended_goes_on_to_where_it_went() {
    let back = Release { cause: Cause::Rollback, restores: Some(1), ..record(3, Outcome::Pending, "a") };
    let earlier = [record(1, Outcome::Succeeded, "a"), record(2, Outcome::Succeeded, "b")];
    let with = |last: Release| unended_rollback(&[earlier[0].clone(), earlier[1].clone(), last]);
    assert_eq!(with(back.clone()), Some(1));
    assert_eq!(with(Release { outcome: Outcome::Interrupted, ..back.clone() }), Some(1), "a scale came between");
    assert_eq!(with(Release { outcome: Outcome::Succeeded, ..back.clone() }), None, "that one ended");
    assert_eq!(unended_rollback(&[back.clone(), record(4, Outcome::Failed, "c")]), None, "something came after it");
    assert_eq!(with(Release { cause: Cause::Publish, restores: None, ..back }), None);
}

#[test]
fn what_runs_has_the_images_and_the_configuration_of_its_record() {
    let deployment = |image: &str, config: &str| -> Deployment {
        serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {"selector": {}, "template": {"spec": {
            "containers": [{"name": "app", "image": image}], "volumes": [{"name": "c", "configMap": {"name": config}}]}}}}))
        .unwrap()
    };
    let reference = ConfigReference { name: "web-1".to_string(), secret: false, hash: "1".to_string() };
    let written = Release { deployment: deployment("a@1", "web-1"), config: Some(reference), ..record(2, Outcome::Pending, "a") };
    assert!(written.is_what_runs(&deployment("a@1", "web-1")));
    assert!(!written.is_what_runs(&deployment("a@2", "web-1")), "somebody set another image");
    assert!(!written.is_what_runs(&deployment("a@1", "web-2")), "another configuration");
    let injected = serde_json::json!({"name": "mesh", "image": "mesh:1"});
    let mut with_more = deployment("a@1", "web-1");
    with_more.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers.push(serde_json::from_value(injected).unwrap());
    assert!(written.is_what_runs(&with_more), "a webhook's container is no other release");
}

fn pruned(records: &[Release], kept: usize, live: Option<u64>) -> Vec<u64> {
    prunable(records, kept, live).into_iter().map(|record| record.revision).collect()
}

#[test]
fn so_many_records_stay_and_the_last_good_one_in_any_case() {
    let mut records: Vec<Release> = (2..=14).map(|revision| record(revision, Outcome::RolledBack, "x")).collect();
    records.push(record(1, Outcome::Succeeded, "good"));
    assert_eq!(pruned(&records, 10, None), [4, 3, 2]);
    assert_eq!(pruned(&records, 12, None), [2]);
    assert_eq!(pruned(&records, 10, Some(3)), [4, 2], "what runs stays");
    records[11].outcome = Outcome::Succeeded;
    assert_eq!(pruned(&records, 10, None), [4, 3, 2], "another template, and good: a rollback can go there");
    assert!(pruned(&records[..5], 10, None).is_empty());
}

#[test]
fn neither_restarts_nor_failures_take_the_way_back() {
    let mut records = vec![record(1, Outcome::Succeeded, "a"), record(2, Outcome::Succeeded, "b")];
    records.extend((3..=14).map(|revision| record(revision, Outcome::Succeeded, "b")));
    assert_eq!(pruned(&records, 10, Some(14)), [4, 3, 2], "twelve restarts of b: a stays");
    let left: Vec<Release> = records.into_iter().filter(|record| ![2, 3, 4].contains(&record.revision)).collect();
    assert_eq!(rollback_target(&left, &at(14, 1), Some("b"), None).unwrap().revision, 1);
}

#[test]
fn what_was_put_back_by_itself_is_not_gone_back_from() {
    let records = [record(1, Outcome::Succeeded, "a"), record(2, Outcome::Succeeded, "b"), record(3, Outcome::RolledBack, "c")];
    let problem = rollback_target(&records, &at(2, 3), Some("b"), None).unwrap_err();
    assert_eq!(problem.code, Code::NothingToRollBackTo);
    assert!(problem.message.contains("revision 3 failed") && problem.message.contains("revision 2 runs"), "{problem}");
    assert!(problem.hint.contains("--to 1"), "{}", problem.hint);
    assert_eq!(rollback_target(&records, &at(2, 3), Some("b"), Some(1)).unwrap().revision, 1);
    assert_eq!(rollback_target(&records, &at(3, 3), Some("c"), None).unwrap().revision, 2, "it is not back");
}

#[test]
fn a_configuration_goes_with_the_last_record_that_has_it() {
    let config = |name: &str| Some(ConfigReference { name: name.to_string(), secret: false, hash: name.to_string() });
    let with = |revision, name| Release { config: config(name), ..record(revision, Outcome::Succeeded, "a") };
    let records = [with(1, "a"), with(2, "b"), with(3, "a"), record(4, Outcome::Succeeded, "a")];
    let gone: Vec<&Release> = records[..2].iter().collect();
    assert_eq!(unneeded_config(&gone, &records), [config("b").unwrap()], "revision 3 has a, too");
    let gone: Vec<&Release> = records.iter().collect();
    assert_eq!(unneeded_config(&gone, &records).len(), 2, "each once");
}

#[test]
fn records_read_back_as_written() {
    let mut written = record(12, Outcome::Succeeded, "a");
    written.commit = Some("1a2b".to_string());
    let text = serde_json::to_string(&written).unwrap();
    assert_eq!(serde_json::from_str::<Release>(&text).unwrap(), written);
    assert!(text.contains("\"specHash\":\"a\"") && !text.contains("autoscaler"), "{text}");
}

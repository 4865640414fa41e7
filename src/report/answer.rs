//! What a worker answers to a build message, and what of a build's report it answers with.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::problem::{Code, Problem};

/// Fields of report.json that are a build's result.
const OF_THE_REPORT: [&str; 9] = ["result", "exit_code", "app", "line", "environment", "seconds", "commit", "image", "release"];

/// Exit code of a run that could not put back what it had begun.
const UNKNOWN: u8 = 51;

/// Longest tail of a build that left no report, characters.
const LONGEST: usize = 4000;

/// A build begins.
pub fn started(id: &str, worker: &str, attempt: i64) -> Value {
    answer(Some(id), worker, "started", json!({"attempt": attempt}))
}

/// A step of it begins or ends.
pub fn stepped(id: &str, worker: &str, step: Value) -> Value {
    answer(Some(id), worker, "step", json!({"step": step}))
}

/// Its result, which is in the ledger, too.
pub fn done(id: &str, worker: &str, result: &Value) -> Value {
    answer(Some(id), worker, "done", json!({"result": result}))
}

/// The message asks for nothing that is done.
pub fn refused(id: Option<&str>, worker: &str, problem: &Problem) -> Value {
    answer(id, worker, "refused", json!({"problem": told(problem)}))
}

fn answer(id: Option<&str>, worker: &str, state: &str, fields: Value) -> Value {
    let mut answer = json!({"schema": 1, "id": id, "state": state, "worker": worker, "time": Timestamp::now()});
    if let (Value::Object(answer), Value::Object(fields)) = (&mut answer, fields) {
        answer.extend(fields);
    }
    answer
}

/// The step that a line of a JSON log tells of.
pub fn step(line: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    let step = |state: &Value| json!({"name": line["step"], "state": state, "seconds": line["seconds"], "summary": line["summary"]});
    match line["event"].as_str()? {
        "step_started" => Some(step(&"started".into())),
        "step_finished" => Some(step(&line["state"])),
        _ => None,
    }
}

/// The result of a build that ended by itself, with `code`; `tail` is its log, for one that left no report.
pub fn result(report: Option<&Value>, code: i32, tail: &[String]) -> Value {
    if let Some(report) = report {
        let mut result: serde_json::Map<String, Value> =
            OF_THE_REPORT.iter().map(|field| (field.to_string(), report[*field].clone())).collect();
        let problem = &report["problem"];
        let fields = ["class", "code", "message", "hint"].map(|field| (field.to_string(), problem[field].clone()));
        result.insert("problem".to_string(), if problem.is_null() { Value::Null } else { Value::Object(fields.into_iter().collect()) });
        return Value::Object(result);
    }
    let text = tail.join("\n");
    let skipped = text.chars().count().saturating_sub(LONGEST);
    let text: String = text.chars().skip(skipped).collect();
    let message = format!("the build ended with exit code {code} before it had a report: {text}");
    json!({"result": "failed", "exit_code": code, "problem": {"class": null, "code": null, "message": message, "hint": null}})
}

/// The result of a build that was told to end since it broke a limit of the worker's. What it says of a cluster that it left changed counts
/// more.
pub fn ended(report: Option<&Value>, limit: &Problem) -> Value {
    match report {
        Some(report) if report["problem"]["code"] != Code::Cancelled.slug() => result(Some(report), 0, &[]),
        Some(report) => {
            let mut result = result(Some(report), 0, &[]);
            for (field, value) in [("result", "failed".into()), ("exit_code", limit.exit_code().into()), ("problem", told(limit))] {
                result[field] = value;
            }
            result
        }
        None => failed(limit),
    }
}

/// The result of a build that had come to its own end before it heard that it should; None for one that was cancelled, or left a change by half,
/// which the next attempt takes up.
pub fn came_first(report: &Value) -> Option<Value> {
    let unfinished = report["problem"]["code"] == Code::Cancelled.slug() || report["exit_code"] == UNKNOWN;
    (!unfinished).then(|| result(Some(report), 0, &[]))
}

/// The result of a build that was not even begun, or not for long.
pub fn failed(problem: &Problem) -> Value {
    json!({"result": "failed", "exit_code": problem.exit_code(), "problem": told(problem)})
}

/// A result in a word, with what went wrong.
pub fn words(result: &Value) -> String {
    let word = result["result"].as_str().unwrap_or("ended").replace('_', " ");
    match result["problem"]["message"].as_str() {
        Some(message) => format!("{word}: {message}"),
        None => word,
    }
}

fn told(problem: &Problem) -> Value {
    json!({"class": problem.code.class(), "code": problem.code.slug(), "message": problem.message, "hint": problem.hint})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_the_log() {
        let line = json!({"time": "t", "level": "info", "event": "step_finished", "step": "build", "state": "failed", "seconds": 1.5, "summary": "s"});
        assert_eq!(step(&line.to_string()), Some(json!({"name": "build", "state": "failed", "seconds": 1.5, "summary": "s"})));
        for other in ["", "text", "{\"event\": \"note\"}", "[]", "{\"event\": 1}"] {
            assert_eq!(step(other), None, "{other}");
        }
    }

    #[test]
    fn what_was_done_before_the_end_was_told_counts() {
        let report = |code: u8, problem: Value| json!({"result": "r", "exit_code": code, "problem": problem});
        assert_eq!(came_first(&report(0, Value::Null)).unwrap()["result"], "r");
        assert_eq!(came_first(&report(10, json!({"code": "build-failed"}))).unwrap()["problem"]["code"], "build-failed");
        assert_eq!(came_first(&report(143, json!({"code": "cancelled"}))), None);
        assert_eq!(came_first(&report(51, json!({"code": "not-restored"}))), None);
    }

    #[test]
    fn a_result_is_what_the_report_says() {
        let problem = json!({"class": "user", "code": "tests-failed", "message": "m", "hint": "h", "evidence": [{"text": "long"}]});
        let report = json!({"result": "failed", "exit_code": 10, "app": "orders", "image": null, "problem": problem, "settings": []});
        let result = result(Some(&report), 10, &[]);
        assert_eq!((&result["exit_code"], &result["problem"]["code"]), (&10.into(), &"tests-failed".into()));
        assert!(result["problem"]["evidence"].is_null() && result.get("settings").is_none());
        assert_eq!(words(&result), "failed: m");
    }

    #[test]
    fn a_build_without_a_report_is_told_by_its_last_words() {
        let tail = ["x".repeat(5000), "shipway.yaml:1:1: wrong".to_string()];
        let result = result(None, 2, &tail);
        let message = result["problem"]["message"].as_str().unwrap();
        assert!(message.ends_with("shipway.yaml:1:1: wrong") && message.len() < 4200, "{message}");
        assert_eq!(result["exit_code"], 2);
    }

    #[test]
    fn a_limit_is_the_reason_but_for_a_cluster_that_is_left_changed() {
        let limit = Problem::new(Code::BuildTimeout, "too long");
        let cancelled = json!({"result": "cancelled", "exit_code": 143, "problem": {"code": "cancelled", "message": "c"}});
        let told = ended(Some(&cancelled), &limit);
        assert_eq!(
            (&told["result"], &told["exit_code"], &told["problem"]["code"]),
            (&"failed".into(), &10.into(), &"build-timeout".into())
        );
        let left = json!({"result": "failed", "exit_code": 51, "problem": {"code": "rollback-failed", "message": "r"}});
        assert_eq!(ended(Some(&left), &limit)["exit_code"], 51);
        assert_eq!(ended(None, &limit)["problem"]["code"], "build-timeout");
    }
}

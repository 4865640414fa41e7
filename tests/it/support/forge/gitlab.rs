//! docs.gitlab.com/api: notes, commits, deployments, environments, merge requests.

use super::*;

const STATES: [&str; 6] = ["pending", "running", "success", "failed", "canceled", "skipped"];

fn short(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.chars().count() <= 255)
}

fn deployment_status(value: &Value) -> bool {
    matches!(value.as_str(), Some("running" | "success" | "failed" | "canceled"))
}

/// Who asks: Ok(true) for a token with every right.
fn who(request: &Request) -> Result<bool, Answer> {
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let own = bearer.or(request.header("private-token"));
    match (own, request.header("job-token")) {
        (Some(TOKEN), _) => Ok(true),
        (None, Some(JOB_TOKEN)) => Ok(false),
        (Some("read-only-token-1"), _) if request.method == "GET" => Ok(true),
        (Some("read-only-token-1"), _) => Err(Answer::json(
            403,
            &json!({"error": "insufficient_scope", "error_description": "The request requires higher privileges than provided by the access token.", "scope": "api"}),
        )),
        (Some("token-of-another-1"), _) => Err(Answer::json(404, &json!({"message": "404 Project Not Found"}))),
        (Some("expired-token-1"), _) => Err(Answer::json(
            401,
            &json!({"error": "invalid_token", "error_description": "Token is expired. You can either do re-authorization or token refresh."}),
        )),
        _ => Err(Answer::json(401, &json!({"message": "401 Unauthorized"}))),
    }
}

pub(super) fn answer(state: &mut State, request: &Request, parts: &[&str]) -> Result<Answer, String> {
    let every = match who(request) {
        Ok(every) => every,
        Err(refused) => return Ok(refused),
    };
    let unauthorized = || Ok(Answer::json(401, &json!({"message": "401 Unauthorized"})));
    let project = |id: &str| id == "77" || id == "trade/web";
    match (request.method.as_str(), parts) {
        ("GET", ["projects", id, "merge_requests", "7", "notes"]) if project(id) => {
            let is = |wanted: &'static [&'static str]| move |value: &str| wanted.contains(&value);
            let small = |value: &str| value.parse::<u32>().is_ok_and(|size| (1..=100).contains(&size));
            query(
                request,
                &[
                    ("sort", &is(&["asc", "desc"])),
                    ("order_by", &is(&["created_at", "updated_at"])),
                    ("per_page", &small),
                    ("page", &|value| value.parse::<u32>().is_ok()),
                ],
            )?;
            Ok(page(state, request, |(id, body)| json!({"id": id, "body": body, "system": false, "author": {"id": 1}})))
        }
        ("POST", ["projects", id, "merge_requests", "7", "notes"]) if project(id) => {
            let body = check(request, &[("body", true, some_text), ("internal", false, Value::is_boolean)])?;
            if !every {
                return unauthorized();
            }
            let id = state.id();
            state.comments.push((id, body["body"].as_str().unwrap().to_string()));
            Ok(Answer::json(201, &json!({"id": id, "body": body["body"], "system": false})))
        }
        ("GET", ["projects", id, "merge_requests", "7", "notes", note]) if project(id) => Ok(state.comment(note).map_or_else(
            || Answer::json(404, &json!({"message": "404 Not found"})),
            |(id, body)| Answer::json(200, &json!({"id": id, "body": body, "system": false, "author": {"id": 1}})),
        )),
        ("DELETE", ["projects", id, "merge_requests", "7", "notes", note]) if project(id) => {
            state.comments.retain(|(id, _)| id.to_string() != *note);
            Ok(Answer { status: 204, ..Answer::default() })
        }
        ("PUT", ["projects", id, "merge_requests", "7", "notes", note]) if project(id) => {
            let body = check(request, &[("body", true, some_text)])?;
            if state.is_anothers(note) {
                return Ok(Answer::json(403, &json!({"message": "403 Forbidden"})));
            }
            match state.comments.iter_mut().find(|(id, _)| id.to_string() == *note) {
                Some((id, text)) => {
                    *text = body["body"].as_str().unwrap().to_string();
                    Ok(Answer::json(200, &json!({"id": id, "body": text})))
                }
                None => Ok(Answer::json(404, &json!({"message": "404 Note Not Found"}))),
            }
        }
        ("POST", ["projects", id, "statuses", sha]) if project(id) && sha.len() == 40 => {
            let body = check(
                request,
                &[
                    ("state", true, |value| value.as_str().is_some_and(|state| STATES.contains(&state))),
                    ("name", false, some_text),
                    ("context", false, some_text),
                    ("ref", false, short),
                    ("target_url", false, |value| short(value) && web(value)),
                    ("description", false, short),
                    ("pipeline_id", false, Value::is_u64),
                    ("coverage", false, Value::is_number),
                ],
            )?;
            if !every {
                return unauthorized();
            }
            let last = state.statuses.iter().rev().find(|status| status["name"] == body["name"] && status["sha"] == **sha);
            if last.is_some_and(|last| last["state"] == body["state"]) {
                let why = format!(
                    "Cannot transition status via :{0} from :{0} (Reason(s): Status cannot transition)",
                    body["state"].as_str().unwrap()
                );
                return Ok(Answer::json(400, &json!({"message": why})));
            }
            let mut status = body;
            status["sha"] = json!(sha);
            state.statuses.push(status.clone());
            Ok(Answer::json(201, &status))
        }
        ("POST", ["projects", id, "deployments"]) if project(id) => {
            let mut body = check(
                request,
                &[
                    ("environment", true, some_text),
                    ("sha", true, some_text),
                    ("ref", true, some_text),
                    ("tag", true, Value::is_boolean),
                    ("status", true, deployment_status),
                ],
            )?;
            let environment = state.id();
            body["id"] = json!(state.id());
            let known = state.environments.iter().find(|known| known["name"] == body["environment"]).cloned();
            let made = json!({"id": environment, "name": body["environment"], "external_url": null, "state": "available"});
            let environment = known.unwrap_or_else(|| {
                state.environments.push(made.clone());
                made
            });
            state.deployments.push(body.clone());
            body["environment"] = environment;
            Ok(Answer::json(201, &body))
        }
        ("PUT", ["projects", id, "deployments", number]) if project(id) => {
            let body = check(request, &[("status", true, deployment_status)])?;
            let known = state.deployments.iter_mut().find(|deployment| deployment["id"].as_u64() == number.parse().ok());
            let deployment = known.ok_or("there is no such deployment")?;
            deployment["status"] = body["status"].clone();
            Ok(Answer::json(200, deployment))
        }
        ("GET", ["projects", id, "environments"]) if project(id) => {
            query(request, &[("name", &|value| !value.is_empty()), ("search", &|_| true), ("states", &|_| true)])?;
            Ok(Answer::json(200, &json!(state.environments)))
        }
        ("PUT", ["projects", id, "environments", number]) if project(id) => {
            let body = check(request, &[("external_url", false, web), ("tier", false, text)])?;
            let known = state.environments.iter_mut().find(|environment| environment["id"].as_u64() == number.parse().ok());
            let environment = known.ok_or("there is no such environment")?;
            environment["external_url"] = body["external_url"].clone();
            Ok(Answer::json(200, environment))
        }
        ("POST", ["projects", id, "environments", number, "stop"]) if project(id) => {
            check(request, &[("force", false, Value::is_boolean)])?;
            let known = state.environments.iter_mut().find(|environment| environment["id"].as_u64() == number.parse().ok());
            let environment = known.ok_or("there is no such environment")?;
            environment["state"] = json!("stopped");
            Ok(Answer::json(200, environment))
        }
        ("GET", ["projects", id, "repository", "commits", sha, "merge_requests"]) if project(id) => {
            query(request, &[("state", &|value| matches!(value, "opened" | "closed" | "locked" | "merged"))])?;
            Ok(Answer::json(200, &json!([{"iid": 7, "state": "opened", "sha": sha, "source_project_id": 77, "target_project_id": 77}])))
        }
        ("GET", ["projects", id, "merge_requests", "7"]) if project(id) => {
            Ok(Answer::json(200, &json!({"iid": 7, "state": "opened", "source_project_id": 77, "target_project_id": 77})))
        }
        _ => Err("there is no such address".to_string()),
    }
}

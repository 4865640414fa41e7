//! docs.github.com/rest, version 2022-11-28: issue comments, commit statuses, deployments, pulls.

use super::*;

fn brief(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.chars().count() <= 140)
}

fn comment(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= 65_536)
}

fn allowed(request: &Request) -> Result<(), Answer> {
    match request.header("authorization").map(|value| value.trim_start_matches("Bearer ").trim_start_matches("token ")) {
        Some(TOKEN) => Ok(()),
        Some("read-only-token-1") if request.method == "GET" => Ok(()),
        Some("read-only-token-1") => {
            Err(Answer::json(403, &json!({"message": "Resource not accessible by personal access token", "status": "403"})))
        }
        Some("token-of-another-1") => Err(Answer::json(404, &json!({"message": "Not Found", "status": "404"}))),
        _ => Err(Answer::json(401, &json!({"message": "Bad credentials", "status": "401"}))),
    }
}

pub(super) fn answer(state: &mut State, request: &Request, parts: &[&str]) -> Result<Answer, String> {
    if request.header("accept") != Some("application/vnd.github+json") || request.header("x-github-api-version") != Some("2022-11-28") {
        return Err("accept and x-github-api-version are not what GitHub recommends".to_string());
    }
    if request.header("user-agent").is_none_or(str::is_empty) {
        return Err("GitHub refuses requests without a user agent".to_string());
    }
    if let Err(refused) = allowed(request) {
        return Ok(refused);
    }
    let ["repos", "trade", "web", rest @ ..] = parts else { return Err("there is no such address".to_string()) };
    match (request.method.as_str(), rest) {
        ("GET", ["issues", "7", "comments"]) => {
            let page_number = |value: &str| value.parse::<u32>().is_ok();
            query(request, &[("per_page", &page_number), ("page", &page_number), ("since", &|_| true)])?;
            Ok(page(state, request, |(id, body)| json!({"id": id, "body": body, "user": {"login": "someone"}})))
        }
        ("POST", ["issues", "7", "comments"]) => {
            let body = check(request, &[("body", true, comment)])?;
            let id = state.id();
            state.comments.push((id, body["body"].as_str().unwrap().to_string()));
            Ok(Answer::json(201, &json!({"id": id, "body": body["body"]})))
        }
        ("GET", ["issues", "comments", number]) => Ok(state.comment(number).map_or_else(
            || Answer::json(404, &json!({"message": "Not Found"})),
            |(id, body)| Answer::json(200, &json!({"id": id, "body": body, "user": {"login": "someone"}})),
        )),
        ("DELETE", ["issues", "comments", number]) => {
            state.comments.retain(|(id, _)| id.to_string() != *number);
            Ok(Answer { status: 204, ..Answer::default() })
        }
        ("PATCH", ["issues", "comments", number]) => {
            let body = check(request, &[("body", true, comment)])?;
            if state.is_anothers(number) {
                return Ok(Answer::json(403, &json!({"message": "Resource not accessible by personal access token"})));
            }
            match state.comments.iter_mut().find(|(id, _)| id.to_string() == *number) {
                Some((id, text)) => {
                    *text = body["body"].as_str().unwrap().to_string();
                    Ok(Answer::json(200, &json!({"id": id, "body": text})))
                }
                None => Ok(Answer::json(404, &json!({"message": "Not Found"}))),
            }
        }
        ("POST", ["statuses", sha]) if sha.len() == 40 => {
            let mut body = check(
                request,
                &[
                    ("state", true, |value| matches!(value.as_str(), Some("error" | "failure" | "pending" | "success"))),
                    ("target_url", false, web),
                    ("description", false, brief),
                    ("context", false, some_text),
                ],
            )?;
            body["sha"] = json!(sha);
            state.statuses.push(body.clone());
            Ok(Answer::json(201, &body))
        }
        ("POST", ["deployments"]) => {
            let mut body = check(
                request,
                &[
                    ("ref", true, some_text),
                    ("task", false, text),
                    ("auto_merge", false, Value::is_boolean),
                    ("required_contexts", false, Value::is_array),
                    ("payload", false, Value::is_object),
                    ("environment", false, some_text),
                    ("description", false, brief),
                    ("transient_environment", false, Value::is_boolean),
                    ("production_environment", false, Value::is_boolean),
                ],
            )?;
            body["id"] = json!(state.id());
            state.deployments.push(body.clone());
            Ok(Answer::json(201, &body))
        }
        ("GET", ["deployments"]) => {
            let number = |value: &str| value.parse::<u32>().is_ok();
            query(
                request,
                &[
                    ("environment", &|value| !value.is_empty()),
                    ("sha", &|_| true),
                    ("ref", &|_| true),
                    ("task", &|_| true),
                    ("per_page", &number),
                    ("page", &number),
                ],
            )?;
            let asked = |part: &str| request.query.iter().find(|(name, _)| name == part).map(|(_, value)| json!(value));
            let fits =
                |deployment: &&Value| ["environment", "task"].iter().all(|part| asked(part).is_none_or(|asked| deployment[*part] == asked));
            Ok(Answer::json(200, &state.deployments.iter().rev().filter(fits).cloned().collect()))
        }
        ("GET", ["deployments", id, "statuses"]) => {
            let number = |value: &str| value.parse::<u32>().is_ok();
            query(request, &[("per_page", &number), ("page", &number)])?;
            let of = |told: &&Value| told["of"].as_u64() == id.parse().ok();
            Ok(Answer::json(200, &state.deployment_states.iter().rev().filter(of).cloned().collect()))
        }
        ("POST", ["deployments", number, "statuses"]) => {
            if !state.deployments.iter().any(|deployment| deployment["id"].as_u64() == number.parse().ok()) {
                return Err("there is no such deployment".to_string());
            }
            const STATES: [&str; 7] = ["error", "failure", "inactive", "in_progress", "queued", "pending", "success"];
            let body = check(
                request,
                &[
                    ("state", true, |value| value.as_str().is_some_and(|state| STATES.contains(&state))),
                    ("log_url", false, web),
                    ("description", false, brief),
                    ("environment", false, some_text),
                    ("environment_url", false, web),
                    ("auto_inactive", false, Value::is_boolean),
                ],
            )?;
            let mut told = body.clone();
            told["of"] = json!(number.parse::<u64>().ok());
            state.deployment_states.push(told);
            Ok(Answer::json(201, &body))
        }
        ("GET", ["pulls", "7"]) => {
            let side = json!({"repo": {"full_name": "trade/web"}});
            Ok(Answer::json(200, &json!({"number": 7, "head": side, "base": side})))
        }
        ("GET", ["pulls", "8"]) => {
            let side = |name: &str| json!({"repo": {"full_name": name}});
            Ok(Answer::json(200, &json!({"number": 8, "head": side("eve/web"), "base": side("trade/web")})))
        }
        _ => Err("there is no such address".to_string()),
    }
}

//! Stand-ins for GitLab and GitHub: every request is checked against the published shape of its address (method, path, query, fields,
//! their values, who asks), and faults can be put in its way.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::{Value, json};

use super::http::{Answer, Request, serve};

/// The token that may do everything.
pub const TOKEN: &str = "forge-canary+token/1";
/// GitLab's token of the job.
pub const JOB_TOKEN: &str = "job-canary-token-1";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    Gitlab,
    Github,
}

/// A fault: the first that matches and has a turn left is what is answered.
struct Fault {
    method: &'static str,
    path: String,
    turns: usize,
    answer: Answer,
}

pub struct Mock {
    pub port: u16,
    flavour: Flavour,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    /// What was asked in a way that the published interface does not have.
    pub wrong: Vec<String>,
    pub seen: Vec<Request>,
    /// Number of the comment, text.
    pub comments: Vec<(u64, String)>,
    pub statuses: Vec<Value>,
    pub deployments: Vec<Value>,
    /// Of GitHub's deployments.
    pub deployment_states: Vec<Value>,
    pub environments: Vec<Value>,
    faults: Vec<Fault>,
    next: u64,
}

impl State {
    fn id(&mut self) -> u64 {
        self.next += 1;
        1000 + self.next
    }
}

impl Mock {
    pub fn start(flavour: Flavour) -> Mock {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let port = serve(move |request| {
            let mut state = shared.lock().unwrap();
            state.seen.push(request.clone());
            let answer = answer(flavour, &mut state, &request);
            drop(state);
            answer
        });
        Mock { port, flavour, state }
    }

    /// As a CI names the host's API.
    pub fn api(&self) -> String {
        match self.flavour {
            Flavour::Gitlab => format!("http://127.0.0.1:{}/api/v4", self.port),
            Flavour::Github => format!("http://127.0.0.1:{}/api/v3", self.port),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next `turns` requests of this method with `path` in theirs get this answer.
    pub fn fault(&self, method: &'static str, path: &str, turns: usize, answer: Answer) {
        self.state().faults.push(Fault { method, path: path.to_string(), turns, answer });
    }

    /// Nothing is answered for so long, whatever is asked.
    pub fn hang(&self, time: Duration) {
        for method in ["GET", "POST", "PUT", "PATCH"] {
            self.fault(method, "", usize::MAX, Answer { status: 500, delay: time, ..Answer::default() });
        }
    }

    /// So many comments of others.
    pub fn others(&self, count: usize) {
        let mut state = self.state();
        for number in 0..count {
            let id = state.id();
            state.comments.push((id, format!("a word of person {number}\n<!-- shipway web -->")));
        }
    }

    pub fn count(&self, method: &str, path: &str) -> usize {
        self.state().seen.iter().filter(|seen| seen.method == method && seen.path.contains(path)).count()
    }

    /// Fails on requests that the published interface does not have.
    pub fn assert_published(&self) {
        let wrong = self.state().wrong.clone();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn answer(flavour: Flavour, state: &mut State, request: &Request) -> Answer {
    if let Some(fault) = state.faults.iter_mut().find(|f| f.turns > 0 && f.method == request.method && request.path.contains(&f.path)) {
        fault.turns = fault.turns.saturating_sub(1);
        return fault.answer.clone();
    }
    let prefix = if flavour == Flavour::Gitlab { "/api/v4/" } else { "/api/v3/" };
    let Some(path) = request.path.strip_prefix(prefix) else {
        return Answer::json(404, &json!({"message": "404 Not Found"}));
    };
    let decoded: Vec<String> = path.split('/').map(decode).collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let answer = match flavour {
        Flavour::Gitlab => gitlab::answer(state, request, &parts),
        Flavour::Github => github::answer(state, request, &parts),
    };
    answer.unwrap_or_else(|wrong| {
        state.wrong.push(format!("{} {}: {wrong}\n{}", request.method, request.path, request.body));
        Answer::json(400, &json!({"message": wrong}))
    })
}

fn decode(part: &str) -> String {
    let text = part.replace('+', "%2B");
    url::form_urlencoded::parse(format!("x={text}").as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// One field of a body: its name, whether it must be there, and what it may be.
type Field = (&'static str, bool, fn(&Value) -> bool);

fn check(request: &Request, fields: &[Field]) -> Result<Value, String> {
    if request.header("content-type") != Some("application/json") {
        return Err(format!("content-type is {:?}", request.header("content-type")));
    }
    let body = request.json();
    let object = body.as_object().ok_or("the body is no JSON object")?;
    for name in object.keys() {
        if !fields.iter().any(|(known, ..)| known == name) {
            return Err(format!("{name} is no field of it"));
        }
    }
    for (name, required, fits) in fields {
        match object.get(*name) {
            None if *required => return Err(format!("{name} is required")),
            Some(value) if !fits(value) => return Err(format!("{name} may not be {value}")),
            _ => {}
        }
    }
    Ok(body)
}

fn text(value: &Value) -> bool {
    value.is_string()
}

fn some_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn web(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("http://") || text.starts_with("https://"))
}

/// One parameter of a query: its name, and what it may be.
type Parameter<'a> = (&'a str, &'a dyn Fn(&str) -> bool);

fn query(request: &Request, known: &[Parameter<'_>]) -> Result<(), String> {
    for (name, value) in &request.query {
        match known.iter().find(|(known, _)| known == name) {
            Some((_, fits)) if fits(value) => {}
            _ => return Err(format!("the query {name}={value}")),
        }
    }
    Ok(())
}

fn number(request: &Request, name: &str, otherwise: usize) -> usize {
    request.query.iter().find(|(held, _)| held == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(otherwise)
}

/// A page of the comments, with the header that says that there is a next one.
fn page(state: &State, request: &Request, comment: impl Fn(&(u64, String)) -> Value) -> Answer {
    let (size, page) = (number(request, "per_page", 30).min(100), number(request, "page", 1));
    let shown: Vec<Value> = state.comments.iter().skip((page - 1) * size).take(size).map(comment).collect();
    let answer = Answer::json(200, &json!(shown));
    match page * size < state.comments.len() {
        true => answer.header("link", &format!("<http://next.test/?page={}>; rel=\"next\", <http://next.test/>; rel=\"last\"", page + 1)),
        false => answer,
    }
}

/// docs.gitlab.com/api: notes, commits, deployments, environments, merge requests.
mod gitlab {
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

    pub fn answer(state: &mut State, request: &Request, parts: &[&str]) -> Result<Answer, String> {
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
            ("PUT", ["projects", id, "merge_requests", "7", "notes", note]) if project(id) => {
                let body = check(request, &[("body", true, some_text)])?;
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
                let environment = json!({"id": environment, "name": body["environment"], "external_url": null});
                state.environments.push(environment.clone());
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
}

/// docs.github.com/rest, version 2022-11-28: issue comments, commit statuses, deployments, pulls.
mod github {
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

    pub fn answer(state: &mut State, request: &Request, parts: &[&str]) -> Result<Answer, String> {
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
            ("PATCH", ["issues", "comments", number]) => {
                let body = check(request, &[("body", true, comment)])?;
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
                state.deployment_states.push(body.clone());
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
}

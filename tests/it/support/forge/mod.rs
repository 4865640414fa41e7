//! Stand-ins for GitLab and GitHub: every request is checked against the published shape of its address (method, path, query, fields,
//! their values, who asks), and faults can be put in its way.

mod github;
mod gitlab;

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
    /// Numbers of comments that the token's user did not write.
    pub anothers: Vec<u64>,
    pub statuses: Vec<Value>,
    pub deployments: Vec<Value>,
    /// Of GitHub's deployments.
    pub deployment_states: Vec<Value>,
    pub environments: Vec<Value>,
    faults: Vec<Fault>,
    next: u64,
}

impl State {
    fn comment(&self, number: &str) -> Option<&(u64, String)> {
        self.comments.iter().find(|(id, _)| id.to_string() == number)
    }

    fn is_anothers(&self, number: &str) -> bool {
        self.anothers.iter().any(|id| id.to_string() == number)
    }

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
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            self.fault(method, "", usize::MAX, Answer { status: 500, delay: time, ..Answer::default() });
        }
    }

    /// The texts of all comments.
    pub fn texts(&self) -> Vec<String> {
        self.state().comments.iter().map(|(_, text)| text.clone()).collect()
    }

    /// Puts these comments in the place of all others; the first keeps its number.
    pub fn comments_are(&self, texts: &[&str]) {
        let mut state = self.state();
        let held = state.comments.first().map(|(id, _)| *id);
        let first = held.unwrap_or_else(|| state.id());
        state.comments = (first..).zip(texts.iter().map(|text| (*text).to_string())).collect();
    }

    /// A comment of somebody else, which the token may not edit.
    pub fn comment_of_another(&self, text: &str) {
        let mut state = self.state();
        let id = state.id();
        state.comments.push((id, text.to_string()));
        state.anothers.push(id);
    }

    /// So many comments of others.
    pub fn others(&self, count: usize) {
        let mut state = self.state();
        for number in 0..count {
            let id = state.id();
            state.comments.push((id, format!("a word of person {number}\n<!-- shipway web (build) -->")));
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

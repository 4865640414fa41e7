//! Programs that keep credentials (docker's credential helper protocol): `docker-credential-NAME get` is given the registry on stdin
//! and answers with JSON on stdout.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{
    domain::{
        problem::{Code, Problem},
        secret::{Credentials, Secret},
    },
    process::{self, Command},
};

/// A helper that asks somebody who does not answer is no help.
const LIMIT: Duration = Duration::from_secs(30);
/// What docker's own helpers say for "I have none".
const NOT_FOUND: &str = "credentials not found";
/// The key under which docker keeps Docker Hub's credentials.
const HUB: &str = "https://index.docker.io/v1/";

/// A program that may have the credentials of a registry.
#[derive(Clone)]
pub struct Helper {
    /// What stands behind `docker-credential-`.
    pub name: String,
    /// The whole environment that it sees.
    pub env: Vec<(String, String)>,
    /// How long it may take.
    pub limit: Duration,
}

/// What a helper said.
#[derive(Clone)]
pub(super) enum Told {
    Credentials(Credentials),
    /// It has none for this registry.
    Nothing,
    /// It could not be asked, or its answer is none; why, in a phrase that follows its name.
    Failed(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

impl Helper {
    pub fn new(name: &str, env: &[(String, String)]) -> Self {
        Helper { name: name.to_string(), env: env.to_vec(), limit: LIMIT }
    }

    pub(super) fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    /// Asks for a registry's credentials.
    async fn get(&self, registry: &str) -> Told {
        let command = Command {
            program: PathBuf::from(self.program()),
            args: vec!["get".to_string()],
            dir: PathBuf::from("/"),
            env: self.env.clone(),
            timeout: Some(self.limit),
            log: None,
            input: None,
        };
        match process::exchange(&command, registry.as_bytes()).await {
            Ok(Some(answer)) => read(&answer),
            Ok(None) => Told::Failed(format!("gave no answer within {} s", self.limit.as_secs())),
            Err(problem) => Told::Failed(failed_to_start(&problem)),
        }
    }
}

fn failed_to_start(problem: &Problem) -> String {
    match problem.code {
        Code::ProgramMissing => format!("cannot be started: {}", problem.message),
        _ => problem.message.clone(),
    }
}

fn read(answer: &process::Answer) -> Told {
    if answer.code != 0 {
        // Helpers say on stdout what is wrong; what they print there when all is well is the secret.
        let text = [&answer.stdout, &answer.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_string());
        if text.iter().any(|text| text.to_lowercase().contains(NOT_FOUND)) {
            return Told::Nothing;
        }
        let words = text.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        let line: String = words.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
        let separator = if line.is_empty() { "" } else { ": " };
        return Told::Failed(format!("ended with exit code {}{separator}{line}", answer.code));
    }
    match serde_json::from_slice::<Answer>(&answer.stdout) {
        Ok(found) if found.secret.is_empty() => Told::Nothing,
        Ok(found) => Told::Credentials(Credentials { username: found.username, password: Secret::new(found.secret) }),
        // The error could quote the secret.
        Err(error) => Told::Failed(format!("gave an answer that is not of the protocol (column {})", error.column())),
    }
}

/// What helpers said in this run: each is asked once for a registry.
#[derive(Default)]
pub(super) struct Answers(tokio::sync::Mutex<HashMap<(String, String), Told>>);

impl Answers {
    pub async fn get(&self, helper: &Helper, registry: &str) -> Told {
        // docker keeps Docker Hub's under the address of its first API.
        let server = if super::access::canonical(registry) == "docker.io" { HUB } else { registry };
        let key = (helper.name.clone(), server.to_string());
        let mut known = self.0.lock().await;
        if let Some(told) = known.get(&key) {
            return told.clone();
        }
        let told = helper.get(server).await;
        known.insert(key, told.clone());
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: i32, stdout: &str, stderr: &str) -> Told {
        read(&process::Answer { code, stdout: stdout.as_bytes().to_vec(), stderr: stderr.as_bytes().to_vec() })
    }

    #[test]
    fn answers_are_read() {
        let Told::Credentials(found) = told(0, r#"{"ServerURL":"r.test","Username":"u","Secret":"s"}"#, "") else { panic!() };
        assert_eq!((found.username.as_str(), found.password.expose()), ("u", "s"));
        assert!(matches!(told(1, "credentials not found in native keychain\n", ""), Told::Nothing));
        assert!(matches!(told(0, r#"{"Username":"","Secret":""}"#, ""), Told::Nothing));
        for (code, stdout, stderr, words) in [
            (1, "no region", "", "ended with exit code 1: no region"),
            (2, "", "panic: x\nmore", "ended with exit code 2: panic: x"),
            (0, "my-secret-word", "", "not of the protocol"),
            (0, "", "", "not of the protocol"),
        ] {
            let Told::Failed(why) = told(code, stdout, stderr) else { panic!("{stdout}") };
            assert!(why.contains(words) && !why.contains("my-secret-word"), "{why}");
        }
    }
}

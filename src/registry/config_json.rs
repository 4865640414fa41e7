//! Credentials of docker's `config.json`, which podman's `auth.json` and GitLab's `DOCKER_AUTH_CONFIG` share.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{Access, auth::IDENTITY_TOKEN_USER, helper::Helper};
use crate::domain::{
    problem::{Code, Problem, Result},
    secret::{Credentials, Secret},
};

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// The accesses of a config; `source` names it in messages. Where a helper program has the credentials, it is asked when its registry is
/// first needed, and sees `helper_env` and nothing else.
pub fn docker_config(json: &str, source: &str, helper_env: &[(String, String)]) -> Result<Vec<Access>> {
    let config: Config = serde_json::from_str(json).map_err(|error| {
        // Only the place: the error's own words could quote a password.
        let place = format!("line {}, column {}", error.line(), error.column());
        Problem::new(Code::SettingInvalid, format!("{source} is not a docker config.json: see {place}"))
            .hint("write it as docker login does, or set registry.username and registry.password")
    })?;
    let access = |key: &str| Access { prefix: prefix(key), credentials_source: source.to_string(), ..Access::default() };
    let mut accesses = Vec::new();
    // A registry's own helper comes before what stands in the file, the store for all after it.
    for (key, name) in &config.helpers {
        accesses.push(Access { helper: Some(helper(name, source, helper_env)?), ..access(key) });
    }
    for (key, entry) in &config.auths {
        if let Some(credentials) = credentials(key, entry, source)? {
            accesses.push(Access { credentials: Some(credentials), ..access(key) });
        }
    }
    if !config.store.is_empty() {
        accesses.push(Access { helper: Some(helper(&config.store, source, helper_env)?), ..access("") });
    }
    Ok(accesses)
}

/// A helper's name becomes a part of a program's: a path in it would start something else.
fn helper(name: &str, source: &str, env: &[(String, String)]) -> Result<Helper> {
    match !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        true => Ok(Helper::new(name, env)),
        false => Err(Problem::new(Code::SettingInvalid, format!("{source}: {name:?} is not the name of a credential helper"))
            .hint("write what stands behind docker-credential- in the program's name, such as ecr-login")),
    }
}

/// None for the empty entries that docker leaves where a credential store has the password.
fn credentials(key: &str, entry: &Entry, source: &str) -> Result<Option<Credentials>> {
    let made = |username: &str, password: &str| Some(Credentials { username: username.to_string(), password: Secret::new(password) });
    if !entry.identitytoken.is_empty() {
        return Ok(made(IDENTITY_TOKEN_USER, &entry.identitytoken));
    }
    if !entry.auth.is_empty() {
        let decoded = STANDARD.decode(entry.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        return match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            // docker pads with NUL.
            Some((username, password)) => Ok(made(username, password.trim_end_matches('\0'))),
            None => Err(Problem::new(Code::SettingInvalid, format!("{source}: auths.{key:?}.auth is not base64 of user:password"))
                .hint("log in again, or set registry.username and registry.password")),
        };
    }
    Ok(if entry.username.is_empty() { None } else { made(&entry.username, &entry.password) })
}

/// A key as a prefix: docker writes `https://index.docker.io/v1/`, podman `host/path`.
fn prefix(key: &str) -> String {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    key.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{access::login, helper::Answers};

    async fn user(accesses: &[Access], registry: &str, repository: &str) -> (String, String) {
        let login = login(accesses, &Answers::default(), registry, repository).await;
        let password = login.credentials.as_ref().map_or(String::new(), |credentials| credentials.password.expose().to_string());
        (login.username().to_string(), password)
    }

    #[tokio::test]
    async fn every_form_of_an_entry() {
        let json = serde_json::json!({
            "auths": {
                "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:a:b")},
                "registry.test:5000": {"username": "plain", "password": "word", "email": "x@y.test"},
                "registry.test:5000/trade": {"auth": STANDARD.encode("trade:w\0\0")},
                "token.test": {"auth": "", "identitytoken": "idt"},
                "store.test": {},
            },
            "HttpHeaders": {"User-Agent": "x"},
        });
        let accesses = docker_config(&json.to_string(), "config.json", &[]).unwrap();
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(user(&accesses, "docker.io", "library/x").await, pair("hub", "a:b"));
        assert_eq!(user(&accesses, "registry.test:5000", "x").await, pair("plain", "word"));
        assert_eq!(user(&accesses, "registry.test:5000", "trade/app").await, pair("trade", "w"));
        assert_eq!(user(&accesses, "token.test", "x").await, pair("<token>", "idt"));
        assert_eq!(user(&accesses, "store.test", "x").await, pair("", ""));
    }

    #[tokio::test]
    async fn helpers_are_asked_for_their_registries() {
        let json = r#"{"credHelpers": {"aws.test": "no-such-ecr"}, "credsStore": "no-such-desktop", "auths": {"written.test": {"username": "u", "password": "p"}}}"#;
        let accesses = docker_config(json, "config.json", &[]).unwrap();
        let answers = Answers::default();
        assert!(login(&accesses, &answers, "aws.test", "x").await.source.contains("docker-credential-no-such-ecr (config.json)"));
        assert!(login(&accesses, &answers, "other.test", "x").await.source.contains("docker-credential-no-such-desktop"));
        assert_eq!(user(&accesses, "written.test", "x").await.0, "u");
        assert!(docker_config(r#"{"credsStore": "../../tmp/x"}"#, "config.json", &[]).err().unwrap().message.contains("../../tmp/x"));
    }

    #[test]
    fn mistakes_are_told_without_the_secret() {
        for json in [r#"{"auths": {"a.test": {"password": 12345678}}}"#, r#"{"auths": {"a.test": {"auth": "12345678"}}}"#, "12345678", ""] {
            let problem = docker_config(json, "DOCKER_AUTH_CONFIG", &[]).err().unwrap();
            assert!(problem.message.contains("DOCKER_AUTH_CONFIG") && !problem.message.contains("12345678"), "{}", problem.message);
        }
    }
}

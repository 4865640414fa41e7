//! Credentials of docker's `config.json`, which podman's `auth.json` and GitLab's `DOCKER_AUTH_CONFIG` share.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{Access, access::KEPT_BY_HELPER, auth::IDENTITY_TOKEN_USER};
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

/// The accesses of a config; `source` names it in messages. An entry that only a credential helper could fill has no credentials, and
/// says so in its `credentials_source`: helpers are programs, and are not run.
pub fn docker_config(json: &str, source: &str) -> Result<Vec<Access>> {
    let config: Config = serde_json::from_str(json).map_err(|error| {
        // Only the place: the error's own words could quote a password.
        let place = format!("line {}, column {}", error.line(), error.column());
        Problem::new(Code::SettingInvalid, format!("{source} is not a docker config.json: see {place}"))
            .hint("write it as docker login does, or set registry.username and registry.password")
    })?;
    let mut accesses = Vec::new();
    for (key, entry) in &config.auths {
        if let Some(credentials) = credentials(key, entry, source)? {
            accesses.push(access(prefix(key), Some(credentials), source.to_string()));
        }
    }
    let kept = |program: &str| format!("{KEPT_BY_HELPER}{program} ({source})");
    for (key, program) in &config.helpers {
        accesses.push(access(prefix(key), None, kept(program)));
    }
    if !config.store.is_empty() {
        accesses.push(access(String::new(), None, kept(&config.store)));
    }
    Ok(accesses)
}

fn access(prefix: String, credentials: Option<Credentials>, credentials_source: String) -> Access {
    Access { prefix, credentials, ca: None, insecure: false, credentials_source }
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
    use crate::registry::access::login;

    fn user(accesses: &[Access], registry: &str, repository: &str) -> (String, String) {
        let login = login(accesses, registry, repository);
        let password = login.credentials.as_ref().map_or(String::new(), |credentials| credentials.password.expose().to_string());
        (login.username().to_string(), password)
    }

    #[test]
    fn every_form_of_an_entry() {
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
        let accesses = docker_config(&json.to_string(), "config.json").unwrap();
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(user(&accesses, "docker.io", "library/x"), pair("hub", "a:b"));
        assert_eq!(user(&accesses, "registry.test:5000", "x"), pair("plain", "word"));
        assert_eq!(user(&accesses, "registry.test:5000", "trade/app"), pair("trade", "w"));
        assert_eq!(user(&accesses, "token.test", "x"), pair("<token>", "idt"));
        assert_eq!(user(&accesses, "store.test", "x"), pair("", ""));
    }

    #[test]
    fn helpers_are_named_and_not_forgotten() {
        let json = r#"{"credHelpers": {"aws.test": "ecr-login"}, "credsStore": "desktop"}"#;
        let accesses = docker_config(json, "config.json").unwrap();
        assert!(login(&accesses, "aws.test", "x").source.contains("docker-credential-ecr-login (config.json)"));
        assert!(login(&accesses, "other.test", "x").source.contains("docker-credential-desktop"));
    }

    #[test]
    fn mistakes_are_told_without_the_secret() {
        for json in [r#"{"auths": {"a.test": {"password": 12345678}}}"#, r#"{"auths": {"a.test": {"auth": "12345678"}}}"#, "12345678", ""] {
            let problem = docker_config(json, "DOCKER_AUTH_CONFIG").err().unwrap();
            assert!(problem.message.contains("DOCKER_AUTH_CONFIG") && !problem.message.contains("12345678"), "{}", problem.message);
        }
    }
}

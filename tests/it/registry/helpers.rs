//! Programs that keep credentials, by docker's protocol.

use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

use shipway::{
    domain::problem::Code,
    registry::{Helper, docker_config},
};

use super::*;

/// A folder of helpers: each a script that notes what it was given.
struct Helpers {
    dir: tempfile::TempDir,
}

impl Helpers {
    fn new() -> Self {
        Helpers { dir: tempfile::tempdir().unwrap() }
    }

    fn add(&self, name: &str, script: &str) {
        let path = self.dir.path().join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\nread server\necho \"$1 $server\" >> {}/asked\n{script}\n", self.dir.path().display()))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn giving(&self, name: &str, username: &str, secret: &str) {
        let answer = serde_json::json!({"ServerURL": "x", "Username": username, "Secret": secret});
        self.add(name, &format!("echo '{answer}'"));
    }

    fn asked(&self) -> Vec<String> {
        fs::read_to_string(self.dir.path().join("asked")).unwrap_or_default().lines().map(str::to_string).collect()
    }

    fn environment(&self) -> Vec<(String, String)> {
        vec![("PATH".to_string(), format!("{}:/usr/bin:/bin", self.dir.path().display()))]
    }

    fn client(&self, config: serde_json::Value) -> Client {
        client(docker_config(&config.to_string(), "config.json", &self.environment()).unwrap())
    }
}

#[test]
fn a_helper_gives_the_password_of_its_registry() {
    let registry = Registry::start_with_auth(USER, PASSWORD);
    let helpers = Helpers::new();
    helpers.giving("vault", USER, PASSWORD);
    let target = registry.image("a/b:1");
    let client = helpers.client(serde_json::json!({"credHelpers": {registry.host(): "vault"}}));
    assert!(helpers.asked().is_empty(), "it is asked when its registry is needed");
    push(&client, &image(&target, vec![blob(content(1, 100))])).unwrap();
    block_on(client.manifest(&target)).unwrap();
    assert_eq!(helpers.asked(), [format!("get {}", registry.host())], "once in a run");
    // Other registries are none of its business.
    let open = Registry::start();
    assert_eq!(block_on(client.head(&open.image("x:1"))).unwrap(), None);
    assert_eq!(helpers.asked().len(), 1);
}

#[test]
fn a_store_is_asked_last_and_what_it_does_not_have_is_anonymous() {
    let (locked, open) = (Registry::start_with_auth(USER, PASSWORD), Registry::start());
    let helpers = Helpers::new();
    let known = format!(
        r#"case "$server" in {}) echo '{{"Username":"{USER}","Secret":"{PASSWORD}"}}';; *) echo "credentials not found in native keychain"; exit 1;; esac"#,
        locked.host()
    );
    helpers.add("desktop", &known);
    // As docker writes it: empty entries for what the store has.
    let client = helpers.client(serde_json::json!({"credsStore": "desktop", "auths": {locked.host(): {}, open.host(): {}}}));
    for registry in [&locked, &open] {
        push(&client, &image(&registry.image("a/b:1"), vec![blob(content(1, 100))])).unwrap();
    }
    assert_eq!(helpers.asked(), [format!("get {}", locked.host()), format!("get {}", open.host())]);
}

#[test]
fn a_helper_s_token_is_an_identity_token() {
    use crate::support::fake::Fake;
    let registry = Registry::start();
    let fake = Fake::start(registry.port);
    let helpers = Helpers::new();
    helpers.giving("vault", "<token>", "identity-token-2");
    let client = helpers.client(serde_json::json!({"credHelpers": {fake.host(): "vault"}}));
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"x\"", fake.host());
    fake.answer("GET", "/manifests/", 1, "401 Unauthorized", &[&challenge], "");
    fake.answer("POST", "/token", 1, "200 OK", &[], r#"{"access_token": "made-of-it", "expires_in": 300}"#);
    assert_eq!(block_on(client.manifest(&fake.image("a/b:1"))).unwrap_err().code, Code::BaseImageMissing);
    assert_eq!(fake.seen().last().unwrap().authorization.as_deref(), Some("Bearer made-of-it"));
}

#[test]
fn a_helper_that_fails_is_named_with_its_own_words() {
    let registry = Registry::start_with_auth(USER, PASSWORD);
    let helpers = Helpers::new();
    helpers.add("broken", "echo 'no region is set'; exit 1");
    helpers.add("babble", "echo secret-word-that-is-no-json");
    let target = registry.image("a/b:1");
    for (name, words) in [
        ("broken", "ended with exit code 1: no region is set"),
        ("babble", "not of the protocol"),
        ("absent", "docker-credential-absent was not found"),
    ] {
        let client = helpers.client(serde_json::json!({"credHelpers": {registry.host(): name}}));
        let problem = push(&client, &image(&target, vec![blob(content(1, 100))])).unwrap_err();
        assert_eq!(problem.code, Code::RegistryUnauthorized);
        assert!(problem.hint.contains(&format!("docker-credential-{name} (config.json)")), "{}", problem.hint);
        assert!(problem.hint.contains(words) && !format!("{problem:?}").contains("secret-word"), "{}", problem.hint);
    }
    // Where the registry does not ask, nobody misses it.
    let open = Registry::start();
    let client = helpers.client(serde_json::json!({"credsStore": "broken"}));
    push(&client, &image(&open.image("a/b:1"), vec![blob(content(1, 100))])).unwrap();
}

#[test]
fn a_helper_that_hangs_is_ended_with_its_children() {
    let registry = Registry::start_with_auth(USER, PASSWORD);
    let helpers = Helpers::new();
    helpers.add("slow", &format!("sleep 60 & echo $! > {}/child; wait", helpers.dir.path().display()));
    let helper = Helper { limit: Duration::from_millis(500), ..Helper::new("slow", &helpers.environment()) };
    let access =
        Access { prefix: registry.host(), helper: Some(helper), credentials_source: "config.json".to_string(), ..Access::default() };
    let begun = Instant::now();
    let problem = block_on(client(vec![access]).manifest(&registry.image("a/b:1"))).unwrap_err();
    assert!(problem.hint.contains("gave no answer within"), "{}", problem.hint);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let child = fs::read_to_string(helpers.dir.path().join("child")).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z"), "its child runs on: {state}");
}

#[test]
fn a_wrong_password_of_a_helper_names_it() {
    let registry = Registry::start_with_auth(USER, PASSWORD);
    let helpers = Helpers::new();
    helpers.giving("vault", USER, "not-the-password");
    let client = helpers.client(serde_json::json!({"credHelpers": {registry.host(): "vault"}}));
    let problem = block_on(client.manifest(&registry.image("a/b:1"))).unwrap_err();
    assert_eq!(problem.code, Code::RegistryUnauthorized);
    assert!(problem.message.contains("docker-credential-vault (config.json)"), "{}", problem.message);
    assert!(!format!("{problem:?}").contains("not-the-password"));
}

//! Who may do what, and that passwords go nowhere else.

use base64::{Engine, engine::general_purpose::STANDARD};
use shipway::{
    domain::problem::{Code, Problem},
    net,
    registry::{Access, Client, docker_config},
};

use super::*;
use crate::support::{fake::Fake, lab::lab};

/// No form of the password stands in what a person reads.
fn tells_no_password(problem: &Problem) {
    let basic = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, &basic, "sekret%2Fword%2B1"] {
        let shown = format!("{problem:?}");
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn basic_authentication() {
    let registry = Registry::start_with_auth(USER, PASSWORD);
    let client = client(vec![access(&registry.host(), USER, PASSWORD)]);
    let pushed = push(&client, &image(&registry.image("a/b:1"), vec![blob(content(1, 100))])).unwrap();
    // The first request is answered with 401 once.
    assert_eq!(pushed.requests, 7);
    assert_eq!(block_on(client.head(&registry.image("a/b:1"))).unwrap(), Some(pushed.digest));
}

#[test]
fn a_wrong_password_names_registry_user_and_setting() {
    let registry = Registry::start_with_auth(USER, "another");
    let client = client(vec![access(&registry.host(), USER, PASSWORD)]);
    let target = registry.image("a/b:1");
    let pulling = block_on(client.manifest(&target)).unwrap_err();
    let pushing = push(&client, &image(&target, vec![blob(content(1, 100))])).unwrap_err();
    for problem in [pulling, pushing] {
        assert_eq!(problem.code, Code::RegistryUnauthorized);
        for part in [registry.host().as_str(), USER, "registry.username"] {
            assert!(problem.message.contains(part), "{part}: {}", problem.message);
        }
        tells_no_password(&problem);
    }
}

#[test]
fn missing_credentials_name_the_settings() {
    let registry = Registry::start_with_auth(USER, PASSWORD);
    let target = registry.image("a/b:1");
    let problem = push(&client(vec![]), &image(&target, vec![blob(content(1, 100))])).unwrap_err();
    assert_eq!(problem.code, Code::RegistryUnauthorized);
    assert!(problem.hint.contains("registry.username"), "{}", problem.hint);
}

#[test]
fn plain_http_must_be_allowed() {
    let registry = Registry::start();
    // An address of this machine that does not look like one.
    let host = format!("0.0.0.0:{}", registry.port);
    let target: ImageReference = format!("{host}/a/b:1").parse().unwrap();
    let image = image(&target, vec![blob(content(1, 100))]);
    let problem = push(&client(vec![access(&host, USER, PASSWORD)]), &image).unwrap_err();
    assert_eq!(problem.code, Code::RegistryInsecure);
    assert!(problem.hint.contains("registry.insecure") && problem.message.contains(&host), "{problem:?}");

    let insecure = Access { insecure: true, ..access(&host, USER, PASSWORD) };
    push(&client(vec![insecure]), &image).unwrap();
}

#[test]
fn a_proxy_is_used_where_it_is_not_exempt() {
    let registry = Registry::start();
    let proxy = Fake::start(registry.port);
    let host = format!("0.0.0.0:{}", registry.port);
    let target: ImageReference = format!("{host}/a/b:1").parse().unwrap();
    let image = image(&target, vec![blob(content(1, 100))]);
    let insecure = || vec![Access { insecure: true, ..access(&host, USER, PASSWORD) }];
    let http_proxy = Some(Secret::new(format!("http://{}", proxy.host())));
    let proxied = net::Options { http_proxy: http_proxy.clone(), ..options() };
    push(&Client::new(proxied.clone(), insecure()).unwrap(), &image).unwrap();
    let through = proxy.seen().len();
    assert!(through >= 6 && proxy.seen()[0].target.starts_with(&format!("http://{host}/")), "{:?}", proxy.seen());

    let exempt = net::Options { no_proxy: Some("example.test,0.0.0.0".to_string()), ..proxied.clone() };
    block_on(Client::new(exempt, insecure()).unwrap().manifest(&target)).unwrap();
    block_on(Client::new(proxied, vec![]).unwrap().manifest(&registry.image("a/b:1"))).unwrap();
    assert_eq!(proxy.seen().len(), through, "exempt hosts and loopback are reached directly");
}

fn gitea_client() -> Client {
    let gitea = lab().gitea();
    client(vec![access(&gitea.address, &gitea.user, &gitea.password)])
}

fn gitea_image(test: &str) -> ImageReference {
    format!("{}:1", lab().gitea().repository(test)).parse().unwrap()
}

#[test]
fn bearer_tokens_of_a_real_token_server() {
    let (client, base, target) = (gitea_client(), gitea_image("base"), gitea_image("app"));
    let layer = blob(content(5, 300_000));
    let pushed = push(&client, &image(&base, vec![layer.clone()])).unwrap();
    // 401 of the first request, token, and then as without authentication.
    assert!(pushed.requests <= 11, "{} requests", pushed.requests);
    let from_base = Blob { content: Content::Registry(base.clone()), ..layer.clone() };
    let pushed = push(&client, &image(&target, vec![from_base])).unwrap();
    assert_ne!(pushed.transfers[0], Transfer::Sent);
    assert_eq!(block_on(client.blob(&target, &layer.digest, layer.size)).unwrap(), content(5, 300_000));
    assert_eq!(block_on(client.head(&target)).unwrap(), Some(pushed.digest));
}

#[test]
fn a_token_server_refuses_a_wrong_password() {
    let gitea = lab().gitea();
    let client = client(vec![access(&gitea.address, &gitea.user, PASSWORD)]);
    let problem = push(&client, &image(&gitea_image("wrong"), vec![blob(content(1, 10))])).unwrap_err();
    assert_eq!(problem.code, Code::RegistryUnauthorized, "{}", problem.message);
    assert!(problem.message.contains(&gitea.user) && problem.message.contains(&gitea.address), "{}", problem.message);
    tells_no_password(&problem);
}

#[test]
fn a_missing_right_is_named() {
    let gitea = lab().gitea();
    let target = gitea_image("denied");
    push(&gitea_client(), &image(&target, vec![blob(content(1, 10))])).unwrap();
    let reader = client(vec![access(&gitea.address, &gitea.user, &gitea_reading_token())]);
    assert!(block_on(reader.head(&target)).unwrap().is_some());
    let problem = push(&reader, &image(&target, vec![blob(content(2, 10))])).unwrap_err();
    assert_eq!(problem.code, Code::RegistryDenied, "{}", problem.message);
    assert!(problem.message.contains(&gitea.user) && problem.message.contains(&target.repository), "{}", problem.message);
    assert!(problem.hint.contains(&format!("repository:{}:pull,push", target.repository)), "{}", problem.hint);
}

/// A token of Gitea's user that may read packages and nothing else.
fn gitea_reading_token() -> String {
    let gitea = lab().gitea();
    let url = format!("http://{}/api/v1/users/{}/tokens", gitea.address, gitea.user);
    let login = format!("{}:{}", gitea.user, gitea.password);
    let body = serde_json::json!({"name": crate::support::unique("reader"), "scopes": ["read:package"]}).to_string();
    let output =
        Command::new("curl").args(["-sS", "-u", &login, "-H", "Content-Type: application/json", "-d", &body, &url]).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["sha1"].as_str().unwrap_or_else(|| panic!("{answer}")).to_string()
}

#[test]
fn an_owner_that_does_not_exist_is_no_passing_error() {
    let target: ImageReference = format!("{}/nobody/app:1", lab().gitea().address).parse().unwrap();
    let problem = push(&gitea_client(), &image(&target, vec![blob(content(1, 10))])).unwrap_err();
    assert_eq!(problem.code, Code::RegistryDenied, "{}", problem.message);
    assert!(problem.hint.contains("image.repository"), "{}", problem.hint);
}

#[test]
fn a_token_that_ends_in_the_middle_is_renewed_once() {
    let gitea = lab().gitea();
    let port = gitea.address.rsplit(':').next().unwrap().parse().unwrap();
    let fake = Fake::start(port);
    let name = gitea_image("renewed").repository;
    let target = fake.image(&format!("{name}:1"));
    let client = client(vec![access(&fake.host(), &gitea.user, &gitea.password)]);
    let challenge =
        format!("WWW-Authenticate: Bearer realm=\"http://{}/v2/token\",service=\"container_registry\",scope=\"*\"", gitea.address);
    fake.answer("PUT", "/blobs/uploads/", 1, "401 Unauthorized", &[&challenge], r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
    push(&client, &image(&target, vec![blob(content(1, 3000))])).unwrap();

    fake.answer("PUT", "/manifests/", 9, "401 Unauthorized", &[&challenge], r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
    let problem = push(&client, &image(&target, vec![blob(content(2, 3000))])).unwrap_err();
    assert_eq!(problem.code, Code::RegistryDenied, "{}", problem.message);
    assert_eq!(fake.count("PUT", "/manifests/"), 1 + 2, "one try with the kept token and one with a fresh one");
}

#[test]
fn a_foreign_realm_gets_nothing() {
    let registry = Registry::start();
    let (fake, evil) = (Fake::start(registry.port), Fake::start(0));
    for realm in [
        format!("http://localhost:{}/token", evil.port),
        "https://169.254.169.254/token".to_string(),
        "https://evil.test/token".to_string(),
    ] {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"x\"");
        fake.answer("GET", "/manifests/", 1, "401 Unauthorized", &[&challenge], "");
        let client = client(vec![access(&fake.host(), USER, PASSWORD)]);
        let problem = block_on(client.manifest(&fake.image("a/b:1"))).unwrap_err();
        assert_eq!(problem.code, Code::RegistryProtocol, "{}", problem.message);
        assert!(problem.message.contains(&realm), "{}", problem.message);
        tells_no_password(&problem);
        // The refusal is not kept: what comes next is asked as if nothing had been.
        assert_eq!(block_on(client.manifest(&fake.image("a/b:1"))).unwrap_err().code, Code::BaseImageMissing);
    }
    assert!(evil.seen().is_empty());
}

#[test]
fn credentials_do_not_follow_to_other_hosts() {
    let registry = Registry::start_with_auth(USER, PASSWORD);
    let (fake, store) = (Fake::start(registry.port), Fake::start(0));
    let client = client(vec![access(&fake.host(), USER, PASSWORD)]);
    let layer = blob(content(1, 2000));
    push(&client, &image(&fake.image("a/b:1"), vec![layer.clone()])).unwrap();
    let elsewhere = format!("Location: http://localhost:{}/store/blob?signature=1", store.port);
    fake.answer("GET", "/blobs/sha256", 1, "307 Temporary Redirect", &[&elsewhere], "");
    let text = "x".repeat(2000);
    store.answer("GET", "/store/blob", 1, "200 OK", &[], &text);
    let digest = blob(text.clone().into()).digest;
    assert_eq!(block_on(client.blob(&fake.image("a/b"), &digest, 2000)).unwrap(), text);

    fake.answer("POST", "/blobs/uploads/", 2, "202 Accepted", &[&elsewhere], "");
    store.answer("PUT", "/store/blob?signature=1&digest=", 9, "201 Created", &[], "");
    fake.answer("PUT", "/manifests/", 1, "201 Created", &[], "");
    push(&client, &image(&fake.image("a/b:2"), vec![blob(content(2, 2000))])).unwrap();
    assert_eq!(store.seen().len(), 3);
    assert!(store.seen().iter().all(|seen| seen.authorization.is_none()), "{:?}", store.seen());
    assert!(fake.seen().iter().any(|seen| seen.authorization.is_some()));
}

#[test]
fn an_identity_token_is_exchanged() {
    let registry = Registry::start();
    let fake = Fake::start(registry.port);
    let config = serde_json::json!({"auths": {fake.host(): {"identitytoken": "identity-token-1"}}}).to_string();
    let client = client(docker_config(&config, "config.json", &[]).unwrap());
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"x\"", fake.host());
    fake.answer("GET", "/manifests/", 1, "401 Unauthorized", &[&challenge], "");
    fake.answer("POST", "/token", 1, "200 OK", &[], r#"{"access_token": "made-of-it", "expires_in": 300}"#);
    assert_eq!(block_on(client.manifest(&fake.image("a/b:1"))).unwrap_err().code, Code::BaseImageMissing);
    let seen = fake.seen();
    assert_eq!(seen.last().unwrap().authorization.as_deref(), Some("Bearer made-of-it"));
    assert!(seen.iter().all(|seen| !seen.target.contains("identity-token-1")));
}

/// A fake that asks so many times for a token of its own server, as GitLab's registry does; the registry behind it wants nothing.
fn with_tokens(registry: &Registry, times: usize) -> Fake {
    let fake = Fake::start(registry.port);
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"x\"", fake.host());
    fake.answer("GET", "/manifests/", times, "401 Unauthorized", &[&challenge], "");
    fake
}

/// The queries with which tokens were asked for.
fn token_queries(fake: &Fake) -> Vec<String> {
    fake.seen().iter().filter_map(|seen| seen.target.strip_prefix("/token?").map(str::to_string)).collect()
}

const TOKEN: &str = r#"{"token": "made-for-it", "expires_in": 300}"#;

#[test]
fn an_image_for_everybody_is_read_with_a_token_for_nobody() {
    let registry = Registry::start();
    push(&client(vec![]), &image(&registry.image("a/b:1"), vec![blob(content(1, 100))])).unwrap();
    let fake = with_tokens(&registry, 1);
    fake.answer("GET", "/token", 1, "200 OK", &[], TOKEN);
    block_on(client(vec![]).manifest(&fake.image("a/b:1"))).unwrap();
    assert_eq!(token_queries(&fake), ["service=x&scope=repository%3Aa%2Fb%3Apull"]);
    let asked = fake.seen();
    assert_eq!(asked.iter().find(|seen| seen.target.starts_with("/token")).unwrap().authorization, None);
    assert_eq!(asked.last().unwrap().authorization.as_deref(), Some("Bearer made-for-it"));
}

#[test]
fn rights_to_mount_are_scopes_of_their_own_behind_the_own_one() {
    let registry = Registry::start();
    let layer = blob(content(1, 90_000));
    push(&client(vec![]), &image(&registry.image("base/java:17"), vec![layer.clone()])).unwrap();
    let (own, both) = ("scope=repository%3Atrade%2Fapp%3Apull%2Cpush", "&scope=repository%3Abase%2Fjava%3Apull");
    for refused in [false, true] {
        let fake = with_tokens(&registry, 1 + usize::from(refused));
        if refused {
            // Some token servers give nothing at all when one scope is not theirs to give.
            fake.answer("GET", both, 9, "403 Forbidden", &[], r#"{"errors":[{"code":"DENIED"}]}"#);
        }
        fake.answer("GET", "/token", 9, "200 OK", &[], TOKEN);
        let from_base = Blob { content: Content::Registry(fake.image("base/java:17")), ..layer.clone() };
        let name = format!("trade/app:{refused}");
        let client = client(vec![access(&fake.host(), USER, PASSWORD)]);
        let pushed = push(&client, &image(&fake.image(&name), vec![from_base])).unwrap();
        let queries: Vec<String> =
            token_queries(&fake).iter().map(|query| query.replace("service=x&", "").replace(&format!("&account={USER}"), "")).collect();
        let expected = if refused { vec![format!("{own}{both}"), own.to_string()] } else { vec![format!("{own}{both}")] };
        assert_eq!(queries[..expected.len()], expected, "{queries:?}");
        assert_eq!(pushed.transfers[0] == Transfer::Mounted, !refused, "{:?}", pushed.transfers);
    }
}

#[test]
fn what_a_server_echoes_is_redacted() {
    let registry = Registry::start_with_auth(USER, PASSWORD);
    let fake = Fake::start(registry.port);
    let client = Client::new(
        net::Options { retry: net::retry::Policy { attempts: 1, ..Default::default() }, ..options() },
        vec![access(&fake.host(), USER, PASSWORD)],
    )
    .unwrap();
    let echo = format!("you sent Basic {} and {PASSWORD}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    fake.answer("GET", "/manifests/", 1, "500 Internal Server Error", &[], &echo);
    let problem = block_on(client.manifest(&fake.image("a/b:1"))).unwrap_err();
    assert_eq!(problem.code, Code::RegistryFailed);
    assert!(problem.message.contains("you sent Basic (secret) and (secret)"), "{}", problem.message);
}

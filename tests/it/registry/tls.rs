//! Certificates: whom the client trusts where, and how it shows itself.

use shipway::{domain::problem::Code, net::Identity};

use super::*;
use crate::support::fake::{Act, Fake};

fn one(registry: &Registry) -> Push {
    image(&registry.image("a/b:1"), vec![blob(content(1, 100))])
}

fn trusting(registry: &Registry) -> Access {
    Access { prefix: registry.host(), ca: Some(registry.ca.clone()), ..Access::default() }
}

#[test]
fn a_private_authority_must_be_named() {
    let registry = Registry::start_with_tls();
    let problem = push(&client(vec![]), &one(&registry)).unwrap_err();
    assert_eq!(problem.code, Code::RegistryUntrusted);
    assert!(problem.hint.contains("registry.ca"), "{}", problem.hint);
    push(&client(vec![trusting(&registry)]), &one(&registry)).unwrap();
}

#[test]
fn an_authority_is_trusted_for_its_registry_alone() {
    let (registry, other) = (Registry::start_with_tls(), Registry::start_with_tls());
    let both_for_one = Access { ca: Some(other.ca.clone()), ..trusting(&registry) };
    let client = client(vec![trusting(&registry), both_for_one]);
    push(&client, &one(&registry)).unwrap();
    assert_eq!(push(&client, &one(&other)).unwrap_err().code, Code::RegistryUntrusted);
    // A redirect to a host of that authority is another host.
    let front = Registry::start();
    let fake = Fake::start(front.port);
    let elsewhere = format!("Location: https://{}/v2/a/b/manifests/1", registry.host());
    fake.answer("GET", "/manifests/", 9, "307 Temporary Redirect", &[&elsewhere], "");
    let found = block_on(client.manifest(&fake.image("a/b:1"))).unwrap();
    assert_eq!(found.digest, one(&registry).manifests[0].digest);
}

#[test]
fn a_host_that_we_are_sent_to_is_told_from_the_registry() {
    let (store, front) = (Registry::start_with_tls(), Registry::start());
    let fake = Fake::start(front.port);
    let elsewhere = format!("Location: https://{}/v2/a/b/manifests/1", store.host());
    fake.answer("GET", "/manifests/", 9, "307 Temporary Redirect", &[&elsewhere], "");
    let problem = block_on(client(vec![]).manifest(&fake.image("a/b:1"))).unwrap_err();
    assert_eq!(problem.code, Code::RegistryUntrusted, "{}", problem.message);
    assert!(problem.message.contains(&store.host()) && problem.hint.contains("SSL_CERT_FILE"), "{problem:?}");
}

#[test]
fn a_client_certificate_is_shown_to_its_registry() {
    let registry = Registry::start_with_client_certificates();
    let problem = push(&client(vec![trusting(&registry)]), &one(&registry)).unwrap_err();
    // A server that closes at once can take its own words with it: then there is nothing to tell but the closed connection.
    match problem.code {
        Code::RegistryUnauthorized => assert!(problem.hint.contains("registry.client_certificate"), "{}", problem.hint),
        code => assert_eq!(code, Code::RegistryUnreachable, "{}", problem.message),
    }
    let (certificate, key) = registry.client_certificate();
    let known = Access { identity: Some(Identity { certificate: certificate.clone(), key }), ..trusting(&registry) };
    push(&client(vec![known]), &one(&registry)).unwrap();

    let missing = certificate.with_file_name("no-such.key");
    for (key, words) in [(missing, "registry.client_key"), (certificate.clone(), "no client certificate with its key")] {
        let access = Access { identity: Some(Identity { certificate: certificate.clone(), key }), ..trusting(&registry) };
        let problem = Client::new(options(), vec![access]).err().unwrap();
        assert_eq!(problem.code, Code::FileUnreadable);
        assert!(problem.message.contains(words), "{}", problem.message);
    }
}

#[test]
fn tls_goes_through_a_proxy_s_tunnel() {
    let registry = Registry::start_with_tls();
    let tunnel = Fake::start(registry.port);
    tunnel.rule("CONNECT", "", 99, Act::Tunnel);
    // A name that is not exempt, and that the proxy alone can resolve.
    let host = format!("registry.corp.test:{}", registry.port);
    let access = Access { prefix: host.clone(), ca: Some(registry.ca.clone()), ..Access::default() };
    let proxied = net::Options { https_proxy: Some(Secret::new(format!("http://me:word-of-proxy@{}", tunnel.host()))), ..options() };
    let client = Client::new(proxied, vec![access]).unwrap();
    let target: ImageReference = format!("{host}/a/b:1").parse().unwrap();
    push(&client, &image(&target, vec![blob(content(1, 100))])).unwrap();
    let seen = tunnel.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.method == "CONNECT" && seen.target == host), "{seen:?}");
    assert!(seen[0].proxy_authorization.as_deref().is_some_and(|value| value.starts_with("Basic ")), "{seen:?}");
}

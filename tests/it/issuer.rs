//! Identity tokens against a pretended issuer: what is believed, what is not, and how often it is asked.

use serde_json::json;
use shipway::{
    domain::{
        problem::{Code, Problem},
        secret::Secret,
    },
    issuer, net,
};

use crate::support::{
    fixture::empty_checkout,
    free_port,
    issuer::{Fault, Issuer},
    shipway::shipway,
};

fn client(address: &str) -> issuer::Issuer {
    net::install_crypto();
    issuer::Issuer::new(address, "shipway", net::Options::default()).unwrap_or_else(|problem| panic!("{problem:?}"))
}

async fn user(client: &issuer::Issuer, token: &str) -> Result<String, Problem> {
    client.verify(&Secret::new(token), true).await.map(|claims| claims.asker().user)
}

#[tokio::test]
async fn a_token_is_believed_when_its_issuer_signed_it_for_us() {
    let issuer = Issuer::start();
    let client = client(&issuer.address());
    let claims = issuer.claims("trade/orders", json!({}));
    assert_eq!(user(&client, &issuer.token(&claims)).await.unwrap(), "ada");
    let other = Issuer::start();
    let of_other = other.claims("trade/orders", json!({}));
    let mut changed = issuer.token(&claims);
    changed.insert(changed.rfind('.').unwrap(), 'A');
    let mut lies = vec![issuer.unsigned(&claims), issuer.forged(&claims), other.token(&claims), other.token(&of_other), changed];
    lies.extend(issuer.with_the_public_key(&claims));
    lies.push(issuer.token(&issuer.claims("trade/orders", json!({"aud": "other"}))));
    lies.push(issuer.token(&issuer.claims("trade/orders", json!({"iss": other.address()}))));
    lies.push(issuer.token(&issuer.claims("trade/orders", json!({"user_login": ""}))));
    lies.push("x.y.z".to_string());
    for lie in &lies {
        assert_eq!(user(&client, lie).await.unwrap_err().code, Code::IdentityInvalid, "{lie}");
    }
    let late = issuer.token(&issuer.claims("trade/orders", json!({"exp": 1_700_000_000, "nbf": null, "iat": null})));
    assert_eq!(user(&client, &late).await.unwrap_err().code, Code::IdentityExpired);
    assert_eq!(client.verify(&Secret::new(late.as_str()), false).await.unwrap().asker().user, "ada", "it was in time before");
    assert_eq!(issuer.asked(), 2, "discovery and keys, once for all of them");
}

#[tokio::test]
async fn a_new_key_is_asked_for_and_a_name_that_nobody_knows_does_not_bother_the_issuer() {
    let issuer = Issuer::start();
    let claims = issuer.claims("trade/orders", json!({}));
    let old = issuer.token(&claims);
    issuer.rotate("k2");
    let new = issuer.token(&claims);
    let client = client(&issuer.address());
    assert_eq!(user(&client, &new).await.unwrap(), "ada");
    for _ in 0..20 {
        assert_eq!(user(&client, &old).await.unwrap_err().code, Code::IdentityInvalid, "its key was withdrawn");
    }
    assert_eq!(issuer.asked(), 2, "the keys came less than a minute ago");
}

#[tokio::test]
async fn an_issuer_that_gives_no_keys_proves_nothing() {
    let issuer = Issuer::start();
    let token = issuer.token(&issuer.claims("trade/orders", json!({})));
    for (fault, expected) in [
        (Fault::Away, "503"),
        (Fault::Huge, "longer than"),
        (Fault::KeysElsewhere, "another host"),
        (Fault::Redirects, "another host"),
        (Fault::OtherName, "calls itself"),
    ] {
        issuer.fault(Some(fault));
        let problem = user(&client(&issuer.address()), &token).await.unwrap_err();
        assert_eq!((problem.code, problem.exit_code()), (Code::IssuerUnreachable, 20), "{}", problem.message);
        assert!(problem.message.contains(expected), "{}", problem.message);
    }
    let away = format!("http://127.0.0.1:{}", free_port());
    assert_eq!(user(&client(&away), &token).await.unwrap_err().code, Code::IssuerUnreachable);
    assert!(issuer::Issuer::new("http://git.example.test", "shipway", net::Options::default()).is_err(), "anybody could change the keys");
}

#[tokio::test]
async fn an_issuer_that_is_away_is_not_asked_for_each_token() {
    let issuer = Issuer::start();
    let token = issuer.token(&issuer.claims("trade/orders", json!({})));
    issuer.fault(Some(Fault::Away));
    let client = client(&issuer.address());
    assert_eq!(user(&client, &token).await.unwrap_err().code, Code::IssuerUnreachable);
    let asked = issuer.asked();
    for _ in 0..20 {
        assert_eq!(user(&client, &token).await.unwrap_err().code, Code::IssuerUnreachable);
    }
    assert_eq!(issuer.asked(), asked);
}

const RULES: &str = "permissions: [{name: prod, who: [ada], may: [publish], projects: [trade/*], protected: true}]\nrules: []\n";

#[test]
fn can_says_by_what_the_one_who_asks_is_known() {
    let issuer = Issuer::start();
    let checkout = empty_checkout("proved");
    checkout.write("rules.yaml", RULES);
    let ask = |token: Option<&str>| {
        let run = shipway(checkout.path())
            .envs([("GITLAB_CI", "true"), ("CI_SERVER_URL", issuer.address().as_str()), ("GITLAB_USER_LOGIN", "ada")])
            .env("SHIPWAY_RULES_FILE", checkout.path().join("rules.yaml"))
            .args(["can", "@me", "publish", "orders", "-e", "prod"]);
        match token {
            Some(token) => run.env("SHIPWAY_IDENTITY_TOKEN", token),
            None => run,
        }
        .run()
    };
    let token = issuer.token(&issuer.claims("trade/orders", json!({})));
    let proved = format!("you are ada, as a token of {} proves, for trade/orders at refs/heads/main, protected", issuer.address());
    ask(Some(&token)).expect_code(0).expect_text(&[&proved, "\"prod\" of"]);
    let branch = json!({"ref": "x", "ref_path": "refs/heads/x", "ref_protected": "false"});
    let unprotected = issuer.token(&issuer.claims("trade/orders", branch));
    ask(Some(&unprotected)).expect_code(30).expect_text(&["no: ada may not publish", "an identity token of a protected ref only"]);
    ask(None).expect_code(30).expect_text(&["you are ada, as the job itself says", "an identity token of the project trade/* only"]);
    let forged = issuer.forged(&issuer.claims("trade/orders", json!({})));
    let done = ask(Some(&forged)).expect_code(30).expect_text(&["who asks is not proved", "as the job itself says"]);
    assert!(!done.text().contains(&forged), "the token was printed");
    // what would be, without a token
    let run = || shipway(checkout.path()).env("SHIPWAY_RULES_FILE", checkout.path().join("rules.yaml"));
    let can = ["can", "ada", "publish", "orders", "-e", "prod"];
    run().args(can).args(["--project", "trade/orders", "--protected"]).run().expect_code(0);
    run().args(can).args(["--project", "trade/orders"]).run().expect_code(30);
}

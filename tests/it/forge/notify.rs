//! The message at the end of a run, by a stand-in for chats and for programs.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    fixture::Checkout,
    http::{Answer, Request, serve},
    shipway::{Shipway, shipway},
};

use super::{quick_checkout, with_build};

/// Takes messages and answers them all alike.
struct Receiver {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    fn new(answer: Answer) -> Receiver {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = seen.clone();
        let port = serve(move |request| {
            shared.lock().unwrap().push(request);
            answer.clone()
        });
        Receiver { port, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

/// A push to the default branch.
fn job(checkout: &Checkout, url: &str) -> Shipway {
    shipway(checkout.path())
        .envs([("GITLAB_CI", "true"), ("CI_PROJECT_PATH", "trade/web"), ("CI_PROJECT_NAME", "web"), ("CI_PIPELINE_SOURCE", "push")])
        .envs([("CI_COMMIT_BRANCH", "main"), ("CI_COMMIT_REF_NAME", "main"), ("CI_DEFAULT_BRANCH", "main"), ("CI_PIPELINE_ID", "3")])
        .envs([
            ("CI_JOB_URL", "https://gitlab.example.test/trade/web/-/jobs/9"),
            ("CI_COMMIT_TITLE", "Close @all [x](https://evil.test) <b> `c` #1"),
        ])
        .env("CI_COMMIT_SHA", checkout.head())
        .env("SHIPWAY_NOTIFY_URL", url)
        .arg("build")
}

fn ok(body: Value) -> Answer {
    Answer::json(200, &body)
}

#[test]
fn programs_get_the_head_of_the_report_signed() {
    let (checkout, receiver) = (with_build("['false']"), Receiver::new(ok(json!({}))));
    let secret = "notify-signing-canary";
    let done = job(&checkout, &receiver.url("/hook/path-canary-123456")).env("SHIPWAY_NOTIFY_SECRET", secret).run().expect_code(10);
    let seen = receiver.seen();
    assert_eq!(seen.len(), 1);
    let message = seen[0].json();
    assert_eq!(
        (&message["schema"], &message["result"], &message["app"], &message["exit_code"]),
        (&json!(1), &json!("failed"), &json!("web"), &json!(10))
    );
    assert_eq!((&message["problem"]["code"], &message["ci"]["kind"]), (&json!("build-failed"), &json!("gitlab")));
    assert!(message["text"].as_str().unwrap().starts_with("web failed\nCause: "), "{message}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let expected: String = ring::hmac::sign(&key, seen[0].body.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(seen[0].header("x-shipway-signature-256"), Some(format!("sha256={expected}").as_str()));
    assert!(!done.text().contains(secret) && !done.text().contains("path-canary") && !seen[0].body.contains(secret));
}

#[test]
fn chats_get_their_own_form() {
    let checkout = with_build("['false']");
    let receiver = Receiver::new(ok(json!({"errcode": 0, "errmsg": "ok", "code": 0, "msg": "success"})));
    job(&checkout, &receiver.url("/robot/send?access_token=dingtalk-canary-1"))
        .env("SHIPWAY_NOTIFY_SECRET", "SECdemo")
        .run()
        .expect_code(10);
    job(&checkout, &receiver.url("/cgi-bin/webhook/send?key=wecom-canary-12345")).run().expect_code(10);
    job(&checkout, &receiver.url("/open-apis/bot/v2/hook/feishu-canary-1")).env("SHIPWAY_NOTIFY_SECRET", "SECdemo").run().expect_code(10);
    let seen = receiver.seen();
    let [dingtalk, wecom, feishu] = &seen[..] else { panic!("{seen:?}") };
    let query = |name: &str| dingtalk.query.iter().find(|(held, _)| held == name).map(|(_, value)| value.clone()).unwrap_or_default();
    assert_eq!((query("access_token").as_str(), query("timestamp").len(), query("sign").len()), ("dingtalk-canary-1", 13, 44));
    assert_eq!(dingtalk.json()["msgtype"], "markdown");
    assert!(dingtalk.json()["markdown"]["text"].as_str().unwrap().contains("[The job](https://gitlab.example.test/trade/web/-/jobs/9)"));
    assert!(wecom.json()["markdown"]["content"].as_str().unwrap().contains("**❌ web failed**"));
    assert_eq!((feishu.json()["msg_type"].as_str(), feishu.json()["timestamp"].as_str().map(str::len)), (Some("interactive"), Some(10)));
    assert!(feishu.json()["sign"].is_string() && feishu.json()["card"]["header"]["template"] == "red");
    for request in &seen {
        for acts in ["@all", "](https://evil.test", "<b>", "`c`"] {
            assert!(!request.body.contains(acts), "{acts} in {}", request.body);
        }
    }
}

#[test]
fn slack_gets_blocks_of_plain_text() {
    let checkout = with_build("['false']");
    let receiver = Receiver::new(Answer { status: 200, body: "ok".to_string(), ..Answer::default() });
    job(&checkout, &receiver.url("/services/T0/B0/slack-canary-1")).run().expect_code(10);
    let message = receiver.seen()[0].json();
    assert_eq!(message["blocks"][0]["text"], json!({"type": "plain_text", "text": "❌ web failed", "emoji": false}));
    assert_eq!(message["blocks"][2]["elements"][0]["text"], "<https://gitlab.example.test/trade/web/-/jobs/9|The job>");
}

#[test]
fn the_setting_decides_which_runs_send_one() {
    let receiver = Receiver::new(ok(json!({})));
    let (good, bad, url) = (quick_checkout(), with_build("['false']"), receiver.url("/hook"));
    // nothing was published, and nothing failed
    job(&good, &url).run().expect_code(0);
    // a merge request has its own place
    let request = |checkout: &Checkout| {
        job(checkout, &url).env("CI_COMMIT_BRANCH", "").env("CI_MERGE_REQUEST_IID", "7").env("SHIPWAY_COMMENT", "off")
    };
    request(&bad).run().expect_code(10);
    // somebody's branch
    job(&bad, &url).env("CI_COMMIT_BRANCH", "feature").run().expect_code(10);
    assert_eq!(receiver.seen().len(), 0);
    job(&good, &url).env("SHIPWAY_NOTIFY_WHEN", "always").run().expect_code(0);
    request(&bad).env("SHIPWAY_NOTIFY_WHEN", "always").run().expect_code(10);
    job(&bad, &url).env("SHIPWAY_NOTIFY_WHEN", "failure").run().expect_code(10);
    assert_eq!(receiver.seen().len(), 3);
}

#[test]
fn a_receiver_on_a_bad_day_is_a_warning_without_its_address() {
    let checkout = with_build("['false']");
    let refusing = Receiver::new(ok(json!({"errcode": 310_000, "errmsg": "sign not match"})));
    let done = job(&checkout, &refusing.url("/robot/send?access_token=dingtalk-canary-1")).run().expect_code(10);
    let done = done.expect_text(&["the message of notify.url was not taken", "310000 sign not match", "notify.secret"]);
    assert!(!done.text().contains("dingtalk-canary"), "{}", done.text());
    let hanging = Receiver::new(Answer { status: 200, delay: Duration::from_secs(30), ..Answer::default() });
    let done = job(&checkout, &hanging.url("/hook/path-canary-123456"))
        .run()
        .expect_code(10)
        .expect_text(&["notify.url was not taken within 5 s"]);
    assert!(done.took < Duration::from_secs(9) && !done.text().contains("path-canary"), "{:?} {}", done.took, done.text());
    let down = format!("http://127.0.0.1:{}/hook/path-canary-123456", crate::support::free_port());
    let done = job(&checkout, &down).run().expect_code(10).expect_text(&["the message of notify.url was not taken", "refused"]);
    assert!(!done.text().contains("path-canary"), "{}", done.text());
}

#[test]
fn a_wrong_address_is_a_mistake_of_the_settings() {
    let checkout = quick_checkout();
    job(&checkout, "not-an-address").run().expect_code(2).expect_text(&["notify.url", "https://"]);
    let alone = job(&checkout, "").env("SHIPWAY_NOTIFY_SECRET", "notify-signing-canary");
    alone.run().expect_code(2).expect_text(&["notify.secret", "notify.url"]);
}

#[test]
fn the_default_branch_is_told_of_though_a_merge_request_starts_from_it() {
    let (checkout, receiver) = (with_build("['false']"), Receiver::new(ok(json!({}))));
    job(&checkout, &receiver.url("/hook")).env("CI_OPEN_MERGE_REQUESTS", "trade/web!7").run().expect_code(10);
    assert_eq!(receiver.seen().len(), 1);
    let of_request = job(&checkout, &receiver.url("/hook")).env("CI_PIPELINE_SOURCE", "merge_request_event").env("CI_COMMIT_BRANCH", "");
    of_request.env("CI_MERGE_REQUEST_IID", "7").run().expect_code(10);
    assert_eq!(receiver.seen().len(), 1, "a merge request has its comment");
}

//! One message at the end of a run: to a chat (Slack, DingTalk, WeCom, Feishu) or to any program that takes JSON.

mod payload;
mod sign;

use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use url::Url;

use crate::{
    domain::{
        problem::{Code, Problem, Result},
        secret::Secret,
    },
    net::{self, Request},
};

/// Longest answer that is looked at, bytes.
const LONGEST: usize = 64 << 10;

/// Who takes the message; told by the shape of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Generic,
    Slack,
    Dingtalk,
    Wecom,
    Feishu,
}

impl Kind {
    /// By host and path: each of these services has one of its own.
    pub fn of_address(url: &Url) -> Kind {
        let path = url.path();
        match url.host_str().unwrap_or_default() {
            "hooks.slack.com" | "hooks.slack-gov.com" => Kind::Slack,
            "oapi.dingtalk.com" | "api.dingtalk.com" => Kind::Dingtalk,
            "qyapi.weixin.qq.com" => Kind::Wecom,
            "open.feishu.cn" | "open.larksuite.com" => Kind::Feishu,
            // their own installations and gateways in between keep the path
            _ if path.ends_with("/robot/send") => Kind::Dingtalk,
            _ if path.ends_with("/cgi-bin/webhook/send") => Kind::Wecom,
            _ if path.contains("/open-apis/bot/v2/hook/") => Kind::Feishu,
            _ if path.starts_with("/services/T") => Kind::Slack,
            _ => Kind::Generic,
        }
    }
}

/// What is said, in plain text.
#[derive(Debug, Clone)]
pub struct Message {
    pub title: String,
    /// Nothing has to be done.
    pub good: bool,
    /// Label and text.
    pub facts: Vec<(String, String)>,
    /// Label and address; for links.
    pub links: Vec<(String, String)>,
    /// The same for programs.
    pub data: Value,
}

/// Short limits: a run's end waits for it.
pub fn network(options: net::Options) -> net::Options {
    let base = Duration::from_millis(300);
    let (longest, patience) = (Duration::from_secs(1), Duration::from_secs(3));
    let retry = net::retry::Policy { attempts: 3, base, longest, patience, outage: Duration::ZERO };
    net::Options { connect_timeout: Duration::from_secs(4), idle_timeout: Duration::from_secs(8), retry, ..options }
}

/// Sends the message once; `secret` signs it where the receiver has a signature.
pub async fn send(options: net::Options, address: &Secret, secret: Option<&Secret>, message: &Message) -> Result<()> {
    // the address is a secret itself: no error may show it
    let url = Url::parse(address.expose()).map_err(|_| Problem::new(Code::NotifyFailed, "notify.url is not an address"))?;
    let kind = Kind::of_address(&url);
    let client = net::Client::new(options)?;
    client.conceal(address);
    secret.into_iter().for_each(|secret| client.conceal(secret));
    let request = request(kind, url.clone(), secret, message, SystemTime::now());
    let host = url.host_str().unwrap_or_default().to_string();
    let failed = |why: String| Problem::new(Code::NotifyFailed, format!("the message of notify.url was not taken by {host}: {why}"));
    let answer = client.send(request).await.map_err(|failure| failed(without_path(&failure.message, &url)))?;
    let status = answer.status();
    let body = answer.bytes(LONGEST).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    match (status.is_success(), refusal(kind, &body)) {
        (true, None) => Ok(()),
        (true, Some(why)) => Err(failed(why)),
        (false, why) => {
            Err(failed(why.map_or_else(|| format!("status {}", status.as_u16()), |why| format!("status {}: {why}", status.as_u16()))))
        }
    }
}

fn request(kind: Kind, mut url: Url, secret: Option<&Secret>, message: &Message, now: SystemTime) -> Request {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut body = payload::of(kind, message);
    match (kind, secret) {
        (Kind::Dingtalk, Some(secret)) => {
            let millis = seconds.as_millis().to_string();
            let signature = sign::dingtalk(secret, &millis);
            url.query_pairs_mut().append_pair("timestamp", &millis).append_pair("sign", &signature);
        }
        (Kind::Feishu, Some(secret)) => {
            let seconds = seconds.as_secs().to_string();
            body["sign"] = Value::from(sign::feishu(secret, &seconds));
            body["timestamp"] = Value::from(seconds);
        }
        _ => {}
    }
    let body = body.to_string();
    let signature = secret.filter(|_| kind == Kind::Generic).map(|secret| sign::generic(secret, &body));
    let mut request = Request::new(Method::POST, url).header(header::CONTENT_TYPE, "application/json; charset=utf-8").bytes(body);
    if let Some(signature) = signature.and_then(|signature| HeaderValue::from_str(&signature).ok()) {
        request = request.header_value(HeaderName::from_static("x-shipway-signature-256"), signature);
    }
    request
}

/// Chats answer 200 and say in the body what was wrong.
fn refusal(kind: Kind, body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let (code, words) = match kind {
        Kind::Generic => return None,
        Kind::Slack => return Some(cut(body)).filter(|body| body != "ok" && !body.is_empty()),
        Kind::Dingtalk | Kind::Wecom => ("errcode", "errmsg"),
        Kind::Feishu if value.get("code").is_some() => ("code", "msg"),
        Kind::Feishu => ("StatusCode", "StatusMessage"),
    };
    match value.get(code).and_then(Value::as_i64) {
        Some(0) => None,
        Some(code) => Some(cut(&format!("{code} {}", value.get(words).and_then(Value::as_str).unwrap_or_default()))),
        None => Some(cut(body)),
    }
}

fn cut(text: &str) -> String {
    text.trim().chars().take(200).collect()
}

/// Paths and queries of webhooks are their passwords.
fn without_path(text: &str, url: &Url) -> String {
    text.replace(&net::display_url(url), &url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_who_takes_the_message() {
        for (address, kind) in [
            ("https://hooks.slack.com/services/T0/B0/xxx", Kind::Slack),
            ("https://oapi.dingtalk.com/robot/send?access_token=x", Kind::Dingtalk),
            ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=x", Kind::Wecom),
            ("https://open.feishu.cn/open-apis/bot/v2/hook/x", Kind::Feishu),
            ("https://open.larksuite.com/open-apis/bot/v2/hook/x", Kind::Feishu),
            ("http://127.0.0.1:8/robot/send?access_token=x", Kind::Dingtalk),
            ("https://example.test/hooks/x", Kind::Generic),
            ("https://hooks.slack.com.example.test/", Kind::Generic),
        ] {
            assert_eq!(Kind::of_address(&Url::parse(address).unwrap()), kind, "{address}");
        }
    }

    #[test]
    fn refusals_of_chats_are_seen() {
        assert_eq!(refusal(Kind::Slack, "ok"), None);
        assert_eq!(refusal(Kind::Slack, "invalid_payload").as_deref(), Some("invalid_payload"));
        assert_eq!(refusal(Kind::Wecom, r#"{"errcode":0,"errmsg":"ok"}"#), None);
        assert_eq!(refusal(Kind::Dingtalk, r#"{"errcode":310000,"errmsg":"sign not match"}"#).as_deref(), Some("310000 sign not match"));
        assert_eq!(refusal(Kind::Feishu, r#"{"StatusCode":0,"StatusMessage":"success"}"#), None);
        assert_eq!(refusal(Kind::Feishu, r#"{"code":19021,"msg":"sign match fail"}"#).as_deref(), Some("19021 sign match fail"));
    }

    #[test]
    fn the_path_of_a_webhook_is_not_shown() {
        let url = Url::parse("https://hooks.slack.com/services/T0/B0/secret?x=secret").unwrap();
        assert_eq!(
            without_path("POST https://hooks.slack.com/services/T0/B0/secret: refused", &url),
            "POST https://hooks.slack.com: refused"
        );
    }
}

//! Fifty secrets of many shapes, and a text that leaks each of them in eight encodings.

use base64::{Engine, engine::general_purpose};

/// Short and long, with quotes, spaces, umlauts, markup.
pub fn secrets() -> Vec<String> {
    let spice = ["", "\"quoted\"", " with space", "+/=&?%", "ü€", "<b>&amp;", "\\back`tick", "'single'", "|pipe|", "$HOME#x"];
    (0..50).map(|n| format!("c{n:02}{}-{}", spice[n % spice.len()], "z9".repeat(3 + n % 7))).collect()
}

/// Plain, as JSON, for addresses in three ways, base64 in three ways.
pub fn forms(secret: &str) -> [String; 8] {
    let user = format!("ci-user:{secret}");
    [
        secret.to_string(),
        serde_json::to_string(secret).unwrap().trim_matches('"').to_string(),
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        percent(secret, |byte| format!("%{byte:02X}")),
        percent(secret, |byte| format!("%{byte:02x}")),
        general_purpose::STANDARD.encode(secret),
        general_purpose::STANDARD.encode(user).trim_end_matches('=').to_string(),
        general_purpose::URL_SAFE_NO_PAD.encode(secret),
    ]
}

fn percent(text: &str, encode: impl Fn(u8) -> String) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if kept(byte) { char::from(byte).to_string() } else { encode(byte) }).collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// Every form of every secret, a line each.
pub fn lines() -> String {
    secrets().iter().flat_map(|secret| forms(secret)).map(|form| form + "\n").collect()
}

/// One text that leaks everything, hidden and plain.
pub fn leak() -> String {
    let all: Vec<String> = secrets().iter().flat_map(|secret| forms(secret)).collect();
    let hidden: Vec<String> = secrets().iter().map(|secret| secret.replacen('-', "\u{1b}[0m-\u{200b}", 1)).collect();
    format!("password is {} or {}", all.join(" "), hidden.join(" "))
}

/// Fails when a secret, in any of its forms, is in the text.
pub fn assert_clean(what: &str, text: &str) {
    for secret in secrets() {
        for form in forms(&secret).iter().chain([&html(&secret)]) {
            assert!(!text.contains(form.as_str()), "{what} shows {form:?}");
        }
        // The part after the spice is in no other text: a cut or escaped secret would still show it.
        let tail = &secret[secret.rfind('-').unwrap()..];
        let seen = text.find(tail).filter(|_| tail.len() >= 9).map(|at| text[..at].chars().rev().take(60).collect::<String>());
        assert_eq!(seen, None, "{what} shows the end of {secret:?} (read backwards what is before it)");
    }
}

//! Signatures of messages, as each receiver checks them.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;

use crate::domain::secret::Secret;

/// DingTalk, "custom robot security": the time in milliseconds and the secret, under the secret.
pub(super) fn dingtalk(secret: &Secret, millis: &str) -> String {
    let secret = secret.expose().trim();
    BASE64_STANDARD.encode(hmac_sha256(secret, &format!("{millis}\n{secret}")))
}

/// Feishu, "custom bot": nothing, under the time in seconds and the secret.
pub(super) fn feishu(secret: &Secret, seconds: &str) -> String {
    BASE64_STANDARD.encode(hmac_sha256(&format!("{seconds}\n{}", secret.expose().trim()), ""))
}

/// The body under the secret, in the form that GitHub made usual for webhooks.
pub(super) fn generic(secret: &Secret, body: &str) -> String {
    let hex: String = hmac_sha256(secret.expose().trim(), body).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn hmac_sha256(key: &str, text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the `openssl dgst -hmac` command.
    #[test]
    fn signatures_are_those_of_others() {
        let secret = Secret::new("SECdemo");
        assert_eq!(dingtalk(&secret, "1700000000000"), "lOvVf9TQCVugV68mGbSZCg0gzOl1SVjxWi1MyVZCUuA=");
        assert_eq!(feishu(&secret, "1700000000"), "U1q8KAchlt+ocM9vRG/rtwroY6XMkyjtyUV9XOpczwI=");
        assert_eq!(generic(&secret, "{}"), "sha256=351df9ae089c313a321ec1be96b2065dcc64cc20a4c05d8c4560abf25b06e4de");
    }
}

//! Takes secrets out of texts, in every form that they may have on their way out.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::secret::Secret;

/// What stands in the place of a secret.
pub const SECRET: &str = "(secret)";
/// How variables of secrets end.
const ENDS: &[&str] =
    &["PASSWORD", "PASSWD", "SECRET", "TOKEN", "PRIVATE_KEY", "API_KEY", "APIKEY", "ACCESS_KEY", "SECRET_KEY", "CREDENTIALS", "JWT"];
/// Shorter values are no secrets, and taking them out would make every text unreadable.
const SHORTEST: usize = 4;
/// Shorter pieces of an encoded secret occur by chance.
const SHORTEST_PIECE: usize = 8;

/// Whether a variable, a field or an option is named like a secret, whoever set it.
pub fn names_a_secret(name: &str) -> bool {
    let name = name.to_uppercase().replace(['-', '.'], "_");
    ENDS.iter().any(|end| name.ends_with(end))
}

/// Knows the secrets of a run, raw and encoded (base64 in every alignment, percent, JSON); cheap to clone.
#[derive(Clone, Default)]
pub struct Redactor {
    /// What to look for, by its first two bytes.
    needles: Arc<HashMap<[u8; 2], Vec<String>>>,
}

impl Redactor {
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut redactor = Redactor::default();
        secrets.into_iter().for_each(|secret| redactor.add(secret));
        redactor
    }

    /// Takes another secret in, such as a token that a server gave; copies made before do not know it.
    pub fn add(&mut self, secret: &Secret) {
        let needles = Arc::make_mut(&mut self.needles);
        for form in forms(secret.expose()) {
            if let Some(&start) = form.as_bytes().first_chunk::<2>() {
                let bucket = needles.entry(start).or_default();
                if !bucket.contains(&form) {
                    bucket.push(form);
                }
            }
        }
    }

    /// The text with `(secret)` in the place of each secret; borrowed when there is none in it.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut found = self.ranges(text).into_iter().peekable();
        if found.peek().is_none() {
            return Cow::Borrowed(text);
        }
        let mut redacted = String::with_capacity(text.len());
        let mut end = 0;
        for (from, to) in found {
            redacted.push_str(&text[end..from]);
            redacted.push_str(SECRET);
            end = to;
        }
        redacted.push_str(&text[end..]);
        Cow::Owned(redacted)
    }

    /// Where secrets stand; those that overlap are one range, so that no rest of one stays.
    fn ranges(&self, text: &str) -> Vec<(usize, usize)> {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        if self.needles.is_empty() {
            return ranges;
        }
        let bytes = text.as_bytes();
        for from in 0..bytes.len() {
            let Some(bucket) = bytes[from..].first_chunk::<2>().and_then(|start| self.needles.get(start)) else { continue };
            let longest = bucket.iter().filter(|needle| bytes[from..].starts_with(needle.as_bytes())).map(String::len).max();
            let Some(longest) = longest else { continue };
            match ranges.last_mut() {
                Some((_, end)) if from < *end => *end = (*end).max(from + longest),
                _ => ranges.push((from, from + longest)),
            }
        }
        ranges
    }
}

/// Every form of one secret: whole, and each long line of it (a key in PEM form is printed line by line).
fn forms(secret: &str) -> Vec<String> {
    let whole = secret.trim();
    let mut plain = vec![secret, whole];
    plain.extend(whole.lines().map(str::trim).filter(|line| line.len() >= 2 * SHORTEST_PIECE && whole.contains('\n')));
    plain.retain(|text| text.len() >= SHORTEST);
    plain.iter().flat_map(|text| encodings(text)).collect()
}

fn encodings(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_string(), json(text)];
    for hex in [b"0123456789ABCDEF", b"0123456789abcdef"] {
        for keep in ["-._~", "-._~!$&'()*,;=:@/?+", "-._*"] {
            forms.push(percent(text, keep, hex));
        }
    }
    forms.push(percent(text, "-._* ", b"0123456789ABCDEF").replace(' ', "+"));
    for shift in 0..3 {
        let piece = base64_piece(text.as_bytes(), shift);
        if piece.len() >= SHORTEST_PIECE || (shift == 0 && piece.len() >= SHORTEST) {
            forms.push(piece.replace('+', "-").replace('/', "_"));
            forms.push(piece);
        }
    }
    forms
}

fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted).to_string()
}

fn percent(text: &str, keep: &str, hex: &[u8; 16]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || keep.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', char::from(hex[usize::from(byte >> 4)]), char::from(hex[usize::from(byte & 15)])]);
        }
    }
    encoded
}

/// What is always the same in the base64 form (RFC 4648) of any text that has these bytes `shift` bytes (modulo three) from its start:
/// the characters that depend on these bytes alone.
fn base64_piece(bytes: &[u8], shift: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let first_bit = shift * 8;
    let last_bit = first_bit + bytes.len() * 8;
    let bit = |at: usize| (bytes[(at - first_bit) / 8] >> (7 - (at - first_bit) % 8)) & 1;
    let sextets = first_bit.div_ceil(6)..last_bit / 6;
    sextets
        .map(|sextet| (0..6).fold(0u8, |value, at| value << 1 | bit(sextet * 6 + at)))
        .map(|value| char::from(ALPHABET[usize::from(value)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(&secrets.iter().map(|s| Secret::new(*s)).collect::<Vec<_>>())
    }

    #[test]
    fn every_form_is_taken_out() {
        let redactor = redactor(&["pa\"ss w/rd+é"]);
        for form in
            ["pa\"ss w/rd+é", "pa\\\"ss w/rd+é", "pa%22ss%20w%2Frd%2B%C3%A9", "pa%22ss+w%2Frd%2B%C3%A9", "pa%22ss%20w%2frd%2b%c3%a9"]
        {
            assert_eq!(redactor.redact(&format!("<{form}>")), "<(secret)>", "{form}");
        }
    }

    #[test]
    fn base64_is_found_behind_any_prefix() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let redactor = redactor(&["correct horse battery"]);
        for user in ["", "a", "ab", "abc", "ci-user"] {
            let encoded = STANDARD.encode(format!("{user}:correct horse battery:x"));
            let redacted = redactor.redact(&encoded).into_owned();
            assert!(redacted.contains(SECRET) && redacted.len() < 30, "{user}: {redacted}");
        }
    }

    #[test]
    fn overlapping_secrets_leave_no_rest() {
        assert_eq!(redactor(&["aaaabbbb", "bbbbcccc"]).redact("xaaaabbbbccccx"), "x(secret)x");
        assert_eq!(redactor(&["token", "token-long"]).redact("token-long token"), "(secret) (secret)");
    }

    #[test]
    fn lines_of_a_key_are_secrets_too() {
        let redactor = redactor(&["-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nshort\n-----END KEY-----\n"]);
        assert_eq!(redactor.redact("  MIIEvQIBADANBgkqhkiG9w0\nshort"), "  (secret)\nshort");
    }

    #[test]
    fn texts_without_secrets_are_not_copied() {
        assert!(matches!(redactor(&["s3cr3t-value"]).redact("nothing here"), Cow::Borrowed(_)));
        assert!(matches!(redactor(&["", "abc"]).redact("abc"), Cow::Borrowed(_)));
    }
}

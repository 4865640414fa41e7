//! What a registry asks for in `WWW-Authenticate` (RFC 9110, 11.6.1).

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants its clients to show who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// Docker's token specification.
    Bearer(Bearer),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    /// As the registry wrote it: not to be trusted.
    pub realm: String,
    pub service: Option<String>,
    /// Scopes that the registry asks for.
    pub scopes: Vec<String>,
}

/// The best challenge of an answer: Bearer before Basic, others are not understood.
pub(super) fn parse(headers: &HeaderMap) -> Option<Challenge> {
    let all: Vec<Raw> = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).flat_map(parse_list).collect();
    let bearer = all.iter().filter(|raw| raw.scheme.eq_ignore_ascii_case("bearer")).find_map(|raw| {
        let scopes = raw.params.get("scope").map(|scope| scope.split(' ').filter(|s| !s.is_empty()).map(str::to_string).collect());
        Some(Challenge::Bearer(Bearer {
            realm: raw.params.get("realm")?.clone(),
            service: raw.params.get("service").filter(|service| !service.is_empty()).cloned(),
            scopes: scopes.unwrap_or_default(),
        }))
    });
    bearer.or_else(|| all.iter().any(|raw| raw.scheme.eq_ignore_ascii_case("basic")).then_some(Challenge::Basic))
}

struct Raw {
    scheme: String,
    params: BTreeMap<String, String>,
}

/// One header may hold several challenges, and each several parameters, all separated by commas: a word that is not followed by
/// `=` begins the next challenge.
fn parse_list(text: &str) -> Vec<Raw> {
    let mut challenges: Vec<Raw> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let word = rest.find([' ', '\t', ',', '=']).map_or(rest, |end| &rest[..end]);
        if word.is_empty() && rest.is_empty() {
            return challenges;
        }
        let after = rest[word.len()..].trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), challenges.last_mut()) {
            (Some(value), Some(challenge)) if !value.starts_with('=') => {
                let (value, remaining) = parse_value(value.trim_start_matches([' ', '\t']));
                challenge.params.entry(word.to_ascii_lowercase()).or_insert(value);
                rest = remaining;
            }
            // A token68 such as `Negotiate YII==`, or rubbish: up to the next comma.
            (Some(_), _) => rest = rest.find(',').map_or("", |comma| &rest[comma..]),
            (None, _) => {
                challenges.push(Raw { scheme: word.to_string(), params: BTreeMap::new() });
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_string(), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(headers: &[&str]) -> Option<Challenge> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WWW_AUTHENTICATE, header.parse().unwrap());
        }
        parse(&map)
    }

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Option<Challenge> {
        let scopes = scopes.iter().map(|scope| scope.to_string()).collect();
        Some(Challenge::Bearer(Bearer { realm: realm.to_string(), service: service.map(str::to_string), scopes }))
    }

    #[test]
    fn bearer_with_commas_inside_of_quotes() {
        let header = r#"Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a/b:pull,push repository:c:pull""#;
        let expected = bearer("https://auth.test/token", Some("registry.test"), &["repository:a/b:pull,push", "repository:c:pull"]);
        assert_eq!(challenge(&[header]), expected);
    }

    #[test]
    fn spelling_and_spaces_do_not_matter() {
        assert_eq!(challenge(&[r#"bEaReR  Realm = "https://a.test/t" , SERVICE=s"#]), bearer("https://a.test/t", Some("s"), &[]));
        assert_eq!(challenge(&[r#"Bearer realm="a\"b\\c",error="x"#]), bearer("a\"b\\c", None, &[]));
        assert_eq!(challenge(&[r#"basic"#]), Some(Challenge::Basic));
    }

    #[test]
    fn bearer_wins_over_others() {
        let expected = bearer("https://a.test/t", None, &[]);
        assert_eq!(challenge(&[r#"Basic realm="x", Bearer realm="https://a.test/t""#]), expected);
        assert_eq!(challenge(&[r#"Basic realm="x""#, r#"Bearer realm="https://a.test/t""#]), expected);
        assert_eq!(challenge(&[r#"Negotiate YII==, Bearer realm="https://a.test/t""#]), expected);
    }

    #[test]
    fn what_is_not_understood_is_no_challenge() {
        for header in ["", "Negotiate", "Bearer", r#"Bearer service="s""#, ",,,", "=", "a==b", "\"", "Digest realm=\"x\""] {
            assert_eq!(challenge(&[header]), None, "{header}");
        }
        assert_eq!(challenge(&[]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic_or_hang(text in "[ -~]{0,80}") {
            let _ = parse_list(&text);
        }
    }
}

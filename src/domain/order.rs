//! A build that is asked for by message: what it may say, and what is refused.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{
    policy::matches,
    problem::{Code, Problem, Result},
};

/// Longest message, bytes.
pub const LONGEST: usize = 64 << 10;
/// How far the clocks of two machines may be apart.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// What is to be built, and where it goes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Whoever asks again for the same build says the same: it is done once.
    pub id: String,
    /// When it was asked for.
    pub time: Timestamp,
    /// The repository.
    pub url: String,
    /// Branch, tag or commit; none is the default branch.
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
    #[serde(default)]
    pub app: Option<String>,
    #[serde(default)]
    pub environment: Option<String>,
    /// As `kubernetes.jvm`.
    #[serde(default)]
    pub jvm: Vec<String>,
}

/// What a worker does not do, whoever asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// Patterns of repositories; see [`check_pattern`].
    pub repositories: Vec<String>,
    pub max_age: Duration,
    pub now: Timestamp,
}

impl Order {
    /// Reads a message, which is taken for hostile.
    ///
    /// # Errors
    /// `order-invalid`, `order-denied` for a repository that is not permitted.
    pub fn read(body: &[u8], bounds: &Bounds) -> Result<Order> {
        if body.len() > LONGEST {
            return Err(invalid(format!("it has {} bytes, more than {LONGEST}", body.len())));
        }
        let order: Order = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
        order.check().map_err(invalid)?;
        if !bounds.repositories.iter().any(|pattern| matches(pattern, &order.url)) {
            return Err(Problem::new(Code::OrderDenied, format!("the repository {} is not one that this worker builds", order.url)));
        }
        Ok(order)
    }

    /// What is asked for, and by whom, in a text that no other build has; when it was asked for is no part of it.
    pub fn content(&self, user: Option<&str>) -> String {
        let Order { id: _, time: _, url, reference, app, environment, jvm } = self;
        serde_json::json!([url, reference, app, environment, jvm, user]).to_string()
    }

    /// The id of a message that is refused, where it has one that may be said again.
    pub fn id_of(body: &[u8]) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(body.get(..LONGEST.min(body.len()))?).ok()?;
        body["id"].as_str().filter(|id| is_id(id)).map(str::to_string)
    }

    fn check(&self) -> Result<(), String> {
        if !is_id(&self.id) {
            return Err("id has to be 1 to 128 letters, digits or any of . _ : / @ + -, the first of them a letter or a digit".to_string());
        }
        check_url(&self.url)?;
        if let Some(reference) = self.reference.as_deref().filter(|reference| !is_reference(reference)) {
            return Err(format!("ref {reference:?} is no branch, tag or commit"));
        }
        for (name, text) in [("app", &self.app), ("environment", &self.environment)] {
            let odd = |text: &str| text.is_empty() || text.len() > 128 || text.starts_with('-') || text.chars().any(char::is_control);
            if let Some(text) = text.as_deref().filter(|text| odd(text)) {
                return Err(format!("{name} {text:?} is no name"));
            }
        }
        let odd = |option: &&String| !option.starts_with('-') || option.len() > 1024 || option.chars().any(char::is_control);
        match self.jvm.iter().find(odd) {
            Some(option) => Err(format!("jvm has {option:?}, which is no Java option")),
            None if self.jvm.len() > 64 => Err(format!("jvm has {} options, more than 64", self.jvm.len())),
            None => Ok(()),
        }
    }

    /// For a build that the ledger does not know: a copy that turns up when it may have forgotten the first one must not be built again.
    ///
    /// # Errors
    /// `order-expired`.
    pub fn check_time(&self, bounds: &Bounds) -> Result<()> {
        let age = bounds.now.duration_since(self.time);
        let expired = |what: String| Err(Problem::new(Code::OrderExpired, what));
        if age > SignedDuration::try_from(bounds.max_age).unwrap_or(SignedDuration::MAX) {
            return expired(format!("it was asked for at {}, longer ago than worker.max_age", self.time));
        }
        if age < -SignedDuration::try_from(SKEW).unwrap_or(SignedDuration::ZERO) {
            return expired(format!("it says that it was asked for at {}, which is yet to come", self.time));
        }
        Ok(())
    }
}

/// Whether a pattern of `worker.repositories` says which host it means: `*` may stand behind it only.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let place = match pattern.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map(|(host, _)| host),
        None => pattern.split_once(':').map(|(host, _)| host),
    };
    match place {
        Some(host) if !host.contains('*') && !pattern.starts_with('*') => Ok(()),
        _ => Err(format!("{pattern:?} does not name one host: write it like https://git.example.test/trade/*")),
    }
}

fn is_id(id: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._:/@+-".contains(c);
    id.len() <= 128 && id.chars().all(fine) && id.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// What is compared with patterns is what git asks for: nothing in it may be read in two ways.
fn check_url(url: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._~/:@+".contains(c);
    if url.is_empty() || url.len() > 1024 || !url.chars().all(fine) || url.starts_with('-') {
        return Err("url is no plain address of a repository".to_string());
    }
    let (host, path) = match url.split_once("://") {
        Some(("https" | "http" | "ssh" | "file", rest)) => rest.split_once('/').unwrap_or((rest, "")),
        Some((scheme, _)) => return Err(format!("url begins with {scheme}, which is no protocol for it")),
        None => url.split_once(':').ok_or("url is no address of a repository")?,
    };
    if url.starts_with("http") && url.contains('@') {
        return Err("url holds a user: credentials are the worker's own".to_string());
    }
    let doubtful =
        host.starts_with('-') || host.contains("@-") || path.contains("//") || path.split('/').any(|part| matches!(part, "." | ".."));
    match doubtful || path.is_empty() {
        true => Err("url is no plain address of a repository".to_string()),
        false => Ok(()),
    }
}

/// See git-check-ref-format(1); a commit is one, too.
fn is_reference(text: &str) -> bool {
    let odd = |c: char| c.is_control() || " ~^:?*[\\+".contains(c);
    !(text.is_empty()
        || text.len() > 255
        || text.starts_with(['-', '/'])
        || text.ends_with(['/', '.'])
        || text.contains("..")
        || text.contains("@{")
        || text.contains(odd))
}

fn invalid(why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::OrderInvalid, format!("the message asks for no build: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bounds() -> Bounds {
        let repositories = ["https://git.test/trade/*", "git@git.test:trade/*", "file:///srv/git/*"].map(str::to_string).to_vec();
        Bounds { repositories, max_age: Duration::from_secs(3600), now: "2026-01-02T03:04:05Z".parse().unwrap() }
    }

    fn message(changes: Value) -> Value {
        let mut message = json!({"id": "b/1", "time": "2026-01-02T03:00:00Z", "url": "https://git.test/trade/orders.git", "ref": "main"});
        message.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        message
    }

    fn read(changes: Value) -> Result<Order> {
        Order::read(message(changes).to_string().as_bytes(), &bounds())
    }

    #[test]
    fn an_order_says_what_and_where() {
        let order = read(json!({"app": "orders", "environment": "prod", "jvm": ["-Xmx1g"]})).unwrap();
        assert_eq!((order.reference.as_deref(), order.environment.as_deref(), order.jvm.len()), (Some("main"), Some("prod"), 1));
        for url in ["git@git.test:trade/orders", "file:///srv/git/orders", "https://git.test/trade/a/b"] {
            assert!(read(json!({"url": url})).is_ok(), "{url}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(body in ".{0,200}", reference in ".{0,20}", path in "[a-z./%~:@-]{0,20}") {
            let _ = (Order::read(body.as_bytes(), &bounds()), Order::id_of(body.as_bytes()));
            if let Ok(order) = read(json!({"ref": reference, "url": format!("https://git.test/trade/{path}")})) {
                assert!(!order.reference.unwrap().starts_with('-') && !path.split('/').any(|part| part == ".."));
            }
        }
    }

    #[test]
    fn hostile_messages_are_refused() {
        for (changes, expected) in [
            (json!({"ref": "--upload-pack=touch x"}), "ref"),
            (json!({"ref": "-x"}), "ref"),
            (json!({"ref": "a..b"}), "ref"),
            (json!({"ref": ""}), "ref"),
            (json!({"id": "--x"}), "id has to be"),
            (json!({"id": "a b"}), "id has to be"),
            (json!({"id": "x".repeat(129)}), "id has to be"),
            (json!({"url": "--upload-pack=x"}), "no plain address"),
            (json!({"url": "ext::sh -c x"}), "no plain address"),
            (json!({"url": "https://git.test/trade/../evil/x"}), "no plain address"),
            (json!({"url": "https://git.test/trade/%2e%2e/evil"}), "no plain address"),
            (json!({"url": "https://git.test/trade//x"}), "no plain address"),
            (json!({"url": "https://git.test/trade/./x"}), "no plain address"),
            (json!({"url": "https://git.test/trade/x?service=y"}), "no plain address"),
            (json!({"url": "https://u:p@git.test/trade/x"}), "credentials"),
            (json!({"url": "ssh://-oProxyCommand=x/trade/x"}), "no plain address"),
            (json!({"url": "git@-oProxyCommand:trade/x"}), "no plain address"),
            (json!({"url": "gopher://git.test/trade/x"}), "no protocol"),
            (json!({"jvm": ["Xmx1g"]}), "no Java option"),
            (json!({"jvm": ["-Da=b\nc"]}), "no Java option"),
            (json!({"jvm": vec!["-x"; 65]}), "more than 64"),
            (json!({"environment": "-x"}), "environment"),
            (json!({"app": ""}), "app"),
            (json!({"command": "rm"}), "unknown field"),
            (json!({"time": "yesterday"}), "no build"),
        ] {
            let problem = read(changes.clone()).unwrap_err();
            assert_eq!(problem.code, Code::OrderInvalid, "{changes}");
            assert!(problem.message.contains(expected), "{changes}: {}", problem.message);
        }
        for body in [&b"\xff\xfe"[..], b"", b"{", b"[]", b"null", &[b' '; LONGEST + 1]] {
            assert_eq!(Order::read(body, &bounds()).unwrap_err().code, Code::OrderInvalid);
        }
    }

    #[test]
    fn repositories_of_others_are_denied() {
        for url in [
            "https://git.test/other/x",
            "https://evil.test/trade/x",
            "https://git.test.evil.test/trade/x",
            "file:///etc/x",
            "http://git.test/trade/x",
        ] {
            assert_eq!(read(json!({"url": url})).unwrap_err().code, Code::OrderDenied, "{url}");
        }
    }

    #[test]
    fn what_is_too_old_or_of_the_future_is_not_built() {
        for (time, fine) in [
            ("2026-01-02T02:04:05Z", true),
            ("2026-01-02T02:04:04Z", false),
            ("2026-01-02T03:09:05Z", true),
            ("2026-01-02T03:09:06Z", false),
            ("-009999-01-02T01:59:59Z", false),
        ] {
            let read = read(json!({"time": time})).and_then(|order| order.check_time(&bounds()));
            assert_eq!(read.as_ref().err().map(|problem| problem.code), (!fine).then_some(Code::OrderExpired), "{time}");
        }
    }

    #[test]
    fn the_content_is_what_is_asked_for_and_by_whom() {
        let content = |changes: Value, user: Option<&str>| read(changes).unwrap().content(user);
        let one = content(json!({}), None);
        assert_eq!(one, content(json!({"id": "b/2", "time": "2026-01-02T03:01:00Z"}), None));
        for changes in
            [json!({"ref": "other"}), json!({"app": "x"}), json!({"environment": "x"}), json!({"jvm": ["-x"]}), json!({"ref": null})]
        {
            assert_ne!(one, content(changes.clone(), None), "{changes}");
        }
        assert_ne!(one, content(json!({}), Some("ada")));
        assert_ne!(content(json!({"app": "x"}), None), content(json!({"environment": "x"}), None));
    }

    #[test]
    fn patterns_name_a_host() {
        for pattern in ["https://git.test/*", "https://git.test/trade/x", "git@git.test:trade/*", "file:///srv/*"] {
            assert_eq!(check_pattern(pattern), Ok(()), "{pattern}");
        }
        for pattern in ["*", "https://*", "https://git.test*", "https://*.test/x", "git@*:x", "", "*://git.test/x"] {
            assert!(check_pattern(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_refused_message_still_has_its_id() {
        assert_eq!(Order::id_of(message(json!({"ref": "-x"})).to_string().as_bytes()).as_deref(), Some("b/1"));
        for body in [&b"{\"id\": \"-x\"}"[..], b"{\"id\": 1}", b"[", b""] {
            assert_eq!(Order::id_of(body), None);
        }
    }
}

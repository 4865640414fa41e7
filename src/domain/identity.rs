//! Who asks, and by what that is known; what a CI's identity token has to say to be believed. Pure: signatures are checked elsewhere.

use serde::{Deserialize, Deserializer, Serialize};

use super::problem::{Code, Problem, Result};

/// How far the clocks of two machines may be apart, seconds.
const LEEWAY: f64 = 60.0;
/// A token that says that it is valid for longer is none of a job's, seconds.
const LONGEST_LIFE: f64 = 35.0 * 24.0 * 3600.0;

/// Who asks for something.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Asker {
    /// Empty: somebody unknown.
    pub user: String,
    pub proof: Proof,
    /// The project of the job that asks, such as `trade/orders`; only a token says it.
    pub project: Option<String>,
    /// The whole name of what the job runs for, such as `refs/heads/main`; only a token says it.
    pub reference: Option<String>,
    /// Only some may push there; only a token says it.
    pub protected: bool,
}

/// By what a user is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum Proof {
    /// Whoever asks says so; anybody could.
    #[default]
    Claim,
    /// The message broker takes that name from that user only.
    Broker,
    /// A token of the job, which this issuer signed.
    Token { issuer: String },
    /// The code host says whose forge.token it is.
    Forge { host: String },
}

impl Proof {
    /// Behind a user's name.
    pub fn words(&self) -> String {
        match self {
            Proof::Claim => "as the job itself says".to_string(),
            Proof::Broker => "as the message broker proves".to_string(),
            Proof::Token { issuer } => format!("as a token of {issuer} proves"),
            Proof::Forge { host } => format!("as forge.token proves at {host}"),
        }
    }

    pub fn is_proved(&self) -> bool {
        *self != Proof::Claim
    }
}

impl Asker {
    /// Somebody whose name nobody has proved.
    pub fn claimed(user: Option<&str>) -> Asker {
        Asker { user: user.unwrap_or_default().to_string(), ..Asker::default() }
    }

    /// None: somebody unknown.
    pub fn named(&self) -> Option<&str> {
        Some(self.user.as_str()).filter(|user| !user.is_empty())
    }

    /// For sentences.
    pub fn name(&self) -> &str {
        if self.user.is_empty() { "somebody unknown" } else { &self.user }
    }
}

/// What a token says: GitLab's claims, and what GitHub and Gitea call otherwise.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Claims {
    iss: String,
    #[serde(deserialize_with = "one_or_many")]
    aud: Vec<String>,
    /// Seconds since the epoch, as the next two.
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(alias = "repository")]
    project_path: String,
    #[serde(alias = "actor")]
    user_login: String,
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default)]
    ref_path: Option<String>,
    #[serde(default)]
    ref_type: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    ref_protected: bool,
    #[serde(default)]
    sha: Option<String>,
}

/// What a token has to say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub audience: &'a str,
    /// Seconds since the epoch; None: it was in time when it was first looked at.
    pub now: Option<i64>,
}

impl Claims {
    /// Reads what the signature covers.
    ///
    /// # Errors
    /// `identity-invalid`.
    pub fn read(payload: &[u8]) -> Result<Claims> {
        serde_json::from_slice(payload).map_err(|error| invalid(format!("its claims cannot be read: {error}")))
    }

    /// # Errors
    /// `identity-invalid`, and `identity-expired` for a token that was right once.
    pub fn check(&self, expected: &Expected) -> Result<()> {
        // both as they are written: a difference in the last slash is one
        if self.iss != expected.issuer {
            return Err(invalid(format!("{:?} signs it, and not {}", self.iss, expected.issuer)));
        }
        if !self.aud.iter().any(|audience| audience == expected.audience) {
            return Err(invalid(format!("it is for {}, and not for {}", self.aud.join(", "), expected.audience))
                .hint("let the job ask for a token with the audience of identity.audience"));
        }
        if self.user_login.trim().is_empty() || self.project_path.trim().is_empty() || self.reference.trim().is_empty() {
            return Err(invalid("it names no user, no project or no ref".to_string()));
        }
        let Some(now) = expected.now else { return Ok(()) };
        self.check_times(now as f64)
    }

    fn check_times(&self, now: f64) -> Result<()> {
        let begins = self.nbf.or(self.iat).unwrap_or(now);
        if begins > now + LEEWAY || self.iat.is_some_and(|made| made > now + LEEWAY) {
            return Err(invalid("it is not valid yet".to_string()).hint("set the clocks of the issuer and of this machine"));
        }
        if !self.exp.is_finite() || self.exp - begins > LONGEST_LIFE {
            return Err(invalid("it is valid for longer than any job runs".to_string()));
        }
        if self.exp + LEEWAY <= now {
            return Err(Problem::new(Code::IdentityExpired, format!("the identity token expired {} s ago", (now - self.exp).round())));
        }
        Ok(())
    }

    /// Who it speaks for.
    pub fn asker(&self) -> Asker {
        Asker {
            user: self.user_login.clone(),
            proof: Proof::Token { issuer: self.iss.clone() },
            project: Some(self.project_path.clone()),
            reference: Some(self.whole_ref()),
            protected: self.ref_protected,
        }
    }

    /// Whether it speaks for this repository and ref. `places` is what stands before a project's path in the addresses of repositories. Gives
    /// the ref by its whole name: a tag that is named like the branch must not be built in its place.
    ///
    /// # Errors
    /// `identity-mismatch`.
    pub fn speaks_for(&self, url: &str, reference: Option<&str>, places: &[String]) -> Result<String> {
        let mismatch = |what: String| Err(Problem::new(Code::IdentityMismatch, what));
        let project = &self.project_path;
        let same = |place: &String| {
            let rest = url.strip_prefix(place.as_str());
            rest.is_some_and(|rest| rest == project || rest.strip_suffix(".git") == Some(project.as_str()))
        };
        if !places.iter().any(same) {
            return mismatch(format!("the identity token is of the project {project}, and {url} is not its repository"));
        }
        let whole = self.whole_ref();
        let short = whole.strip_prefix("refs/heads/").or_else(|| whole.strip_prefix("refs/tags/")).unwrap_or(&whole);
        match reference {
            None => mismatch("a message with an identity token has to name the ref that the token is of".to_string()),
            Some(reference) if reference == whole || reference == short => Ok(whole),
            Some(reference) if self.sha.as_deref() == Some(reference) => Ok(reference.to_string()),
            Some(reference) => mismatch(format!("the identity token is of {whole}, and not of {reference}")),
        }
    }

    fn whole_ref(&self) -> String {
        match (&self.ref_path, self.ref_type.as_deref()) {
            (Some(path), _) if path.starts_with("refs/") => path.clone(),
            _ if self.reference.starts_with("refs/") => self.reference.clone(),
            (_, Some("tag")) => format!("refs/tags/{}", self.reference),
            _ => format!("refs/heads/{}", self.reference),
        }
    }
}

/// What is wrong with a token that nobody has to believe.
pub fn invalid(why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::IdentityInvalid, format!("the identity token proves nothing: {why}"))
}

/// A text or a list of them (RFC 7519, 4.1.3).
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(String),
        Many(Vec<String>),
    }
    Form::deserialize(from).map(|form| match form {
        Form::One(one) => vec![one],
        Form::Many(many) => many,
    })
}

/// GitLab and GitHub write these as texts.
fn flag<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value == true || value == "true")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const ISSUER: &str = "https://git.test";

    fn claims(changes: Value) -> Result<Claims> {
        let mut claims = json!({"iss": ISSUER, "aud": "shipway", "exp": NOW + 300, "nbf": NOW - 5, "iat": NOW, "project_path": "trade/orders",
            "user_login": "ada", "ref": "main", "ref_type": "branch", "ref_protected": "true", "sha": "0123abcd", "sub": "x"});
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Claims::read(claims.to_string().as_bytes())
    }

    fn check(changes: Value) -> Result<Claims> {
        let claims = claims(changes)?;
        claims.check(&Expected { issuer: ISSUER, audience: "shipway", now: Some(NOW) }).map(|()| claims)
    }

    #[test]
    fn a_token_names_user_project_and_ref() {
        let asker = check(json!({})).unwrap().asker();
        let expected = Asker {
            user: "ada".into(),
            proof: Proof::Token { issuer: ISSUER.into() },
            project: Some("trade/orders".into()),
            reference: Some("refs/heads/main".into()),
            protected: true,
        };
        assert_eq!(asker, expected);
        let of_github = json!({"iss": ISSUER, "aud": ["x", "shipway"], "exp": NOW + 300, "repository": "trade/orders", "actor": "ada",
            "ref": "refs/tags/v1", "ref_type": "tag"});
        let claims = Claims::read(of_github.to_string().as_bytes()).unwrap();
        claims.check(&Expected { issuer: ISSUER, audience: "shipway", now: Some(NOW) }).unwrap();
        assert_eq!((claims.asker().reference.as_deref(), claims.asker().protected), (Some("refs/tags/v1"), false));
    }

    #[test]
    fn what_a_token_has_to_say() {
        for (changes, code, expected) in [
            (json!({"iss": "https://git.test/"}), Code::IdentityInvalid, "signs it"),
            (json!({"aud": "other"}), Code::IdentityInvalid, "it is for other"),
            (json!({"aud": []}), Code::IdentityInvalid, "it is for"),
            (json!({"exp": NOW - 61}), Code::IdentityExpired, "61 s ago"),
            (json!({"exp": "never"}), Code::IdentityInvalid, "cannot be read"),
            (json!({"exp": null}), Code::IdentityInvalid, "cannot be read"),
            (json!({"exp": 1e300}), Code::IdentityInvalid, "longer than any job"),
            (json!({"nbf": NOW + 61}), Code::IdentityInvalid, "not valid yet"),
            (json!({"nbf": "soon"}), Code::IdentityInvalid, "cannot be read"),
            (json!({"iat": NOW + 61}), Code::IdentityInvalid, "not valid yet"),
            (json!({"user_login": ""}), Code::IdentityInvalid, "no user"),
            (json!({"user_login": null}), Code::IdentityInvalid, "cannot be read"),
            (json!({"repository": "other/one"}), Code::IdentityInvalid, "cannot be read"),
        ] {
            let problem = check(changes.clone()).unwrap_err();
            assert_eq!((problem.code, problem.exit_code()), (code, 30), "{changes}");
            assert!(problem.message.contains(expected), "{changes}: {}", problem.message);
        }
        for changes in
            [json!({"exp": NOW - 59}), json!({"nbf": NOW + 59}), json!({"iat": null, "nbf": null}), json!({"exp": NOW as f64 + 0.5})]
        {
            assert!(check(changes.clone()).is_ok(), "{changes}");
        }
        let late = claims(json!({"exp": NOW - 5000})).unwrap();
        assert!(late.check(&Expected { issuer: ISSUER, audience: "shipway", now: None }).is_ok(), "it was looked at in time");
    }

    #[test]
    fn a_token_speaks_for_its_own_repository_and_ref() {
        let places = ["https://git.test/", "git@git.test:"].map(str::to_string);
        let claims = claims(json!({})).unwrap();
        for (url, reference, expected) in [
            ("https://git.test/trade/orders.git", "main", "refs/heads/main"),
            ("https://git.test/trade/orders", "refs/heads/main", "refs/heads/main"),
            ("git@git.test:trade/orders.git", "0123abcd", "0123abcd"),
        ] {
            assert_eq!(claims.speaks_for(url, Some(reference), &places).unwrap(), expected, "{url}");
        }
        for (url, reference) in [
            ("https://git.test/trade/bills.git", Some("main")),
            ("https://git.test/trade/orders/x", Some("main")),
            ("https://git.test/evil/trade/orders", Some("main")),
            ("https://other.test/trade/orders", Some("main")),
            ("https://git.test.evil/trade/orders", Some("main")),
            ("https://git.test/trade/orders", Some("release")),
            ("https://git.test/trade/orders", Some("refs/tags/main")),
            ("https://git.test/trade/orders", None),
        ] {
            let problem = claims.speaks_for(url, reference, &places).unwrap_err();
            assert_eq!(problem.code, Code::IdentityMismatch, "{url} {reference:?}");
        }
    }
}

//! What goes wrong with a registry, in words that say which one, who asked, for what, and which setting to look at.

use serde::Deserialize;

use super::session::{Action, Session};
use crate::{
    domain::problem::{Code, Problem},
    net::{Cause, Failure, Response},
};

/// How much of a registry's own words goes into a message, characters.
const MAX_DETAIL: usize = 400;

/// Why a call brought no answer that can be used.
pub(super) enum Fault {
    /// No answer; perhaps worth another try.
    Failure(Failure),
    /// A large body was refused for want of a token; the next call has a new one, but how much has arrived is not known.
    Renewed,
    /// Final.
    Problem(Problem),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure.problem {
            Some(problem) => Fault::Problem(*problem),
            None => Fault::Failure(failure),
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Fault::Problem(problem)
    }
}

impl Fault {
    pub fn into_problem(self, registry: &str) -> Problem {
        match self {
            Fault::Failure(failure) => of_failure(registry, &failure),
            Fault::Renewed => protocol(registry, "it asks for authorization again and again"),
            Fault::Problem(problem) => problem,
        }
    }
}

/// An answer that is no success, read to its end.
pub(super) struct Refusal {
    pub status: u16,
    /// `PUT https://… answered 500 Internal Server Error: the registry's words`
    pub message: String,
    pub errors: Vec<RegistryError>,
}

/// One entry of an error body (distribution-spec, "Error Codes").
#[derive(Debug, Deserialize)]
pub(super) struct RegistryError {
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub detail: serde_json::Value,
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<RegistryError>,
}

impl Refusal {
    pub async fn read(response: Response) -> Self {
        let status = response.status();
        let what = response.what().to_string();
        let body = response.error_body().await;
        let errors = serde_json::from_str::<ErrorBody>(&body).map(|body| body.errors).unwrap_or_default();
        let detail = match errors.is_empty() {
            true => one_line(&without_tags(&body)),
            false => one_line(&errors.iter().take(3).map(RegistryError::to_string).collect::<Vec<_>>().join("; ")),
        };
        let separator = if detail.is_empty() { "" } else { ": " };
        Refusal { status: status.as_u16(), message: format!("{what} answered {status}{separator}{detail}"), errors }
    }

    pub fn has(&self, code: &str) -> bool {
        self.errors.iter().any(|error| error.code == code)
    }

    /// The problem of this refusal, for who asked in this session.
    pub fn into_problem(self, session: &Session) -> Problem {
        let words = self.message.to_lowercase();
        match self.status {
            // Harbor's words, and those of others.
            403 | 409 | 412 | 413 if words.contains("quota") || words.contains("exceed the configured upper limit") => {
                Problem::new(Code::RegistryDenied, self.message)
                    .hint(format!("raise the storage quota of the project at {}, or remove old images there", session.registry()))
            }
            401 => session.unauthorized(&self.message),
            403 => session.denied(&self.message),
            413 => Problem::new(Code::RegistryDenied, self.message)
                .hint(format!("raise the size limit for request bodies of {} or of the proxy in front of it", session.registry())),
            429 => Problem::new(Code::RegistryFailed, self.message)
                .hint(format!("{} limits the rate of requests: retry the job later, or log in", session.registry())),
            _ if self.has("DENIED") || self.has("UNAUTHORIZED") => session.denied(&self.message),
            408 | 425 | 500.. => Problem::new(Code::RegistryFailed, self.message),
            _ => Problem::new(Code::RegistryRefused, self.message),
        }
    }
}

impl std::fmt::Display for RegistryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (_, true) => f.write_str(&self.code),
            (true, false) => f.write_str(&self.message),
            (false, false) => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

/// Who asks, for messages: `user "deployer" (registry.username)`, or nobody.
pub(super) fn who(session: &Session) -> String {
    let login = session.login();
    match &login.credentials {
        Some(credentials) => format!("user {:?} ({})", credentials.username, login.source),
        None => "a client without credentials".to_string(),
    }
}

pub(super) fn unauthorized(session: &Session, detail: &str) -> Problem {
    let (registry, repository, login) = (session.registry(), session.repository(), session.login());
    let doing = match session.action() {
        Action::Pull => "pull from",
        Action::Push => "push to",
    };
    if login.credentials.is_some() {
        return Problem::new(
            Code::RegistryUnauthorized,
            format!("registry {registry} refused the credentials of {}: {detail}", who(session)),
        )
        .hint(format!("correct the user name and password that {} gives for {registry}", login.source));
    }
    let problem = Problem::new(
        Code::RegistryUnauthorized,
        format!("registry {registry} asks for credentials to {doing} {repository}, and there are none: {detail}"),
    );
    match login.source.as_str() {
        "" => problem.hint(
            "set registry.username and registry.password when it is the registry of registry.url, else log in by DOCKER_AUTH_CONFIG or \
             docker's config.json; a misspelt repository can look like this, too",
        ),
        silent => problem.hint(format!(
            "{silent}: log in with it, or set registry.username and registry.password when it is the registry of registry.url"
        )),
    }
}

pub(super) fn denied(session: &Session, detail: &str) -> Problem {
    let (registry, repository) = (session.registry(), session.repository());
    let (doing, right) = match session.action() {
        Action::Pull => ("pull from", "pull"),
        Action::Push => ("push to", "push"),
    };
    Problem::new(Code::RegistryDenied, format!("registry {registry} does not let {} {doing} {repository}: {detail}", who(session)))
        .hint(format!("give it the right to {right} (scope {}), or check the repository's name", session.scope()))
}

/// A registry that gave no answer.
pub(super) fn of_failure(registry: &str, failure: &Failure) -> Problem {
    let message = format!("registry {registry}: {failure}");
    match failure.cause {
        Cause::NotTls => Problem::new(Code::RegistryInsecure, format!("registry {registry} speaks plain http, not https"))
            .hint("serve it with https, or set registry.insecure to true when the network is trusted"),
        Cause::Certificate => {
            let problem = Problem::new(Code::RegistryUntrusted, format!("registry {registry} shows a certificate that is not trusted: {failure}"));
            match failure.message.contains(&format!("//{}", super::access::endpoint(registry))) {
                true => problem,
                // Another host, that it sent us to; registry.ca is for its own alone.
                false => problem.hint(
                    "set SSL_CERT_FILE to a PEM file of all authorities to trust: the registry sends its clients to a host of its own \
                     authority, and registry.ca counts for the registry alone",
                ),
            }
        }
        Cause::ClientCertificate => {
            Problem::new(Code::RegistryUnauthorized, format!("registry {registry} does not take us without a client certificate that it knows: {failure}"))
                .hint("set registry.client_certificate and registry.client_key to a certificate of the authority that the registry trusts, and its key")
        }
        Cause::TooLarge | Cause::Redirect => Problem::new(Code::RegistryProtocol, message),
        Cause::Connect | Cause::HungUp | Cause::Lost | Cause::Idle | Cause::Source => Problem::new(Code::RegistryUnreachable, message),
    }
}

pub(super) fn protocol(registry: &str, what: impl std::fmt::Display) -> Problem {
    Problem::new(Code::RegistryProtocol, format!("registry {registry}: {what}"))
}

/// Foreign words in one line: no control characters, not endless.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_DETAIL) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The words of an HTML page, as proxies answer with; other text stays as it is.
fn without_tags(text: &str) -> String {
    if !text.trim_start().starts_with('<') {
        return text.to_string();
    }
    text.split('<').map(|part| part.split_once('>').map_or(part, |(_, words)| words)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_s_page_becomes_its_words() {
        let page = "<html>\n<head><title>413 Too Large</title></head>\n<hr><center>proxy</center></html>";
        assert_eq!(one_line(&without_tags(page)), "413 Too Large proxy");
        assert_eq!(without_tags("a < b > c"), "a < b > c");
    }

    #[test]
    fn foreign_words_become_one_short_line() {
        assert_eq!(one_line("<html>\r\n\u{1b}[31mno\u{7}  good</html>\n"), "<html> [31mno good</html>");
        assert_eq!(one_line(&"ü".repeat(1000)).chars().count(), MAX_DETAIL + 1);
    }

    #[test]
    fn error_bodies_may_lack_anything() {
        let body: ErrorBody =
            serde_json::from_str(r#"{"errors":[{"code":"DENIED"},{"message":"no"},{"code":"A","message":"b","detail":{"x":1}}]}"#).unwrap();
        let shown: Vec<String> = body.errors.iter().map(RegistryError::to_string).collect();
        assert_eq!(shown, ["DENIED", "no", "A: b"]);
    }
}

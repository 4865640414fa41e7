//! Why a request got no answer, in words that name it.

use std::{error::Error, fmt};

use crate::domain::problem::Problem;

/// What kept the answer away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No connection: refused, unreachable, unknown host.
    Connect,
    /// The other side speaks plain http where TLS was expected.
    NotTls,
    /// Its certificate is not trusted.
    Certificate,
    /// It wants a certificate of ours, or does not take the one it got.
    ClientCertificate,
    /// It hung up before there was a connection: during the greeting of TLS.
    HungUp,
    /// The connection ended in the middle.
    Lost,
    /// Nothing moved for too long.
    Idle,
    /// The answer is longer than it may be.
    TooLarge,
    /// A redirect that must not be followed, or too many of them.
    Redirect,
    /// The body to send could not be read; `Failure::problem` says why.
    Source,
}

/// A request without a (whole) answer. Its text names method and URL, never a secret.
#[derive(Debug, Clone)]
pub struct Failure {
    pub cause: Cause,
    pub message: String,
    /// Set when the body to send could not be read.
    pub problem: Option<Box<Problem>>,
}

impl Failure {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Failure { cause, message: message.into(), problem: None }
    }

    /// Whether the same request may well succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self.cause, Cause::Connect | Cause::HungUp | Cause::Lost | Cause::Idle)
    }

    /// From the source of a body that is being sent.
    pub(super) fn from_source(what: &str, error: std::io::Error) -> Self {
        match (find::<Problem>(&error), find::<Failure>(&error)) {
            (Some(problem), _) => Failure::of_problem(problem),
            (None, Some(failure)) => failure.clone(),
            (None, None) => Failure::new(Cause::Lost, format!("{what}: the body cannot be read: {error}")),
        }
    }

    fn of_problem(problem: &Problem) -> Self {
        Failure { cause: Cause::Source, message: problem.message.clone(), problem: Some(Box::new(problem.clone())) }
    }

    /// From reqwest's error; `what` is method and URL.
    pub(super) fn from_reqwest(what: &str, error: &reqwest::Error) -> Self {
        if let Some(problem) = find::<Problem>(error) {
            return Failure::of_problem(problem);
        }
        if let Some(failure) = find::<Failure>(error) {
            return failure.clone();
        }
        let cause = match find::<rustls::Error>(error) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Cause::Certificate,
            Some(rustls::Error::InvalidMessage(_)) => Cause::NotTls,
            _ if wants_our_certificate(error) => Cause::ClientCertificate,
            Some(_) => Cause::Lost,
            None if error.is_connect() && hung_up(error) => Cause::HungUp,
            None if error.is_connect() => Cause::Connect,
            None if error.is_timeout() => Cause::Idle,
            // hyper's own words; its error type is not ours to look into.
            None if chain(error).any(|error| error.to_string().contains("message head is too large")) => Cause::TooLarge,
            None => Cause::Lost,
        };
        Failure::new(cause, format!("{what}: {}", innermost(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// Each error of the chain, outermost first; also those that an `io::Error` wraps without calling them its source.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn next<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error), |error| next(*error))
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

/// What a server says that wants another client certificate, or one at all (RFC 8446, 6.2).
const ABOUT_OUR_CERTIFICATE: [rustls::AlertDescription; 7] = [
    rustls::AlertDescription::CertificateRequired,
    rustls::AlertDescription::BadCertificate,
    rustls::AlertDescription::UnsupportedCertificate,
    rustls::AlertDescription::CertificateRevoked,
    rustls::AlertDescription::CertificateExpired,
    rustls::AlertDescription::CertificateUnknown,
    rustls::AlertDescription::UnknownCA,
];

/// HTTP/2 keeps of TLS's errors nothing but their words.
fn wants_our_certificate(error: &(dyn Error + 'static)) -> bool {
    let words = || chain(error).last().map(ToString::to_string).unwrap_or_default();
    match find::<rustls::Error>(error) {
        Some(rustls::Error::AlertReceived(alert)) => ABOUT_OUR_CERTIFICATE.contains(alert),
        Some(_) => false,
        None => ABOUT_OUR_CERTIFICATE.iter().any(|alert| words() == rustls::Error::AlertReceived(*alert).to_string()),
    }
}

/// Whether the connection came about and was closed during the greeting.
fn hung_up(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    chain(error)
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe))
}

fn innermost(error: &reqwest::Error) -> String {
    let text = chain(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    let text = match text.split_once(" (os error") {
        Some((words, _)) => words.to_string(),
        None => text,
    };
    // Only the first letter: names keep theirs.
    let mut letters = text.chars();
    match (letters.next(), letters.as_str()) {
        (Some(first), rest) if !rest.starts_with(char::is_uppercase) => first.to_lowercase().chain(rest.chars()).collect(),
        _ => text,
    }
}

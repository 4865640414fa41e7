//! Puts manifests into a repository: the commit point of a push.

use std::time::SystemTime;

use reqwest::{Method, header::CONTENT_TYPE};

use super::{
    Manifest,
    fault::{self, Fault, Refusal},
    pull::{self, CONTENT_DIGEST},
    session::Session,
};
use crate::{
    domain::{
        digest::Digest,
        problem::{Code, Problem, Result},
        reference::ImageReference,
    },
    net::{Request, retry},
};

/// Why a manifest was not taken.
pub(super) enum NotTaken {
    /// The registry lacks blobs; those that it names.
    BlobsUnknown {
        named: Vec<Digest>,
        problem: Problem,
    },
    Problem(Problem),
}

impl From<Problem> for NotTaken {
    fn from(problem: Problem) -> Self {
        NotTaken::Problem(problem)
    }
}

/// Puts a manifest under a tag or its digest. When no answer comes, it may have arrived all the same: then the registry is asked.
pub(super) async fn put(session: &Session, manifest: &Manifest, reference: &ImageReference) -> Result<(), NotTaken> {
    let mut attempts = retry::Attempts::new(&session.net.options().retry);
    loop {
        let url = session.url(&format!("manifests/{}", reference.manifest_reference()))?;
        let request = Request::new(Method::PUT, url).header(CONTENT_TYPE, &manifest.media_type).bytes(manifest.bytes.clone()).once();
        let (problem, after, away) = match session.send(request).await {
            Ok(response) if response.status().is_success() => {
                let got = response.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
                return check(session, manifest, got);
            }
            Ok(response) if retry::is_transient(response.status()) => {
                let after = retry::retry_after(response.headers(), SystemTime::now());
                let away = retry::says_away(response.status());
                (Refusal::read(response).await.into_problem(session), after, away)
            }
            Ok(response) => return Err(refused(session, Refusal::read(response).await)),
            Err(Fault::Failure(failure)) if failure.is_transient() => {
                (fault::of_failure(session.registry(), &failure), None, session.is_away(&failure))
            }
            Err(fault) => return Err(fault.into_problem(session.registry()).into()),
        };
        let delay = attempts.failed_again(after, away);
        tokio::time::sleep(delay.unwrap_or_default()).await;
        if pull::holds(session, reference, &manifest.digest).await {
            return Ok(());
        }
        if delay.is_none() {
            return Err(problem.into());
        }
    }
}

fn check(session: &Session, manifest: &Manifest, got: Option<Digest>) -> Result<(), NotTaken> {
    match got {
        Some(got) if got != manifest.digest => {
            let message = format!(
                "registry {} stored the manifest of {} as {got} and was given {}",
                session.registry(),
                session.repository(),
                manifest.digest
            );
            Err(Problem::new(Code::DigestMismatch, message).into())
        }
        _ => Ok(()),
    }
}

fn refused(session: &Session, refusal: Refusal) -> NotTaken {
    let unknown = |code: &str| matches!(code, "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN");
    if !refusal.errors.iter().any(|error| unknown(&error.code)) {
        return NotTaken::Problem(refusal.into_problem(session));
    }
    // `detail` is the digest itself, or an object that holds it; what cannot be read is not named.
    let digest = |detail: &serde_json::Value| -> Option<Digest> {
        let text = detail.as_str().or_else(|| detail.get("digest").or_else(|| detail.get("Digest"))?.as_str())?;
        text.parse().ok()
    };
    let named = refusal.errors.iter().filter(|error| unknown(&error.code)).filter_map(|error| digest(&error.detail)).collect();
    NotTaken::BlobsUnknown { named, problem: refusal.into_problem(session) }
}

//! Whether a push would be let in, tried without leaving anything: an upload is opened and given up.

use reqwest::Method;

use super::{
    Client,
    fault::Refusal,
    session::Action,
    upload::{empty, next_location},
};
use crate::{
    domain::{problem::Result, reference::ImageReference},
    net::Request,
};

/// As whom a registry lets us push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pusher {
    /// Empty: nobody was asked for.
    pub username: String,
    /// Where the credentials stand.
    pub source: String,
}

/// Fails as a push would: `registry-unauthorized`, `registry-denied` and their like.
pub(super) async fn may_push(client: &Client, target: &ImageReference) -> Result<Pusher> {
    let session = client.session(target, Action::Push).await?;
    let request = empty(Request::new(Method::POST, session.url("blobs/uploads/")?)).repeatable();
    let response = session.send(request).await.map_err(|fault| fault.into_problem(session.registry()))?;
    if response.status() != 202 {
        return Err(Refusal::read(response).await.into_problem(&session));
    }
    if let Ok(location) = next_location(&session, &response, None) {
        // a registry that cannot cancel forgets it by itself
        let _ = session.send(Request::new(Method::DELETE, location).once()).await;
    }
    let login = session.login();
    Ok(Pusher { username: login.username().to_string(), source: login.source.clone() })
}

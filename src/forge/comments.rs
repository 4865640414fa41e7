//! The one comment of an application at a merge request: found by its first line, edited in place. The hosts differ in addresses alone.

use std::collections::BTreeSet;

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    Note,
    call::{Calls, Refused},
    repos::refs,
};
use crate::domain::sticky;

/// Most pages of comments that are looked through: five thousand comments.
const PAGES: usize = 50;
/// Most comments with our first line that may be another's, before a new one is written.
const OTHERS: usize = 10;

/// Where a host keeps the comments of one merge request.
pub(super) struct Place {
    /// All of them: read and added to.
    pub list: Vec<String>,
    /// One of them stands below it.
    pub one: Vec<String>,
    pub edit: Method,
    /// Asks for the oldest first.
    pub query: &'static [(&'static str, &'static str)],
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    #[serde(default)]
    body: Option<String>,
    /// Not written by anybody (GitLab).
    #[serde(default)]
    system: bool,
}

impl Comment {
    fn text(&self) -> &str {
        self.body.as_deref().unwrap_or_default()
    }
}

/// Makes the comment say this, in two requests: the one that is there is edited, else one is written. What a newer pipeline says stands.
pub(super) async fn say(calls: &Calls, place: &Place, note: &mut Note, text: &str) -> Result<(), Refused> {
    let mut others = BTreeSet::new();
    while others.len() < OTHERS {
        let Some(held) = held(calls, place, note, &others).await? else { break };
        if sticky::is_newer(held.text(), text) {
            return settle(calls, place, note, held.id).await;
        }
        match calls.set(place.edit.clone(), &refs(&place.comment(held.id)), &json!({"body": text})).await {
            Ok(()) => return settle(calls, place, note, held.id).await,
            // a person deleted it in between, or it is another's that looks like ours
            Err(refused) if refused.is(404) || (refused.is(403) && !refused.limited) => drop(others.insert(held.id)),
            Err(refused) => return Err(refused),
        }
    }
    let made: Comment = calls.make(&refs(&place.list), &json!({"body": text})).await?;
    (note.id, note.is_settled) = (Some(made.id), false);
    Ok(())
}

/// The comment to be edited. One that this run wrote is looked for again: another job may have written its own at the same moment.
async fn held(calls: &Calls, place: &Place, note: &Note, others: &BTreeSet<u64>) -> Result<Option<Comment>, Refused> {
    if let Some(id) = note.id.filter(|id| note.is_settled && !others.contains(id)) {
        match calls.get::<Comment>(&refs(&place.comment(id)), &[]).await {
            Ok(answer) => return Ok(Some(answer.body)),
            // a person deleted it
            Err(refused) if refused.is(404) => {}
            Err(refused) => return Err(refused),
        }
    }
    for page in 1..=PAGES {
        let page = page.to_string();
        let query: Vec<_> = place.query.iter().copied().chain([("per_page", "100"), ("page", page.as_str())]).collect();
        let answer = calls.get::<Vec<Comment>>(&refs(&place.list), &query).await?;
        let is_ours = |comment: &Comment| {
            !comment.system && !others.contains(&comment.id) && comment.text().lines().next() == Some(note.marker.as_str())
        };
        if let Some(found) = answer.body.into_iter().find(is_ours) {
            return Ok(Some(found));
        }
        if !answer.more {
            break;
        }
    }
    Ok(None)
}

/// This comment is the one from now on; of two that were written at the same moment the younger goes.
async fn settle(calls: &Calls, place: &Place, note: &mut Note, id: u64) -> Result<(), Refused> {
    let double = note.id.replace(id).filter(|made| *made != id && !note.is_settled);
    note.is_settled = true;
    match double {
        Some(double) => calls.delete(&refs(&place.comment(double))).await,
        None => Ok(()),
    }
}

impl Place {
    fn comment(&self, id: u64) -> Vec<String> {
        self.one.iter().cloned().chain([id.to_string()]).collect()
    }
}

//! Changes that are no run's: a configuration that is pushed, pods that are unstuck, what the company sets. They ask who may, as a run does.

use std::path::Path;

use super::{
    identity::{self, Given},
    ledger::{RULES, ledger, say_unknown, tell},
    rules::{self, Decision},
};
use crate::{
    domain::{
        event::Events,
        policy::Target,
        problem::{Problem, Result},
    },
    ledger::Ledger,
    settings::Loaded,
};

/// Asks whether whoever runs this may do `action` to each of these; the ledger, where there is one, has each answer. As in a run a no is a
/// warning where the credentials are one's own. Gives the user's name.
///
/// # Errors
/// Those of the rules; the ledger's, when `ledger.required` is set.
pub async fn ask(loaded: &Loaded, dir: &Path, events: &Events, action: &str, targets: &[Target]) -> Result<String> {
    let ledger = match loaded.settings.ledger.url {
        Some(_) => known(loaded, dir, events).await?,
        None => None,
    };
    let of_ledger = ledger.as_ref().and_then(|(_, rules)| rules.as_deref());
    let rules = rules::of_all_places(&loaded.settings, dir, of_ledger)?;
    let unproved = || loaded.host.user.clone().unwrap_or_default();
    if rules.iter().all(|rules| rules.permissions.is_empty()) {
        return Ok(unproved());
    }
    let asker = identity::asker(&Given::loaded(loaded, dir), events).await;
    let author = if asker.user.is_empty() { unproved() } else { asker.user.clone() };
    for target in targets {
        let decision = Decision::of(&asker, action, target, &rules);
        if let Some((ledger, _)) = &ledger {
            tell(ledger, "permission", target, &author, decision.detail.clone()).await?;
        }
        decision.hold(loaded.host.worker.is_some(), events)?;
    }
    Ok(author)
}

/// The ledger with its rules; None when it is away, and need not be there.
async fn known(loaded: &Loaded, dir: &Path, events: &Events) -> Result<Option<(Ledger, Option<String>)>> {
    let open = async {
        let ledger = ledger(loaded, dir).await?;
        let rules = ledger.document(RULES).await?;
        Ok::<_, Problem>(Some((ledger, rules)))
    };
    match open.await {
        Err(problem) if !loaded.settings.ledger.required => {
            say_unknown(events, &problem);
            Ok(None)
        }
        found => found,
    }
}

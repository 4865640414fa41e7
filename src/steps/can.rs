//! What the permissions say to a question, before anybody tries.

use std::path::Path;

use super::{
    identity::{self, Given},
    ledger::{RULES, ledger, tell},
    rules::{self, Decision},
};
use crate::{
    domain::{
        event::Events,
        identity::Asker,
        permission::{ACTIONS, Answer},
        policy::Target,
        problem::{Code, Problem, Result},
    },
    settings::Loaded,
};

/// Who wants to do what.
#[derive(Debug, Clone)]
pub struct Question {
    /// None: whoever runs this.
    pub asker: Option<Asker>,
    pub action: String,
    pub target: Target,
}

/// The answers of all places where rules stand; the ledger, where there is one, has the question among its events.
///
/// # Errors
/// Those of the rules and of the ledger: what is not known permits nothing.
pub async fn can(loaded: &Loaded, dir: &Path, mut question: Question, events: &Events) -> Result<(Asker, Vec<Answer>)> {
    if !ACTIONS.contains(&question.action.as_str()) {
        return Err(Problem::new(Code::SettingInvalid, format!("{:?} is nothing that can be permitted", question.action))
            .hint(format!("ask for one of {}", ACTIONS.join(", "))));
    }
    let ledger = match loaded.settings.ledger.url {
        Some(_) => Some(ledger(loaded, dir).await?),
        None => None,
    };
    let mut of_ledger = None;
    if let Some(ledger) = &ledger {
        of_ledger = ledger.document(RULES).await?;
        if question.target.line.is_empty() {
            let entry = ledger.application(&question.target.app).await?;
            let line = entry.and_then(|entry| Some(entry.settings.get("line")?.as_str()?.to_string()));
            question.target.line = line.unwrap_or_default();
        }
    }
    let rules = rules::of_all_places(&loaded.settings, dir, of_ledger.as_deref())?;
    let asker = match question.asker {
        Some(asker) => asker,
        None => identity::asker(&Given::loaded(loaded, dir), events).await,
    };
    let Decision { answers, detail } = Decision::of(&asker, &question.action, &question.target, &rules);
    if let Some(ledger) = &ledger {
        tell(ledger, "can", &question.target, loaded.host.user.as_deref().unwrap_or_default(), detail).await?;
    }
    Ok((asker, answers))
}

//! `rules`: the company's rules, checked and kept in the ledger.

use std::path::Path;

use serde_json::json;

use super::{asked::RulesAction, print, session::Session};
use crate::{
    domain::{
        policy::Target,
        problem::{Problem, Result},
    },
    report,
    settings::Input,
    steps,
};

pub(super) async fn run(input: Input, action: RulesAction) -> Result<u8> {
    let read = |file: &Path| {
        let text = std::fs::read_to_string(file).map_err(|error| Problem::io("read", file, &error))?;
        let rules = steps::parse_rules(&file.display().to_string(), &text)?;
        Ok::<_, Problem>((text, rules))
    };
    let text = match action {
        RulesAction::Check { rules } => report::rules_count(read(&rules)?.1.rules.len()),
        RulesAction::Push { rules: file } => {
            let (text, rules) = read(&file)?;
            let dir = input.dir.clone();
            let (session, ledger) = ledger(input).await?;
            // for all applications; those that stand there now are asked
            let target = Target { app: "*".to_string(), ..Target::default() };
            let author = steps::ask(&session.loaded, &dir, &session.events, "rules", std::slice::from_ref(&target)).await?;
            ledger.set_document(steps::RULES, &text, &author).await?;
            let detail = json!({"rules": rules.rules.len(), "permissions": rules.permissions.len(), "text": text});
            steps::tell_ledger(&ledger, "rules-push", &target, &author, detail).await?;
            report::rules_count(rules.rules.len())
        }
        RulesAction::Show => ledger(input).await?.1.document(steps::RULES).await?.unwrap_or_default(),
    };
    print::text(&text);
    Ok(0)
}

async fn ledger(input: Input) -> Result<(Session, crate::ledger::Ledger)> {
    let dir = input.dir.clone();
    let session = Session::start(input, "rules")?;
    let ledger = steps::ledger(&session.loaded, &dir).await?;
    Ok((session, ledger))
}

//! `rules`: the company's rules, checked and kept in the ledger.

use std::path::Path;

use super::{asked::RulesAction, print, session::Session};
use crate::{
    domain::problem::{Problem, Result},
    report,
    settings::Input,
    steps,
};

pub(super) async fn run(input: Input, action: RulesAction) -> Result<u8> {
    let read = |file: &Path| {
        let text = std::fs::read_to_string(file).map_err(|error| Problem::io("read", file, &error))?;
        let rules = steps::parse_rules(&file.display().to_string(), &text)?;
        Ok::<_, Problem>((text, report::rules_count(rules.rules.len())))
    };
    let text = match action {
        RulesAction::Check { rules } => read(&rules)?.1,
        RulesAction::Push { rules: file } => {
            let (rules, said) = read(&file)?;
            let (session, ledger) = ledger(input).await?;
            let author = session.loaded.host.user.clone().unwrap_or_default();
            ledger.set_document(steps::RULES, &rules, &author).await?;
            said
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

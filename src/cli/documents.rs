//! `version`, `schema` and the reference documents: what the code says of itself.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{
    arguments::{Arguments, Document},
    print,
};
use crate::{
    domain::problem::{Code, Problem, Result},
    report, settings,
};

pub(super) fn version() -> Result<u8> {
    print::text(&format!("shipway {}\n", env!("CARGO_PKG_VERSION")));
    Ok(0)
}

pub(super) fn schema() -> Result<u8> {
    print::text(&format!("{:#}\n", settings::schema()));
    Ok(0)
}

pub(super) fn completions(shell: Shell) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "shipway", &mut text);
    print::text(&String::from_utf8_lossy(&text));
    Ok(0)
}

/// Says what a problem means; settings that cannot be read are no reason not to.
pub(super) fn explain(name: Option<&str>, input: &settings::Input) -> Result<u8> {
    let Some(name) = name else {
        print::text(&report::slugs());
        return Ok(0);
    };
    let code = Code::of(name).ok_or_else(|| unknown(name))?;
    let help = settings::load(input).ok().and_then(|loaded| loaded.settings.help.url);
    print::text(&report::explain(code, help.as_deref()));
    Ok(0)
}

fn unknown(name: &str) -> Problem {
    let slugs = Code::ALL.iter().map(|code| code.slug());
    let hint = match settings::nearest(name, slugs) {
        Some(nearest) => format!("did you mean {nearest}? `shipway explain` lists them all"),
        None => "`shipway explain` lists them all".to_string(),
    };
    Problem::new(Code::SettingInvalid, format!("no problem is called {name:?}")).hint(hint)
}

pub(super) fn reference(document: Document) -> Result<u8> {
    print::text(&match document {
        Document::Settings => settings::reference(),
        Document::Problems => report::problems_reference(),
        Document::ExitCodes => report::exit_codes_reference(),
        Document::Drone => settings::plugin_page(settings::Server::Drone),
        Document::Woodpecker => settings::plugin_page(settings::Server::Woodpecker),
        Document::Report => report::report_reference(),
        Document::ReportSchema => format!("{:#}\n", report::report_schema()),
    });
    Ok(0)
}

/// A command that the contract names and that this version does not have.
pub(super) fn not_there(command: settings::Command) -> Problem {
    let name = format!("{command:?}").to_lowercase();
    Problem::new(Code::SettingInvalid, format!("command: {name} is not in this version")).hint(
        "run, plan, build, dockerfile, image, publish, rollback, rebase, restart, scale, remove, status, history, logs, unstick, check, \
             doctor and version are there",
    )
}

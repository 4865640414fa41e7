//! The documents that are made from the code: `docs/problems.md` and `docs/exit-codes.md`.

use super::{model, view::table};
use crate::domain::problem::{Class, Code};

/// Every problem by its slug, with cause and fix: `docs/problems.md`.
pub fn problems() -> String {
    let mut text = String::from(
        "# Problems\n\n\
        Whatever goes wrong has a short name, which stands in the job log, in the comment, in `report.json` (`problem.code`) and in\n\
        the test report. Names are only ever added. The class decides the [exit code](exit-codes.md).\n\n\
        `shipway explain NAME` says the same in a terminal. This page is made by `shipway reference problems`.\n",
    );
    for class in Class::ALL {
        text += &format!(
            "\n## {} (exit {})\n\n{}\n\n| name | what happened | what to do |\n|---|---|---|\n",
            name(*class),
            exit(*class),
            sentence(*class)
        );
        for code in Code::ALL.iter().filter(|code| code.class() == *class) {
            text += &format!("| <a id=\"{0}\"></a>`{0}` | {1} | {2} |\n", code.slug(), code.cause(), code.fix());
        }
    }
    text
}

/// One problem, for a terminal; `help` is where the documentation is served.
pub fn explain(code: Code, help: Option<&str>) -> String {
    let more = help.map(|help| format!("  more       {}\n", model::page_of(help, code.slug()))).unwrap_or_default();
    let (class, exit) = (code.class(), exit(code.class()));
    format!(
        "{}\n  happened   {}\n  what to do {}\n  class      {} (exit {exit}): {}\n{more}",
        code.slug(),
        code.cause(),
        code.fix(),
        name(class),
        sentence(class)
    )
}

/// Every problem in a line.
pub fn slugs() -> String {
    let rows: Vec<Vec<String>> = Code::ALL.iter().map(|code| vec![code.slug().to_string(), code.cause().to_string()]).collect();
    table::lines(&rows).into_iter().map(|line| line + "\n").collect()
}

/// What each exit code means, and what a pipeline can do with it: `docs/exit-codes.md`.
pub fn exit_codes() -> String {
    let mut text = String::from(
        "# Exit codes\n\n\
        They are stable: a pipeline may decide by them. 78 is never used, because Drone shows it green.\n\n\
        This page is made by `shipway reference exit-codes`.\n\n\
        | code | class | meaning |\n|---|---|---|\n\
        | 0 | | all went well; also when something was not done for want of a setting, which the log then names |\n",
    );
    let mut rows: Vec<(u8, String)> = Class::ALL.iter().map(|class| (class.exit_code(), row(*class))).collect();
    rows.push((51, "| 51 | | the cluster was changed and is not back at its previous release, or it is not known what runs: look before the next publish |\n".into()));
    rows.sort();
    text.extend(rows.into_iter().map(|(_, row)| row));
    text += "\n## Retrying\n\nOnly 20 is worth a retry of the same job. In GitLab:\n\n\
        ```yaml\npublish:\n  retry:\n    max: 2\n    exit_codes: [20]\n```\n\n\
        After 40 there is nothing to do when the [problem](problems.md) is `superseded`; after `lock-held`, run the job again when the other one is done.\n";
    text
}

fn row(class: Class) -> String {
    format!("| {} | `{}` | {} |\n", class.exit_code(), name(class), sentence(class))
}

fn exit(class: Class) -> String {
    match class {
        Class::Rollout | Class::Cancelled => format!("{}, or 51 when the cluster is left changed", class.exit_code()),
        _ => class.exit_code().to_string(),
    }
}

/// As `problem.class` of report.json has it.
fn name(class: Class) -> &'static str {
    match class {
        Class::Usage => "usage",
        Class::User => "user",
        Class::Transient => "transient",
        Class::Auth => "auth",
        Class::Busy => "busy",
        Class::Rollout => "rollout",
        Class::Integrity => "integrity",
        Class::Internal => "internal",
        Class::Cancelled => "cancelled",
    }
}

fn sentence(class: Class) -> &'static str {
    match class {
        Class::Usage => "settings or the command line are wrong; nothing was done",
        Class::User => "the application's own code or files: compiling, tests, Dockerfile, an object that the cluster refuses",
        Class::Transient => "something outside did not answer or had no room; the same job may well succeed when it is run again",
        Class::Auth => "credentials, rights or a policy do not permit it",
        Class::Busy => "another run publishes this application, or a newer one has published already",
        Class::Rollout => "the new version did not come up; the previous one runs again",
        Class::Integrity => "content is not what its digest says; nothing was published",
        Class::Internal => "a bug of Shipway; please report it with the log",
        Class::Cancelled => "the job was cancelled; nothing is left changed",
    }
}

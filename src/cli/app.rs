//! `app`: what the ledger knows of applications, and the company's settings for them.

use std::{io::Read, path::Path};

use serde_json::{Map, Value, json};

use super::{asked::App, print, session::Session};
use crate::{
    domain::{
        policy::Target,
        problem::{Code, Problem, Result},
    },
    ledger::{Application, Ledger},
    report,
    settings::{self, Input, Mistakes},
    steps,
};

/// Keys that say which application and which run it is: the company cannot know them for all runs.
const NOT_HERE: [&str; 5] = ["app", "environment", "command", "ledger", "rules"];

pub(super) async fn run(input: Input, action: App) -> Result<u8> {
    let dir = input.dir.clone();
    let session = Session::start(input, "app")?;
    let ledger = steps::ledger(&session.loaded, &dir).await?;
    let text = match action {
        App::List { line, json, csv } => {
            let known = ledger.known(line.as_deref().unwrap_or_default()).await?;
            match (json, csv) {
                (true, _) => print::json(&known)?,
                (_, true) => report::apps_csv(&known),
                _ => report::apps(&known, &print::style(&session.loaded)),
            }
        }
        App::Get { name, json } => {
            let entry = entry(&ledger, &name).await?;
            if json { print::json(&entry)? } else { lines(&entry) }
        }
        App::Set { name, values } => {
            let entry = changed(ledger.application(&name).await?.unwrap_or_else(|| empty(&name)), &values)?;
            change(&session, &dir, &ledger, std::slice::from_ref(&entry)).await?;
            lines(&entry)
        }
        App::Export => print::json(&ledger.applications().await?)?,
        App::Import { entries: file } => {
            let entries = read(&file)?;
            change(&session, &dir, &ledger, &entries).await?;
            report::imported(entries.len())
        }
    };
    print::text(&session.redactor.redact(&text));
    Ok(0)
}

/// Asks who may, sets the entries, and leaves an event for each.
async fn change(session: &Session, dir: &Path, ledger: &Ledger, entries: &[Application]) -> Result<()> {
    let line = |entry: &Application| entry.settings.get("line").and_then(Value::as_str).unwrap_or_default().to_string();
    let target = |entry: &Application| Target { app: entry.app.clone(), line: line(entry), environment: String::new() };
    let targets: Vec<Target> = entries.iter().map(target).collect();
    let author = steps::ask(&session.loaded, dir, &session.events, "app", &targets).await?;
    ledger.set_applications(entries, &author).await?;
    for (entry, target) in entries.iter().zip(&targets) {
        let detail = json!({"owners": entry.owners, "settings": entry.settings});
        steps::tell_ledger(ledger, "app-set", target, &author, detail).await?;
    }
    Ok(())
}

fn empty(name: &str) -> Application {
    Application { app: name.to_string(), owners: Vec::new(), settings: Map::new() }
}

async fn entry(ledger: &Ledger, name: &str) -> Result<Application> {
    ledger.application(name).await?.ok_or_else(|| {
        Problem::new(Code::SettingMissing, format!("the ledger does not know {name}")).hint("shipway app list shows those that it knows")
    })
}

/// `KEY=VALUE` is set, `KEY=` is taken away.
fn changed(mut entry: Application, values: &[(String, String)]) -> Result<Application> {
    for (key, value) in values {
        if key == "owners" {
            entry.owners = value.split(',').map(str::trim).filter(|owner| !owner.is_empty()).map(str::to_string).collect();
            continue;
        }
        let path: Vec<&str> = key.split('.').collect();
        let value = match value.trim() {
            "" => None,
            json if json.starts_with(['[', '{']) => Some(serde_json::from_str(json).map_err(|error| {
                Problem::new(Code::SettingInvalid, format!("{key}: the value is no JSON: {error}"))
                    .hint("quote it for the shell as a whole")
            })?),
            text => Some(Value::String(text.to_string())),
        };
        put(&mut entry.settings, &path, value);
    }
    checked(entry)
}

fn put(map: &mut Map<String, Value>, path: &[&str], value: Option<Value>) {
    match (path, value) {
        ([name], Some(value)) => {
            map.insert((*name).to_string(), value);
        }
        ([name], None) => {
            map.shift_remove(*name);
        }
        ([name, rest @ ..], value) => {
            let below = map.entry((*name).to_string()).or_insert_with(|| Value::Object(Map::new()));
            if !below.is_object() {
                *below = Value::Object(Map::new());
            }
            if let Value::Object(below) = below {
                put(below, rest, value);
            }
            if map.get(*name).and_then(Value::as_object).is_some_and(Map::is_empty) {
                map.shift_remove(*name);
            }
        }
        ([], _) => {}
    }
}

/// The rules of shipway.yaml hold here, too.
fn checked(entry: Application) -> Result<Application> {
    let name = settings::company_name(&entry.app);
    if let Some(key) = NOT_HERE.iter().find(|key| entry.settings.contains_key(**key)) {
        return Err(Problem::new(Code::SettingInvalid, format!("{name}: {key} cannot be set for an application"))
            .hint("set what shipway.yaml may say of the application, such as line, image.base or kubernetes.replicas"));
    }
    let mistakes = settings::check(&Value::Object(entry.settings.clone()).to_string(), &name);
    match mistakes.is_empty() {
        true => Ok(entry),
        false => Err(Mistakes(mistakes).into()),
    }
}

/// What `export` writes, from a file or, named `-`, from standard input; all entries are checked before one is written.
fn read(file: &Path) -> Result<Vec<Application>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| Problem::io("read", file, &error))?;
    let entries: Vec<Application> = serde_json::from_str(&text).map_err(|error| {
        Problem::new(Code::SettingInvalid, format!("{} is no list of applications: {error}", file.display()))
            .hint("write it as shipway app export does: [{\"app\": …, \"owners\": […], \"settings\": {…}}]")
    })?;
    entries.into_iter().map(checked).collect()
}

/// A line for each key.
fn lines(entry: &Application) -> String {
    fn walk(prefix: &str, value: &Value, lines: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                let dot = if prefix.is_empty() { "" } else { "." };
                fields.iter().for_each(|(name, value)| walk(&format!("{prefix}{dot}{name}"), value, lines));
            }
            Value::String(text) => lines.push(format!("{prefix}={text}")),
            other => lines.push(format!("{prefix}={other}")),
        }
    }
    let mut lines = vec![format!("app={}", entry.app), format!("owners={}", entry.owners.join(","))];
    walk("", &Value::Object(entry.settings.clone()), &mut lines);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(values: &[(&str, &str)]) -> Result<Application> {
        changed(empty("orders"), &values.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<Vec<_>>())
    }

    #[test]
    fn keys_are_those_of_the_file() {
        let entry = set(&[
            ("owners", "ada, bo"),
            ("line", "trade"),
            ("build.jdk", "17"),
            ("environments.prod.kubernetes.replicas", "4"),
            ("kubernetes.env", "{\"A\": \"b\"}"),
            ("image.base", "x"),
            ("image.base", ""),
        ])
        .unwrap();
        assert_eq!(
            lines(&entry),
            "app=orders\nowners=ada,bo\nline=trade\nbuild.jdk=17\nenvironments.prod.kubernetes.replicas=4\nkubernetes.env.A=b\n"
        );
    }

    #[test]
    fn what_the_file_may_not_say_is_refused() {
        for (key, value, expected) in [
            ("kubernetes.replics", "4", "did you mean"),
            ("kubernetes.replicas", "many", "kubernetes.replicas"),
            ("registry.password", "s3cret", "secret"),
            ("app", "other", "cannot be set"),
            ("kubernetes.env", "{no", "no JSON"),
        ] {
            let problem = set(&[(key, value)]).unwrap_err();
            assert_eq!(problem.exit_code(), 2, "{key}");
            assert!(format!("{} {}", problem.message, problem.hint).contains(expected), "{key}: {problem:?}");
            assert!(!problem.message.contains("s3cret"));
        }
    }
}

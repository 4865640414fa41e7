//! The invariants of ARCHITECTURE.md, kept by reading the source: who may import whom, who may read the environment, who may print.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The rooms of each floor, from the ground up.
const FLOORS: &[&[&str]] = &[
    &["domain"],
    &["settings", "net", "process"],
    &["git", "maven", "image", "registry", "cluster", "center", "forge", "issuer", "notify", "queue", "ledger"],
    &["plan", "report"],
    &["steps"],
    &["cli", "main"],
];

/// Rooms of one floor that may see each other: the outside systems are strangers but for these pairs.
const NEIGHBOURS: &[(&str, &str)] = &[("image", "registry"), ("center", "cluster"), ("plan", "report")];

struct Source {
    path: PathBuf,
    room: String,
    /// The code without comments, string contents and unit tests.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let room = inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_string();
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { room, code: code_of(&text), path });
            }
        }
    }
    assert!(found.len() > 8, "only {} files found below src", found.len());
    found
}

/// Drops comment lines and everything from the unit tests on, so that the words of docs and tests do not count.
fn code_of(text: &str) -> String {
    text.split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that the code names by `crate::room`, also inside `use crate::{a::…, b::…}`.
fn rooms_used(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            used.extend(top_level_names(group));
        } else {
            used.push(name_at(rest));
        }
    }
    used
}

fn name_at(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn top_level_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut fresh) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                names.push(name_at(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn offenders(sources: &[Source], wrong: impl Fn(&Source) -> Option<String>) -> Vec<String> {
    sources.iter().filter_map(|source| wrong(source).map(|why| format!("{}: {why}", source.path.display()))).collect()
}

#[test]
fn a_floor_uses_only_floors_below_it() {
    let wrong = offenders(&sources(), |source| {
        let own = floor(&source.room)?;
        rooms_used(&source.code).into_iter().find_map(|used| {
            let other = floor(&used)?;
            let stranger = other == own && used != source.room && own == 2 && !NEIGHBOURS.contains(&(&source.room, &used));
            // Plan and report are pure: they know no outside system.
            let impure = own == 3 && other == 2;
            (other > own || stranger || impure).then(|| format!("{} (floor {}) uses {used} (floor {})", source.room, own + 1, other + 1))
        })
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_has_a_floor() {
    let unknown =
        offenders(&sources(), |source| (source.room != "lib" && floor(&source.room).is_none()).then(|| "stands on no floor".into()));
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn the_domain_does_no_input_or_output() {
    let forbidden = [
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "ToSocketAddrs",
        "std::process",
        "std::env",
        "tokio",
        "reqwest",
        "kube::",
        "zip::",
        "std::io::stdout",
    ];
    let wrong = offenders(&sources(), |source| {
        (source.room == "domain").then(|| forbidden.iter().find(|word| source.code.contains(*word)).map(|word| format!("uses {word}")))?
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_settings_reads_the_environment() {
    let forbidden = ["env::var", "env::vars", "env::home_dir", "env::temp_dir", "try_default(", "infer()", "from_default_env"];
    let wrong = offenders(&sources(), |source| {
        (source.room != "settings").then(|| forbidden.iter().find(|word| source.code.contains(*word)).map(|word| format!("uses {word}")))?
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_report_and_cli_print() {
    let forbidden = ["stdout()", "stderr()", "println!", "eprintln!"];
    let wrong = offenders(&sources(), |source| {
        let may = matches!(source.room.as_str(), "report" | "cli" | "main");
        (!may).then(|| forbidden.iter().find(|word| source.code.contains(*word)).map(|word| format!("uses {word}")))?
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_started_through_a_shell() {
    let wrong = offenders(&sources(), |source| {
        let shell = ["\"sh\"", "\"bash\"", "\"/bin/sh\"", "\"-c\""].iter().find(|word| source.code.contains(*word));
        let starts = source.code.contains("process::Command") && source.code.contains("Command::new(");
        match (shell, starts) {
            (Some(word), true) => Some(format!("starts programs and names {word}")),
            (None, true) if source.room != "process" => Some("starts a program by itself: use process::run".into()),
            _ => None,
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn secrets_cannot_be_shown() {
    let secret = sources().into_iter().find(|source| source.path.ends_with("domain/secret.rs")).unwrap().code;
    assert!(!secret.contains("Debug") && !secret.contains("Display") && !secret.contains("Serialize"), "Secret can be shown:\n{secret}");
    let wrong = offenders(&sources(), |source| {
        (source.code.contains("impl fmt::Debug for Secret") || source.code.contains("impl Display for Secret"))
            .then(|| "shows a secret".into())
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable() {
    let long = offenders(&sources(), |source| {
        let lines = source.code.lines().count();
        (lines > 450).then(|| format!("{lines} lines of code"))
    });
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn nothing_names_a_machine() {
    let wrong = offenders(&sources(), |source| {
        ["/work/", "/root/", "/home/"].iter().find(|path| source.code.contains(*path)).map(|path| format!("names {path}"))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_in_groups_are_seen() {
    let code = "use crate::{\n    domain::{a, b},\n    maven::Request,\n};\nuse crate::git;";
    assert_eq!(rooms_used(code), ["domain", "maven", "git"]);
}

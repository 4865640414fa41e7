//! Completions, the schema, the meaning of a problem.

use std::{fs, path::Path, process::Command};

use crate::support::{fixture, job::jar_checkout, shipway::shipway};

/// Asks bash itself what it would complete.
fn completed(words: &[&str]) -> Vec<String> {
    let script = shipway(Path::new("/")).args(["completions", "bash"]).run().expect_code(0).stdout;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("completions"), script).unwrap();
    let last = words.len() - 1;
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let ask = format!(
        "source completions; COMP_WORDS=({}); COMP_CWORD={last}; _shipway shipway {} {}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words[last],
        words[last.saturating_sub(1)]
    );
    let output = Command::new("bash").args(["--norc", "-c", &ask]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    assert_eq!(completed(&["shipway", "roll"]), ["rollback"]);
    assert!(completed(&["shipway", "rollback", "--t"]).contains(&"--to".to_owned()));
    assert_eq!(completed(&["shipway", "init", "--ci", "g"]), ["gitlab"]);
}

#[test]
fn every_shell_gets_its_own() {
    for (shell, sign) in [("zsh", "#compdef shipway"), ("fish", "complete -c shipway")] {
        shipway(Path::new("/")).args(["completions", shell]).run().expect_code(0).expect_text(&[sign, "rollback"]);
    }
}

#[test]
fn a_problem_is_explained_by_its_name() {
    let explain =
        |name: &str| shipway(Path::new("/")).env("SHIPWAY_HELP_URL", "https://docs.example.test/shipway/").args(["explain", name]);
    explain("image-not-found").run().expect_code(0).expect_text(&[
        "a node cannot find the image",
        "check that the cluster may read the registry",
        "exit 50",
        "https://docs.example.test/shipway/problems.html#image-not-found",
    ]);
    explain("image-not-fond").run().expect_code(2).expect_text(&["did you mean image-not-found?"]);
    let all = shipway(Path::new("/")).arg("explain").run().expect_code(0).stdout;
    assert_eq!(all.lines().count(), shipway::domain::problem::Code::ALL.len());
}

#[test]
fn the_log_leads_to_what_a_problem_means() {
    let checkout = jar_checkout("web", &fixture::archive("shaded-service", ""));
    checkout.write("shipway.yaml", "build: {command: ['false'], artifact: app.jar}\n");
    shipway(checkout.path()).run().expect_code(10).expect_text(&["more    shipway explain build-failed"]);
    let page = "https://docs.example.test/problems.html#build-failed";
    shipway(checkout.path()).env("SHIPWAY_HELP_URL", "https://docs.example.test").run().expect_code(10).expect_text(&[page]);
    let report = |name: &str| fs::read_to_string(checkout.path().join("shipway-report").join(name)).unwrap();
    assert!(report("report.json").contains(&format!("\"page\": \"{page}\"")) && report("comment.md").contains(&format!("]({page})")));
    assert!(report("report.html").contains(&format!("<a href=\"{page}\"")));
}

#[test]
fn the_schema_is_the_one_that_is_delivered() {
    let delivered = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin/shipway.schema.json")).unwrap();
    assert_eq!(shipway(Path::new("/")).arg("schema").run().expect_code(0).stdout, delivered);
    let served = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/shipway.schema.json");
    assert_eq!(fs::read_to_string(served).unwrap(), delivered, "the site of docs/ serves another one");
}

#[test]
fn every_command_says_what_it_is_for() {
    let help = shipway(Path::new("/")).arg("--help").run().expect_code(0).stdout;
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names: Vec<&str> = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert!(names.contains(&"doctor") && names.contains(&"rebase"), "{names:?}");
    for name in names.iter().filter(|name| !name.is_empty()) {
        let text = shipway(Path::new("/")).args([name, "--help"]).run().expect_code(0).stdout;
        assert!(text.contains("Usage: shipway"), "{name}: {text}");
        let first = text.lines().next().unwrap();
        assert!(first.len() > 15 && text.lines().all(|line| line.chars().count() <= 100), "{name}: {text}");
    }
}

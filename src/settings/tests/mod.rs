//! What the contract says, case by case.

mod ci;
mod file;
mod generated;
mod host;
mod precedence;
mod robust;
mod variables;

use super::*;

fn vars(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// What to load: variables, a file's text, flags.
#[derive(Default)]
struct Case<'a> {
    variables: &'a [(&'a str, &'a str)],
    file: &'a str,
    flags: &'a [(&'a str, &'a str)],
}

impl Case<'_> {
    fn load(&self) -> Result<Loaded, Mistakes> {
        let dir = tempfile::tempdir().unwrap();
        if !self.file.is_empty() {
            std::fs::write(dir.path().join("shipway.yaml"), self.file).unwrap();
        }
        load(&Input { args: vars(self.flags), file: None, dir: dir.path().into(), environment: vars(self.variables), company: Vec::new() })
    }

    fn good(&self) -> Loaded {
        self.load().unwrap_or_else(|mistakes| panic!("{:#?}", mistakes.0))
    }

    /// The value and source of a key, as `plan` shows them.
    fn shows(&self, key: &str, value: &str, source: &str) {
        let loaded = self.good();
        let found = loaded.sources.iter().find(|sourced| sourced.key == key).unwrap_or_else(|| panic!("{key} is not set"));
        assert_eq!((found.value.as_str(), found.source.to_string().as_str()), (value, source), "{key}");
    }

    /// The only mistake: its text with the fix.
    fn bad(&self, expected: &str) {
        assert_eq!(self.mistakes(), [expected]);
    }

    fn mistakes(&self) -> Vec<String> {
        match self.load() {
            Ok(_) => panic!("no mistake was found"),
            Err(mistakes) => mistakes.0.iter().map(|mistake| format!("{mistake} ({})", mistake.fix)).collect(),
        }
    }
}

fn variables<'a>(variables: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case { variables, ..Case::default() }
}

fn file(file: &str) -> Case<'_> {
    Case { file, ..Case::default() }
}

#[test]
fn nothing_configured_is_legal() {
    let loaded = Case::default().good();
    assert_eq!(loaded.settings.command, Command::Run);
    assert_eq!(loaded.settings.kubernetes.rolling.timeout.as_secs(), 600);
    assert_eq!(loaded.settings.kubernetes.rolling.max_surge.as_str(), "1");
    assert_eq!(loaded.settings.image.user, "10001");
    assert_eq!(loaded.settings.kubernetes.replicas, None);
    assert_eq!(loaded.settings.publish, Auto::Auto);
    assert_eq!(loaded.settings.center.url.expose(), "kubernetes");
    assert!(loaded.warnings.is_empty());
    assert!(loaded.sources.iter().all(|sourced| sourced.source == Source::Default));
}

#[test]
fn all_mistakes_become_one_problem() {
    use crate::domain::problem::{Code, Problem};
    let case = Case {
        variables: &[("PLUGIN_REPLICS", "1"), ("SHIPWAY_IMAGE_PORT", "0")],
        file: "app: Bad_Name\nimge: {}\n",
        flags: &[("kubernetes.replica", "2")],
    };
    let problem: Problem = case.load().err().unwrap().into();
    assert_eq!(problem.code.class().exit_code(), 2);
    assert!(problem.message.starts_with("5 settings are wrong:\n"), "{}", problem.message);
    for part in [
        "shipway.yaml:1:6: app is \"Bad_Name\"",
        "shipway.yaml:2:1: imge is not a setting (did you mean image?)",
        "PLUGIN_REPLICS",
        "--set kubernetes.replica",
    ] {
        assert!(problem.message.contains(part), "{part} is missing in {}", problem.message);
    }
    let one: Problem = file("imge: {}").load().err().unwrap().into();
    assert_eq!((one.code, one.hint.as_str()), (Code::SettingUnknown, "did you mean image?"));
}

//! The settings reference: every key with its meaning, default and spellings, as markdown.

use super::{
    coerce::plain,
    shape::{self, Form, Leaf, Secrecy, Section, Shape},
};

const HEAD: &str = "\
# Settings

<!-- Generated from src/settings/keys; do not edit. A test says how to renew it. -->

Every key has four spellings; the strongest source wins: flag, `PLUGIN_…`, `SHIPWAY_…`, the file's section of the environment, the
file, the CI's own variables, what is found in the repository, the default. Maps merge by key, lists replace. An empty value is \"not set\".
`shipway plan` shows each value with its source.

- In `shipway.yaml` (or `--file`) a key is a path: `kubernetes.rolling.timeout` is `kubernetes: {rolling: {timeout: 10m}}`, at the top or
  below `environments.<name>`; a name may be a pattern such as `review/*`.
- A variable may hold a whole section as JSON, such as `PLUGIN_KUBERNETES={\"rolling\": {\"timeout\": \"10m\"}}`; a key's own variable beats it.
- Lists are JSON when the value starts with `[`, else split on newlines, else on commas; lists of arguments are never split on commas.
- Maps are JSON in variables: `SHIPWAY_KUBERNETES_ENV={\"NAME\": \"value\"}`.
- Booleans are `true`, `false`, `1`, `0`; durations `90s`, `10m`, `1h30m`; sizes `512Mi`.
- Secrets come by a variable, or by a file that a variable ending in `_FILE` names; in `shipway.yaml` and on the command line they are refused.
- Of drone-docker's settings `username`, `password`, `repo`, `tags` and `registry` are understood.
";

/// The reference of all settings, as markdown.
pub fn reference() -> String {
    let mut text = HEAD.to_string();
    section(shape::root(), &mut text);
    text
}

fn section(section: &Section, text: &mut String) {
    let leaves: Vec<&Leaf> =
        section.fields.iter().filter_map(|(_, shape)| if let Shape::Leaf(leaf) = shape { Some(leaf) } else { None }).collect();
    let title = if section.path.is_empty() { "The run".to_string() } else { format!("`{}`", section.path.join(".")) };
    if !leaves.is_empty() {
        text.push_str(&format!("\n## {title}\n\n"));
        if !section.path.is_empty() {
            text.push_str(&format!("{}\n\n", section.description));
        }
        text.push_str("| key | meaning | value | default | spellings |\n|---|---|---|---|---|\n");
        leaves.into_iter().for_each(|leaf| text.push_str(&row(leaf)));
    }
    for (_, shape) in &section.fields {
        if let Shape::Section(below) = shape {
            self::section(below, text);
        }
    }
}

fn row(leaf: &Leaf) -> String {
    let (key, variable) = (leaf.key(), leaf.variable());
    let mut meaning = leaf.description.clone();
    if leaf.baked && leaf.path[0] == "image" {
        meaning.push_str(" Baked into the image: not below `environments`.");
    }
    let mut spellings = vec![format!("`SHIPWAY_{variable}`"), format!("`PLUGIN_{variable}`")];
    if leaf.has_file() {
        spellings.push("each also with `_FILE`".to_string());
    }
    if leaf.in_file() {
        spellings.push(format!("`--set {key}=…`"));
    }
    let text = |words: String| words.replace('<', "&lt;");
    let cells = [format!("`{key}`"), text(meaning), value(leaf), text(default(leaf)), spellings.join("<br>")];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

pub(super) fn value(leaf: &Leaf) -> String {
    let secret = match leaf.secrecy {
        Secrecy::Open => "",
        Secrecy::Secret => " (secret)",
        Secrecy::WithCredentials => " (secret when it holds a password)",
    };
    let form = match (&leaf.form, leaf.rule.as_str()) {
        (Form::Boolean, _) => "boolean".to_string(),
        (Form::Integer { min, max: i64::MAX }, _) => format!("whole number from {min}"),
        (Form::Integer { min, max }, _) => format!("whole number from {min} to {max}"),
        (Form::Choice(words), _) => words.iter().map(|word| format!("`{}`", plain(word))).collect::<Vec<_>>().join(", "),
        (Form::List, "arguments") => "list of arguments".to_string(),
        (Form::List, _) => "list".to_string(),
        (Form::Map, _) => "map".to_string(),
        (Form::Probe, _) => "path, `tcp`, `off`, or a whole probe".to_string(),
        (Form::Text, "duration") => "duration".to_string(),
        (Form::Text, "quantity") => "quantity".to_string(),
        (Form::Text, "int-or-percent") => "number or percentage".to_string(),
        (Form::Text, _) => "text".to_string(),
    };
    form + secret
}

pub(super) fn default(leaf: &Leaf) -> String {
    match (&leaf.default, &leaf.default_words) {
        (Some(default), _) => format!("`{}`", plain(default)),
        (None, Some(words)) => words.clone(),
        (None, None) => "–".to_string(),
    }
}

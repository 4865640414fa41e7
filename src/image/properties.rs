//! The handful of an application's own settings that a publish wants to know: ports and paths.

use std::collections::BTreeMap;

use serde_json::Value;

/// The keys that are looked for, as properties files write them.
const KEYS: [&str; 4] = ["server.port", "management.server.port", "server.servlet.context-path", "management.endpoints.web.base-path"];
/// An application's YAML beyond this many nodes is not read: it is a bomb, or nothing of ours.
const MAX_NODES: usize = 20_000;

/// Reads an application.properties (java.util.Properties, with Spring's `#---` documents).
pub(super) fn from_properties(text: &str) -> BTreeMap<String, String> {
    let documents = split_documents(text);
    let pairs = documents.iter().map(|document| parse_properties(document));
    collect(pairs.collect())
}

/// Reads an application.yml; what cannot be read gives nothing.
pub(super) fn from_yaml(text: &str) -> BTreeMap<String, String> {
    let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_depth: 64, } };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).unwrap_or_default();
    let flat = documents.iter().map(|document| {
        let mut pairs = BTreeMap::new();
        flatten("", document, &mut pairs);
        pairs
    });
    collect(flat.collect())
}

/// Later documents win; those for a profile do not count, since it is not known which profile will run.
fn collect(documents: Vec<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for pairs in documents {
        let canonical: BTreeMap<String, &String> = pairs.iter().map(|(key, value)| (uniform(key), value)).collect();
        let conditional = canonical.keys().any(|key| {
            key.starts_with("spring.config.activate.onprofile") || key == "spring.profiles" || key.starts_with("spring.profiles[")
        });
        if conditional {
            continue;
        }
        for key in KEYS {
            if let Some(value) = canonical.get(&uniform(key)).and_then(|value| resolve(value)) {
                found.insert(key.to_string(), value);
            }
        }
    }
    found
}

/// Spring's relaxed binding: case and dashes do not count.
fn uniform(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// Takes the default of a placeholder (`${PORT:8080}`); a value that depends on the environment alone is not known.
fn resolve(value: &str) -> Option<String> {
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    let Some(inner) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return (!value.contains("${")).then(|| value.to_string());
    };
    resolve(inner.split_once(':')?.1)
}

fn flatten(prefix: &str, value: &Value, pairs: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, pairs);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                flatten(&format!("{prefix}[{index}]"), value, pairs);
            }
        }
        Value::String(text) => drop(pairs.insert(prefix.to_string(), text.clone())),
        Value::Null => {}
        scalar => drop(pairs.insert(prefix.to_string(), scalar.to_string())),
    }
}

fn split_documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if matches!(line.trim_end(), "#---" | "!---") {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents
}

fn parse_properties(text: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(first) = lines.next() {
        let mut line = first.trim_start().to_string();
        if line.starts_with(['#', '!']) || line.is_empty() {
            continue;
        }
        while line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1 {
            line.pop();
            let Some(next) = lines.next() else { break };
            line.push_str(next.trim_start());
        }
        let (key, value) = split_pair(&line);
        pairs.insert(unescape(key), unescape(value));
    }
    pairs
}

/// The key ends at the first `=`, `:` or blank that is not escaped.
fn split_pair(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        escaped = !escaped && *c == '\\';
        ends
    });
    let Some((end, _)) = end else { return (line, "") };
    let rest = line[end..].trim_start();
    (&line[..end], rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                out.extend(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: BTreeMap<String, String>, expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, String> = expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn properties_in_every_spelling() {
        check(from_properties("server.port=8085"), &[("server.port", "8085")]);
        check(from_properties("# c\n! c\n server.port : 9\\\n   090\n"), &[("server.port", "9090")]);
        check(from_properties("server.servlet.contextPath \\u002fapi"), &[("server.servlet.context-path", "/api")]);
        check(from_properties("server.port=${PORT:8081}\nmanagement.server.port=${M}"), &[("server.port", "8081")]);
        check(from_properties("server.port=\nserver.portx=1"), &[]);
    }

    #[test]
    fn documents_of_a_profile_do_not_count() {
        check(from_properties("server.port=1\n#---\nspring.config.activate.on-profile=prod\nserver.port=2\n"), &[("server.port", "1")]);
        check(from_properties("server.port=1\n#---\nserver.port=2\n"), &[("server.port", "2")]);
        check(from_yaml("server: {port: 1}\n---\nspring: {profiles: prod}\nserver: {port: 2}\n"), &[("server.port", "1")]);
        check(from_yaml("server.port: 1\n---\nspring.config.activate.on-profile: [a]\nserver.port: 2\n"), &[("server.port", "1")]);
    }

    #[test]
    fn yaml_is_flattened() {
        let text = "server:\n  port: 8090\n  servlet:\n    context-path: /shop\nmanagement:\n  server.port: 9001\n  endpoints.web.base-path: /manage\n";
        check(
            from_yaml(text),
            &[
                ("management.endpoints.web.base-path", "/manage"),
                ("management.server.port", "9001"),
                ("server.port", "8090"),
                ("server.servlet.context-path", "/shop"),
            ],
        );
        check(from_yaml("server: [\n"), &[]);
        check(from_yaml(""), &[]);
    }
}

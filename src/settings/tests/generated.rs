//! The generated files are current, and the schema says what reading does.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::super::{Server, plugin_page, reference, schema};

/// Compares with the file in the repository; `UPDATE=1` writes it.
fn current(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(there == text, "{path} is not current; renew it with: UPDATE=1 cargo test --lib settings::tests::generated");
}

#[test]
fn the_schema_file_is_current() {
    current("plugin/shipway.schema.json", &format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap()));
}

#[test]
fn the_reference_is_current() {
    current("docs/settings.md", &reference());
}

#[test]
fn the_plugin_pages_are_current() {
    current("plugin/drone/index.md", &plugin_page(Server::Drone));
    current("plugin/woodpecker/docs.md", &plugin_page(Server::Woodpecker));
}

fn at(path: &str) -> Value {
    schema().pointer(path).cloned().unwrap_or_else(|| panic!("nothing at {path}"))
}

#[test]
fn the_schema_is_one_for_editors() {
    let timeout = at("/properties/kubernetes/properties/rolling/properties/timeout");
    assert_eq!(timeout["default"], "10m");
    assert_eq!(timeout["description"], "Limit of the whole rollout.");
    assert!(timeout["pattern"].is_string());
    assert_eq!(at("/properties/kubernetes/additionalProperties"), json!(false));
    assert_eq!(at("/properties/image/properties/port/maximum"), json!(65535));
    assert_eq!(at("/properties/publish/enum"), json!(["auto", true, false]));
    assert_eq!(at("/properties/registry/properties/password/not"), json!({}));
    assert_eq!(at("/properties/image/properties/tag/type"), json!(["string", "number"]));
    assert_eq!(at("/properties/kubernetes/properties/env/additionalProperties/type"), json!(["string", "number", "boolean"]));
    let text = schema().to_string();
    assert!(!text.contains("\"x-") && !text.contains("\"required\":["), "{text}");
}

#[test]
fn sections_have_no_baked_keys() {
    let section = at("/$defs/section/properties");
    assert!(section["image"]["properties"].get("port").is_none());
    assert!(section["image"]["properties"].get("tag").is_some());
    assert!(section.get("environment").is_none() && section.get("environments").is_none());
    assert!(section["kubernetes"]["properties"].get("replicas").is_some());
}

#[test]
fn every_key_says_what_it_is() {
    for leaf in super::super::shape::root().leaves() {
        assert!(leaf.description.ends_with('.'), "{} has no description", leaf.key());
        assert!(leaf.description.len() < 200, "{}", leaf.key());
    }
    let text = reference();
    let row = "| `kubernetes.replicas` | Number of pods; left alone unless it is set. | whole number from 0 to 10000 | 2 at creation, afterwards left alone | `SHIPWAY_KUBERNETES_REPLICAS`<br>`PLUGIN_KUBERNETES_REPLICAS`<br>`--set kubernetes.replicas=…` |";
    assert!(text.contains(row), "{text}");
}

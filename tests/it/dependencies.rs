//! What may come in with a crate: its licence, its source, and no second provider of TLS.

use serde_json::Value;
use std::process::Command;

/// Licences that go well with Apache-2.0 in one static binary; each of a crate's terms must be met by one of them.
/// That of bzip2 is the BSD licence in its author's words.
const LICENCES: [&str; 10] =
    ["MIT", "Apache-2.0", "ISC", "Zlib", "Unicode-3.0", "BSD-2-Clause", "BSD-3-Clause", "Unlicense", "MIT-0", "bzip2-1.0.6"];

/// Crates that must not come in, and why.
const BANNED: [(&str, &str); 6] = [
    ("aws-lc-rs", "ring is the one provider of TLS: two of them panic at the first client"),
    ("openssl-sys", "the binary is static, and rustls is its TLS"),
    ("native-tls", "the binary is static, and rustls is its TLS"),
    ("serde_yaml", "archived; serde-saphyr reads YAML"),
    ("oci-client", "the push path is ours; its regular expressions cost 20 MB of memory"),
    ("chrono", "jiff is the one for times"),
];

/// Crates of which one version must do: two would not know each other's types or settings.
const ONCE: [&str; 8] = ["rustls", "ring", "tokio", "hyper", "reqwest", "http", "k8s-openapi", "serde_json"];

#[test]
fn licences_of_all_crates_are_known_and_fit() {
    let strange: Vec<String> = crates()
        .iter()
        .map(|package| (name(package), package["license"].as_str().unwrap_or("none").to_owned()))
        .filter(|(_, licence)| !allowed(licence))
        .map(|(name, licence)| format!("{name}: {licence}"))
        .collect();
    assert!(strange.is_empty(), "licences that nobody has looked at: {strange:#?}");
}

#[test]
fn no_banned_crate_is_in() {
    let crates = crates();
    for (banned, why) in BANNED {
        assert!(!crates.iter().any(|package| name(package) == banned), "{banned} came in: {why}; see `cargo tree -i {banned}`");
    }
}

#[test]
fn what_must_be_there_once_is_there_once() {
    let crates = crates();
    for only in ONCE {
        let count = crates.iter().filter(|package| name(package) == only).count();
        assert_eq!(count, 1, "versions of {only}; see `cargo tree --duplicates`");
    }
}

#[test]
fn all_crates_come_from_the_registry() {
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    let strange: Vec<String> =
        crates().iter().filter(|package| !package["source"].is_null() && package["source"] != registry).map(name).collect();
    assert!(strange.is_empty(), "not from crates.io: {strange:?}");
}

#[test]
fn licence_expressions_are_read() {
    for (expression, expected) in [
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0", false),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("none", false),
    ] {
        assert_eq!(allowed(expression), expected, "{expression}");
    }
}

/// What is linked on Linux, from the lock file, without a network.
fn crates() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(metadata["packages"].take()).unwrap()
}

fn name(package: &Value) -> String {
    package["name"].as_str().unwrap().to_owned()
}

/// SPDX's form as crates write it. Brackets are not nested there; without any, a mix of AND and OR is read as the stricter of both.
fn allowed(expression: &str) -> bool {
    let terms = expression.split(" AND ").map(|term| term.trim_matches(['(', ')']));
    terms.into_iter().all(|term| {
        let choices = term.split(" OR ").flat_map(|choice| choice.split('/'));
        choices.map(|choice| choice.trim().trim_end_matches(" WITH LLVM-exception")).any(|choice| LICENCES.contains(&choice))
    })
}

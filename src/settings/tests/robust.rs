//! Whatever comes in, reading ends with settings or mistakes, never with a panic.

use proptest::prelude::*;

use super::{Input, check, load};
use crate::settings::shape::root;

/// Texts that are likely to reach the corners of YAML and JSON.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "(app|image|kubernetes|environments|'\\*'|<<|[a-z&*!|>%@`\"'{}\\[\\],:#? -]|\n|\n  |: ){0,60}",
        "[\\PC\n\t]{0,60}",
        Just("[".repeat(5000)),
        Just("{\"a\":".repeat(500)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn files(text in text()) {
        for mistake in check(&text, "shipway.yaml") {
            let place = mistake.place.expect("every mistake of a file has a place");
            prop_assert!(place.line >= 1 && place.line <= text.lines().count() + 1 && place.column >= 1, "{place} in {text:?}");
        }
    }

    #[test]
    fn values(leaf in 0..root().leaves().len(), value in text(), plugin in any::<bool>()) {
        let leaf = root().leaves()[leaf];
        let name = format!("{}{}", if plugin { "PLUGIN_" } else { "SHIPWAY_" }, leaf.variable());
        let environment = vec![(name.clone(), value.clone())];
        match load(&Input { environment, dir: "no-such-folder".into(), ..Input::default() }) {
            Ok(loaded) => prop_assert!(!value.trim().is_empty() || loaded.sources.iter().all(|s| s.source.to_string() != name)),
            Err(mistakes) => prop_assert!(mistakes.0.iter().all(|mistake| mistake.setting.starts_with(&leaf.key()) || mistake.setting == "lock.backend"), "{:?}", mistakes.0),
        }
    }
}

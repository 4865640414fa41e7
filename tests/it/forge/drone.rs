//! What Drone collects of a step: its card and its output.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::support::{
    fixture::Checkout,
    shipway::{Shipway, shipway},
};

use super::{quick_checkout, with_build};

fn step(checkout: &Checkout) -> Shipway {
    shipway(checkout.path())
        .envs([("CI", "true"), ("DRONE", "true"), ("DRONE_REPO", "trade/web"), ("DRONE_REPO_NAME", "web"), ("DRONE_BUILD_EVENT", "push")])
        .envs([
            ("DRONE_COMMIT_BRANCH", "main"),
            ("DRONE_REPO_BRANCH", "main"),
            ("DRONE_BUILD_LINK", "https://drone.example.test/trade/web/5"),
        ])
        .envs([("DRONE_COMMIT_MESSAGE", "Close [x](https://evil.test) @all"), ("DRONE_BUILD_NUMBER", "5")])
        .env("DRONE_COMMIT_SHA", checkout.head())
        .env("PLUGIN_COMMAND", "build")
}

#[test]
fn the_card_goes_to_the_file_that_drone_names() {
    let checkout = with_build("['false']");
    let card = checkout.path().join("card.json");
    step(&checkout).env("DRONE_CARD_PATH", &card).run().expect_code(10);
    let card: Value = serde_json::from_str(&fs::read_to_string(&card).unwrap()).unwrap();
    let template = card["schema"].as_str().unwrap().strip_prefix("data:application/json;base64,").unwrap();
    let template: Value = serde_json::from_slice(&BASE64_STANDARD.decode(template).unwrap()).unwrap();
    assert_eq!(template["type"], "AdaptiveCard");
    let data = &card["data"];
    assert_eq!((data["title"].as_str(), data["color"].as_str()), (Some("web failed"), Some("Attention")));
    assert_eq!(data["links"][0]["url"], "https://drone.example.test/trade/web/5");
    assert!(!data.to_string().contains("](https://evil.test") && !data.to_string().contains("@all"), "{data}");
    filled(&template, data, &mut 0);
}

/// Every `${name}` of the template is in the data: a card with holes shows them to people.
fn filled(template: &Value, data: &Value, seen: &mut usize) {
    match template {
        Value::Object(fields) => {
            let below = match fields.get("$data").and_then(Value::as_str) {
                Some(name) => {
                    let list = &data[name.trim_start_matches("${").trim_end_matches('}')];
                    assert!(list.is_array(), "{name} is no list of {data}");
                    list.get(0).cloned().unwrap_or(Value::Null)
                }
                None => data.clone(),
            };
            fields.iter().filter(|(name, _)| *name != "$data" && !below.is_null()).for_each(|(_, field)| filled(field, &below, seen));
        }
        Value::Array(items) => items.iter().for_each(|item| filled(item, data, seen)),
        Value::String(text) => {
            for part in text.split("${").skip(1) {
                let name = part.split('}').next().unwrap();
                assert!(data[name].is_string(), "{name} is no text of {data}");
                *seen += 1;
            }
        }
        _ => {}
    }
}

#[test]
fn the_card_goes_into_the_log_in_one_piece_when_drone_reads_it_there() {
    let checkout = quick_checkout();
    let job = step(&checkout).env("DRONE_CARD_PATH", "/dev/stdout").env("PLUGIN_REPORT_CARD", "https://cards.example.test/shipway.json");
    let done =
        job.env("PLUGIN_FORGE_TOKEN", "card-canary-token").env("DRONE_COMMIT_AUTHOR_NAME", "Eve card-canary-token").run().expect_code(0);
    let card = done.stdout.split("\u{1b}]1338;").nth(1).unwrap().split("\u{1b}]0m\n").next().unwrap();
    let card = String::from_utf8(BASE64_STANDARD.decode(card).unwrap()).unwrap();
    assert!(!card.contains("card-canary-token"), "{card}");
    let card: Value = serde_json::from_str(&card).unwrap();
    assert_eq!((card["schema"].as_str(), card["data"]["color"].as_str()), (Some("https://cards.example.test/shipway.json"), Some("Good")));
}

#[test]
fn output_variables_are_added_to_those_that_are_there() {
    let checkout = crate::support::job::jar_checkout("web", &crate::support::fixture::archive("shaded-service", ""));
    let (lab, output) = (crate::support::lab::lab(), checkout.path().join("output.env"));
    fs::write(&output, "OTHER=1\n").unwrap();
    let job =
        step(&checkout).env("DRONE_OUTPUT", &output).env("PLUGIN_REGISTRY", &lab.registry().address).env("PLUGIN_IMAGE_BASE", lab.base(17));
    job.env("PLUGIN_LINE", crate::support::unique("output")).env("PLUGIN_COMMAND", "image").run().expect_code(0);
    let text = fs::read_to_string(&output).unwrap();
    assert!(text.starts_with("OTHER=1\n") && text.contains("SHIPWAY_OUT_IMAGE=") && text.contains("@sha256:"), "{text}");
    assert!(text.lines().all(|line| line.split_once('=').is_some_and(|(_, value)| !value.contains(['"', ' ']))), "{text}");
}

#[test]
fn a_card_that_cannot_be_written_fails_no_run() {
    let checkout = quick_checkout();
    let nowhere = Path::new("/proc/nowhere/card.json");
    step(&checkout).env("DRONE_CARD_PATH", nowhere).run().expect_code(0).expect_text(&["cannot write /proc/nowhere/card.json"]);
}

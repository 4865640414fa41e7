//! The page in a real Chromium: light, dark, on a phone, on paper; nothing on the console, nothing that axe finds fault with.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use shipway::report::html;

use super::{page::many_pods, sample};
use crate::support::lab::lab;

/// What the browser says of these pages; the screenshots stay beside them below the target folder, to be looked at.
fn look(pages: &[(&str, String)]) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).unwrap();
    let files: Vec<PathBuf> = pages.iter().map(|(name, _)| folder.join(format!("{name}.html"))).collect();
    for (file, (_, page)) in files.iter().zip(pages) {
        std::fs::write(file, page).unwrap();
    }
    let tools = lab().npm();
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(tools.join("node"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/look.cjs"))
        .arg(&folder)
        .args(&files)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", home.path())
        .env("NODE_PATH", tools.parent().unwrap())
        .env("CHROMIUM", "/usr/bin/chromium")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_page_is_good_to_look_at_read_and_print() {
    let render = |run: &sample::Run| html::render(&run.report(), &sample::attachments()).unwrap();
    let pages = [
        ("succeeded", render(&sample::succeeded())),
        ("rolled_back", render(&sample::rolled_back())),
        ("nothing", render(&sample::nothing_configured())),
        ("many_pods", many_pods()),
    ];
    let seen = look(&pages);
    assert_eq!(seen.len(), pages.len() * 4);
    for view in &seen {
        let at = format!("{} {}", view["name"], view["view"]);
        if view["view"] == "print" {
            assert_eq!(view["folded"], 0, "{at}: what is folded is not printed");
            assert!(view["bytes"].as_u64().unwrap() > 10_000, "{at}");
            continue;
        }
        for faults in ["errors", "violations"] {
            assert_eq!(view[faults].as_array().unwrap().len(), 0, "{at}: {:#}", view[faults]);
        }
        // where the text of a log is longer than its window, axe cannot look at all of it
        let told = view["name"] == "many_pods" || !view["unsure"].to_string().contains("color-contrast");
        assert!(told, "{at}: contrast that nobody can tell: {:#}", view["unsure"]);
        for width in ["wide", "openedWide"] {
            assert!(view[width].as_u64() <= view["window"].as_u64(), "{at}: {} wider than {}", view[width], view["window"]);
        }
        assert_eq!(view["hidden"], 0, "{at}");
    }
    let text = |name: &str, view: &str| {
        let found = seen.iter().find(|seen| seen["name"] == name && seen["view"] == view).unwrap();
        found["text"].as_str().unwrap().to_string()
    };
    for view in ["light", "dark", "phone"] {
        let (good, back) = (text("succeeded", view), text("rolled_back", view));
        for words in [
            "Succeeded",
            "is up: revision 12 in trade",
            "118 tests",
            "ready after",
            "38.6 MB",
            "116.3 MB reused",
            "2.1 MB sent",
            "image: registry.example.test/trade/order-service:0f1e2d3c4b5a",
        ] {
            assert!(good.contains(words), "{view}: no {words:?} in\n{good}");
        }
        for words in ["Rolled back", "exit 50", "no rounding mode for currency CHF", "What to do", "Back-off restarting", "rollback begins"]
        {
            assert!(back.contains(words), "{view}: no {words:?} in\n{back}");
        }
        assert!(text("many_pods", view).contains("140 more pods"));
    }
}

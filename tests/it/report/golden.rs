//! Texts that are kept as files and compared whole.

use std::{fs, path::Path};

use shipway::report::{comment, dotenv, json, junit};

use super::sample;

/// Compares with `tests/golden/report/<name>`.
pub fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/report").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        let different = expected.lines().zip(actual.lines()).position(|(a, b)| a != b);
        panic!("{} differs at line {:?}; UPDATE_GOLDEN=1 writes it anew. Now:\n{actual}", path.display(), different.map(|at| at + 1));
    }
}

#[test]
fn the_files_for_machines() {
    let (good, bad) = (sample::succeeded().report(), sample::rolled_back().report());
    check("succeeded.json", &json::render(&good).unwrap());
    check("rolled_back.json", &json::render(&bad).unwrap());
    check("rolled_back.junit.xml", &junit::render(&bad));
    check("succeeded.env", &dotenv::render(&good));
}

#[test]
fn the_comments() {
    check("succeeded.comment.md", &comment::render(&sample::succeeded().report(), comment::LIMIT));
    check("rolled_back.comment.md", &comment::render(&sample::rolled_back().report(), comment::LIMIT));
    check("nothing_configured.comment.md", &comment::render(&sample::nothing_configured().report(), comment::LIMIT));
}

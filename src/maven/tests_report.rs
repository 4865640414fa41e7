//! Surefire's and failsafe's XML reports: how many tests ran, and what failed.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use roxmltree::Node;

use super::xml;

/// Lines of a stack trace that are shown: enough to reach the test's own line past the assertion library.
const STACK_LINES: usize = 12;

/// All tests of a run.
#[derive(Debug, Default)]
pub(super) struct TestRun {
    pub tests: u64,
    pub skipped: u64,
    pub failed: Vec<Failed>,
}

/// A test that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// `ClassName.method`.
    pub name: String,
    pub message: String,
    /// First lines of the stack.
    pub stack: String,
}

/// Reads the reports below the given module folders that were written since `since`; older ones are of an earlier build.
pub(super) fn read(modules: &[PathBuf], since: SystemTime) -> TestRun {
    let mut run = TestRun::default();
    for module in modules {
        for folder in ["surefire-reports", "failsafe-reports"] {
            for file in report_files(&module.join("target").join(folder), since) {
                let Ok(text) = xml::read_text(&file) else { continue };
                if let Ok(document) = xml::parse(&text) {
                    run.add(document.root_element());
                }
            }
        }
    }
    run
}

impl TestRun {
    fn add(&mut self, suite: Node<'_, '_>) {
        for case in xml::children(suite, "testcase") {
            self.tests += 1;
            if xml::child(case, "skipped").is_some() {
                self.skipped += 1;
            } else if let Some(failure) = xml::child(case, "failure").or_else(|| xml::child(case, "error")) {
                self.failed.push(failed(case, failure));
            }
        }
    }
}

fn report_files(folder: &Path, since: SystemTime) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let fresh = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).is_ok_and(|modified| modified >= since);
    let is_report = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("TEST-") && name.ends_with(".xml")
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_report).filter(fresh).collect();
    files.sort();
    files
}

fn failed(case: Node<'_, '_>, failure: Node<'_, '_>) -> Failed {
    let class = case.attribute("classname").unwrap_or_default();
    let class = class.rsplit('.').next().unwrap_or(class);
    let method = case.attribute("name").unwrap_or_default();
    let name = [class, method].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
    let stack: String = failure.text().unwrap_or_default().to_string();
    let words = failure.attribute("message").filter(|message| !message.trim().is_empty());
    let message = words.or_else(|| stack.lines().next()).or_else(|| failure.attribute("type")).unwrap_or("no message");
    let message = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message").to_string();
    let stack = stack.lines().take(STACK_LINES).collect::<Vec<_>>().join("\n");
    Failed { name, message, stack }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_errors_and_skipped_tests_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let reports = dir.path().join("target/surefire-reports");
        std::fs::create_dir_all(&reports).unwrap();
        let report = r#"<testsuite tests="4"><testcase name="adds" classname="shop.CartTest"/><testcase name="later" classname="shop.CartTest"><skipped/></testcase>
            <testcase name="sums" classname="shop.CartTest"><failure message="expected: &lt;2&gt; but was: &lt;3&gt;" type="E">org.opentest4j.E: expected
	at shop.CartTest.sums(CartTest.java:12)</failure></testcase>
            <testcase name="" classname="shop.BootTest"><error type="java.lang.IllegalStateException">java.lang.IllegalStateException: no port
	at x</error></testcase></testsuite>"#;
        std::fs::write(reports.join("TEST-shop.CartTest.xml"), report).unwrap();
        std::fs::write(reports.join("TEST-broken.xml"), "<testsuite>").unwrap();
        let run = read(&[dir.path().to_path_buf()], SystemTime::UNIX_EPOCH);
        assert_eq!((run.tests, run.skipped, run.failed.len()), (4, 1, 2));
        assert_eq!((run.failed[0].name.as_str(), run.failed[0].message.as_str()), ("CartTest.sums", "expected: <2> but was: <3>"));
        assert!(run.failed[0].stack.contains("CartTest.java:12"));
        assert_eq!((run.failed[1].name.as_str(), run.failed[1].message.as_str()), ("BootTest", "java.lang.IllegalStateException: no port"));
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        assert_eq!(read(&[dir.path().to_path_buf()], later).tests, 0);
    }
}

//! What an application's last lines say.

use super::*;

fn crash() -> Finding {
    Finding::new(Code::CrashLoop, "container app of pod a ended twice with exit code 1").doomed()
}

#[test]
fn a_class_that_is_too_new_names_both_versions() {
    let log = "Error: LinkageError occurred while loading main class shop.Main
\tjava.lang.UnsupportedClassVersionError: shop/Main has been compiled by a more recent version of the Java Runtime (class file version 65.0), this version of the Java Runtime only recognizes class file versions up to 61.0";
    let finding = java::refine(crash(), log);
    assert_eq!(finding.code, Code::JavaTooOld);
    assert_eq!(finding.message, "the application is compiled for Java 21, but the image runs Java 17");
    assert!(finding.hint.unwrap().contains("Java 21 image"));
}

#[test]
fn the_line_that_says_most_is_taken_over() {
    for (log, line) in [
        (
            "starting\nException in thread \"main\" x.Y: a\n\tat x.Z\nCaused by: java.net.ConnectException: refused\n\tat x.W",
            "java.net.ConnectException: refused",
        ),
        ("INFO up\n2026 ERROR no database\nbye", "2026 ERROR no database"),
        ("one\n\nfatal: no configuration\n", "fatal: no configuration"),
    ] {
        assert!(java::refine(crash(), log).message.ends_with(line), "{log}");
    }
    assert_eq!(java::refine(crash(), ""), crash());
}

#[test]
fn memory_hints_compare_heap_and_limit() {
    let hint = |limit: &str, option: &str| java::memory_hint(Some(limit), &[option.to_string()]);
    assert!(hint("512Mi", "-Xmx500m").starts_with("-Xmx500m leaves"));
    assert!(hint("1Gi", "-Xmx256m").contains("the heap (-Xmx256m) fits"));
    assert!(hint("1Gi", "-XX:MaxRAMPercentage=95").contains("leaves too little"));
    assert!(hint("1Gi", "-XX:MaxRAMPercentage=70").starts_with("raise kubernetes.resources.limits.memory"));
    assert!(java::memory_hint(None, &[]).starts_with("raise"));
}

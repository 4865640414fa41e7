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

#[test]
fn words_of_a_log_say_what_to_do() {
    for (log, hint) in [
        ("Unrecognized VM option 'UseFoo'\nError: Could not create the Java Virtual Machine.", "kubernetes.jvm"),
        ("no main manifest attribute, in /app/app.jar", "main class"),
        ("Error: Unable to access jarfile /app/app.jar", "COPY and ENTRYPOINT"),
        ("exec /app/run: exec format error", "image.platforms"),
        ("java.net.UnknownHostException: database", "kubernetes.env"),
        ("Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space", "the heap is too small"),
    ] {
        let refined = java::refine(crash(), log);
        assert!(refined.hint.as_deref().is_some_and(|given| given.contains(hint)), "{log}: {refined:?}");
    }
}

#[test]
fn the_heap_is_set_against_the_limit() {
    let heap = |limit: &str, options: &[&str]| java::heap(Some(limit), &options.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(heap("1Gi", &["-Xmx512m"]).unwrap(), "-Xmx512m lets the heap alone take 50 % of it");
    assert_eq!(heap("1Gi", &["-Xmx1g", "-XX:MaxRAMPercentage=95"]).unwrap(), "-XX:MaxRAMPercentage=95 lets the heap alone take 95 % of it");
    assert_eq!((heap("1Gi", &["-Xlog:gc"]), java::heap(None, &["-Xmx1g".to_string()])), (None, None));
}

//! What is known of Java: heap against memory limit, class versions, the telling lines of its logs.

use k8s_openapi::api::core::v1::Container;

use super::Finding;
use crate::domain::{
    containers::JAVA_OPTIONS,
    problem::Code,
    units::{format_bytes, parse_bytes},
};

/// Part of the limit that a heap may have before the rest of the JVM gets too little.
const HEAP_PART: f64 = 0.8;
/// Class file versions start at 45 for Java 1.
const CLASS_FILE_OFFSET: u32 = 44;
const LONGEST_LINE: usize = 300;
/// What to do about an image that its node's processor cannot run.
pub const OTHER_PROCESSOR: &str = "the image is built for another processor than its node has: set image.platforms";
/// Words of a log, and what they say to do; the first that is found counts.
const TELLING: &[(&str, &str)] = &[
    (
        "java.lang.OutOfMemoryError: Java heap space",
        "the heap is too small: raise kubernetes.resources.limits.memory, or -Xmx in kubernetes.jvm",
    ),
    ("java.lang.OutOfMemoryError: Metaspace", "raise -XX:MaxMetaspaceSize in kubernetes.jvm, or leave it out"),
    ("exec format error", OTHER_PROCESSOR),
    (
        "Unrecognized VM option",
        "the image's Java does not know that option: correct kubernetes.jvm or image.jvm, or take another image.base",
    ),
    ("Unrecognized option:", "the image's Java does not know that option: correct kubernetes.jvm or image.jvm, or take another image.base"),
    (
        "Could not find or load main class",
        "the image starts a class that is not in it: check the main class of the artifact, or the ENTRYPOINT of the Dockerfile",
    ),
    (
        "no main manifest attribute",
        "the jar does not say what to start: give it a main class, or start another jar in the Dockerfile's ENTRYPOINT",
    ),
    ("Unable to access jarfile", "the image starts a jar that is not in it: check the COPY and ENTRYPOINT lines of the Dockerfile"),
    ("Address already in use", "two containers or servers of the pod want the same port: give them ports of their own"),
    (
        "UnknownHostException",
        "the application looks for a host that has no address here: correct it in kubernetes.env or the Secret that names it",
    ),
    (
        "Connection refused",
        "something that the application needs does not answer: check its address in kubernetes.env, and whether it is up",
    ),
    ("Read-only file system", "the application writes where it may not: give it a volume, or another folder by kubernetes.env"),
];

/// The JVM options that a container starts with, from its variables, command and arguments.
pub fn options(container: &Container) -> Vec<String> {
    let variables = container.env.iter().flatten().filter(|variable| matches!(variable.name.as_str(), JAVA_OPTIONS | "JDK_JAVA_OPTIONS"));
    let variables = variables.filter_map(|variable| variable.value.as_deref()).flat_map(str::split_whitespace);
    let words = container.command.iter().chain(&container.args).flatten().map(String::as_str);
    variables.chain(words).filter(|word| word.starts_with("-X")).map(str::to_string).collect()
}

/// How much of the limit the heap may take, as a phrase; None without a limit or without a heap size.
pub fn heap(limit: Option<&str>, options: &[String]) -> Option<String> {
    let limit = limit.and_then(parse_bytes).filter(|limit| *limit > 0)?;
    let (option, part) = options.iter().rev().find_map(|option| {
        let part = match option.strip_prefix("-Xmx") {
            Some(heap) => heap_bytes(heap)? as f64 * 100.0 / limit as f64,
            None => option.strip_prefix("-XX:MaxRAMPercentage=")?.parse().ok()?,
        };
        Some((option, part))
    })?;
    Some(format!("{option} lets the heap alone take {part:.0} % of it"))
}

/// What to do about a container that was killed for its memory.
pub fn memory_hint(limit: Option<&str>, options: &[String]) -> String {
    const RAISE: &str = "raise kubernetes.resources.limits.memory";
    let bytes = limit.and_then(parse_bytes);
    let heap = options.iter().rev().find_map(|option| Some((option, heap_bytes(option.strip_prefix("-Xmx")?)?)));
    let percent = options.iter().rev().find_map(|option| option.strip_prefix("-XX:MaxRAMPercentage=")?.parse::<f64>().ok());
    match (heap, bytes, percent) {
        (Some((option, heap)), Some(limit), _) if heap as f64 > limit as f64 * HEAP_PART => {
            let room = format_bytes(limit.saturating_sub(heap));
            format!("{option} leaves {room} of the limit for everything else of the JVM: lower it in kubernetes.jvm, or {RAISE}")
        }
        (None, Some(_), Some(percent)) if percent > HEAP_PART * 100.0 => {
            format!("-XX:MaxRAMPercentage={percent} leaves too little for everything else of the JVM: take 70, or {RAISE}")
        }
        (Some((option, _)), ..) => format!("{RAISE}: the heap ({option}) fits, so threads, metaspace or native memory took the rest"),
        _ => format!("{RAISE}, or lower the heap in kubernetes.jvm"),
    }
}

/// Sharpens a finding by what the application's last log lines say.
pub fn refine(finding: Finding, log: &str) -> Finding {
    if !matches!(finding.code, Code::CrashLoop | Code::PodFailed | Code::ProbeFailed | Code::NeverReady | Code::DeadlineExceeded) {
        return finding;
    }
    if let Some((needed, runs)) = log.lines().find_map(class_versions) {
        let message = format!("the application is compiled for Java {needed}, but the image runs Java {runs}");
        let hint = format!("set image.base to a Java {needed} image, or build.jdk to {runs}");
        return Finding { code: Code::JavaTooOld, message, hint: Some(hint), ..finding };
    }
    if finding.code != Code::CrashLoop {
        return finding;
    }
    let hint = TELLING.iter().find(|(words, _)| log.contains(words)).map(|(_, hint)| (*hint).to_string());
    let message = match telling_line(log) {
        Some(line) => format!("{}: {line}", finding.message),
        None => finding.message.clone(),
    };
    Finding { message, hint: hint.or(finding.hint.clone()), ..finding }
}

/// The Java that a class needs and the one that runs, from the sentence of `UnsupportedClassVersionError`.
fn class_versions(line: &str) -> Option<(u32, u32)> {
    line.contains("UnsupportedClassVersionError").then_some(())?;
    let needed = version_after(line, "class file version ")?;
    let runs = version_after(line, "class file versions up to ")?;
    Some((needed, runs))
}

fn version_after(line: &str, words: &str) -> Option<u32> {
    let rest = &line[line.find(words)? + words.len()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse::<u32>().ok()?.checked_sub(CLASS_FILE_OFFSET)
}

/// The line that says most: the innermost cause, else the last that names an error, else the last one.
fn telling_line(log: &str) -> Option<String> {
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("at "));
    let cause = lines().rfind(|line| line.starts_with("Caused by:"));
    let error = || lines().rfind(|line| ["Exception", "Error", "ERROR"].iter().any(|word| line.contains(word)));
    let line = cause.or_else(error).or_else(|| lines().next_back())?;
    let line = line.strip_prefix("Caused by:").unwrap_or(line).trim();
    Some(line.chars().filter(|c| !c.is_control()).take(LONGEST_LINE).collect())
}

/// `512m`, `2g`, `1024k` or bytes, as `-Xmx` takes them.
fn heap_bytes(text: &str) -> Option<u64> {
    let (number, factor) = match text.chars().last()?.to_ascii_lowercase() {
        'k' => (&text[..text.len() - 1], 1 << 10),
        'm' => (&text[..text.len() - 1], 1 << 20),
        'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

//! Why Maven failed, from what it said: the phase, the place, the cause, and what to do.

use super::{
    Jdk, Repository,
    output::{Watch, short_plugin},
    tests_report::TestRun,
    transfer,
};
use crate::domain::problem::{Code, EvidenceKind, Problem};

/// What is needed to word a failure.
pub(super) struct Scene<'a> {
    pub watch: &'a Watch,
    pub tests: &'a TestRun,
    pub jdk: &'a Jdk,
    pub version: Option<&'a str>,
    pub repository: Option<&'a Repository>,
    /// The log's file name, as evidence names it.
    pub log: &'a str,
}

/// How many tests or compiler errors are shown.
const SHOWN: usize = 10;

/// Turns a failed run into its problem.
pub(super) fn classify(scene: &Scene<'_>) -> Problem {
    let text = scene.watch.errors.join("\n");
    if let Some(problem) = pom_problem(scene) {
        return problem;
    }
    let Some(header) = scene.watch.errors.iter().find_map(|line| Header::parse(line)) else {
        return transfer::resolution(scene, None, &text).unwrap_or_else(|| unknown(scene, &text));
    };
    match header.phase() {
        Phase::Deploy => transfer::deploy(scene, &header, &text),
        _ if header.plugin.is_none() || text.contains("could not be resolved") => {
            transfer::resolution(scene, Some(&header), &text).unwrap_or_else(|| plugin_failed(scene, &header))
        }
        Phase::Compile => compile(scene, &header),
        Phase::Test => tests(scene, &header),
        Phase::Package | Phase::Other => transfer::resolution(scene, Some(&header), &text).unwrap_or_else(|| plugin_failed(scene, &header)),
    }
}

/// `Failed to execute goal GROUP:PLUGIN:VERSION:GOAL (EXECUTION) on project MODULE: MESSAGE`; plugin and goal are absent when
/// dependencies are missing.
pub(super) struct Header {
    plugin: Option<String>,
    goal: String,
    pub module: String,
    pub message: String,
}

/// The part of a build that a plugin belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Compile,
    Test,
    Package,
    Deploy,
    Other,
}

impl Header {
    fn parse(line: &str) -> Option<Header> {
        let rest = line.strip_prefix("Failed to execute goal ")?;
        let rest = rest.split(" -> [Help").next()?;
        let (goal, rest) = match rest.strip_prefix("on project ") {
            Some(rest) => ("", rest),
            None => rest.split_once(" on project ")?,
        };
        let (module, message) = rest.split_once(": ").unwrap_or((rest, ""));
        let coordinates: Vec<&str> = goal.split(' ').next().unwrap_or_default().split(':').collect();
        let plugin = coordinates.get(1).map(|name| short_plugin(name).to_string());
        let goal = coordinates.last().copied().unwrap_or_default().to_string();
        Some(Header { plugin, goal, module: module.to_string(), message: message.trim().to_string() })
    }

    fn phase(&self) -> Phase {
        match (self.plugin.as_deref().unwrap_or_default(), self.goal.as_str()) {
            ("compiler", _) | ("kotlin" | "scala" | "gmavenplus" | "groovy-eclipse", "compile" | "testCompile" | "test-compile") => {
                Phase::Compile
            }
            ("surefire" | "failsafe", _) => Phase::Test,
            ("jar" | "war" | "ear" | "shade" | "assembly" | "spring-boot" | "source" | "javadoc" | "quarkus" | "jib", _) => Phase::Package,
            ("deploy" | "nexus-staging" | "central-publishing", _) => Phase::Deploy,
            _ => Phase::Other,
        }
    }

    fn is_test_code(&self) -> bool {
        self.goal.to_ascii_lowercase().contains("test")
    }
}

fn pom_problem(scene: &Scene<'_>) -> Option<Problem> {
    let errors = &scene.watch.errors;
    let find = |words: &[&str]| errors.iter().find(|line| words.iter().any(|word| line.contains(word)));
    if let Some(line) = find(&["Could not find the selected project in the reactor"]) {
        return Some(Problem::new(Code::ModuleUnknown, format!("maven: {}", line.trim())).hint("correct -pl in build.args"));
    }
    if let Some(line) = find(&["Unknown lifecycle phase", "No plugin found for prefix", "Could not find goal"]) {
        return Some(Problem::new(Code::BuildFailed, format!("maven: {}", first_sentence(line))).hint("correct build.goals or build.args"));
    }
    let broken =
        find(&["Non-parseable POM", "Malformed POM", "'dependencies.dependency", "'parent.", "'packaging'", "is missing. @", "must be"]);
    let reading =
        find(&["problems were encountered while processing the POMs", "The build could not read", "Error building POM"]).is_some();
    let resolving = find(&["Non-resolvable", "Unresolveable", "could not be resolved"]).is_some();
    if let (Some(line), true, false) = (broken, reading, resolving) {
        let message = format!("maven cannot read the project: {}", first_sentence(line));
        return Some(Problem::new(Code::PomInvalid, message).evidence(EvidenceKind::Log, scene.log, errors.join("\n")));
    }
    None
}

fn compile(scene: &Scene<'_>, header: &Header) -> Problem {
    let errors = compiler_errors(&scene.watch.errors);
    let what = if header.is_test_code() { "compile of the tests" } else { "compile" };
    let first = errors.first().map_or(header.message.as_str(), |error| error.lines().next().unwrap_or_default());
    let more = match errors.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let text = scene.watch.errors.join("\n");
    let problem = Problem::new(Code::CompileFailed, format!("{what} failed in {}: {first}{more}", header.module));
    let problem = match level_hint(&text, scene.jdk) {
        Some(hint) => problem.hint(hint),
        None => problem,
    };
    let shown = if errors.is_empty() { text } else { errors[..errors.len().min(SHOWN)].join("\n") };
    problem.evidence(EvidenceKind::Log, scene.log, shown)
}

/// What to do when compiler and Java level do not fit each other.
fn level_hint(text: &str, jdk: &Jdk) -> Option<String> {
    let number = |after: &str| {
        let rest = text.split(after).nth(1)?.trim_start().trim_start_matches("1.");
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    let old = ["Source option ", "Target option ", "release version ", "invalid source release: ", "invalid target release: "];
    let level = old.iter().find_map(|words| number(words))?;
    if text.contains("no longer supported") || level < 8 {
        return Some(format!(
            "the pom names no Java level, or one that JDK {} does not know: add <maven.compiler.release>{}</maven.compiler.release> to <properties> in pom.xml",
            jdk.version, jdk.version
        ));
    }
    (level > jdk.version)
        .then(|| format!("the pom asks for Java {level}, but JDK {} compiled: set build.jdk to {level} or newer", jdk.version))
}

/// `src/A.java:[12,7] message` as `src/A.java:12:7: message`, with the lines that explain it.
fn compiler_errors(lines: &[String]) -> Vec<String> {
    let mut errors: Vec<String> = Vec::new();
    let mut open = false;
    for line in lines {
        if let Some(error) = compiler_error(line) {
            open = !errors.iter().any(|known| known.lines().next() == Some(&error));
            if open {
                errors.push(error);
            }
        } else if open && line.starts_with("  ") {
            if let Some(last) = errors.last_mut() {
                last.push('\n');
                last.push_str(line);
            }
        } else {
            open = false;
        }
    }
    errors
}

fn compiler_error(line: &str) -> Option<String> {
    let line = line.trim_start_matches("file://");
    let (path, rest) = line.split_once(":[").or_else(|| line.split_once(": (")).or_else(|| line.split_once(".kt:"))?;
    if line.contains(".kt:") && !line.contains(":[") && !line.contains(": (") {
        return Some(format!("{path}.kt:{rest}"));
    }
    let (place, message) = rest.split_once([']', ')'])?;
    let (row, column) = place.split_once(',')?;
    let (row, column): (u32, u32) = (row.trim().parse().ok()?, column.trim().parse().ok()?);
    Some(format!("{path}:{row}:{column}: {}", message.trim()))
}

fn tests(scene: &Scene<'_>, header: &Header) -> Problem {
    let run = scene.tests;
    let Some(first) = run.failed.first() else {
        let message = format!("tests could not run in {}: {}", header.module, header.message);
        return Problem::new(Code::TestsFailed, message).evidence(EvidenceKind::Log, scene.log, scene.watch.errors.join("\n"));
    };
    let names = run.failed.iter().skip(1).take(SHOWN - 1).map(|test| test.name.as_str()).collect::<Vec<_>>().join(", ");
    let others = match run.failed.len() {
        1 => String::new(),
        count if count > SHOWN => format!("; also {names} and {} more", count - SHOWN),
        _ => format!("; also {names}"),
    };
    let count = format!("{} of {} tests failed", run.failed.len(), run.tests);
    let message = format!("{count}: {}: {}{others}", first.name, scene.watch.relative(&first.message));
    let problem = Problem::new(Code::TestsFailed, message);
    run.failed.iter().take(SHOWN).fold(problem, |problem, test| {
        let seen = scene.watch.relative(&format!("{}\n{}", test.message, test.stack));
        problem.evidence(EvidenceKind::Log, format!("test {}", test.name), seen.trim_end())
    })
}

/// A plugin that has no phase of its own here is named as it is.
fn plugin_failed(scene: &Scene<'_>, header: &Header) -> Problem {
    let plugin = header.plugin.as_deref().unwrap_or("maven");
    let (code, what) = match header.phase() {
        Phase::Package => (Code::PackageFailed, format!("package failed in {}: {plugin}", header.module)),
        _ => (Code::BuildFailed, format!("{plugin} failed in {}", header.module)),
    };
    let text = scene.watch.errors.join("\n");
    let problem = Problem::new(code, format!("{what}: {}", first_sentence(&header.message)));
    let problem = match newer_java(&text) {
        Some(wanted) => problem.hint(format!(
            "the plugin {plugin} needs Java {wanted} to run, but Maven runs on JDK {}: set build.jdk to {wanted} or newer (maven.compiler.release keeps the level of the classes)",
            scene.jdk.version
        )),
        None => problem,
    };
    problem.evidence(EvidenceKind::Log, scene.log, text)
}

/// `class file version 61.0` of an UnsupportedClassVersionError as Java 17.
fn newer_java(text: &str) -> Option<u32> {
    text.contains("UnsupportedClassVersionError").then_some(())?;
    let rest = text.split("class file version ").nth(1)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<u32>().ok()?.checked_sub(44)
}

fn unknown(scene: &Scene<'_>, text: &str) -> Problem {
    let said = scene.watch.errors.first().map_or("it gave no reason", |line| line.as_str());
    let shown = if text.is_empty() { scene.watch.tail() } else { text.to_string() };
    Problem::new(Code::BuildFailed, format!("maven failed: {}", first_sentence(said))).evidence(EvidenceKind::Log, scene.log, shown)
}

/// The first line without Maven's pointer to its help, shortened to what fits a message.
pub(super) fn first_sentence(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it gave no reason");
    let line = line.split(" -> [Help").next().unwrap_or(line);
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_string(),
    }
}

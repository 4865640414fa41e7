//! Maven's output, read as it comes: what runs, what was made, what was said when it failed.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use crate::domain::event::{Event, Events};

/// Lines of errors that are kept; more say nothing new.
const MAX_ERRORS: usize = 400;
const TAIL: usize = 40;

/// What was seen so far.
pub(super) struct Watch {
    events: Events,
    checkout: Checkout,
    /// Maven itself has said something (a wrapper that cannot download does not get there).
    pub started: bool,
    /// Home of the Java that Maven runs on, as `-V` says it.
    pub runtime: Option<PathBuf>,
    /// The goal that ran last.
    pub goal: Option<Goal>,
    /// Artifact ids of the modules in the order in which Maven reached them.
    pub modules: Vec<String>,
    /// Modules whose archive was made, or found up to date.
    pub packaged: Vec<String>,
    /// The deploy goal ran.
    pub deployed: bool,
    /// Version of the first project that Maven built.
    pub version: Option<String>,
    /// Source files that were compiled, tests not counted.
    pub compiled: u64,
    /// Archives in the order in which they were made.
    pub archives: Vec<Archive>,
    /// `[ERROR]` and `[FATAL]` lines without that head.
    pub errors: Vec<String>,
    tail: VecDeque<String>,
}

/// One execution of a plugin's goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goal {
    /// Without `maven-` and `-plugin`: `compiler`.
    pub plugin: String,
    pub goal: String,
    /// Artifact id of the module; absent where Maven names none.
    pub module: String,
}

/// An archive that a plugin says it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Archive {
    pub plugin: String,
    pub module: String,
    pub path: PathBuf,
}

impl Watch {
    /// `dir` is the checkout: paths in it are kept relative to it.
    pub(super) fn new(events: &Events, dir: &Path) -> Self {
        Watch {
            events: events.clone(),
            checkout: Checkout::new(dir),
            started: false,
            runtime: None,
            goal: None,
            modules: Vec::new(),
            packaged: Vec::new(),
            deployed: false,
            version: None,
            compiled: 0,
            archives: Vec::new(),
            errors: Vec::new(),
            tail: VecDeque::new(),
        }
    }

    /// Takes the next line.
    pub(super) fn line(&mut self, line: &str) {
        let plain = strip_colours(line);
        let line = plain.trim_end();
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(self.relative(line));
        if let Some(text) = line.strip_prefix("[INFO] ") {
            self.started = true;
            self.info(text);
        } else if let Some(text) = ["[ERROR] ", "[FATAL] "].iter().find_map(|head| line.strip_prefix(head)) {
            self.started |= self.errors.is_empty();
            self.error(&self.relative(text));
        } else if line.starts_with("Apache Maven ") {
            self.started = true;
        } else if let Some(home) = line.strip_prefix("Java version: ").and_then(|rest| rest.split("runtime: ").nth(1)) {
            self.runtime = Some(PathBuf::from(home.trim()));
        } else if is_plain_error(line) {
            // Said by the start script or the JVM before Maven's own log begins.
            self.keep(&self.relative(line));
        }
    }

    /// The text with the paths in the checkout relative to it.
    pub(super) fn relative(&self, text: &str) -> String {
        self.checkout.relative(text)
    }

    /// The last lines, whatever they are.
    pub(super) fn tail(&self) -> String {
        self.tail.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    fn info(&mut self, text: &str) {
        if let Some(goal) = parse_goal(text) {
            let name = format!("{}:{}", goal.plugin, goal.goal);
            self.events.emit(Event::MavenGoal { goal: name, module: goal.module.clone() });
            self.enter(goal);
        } else if let Some(version) = text.strip_prefix("Building ").filter(|_| self.version.is_none()).and_then(project_version) {
            self.version = Some(version);
        } else if let Some(count) = compiled_files(text) {
            if self.goal.as_ref().is_none_or(|goal| !goal.goal.to_ascii_lowercase().contains("test")) {
                self.compiled += count;
            }
        } else if let (Some(path), Some(goal)) = (archive_path(text), &self.goal) {
            let archive = Archive { plugin: goal.plugin.clone(), module: goal.module.clone(), path };
            if !self.archives.contains(&archive) {
                self.archives.push(archive);
            }
        }
    }

    fn enter(&mut self, goal: Goal) {
        if !self.modules.contains(&goal.module) {
            self.modules.push(goal.module.clone());
        }
        if matches!((goal.plugin.as_str(), goal.goal.as_str()), ("jar", "jar") | ("war", "war")) {
            self.packaged.push(goal.module.clone());
        }
        self.deployed |= goal.plugin == "deploy";
        self.goal = Some(goal);
    }

    fn error(&mut self, text: &str) {
        self.events.emit(Event::BuildLine { line: text.to_string() });
        self.keep(text);
    }

    fn keep(&mut self, text: &str) {
        if self.errors.len() < MAX_ERRORS && !text.trim().is_empty() {
            self.errors.push(text.to_string());
        }
    }
}

/// `Building orders 1.2.0`, in a reactor `Building orders 1.2.0  [1/3]`.
fn project_version(text: &str) -> Option<String> {
    let text = text.split(" [").next()?.trim_end();
    let version = text.rsplit(' ').next()?;
    (text.contains(' ') && version.contains(|c: char| c.is_ascii_digit()) && !version.contains('/')).then(|| version.to_string())
}

/// `--- maven-jar-plugin:2.4:jar (default-jar) @ orders ---`, or `--- jar:3.4.1:jar (default-jar) @ orders ---` since Maven 3.9.
fn parse_goal(text: &str) -> Option<Goal> {
    let inner = text.strip_prefix("--- ").or_else(|| text.strip_prefix(">>> "))?;
    let inner = inner.strip_suffix(" ---").unwrap_or(inner);
    let (head, module) = inner.split_once(" @ ").unwrap_or((inner, ""));
    let coordinates = head.split(' ').next()?;
    let mut parts = coordinates.rsplit(':');
    let (goal, _version, plugin) = (parts.next()?, parts.next()?, parts.next()?);
    let module = module.split(' ').next().unwrap_or_default();
    Some(Goal { plugin: short_plugin(plugin).to_string(), goal: goal.to_string(), module: module.to_string() })
}

/// `maven-compiler-plugin` and `spring-boot-maven-plugin` as people call them: `compiler`, `spring-boot`.
pub(super) fn short_plugin(artifact: &str) -> &str {
    let name = artifact.strip_suffix("-maven-plugin").unwrap_or(artifact);
    name.strip_prefix("maven-").and_then(|name| name.strip_suffix("-plugin")).unwrap_or(name)
}

/// `Compiling 42 source files with javac [debug release 17] to target/classes`.
fn compiled_files(text: &str) -> Option<u64> {
    let (count, rest) = text.strip_prefix("Compiling ")?.split_once(' ')?;
    rest.contains("source").then(|| count.parse().ok())?
}

/// The archive that a line names: those of the jar, war and assembly plugins, and what Spring Boot and shade attach beside them.
fn archive_path(text: &str) -> Option<PathBuf> {
    let path = |text: &str| {
        let start = text.find('/')?;
        let end = [".jar", ".war"].iter().filter_map(|ending| text.find(ending)).min()? + 4;
        text.get(start..end).map(PathBuf::from)
    };
    if let Some(rest) = text.strip_prefix("Building jar: ").or_else(|| text.strip_prefix("Building war: ")) {
        return path(rest);
    }
    let repackaged = (text.starts_with("Attaching ") || text.starts_with("Creating ")) && text.contains("archive");
    let replaced = text.starts_with("Replacing main artifact ");
    (repackaged || replaced).then(|| path(text))?
}

fn is_plain_error(line: &str) -> bool {
    const HEADS: &[&str] =
        &["Error: ", "Error ", "The JAVA_HOME ", "Exception in thread ", "Caused by: ", "curl: ", "wget: ", "Unrecognized ", "ERROR: "];
    HEADS.iter().any(|head| line.starts_with(head)) || line.contains("UnsupportedClassVersionError")
}

/// The names under which tools know the checkout.
struct Checkout {
    /// With a slash at the end, the longest first.
    heads: Vec<String>,
}

impl Checkout {
    /// Maven and javac say the path with its links resolved, or as they were given it.
    fn new(dir: &Path) -> Self {
        let resolved = dir.canonicalize().ok();
        let names = [Some(dir), resolved.as_deref()].into_iter().flatten().filter(|dir| dir.is_absolute() && dir.parent().is_some());
        let mut heads: Vec<String> = names.map(|dir| format!("{}/", dir.to_string_lossy().trim_end_matches('/'))).collect();
        heads.sort_by_key(|head| std::cmp::Reverse(head.len()));
        heads.dedup();
        Checkout { heads }
    }

    fn relative(&self, text: &str) -> String {
        self.heads.iter().fold(text.to_string(), |text, head| without(&text, head))
    }
}

/// The text without a folder's name (and `file://` before it) wherever a path begins with it.
fn without(text: &str, head: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(head) {
        let before = &rest[..at];
        let named = before.strip_suffix("file://").or_else(|| before.strip_suffix("file:")).unwrap_or(before);
        // In the middle of a longer path it is another folder.
        let begins = !named.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '~'));
        shown.push_str(if begins { named } else { &rest[..at + head.len()] });
        rest = &rest[at + head.len()..];
    }
    shown.push_str(rest);
    shown
}

/// Removes terminal colours: a `.mvn/maven.config` may turn them on again.
fn strip_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |end| end + 1);
        rest = &after[end..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn watch(text: &str) -> Watch {
        let mut watch = Watch::new(&Events::none(), Path::new("/checkout"));
        text.lines().for_each(|line| watch.line(line));
        watch
    }

    #[test]
    fn goals_of_old_and_new_maven_are_told() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let events = Events::new(move |event| {
            if let Event::MavenGoal { goal, module } = event {
                sink.lock().unwrap().push(format!("{goal} {module}"));
            }
        });
        let mut watch = Watch::new(&events, Path::new("/checkout"));
        watch.line("[INFO] --- maven-compiler-plugin:3.11.0:compile (default-compile) @ orders ---");
        watch.line(
            "[\u{1b}[1;34mINFO\u{1b}[m] \u{1b}[1m--- \u{1b}[0;32msurefire:3.2.5:test\u{1b}[m \u{1b}[1m(default-test)\u{1b}[m @ orders ---",
        );
        watch.line("[INFO] --- spring-boot-maven-plugin:3.3.0:repackage (repackage) @ orders ---");
        watch.line("[INFO] ----------------------------< demo:simple >-----------------------------");
        watch.line("[INFO] --------------------------------[ jar ]---------------------------------");
        assert_eq!(*seen.lock().unwrap(), ["compiler:compile orders", "surefire:test orders", "spring-boot:repackage orders"]);
    }

    #[test]
    fn compiled_files_and_archives_are_counted() {
        let watch = watch(
            "Apache Maven 3.8.7\nJava version: 17.0.15, vendor: Debian, runtime: /usr/lib/jvm/java-17\n\
             [INFO] --- maven-compiler-plugin:3.1:compile (default-compile) @ a ---\n[INFO] Compiling 41 source files to /x/target/classes\n\
             [INFO] --- maven-compiler-plugin:3.1:testCompile (default-testCompile) @ a ---\n[INFO] Compiling 3 source files to /x\n\
             [INFO] --- jar:3.4.1:jar (default-jar) @ a ---\n[INFO] Building jar: /x/target/a b.jar\n\
             [INFO] --- spring-boot:3.3.0:repackage (repackage) @ a ---\n\
             [INFO] Attaching repackaged archive /x/target/a-exec.jar with classifier exec\n",
        );
        assert_eq!((watch.compiled, watch.started, watch.runtime.as_deref()), (41, true, Some(Path::new("/usr/lib/jvm/java-17"))));
        let archives: Vec<_> = watch.archives.iter().map(|archive| (archive.plugin.as_str(), archive.path.to_str().unwrap())).collect();
        assert_eq!(archives, [("jar", "/x/target/a b.jar"), ("spring-boot", "/x/target/a-exec.jar")]);
    }

    #[test]
    fn paths_in_the_checkout_are_said_from_there() {
        for (line, shown) in [
            ("/checkout/src/A.java:[1,2] error: ';' expected", "src/A.java:[1,2] error: ';' expected"),
            ("file:///checkout/src/A.kt:1:2 x", "src/A.kt:1:2 x"),
            ("refer to /checkout/target/a and /checkout/target/b.", "refer to target/a and target/b."),
            ("(/checkout/pom.xml)", "(pom.xml)"),
            (
                "/work/checkout/a, /checkout-2/b, see https://host/checkout/c",
                "/work/checkout/a, /checkout-2/b, see https://host/checkout/c",
            ),
        ] {
            let watch = watch(&format!("[ERROR] {line}\n"));
            assert_eq!(watch.errors, [shown]);
            assert_eq!(watch.tail(), format!("[ERROR] {shown}"));
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_checkout_behind_a_link_is_known_by_both_names() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        let link = dir.path().join("link");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let watch = Watch::new(&Events::none(), &link);
        let said = format!("{}/A.java and {}/B.java", real.display(), link.display());
        assert_eq!(watch.relative(&said), "A.java and B.java");
        assert_eq!(Watch::new(&Events::none(), Path::new("/")).relative("/a/b"), "/a/b");
    }

    #[test]
    fn errors_are_kept_but_not_without_end() {
        let text = "[ERROR] again\n".repeat(10_000);
        assert_eq!(watch(&text).errors.len(), MAX_ERRORS);
        assert!(!watch("curl: (6) Could not resolve host: repo\n").started);
    }
}

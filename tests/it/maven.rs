//! Real Maven on real projects, with both JDKs of the lab.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use shipway::{
    domain::{
        event::{Event, Events},
        problem::{Code, Problem},
        redact::Redactor,
        units::format_duration,
    },
    maven::{self, Built, Request},
    process::LogFile,
};

use crate::support::{
    block_on,
    fixture::{self, Checkout},
};

mod deploy;

/// What plain `mvn` would use: the machine's own search path, local repository and JDKs.
fn request(dir: &Path) -> Request {
    let own = |name: &str| std::env::var(name).unwrap();
    Request {
        dir: dir.to_path_buf(),
        jdk: None,
        args: vec!["-o".to_string()],
        tests: true,
        goals: None,
        timeout: Duration::from_secs(300),
        env: vec![("PATH".to_string(), own("PATH")), ("LANG".to_string(), "C.UTF-8".to_string())],
        user_home: Path::new(&own("HOME")).join(".m2"),
        jdk_homes: Vec::new(),
        repository: None,
        deploy: false,
        skip_existing_release: false,
        log: LogFile::new(dir.join("shipway-report/mvn.log"), &Redactor::default()),
    }
}

fn build(request: &Request) -> Result<Built, Problem> {
    block_on(maven::build(request, &Events::none()))
}

/// Builds, and tells all events as text.
fn build_heard(request: &Request) -> (Result<Built, Problem>, Vec<String>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = heard.clone();
    let events = Events::new(move |event| {
        let text = match event {
            Event::CommandStarted { argv } => format!("command {}", argv.join(" ")),
            Event::MavenGoal { goal, module } => format!("goal {goal} {module}"),
            Event::Warning { text, .. } => format!("warning {text}"),
            Event::Note { text } => format!("note {text}"),
            _ => return,
        };
        sink.lock().unwrap().push(text);
    });
    let built = block_on(maven::build(request, &events));
    let heard = heard.lock().unwrap().clone();
    (built, heard)
}

/// A project of one class whose test writes down which Java compiled and ran it.
fn witness(pom_body: &str) -> Checkout {
    let checkout = fixture::empty_checkout("witness");
    let pom = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>demo</groupId>\
         <artifactId>witness</artifactId><version>1.0.0</version>{pom_body}</project>"
    );
    checkout.write("pom.xml", &pom);
    checkout.write("src/main/java/demo/Witness.java", "package demo; public class Witness { public static void main(String[] a) { } }");
    checkout
}

/// Plugin versions that the fixtures use, too, so that one warm local repository serves all.
fn plugins(more: &str) -> String {
    format!(
        "<properties><project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties><build><plugins>\
         <plugin><artifactId>maven-resources-plugin</artifactId><version>3.3.1</version></plugin>\
         <plugin><artifactId>maven-surefire-plugin</artifactId><version>3.5.6</version></plugin>\
         <plugin><artifactId>maven-jar-plugin</artifactId><version>3.4.2</version></plugin>\
         <plugin><artifactId>maven-install-plugin</artifactId><version>3.1.4</version></plugin>\
         <plugin><artifactId>maven-deploy-plugin</artifactId><version>3.1.4</version></plugin>{more}</plugins></build>"
    )
}

fn compiler(configuration: &str) -> String {
    format!(
        "<plugin><artifactId>maven-compiler-plugin</artifactId><version>3.14.1</version><configuration>{configuration}</configuration></plugin>"
    )
}

/// The major version of a class file (JVMS 4.1): 52 is Java 8, 61 is 17, 69 is 25.
fn class_version(file: &Path) -> u16 {
    let bytes = std::fs::read(file).unwrap();
    u16::from_be_bytes([bytes[6], bytes[7]])
}

fn manifest(archive: &Path) -> String {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap();
    std::io::read_to_string(archive.by_name("META-INF/MANIFEST.MF").unwrap()).unwrap()
}

#[test]
fn a_spring_boot_service_is_packaged() {
    let checkout = fixture::checkout("spring-boot-service");
    let project = maven::read(&checkout.path()).unwrap();
    assert!(project.spring_boot && project.actuator);
    let request = request(&checkout.path());
    let (built, heard) = build_heard(&request);
    let built = built.unwrap();
    assert_eq!(built.artifacts.len(), 1);
    assert!(manifest(&built.artifacts[0].path).contains("Start-Class"), "the repackaged jar is the artifact");
    assert_eq!(built.artifacts[0].path.parent().unwrap(), checkout.path().join("target"));
    assert!(!built.deployed);
    assert!(built.summary.starts_with("compiled 2 source files with JDK 17, 1 test"), "{}", built.summary);
    assert_eq!(heard.iter().filter(|line| line.starts_with("command ")).count(), 1, "one call of Maven");
    assert!(heard[0].contains(" package"), "{}", heard[0]);
    for goal in ["goal compiler:compile ", "goal surefire:test ", "goal spring-boot:repackage "] {
        assert!(heard.iter().any(|line| line.starts_with(goal)), "{goal} in {heard:?}");
    }
    let log = std::fs::read_to_string(&request.log.path).unwrap();
    assert!(log.contains("BUILD SUCCESS"));

    // The second time nothing is compiled, and the jar is still found.
    let again = build(&request).unwrap();
    assert_eq!(again.artifacts, built.artifacts);
    assert!(again.summary.starts_with("nothing to compile, packaged with JDK 17"), "{}", again.summary);
}

#[test]
fn modules_come_in_the_reactors_order() {
    let checkout = fixture::checkout("multi-module");
    let mut request = request(&checkout.path());
    request.tests = false;
    let built = build(&request).unwrap();
    let modules: Vec<&str> = built.artifacts.iter().map(|artifact| artifact.module.to_str().unwrap()).collect();
    assert_eq!(modules, ["customer-rules", "customer-service"]);
    assert!(manifest(&built.artifacts[1].path).contains("Start-Class"));
    assert!(built.version.ends_with("-SNAPSHOT"), "{}", built.version);
    assert!(built.summary.ends_with("tests skipped"), "{}", built.summary);
}

#[test]
fn the_artifact_of_each_kind_of_packaging_is_found() {
    for (name, file) in [("shaded-service", "jar"), ("boot-war", "war"), ("war", "war"), ("library", "jar")] {
        let checkout = fixture::checkout(name);
        let mut request = request(&checkout.path());
        request.tests = false;
        let built = build(&request).unwrap_or_else(|problem| panic!("{name}: {}", problem.message));
        let path = &built.artifacts[0].path;
        assert_eq!(path.extension().unwrap(), file, "{name}");
        let shown = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!shown.starts_with("original-") && !shown.contains("sources"), "{shown}");
    }
}

#[test]
fn the_asked_jdk_compiles_also_when_the_pom_says_nothing_of_toolchains() {
    let goals = "<plugin><artifactId>maven-compiler-plugin</artifactId><version>3.14.1</version></plugin>";
    for (jdk, major) in [(17, 61), (25, 69)] {
        let level = format!("<properties><maven.compiler.release>{jdk}</maven.compiler.release></properties>");
        let body = plugins(goals)
            .replace("</properties>", &format!("{}</properties>", level.replace("<properties>", "").replace("</properties>", "")));
        let checkout = witness(&body);
        let mut request = request(&checkout.path());
        let built = build(&request).unwrap();
        assert_eq!(built.jdk.version, jdk, "the pom's level chooses");
        assert_eq!(class_version(&checkout.path().join("target/classes/demo/Witness.class")), major);
        assert_eq!(build_jdk(&built.artifacts[0].path), jdk);

        // Without a word of the pom `build.jdk` chooses; the class file is as new as the compiler with no level given… 8 is the plugin's.
        let checkout = witness(&plugins(goals));
        request.dir = checkout.path();
        request.jdk = Some(jdk);
        let built = build(&request).unwrap();
        assert_eq!((built.jdk.version, build_jdk(&built.artifacts[0].path)), (jdk, jdk));
        assert_eq!(class_version(&checkout.path().join("target/classes/demo/Witness.class")), 52);
    }
}

/// The jar plugin writes down the Java that it runs on.
fn build_jdk(jar: &Path) -> u32 {
    let manifest = manifest(jar);
    let line = manifest.lines().find_map(|line| line.strip_prefix("Build-Jdk-Spec: ")).unwrap();
    line.trim().trim_start_matches("1.").parse().unwrap()
}

#[test]
fn a_pom_that_configures_toolchains_gets_what_it_asks_for() {
    let toolchains = "<plugin><artifactId>maven-toolchains-plugin</artifactId><version>3.2.0</version><executions><execution><goals><goal>toolchain</goal></goals>\
        </execution></executions><configuration><toolchains><jdk><version>25</version></jdk></toolchains></configuration></plugin>";
    let checkout = witness(&plugins(&format!("{toolchains}{}", compiler("<release>25</release>"))));
    assert!(maven::read(&checkout.path()).unwrap().toolchains);
    let mut request = request(&checkout.path());
    request.args.clear();
    request.jdk = Some(17);
    let (built, heard) = build_heard(&request);
    built.unwrap();
    assert_eq!(class_version(&checkout.path().join("target/classes/demo/Witness.class")), 69);
    assert!(heard.iter().any(|line| line == "warning the pom asks for Java 25, build.jdk for 17"), "{heard:?}");
}

#[test]
fn a_level_8_project_is_compiled_by_a_newer_jdk() {
    let checkout = fixture::checkout("java8");
    let built = build(&request(&checkout.path())).unwrap();
    assert_eq!(built.jdk.version, 17);
    let classes = walk(&checkout.path().join("target/classes"));
    assert!(classes.iter().all(|file| class_version(file) == 52), "{classes:?}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|e| e == "class"))
        .collect()
}

#[test]
fn a_missing_jdk_is_told_with_those_found() {
    let checkout = fixture::checkout("library");
    let mut request = request(&checkout.path());
    request.jdk = Some(21);
    let problem = build(&request).unwrap_err();
    assert_eq!(problem.code, Code::JdkMissing);
    assert!(problem.message.contains("17 (") && problem.message.contains("25 ("), "{}", problem.message);
    assert!(problem.hint.starts_with("install JDK 21"), "{}", problem.hint);
}

#[test]
fn compiler_errors_are_told_with_file_and_line() {
    let checkout = fixture::checkout("does-not-compile");
    let problem = build(&request(&checkout.path())).unwrap_err();
    assert_eq!(problem.code, Code::CompileFailed);
    let file = "src/main/java/com/example/trade/broken/Broken.java:";
    assert!(problem.message.starts_with(&format!("compile failed in does-not-compile: {file}")), "{}", problem.message);
    assert!(problem.message.ends_with("(and 1 more)"), "{}", problem.message);
    assert_eq!(problem.evidence[0].source, "mvn.log");
    assert_eq!(problem.evidence[0].text.matches(file).count(), 2, "{}", problem.evidence[0].text);
}

#[test]
fn test_code_that_does_not_compile_is_said_to_be_test_code() {
    let checkout = fixture::checkout("library");
    checkout.write(
        "src/test/java/com/example/trade/money/BrokenTest.java",
        "package com.example.trade.money;\nclass BrokenTest { Gone gone; }\n",
    );
    let problem = build(&request(&checkout.path())).unwrap_err();
    assert_eq!(problem.code, Code::CompileFailed);
    assert!(problem.message.starts_with("compile of the tests failed in "), "{}", problem.message);
    assert!(problem.message.contains("BrokenTest.java:2:"), "{}", problem.message);
}

#[test]
fn failed_tests_are_told_by_name() {
    let checkout = fixture::checkout("tests-fail");
    let problem = build(&request(&checkout.path())).unwrap_err();
    assert_eq!(problem.code, Code::TestsFailed);
    assert!(problem.message.starts_with("2 of 3 tests failed: DiscountTest."), "{}", problem.message);
    assert_eq!(problem.evidence.len(), 2);
    assert!(problem.evidence.iter().any(|evidence| evidence.text.contains("DiscountTest.java:")), "{:?}", problem.evidence);

    let mut request = request(&checkout.path());
    request.tests = false;
    build(&request).unwrap();
}

#[test]
fn a_level_that_no_jdk_knows_gets_its_own_hint() {
    // Maven 3.8 binds compiler plugin 3.1, whose default is level 5, when the pom says nothing at all.
    let checkout = witness("");
    let mut request = request(&checkout.path());
    request.args.clear();
    let (result, heard) = build_heard(&request);
    let problem = result.unwrap_err();
    assert_eq!(problem.code, Code::CompileFailed);
    assert!(problem.hint.contains("add <maven.compiler.release>"), "{}: {}", problem.message, problem.hint);
    assert!(heard.iter().any(|line| line.starts_with("note the pom names no Java level; JDK ")), "{heard:?}");

    let checkout = witness(&plugins(&compiler("<release>25</release>")));
    request.dir = checkout.path();
    request.jdk = Some(17);
    let problem = build(&request).unwrap_err();
    assert_eq!(problem.code, Code::CompileFailed);
    assert!(problem.hint.contains("set build.jdk to 25"), "{}: {}", problem.message, problem.hint);
}

#[test]
fn a_build_that_hangs_is_ended_with_its_whole_tree() {
    let checkout = fixture::checkout("hangs");
    let mut request = request(&checkout.path());
    // Compiled beforehand, so that the limit meets the test even on a busy machine.
    request.goals = Some(vec!["test-compile".to_string()]);
    build(&request).unwrap();
    request.goals = Some(vec!["surefire:test".to_string()]);
    // On a machine that is busy the test may not even have begun when a short limit passes; then a longer one is tried.
    for limit in [20, 60, 180] {
        request.timeout = Duration::from_secs(limit);
        let problem = build(&request).unwrap_err();
        assert_eq!(problem.code, Code::BuildTimeout);
        if checkout.path().join("target/hangs.pid").exists() {
            let start = format!("maven ran past build.timeout ({}) in surefire:test of hangs", format_duration(request.timeout));
            assert!(problem.message.starts_with(&start), "{}", problem.message);
            break;
        }
    }
    assert!(!is_alive(hanging(&checkout.path())));
}

#[test]
fn a_cancelled_build_leaves_nothing_behind() {
    let checkout = fixture::checkout("hangs");
    let request = request(&checkout.path());
    block_on(async {
        let events = Events::none();
        let building = maven::build(&request, &events);
        let hanging = async {
            let deadline = Instant::now() + Duration::from_secs(120);
            while std::fs::read_to_string(checkout.path().join("target/hangs.pid")).unwrap_or_default().trim().is_empty() {
                assert!(Instant::now() < deadline, "the test never started");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(is_alive(hanging(&checkout.path())));
        };
        tokio::select! {
            result = building => panic!("{}", result.unwrap_err().message),
            () = hanging => (),
        }
    });
    assert!(!is_alive(hanging(&checkout.path())));
}

fn hanging(dir: &Path) -> u32 {
    std::fs::read_to_string(dir.join("target/hangs.pid")).unwrap().trim().parse().unwrap()
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn what_is_no_maven_project_is_told_before_anything_runs() {
    let checkout = fixture::empty_checkout("nothing");
    assert_eq!(build(&request(&checkout.path())).unwrap_err().code, Code::NoPom);
    checkout.write("pom.xml", "<project>\n<artifactId>a</artifactId>\n<version>1</version\n</project>");
    let problem = build(&request(&checkout.path())).unwrap_err();
    assert_eq!(problem.code, Code::PomInvalid);
    assert!(problem.message.starts_with("pom.xml:"), "{}", problem.message);
    // XML it is, but not what Maven calls a project.
    checkout.write("pom.xml", "<project><modelVersion>4.0.0</modelVersion><artifactId>a</artifactId><oops/></project>");
    let problem = build(&request(&checkout.path())).unwrap_err();
    assert_eq!(problem.code, Code::PomInvalid, "{}", problem.message);
}

#[test]
fn arguments_that_maven_refuses_are_told() {
    let checkout = fixture::checkout("library");
    let mut request = request(&checkout.path());
    request.args.extend(["-pl".to_string(), "gone".to_string()]);
    let problem = build(&request).unwrap_err();
    assert_eq!(problem.code, Code::ModuleUnknown, "{}", problem.message);
    assert!(problem.message.contains("gone"), "{}", problem.message);
    request.args.truncate(1);
    request.goals = Some(vec!["pakcage".to_string()]);
    let problem = build(&request).unwrap_err();
    assert!(problem.message.contains("Unknown lifecycle phase \"pakcage\""), "{}", problem.message);
    assert!(problem.hint.contains("build.goals"), "{}", problem.hint);
}

#[test]
fn a_dependency_that_is_nowhere_is_named() {
    let checkout = witness(&format!(
        "{}<dependencies><dependency><groupId>gone</groupId><artifactId>gone</artifactId><version>1</version></dependency></dependencies>",
        plugins(&compiler("<release>17</release>"))
    ));
    let problem = build(&request(&checkout.path())).unwrap_err();
    assert_eq!(problem.code, Code::DependencyUnresolved);
    assert!(problem.message.contains("gone:gone:jar:1"), "{}", problem.message);
}

#[test]
fn a_repository_that_is_down_is_worth_a_retry() {
    let checkout = witness(&format!(
        "{}<dependencies><dependency><groupId>gone</groupId><artifactId>gone</artifactId><version>1</version></dependency></dependencies>",
        plugins(&compiler("<release>17</release>"))
    ));
    let mut request = request(&checkout.path());
    request.args.clear();
    let mirror = format!("http://127.0.0.1:{}/maven", crate::support::free_port());
    request.repository = Some(maven::Repository { url: mirror.clone(), snapshots_url: None, mirror: Some(mirror), credentials: None });
    let problem = build(&request).unwrap_err();
    assert_eq!(problem.code, Code::MavenRepositoryDown, "{}", problem.message);
    assert!(problem.message.contains("127.0.0.1"), "{}", problem.message);
}

#[test]
fn maven_sees_a_home_of_its_own_and_the_given_environment_only() {
    let antrun = "<plugin><artifactId>maven-antrun-plugin</artifactId><version>3.1.0</version><executions><execution><phase>validate</phase>\
        <goals><goal>run</goal></goals><configuration><target><property environment=\"env\"/><echoproperties destfile=\"${basedir}/seen\"/></target></configuration></execution></executions></plugin>";
    let checkout = witness(&plugins(&format!("{antrun}{}", compiler("<release>17</release>"))));
    let mut request = request(&checkout.path());
    request.args.clear();
    request.env.push(("SONAR_TOKEN".to_string(), "passed-on".to_string()));
    build(&request).unwrap();
    let seen = std::fs::read_to_string(checkout.path().join("seen")).unwrap();
    let value = |name: &str| seen.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap_or_default().to_string();
    let home = value("env.HOME");
    assert!(!home.is_empty() && !request.user_home.starts_with(&home), "{home}");
    assert_eq!(value("user.home"), home);
    assert!(!Path::new(&home).exists(), "it is gone after the run");
    assert_eq!(value("env.SONAR_TOKEN"), "passed-on");
    assert_eq!(value("env.CARGO_MANIFEST_DIR"), "");
    assert!(value("env.JAVA_HOME").contains("17"), "{}", value("env.JAVA_HOME"));
}

#[test]
fn strange_output_does_no_harm() {
    // A wrapper is the simplest way to let "Maven" say what we like.
    let checkout = fixture::empty_checkout("strange");
    checkout.write("pom.xml", "<project><artifactId>a</artifactId><version>1</version></project>");
    checkout.write(".mvn/wrapper/maven-wrapper.properties", "distributionUrl=https://repo/apache-maven-3.9.9-bin.zip\n");
    checkout.write(
        "mvnw",
        "#!/bin/sh\necho '[INFO] Scanning'\nprintf '[ERROR] caf\\351 \\377\\n'\nhead -c 5000000 /dev/zero | tr '\\0' x\necho\n\
         echo '[ERROR] Failed to execute goal com.acme:checkit-maven-plugin:1.0:verify (default) on project a: not nice -> [Help 1]'\nexit 1\n",
    );
    std::fs::set_permissions(checkout.path().join("mvnw"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let request = request(&checkout.path());
    let problem = build(&request).unwrap_err();
    assert_eq!((problem.code, problem.message.as_str()), (Code::BuildFailed, "checkit failed in a: not nice"));
    assert!(problem.evidence[0].text.contains("caf\u{fffd} \u{fffd}"));
    assert!(std::fs::metadata(&request.log.path).unwrap().len() > 5_000_000, "the log is whole");
}

#[test]
fn a_wrapper_that_cannot_start_gives_way_to_the_installed_maven() {
    let checkout = fixture::checkout("library");
    checkout.write(".mvn/wrapper/maven-wrapper.properties", "distributionUrl=https://repo.invalid/apache-maven-3.9.9-bin.zip\n");
    checkout.write("mvnw", "#!/bin/sh\necho 'curl: (6) Could not resolve host: repo.invalid' >&2\nexit 6\n");
    let (built, heard) = build_heard(&request(&checkout.path()));
    assert_eq!(built.unwrap().artifacts.len(), 1);
    assert!(heard.iter().any(|line| line.starts_with("warning the Maven wrapper cannot run: it is not executable")), "{heard:?}");

    std::fs::set_permissions(checkout.path().join("mvnw"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (built, heard) = build_heard(&request(&checkout.path()));
    assert_eq!(built.unwrap().artifacts.len(), 1);
    assert!(heard.iter().any(|line| line.contains("did not start Maven (curl: (6) Could not resolve host: repo.invalid)")), "{heard:?}");

    let mut without = request(&checkout.path());
    without.env = vec![("PATH".to_string(), "/bin:/nowhere".to_string())];
    without.env[0].1 = "/nowhere".to_string();
    std::fs::remove_file(checkout.path().join("mvnw")).unwrap();
    let problem = build(&without).unwrap_err();
    assert_eq!(problem.code, Code::MavenMissing);
    assert!(problem.message.ends_with("looked in /nowhere"), "{}", problem.message);
}

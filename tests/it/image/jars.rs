//! Jars and wars looked into and taken apart: such as are made here, and run by a real Java.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use shipway::{
    domain::{event::LayerRole, problem::Code},
    image::{self, Form, Staged},
};

use super::{BOOT_MANIFEST, boot_jar, class, files, jar, jar_bytes, recipe, staged, whole};

#[test]
fn a_boot_jar_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let application = image::inspect(&boot_jar(&dir.path().join("app.jar"), 2020)).unwrap();
    assert_eq!(application.form, Form::BootJar);
    assert_eq!(application.main_class.as_deref(), Some("demo.App"));
    assert_eq!(application.java, Some(17));
    assert_eq!(application.version.as_deref(), Some("1.2.3"));
    assert_eq!(application.spring_boot.as_deref(), Some("3.4.1"));
    assert!(application.actuator);
    let properties: Vec<_> = application.properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(properties, ["management.server.port=9001", "server.port=8085"]);
}

#[test]
fn a_boot_jar_is_taken_apart() {
    let dir = tempfile::tempdir().unwrap();
    let application = image::inspect(&boot_jar(&dir.path().join("app.jar"), 2020)).unwrap();
    let staged = staged(&application, &dir.path().join("context"));
    assert_eq!(
        files(&staged.dir),
        [
            "Dockerfile",
            "application/app/app.jar",
            "dependencies/app/lib/one-1.0.jar",
            "dependencies/app/lib/spring-boot-actuator-3.4.1.jar",
            "snapshot-dependencies/app/lib/two-2.0-SNAPSHOT.jar",
        ]
    );
    let roles: Vec<LayerRole> = staged.layers.iter().map(|layer| layer.role).collect();
    assert_eq!(roles, [LayerRole::Dependencies, LayerRole::SnapshotDependencies, LayerRole::Application]);
    assert_eq!(fs::read(staged.dir.join("snapshot-dependencies/app/lib/two-2.0-SNAPSHOT.jar")).unwrap(), b"two");
    let mut thin = zip::ZipArchive::new(fs::File::open(staged.dir.join("application/app/app.jar")).unwrap()).unwrap();
    let names: Vec<String> = thin.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(
        names,
        [
            "META-INF/",
            "META-INF/MANIFEST.MF",
            "META-INF/maven/",
            "META-INF/maven/g/",
            "META-INF/maven/g/a/",
            "META-INF/maven/g/a/pom.properties",
            "application.properties",
            "application.yml",
            "demo/",
            "demo/App.class",
            "demo/Old.class",
        ]
    );
    let manifest = std::io::read_to_string(thin.by_name("META-INF/MANIFEST.MF").unwrap()).unwrap().replace("\r\n ", "");
    assert_eq!(
        manifest,
        "Manifest-Version: 1.0\r\nImplementation-Version: 1.2.3\r\nMain-Class: demo.App\r\nSpring-Boot-Version: 3.4.1\r\n\
         Class-Path: lib/two-2.0-SNAPSHOT.jar lib/one-1.0.jar lib/spring-boot-actuator-3.4.1.jar\r\n\r\n"
    );
    assert_eq!(
        fs::read_to_string(&staged.dockerfile).unwrap(),
        "FROM registry.example.test/java:17\nLABEL org.opencontainers.image.revision=\"1a2b\"\nWORKDIR /app\n\
         COPY --chown=10001:10001 dependencies/ /\nCOPY --chown=10001:10001 snapshot-dependencies/ /\nCOPY --chown=10001:10001 application/ /\n\
         ENV TZ=\"UTC\"\nEXPOSE 8080\nUSER 10001\nENTRYPOINT [\"java\", \"-Xlog:gc\", \"-jar\", \"/app/app.jar\"]\nCMD [\"--a b\"]\n"
    );
}

#[test]
fn the_time_of_a_build_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let content = |year: u16| {
        let application = image::inspect(&boot_jar(&dir.path().join(format!("{year}.jar")), year)).unwrap();
        let staged = staged(&application, &dir.path().join(year.to_string()));
        files(&staged.dir).into_iter().map(|file| (fs::read(staged.dir.join(&file)).unwrap(), file)).collect::<Vec<_>>()
    };
    assert!(content(2020) == content(2025));
}

#[test]
fn custom_layers_are_honoured_and_hostile_names_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let index = "- \"dependencies\":\n  - \"BOOT-INF/lib/a.jar\"\n- \"../../evil\":\n  - \"BOOT-INF/lib/\"\n- \"application\":\n  - \"BOOT-INF/classes/\"\n";
    let path = jar(
        &dir.path().join("app.jar"),
        &[
            ("META-INF/MANIFEST.MF", BOOT_MANIFEST.as_bytes()),
            ("BOOT-INF/classes/demo/App.class", &class(17)),
            ("BOOT-INF/lib/a.jar", b"a"),
            ("BOOT-INF/lib/b.jar", b"b"),
            ("BOOT-INF/layers.idx", index.as_bytes()),
        ],
    );
    let staged = staged(&image::inspect(&path).unwrap(), &dir.path().join("context"));
    let layers: Vec<_> = staged.layers.iter().map(|layer| (layer.path.display().to_string(), layer.role)).collect();
    assert_eq!(
        layers,
        [
            ("dependencies".to_string(), LayerRole::Dependencies),
            ("layer-2".to_string(), LayerRole::Dependencies),
            ("application".to_string(), LayerRole::Application),
        ]
    );
    assert!(staged.dir.join("layer-2/app/lib/b.jar").is_file());
}

#[test]
fn other_forms_of_archives() {
    let dir = tempfile::tempdir().unwrap();
    let launcher = b"Main-Class: org.springframework.boot.loader.WarLauncher\nStart-Class: demo.App\n".as_slice();
    for (entries, expected) in [
        (vec![("META-INF/MANIFEST.MF", b"Main-Class: a.B\n".as_slice()), ("a/B.class", b"")], Ok(Form::Jar { class_path: vec![] })),
        (
            vec![("META-INF/MANIFEST.MF", b"Main-Class: a.B\nClass-Path: lib/x.jar y.jar\n".as_slice())],
            Ok(Form::Jar { class_path: vec!["lib/x.jar".to_string(), "y.jar".to_string()] }),
        ),
        (vec![("META-INF/MANIFEST.MF", launcher), ("WEB-INF/classes/demo/App.class", b"")], Ok(Form::BootWar)),
        (vec![("META-INF/MANIFEST.MF", b"Main-Class: a.B\n".as_slice())], Err("its main class a.B is not in it")),
        (vec![("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n".as_slice())], Err("names no Main-Class")),
        (vec![("a/B.class", b"".as_slice())], Err("no manifest")),
        (vec![("META-INF/MANIFEST.MF", b"".as_slice()), ("WEB-INF/web.xml", b"")], Err("image.dockerfile")),
        (
            vec![
                ("META-INF/MANIFEST.MF", b"Main-Class: org.springframework.boot.loader.JarLauncher\n".as_slice()),
                ("BOOT-INF/classes/x", b""),
            ],
            Err("no Start-Class"),
        ),
    ] {
        let application = image::inspect(&jar(&dir.path().join("x.jar"), &entries)).unwrap();
        match (application.form.clone(), expected) {
            (form, Ok(expected)) => assert_eq!(form, expected),
            (Form::NotRunnable { why }, Err(part)) => {
                assert!(why.contains(part), "{why}");
                let problem = whole(&application, &recipe(), &dir.path().join("context")).unwrap_err();
                assert_eq!(problem.code, Code::NotRunnable);
                assert!(problem.hint.contains("image.dockerfile"));
            }
            (form, Err(part)) => panic!("{form:?} instead of {part}"),
        }
    }
}

#[test]
fn classes_of_other_releases_do_not_raise_the_level() {
    let dir = tempfile::tempdir().unwrap();
    let entries = |multi: &'static str| {
        vec![
            ("META-INF/MANIFEST.MF", multi.as_bytes().to_vec()),
            ("a/B.class", class(8)),
            ("module-info.class", class(9)),
            ("META-INF/versions/21/a/B.class", class(21)),
        ]
    };
    let level = |multi: &'static str| {
        let owned = entries(multi);
        let borrowed: Vec<(&str, &[u8])> = owned.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        image::inspect(&jar(&dir.path().join("x.jar"), &borrowed)).unwrap().java
    };
    assert_eq!(level("Main-Class: a.B\nMulti-Release: true\n"), Some(8));
    assert_eq!(level("Main-Class: a.B\n"), Some(21));
}

#[test]
fn bad_archives_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], part: &str| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let problem = image::inspect(&path).unwrap_err();
        assert_eq!(problem.code, Code::ArtifactInvalid, "{name}: {}", problem.message);
        assert!(problem.message.contains(name) && problem.message.contains(part), "{name}: {}", problem.message);
    };
    let good = jar_bytes(&[("META-INF/MANIFEST.MF", b"x"), ("a", &[7; 5000])], 2020);
    check("empty.jar", b"", "not a zip archive");
    check("text.jar", &b"this is no jar, it is a text ".repeat(9), "not a sound zip archive");
    check("cut.jar", &good[..good.len() - 30], "not a sound zip archive");
    check("slip.jar", &jar_bytes(&[("../../etc/cron.d/x", b"x")], 2020), "leads out of the archive");
    check("absolute.jar", &jar_bytes(&[("/etc/passwd", b"x")], 2020), "absolute name");
    let mut twins = jar_bytes(&[("a/one", b"x"), ("a/two", b"y")], 2020);
    for at in 0..twins.len() - 5 {
        if &twins[at..at + 5] == b"a/two" {
            twins[at..at + 5].copy_from_slice(b"a/one");
        }
    }
    check("twins.jar", &twins, "same name");
    let mut locked = good.clone();
    let central = locked.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    locked[central + 8] |= 1;
    check("locked.jar", &locked, "encrypted");
    check("bomb.jar", &jar_bytes(&[("zeros", &vec![0; 80 << 20])], 2020), "looks like a bomb");
    let missing = image::inspect(&dir.path().join("missing.jar")).unwrap_err();
    assert_eq!(missing.code, Code::ArtifactMissing);
    assert_eq!(image::inspect(dir.path()).unwrap_err().code, Code::ArtifactInvalid);
}

#[test]
fn a_broken_entry_is_found_when_it_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let path = boot_jar(&dir.path().join("app.jar"), 2020);
    let application = image::inspect(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|window| window == b"actuator").unwrap();
    // The first hit is the entry's name.
    let at = at + 1 + bytes[at + 1..].windows(11).position(|window| window == b".jaractuato").map_or(0, |more| more + 4);
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let problem = whole(&application, &recipe(), &dir.path().join("context")).unwrap_err();
    assert_eq!(problem.code, Code::ArtifactInvalid);
    assert!(problem.message.contains("spring-boot-actuator-3.4.1.jar"), "{}", problem.message);
}

/// Compiles Java sources; None where there is no compiler.
fn compile(dir: &Path, sources: &[(&str, &str)], class_path: &str) -> Option<PathBuf> {
    let out = dir.join("classes");
    fs::create_dir_all(&out).unwrap();
    let mut javac = Command::new("javac");
    javac.args(["--release", "17", "-cp", class_path, "-d"]).arg(&out);
    for (name, text) in sources {
        fs::write(dir.join(name), text).unwrap();
        javac.arg(dir.join(name));
    }
    let done = javac.output().expect("a JDK is needed for the tests");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(out)
}

fn java_says(dir: &Path, jar: &str) -> String {
    let done = Command::new("java").args(["-jar", jar]).current_dir(dir).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Puts the layers over each other, as an image does.
pub fn merged(staged: &Staged, into: &Path) -> PathBuf {
    for layer in &staged.layers {
        for file in files(&staged.dir.join(&layer.path)) {
            let target = into.join(&file);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(staged.dir.join(&layer.path).join(&file), target).unwrap();
        }
    }
    into.join("app")
}

#[test]
fn what_is_staged_starts_with_java() {
    let dir = tempfile::tempdir().unwrap();
    let classes = compile(
        dir.path(),
        &[
            ("Lib.java", "package lib; public class Lib { public static String name() { return \"library\"; } }"),
            ("App.java", "package demo; public class App { public static void main(String[] a) { System.out.print(lib.Lib.name() + App.class.getPackage().getImplementationVersion() + (App.class.getResource(\"/demo/\") != null)); } }"),
        ],
        ".",
    )
    .unwrap();
    let app = fs::read(classes.join("demo/App.class")).unwrap();
    let lib = jar_bytes(&[("lib/Lib.class", &fs::read(classes.join("lib/Lib.class")).unwrap())], 2020);
    let boot = jar(
        &dir.path().join("boot.jar"),
        &[
            ("META-INF/MANIFEST.MF", BOOT_MANIFEST.as_bytes()),
            ("BOOT-INF/classes/demo/App.class", &app),
            ("BOOT-INF/lib/lib äß-1.jar", &lib),
        ],
    );
    let application = image::inspect(&boot).unwrap();
    let place = merged(&staged(&application, &dir.path().join("boot")), &dir.path().join("boot-root"));
    assert_eq!(java_says(&place, "app.jar"), "library1.2.3true");

    let manifest = "Main-Class: demo.App\nImplementation-Version: 9\nClass-Path: ../away/lib.jar other/lib-2-SNAPSHOT.jar\n";
    let plain = jar(&dir.path().join("plain/app.jar"), &[("META-INF/MANIFEST.MF", manifest.as_bytes()), ("demo/App.class", &app)]);
    fs::create_dir_all(dir.path().join("plain/lib")).unwrap();
    fs::write(dir.path().join("plain/lib/lib.jar"), &lib).unwrap();
    fs::write(dir.path().join("plain/lib/lib-2-SNAPSHOT.jar"), &lib).unwrap();
    let context = staged(&image::inspect(&plain).unwrap(), &dir.path().join("plain-context"));
    assert_eq!(
        files(&context.dir),
        ["Dockerfile", "application/app/app.jar", "dependencies/app/lib/lib.jar", "snapshot-dependencies/app/other/lib-2-SNAPSHOT.jar"]
    );
    assert_eq!(java_says(&merged(&context, &dir.path().join("plain-root")), "app.jar"), "library9true");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    /// A broken archive may be refused or taken, but nothing of it gets beside the context, and nothing panics.
    #[test]
    fn no_broken_archive_breaks_us(changes in proptest::collection::vec((0usize..6000, 0u8..=255), 1..6)) {
        let dir = tempfile::tempdir().unwrap();
        let path = boot_jar(&dir.path().join("jar/app.jar"), 2020);
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(application) = image::inspect(&path) {
            let _ = whole(&application, &recipe(), &dir.path().join("context"));
        }
        let beside: Vec<String> = files(dir.path()).into_iter().filter(|file| !file.starts_with("context/") && file != "jar/app.jar").collect();
        proptest::prop_assert_eq!(beside, Vec::<String>::new());
    }
}

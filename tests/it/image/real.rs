//! Real applications, built by Maven, in images that others build, read and run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use shipway::{
    domain::{event::LayerRole, problem::Code, reference::ImageReference},
    image::{self, Application, Build, Form, Image, Recipe, Staged},
};

use super::{
    build::push,
    dockerfile::{build_in, built, client},
    files, recipe, whole,
};
use crate::support::{block_on, fixture, lab::lab};

fn inspected(fixture_name: &str) -> Application {
    image::inspect(&fixture::archive(fixture_name, "")).unwrap()
}

fn staged(application: &Application, dir: &Path) -> Staged {
    let base = lab().base(17).parse().unwrap();
    let env = [("LANG".to_string(), "C.UTF-8".to_string())].into();
    whole(application, &Recipe { base, args: vec![], env, ..recipe() }, &dir.join("context")).unwrap()
}

fn roles(staged: &Staged) -> Vec<LayerRole> {
    staged.layers.iter().map(|layer| layer.role).collect()
}

fn built_of(staged: &Staged, dir: &Path) -> Image {
    let roles = staged.layers.iter().map(|layer| (layer.path.clone(), layer.role)).collect();
    built(&Build {
        context: staged.dir.clone(),
        dockerfile: staged.dockerfile.clone(),
        generated: true,
        roles,
        platforms: vec![],
        ..build_in(dir)
    })
    .unwrap()
}

/// Runs a tool, which has to succeed; says what it printed.
fn run(program: &str, arguments: &[&str], dir: &Path) -> String {
    // Everything that buildah keeps stays in the test's own folder.
    let output = Command::new(program)
        .args(arguments)
        .env("HOME", dir)
        .env("XDG_RUNTIME_DIR", dir)
        .env("STORAGE_DRIVER", "vfs")
        .env("BUILDAH_ISOLATION", "chroot")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        println!("{program} is not installed: this part is not tested");
    }
    found
}

#[test]
fn skopeo_reads_the_image_of_a_spring_boot_service() {
    let dir = tempfile::tempdir().unwrap();
    let application = inspected("spring-boot-service");
    assert_eq!((&application.form, application.java, application.actuator), (&Form::BootJar, Some(17), true));
    let staged = staged(&application, dir.path());
    assert_eq!(roles(&staged), [LayerRole::Dependencies, LayerRole::Application]);
    let image = built_of(&staged, dir.path());
    let name: ImageReference = "registry.example.test/app:1".parse().unwrap();
    block_on(image::write_layout(&image, &name, &dir.path().join("layout"), &client())).unwrap();
    let name = format!("oci:{}:1", dir.path().join("layout").display());
    if !has("skopeo") {
        return;
    }
    let inspected: serde_json::Value = serde_json::from_str(&run("skopeo", &["inspect", &name], dir.path())).unwrap();
    assert_eq!(inspected["Architecture"], "amd64");
    assert_eq!(inspected["Labels"]["org.opencontainers.image.revision"], "1a2b");
    // skopeo checks every digest, diff-ids too, when it copies.
    run("skopeo", &["copy", "--insecure-policy", &name, &format!("dir:{}", dir.path().join("copy").display())], dir.path());
}

#[test]
fn the_thin_jar_of_spring_boot_starts() {
    let dir = tempfile::tempdir().unwrap();
    let staged = staged(&inspected("spring-boot-service"), dir.path());
    let place = super::jars::merged(&staged, &dir.path().join("root"));
    let mut java = Command::new(lab().jdk(17).join("bin/java"))
        .args(["-jar", "app.jar", "--server.port=0", "--spring.main.keep-alive=false"])
        .current_dir(&place)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(java.stdout.take().unwrap()));
    let started = lines.map_while(Result::ok).any(|line| line.contains("Started "));
    java.kill().unwrap();
    java.wait().unwrap();
    assert!(started, "the application did not say that it started");
}

#[test]
fn the_layers_are_those_of_spring_boots_own_tool() {
    let dir = tempfile::tempdir().unwrap();
    let application = inspected("spring-boot-service");
    let staged = staged(&application, dir.path());
    let own = dir.path().join("own");
    let java = lab().jdk(17).join("bin/java");
    let arguments =
        ["-Djarmode=tools", "-jar", application.path.to_str().unwrap(), "extract", "--layers", "--destination", own.to_str().unwrap()];
    run(java.to_str().unwrap(), &arguments, dir.path());
    let libraries = |folder: PathBuf| files(&folder).into_iter().filter(|file| file.contains("lib/")).collect::<Vec<_>>();
    assert_eq!(libraries(staged.dir.join("dependencies/app")), libraries(own.join("dependencies")));
    let theirs = fs::read_dir(own.join("application")).unwrap().next().unwrap().unwrap().path();
    let content = |jar: &Path| {
        let mut zip = zip::ZipArchive::new(fs::File::open(jar).unwrap()).unwrap();
        let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
        let mut found = std::collections::BTreeMap::new();
        for name in names.into_iter().filter(|name| !name.ends_with('/')) {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut zip.by_name(&name).unwrap(), &mut text).unwrap();
            // Order of attributes and comments have no meaning.
            let text = String::from_utf8_lossy(&text).replace("\r\n ", "");
            let mut lines: Vec<String> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_string).collect();
            if name.ends_with("MANIFEST.MF") {
                lines.sort();
            }
            found.insert(name, lines);
        }
        found
    };
    assert_eq!(content(&staged.dir.join("application/app/app.jar")), content(&theirs));
}

#[test]
fn other_fixtures_are_staged() {
    let dir = tempfile::tempdir().unwrap();
    let plain = inspected("plain-service");
    assert!(matches!(&plain.form, Form::Jar { class_path } if !class_path.is_empty()), "{:?}", plain.form);
    assert!(!plain.actuator);
    let staged_plain = staged(&plain, dir.path());
    assert_eq!(roles(&staged_plain), [LayerRole::Dependencies, LayerRole::Application]);
    let shaded = inspected("shaded-service");
    assert_eq!(shaded.form, Form::Jar { class_path: vec![] });
    assert_eq!(roles(&staged(&shaded, dir.path())), [LayerRole::Application]);
    let war = inspected("boot-war");
    assert_eq!(war.form, Form::BootWar);
    assert!(fs::read_to_string(staged(&war, dir.path()).dockerfile).unwrap().contains("\"/app/app.war\""));
    assert_eq!(inspected("java8").java, Some(8));
    let multi = image::inspect(&fixture::archive("multi-module", "customer-service")).unwrap();
    // Spring Boot's index counts modules of the same build as part of the application, snapshots or not.
    let staged_multi = staged(&multi, dir.path());
    assert_eq!(roles(&staged_multi), [LayerRole::Dependencies, LayerRole::Application]);
    assert!(files(&staged_multi.dir.join("application/app/lib")).iter().any(|file| file.starts_with("customer-rules")));
    for name in ["library", "war"] {
        let problem = whole(&inspected(name), &recipe(), &dir.path().join("context")).unwrap_err();
        assert_eq!(problem.code, Code::NotRunnable, "{name}");
        assert!(format!("{} {}", problem.message, problem.hint).contains("image.dockerfile"), "{name}");
    }
}

#[test]
fn buildah_builds_the_staged_context_and_both_images_are_the_same_inside() {
    if !has("buildah") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let staged = staged(&inspected("plain-service"), dir.path());
    let root = dir.path().join("storage").display().to_string();
    let run_root = dir.path().join("run").display().to_string();
    let buildah = |arguments: &[&str]| {
        let store = ["--root", &root, "--runroot", &run_root];
        run("buildah", &[&store, arguments].concat(), dir.path())
    };
    let context = staged.dir.display().to_string();
    buildah(&["build", "--tls-verify=false", "--tag", "theirs", &context]);
    let ours = push(&built_of(&staged, dir.path()), "buildah").to_string();
    let look = |image: &str| {
        let container = buildah(&["from", "--tls-verify=false", image]).trim().to_string();
        let mount = PathBuf::from(buildah(&["mount", &container]).trim());
        let mut found = Vec::new();
        let mut open = vec![mount.join("app")];
        while let Some(path) = open.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
            found.push((path.strip_prefix(&mount).unwrap().display().to_string(), owner, std::os::unix::fs::MetadataExt::mode(&metadata)));
            if metadata.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|child| child.unwrap().path()));
            }
        }
        found.sort();
        let config: serde_json::Value = serde_json::from_str(&buildah(&["inspect", "--type", "container", &container])).unwrap();
        (found, config["OCIv1"]["config"].clone())
    };
    let (their_files, their_config) = look("theirs");
    let (our_files, our_config) = look(&ours);
    assert_eq!(our_files, their_files);
    assert!(our_files.iter().all(|(_, owner, _)| *owner == 10001), "{our_files:?}");
    let sorted = |config: &serde_json::Value| {
        let mut lines: Vec<String> = config["Env"].as_array().unwrap().iter().map(serde_json::Value::to_string).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&our_config), sorted(&their_config));
    for key in ["User", "ExposedPorts", "Entrypoint", "Cmd", "WorkingDir"] {
        assert_eq!(our_config[key], their_config[key], "{key}");
    }
}

//! The image engine: jars taken apart, contexts staged, images built.

mod build;
mod dockerfile;
mod engines;
mod hostile;
mod jars;
mod java;
mod large;
mod layouts;
mod parity;
mod real;
pub mod rebase;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use shipway::{
    domain::problem::Problem,
    image::{self, Application, Recipe, Staged},
};
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

/// Writes a jar; nested jars are stored, as Spring Boot does.
fn jar(path: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
    jar_of_year(path, entries, 2020)
}

fn jar_of_year(path: &Path, entries: &[(&str, &[u8])], year: u16) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, jar_bytes(entries, year)).unwrap();
    path.to_path_buf()
}

fn jar_bytes(entries: &[(&str, &[u8])], year: u16) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        let method = if name.ends_with(".jar") { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        let time = DateTime::from_date_and_time(year, 2, 3, 4, 5, 6).unwrap();
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method).last_modified_time(time)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn recipe() -> Recipe {
    Recipe {
        base: "registry.example.test/java:17".parse().unwrap(),
        port: 8080,
        jvm: vec!["-Xlog:gc".to_string()],
        args: vec!["--a b".to_string()],
        user: "10001".to_string(),
        env: BTreeMap::from([("TZ".to_string(), "UTC".to_string())]),
        labels: BTreeMap::from([("org.opencontainers.image.revision".to_string(), "1a2b".to_string())]),
    }
}

fn staged(application: &Application, dir: &Path) -> Staged {
    whole(application, &recipe(), dir).unwrap()
}

/// A staged context with all that belongs to it.
fn whole(application: &Application, recipe: &Recipe, dir: &Path) -> Result<Staged, Problem> {
    let staged = image::stage(application, recipe, dir)?;
    staged.borrowed.copy_into(&staged.dir)?;
    Ok(staged)
}

/// Every file of a folder, relative, sorted.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for child in fs::read_dir(folder).unwrap() {
            let path = child.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path.strip_prefix(dir).unwrap().display().to_string()) }
        }
    }
    found.sort();
    found
}

/// A class file of a Java level, as far as anybody looks.
fn class(level: u16) -> Vec<u8> {
    let [high, low] = (level + 44).to_be_bytes();
    vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, high, low, 0, 0]
}

const BOOT_MANIFEST: &str = "Manifest-Version: 1.0\r\nImplementation-Version: 1.2.3\r\nMain-Class: org.springframework.boot.loader.launch.JarLauncher\r\n\
    Start-Class: demo.App\r\nSpring-Boot-Version: 3.4.1\r\nSpring-Boot-Classes: BOOT-INF/classes/\r\nSpring-Boot-Lib: BOOT-INF/lib/\r\n\
    Spring-Boot-Classpath-Index: BOOT-INF/classpath.idx\r\nSpring-Boot-Layers-Index: BOOT-INF/layers.idx\r\n\r\n";

fn boot_jar(path: &Path, year: u16) -> PathBuf {
    let library = jar_bytes(&[("a/A.class", &class(21))], 1999);
    jar_of_year(
        path,
        &[
            ("META-INF/MANIFEST.MF", BOOT_MANIFEST.as_bytes()),
            ("META-INF/services/java.nio.file.spi.FileSystemProvider", b"loader"),
            ("META-INF/maven/g/a/pom.properties", format!("#{year}\nversion=1\n").as_bytes()),
            ("META-INF/KEY.SF", b"signature"),
            ("org/springframework/boot/loader/launch/JarLauncher.class", &class(8)),
            ("BOOT-INF/classes/demo/App.class", &class(17)),
            ("BOOT-INF/classes/demo/Old.class", &class(8)),
            ("BOOT-INF/classes/application.yml", b"server:\n  port: 8085\n"),
            ("BOOT-INF/classes/application.properties", b"management.server.port=9001\n"),
            ("BOOT-INF/lib/one-1.0.jar", &library),
            ("BOOT-INF/lib/spring-boot-actuator-3.4.1.jar", b"actuator"),
            ("BOOT-INF/lib/two-2.0-SNAPSHOT.jar", b"two"),
            ("BOOT-INF/classpath.idx", b"- \"BOOT-INF/lib/two-2.0-SNAPSHOT.jar\"\n- \"BOOT-INF/lib/one-1.0.jar\"\n- \"BOOT-INF/lib/spring-boot-actuator-3.4.1.jar\"\n"),
        ],
        year,
    )
}

//! What a jar or war is, seen from its content.

use std::{collections::BTreeMap, path::Path};

use super::{
    Application, Form,
    archive::{Archive, Entry},
    boot,
    manifest::Manifest,
    properties,
};
use crate::domain::problem::Result;

/// Manifests and indexes longer than this are not read, bytes.
pub(super) const MAX_TEXT: u64 = 4 << 20;
/// A class file's magic, minor and major version (JVM specification, 4.1), bytes.
const CLASS_HEADER: u64 = 8;
const OWN_DOCKERFILE: &str = "bring an own Dockerfile with image.dockerfile";

/// Looks into the archive; see [`super::inspect`].
pub(super) fn inspect(path: &Path) -> Result<Application> {
    let mut archive = Archive::open(path)?;
    let manifest = read_manifest(&mut archive)?;
    let form = form(&archive, &manifest);
    let root = class_root(&form);
    Ok(Application {
        path: path.to_path_buf(),
        main_class: match form {
            Form::BootJar => manifest.get("Start-Class"),
            Form::BootWar => manifest.get("Start-Class").or(manifest.get("Main-Class")),
            _ => manifest.get("Main-Class"),
        }
        .map(str::to_string),
        java: java_level(&mut archive, root, &manifest)?,
        version: manifest.get("Implementation-Version").map(str::to_string),
        spring_boot: spring_boot_version(&archive, &manifest, &form),
        actuator: has_actuator(&archive, &form),
        properties: read_properties(&mut archive, root)?,
        form,
    })
}

pub(super) fn read_manifest(archive: &mut Archive) -> Result<Manifest> {
    Ok(archive.text("META-INF/MANIFEST.MF", MAX_TEXT)?.map(|text| Manifest::parse(&text)).unwrap_or_default())
}

fn form(archive: &Archive, manifest: &Manifest) -> Form {
    let main = manifest.get("Main-Class");
    let launcher = main.is_some_and(|class| class.starts_with("org.springframework.boot.loader."));
    let has = |prefix: &str| archive.entries().iter().any(|entry| entry.name.starts_with(prefix));
    if launcher && has(boot::JAR_ROOT) {
        return match manifest.get("Start-Class") {
            Some(_) => Form::BootJar,
            None => not_runnable("its manifest names no Start-Class"),
        };
    }
    let Some(main) = main else { return why_not(archive, manifest, has("WEB-INF/")) };
    if launcher && has("WEB-INF/") {
        return Form::BootWar;
    }
    let class_path = class_path(manifest);
    if class_path.is_empty() && !has_class(archive, main) {
        return not_runnable(format!("its main class {main} is not in it"));
    }
    Form::Jar { class_path }
}

fn not_runnable(why: impl Into<String>) -> Form {
    Form::NotRunnable { why: why.into() }
}

fn why_not(archive: &Archive, manifest: &Manifest, web: bool) -> Form {
    if web {
        return not_runnable(format!(
            "it is a war for a servlet container, without Spring Boot's launcher; make it executable with spring-boot:repackage, or {OWN_DOCKERFILE}"
        ));
    }
    if archive.find("META-INF/MANIFEST.MF").is_none() {
        return not_runnable("it has no manifest (META-INF/MANIFEST.MF)");
    }
    match manifest.get("Start-Class") {
        Some(_) => not_runnable("its manifest has a Start-Class but no Main-Class"),
        None => not_runnable("its manifest names no Main-Class"),
    }
}

fn has_class(archive: &Archive, class: &str) -> bool {
    let name = format!("{}.class", class.replace('.', "/"));
    archive.entries().iter().any(|entry| entry.name == name || entry.name.starts_with("META-INF/versions/") && entry.name.ends_with(&name))
}

/// `Class-Path` is a list of relative URLs, separated by blanks.
fn class_path(manifest: &Manifest) -> Vec<String> {
    manifest.get("Class-Path").unwrap_or_default().split_whitespace().map(percent_decode).collect()
}

pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the application's own classes are.
fn class_root(form: &Form) -> &'static str {
    match form {
        Form::BootJar => boot::JAR_CLASSES,
        Form::BootWar => "WEB-INF/classes/",
        _ => "",
    }
}

/// The highest level of the classes that every Java loads. Classes of a multi-release jar's versions are left out: a Java that is
/// too old for them never looks at them; so are module descriptors, which a Java without modules passes over.
fn java_level(archive: &mut Archive, root: &str, manifest: &Manifest) -> Result<Option<u32>> {
    let multi_release = manifest.get("Multi-Release").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let counts = |entry: &Entry| {
        let Some(name) = entry.name.strip_prefix(root) else { return false };
        let of_a_release = multi_release && name.starts_with("META-INF/versions/");
        name.ends_with(".class") && !name.ends_with("module-info.class") && !of_a_release
    };
    let classes: Vec<Entry> = archive.entries().iter().filter(|entry| counts(entry)).cloned().collect();
    let mut highest = None;
    for class in &classes {
        highest = highest.max(major(&archive.head(class, CLASS_HEADER)?));
    }
    Ok(highest.map(|major| u32::from(major.saturating_sub(44))))
}

fn major(header: &[u8]) -> Option<u16> {
    match header {
        [0xca, 0xfe, 0xba, 0xbe, _, _, high, low] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

fn spring_boot_version(archive: &Archive, manifest: &Manifest, form: &Form) -> Option<String> {
    if let Some(version) = manifest.get("Spring-Boot-Version") {
        return Some(version.to_string());
    }
    libraries(archive, form).into_iter().find_map(|name| versioned(&name, "spring-boot-"))
}

fn has_actuator(archive: &Archive, form: &Form) -> bool {
    let in_libraries = libraries(archive, form).iter().any(|name| versioned(name, "spring-boot-actuator-").is_some());
    // A shaded jar has the classes themselves.
    let endpoint = "org/springframework/boot/actuate/endpoint/annotation/Endpoint.class";
    in_libraries || archive.entries().iter().any(|entry| entry.name == endpoint)
}

/// File names of the libraries on the class path.
fn libraries(archive: &Archive, form: &Form) -> Vec<String> {
    let base = |name: &str| name.rsplit('/').next().unwrap_or(name).to_string();
    match form {
        Form::Jar { class_path } => class_path.iter().map(|name| base(name)).collect(),
        _ => {
            let inside = |name: &&Entry| name.name.starts_with(boot::JAR_LIB) || name.name.starts_with("WEB-INF/lib");
            archive.entries().iter().filter(inside).map(|entry| base(&entry.name)).collect()
        }
    }
}

/// The version in `<prefix><version>.jar`; None when what follows the prefix is no version.
fn versioned(name: &str, prefix: &str) -> Option<String> {
    let version = name.strip_prefix(prefix)?.strip_suffix(".jar")?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_string())
}

/// Spring's order: `config/` beats the root, properties files beat YAML.
fn read_properties(archive: &mut Archive, root: &str) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for folder in ["", "config/"] {
        for (file, parse) in [
            ("application.yaml", properties::from_yaml as fn(&str) -> BTreeMap<String, String>),
            ("application.yml", properties::from_yaml),
            ("application.properties", properties::from_properties),
        ] {
            if let Some(text) = archive.text(&format!("{root}{folder}{file}"), MAX_TEXT)? {
                found.extend(parse(&text));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_path_entries_are_urls() {
        let manifest = Manifest::parse("Class-Path: lib/a%20b.jar  ./c.jar %zz.jar\n");
        assert_eq!(class_path(&manifest), ["lib/a b.jar", "./c.jar", "%zz.jar"]);
    }

    #[test]
    fn only_a_versioned_name_is_the_library() {
        assert_eq!(versioned("spring-boot-actuator-3.4.1.jar", "spring-boot-actuator-"), Some("3.4.1".to_string()));
        assert_eq!(versioned("spring-boot-actuator-autoconfigure-3.4.1.jar", "spring-boot-actuator-"), None);
        assert_eq!(major(&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 61]), Some(61));
        assert_eq!(major(b"notaclas"), None);
    }
}

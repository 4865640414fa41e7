//! JDKs of this machine: where they usually lie, which one a build needs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Jdk, project::level, xml};
use crate::{
    domain::problem::{Code, Problem, Result},
    process,
};

/// Folders whose children are JDKs.
const SHELVES: &[&str] =
    &["/usr/lib/jvm", "/usr/lib64/jvm", "/usr/java", "/opt", "/opt/java", "/opt/jdk", "/opt/jdks", "/usr/local", "/usr/local/lib/jvm"];

/// The same, below the user's own folder.
const OWN_SHELVES: &[&str] = &[".sdkman/candidates/java", ".jdks", ".asdf/installs/java", ".local/share/mise/installs/java"];

/// Finds JDKs (not mere runtimes): `extra` folders first (JDKs, or folders of JDKs), then `JAVA_HOME…` of `env`, the user's
/// toolchains.xml, the usual places, and the `javac` of `PATH`. Sorted by version; of one version the first found comes first.
pub(super) fn discover(extra: &[PathBuf], env: &[(String, String)], user_home: &Path) -> Vec<Jdk> {
    let mut homes: Vec<PathBuf> = extra.iter().flat_map(|folder| std::iter::once(folder.clone()).chain(folders(folder))).collect();
    homes.extend(java_home(env));
    homes.extend(env.iter().filter(|(name, _)| name.starts_with("JAVA_HOME_")).map(|(_, value)| PathBuf::from(value)));
    homes.extend(from_toolchains(&user_home.join("toolchains.xml")));
    let own = user_home.parent().into_iter().flat_map(|home| OWN_SHELVES.iter().map(|shelf| home.join(shelf)));
    homes.extend(own.chain(SHELVES.iter().map(PathBuf::from)).flat_map(|shelf| folders(&shelf)));
    let javac = process::find_program(Path::new("javac"), Path::new("/"), env)
        .and_then(|path| path.canonicalize().map_err(|error| Problem::io("read", path, &error)));
    homes.extend(javac.ok().and_then(|javac| Some(javac.parent()?.parent()?.to_path_buf())));

    let mut found: BTreeMap<PathBuf, (usize, Jdk)> = BTreeMap::new();
    for (rank, home) in homes.iter().enumerate() {
        if let Some(jdk) = inspect(home) {
            found.entry(jdk.home.clone()).or_insert((rank, jdk));
        }
    }
    let mut found: Vec<(usize, Jdk)> = found.into_values().collect();
    found.sort_by_key(|(rank, jdk)| (jdk.version, *rank));
    found.into_iter().map(|(_, jdk)| jdk).collect()
}

/// `JAVA_HOME` of an environment.
pub(super) fn java_home(env: &[(String, String)]) -> Option<PathBuf> {
    env.iter().rfind(|(name, value)| name == "JAVA_HOME" && !value.is_empty()).map(|(_, value)| PathBuf::from(value))
}

/// Chooses the JDK that compiles: exactly `asked` when the settings name one; else the level itself, else the smallest that still
/// knows the level, long-term releases before others; else `current` (what plain `mvn` would take), else the newest long-term one.
pub(super) fn choose(found: &[Jdk], asked: Option<u32>, level: Option<u32>, current: Option<&Path>) -> Result<Jdk> {
    if let Some(asked) = asked {
        let exact = found.iter().find(|jdk| jdk.version == asked).cloned();
        return exact.ok_or_else(|| missing(found, &format!("build.jdk asks for JDK {asked}, which was not found"), asked));
    }
    let Some(level) = level else {
        let current = current.and_then(|home| home.canonicalize().ok());
        let current = found.iter().find(|jdk| Some(&jdk.home) == current.as_ref());
        let newest = || found.iter().filter(|jdk| is_long_term(jdk.version)).max_by_key(|jdk| jdk.version).or(found.last());
        return current.or_else(newest).cloned().ok_or_else(|| missing(found, "there is no JDK to compile with", 21));
    };
    let knows = |jdk: &&Jdk| jdk.version >= level && jdk.version <= newest_for(level);
    let best = found.iter().filter(knows).min_by_key(|jdk| (jdk.version != level, !is_long_term(jdk.version), jdk.version));
    best.cloned().ok_or_else(|| {
        let mut problem = missing(found, &format!("the pom asks for Java {level}, which no JDK here compiles"), level);
        if let Some(newer) = found.iter().find(|jdk| jdk.version > newest_for(level)) {
            problem.hint =
                format!("raise maven.compiler.release in pom.xml to 8 (JDK {} knows no older level), or install JDK 8", newer.version);
        }
        problem
    })
}

/// The newest JDK whose compiler still knows a level (JEP 182: javac drops the oldest ones step by step).
fn newest_for(level: u32) -> u32 {
    match level {
        0..=5 => 8,
        6 => 11,
        7 => 19,
        _ => u32::MAX,
    }
}

fn is_long_term(version: u32) -> bool {
    matches!(version, 8 | 11) || (version >= 17 && (version - 17).is_multiple_of(4))
}

fn missing(found: &[Jdk], what: &str, wanted: u32) -> Problem {
    if found.is_empty() {
        let places = SHELVES.join(", ");
        return Problem::new(Code::JdkMissing, format!("{what}: no JDK was found"))
            .hint(format!("install JDK {wanted}, or set JAVA_HOME (looked there and in {places}, and in PATH)"));
    }
    let list: Vec<String> = found.iter().map(|jdk| format!("{} ({})", jdk.version, jdk.home.display())).collect();
    let mut versions: Vec<String> = found.iter().map(|jdk| jdk.version.to_string()).collect();
    versions.dedup();
    Problem::new(Code::JdkMissing, format!("{what}; found: {}", list.join(", ")))
        .hint(format!("install JDK {wanted}, or set build.jdk to one of {}", versions.join(", ")))
}

/// Child folders in a steady order.
fn folders(shelf: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(shelf) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.truncate(500);
    folders
}

fn inspect(home: &Path) -> Option<Jdk> {
    // Symbolic links such as `current` or `default-java` would list one JDK twice.
    let home = home.canonicalize().ok()?;
    if !process::is_executable(&home.join("bin/javac")) {
        return None;
    }
    let release = std::fs::read_to_string(home.join("release")).unwrap_or_default();
    let field = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim().trim_matches('"').to_string()).filter(|value| !value.is_empty())
    };
    // Some JDKs 8 have no release file; their folder's name says the version.
    let full_version = field("JAVA_VERSION").or_else(|| version_in_name(&home))?;
    let vendor = field("IMPLEMENTOR").unwrap_or_else(|| "unknown".to_string());
    Some(Jdk { version: feature(&full_version)?, full_version, vendor, home })
}

/// `1.8.0_392`, `17.0.15`, `25-ea` → 8, 17, 25.
fn feature(full: &str) -> Option<u32> {
    let rest = full.strip_prefix("1.").unwrap_or(full);
    level(rest.split(|c: char| !c.is_ascii_digit()).next()?)
}

fn version_in_name(home: &Path) -> Option<String> {
    let name = home.file_name()?.to_str()?;
    let start = name.find(|c: char| c.is_ascii_digit())?;
    let version: String = name[start..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | '_')).collect();
    Some(version.trim_end_matches(['.', '_']).to_string())
}

fn from_toolchains(path: &Path) -> Vec<PathBuf> {
    let Ok(text) = xml::read_text(path) else { return Vec::new() };
    let Ok(document) = xml::parse(&text) else { return Vec::new() };
    let homes = document.descendants().filter(|node| node.tag_name().name() == "jdkHome");
    homes.filter_map(|node| Some(PathBuf::from(node.text()?.trim()))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn jdks(versions: &[u32]) -> Vec<Jdk> {
        let jdk = |&version: &u32| Jdk {
            home: format!("/jdk/{version}").into(),
            version,
            full_version: format!("{version}.0.1"),
            vendor: "x".into(),
        };
        versions.iter().map(jdk).collect()
    }

    #[test]
    fn the_jdk_that_compiles() {
        for (found, asked, level, chosen) in [
            (&[8, 17, 25][..], Some(17), Some(21), Some(17)),
            (&[17, 25], Some(21), None, None),
            (&[8, 17, 25], None, Some(8), Some(8)),
            (&[17, 25], None, Some(8), Some(17)),
            (&[18, 21], None, Some(17), Some(21)),
            (&[18], None, Some(17), Some(18)),
            (&[17, 18, 21], None, Some(18), Some(18)),
            (&[17, 25], None, Some(26), None),
            (&[17, 25], None, Some(6), None),
            (&[8, 11, 17], None, Some(6), Some(8)),
            (&[17, 25, 26], None, None, Some(25)),
            (&[26], None, None, Some(26)),
            (&[], None, None, None),
        ] {
            let result = choose(&jdks(found), asked, level, None).map(|jdk| jdk.version).ok();
            assert_eq!(result, chosen, "{found:?} {asked:?} {level:?}");
        }
    }

    #[test]
    fn a_missing_jdk_lists_those_found() {
        let problem = choose(&jdks(&[17, 25]), Some(21), None, None).unwrap_err();
        assert_eq!(problem.code, Code::JdkMissing);
        assert_eq!(problem.message, "build.jdk asks for JDK 21, which was not found; found: 17 (/jdk/17), 25 (/jdk/25)");
        assert_eq!(problem.hint, "install JDK 21, or set build.jdk to one of 17, 25");
        let problem = choose(&jdks(&[17]), None, Some(5), None).unwrap_err();
        assert!(problem.hint.contains("maven.compiler.release"), "{}", problem.hint);
        assert!(choose(&[], None, Some(17), None).unwrap_err().message.ends_with("no JDK was found"));
    }

    #[test]
    fn jdks_are_told_from_runtimes_and_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, release: Option<&str>, compiler: bool| {
            let home = dir.path().join("jdks").join(name);
            std::fs::create_dir_all(home.join("bin")).unwrap();
            if let Some(release) = release {
                std::fs::write(home.join("release"), release).unwrap();
            }
            if compiler {
                std::fs::write(home.join("bin/javac"), "").unwrap();
                std::fs::set_permissions(home.join("bin/javac"), std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        };
        make("a-97", Some("IMPLEMENTOR=\"Azul\"\nJAVA_VERSION=\"97.0.1\"\n"), true);
        make("jdk1.8.0_202", None, true);
        make("jre-96", Some("JAVA_VERSION=\"96.0.1\"\n"), false);
        std::os::unix::fs::symlink(dir.path().join("jdks/a-97"), dir.path().join("jdks/current")).unwrap();
        let user_home = dir.path().join("m2");
        let mut found = discover(&[dir.path().join("jdks")], &[], &user_home);
        let root = dir.path().canonicalize().unwrap();
        found.retain(|jdk| jdk.home.starts_with(&root));
        let seen: Vec<(u32, &str, &str)> = found.iter().map(|jdk| (jdk.version, jdk.full_version.as_str(), jdk.vendor.as_str())).collect();
        assert_eq!(seen, [(8, "1.8.0_202", "unknown"), (97, "97.0.1", "Azul")]);
    }
}

//! toolchains.xml for poms that configure the toolchains plugin: the user's own file, then every JDK that was found.

use std::path::Path;

use super::{Jdk, xml};
use crate::domain::problem::{Code, Problem, Result};

/// The merged file's text; the user's toolchains come first, since the first that matches is taken.
pub(super) fn merged(user_file: &Path, jdks: &[Jdk]) -> Result<String> {
    let user = if user_file.is_file() { own_toolchains(user_file)? } else { String::new() };
    let ours: String = jdks.iter().flat_map(toolchains_of).collect();
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<toolchains>\n{user}{ours}</toolchains>\n"))
}

fn own_toolchains(path: &Path) -> Result<String> {
    let text = xml::read_text(path)?;
    let document = xml::parse(&text).map_err(|error| {
        Problem::new(Code::FileUnreadable, format!("{} is not valid XML: {error}", path.display())).hint("correct or remove that file")
    })?;
    let nodes = xml::children(document.root_element(), "toolchain");
    Ok(nodes.map(|node| format!("{}\n", &text[node.range()])).collect())
}

/// One entry for each way in which poms ask: a bare version is compared as a whole (`17` does not match `17.0.15`), a range wants
/// the full version, and a vendor goes by its everyday names. Source: the toolchains plugin's requirement matchers.
fn toolchains_of(jdk: &Jdk) -> Vec<String> {
    let mut versions = vec![jdk.version.to_string(), jdk.full_version.clone()];
    if jdk.version <= 8 {
        versions.push(format!("1.{}", jdk.version));
    }
    let vendors = vendor_names(&jdk.vendor);
    let pairs = versions.iter().flat_map(|version| vendors.iter().map(move |vendor| (version, vendor)));
    let home = xml::escape(&jdk.home.display().to_string());
    let entry = |(version, vendor): (&String, &String)| {
        format!(
            "  <toolchain><type>jdk</type><provides><version>{}</version><vendor>{}</vendor></provides>\
             <configuration><jdkHome>{home}</jdkHome></configuration></toolchain>\n",
            xml::escape(version),
            xml::escape(vendor)
        )
    };
    pairs.map(entry).collect()
}

fn vendor_names(implementor: &str) -> Vec<String> {
    let lower = implementor.to_ascii_lowercase();
    let known: &[(&str, &[&str])] = &[
        ("adoptium", &["temurin", "adoptium", "openjdk"]),
        ("oracle", &["oracle", "openjdk", "sun"]),
        ("azul", &["zulu", "azul", "openjdk"]),
        ("amazon", &["corretto", "amazon", "openjdk"]),
        ("bellsoft", &["liberica", "bellsoft", "openjdk"]),
        ("microsoft", &["microsoft", "openjdk"]),
        ("graalvm", &["graalvm", "openjdk"]),
        ("alibaba", &["dragonwell", "alibaba", "openjdk"]),
        ("tencent", &["kona", "tencent", "openjdk"]),
    ];
    let names = known.iter().find(|(word, _)| lower.contains(word)).map_or(&["openjdk"][..], |(_, names)| names);
    let mut names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    if !names.contains(&lower) {
        names.push(lower);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_toolchains_come_first_and_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("toolchains.xml");
        std::fs::write(&file, "<?xml version='1.0'?><toolchains><!-- x --><toolchain><type>paths</type></toolchain></toolchains>").unwrap();
        let jdk = Jdk { home: "/jdk & co".into(), version: 8, full_version: "1.8.0_392".into(), vendor: "Eclipse Adoptium".into() };
        let text = merged(&file, &[jdk]).unwrap();
        let document = xml::parse(&text).unwrap();
        let entries: Vec<_> = xml::children(document.root_element(), "toolchain").collect();
        assert_eq!(xml::text(entries[0], "type").as_deref(), Some("paths"));
        let provided = |node: &roxmltree::Node<'_, '_>| {
            let provides = xml::child(*node, "provides").unwrap();
            format!("{} {}", xml::text(provides, "version").unwrap(), xml::text(provides, "vendor").unwrap())
        };
        let provided: Vec<String> = entries[1..].iter().map(provided).collect();
        for wanted in ["8 temurin", "1.8 openjdk", "1.8.0_392 eclipse adoptium"] {
            assert!(provided.iter().any(|entry| entry == wanted), "{provided:?}");
        }
        assert!(text.contains("<jdkHome>/jdk &amp; co</jdkHome>"));
    }

    #[test]
    fn a_broken_file_of_the_user_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("toolchains.xml");
        std::fs::write(&file, "<toolchains>").unwrap();
        let problem = merged(&file, &[]).unwrap_err();
        assert_eq!(problem.code, Code::FileUnreadable);
        assert!(problem.message.contains("toolchains.xml is not valid XML"), "{}", problem.message);
        assert!(merged(Path::new("/no/such"), &[]).unwrap().contains("<toolchains>"));
    }
}

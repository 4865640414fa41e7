//! Spring Boot's fat jar: where its parts are, and the two indexes that say in which order and layer (Spring Boot reference,
//! "Nested JARs").

/// Root of a fat jar's parts.
pub(super) const JAR_ROOT: &str = "BOOT-INF/";
pub(super) const JAR_CLASSES: &str = "BOOT-INF/classes/";
pub(super) const JAR_LIB: &str = "BOOT-INF/lib/";
pub(super) const CLASSPATH_INDEX: &str = "BOOT-INF/classpath.idx";
pub(super) const LAYERS_INDEX: &str = "BOOT-INF/layers.idx";
/// Attributes that speak of the fat jar's own form; a thin jar does not have them.
pub(super) const LAUNCHER_ATTRIBUTES: [&str; 5] =
    ["Start-Class", "Spring-Boot-Classes", "Spring-Boot-Lib", "Spring-Boot-Classpath-Index", "Spring-Boot-Layers-Index"];

/// `layers.idx`: names of layers, from rarely to often changing, and what belongs to each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layers(Vec<(String, Vec<String>)>);

impl Layers {
    /// None when the text is no such index.
    pub fn parse(text: &str) -> Option<Layers> {
        let mut layers: Vec<(String, Vec<String>)> = Vec::new();
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if let Some(entry) = line.strip_prefix("  - ") {
                layers.last_mut()?.1.push(unquote(entry)?);
            } else {
                layers.push((unquote(line.strip_prefix("- ")?.strip_suffix(':')?)?, Vec::new()));
            }
        }
        (!layers.is_empty()).then_some(Layers(layers))
    }

    /// What a fat jar without the index has: snapshots apart from releases.
    pub fn by_name(libraries: &[String]) -> Layers {
        let (snapshots, releases): (Vec<String>, Vec<String>) = libraries.iter().cloned().partition(|name| is_snapshot(name));
        Layers(vec![
            ("dependencies".to_string(), releases),
            ("snapshot-dependencies".to_string(), snapshots),
            ("application".to_string(), vec![JAR_CLASSES.to_string()]),
        ])
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The index of the layer that an entry belongs to: the first that names it, or a folder above it.
    pub fn find(&self, entry: &str) -> Option<usize> {
        self.0.iter().position(|(_, members)| {
            members.iter().any(|member| member == entry || member.ends_with('/') && entry.starts_with(member.as_str()))
        })
    }
}

/// `classpath.idx`: the libraries in the order of the class path.
pub(super) fn parse_classpath(text: &str) -> Option<Vec<String>> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(|line| unquote(line.strip_prefix("- ")?)).collect()
}

fn unquote(text: &str) -> Option<String> {
    text.strip_prefix('"')?.strip_suffix('"').map(str::to_string)
}

/// Whether a library's file name says that it is a snapshot, also a timestamped one (`-20240131.235959-12.jar`).
pub(super) fn is_snapshot(name: &str) -> bool {
    let stem = name.strip_suffix(".jar").unwrap_or(name);
    let stamped = stem.rsplit('-').collect::<Vec<_>>();
    let digits = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    let timestamp = |text: &&str| text.split_once('.').is_some_and(|(date, time)| digits(date, 8) && digits(time, 6));
    stem.contains("SNAPSHOT") || stamped.get(1).is_some_and(timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_by_name() {
        for name in ["a-1.0-SNAPSHOT.jar", "a-1.0-20240131.235959-12.jar", "a-SNAPSHOT-tests.jar"] {
            assert!(is_snapshot(name), "{name}");
        }
        for name in ["a-1.0.jar", "a-20240131-12.jar", "a.jar", "lib-2024.01-1.jar"] {
            assert!(!is_snapshot(name), "{name}");
        }
    }

    #[test]
    fn layers_with_custom_names() {
        let text = "- \"dependencies\":\n  - \"BOOT-INF/lib/a.jar\"\n- \"company\":\n  - \"BOOT-INF/lib/\"\n- \"empty\":\n- \"application\":\n  - \"BOOT-INF/classes/\"\n";
        let layers = Layers::parse(text).unwrap();
        assert_eq!(layers.names().collect::<Vec<_>>(), ["dependencies", "company", "empty", "application"]);
        assert_eq!(layers.find("BOOT-INF/lib/a.jar"), Some(0));
        assert_eq!(layers.find("BOOT-INF/lib/b.jar"), Some(1));
        assert_eq!(layers.find("BOOT-INF/classes/x/Y.class"), Some(3));
        assert_eq!(layers.find("org/x"), None);
        assert_eq!(Layers::parse("dependencies: []\n"), None);
        assert_eq!(Layers::parse(""), None);
    }

    #[test]
    fn the_class_path_index_keeps_its_order() {
        assert_eq!(
            parse_classpath("- \"BOOT-INF/lib/b.jar\"\r\n- \"BOOT-INF/lib/a.jar\"\r\n").unwrap(),
            ["BOOT-INF/lib/b.jar", "BOOT-INF/lib/a.jar"]
        );
        assert_eq!(parse_classpath("x"), None);
    }
}

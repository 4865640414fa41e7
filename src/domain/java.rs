//! Versions of Java, as images and vendors write them.

/// Feature release and update, such as 17 and 15 of `17.0.15`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JavaVersion {
    pub feature: u32,
    pub update: u32,
}

impl JavaVersion {
    /// Reads `17.0.15+6`, `jdk-17.0.15+6`, `8u402`, `jdk8u402-b06`, `1.8.0_402`, `8.0.402`.
    pub fn parse(text: &str) -> Option<JavaVersion> {
        let text = text.trim_matches('"').trim_start_matches("jdk").trim_start_matches('-');
        let numbers: Vec<u32> =
            text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).map_while(|part| part.parse().ok()).collect();
        let version = |feature: &u32, update: &u32| Some(JavaVersion { feature: *feature, update: *update });
        match numbers.as_slice() {
            [1, feature, _, update, ..] => version(feature, update),
            [8, update, ..] if text.contains('u') => version(&8, update),
            [feature, _, update, ..] => version(feature, update),
            [feature, ..] => version(feature, &0),
            [] => None,
        }
    }

    /// Guesses the feature release from the name of a JDK's folder, as vendors name them: `java-17-amazon-corretto`, `zulu17-ca`,
    /// `jdk-21.0.4`, `java-1.8.0-openjdk`. None when the name says nothing, such as `openjdk`.
    pub fn of_home(path: &str) -> Option<u32> {
        let name = path.trim_end_matches('/').rsplit('/').find(|part| part.contains(|c: char| c.is_ascii_digit()))?;
        let number = &name[name.find(|c: char| c.is_ascii_digit())?..];
        let feature = JavaVersion::parse(number)?.feature;
        let feature = if feature == 1 { number.split('.').nth(1)?.parse().ok()? } else { feature };
        (6..100).contains(&feature).then_some(feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, feature, update) in [
            ("17.0.15+6", 17, 15),
            ("jdk-17.0.15+6", 17, 15),
            ("21", 21, 0),
            ("8u402", 8, 402),
            ("jdk8u402-b06", 8, 402),
            ("1.8.0_402", 8, 402),
            ("8.0.402", 8, 402),
            ("\"25.0.1\"", 25, 1),
        ] {
            assert_eq!(JavaVersion::parse(text), Some(JavaVersion { feature, update }), "{text}");
        }
        assert_eq!(JavaVersion::parse("latest"), None);
    }

    #[test]
    fn folders_of_vendors() {
        for (path, feature) in [
            ("/usr/lib/jvm/java-17-amazon-corretto", Some(17)),
            ("/usr/lib/jvm/zulu17-ca", Some(17)),
            ("/opt/java/jdk-21.0.4/", Some(21)),
            ("/usr/lib/jvm/java-1.8.0-openjdk", Some(8)),
            ("/usr/lib/jvm/java-11-openjdk-amd64/jre", Some(11)),
            ("/opt/java/openjdk", None),
            ("/opt/app2/java", None),
            ("", None),
        ] {
            assert_eq!(JavaVersion::of_home(path), feature, "{path}");
        }
    }
}

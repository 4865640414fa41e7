//! A jar's manifest (JAR File Specification, "JAR Manifest"): attributes with continuation lines, read and written.

/// The longest line of a manifest, in bytes, without its line break.
const LINE: usize = 72;

/// The attributes of a manifest's main section, in their order, and the sections of single entries as they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    attributes: Vec<(String, String)>,
    sections: Vec<Vec<(String, String)>>,
}

impl Manifest {
    /// Reads a manifest; lines that are none of the format's are passed over, as Java would have refused the jar long before.
    pub fn parse(text: &str) -> Manifest {
        let mut sections: Vec<Vec<(String, String)>> = vec![Vec::new()];
        let unified = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
        for line in unified.split('\n') {
            let Some(section) = sections.last_mut() else { break };
            if line.is_empty() {
                if !section.is_empty() || sections.len() == 1 {
                    sections.push(Vec::new());
                }
            } else if let Some(rest) = line.strip_prefix(' ') {
                if let Some((_, value)) = section.last_mut() {
                    value.push_str(rest);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                section.push((name.to_string(), value.strip_prefix(' ').unwrap_or(value).to_string()));
            }
        }
        let attributes = sections.remove(0);
        sections.retain(|section| !section.is_empty());
        Manifest { attributes, sections }
    }

    /// An attribute's value; names are compared without case. Empty values count as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    pub fn set(&mut self, name: &str, value: String) {
        match self.attributes.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_string(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.attributes.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    /// Takes the digests of a signature away: they no longer hold once entries moved.
    pub fn drop_digests(&mut self) {
        for section in &mut self.sections {
            section.retain(|(key, _)| !key.to_ascii_lowercase().ends_with("-digest"));
        }
        self.sections.retain(|section| section.len() > 1);
    }

    /// Writes the manifest, wrapped at 72 bytes, `Manifest-Version` first as the specification wants it.
    pub fn render(&self) -> String {
        let mut text = String::new();
        write_attribute(&mut text, "Manifest-Version", self.get("Manifest-Version").unwrap_or("1.0"));
        for (name, value) in self.attributes.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Manifest-Version")) {
            write_attribute(&mut text, name, value);
        }
        text.push_str("\r\n");
        for section in &self.sections {
            for (name, value) in section {
                write_attribute(&mut text, name, value);
            }
            text.push_str("\r\n");
        }
        text
    }
}

fn write_attribute(text: &mut String, name: &str, value: &str) {
    let mut used = 0;
    for c in name.chars().chain(": ".chars()).chain(value.chars()) {
        if used + c.len_utf8() > LINE {
            text.push_str("\r\n ");
            used = 1;
        }
        text.push(c);
        used += c.len_utf8();
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuation_lines_and_every_line_break_are_read() {
        let manifest = Manifest::parse(
            "Manifest-Version: 1.0\r\nClass-Path: lib/a.jar lib/b\r\n .jar\r\nEmpty: \r\n\r\nName: a/b\r\nSHA-256-Digest: x\r\n",
        );
        assert_eq!(manifest.get("class-path"), Some("lib/a.jar lib/b.jar"));
        assert_eq!(manifest.get("Empty"), None);
        assert_eq!(manifest.get("SHA-256-Digest"), None, "sections of entries are not the main section");
        assert_eq!(Manifest::parse("Main-Class: a.B\rX: y\n").get("Main-Class"), Some("a.B"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut manifest =
            Manifest::parse("Manifest-Version: 1.0\nMain-Class: a.B\n\nName: a/\nSealed: true\n\nName: b\nSHA-256-Digest: x\n");
        manifest.set("Class-Path", (0..40).map(|n| format!("lib/ärtifact-{n}.jar ")).collect());
        manifest.drop_digests();
        let text = manifest.render();
        assert!(text.lines().all(|line| line.len() <= LINE), "{text}");
        assert!(text.contains("Sealed: true") && !text.contains("Digest"), "{text}");
        assert_eq!(Manifest::parse(&text), manifest);
    }
}

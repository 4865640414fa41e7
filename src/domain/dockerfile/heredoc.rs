//! Here-documents (Dockerfile reference, "Here-Documents"): lines that follow an instruction and belong to it.

use super::lexer::split_words;

/// A text that stands in the Dockerfile itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Document {
    /// The word that ends it, and the name of the file that COPY makes of it.
    pub name: String,
    /// Variables in it are replaced, unless the word stands in quotes.
    pub expands: bool,
    /// The lines with their line breaks; `<<-` has taken away the tabs at their beginning.
    pub content: String,
}

/// Takes the here-documents of an instruction off the lines that follow it; the error is the word that a document lacks at its end.
pub(super) fn read(logical: &str, escape: char, lines: &mut dyn Iterator<Item = &str>) -> Result<Vec<Document>, String> {
    let words = split_words(logical, escape);
    let mut keywords = words.iter().map(|word| word.to_ascii_uppercase());
    let mut keyword = keywords.next().unwrap_or_default();
    if keyword == "ONBUILD" {
        keyword = keywords.next().unwrap_or_default();
    }
    if !matches!(keyword.as_str(), "COPY" | "ADD" | "RUN") || !logical.contains("<<") {
        return Ok(Vec::new());
    }
    let begun = words.iter().filter_map(|word| begin(word));
    begun.map(|(document, chomps)| collect(document, chomps, lines)).collect()
}

/// The document that a word such as `<<EOF` or `<<-"EOF"` begins, still empty, and whether tabs at the beginning of its lines go.
pub(super) fn begin(word: &str) -> Option<(Document, bool)> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (chomps, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let name: String = rest.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    let whole = !name.is_empty() && !name.contains('<');
    whole.then(|| (Document { expands: name.len() == rest.len(), name, content: String::new() }, chomps))
}

fn collect(mut document: Document, chomps: bool, lines: &mut dyn Iterator<Item = &str>) -> Result<Document, String> {
    for line in lines {
        let line = if chomps { line.trim_start_matches('\t') } else { line };
        if line.trim_end_matches(['\r', '\n']) == document.name {
            return Ok(document);
        }
        document.content.push_str(line);
    }
    Err(document.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_taken_off_the_lines() {
        let mut lines = "a $b\n\tEOF\nEOF\n\t\tindented\n\tx y\nEND\n".split_inclusive('\n').chain(["rest"]);
        let found = read("COPY <<EOF <<-'END' /x/", '\\', &mut lines).unwrap();
        let document = |name: &str, expands, content: &str| Document { name: name.to_string(), expands, content: content.to_string() };
        assert_eq!(found, [document("EOF", true, "a $b\n\tEOF\n"), document("END", false, "indented\nx y\n")]);
        assert_eq!(lines.next(), Some("rest"));
    }

    #[test]
    fn not_every_bracket_begins_one() {
        for logical in ["ENV A=<<EOF", "RUN x < y", "RUN cat <<<word", "COPY << /x", "LABEL <<a b"] {
            assert_eq!(read(logical, '\\', &mut ["EOF\n"].into_iter()), Ok(Vec::new()), "{logical}");
        }
        assert_eq!(read("ONBUILD RUN 3<<A", '\\', &mut ["x\n"].into_iter()), Err("A".to_string()));
    }
}

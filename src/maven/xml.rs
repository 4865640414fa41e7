//! Reading Maven's XML files: any encoding that their head declares, no DTD, bounded in size.

use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

use crate::domain::problem::Problem;

/// A pom or settings file beyond this size is not one that people write.
const MAX_BYTES: u64 = 16 << 20;

/// The text of an XML file; Err says why it cannot be read.
pub(super) fn read_text(path: &Path) -> Result<String, Problem> {
    let read = || {
        let size = path.metadata()?.len();
        if size > MAX_BYTES {
            return Err(std::io::Error::other(format!("{size} bytes are more than an XML file of Maven has")));
        }
        std::fs::read(path)
    };
    read().map(|bytes| decode(&bytes)).map_err(|error| Problem::io("read", path, &error))
}

/// Parses without entities of a DTD, so that none can grow.
pub(super) fn parse(text: &str) -> Result<Document<'_>, roxmltree::Error> {
    Document::parse_with_options(text, ParsingOptions { allow_dtd: false, nodes_limit: 1_000_000, ..ParsingOptions::default() })
}

/// Bytes to text by byte order mark or declaration. An encoding that is not known here is read as ASCII with holes: in every
/// encoding that starts with `<?xml` in ASCII the mark-up is ASCII, and names and versions in a pom are, too.
pub(super) fn decode(bytes: &[u8]) -> String {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => return String::from_utf8_lossy(rest).into_owned(),
        [0xfe, 0xff, rest @ ..] => return utf16(rest, u16::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => return utf16(rest, u16::from_le_bytes),
        _ => (),
    }
    match declared_encoding(bytes).as_deref() {
        Some("iso-8859-1" | "latin1" | "windows-1252") => bytes.iter().map(|&byte| char::from(byte)).collect(),
        None | Some("utf-8" | "utf8" | "us-ascii") => String::from_utf8_lossy(bytes).into_owned(),
        Some(_) => bytes.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '\u{fffd}' }).collect(),
    }
}

/// The first child element of that name, whatever its namespace: poms are read with and without one.
pub(super) fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

/// All child elements of that name.
pub(super) fn children<'a, 'input>(node: Node<'a, 'input>, name: &str) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// The element at the end of a path of names.
pub(super) fn descend<'a, 'input>(node: Node<'a, 'input>, path: &[&str]) -> Option<Node<'a, 'input>> {
    path.iter().try_fold(node, |node, name| child(node, name))
}

/// The trimmed text of a child; None when it is absent or empty.
pub(super) fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text: String = child(node, name)?.children().filter(Node::is_text).filter_map(|part| part.text()).collect();
    Some(text.trim().to_string()).filter(|text| !text.is_empty())
}

/// Text made fit for an element's content.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\r' => escaped.push_str("&#13;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

fn declared_encoding(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let declaration = head.trim_start().strip_prefix("<?xml")?.split("?>").next()?;
    let value = declaration.split("encoding").nth(1)?.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    Some(value[1..].split(quote).next()?.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_encoding_counts() {
        let latin = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>caf\xe9</a>";
        assert!(decode(latin).ends_with("<a>caf\u{e9}</a>"));
        let gbk = b"<?xml version='1.0' encoding = 'GBK'?><a>\xb6\xa9<b>x</b></a>";
        assert!(decode(gbk).ends_with("<a>\u{fffd}\u{fffd}<b>x</b></a>"));
        assert_eq!(decode(b"\xef\xbb\xbf<a/>"), "<a/>");
        assert_eq!(decode(b"\xff\xfe<\0a\0/\0>\0"), "<a/>");
        assert_eq!(decode("<a>\u{4f60}</a>".as_bytes()), "<a>\u{4f60}</a>");
        assert_eq!(decode(b""), "");
    }

    #[test]
    fn a_dtd_is_refused() {
        assert!(parse("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>").is_err());
    }
}

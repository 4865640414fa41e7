//! Dockerfile and manifests with a little colour. What goes in is escaped here; what comes out is markup.

/// HTML's five special characters (HTML living standard, 13.3, with quotes).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Instructions stand out, comments step back.
pub fn dockerfile(text: &str) -> String {
    lines(text, |line| {
        let word = line.split([' ', '\t']).next().unwrap_or_default();
        let instruction = !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase());
        if instruction { keyed(word, &line[word.len()..]) } else { comment_or_plain(line) }
    })
}

/// Keys stand out, comments and document separators step back.
pub fn yaml(text: &str) -> String {
    lines(text, |line| {
        let key = line.find(':').filter(|at| {
            let rest = &line[at + 1..];
            let name = line[..*at].trim_start_matches([' ', '-']);
            !name.is_empty() && !name.starts_with(['"', '\'', '#']) && (rest.is_empty() || rest.starts_with(' '))
        });
        key.map_or_else(|| comment_or_plain(line), |at| keyed(&line[..at], &line[at..]))
    })
}

/// Lines that came and went of a unified difference.
pub fn difference(text: &str) -> String {
    lines(text, |line| match line.as_bytes().first() {
        Some(b'+') => format!("<ins>{}</ins>", escape(line)),
        Some(b'-') => format!("<del>{}</del>", escape(line)),
        Some(b'@') => format!("<i>{}</i>", escape(line)),
        _ => escape(line),
    })
}

/// Lines that name a failure stand out.
pub fn log(text: &str) -> String {
    let words = ["ERROR", "FATAL", "Exception", "Caused by", "Error:", "OutOfMemory", "Warning ", "panic"];
    lines(text, |line| if words.iter().any(|word| line.contains(word)) { format!("<b>{}</b>", escape(line)) } else { escape(line) })
}

fn lines(text: &str, paint: impl Fn(&str) -> String) -> String {
    text.lines().map(paint).collect::<Vec<_>>().join("\n")
}

fn keyed(key: &str, rest: &str) -> String {
    format!("<b>{}</b>{}", escape(key), escape(rest))
}

fn comment_or_plain(line: &str) -> String {
    let faint = line.trim_start().starts_with('#') || line == "---";
    if faint { format!("<i>{}</i>", escape(line)) } else { escape(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_ours_alone() {
        assert_eq!(difference("@@ -1 +1 @@\n-<a>\n+b\n c"), "<i>@@ -1 +1 @@</i>\n<del>-&lt;a&gt;</del>\n<ins>+b</ins>\n c");
        assert_eq!(dockerfile("FROM a<b\n# <x>"), "<b>FROM</b> a&lt;b\n<i># &lt;x&gt;</i>");
        assert_eq!(
            yaml("---\n  - name: \"<i>\"\nurl: http://x:1\n\"k\": v"),
            "<i>---</i>\n<b>  - name</b>: &quot;&lt;i&gt;&quot;\n<b>url</b>: http://x:1\n&quot;k&quot;: v"
        );
    }
}

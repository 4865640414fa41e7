//! Pieces of Markdown in which foreign text cannot act: code spans, fences, link destinations.

use super::foreign;

/// How much longer a sentence may get by its code spans.
const LONGEST_MARKUP: usize = 60;

/// The address with everything encoded that could end or change a Markdown link (RFC 3986's own characters stay, but parentheses).
pub fn destination(url: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!$&'+,;=%".contains(c);
    let encode = |c: char| c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    url.chars().map(|c| if keep(c) { c.to_string() } else { encode(c) }).collect()
}

/// Text in a fence that none of its lines can close; a line that would look like a quick action gets a bar in front.
pub fn fence(language: &str, text: &str) -> String {
    let ticks = "`".repeat(longest_run(text).max(2) + 1);
    let lines: String =
        text.lines().map(|line| if line.trim_start().starts_with('/') { format!("│ {line}\n") } else { format!("{line}\n") }).collect();
    format!("{ticks}{language}\n{lines}{ticks}\n")
}

/// A sentence of ours: its plain words stand as they are, what a forge could act on (names, paths, whatever is foreign) in code spans.
pub fn prose(text: &str, longest: usize) -> String {
    let text = foreign::line(text, longest);
    let mut parts: Vec<String> = Vec::new();
    let mut nouns: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let core = word.trim_end_matches([',', ';', ':']);
        if is_plain(core) {
            parts.extend(ended(&mut nouns));
            parts.push(word.to_string());
        } else if core.is_empty() || core == word {
            nouns.push(word);
        } else {
            nouns.push(core);
            parts.extend(ended(&mut nouns).map(|noun| format!("{noun}{}", &word[core.len()..])));
        }
    }
    parts.extend(ended(&mut nouns));
    let prose = parts.join(" ");
    // Text that is mostly markup gets longer by its spans: then one is enough.
    if text.trim().is_empty() || prose.len() > text.len() + LONGEST_MARKUP { span(&text, longest) } else { prose }
}

/// The span of the nouns that stand together.
fn ended(nouns: &mut Vec<&str>) -> Option<String> {
    let noun = nouns.join(" ");
    nouns.clear();
    (!noun.is_empty()).then(|| span(&noun, usize::MAX))
}

/// A word, or a number. Letters with digits may be a reference (`GH-1`, a commit), and letters with dots an address.
fn is_plain(word: &str) -> bool {
    let number = word.len() <= 6 && word.chars().all(|c| c.is_ascii_digit());
    let letters = word.split(['-', '\'']).all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphabetic()));
    !word.is_empty() && (number || letters)
}

/// Text in a code span that it cannot leave, fit for a table's cell.
pub fn span(text: &str, longest: usize) -> String {
    let text = foreign::line(text, longest).replace('|', "∣");
    let text = text.trim();
    if text.is_empty() {
        return "–".to_string();
    }
    let ticks = "`".repeat(longest_run(text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

pub fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

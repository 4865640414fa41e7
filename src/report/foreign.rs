//! The one renderer for foreign text: log lines, commit titles, events, answers of servers. What comes out has no control characters,
//! no terminal escapes and no characters that reorder or hide what follows them.

use std::iter::Peekable;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::domain::redact::Redactor;

/// The text with its line breaks (all kinds become `\n`) and nothing else that acts; tabs become four spaces.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\u{0b}' | '\u{0c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => cleaned.push('\n'),
            '\t' => cleaned.push_str("    "),
            c if c.is_control() || hides(c) => {}
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// The text without secrets and without anything that acts. Secrets are looked for twice: what hides in a text (an escape in the
/// middle of a password) is seen after the cleaning alone.
pub fn safe(text: &str, redactor: &Redactor) -> String {
    redactor.redact(&clean(&redactor.redact(text))).into_owned()
}

/// One line of at most `longest` columns; line breaks become spaces, the end is cut with `…`.
pub fn line(text: &str, longest: usize) -> String {
    cut(&clean(text).replace('\n', " "), longest)
}

/// The last `most` lines, each cut at `longest` columns; empty lines at both ends are dropped.
pub fn last_lines(text: &str, most: usize, longest: usize) -> Vec<String> {
    let cleaned = clean(text);
    let lines: Vec<&str> = cleaned.trim_matches('\n').lines().map(str::trim_end).collect();
    let skipped = lines.len().saturating_sub(most);
    let mut shown: Vec<String> = lines[skipped..].iter().map(|line| cut(line, longest)).collect();
    if skipped > 0 {
        shown.insert(0, format!("… {skipped} lines before"));
    }
    shown
}

/// At most `limit` bytes: the middle is left out, at line ends where there are any, and said.
pub fn middle(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_string();
    }
    let note = |left_out: usize| format!("\n… {left_out} bytes left out …\n");
    let half = limit.saturating_sub(note(text.len()).len()) / 2;
    let head = &text[..floor_boundary(text, half)];
    let tail = &text[ceil_boundary(text, text.len() - half)..];
    let head = head.rfind('\n').filter(|at| *at > half / 2).map_or(head, |at| &head[..at]);
    let tail = tail.find('\n').filter(|at| *at < half / 2).map_or(tail, |at| &tail[at + 1..]);
    format!("{head}{}{tail}", note(text.len() - head.len() - tail.len()))
}

/// Breaks a text at spaces into lines of at most `width` columns; a word that is longer stays whole.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let indent: String = paragraph.chars().take_while(|c| *c == ' ').collect();
        let mut line = indent.clone();
        for word in paragraph.split_whitespace() {
            if line.width() > indent.len() && line.width() + 1 + word.width() > width {
                lines.push(std::mem::replace(&mut line, indent.clone()));
            }
            if line.width() > indent.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// Cuts a line at `longest` columns.
pub fn cut(line: &str, longest: usize) -> String {
    if line.width() <= longest {
        return line.to_string();
    }
    let mut columns = 1;
    let fits = |c: &char| {
        // the sign that makes an emoji of the character before it makes it wider, too
        columns += if *c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(0) };
        columns <= longest
    };
    let mut kept: String = line.chars().take_while(fits).collect();
    kept.push('…');
    kept
}

/// Characters without a width of their own that reorder text or hide what is there: bidirectional controls, zero-width spaces, tags.
fn hides(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Skips what follows an ESC (ECMA-48): control sequences, strings up to their terminator, else one character.
fn skip_escape(chars: &mut Peekable<std::str::Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(chars),
        Some(c) if c.is_ascii_graphic() || *c == ' ' => {
            chars.next();
        }
        _ => {}
    }
}

fn skip_control_sequence(chars: &mut Peekable<std::str::Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// Ends at BEL, at ST, or before a line break: a string that is never closed hides no more than its line.
fn skip_string(chars: &mut Peekable<std::str::Chars<'_>>) {
    while let Some(c) = chars.next_if(|c| !matches!(c, '\n' | '\r')) {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                chars.next_if(|c| *c == '\\');
                return;
            }
            _ => {}
        }
    }
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_that_acts_is_left() {
        for (text, cleaned) in [
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("a\r\nb\rc", "a\nb\nc"),
            ("\u{202e}evil\u{202c} \u{200b}zero", "evil zero"),
            ("bell\u{7}\u{8}\u{0}", "bell"),
            ("\u{9b}31mc1", "c1"),
            ("\u{1b}]never closed\nnext", "\nnext"),
            ("a\tb", "a    b"),
            ("größe 日本 ✓", "größe 日本 ✓"),
        ] {
            assert_eq!(clean(text), cleaned, "{text:?}");
        }
    }

    #[test]
    fn lines_are_cut_by_columns() {
        assert_eq!(line("日本語のログ\nx", 7), "日本語…");
        assert_eq!(last_lines("\n\na\nb\nc\n\n", 2, 10), ["… 1 lines before", "b", "c"]);
        assert_eq!(wrap("  one two three", 9), ["  one two", "  three"]);
        assert_eq!(wrap("", 9), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn any_text_comes_out_plain(text in any::<String>()) {
            let cleaned = clean(&text);
            let plain = cleaned.chars().all(|c| c == '\n' || !(c.is_control() || hides(c)));
            prop_assert!(plain);
            prop_assert_eq!(clean(&cleaned), cleaned);
        }

        #[test]
        fn no_cut_line_is_wider_than_its_columns(text in "([a-z ]|日|é|e\u{301}|🚀|❤\u{fe0f}|👍🏽|🇨🇭|한){0,30}", longest in 1usize..30) {
            let short = cut(&text, longest);
            prop_assert!(short.width() <= longest, "{:?} is {} wide", short, short.width());
        }

        #[test]
        fn the_middle_goes_and_the_limit_holds(text in "[a-zé\n]{0,400}", limit in 80usize..300) {
            let short = middle(&text, limit);
            prop_assert!(short.len() <= limit.max(text.len().min(limit)));
            if text.len() <= limit { prop_assert_eq!(short, text); }
        }
    }
}

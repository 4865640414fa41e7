//! The hidden second line of a comment that is edited in place: which pipeline wrote it, so that an older one that ends later leaves the
//! words of the newer one alone.

const START: &str = "<!-- pipeline ";
const END: &str = " -->";

/// The line; `ci` is one word, as the numbers of two CI servers cannot be compared.
pub fn line(ci: &str, pipeline: u64) -> String {
    format!("{START}{ci} {pipeline}{END}")
}

/// Whether the comment `held` was written by a newer pipeline of the same CI than the one that has `text` to say.
pub fn is_newer(held: &str, text: &str) -> bool {
    match (pipeline(held), pipeline(text)) {
        (Some((ci, held)), Some((same, ours))) => ci == same && held > ours,
        _ => false,
    }
}

fn pipeline(comment: &str) -> Option<(&str, u64)> {
    let second = comment.lines().nth(1)?;
    let (ci, number) = second.trim_end().strip_prefix(START)?.strip_suffix(END)?.split_once(' ')?;
    Some((ci, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newer_pipeline_of_the_same_ci_is_newer() {
        let by = |ci: &str, pipeline: u64| format!("<!-- marker -->\n{}\n### text", line(ci, pipeline));
        for (held, text, newer) in [
            (by("gitlab", 8), by("gitlab", 7), true),
            (by("gitlab", 10), by("gitlab", 9), true),
            (by("gitlab", 7), by("gitlab", 7), false),
            (by("gitlab", 6), by("gitlab", 7), false),
            (by("drone", 8), by("gitlab", 7), false),
            ("<!-- marker -->\n### text".to_string(), by("gitlab", 7), false),
            (by("gitlab", 8), "<!-- marker -->\n### text".to_string(), false),
            ("<!-- marker -->\n<!-- pipeline gitlab many -->".to_string(), by("gitlab", 7), false),
            (by("gitlab", 8).replace('\n', "\r\n"), by("gitlab", 7), true),
        ] {
            assert_eq!(is_newer(&held, &text), newer, "{held:?} and {text:?}");
        }
    }
}

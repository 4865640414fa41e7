//! "Did you mean": the known name that is nearest to one that is not.

/// The nearest of `known` to `name`, when it is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(name);
    let scored = known.into_iter().map(|candidate| (score(&plain, &self::plain(candidate)), candidate));
    scored.filter(|(score, _)| *score >= 0.7).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, candidate)| candidate)
}

/// `maxSurge`, `max-surge` and `MAX_SURGE` are the same word.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn score(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}

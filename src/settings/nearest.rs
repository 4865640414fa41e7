//! "Did you mean": the known name that is nearest to one that is not.

use super::{
    result,
    shape::{self, Form, Leaf},
};

/// The nearest of `known` to `name`, when it is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(name);
    let scored = known.into_iter().map(|candidate| (score(&plain, &self::plain(candidate)), candidate));
    scored.filter(|(score, _)| *score >= 0.7).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, candidate)| candidate)
}

/// Whether this is a key, a section of keys, or an entry of a key that is a map.
///
/// # Errors
/// What it is instead, in a few words.
pub fn check_key(name: &str) -> Result<(), String> {
    let keys: Vec<String> = shape::root().leaves().into_iter().map(Leaf::key).collect();
    let path: Vec<String> = name.split('.').map(str::to_string).collect();
    let is_key = keys.iter().any(|key| key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
    let is_entry = || result::leaf_of(&path).is_some_and(|leaf| leaf.form == Form::Map && path.len() == leaf.path.len() + 1);
    match is_key || is_entry() {
        true => Ok(()),
        false => {
            let meant = nearest(name, keys.iter().map(String::as_str)).map_or_else(String::new, |key| format!(": did you mean {key}?"));
            Err(format!("{name:?}, which is no setting{meant}"))
        }
    }
}

/// `maxSurge`, `max-surge` and `MAX_SURGE` are the same word.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn score(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}

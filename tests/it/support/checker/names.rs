//! What the paths and names of the OCI distribution specification are.

use std::collections::BTreeMap;

use url::Url;

/// What a path names.
pub enum Place {
    Base,
    Manifest { name: String, reference: String },
    Blob { name: String, digest: String },
    NewUpload { name: String },
    Upload { name: String },
    List { name: String },
}

pub fn parse(target: &str) -> Option<Url> {
    Url::parse("http://registry.test/").ok()?.join(target).ok()
}

pub fn query(url: &Url) -> Result<BTreeMap<String, String>, String> {
    let mut query = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        if query.insert(name.to_string(), value.to_string()).is_some() {
            return Err(format!("{name} stands twice in the query"));
        }
    }
    Ok(query)
}

pub fn place(path: &str) -> Result<Place, String> {
    let rest = path.strip_prefix("/v2/").ok_or("no path below /v2/")?;
    if rest.is_empty() {
        return Ok(Place::Base);
    }
    let found = if let Some((name, id)) = rest.split_once("/blobs/uploads/") {
        if id.is_empty() { Place::NewUpload { name: name.to_string() } } else { Place::Upload { name: name.to_string() } }
    } else if let Some((name, digest)) = rest.rsplit_once("/blobs/") {
        if !is_digest(digest) {
            return Err("no digest of a blob".to_string());
        }
        Place::Blob { name: name.to_string(), digest: digest.to_string() }
    } else if let Some((name, reference)) = rest.rsplit_once("/manifests/") {
        if !is_digest(reference) && !is_tag(reference) {
            return Err("neither a tag nor a digest".to_string());
        }
        Place::Manifest { name: name.to_string(), reference: reference.to_string() }
    } else if let Some(name) = rest.strip_suffix("/tags/list").or(rest.split_once("/referrers/").map(|(name, _)| name)) {
        Place::List { name: name.to_string() }
    } else {
        return Err("no end-point of the specification".to_string());
    };
    let (Place::Manifest { name, .. }
    | Place::Blob { name, .. }
    | Place::NewUpload { name }
    | Place::Upload { name }
    | Place::List { name }) = &found
    else {
        return Ok(found);
    };
    if is_name(name) { Ok(found) } else { Err(format!("{name:?} is no name of a repository")) }
}

pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

pub fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len()) && word(bytes[0]) && bytes.iter().all(|byte| word(*byte) || matches!(byte, b'.' | b'-'))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*`
pub fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let between = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
        part.starts_with(letter) && part.ends_with(letter) && part.split(letter).all(between)
    };
    !text.is_empty() && text.split('/').all(part)
}

//! What the OCI distribution specification (v1.1) allows a client to ask.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{
    names::{Place, is_digest, is_name, parse, place, query},
    wire::Head,
};

/// What was seen so far, and which rules were broken.
#[derive(Default)]
pub struct Rules {
    pub broken: Vec<String>,
    /// Uploads by the path of their location.
    uploads: HashMap<String, Upload>,
    /// Content that is in a repository: `name@digest`. None: not known, since others put it there before.
    content: Option<HashSet<String>>,
}

struct Upload {
    /// Query of the newest location.
    query: BTreeMap<String, String>,
    /// Bytes that the registry has; None when a call failed in the middle.
    offset: Option<u64>,
    open: bool,
}

impl Rules {
    pub fn of_new() -> Self {
        Rules { content: Some(HashSet::new()), ..Rules::default() }
    }

    /// Judges a call before it is answered.
    pub fn ask(&mut self, head: &Head, body: &[u8]) {
        if let Err(why) = self.judge(head, body) {
            self.broken.push(format!("{} {}: {why}", head.word(0), head.word(1)));
        }
    }

    fn judge(&mut self, head: &Head, body: &[u8]) -> Result<(), String> {
        let (method, target) = (head.word(0), head.word(1));
        let url = parse(target).ok_or("no path of a URL")?;
        let query = query(&url)?;
        headers(head)?;
        match place(url.path())? {
            Place::Base => allow(method, &["GET", "HEAD"])?,
            Place::Manifest { name, reference } => {
                allow(method, &["GET", "HEAD", "PUT"])?;
                no_query(&query)?;
                match method {
                    "PUT" => self.manifest(head, body, &name, &reference)?,
                    _ => accepts_manifests(head)?,
                }
            }
            Place::Blob { .. } => {
                allow(method, &["GET", "HEAD"])?;
                no_query(&query)?;
                range(head)?;
            }
            Place::NewUpload { .. } => {
                allow(method, &["POST"])?;
                begin(head, &query)?;
            }
            Place::Upload { .. } => {
                // DELETE gives an upload up: of Docker's registry API ("Canceling an Upload"), from which the specification came
                allow(method, &["GET", "PATCH", "PUT", "DELETE"])?;
                self.upload(head, url.path(), query)?;
            }
            Place::List { .. } => allow(method, &["GET"])?,
        }
        Ok(())
    }

    /// "Pushing Manifests": the type is the content's, and what it names is there.
    fn manifest(&self, head: &Head, body: &[u8], name: &str, reference: &str) -> Result<(), String> {
        let manifest: Value = serde_json::from_slice(body).map_err(|error| format!("the manifest is no JSON: {error}"))?;
        let sent = head.get("content-type").ok_or("a manifest without Content-Type")?;
        match manifest["mediaType"].as_str() {
            Some(inside) if inside != sent => return Err(format!("Content-Type is {sent} and mediaType {inside}")),
            _ => {}
        }
        if manifest["schemaVersion"] != 2 {
            return Err("schemaVersion is not 2".to_string());
        }
        if reference.contains(':') && digest_of(body) != reference {
            return Err("the digest is not that of the manifest".to_string());
        }
        let Some(content) = &self.content else { return Ok(()) };
        match named(&manifest).into_iter().find(|digest| !content.contains(&format!("{name}@{digest}"))) {
            Some(missing) => Err(format!("{missing} was neither sent nor seen in {name} before")),
            None => Ok(()),
        }
    }

    /// "Pushing a blob": each call of an upload goes to the newest location, and chunks follow each other.
    fn upload(&mut self, head: &Head, path: &str, mut query: BTreeMap<String, String>) -> Result<(), String> {
        let method = head.word(0);
        let upload = self.uploads.get_mut(path).ok_or("no answer named this location")?;
        let digest = query.remove("digest");
        if query != upload.query {
            return Err(format!("the newest location has the query {:?}", upload.query));
        }
        if method == "GET" {
            return if digest.is_some() { Err("a digest".to_string()) } else { Ok(()) };
        }
        if !upload.open {
            return Err("the upload was complete".to_string());
        }
        if method == "DELETE" {
            return if digest.is_some() { Err("a digest".to_string()) } else { Ok(()) };
        }
        let length = head.length().ok_or("no Content-Length")?;
        if length > 0 && head.get("content-type") != Some("application/octet-stream") {
            return Err("Content-Type is not application/octet-stream".to_string());
        }
        match (method, digest) {
            ("PUT", Some(digest)) if is_digest(&digest) => {}
            ("PUT", _) => return Err("PUT without a digest".to_string()),
            (_, Some(_)) => return Err("PATCH with a digest".to_string()),
            (_, None) => chunk(head, length, upload.offset)?,
        }
        // Until it is answered nobody knows how much arrived.
        upload.offset = None;
        Ok(())
    }

    /// Remembers what an answer says.
    pub fn learn(&mut self, head: &Head, body: &[u8], answer: &Head, heard: &[u8], ours: bool) {
        let (method, status) = (head.word(0), answer.word(1).parse().unwrap_or(0u16));
        let Some(url) = parse(head.word(1)) else { return };
        let Ok(place) = place(url.path()) else { return };
        let query = query(&url).unwrap_or_default();
        let good = matches!(status, 200..=299);
        match place {
            Place::Manifest { name, reference } if good => {
                let manifest = if method == "PUT" { body } else { heard };
                self.have(&name, &digest_of(manifest));
                let tagged = if reference.contains(':') { Some(reference) } else { None };
                let said = answer.get("docker-content-digest").map(str::to_string);
                tagged.into_iter().chain(said).for_each(|digest| self.have(&name, &digest));
                if let Ok(manifest) = serde_json::from_slice::<Value>(manifest) {
                    named(&manifest).iter().for_each(|digest| self.have(&name, digest));
                }
            }
            Place::Blob { name, digest } if good || status == 307 => self.have(&name, &digest),
            Place::NewUpload { name } if status == 201 => {
                query.get("mount").or(query.get("digest")).into_iter().for_each(|digest| self.have(&name, digest));
            }
            Place::NewUpload { .. } if status == 202 => self.location(answer, Some(0), &url),
            Place::Upload { .. } if method == "DELETE" => {
                self.uploads.entry(url.path().to_string()).and_modify(|upload| upload.open = false);
            }
            Place::Upload { name } => {
                if status == 201 && method == "PUT" {
                    query.get("digest").into_iter().for_each(|digest| self.have(&name, digest));
                    self.uploads.entry(url.path().to_string()).and_modify(|upload| upload.open = false);
                } else if good {
                    let last =
                        answer.get("range").and_then(|range| range.trim_start_matches("bytes=").split_once('-')?.1.parse::<u64>().ok());
                    let offset = match method {
                        "PATCH" => {
                            head.get("content-range").and_then(|range| range.split_once('-')?.1.parse::<u64>().ok()).map(|last| last + 1)
                        }
                        // `0-0` is said for one byte and for none.
                        _ => last.filter(|last| *last > 0).map(|last| last + 1),
                    };
                    self.location(answer, offset, &url);
                }
            }
            _ => {}
        }
        if !ours && method == "PATCH" {
            // Others may leave out where their bytes belong.
            self.uploads.entry(url.path().to_string()).and_modify(|upload| upload.offset = None);
        }
    }

    fn location(&mut self, answer: &Head, offset: Option<u64>, asked: &Url) {
        let Some(location) = answer.get("location").and_then(|location| asked.join(location).ok()) else { return };
        let upload = Upload { query: query(&location).unwrap_or_default(), offset, open: true };
        self.uploads.insert(location.path().to_string(), upload);
    }

    fn have(&mut self, name: &str, digest: &str) {
        if let Some(content) = &mut self.content {
            content.insert(format!("{name}@{digest}"));
        }
    }
}

/// What holds for every request (RFC 9110 and 9112).
fn headers(head: &Head) -> Result<(), String> {
    for (name, least, most) in [("host", 1, 1), ("authorization", 0, 1), ("content-length", 0, 1), ("content-type", 0, 1), ("cookie", 0, 0)]
    {
        let count = head.all(name).count();
        if count < least || count > most {
            return Err(format!("{count} headers {name}"));
        }
    }
    if head.get("transfer-encoding").is_some() {
        return Err("a body without a length".to_string());
    }
    let scheme = head.get("authorization").map(|value| value.split(' ').next().unwrap_or_default());
    if scheme.is_some_and(|scheme| !matches!(scheme, "Basic" | "Bearer")) {
        return Err("an Authorization that is neither Basic nor Bearer".to_string());
    }
    match head.word(0) {
        "GET" | "HEAD" if head.length().unwrap_or(0) > 0 => Err("a body".to_string()),
        _ if head.word(2) != "HTTP/1.1" => Err(format!("the version {}", head.word(2))),
        _ => Ok(()),
    }
}

fn allow(method: &str, allowed: &[&str]) -> Result<(), String> {
    if allowed.contains(&method) { Ok(()) } else { Err(format!("only {allowed:?}")) }
}

fn no_query(query: &BTreeMap<String, String>) -> Result<(), String> {
    if query.is_empty() { Ok(()) } else { Err(format!("the query {query:?}")) }
}

/// "Pulling manifests": the client says which types it understands.
fn accepts_manifests(head: &Head) -> Result<(), String> {
    let accepted = head.get("accept").unwrap_or_default();
    let needed = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"];
    if needed.iter().all(|one| accepted.contains(one)) { Ok(()) } else { Err(format!("Accept: {accepted}")) }
}

fn range(head: &Head) -> Result<(), String> {
    match head.get("range") {
        None => Ok(()),
        Some(range) => {
            let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
            let number = |text: &str| text.parse::<u64>().is_ok();
            let good = bounds.is_some_and(|(first, last)| number(first) && (last.is_empty() || number(last)));
            if good { Ok(()) } else { Err(format!("Range: {range}")) }
        }
    }
}

/// An upload begins empty, with a whole blob, or as a mount.
fn begin(head: &Head, query: &BTreeMap<String, String>) -> Result<(), String> {
    let length = head.length().unwrap_or(0);
    let mut names = query.keys().map(String::as_str);
    match (names.next(), names.next(), names.next()) {
        (None, ..) if length == 0 => Ok(()),
        (None, ..) => Err("a body without its digest".to_string()),
        (Some("digest"), None, _) => {
            let octets = head.get("content-type") == Some("application/octet-stream");
            if is_digest(&query["digest"]) && octets && head.length().is_some() {
                Ok(())
            } else {
                Err("a whole blob without digest, length or type".to_string())
            }
        }
        (Some("from"), Some("mount"), None) if length == 0 && is_digest(&query["mount"]) && is_name(&query["from"]) => Ok(()),
        _ => Err(format!("the query {query:?}")),
    }
}

/// "Pushing a blob in chunks".
fn chunk(head: &Head, length: u64, offset: Option<u64>) -> Result<(), String> {
    let range = head.get("content-range").ok_or("a chunk without Content-Range")?;
    let bounds = range.split_once('-').and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
    let (first, last) = bounds.ok_or(format!("Content-Range: {range}"))?;
    if last + 1 - first != length {
        return Err(format!("Content-Range: {range} and Content-Length: {length}"));
    }
    match offset {
        Some(offset) if offset != first => Err(format!("Content-Range: {range}, and the registry has {offset} bytes")),
        _ => Ok(()),
    }
}

/// All digests that a manifest or index refers to.
fn named(manifest: &Value) -> Vec<String> {
    let lists = ["layers", "manifests"].into_iter().filter_map(|list| manifest[list].as_array()).flatten();
    lists.chain([&manifest["config"]]).filter_map(|descriptor| descriptor["digest"].as_str()).map(str::to_string).collect()
}

fn digest_of(bytes: &[u8]) -> String {
    shipway::domain::digest::Digest::from_sha256(&Sha256::digest(bytes)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn head(text: &str) -> Head {
        let text = text.replace("DIGEST", DIGEST).replace('\n', "\r\n");
        Head::read(&mut std::io::BufReader::new(format!("{text}\r\nhost: r\r\n\r\n").as_bytes())).unwrap()
    }

    fn verdict(rules: &mut Rules, request: &str, body: &str) -> Option<String> {
        rules.ask(&head(request), body.as_bytes());
        rules.broken.pop()
    }

    #[test]
    fn what_the_specification_allows() {
        for request in [
            "GET /v2/ HTTP/1.1",
            "GET /v2/a/b/manifests/1 HTTP/1.1\naccept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
            "HEAD /v2/a/blobs/DIGEST HTTP/1.1",
            "GET /v2/a/blobs/DIGEST HTTP/1.1\nrange: bytes=7-",
            "POST /v2/a/blobs/uploads/ HTTP/1.1\ncontent-length: 0",
            "POST /v2/a/blobs/uploads/?mount=DIGEST&from=b/c HTTP/1.1",
            "POST /v2/a/blobs/uploads/?digest=DIGEST HTTP/1.1\ncontent-length: 3\ncontent-type: application/octet-stream",
        ] {
            assert_eq!(verdict(&mut Rules::default(), request, ""), None, "{request}");
        }
    }

    #[test]
    fn what_it_does_not() {
        for (request, why) in [
            ("GET /v1/x HTTP/1.1", "/v2/"),
            ("GET /v2/a/x HTTP/1.1", "end-point"),
            ("GET /v2/A/manifests/1 HTTP/1.1", "name of a repository"),
            ("GET /v2/a/manifests/-x HTTP/1.1", "neither"),
            ("GET /v2/a/manifests/1 HTTP/1.1", "Accept"),
            ("GET /v2/a/blobs/sha256:1 HTTP/1.1", "digest"),
            ("GET /v2/a/blobs/DIGEST HTTP/1.1\nrange: 7-", "Range"),
            ("GET /v2/ HTTP/1.1\nauthorization: Basic a\nauthorization: Bearer b", "authorization"),
            ("GET /v2/ HTTP/1.1\ncookie: a=b", "cookie"),
            ("DELETE /v2/a/blobs/DIGEST HTTP/1.1", "only"),
            ("POST /v2/a/blobs/uploads/ HTTP/1.1\ncontent-length: 3", "without its digest"),
            ("POST /v2/a/blobs/uploads/?mount=DIGEST HTTP/1.1", "query"),
            ("POST /v2/a/blobs/uploads/?digest=DIGEST HTTP/1.1\ncontent-length: 3", "whole blob"),
            ("PUT /v2/a/blobs/uploads/1?digest=DIGEST HTTP/1.1\ncontent-length: 0", "no answer"),
        ] {
            let broken = verdict(&mut Rules::default(), request, "").unwrap_or_default();
            assert!(broken.contains(why), "{request}: {broken:?}");
        }
        let manifest = format!(r#"{{"schemaVersion":2,"mediaType":"a/b","config":{{"digest":"{DIGEST}"}}}}"#);
        let put = "PUT /v2/a/manifests/1 HTTP/1.1\ncontent-type: a/b";
        assert!(verdict(&mut Rules::of_new(), put, &manifest).unwrap().contains("neither sent nor seen"));
        assert!(verdict(&mut Rules::default(), &put.replace("a/b", "c/d"), &manifest).unwrap().contains("mediaType"));
        let by_digest = put.replace("/1 ", "/DIGEST ");
        assert!(verdict(&mut Rules::default(), &by_digest, &manifest).unwrap().contains("not that of the manifest"));
    }

    #[test]
    fn an_upload_is_followed() {
        let mut rules = Rules::default();
        let answer = |text: &str| head(text);
        let post = head("POST /v2/a/blobs/uploads/ HTTP/1.1");
        rules.learn(&post, b"", &answer("HTTP/1.1 202 Accepted\nlocation: /v2/a/blobs/uploads/7?state=x"), b"", true);
        let chunk = |range: &str, state: &str| {
            format!(
                "PATCH /v2/a/blobs/uploads/7?state={state} HTTP/1.1\ncontent-length: 10\ncontent-range: {range}\ncontent-type: application/octet-stream"
            )
        };
        assert!(verdict(&mut rules, &chunk("0-9", "y"), "").unwrap().contains("newest location"));
        assert!(verdict(&mut rules, &chunk("1-10", "x"), "").unwrap().contains("has 0 bytes"));
        assert!(verdict(&mut rules, &chunk("0-8", "x"), "").unwrap().contains("Content-Length"));
        assert_eq!(verdict(&mut rules, &chunk("0-9", "x"), ""), None);
        rules.learn(&head(&chunk("0-9", "x")), b"", &answer("HTTP/1.1 202 Accepted\nlocation: /v2/a/blobs/uploads/7?state=z"), b"", true);
        assert!(verdict(&mut rules, &chunk("0-9", "z"), "").unwrap().contains("has 10 bytes"));
        let put = "PUT /v2/a/blobs/uploads/7?state=z&digest=DIGEST HTTP/1.1\ncontent-length: 0";
        assert!(
            verdict(&mut rules, "PUT /v2/a/blobs/uploads/7?state=z HTTP/1.1\ncontent-length: 0", "").unwrap().contains("without a digest")
        );
        assert_eq!(verdict(&mut rules, put, ""), None);
        rules.learn(&head(put), b"", &answer("HTTP/1.1 201 Created"), b"", true);
        assert!(verdict(&mut rules, put, "").unwrap().contains("complete"));
        rules.learn(&post, b"", &answer("HTTP/1.1 202 Accepted\nlocation: /v2/a/blobs/uploads/8"), b"", true);
        let delete = "DELETE /v2/a/blobs/uploads/8 HTTP/1.1";
        assert!(verdict(&mut rules, "DELETE /v2/a/blobs/uploads/8?state=x HTTP/1.1", "").unwrap().contains("newest location"));
        assert_eq!(verdict(&mut rules, delete, ""), None);
        rules.learn(&head(delete), b"", &answer("HTTP/1.1 204 No Content"), b"", true);
        assert!(verdict(&mut rules, delete, "").unwrap().contains("complete"));
    }
}

//! A shallow clone of one ref.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use url::Url;

use super::{
    Commit, Source,
    call::{Answer, Config, git},
    head::{head, without_userinfo},
};
use crate::domain::{
    policy::matches,
    problem::{Code, EvidenceKind, Problem, Result},
    secret::{Credentials, Secret},
};

/// See [`super::clone`].
pub(super) async fn clone(source: &Source, dir: &Path, env: &[(String, String)]) -> Result<Commit> {
    let remote = Remote::new(source)?;
    if let Some(reference) = &source.reference {
        check_reference(reference)?;
    }
    prepare(dir)?;
    let mut env = env.to_vec();
    if let Some(ca) = &source.ca {
        env.retain(|(name, _)| name != "GIT_SSL_CAINFO");
        env.push(("GIT_SSL_CAINFO".to_string(), ca.display().to_string()));
    }
    let call = Call { remote: &remote, dir, env: &env, reference: source.reference.as_deref() };
    match &source.reference {
        None => call.git(&["clone", "--quiet", "--depth=1", "--single-branch", "--no-tags", "--", &remote.url, "."]).await?,
        Some(reference) => call.fetch(reference, source).await?,
    }
    let empty = || Problem::new(Code::SourceMissing, format!("the repository at {} is empty", remote.shown));
    let commit = head(dir, &env).await?.ok_or_else(empty)?;
    if source.reference.is_none() {
        let name = commit.branch.as_ref().map_or_else(|| "HEAD".to_string(), |branch| format!("refs/heads/{branch}"));
        permit(source, &name)?;
    }
    Ok(commit)
}

/// Where to fetch from.
struct Remote {
    /// Without credentials.
    url: String,
    shown: String,
    credentials: Option<Credentials>,
}

impl Remote {
    fn new(source: &Source) -> Result<Remote> {
        let text = source.url.trim();
        let refused = |why: &str| {
            Problem::new(Code::SettingInvalid, format!("source.url {:?} cannot be cloned: {why}", without_userinfo(text)))
                .hint("use an https, ssh or file URL, or a path")
        };
        if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(refused("it is no URL"));
        }
        if let Some(folder) = Path::new(text).canonicalize().ok().filter(|path| path.is_dir()) {
            // A bare path would be copied as a whole; git makes shallow clones of URLs only.
            let url = Url::from_directory_path(&folder).map_err(|()| refused("the path is not absolute"))?;
            let url = url.as_str().trim_end_matches('/').to_string();
            return Ok(Remote { shown: url.clone(), url, credentials: None });
        }
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Remote::over_http(url, source)),
            Ok(url) if matches!(url.scheme(), "ssh" | "git" | "file") => {
                Ok(Remote { url: text.to_string(), shown: without_userinfo(text), credentials: None })
            }
            // `user@host:path`, the short form of ssh.
            _ if is_scp_like(text) => Ok(Remote { url: text.to_string(), shown: text.to_string(), credentials: None }),
            Ok(url) if url.has_host() => Err(refused(&format!("{} is no protocol for it", url.scheme()))),
            _ => Err(refused("there is no such folder, and it is no URL")),
        }
    }

    /// Credentials that someone wrote into the URL are moved out of it.
    fn over_http(mut url: Url, source: &Source) -> Remote {
        let decode = |text: &str| percent_decode(text);
        let written = (!url.username().is_empty() || url.password().is_some())
            .then(|| Credentials { username: decode(url.username()), password: Secret::new(decode(url.password().unwrap_or_default())) });
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let url = url.to_string();
        Remote { shown: url.clone(), url, credentials: source.credentials.clone().or(written) }
    }

    /// The credentials as a header for this host alone: a redirect or a submodule elsewhere does not see them.
    fn config(&self) -> Config {
        let mut config = Config::for_transfer();
        if let (Some(credentials), Ok(url)) = (&self.credentials, Url::parse(&self.url)) {
            let pair = format!("{}:{}", credentials.username, credentials.password.expose());
            let origin = url.origin().ascii_serialization();
            config.set(format!("http.{origin}/.extraHeader"), format!("Authorization: Basic {}", STANDARD.encode(pair)));
            // No helper may replace them or keep them.
            config.set("credential.helper", "");
        }
        config
    }
}

/// Git, in the clone's folder.
struct Call<'a> {
    remote: &'a Remote,
    dir: &'a Path,
    env: &'a [(String, String)],
    reference: Option<&'a str>,
}

impl Call<'_> {
    async fn git(&self, args: &[&str]) -> Result<()> {
        let answer = git(self.dir, args, &self.remote.config(), self.env).await?;
        match answer.code {
            0 => Ok(()),
            _ => Err(failure(&answer, self.remote, self.reference)),
        }
    }

    /// Fetches the one commit and makes branch or tag stand on it, as a full clone would have it.
    async fn fetch(&self, reference: &str, source: &Source) -> Result<()> {
        self.git(&["init", "--quiet", "."]).await?;
        self.git(&["remote", "add", "--", "origin", &self.remote.url]).await?;
        self.git(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", "origin", reference]).await?;
        let fetched = std::fs::read_to_string(self.dir.join(".git/FETCH_HEAD")).unwrap_or_default();
        let name = |kind: &str| {
            let rest = fetched.split('\t').nth(2)?.strip_prefix(kind)?.strip_prefix(" '")?;
            // a name may hold the quote, but never a space
            Some(rest.split_once("' of ")?.0.to_string())
        };
        let full = |kind: &str, place: &str| Some(format!("refs/{place}/{}", name(kind)?));
        permit(source, &full("branch", "heads").or_else(|| full("tag", "tags")).unwrap_or_else(|| reference.to_string()))?;
        if let Some(branch) = name("branch") {
            return self.git(&["checkout", "--quiet", "-B", &branch, "FETCH_HEAD", "--"]).await;
        }
        if let Some(tag) = name("tag") {
            self.git(&["update-ref", &format!("refs/tags/{tag}"), "FETCH_HEAD"]).await?;
        }
        self.git(&["checkout", "--quiet", "--detach", "FETCH_HEAD", "--"]).await
    }
}

fn permit(source: &Source, name: &str) -> Result<()> {
    match source.refs.is_empty() || source.refs.iter().any(|pattern| matches(pattern, name)) {
        true => Ok(()),
        false => Err(Problem::new(Code::OrderDenied, format!("the ref {name} is not one of {}", source.refs.join(", ")))
            .hint("ask for a branch or a tag, or let the worker's worker.refs cover it")),
    }
}

/// What git takes for a name of a ref (git-check-ref-format(1)), and no option or refspec.
fn check_reference(reference: &str) -> Result<()> {
    let odd = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\' | '+');
    let wrong = reference.is_empty()
        || reference.starts_with(['-', '/'])
        || reference.ends_with(['/', '.'])
        || reference.contains("..")
        || reference.contains("@{")
        || reference.contains(odd);
    match wrong {
        true => Err(Problem::new(Code::SettingInvalid, format!("source.ref {reference:?} is no branch, tag or commit"))
            .hint("set source.ref to a branch, a tag or a full commit id")),
        false => Ok(()),
    }
}

fn prepare(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|error| Problem::io("create", dir, &error))?;
    let mut entries = std::fs::read_dir(dir).map_err(|error| Problem::io("read", dir, &error))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Problem::new(Code::SettingInvalid, format!("cannot clone into {}: the folder is not empty", dir.display()))
            .hint("run in an empty folder, or without source.url in the checkout that is there")),
    }
}

fn failure(answer: &Answer, remote: &Remote, reference: Option<&str>) -> Problem {
    let text = answer.lines.join("\n");
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let url = &remote.shown;
    let reference = reference.unwrap_or("HEAD");
    let said = answer.lines.iter().find(|line| line.starts_with("fatal:") || line.starts_with("error:")).or(answer.lines.last());
    let said = said.map_or("it gave no reason", |line| line.trim_start_matches("fatal: ").trim_start_matches("error: "));
    let who = match &remote.credentials {
        Some(credentials) => format!("user {}", credentials.username),
        None => "a request without credentials".to_string(),
    };
    let problem = if has(&["couldn't find remote ref", "not our ref", "unadvertised object", "remote branch"]) {
        Problem::new(Code::SourceRefMissing, format!("{reference} is no branch, tag or commit of {url}"))
            .hint("correct source.ref; a commit needs its full id")
    } else if has(&[
        "authentication failed",
        "could not read username",
        "could not read password",
        "error: 401",
        "error: 403",
        "permission denied",
        "access denied",
    ]) {
        Problem::new(Code::CloneDenied, format!("{url} refused {who}"))
    } else if has(&["repository not found", "' not found", "does not appear to be a git repository", "does not exist", "error: 404"]) {
        Problem::new(Code::SourceMissing, format!("there is no repository at {url}, or {who} may not see it"))
    } else if has(&["ssl certificate", "certificate verification", "self-signed", "self signed"]) {
        Problem::new(Code::CloneFailed, format!("the certificate of {url} is not trusted: {said}"))
            .hint("add its authority to the system's certificates")
    } else {
        Problem::new(Code::CloneFailed, format!("git could not clone {url}: {said}"))
    };
    problem.evidence(EvidenceKind::Log, "git", text)
}

fn is_scp_like(text: &str) -> bool {
    let Some((host, path)) = text.split_once(':') else { return false };
    !host.is_empty() && !host.contains(['/', ' ']) && !path.is_empty() && !path.starts_with(':') && !path.starts_with("//")
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str) -> Source {
        Source { url: url.to_string(), reference: None, credentials: None, ca: None, refs: Vec::new() }
    }

    #[test]
    fn credentials_in_the_url_are_moved_out_of_it() {
        let remote = Remote::new(&source("https://me:s%2Fecret%21@git.example/a/b.git")).unwrap();
        assert_eq!(remote.url, "https://git.example/a/b.git");
        let credentials = remote.credentials.unwrap();
        assert_eq!((credentials.username.as_str(), credentials.password.expose()), ("me", "s/ecret!"));
    }

    #[test]
    fn urls_that_are_none_are_refused() {
        for url in ["", "--upload-pack=touch /tmp/x", "ext::sh -c touch", "ftp://host/a", "/no/such/folder", "a\nb"] {
            let problem = Remote::new(&source(url)).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert_eq!(problem.code, Code::SettingInvalid, "{url}");
        }
        for url in ["git@git.example:a/b.git", "ssh://git@git.example/a", "https://git.example/a"] {
            assert!(Remote::new(&source(url)).is_ok(), "{url}");
        }
    }

    #[test]
    fn refs_that_are_options_or_refspecs_are_refused() {
        for reference in ["", "--upload-pack=x", "-b", "a:b", "+a", "a..b", "a b", "a^{}", "main@{1}", "a\u{7}", "/a", "a/"] {
            assert!(check_reference(reference).is_err(), "{reference:?}");
        }
        for reference in ["main", "feature/Ünïcode#1", "v1.2.3", "refs/merge-requests/1/head", "0123456789abcdef0123456789abcdef01234567"]
        {
            assert!(check_reference(reference).is_ok(), "{reference:?}");
        }
    }
}

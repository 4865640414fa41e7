//! Reading the checkout's commit.

use std::path::Path;

use url::Url;

use super::{
    Commit,
    call::{Config, git},
};
use crate::domain::problem::{Code, EvidenceKind, Problem, Result};

/// Between the fields of one line; no name holds it.
const SEPARATOR: char = '\u{1f}';
const MARK: &str = "shipway-commit";

/// See [`super::head`].
pub(super) async fn head(dir: &Path, env: &[(String, String)]) -> Result<Option<Commit>> {
    let (env, _global) = trusting(env)?;
    let mut config = Config::default();
    // A checkout's own configuration must not make reading it start a program.
    config.set("log.showSignature", "false");
    let format = format!("--format={MARK}%x1f%H%x1f%ct%x1f%an%x1f%D");
    let log = ["log", "-1", "--no-color", "--decorate=full", &format];
    let plain = Config::default();
    // Side by side: each call takes some milliseconds, and every run waits for them.
    let (answer, remote) = tokio::join!(git(dir, &log, &config, &env), git(dir, &["config", "--get", "remote.origin.url"], &plain, &env));
    let answer = match answer {
        // Without git a folder that is no checkout is still nothing but that.
        Err(problem) if problem.code == Code::ProgramMissing && !lies_in_checkout(dir) => return Ok(None),
        other => other?,
    };
    let Some(line) = answer.lines.iter().find(|line| line.starts_with(MARK)) else {
        return no_commit(dir, &answer.lines);
    };
    let mut commit = parse(line).ok_or_else(|| Problem::bug(format!("git log answered {line:?}")))?;
    let remote = remote?;
    commit.remote = remote.lines.first().filter(|_| remote.code == 0).map(|url| without_userinfo(url));
    Ok(Some(commit))
}

/// CI checkouts often belong to another user, and git refuses to read such ones unless its global configuration trusts them
/// (older versions take that from no other place). So it gets a global file that includes the user's own.
fn trusting(env: &[(String, String)]) -> Result<(Vec<(String, String)>, tempfile::NamedTempFile)> {
    let value = |name: &str| env.iter().rfind(|(other, value)| other == name && !value.is_empty()).map(|(_, value)| value.clone());
    let own = match (value("GIT_CONFIG_GLOBAL"), value("XDG_CONFIG_HOME"), value("HOME")) {
        (Some(file), _, _) => vec![file],
        (None, xdg, home) => {
            let xdg = xdg.or_else(|| Some(format!("{}/.config", home.clone()?)));
            xdg.map(|xdg| format!("{xdg}/git/config")).into_iter().chain(home.map(|home| format!("{home}/.gitconfig"))).collect()
        }
    };
    let quoted = |path: &String| path.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text: String = own.iter().map(|path| format!("[include]\n\tpath = \"{}\"\n", quoted(path))).collect();
    text.push_str("[safe]\n\tdirectory = *\n");
    let write = || {
        let file = tempfile::Builder::new().prefix("shipway-gitconfig-").tempfile()?;
        std::fs::write(file.path(), &text)?;
        Ok(file)
    };
    let file = write().map_err(|error: std::io::Error| Problem::io("write", "git's configuration in the temporary directory", &error))?;
    let mut env: Vec<(String, String)> = env.iter().filter(|(name, _)| name != "GIT_CONFIG_GLOBAL").cloned().collect();
    env.push(("GIT_CONFIG_GLOBAL".to_string(), file.path().display().to_string()));
    Ok((env, file))
}

fn no_commit(dir: &Path, lines: &[String]) -> Result<Option<Commit>> {
    let text = lines.join("\n");
    if text.contains("not a git repository") || text.contains("does not have any commits yet") {
        return Ok(None);
    }
    let said = lines.iter().find(|line| line.starts_with("fatal:")).or(lines.first()).map_or("nothing", |line| line.as_str());
    Err(Problem::new(Code::FileUnreadable, format!("git cannot read the checkout at {}: {said}", dir.display()))
        .hint("check out again; the message is git's own")
        .evidence(EvidenceKind::Log, "git log", text))
}

fn lies_in_checkout(dir: &Path) -> bool {
    dir.ancestors().any(|folder| folder.join(".git").exists())
}

fn parse(line: &str) -> Option<Commit> {
    let mut fields = line.split(SEPARATOR).skip(1);
    let sha = fields.next()?.to_string();
    let time = fields.next()?.parse().ok()?;
    let author = fields.next()?.to_string();
    let names: Vec<&str> = fields.next()?.split(", ").collect();
    let branch = names.iter().find_map(|name| name.strip_prefix("HEAD -> refs/heads/")).map(str::to_string);
    let tags = names.iter().filter_map(|name| name.strip_prefix("tag: refs/tags/"));
    // Of several tags the one that looks like a version says most.
    let tag = tags.min_by_key(|tag| !tag.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit())).map(str::to_string);
    Some(Commit { sha, time, author, branch, tag, remote: None })
}

/// A remote's URL as it may be shown.
pub(super) fn without_userinfo(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if matches!(url.scheme(), "http" | "https") => {
            if url.username().is_empty() && url.password().is_none() {
                return text.to_string();
            }
            // Both succeed for these schemes, since they have a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        }
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_git_is_read() {
        let line = "shipway-commit\u{1f}0123abcd\u{1f}1767225600\u{1f}Dana O. Developer\u{1f}HEAD -> refs/heads/feature/a, tag: refs/tags/nightly, tag: refs/tags/v1.2, refs/remotes/origin/main";
        let commit = parse(line).unwrap();
        assert_eq!((commit.sha.as_str(), commit.time, commit.author.as_str()), ("0123abcd", 1_767_225_600, "Dana O. Developer"));
        assert_eq!((commit.branch.as_deref(), commit.tag.as_deref()), (Some("feature/a"), Some("v1.2")));
        let detached = parse("shipway-commit\u{1f}0\u{1f}1\u{1f}\u{1f}HEAD").unwrap();
        assert_eq!((detached.branch, detached.tag), (None, None));
        assert!(parse("shipway-commit\u{1f}0").is_none());
    }

    #[test]
    fn credentials_in_a_remote_are_not_shown() {
        for (url, shown) in [
            ("https://gitlab-ci-token:glcbt-1@git.example/a/b.git", "https://git.example/a/b.git"),
            ("https://git.example/a/b.git", "https://git.example/a/b.git"),
            ("git@git.example:a/b.git", "git@git.example:a/b.git"),
            ("ssh://git@git.example/a", "ssh://git@git.example/a"),
            ("/srv/a.git", "/srv/a.git"),
        ] {
            assert_eq!(without_userinfo(url), shown);
        }
    }
}

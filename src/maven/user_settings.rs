//! settings.xml for one run: the user's own file with the company's repository, mirror and credentials put in.

use std::{ops::Range, path::Path};

use roxmltree::Node;
use url::Url;

use super::{Repository, xml};
use crate::domain::{
    problem::{Code, Problem, Result},
    secret::Credentials,
};

/// Id of the repository that we deploy to (and read from).
pub(super) const REPOSITORY_ID: &str = "shipway";

/// Id of the repository for snapshots, when it is another one.
pub(super) const SNAPSHOTS_ID: &str = "shipway-snapshots";

const MIRROR_ID: &str = "shipway-mirror";
const PROFILE_ID: &str = "shipway";

/// The merged file's text. Ours win over the user's entries of the same id; everything else of the user stays.
/// `named` are ids and URLs of the repositories in the poms: those on the company's host get its credentials, too.
pub(super) fn merged(
    user_file: &Path,
    local_repository: &Path,
    repository: Option<&Repository>,
    named: &[(String, String)],
) -> Result<String> {
    let text = if user_file.is_file() { xml::read_text(user_file)? } else { "<settings></settings>".to_string() };
    let document = xml::parse(&text).map_err(|error| {
        Problem::new(Code::FileUnreadable, format!("{} is not valid XML: {error}", user_file.display()))
            .hint("correct that file, or remove it")
    })?;
    let root = document.root_element();
    let mut merge = Merge { text: &text, root, edits: Vec::new(), appended: String::new() };
    if xml::text(root, "localRepository").is_none() {
        // In settings, not as -Dmaven.repo.local: a repository that the project or the user names by that property still wins.
        let path = xml::escape(&local_repository.display().to_string());
        merge.remove("localRepository");
        merge.appended.push_str(&format!("<localRepository>{path}</localRepository>"));
    }
    if let Some(repository) = repository {
        merge.section("servers", "server", &servers(repository, named));
        merge.section("mirrors", "mirror", &mirrors(repository));
        merge.section("profiles", "profile", &profiles(repository));
        merge.section("activeProfiles", "activeProfile", &active_profiles(repository));
    }
    Ok(with_utf8_head(&merge.finish()))
}

/// An entry of a list: its id and its XML.
type Entry = (String, String);

fn servers(repository: &Repository, named: &[(String, String)]) -> Vec<Entry> {
    let Some(credentials) = &repository.credentials else { return Vec::new() };
    let mut ids = vec![REPOSITORY_ID, SNAPSHOTS_ID];
    if repository.mirror.as_deref().is_some_and(|mirror| same_host(mirror, &repository.url)) {
        ids.push(MIRROR_ID);
    }
    // A pom may name any host; the company's password goes to the company's host only.
    ids.extend(named.iter().filter(|(_, url)| same_host(url, &repository.url)).map(|(id, _)| id.as_str()));
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(|id| (id.to_string(), server(id, credentials))).collect()
}

fn server(id: &str, credentials: &Credentials) -> String {
    // In this file, not by `${env.…}`: an environment variable would reach every plugin and test.
    let password = xml::escape(credentials.password.expose());
    let username = xml::escape(&credentials.username);
    format!("<server><id>{}</id><username>{username}</username><password>{password}</password></server>", xml::escape(id))
}

fn mirrors(repository: &Repository) -> Vec<Entry> {
    let mirror = |url: &String| {
        let url = xml::escape(url);
        (MIRROR_ID.to_string(), format!("<mirror><id>{MIRROR_ID}</id><mirrorOf>*</mirrorOf><url>{url}</url></mirror>"))
    };
    repository.mirror.iter().map(mirror).collect()
}

/// What one application deploys another one needs: the repository is read from, too. A mirror stands in front of all reading.
fn profiles(repository: &Repository) -> Vec<Entry> {
    if repository.mirror.is_some() {
        return Vec::new();
    }
    let one = |id: &str, url: &str, releases: bool, snapshots: bool| {
        format!(
            "<repository><id>{id}</id><url>{}</url><releases><enabled>{releases}</enabled></releases>\
             <snapshots><enabled>{snapshots}</enabled></snapshots></repository>",
            xml::escape(url)
        )
    };
    let repositories = match &repository.snapshots_url {
        None => one(REPOSITORY_ID, &repository.url, true, true),
        Some(snapshots) => one(REPOSITORY_ID, &repository.url, true, false) + &one(SNAPSHOTS_ID, snapshots, false, true),
    };
    let profile = format!("<profile><id>{PROFILE_ID}</id><repositories>{repositories}</repositories></profile>");
    vec![(PROFILE_ID.to_string(), profile)]
}

fn active_profiles(repository: &Repository) -> Vec<Entry> {
    let profiles = profiles(repository);
    profiles.into_iter().map(|(id, _)| (id.clone(), format!("<activeProfile>{id}</activeProfile>"))).collect()
}

fn same_host(one: &str, other: &str) -> bool {
    let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin());
    origin(one).is_some_and(|one| one.is_tuple() && Some(one) == origin(other))
}

/// Changes of a text by the places of its elements.
struct Merge<'a, 'input> {
    text: &'a str,
    root: Node<'a, 'input>,
    edits: Vec<(Range<usize>, String)>,
    /// New children of the root.
    appended: String,
}

impl Merge<'_, '_> {
    fn remove(&mut self, name: &str) {
        self.edits.extend(xml::children(self.root, name).map(|node| (node.range(), String::new())));
    }

    /// Puts entries at the front of a list; entries of the user with the same id go.
    fn section(&mut self, list: &str, item: &str, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        let ours: String = entries.iter().map(|(_, xml)| xml.as_str()).collect();
        let Some(node) = xml::child(self.root, list) else {
            self.appended.push_str(&format!("<{list}>{ours}</{list}>"));
            return;
        };
        for existing in xml::children(node, item) {
            let id = xml::text(existing, "id").or_else(|| Some(existing.text()?.trim().to_string()));
            if entries.iter().any(|(ours, _)| Some(ours) == id.as_ref()) {
                self.edits.push((existing.range(), String::new()));
            }
        }
        match inside(self.text, node) {
            Some(start) => self.edits.push((start..start, ours)),
            None => self.edits.push((node.range(), format!("<{list}>{ours}</{list}>"))),
        }
    }

    fn finish(mut self) -> String {
        let mut text = self.text.to_string();
        if !self.appended.is_empty() {
            match end_of(self.text, self.root) {
                Some(end) => self.edits.push((end..end, self.appended)),
                None => self.edits.push((self.root.range(), format!("<settings>{}</settings>", self.appended))),
            }
        }
        // From the back, so that the places of the others stay true; what is put in at a place goes before what is cut out there.
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        for (range, replacement) in self.edits.into_iter().rev() {
            text.replace_range(range, &replacement);
        }
        text
    }
}

/// Where the content of an element starts; None when it has no end tag (`<servers/>`).
fn inside(text: &str, node: Node<'_, '_>) -> Option<usize> {
    node.first_child().map(|child| child.range().start).or_else(|| end_of(text, node))
}

fn end_of(text: &str, node: Node<'_, '_>) -> Option<usize> {
    let range = node.range();
    if !node.has_children() && text[range.clone()].ends_with("/>") {
        return None;
    }
    Some(range.start + text[range].rfind("</")?)
}

/// The text is written as UTF-8, whatever the user's file was.
fn with_utf8_head(text: &str) -> String {
    let body = match text.trim_start().strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>").map_or("", |(_, body)| body),
        None => text,
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", body.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    fn repository() -> Repository {
        let credentials = Credentials { username: "ci".into(), password: Secret::new("p<&\"w") };
        Repository { url: "https://repo.example/releases".into(), snapshots_url: None, mirror: None, credentials: Some(credentials) }
    }

    fn merge(user: Option<&str>, repository: Option<&Repository>, named: &[(&str, &str)]) -> Result<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings.xml");
        if let Some(user) = user {
            std::fs::write(&file, user).unwrap();
        }
        let named: Vec<(String, String)> = named.iter().map(|(id, url)| (id.to_string(), url.to_string())).collect();
        merged(&file, Path::new("/m2/repository"), repository, &named)
    }

    /// Ids of a list in the merged file, in order.
    fn ids(text: &str, list: &str, item: &str) -> Vec<String> {
        let document = xml::parse(text).unwrap();
        let list = xml::child(document.root_element(), list).unwrap();
        xml::children(list, item).map(|node| xml::text(node, "id").unwrap_or_else(|| node.text().unwrap().to_string())).collect()
    }

    #[test]
    fn without_a_file_of_the_user_ours_is_whole() {
        let text = merge(None, Some(&repository()), &[]).unwrap();
        assert_eq!(ids(&text, "servers", "server"), ["shipway", "shipway-snapshots"]);
        assert_eq!(ids(&text, "activeProfiles", "activeProfile"), ["shipway"]);
        let document = xml::parse(&text).unwrap();
        let server = xml::descend(document.root_element(), &["servers", "server"]).unwrap();
        assert_eq!(xml::text(server, "password").as_deref(), Some("p<&\"w"));
        assert_eq!(xml::text(document.root_element(), "localRepository").as_deref(), Some("/m2/repository"));
        assert_eq!(merge(None, None, &[]).unwrap().matches("server").count(), 0);
    }

    #[test]
    fn the_users_entries_stay_but_for_those_with_our_ids() {
        let user = "<?xml version='1.0' encoding='ISO-8859-1'?>\n<settings xmlns='http://maven.apache.org/SETTINGS/1.2.0'>\
            <!-- own --><localRepository>/own</localRepository><servers>\n<server><id>shipway</id><password>old</password></server>\
            <server><id>other</id></server></servers><mirrors/><profiles></profiles>\
            <activeProfiles><activeProfile>mine</activeProfile></activeProfiles></settings>";
        let mut repository = repository();
        repository.snapshots_url = Some("https://repo.example/snapshots".into());
        let text = merge(Some(user), Some(&repository), &[("named", "https://repo.example/x"), ("evil", "https://evil.example/")]).unwrap();
        assert_eq!(ids(&text, "servers", "server"), ["named", "shipway", "shipway-snapshots", "other"]);
        assert!(!text.contains("old") && text.contains("<!-- own -->") && text.contains("encoding=\"UTF-8\""), "{text}");
        assert_eq!(ids(&text, "activeProfiles", "activeProfile"), ["shipway", "mine"]);
        let document = xml::parse(&text).unwrap();
        assert_eq!(xml::text(document.root_element(), "localRepository").as_deref(), Some("/own"));

        repository.mirror = Some("https://repo.example/all".into());
        let text = merge(Some(user), Some(&repository), &[]).unwrap();
        assert_eq!(ids(&text, "mirrors", "mirror"), ["shipway-mirror"]);
        assert!(ids(&text, "servers", "server").contains(&"shipway-mirror".to_string()));
        assert!(!text.contains("<repository>"), "{text}");
    }

    #[test]
    fn an_empty_or_broken_file_of_the_user() {
        assert!(merge(Some("<settings/>"), None, &[]).unwrap().contains("<settings><localRepository>"));
        let problem = merge(Some("<settings><servers></settings>"), None, &[]).unwrap_err();
        assert!(problem.message.contains("settings.xml is not valid XML"), "{}", problem.message);
    }
}

//! Names that nobody has to set: application, line, image, tag.

use super::Facts;
use crate::{
    domain::{
        problem::{Code, Problem, Result},
        reference::{dns_label, tag_slug},
    },
    settings::{Ci, Settings, Source},
};

/// A value with where it was found.
pub(super) type Found = (String, Source);

/// The repository's name, as a DNS label.
pub(super) fn app(ci: &Ci, facts: &Facts) -> Result<Found> {
    let candidates = [
        (ci.project.name.clone(), Source::Ci("project of the CI".into())),
        (remote_path(facts).and_then(|path| path.rsplit('/').next().map(str::to_string)), Source::Detected("origin remote".into())),
        (facts.folder.clone(), Source::Detected("name of the folder".into())),
        (facts.project.as_ref().map(|project| project.artifact.clone()), Source::Detected("pom.xml artifactId".into())),
    ];
    first_label(candidates).ok_or_else(|| Problem::new(Code::SettingMissing, "the application has no name").hint("set app"))
}

/// The root group of the project, as a DNS label; an application without a group is its own line.
pub(super) fn line(ci: &Ci, facts: &Facts, app: &str) -> Found {
    let root_group = |path: String| path.split_once('/').map(|(root, _)| root.to_string());
    let candidates = [
        (ci.project.path.clone().and_then(root_group), Source::Ci("project of the CI".into())),
        (remote_path(facts).and_then(root_group), Source::Detected("origin remote".into())),
    ];
    first_label(candidates).unwrap_or_else(|| (app.to_string(), Source::Detected("app, for want of a group".into())))
}

fn first_label<const N: usize>(candidates: [(Option<String>, Source); N]) -> Option<Found> {
    candidates.into_iter().find_map(|(name, source)| Some((dns_label(&name?)?, source)))
}

/// `group/sub/name` of `https://host/group/sub/name.git`, `git@host:group/sub/name.git` or `/path/to/group/name`.
fn remote_path(facts: &Facts) -> Option<String> {
    let remote = facts.commit.as_ref()?.remote.as_deref()?.trim_end_matches('/').trim_end_matches(".git");
    let path = match remote.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => remote.split_once(':').map_or(remote, |(_, path)| path),
    };
    Some(path.trim_matches('/').to_string()).filter(|path| !path.is_empty())
}

/// The Git tag `v1.2.3` as `1.2.3`, else the first 12 digits of the commit. Whatever a branch or tag is called, this is a legal tag.
pub(super) fn tag(ci: &Ci, facts: &Facts) -> Found {
    let git_tag = ci.commit.tag.clone().or_else(|| facts.commit.as_ref()?.tag.clone());
    if let Some(tag) = git_tag {
        return (tag_slug(without_v(&tag)), Source::Detected(format!("Git tag {tag}")));
    }
    match &facts.commit {
        Some(commit) => (commit.short().to_string(), Source::Detected("commit".into())),
        None => ("local".to_string(), Source::Detected("no commit is known".into())),
    }
}

/// The tag of a commit's image.
pub(super) fn commit_tag(sha: &str) -> &str {
    sha.get(..12).unwrap_or(sha)
}

fn without_v(tag: &str) -> &str {
    match tag.strip_prefix('v') {
        Some(version) if version.starts_with(|c: char| c.is_ascii_digit()) => version,
        _ => tag,
    }
}

/// The image's name without a tag; None without a registry.
pub(super) fn repository(settings: &Settings, ci: &Ci, line: &str, app: &str) -> Option<Found> {
    let url = settings.registry.url.as_ref()?;
    let own = ci.registry.as_ref().filter(|registry| &registry.url == url).and_then(|registry| registry.image.clone());
    Some(match own {
        Some(image) if ci.project.name.as_deref().and_then(dns_label).is_none_or(|name| name == app) => {
            (image, Source::Ci("CI_REGISTRY_IMAGE".into()))
        }
        Some(image) => (format!("{image}/{app}"), Source::Ci("CI_REGISTRY_IMAGE and app".into())),
        None => (format!("{}/{line}/{app}", registry_host(url)), Source::Detected("registry.url, line and app".into())),
    })
}

/// `host[:port][/prefix]` of whatever people write: a scheme and a final slash do not belong to it.
pub(super) fn registry_host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::commit::Commit, settings::CiRegistry};

    fn facts(remote: &str) -> Facts {
        let commit = Commit { sha: "0123456789abcdef".into(), remote: Some(remote.into()), ..Commit::default() };
        Facts { commit: Some(commit), ..Facts::default() }
    }

    #[test]
    fn app_and_line_come_from_the_remote() {
        for (remote, line, app) in [
            ("https://git.example.test/trade/backend/Order_Service.git", "trade", "order-service"),
            ("git@git.example.test:trade/order-service.git", "trade", "order-service"),
            ("ssh://git@git.example.test:2222/trade/order-service", "trade", "order-service"),
        ] {
            let facts = facts(remote);
            assert_eq!(super::app(&Ci::default(), &facts).unwrap().0, app, "{remote}");
            assert_eq!(super::line(&Ci::default(), &facts, app).0, line, "{remote}");
        }
    }

    #[test]
    fn an_application_alone_is_its_own_line() {
        let facts = Facts { folder: Some("Shop".into()), ..Facts::default() };
        let app = super::app(&Ci::default(), &facts).unwrap().0;
        assert_eq!((app.as_str(), line(&Ci::default(), &facts, &app).0.as_str()), ("shop", "shop"));
    }

    #[test]
    fn tags() {
        let mut ci = Ci::default();
        assert_eq!(tag(&ci, &facts("x")).0, "0123456789ab");
        assert_eq!(tag(&ci, &Facts::default()).0, "local");
        for (git, image) in [("v1.2.3", "1.2.3"), ("vanilla", "vanilla"), ("release/Ünïcode#1", "release-n-code-1")] {
            ci.commit.tag = Some(git.into());
            assert_eq!(tag(&ci, &facts("x")).0, image);
        }
    }

    #[test]
    fn gitlabs_own_registry_has_a_place_for_the_project() {
        let mut ci = Ci::default();
        ci.project.name = Some("order-service".into());
        ci.registry = Some(CiRegistry {
            url: "registry.example.test".into(),
            credentials: None,
            image: Some("registry.example.test/trade/order-service".into()),
            token_server: None,
        });
        let mut settings = crate::settings::load(&crate::settings::Input::default()).unwrap_or_else(|m| panic!("{}", m.0[0])).settings;
        assert_eq!(repository(&settings, &ci, "trade", "order-service"), None);
        settings.registry.url = Some("registry.example.test".into());
        assert_eq!(repository(&settings, &ci, "trade", "order-service").unwrap().0, "registry.example.test/trade/order-service");
        assert_eq!(repository(&settings, &ci, "trade", "worker").unwrap().0, "registry.example.test/trade/order-service/worker");
        settings.registry.url = Some("https://other.example.test/prefix/".into());
        assert_eq!(repository(&settings, &ci, "trade", "worker").unwrap().0, "other.example.test/prefix/trade/worker");
    }
}

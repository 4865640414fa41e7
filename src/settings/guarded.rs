//! What a repository may not say in a build of a worker: there the credentials are the worker's, so its file neither leads them anywhere nor
//! says which of the machine's programs and folders are used.

use super::{mistake::Mistake, reader::Entries, shape, source::Source};
use crate::domain::problem::Code;

/// Keys, and sections with all below them.
const GUARDED: &[&str] = &[
    "build.env",
    "center",
    "cluster",
    "forge.ca",
    "forge.kind",
    "forge.url",
    "identity",
    "image.cache",
    "image.engine",
    "image.repository",
    "kubernetes.config.image",
    "kubernetes.config.pushed",
    "lock.backend",
    "maven",
    "notify.secret",
    "notify.url",
    "queue",
    "registry",
    "source",
    "worker",
];

/// Adds a mistake for each such value that the repository's file has decided; what the worker sets itself has won against it.
pub fn check(entries: &Entries, mistakes: &mut Vec<Mistake>) {
    for (path, entry) in entries {
        let key = path.join(".");
        let of_repository = matches!(entry.source, Source::File { .. } | Source::Section { .. });
        if !of_repository || !GUARDED.iter().any(|guarded| covers(guarded, &key)) {
            continue;
        }
        let variable = format!("SHIPWAY_{}", shape::variable(path));
        mistakes.push(Mistake {
            code: Code::SettingInvalid,
            what: format!("{key} cannot be set by a repository that a worker builds: the credentials there are the worker's"),
            fix: format!("remove it; who runs the worker sets {variable}, or for this application `shipway app set`"),
            setting: key,
            source: entry.source.to_string(),
            place: entry.place.clone(),
        });
    }
}

fn covers(guarded: &str, key: &str) -> bool {
    key.strip_prefix(guarded).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::shape::{Leaf, Secrecy, Shape};

    #[test]
    fn every_guarded_key_is_there_and_is_documented() {
        let keys: Vec<String> = shape::root().leaves().into_iter().map(Leaf::key).collect();
        let documented = include_str!("../../docs/how-to/worker.md");
        for guarded in GUARDED {
            assert!(keys.iter().any(|key| covers(guarded, key)), "{guarded} is no key");
            let is_section = shape::root().field(guarded).is_some_and(|shape| matches!(shape, Shape::Section(_)));
            let shown = if is_section { format!("`{guarded}.*`") } else { format!("`{guarded}`") };
            assert!(documented.contains(&shown), "docs/how-to/worker.md does not name {shown}");
        }
        assert!(!covers("queue", "queues.x") && covers("queue", "queue.url"));
    }

    /// A new key that names a place, or lies beside a secret, has to be thought of here.
    #[test]
    fn whatever_leads_somewhere_is_guarded_or_harmless() {
        let harmless = [
            // where people read on
            "forge.environment_url",
            "help.url",
            "report.card",
            "report.url",
            // read without anybody else's credentials
            "image.base_registry",
            // refused in every file already, being secret
            "forge.token",
            // in the room of the build: the worker sets it
            "report.dir",
            // in files of the checkout
            "logs.to",
        ];
        for leaf in shape::root().leaves().into_iter().filter(|leaf| !leaf.outside) {
            let leads = leaf.secrecy != Secrecy::Open
                || matches!(leaf.rule.as_str(), "url" | "file" | "registry" | "repository" | "kubeconfig" | "variables")
                || leaf.path.last().is_some_and(|name| name.ends_with("url") || name.ends_with("dir"));
            let key = leaf.key();
            let known = GUARDED.iter().any(|guarded| covers(guarded, &key)) || harmless.contains(&key.as_str());
            assert!(!leads || known, "{key} leads somewhere: guard it, or say why it is harmless");
        }
    }
}

//! Rules between keys, seen when all sources are merged.

use super::{
    coerce::plain,
    mistake::Mistake,
    reader::{Entries, Entry},
    shape,
};
use crate::domain::{problem::Code, reference::ImageReference, units};

/// Adds what does not go together; defaults count where nothing is set.
pub fn check(entries: &Entries, mistakes: &mut Vec<Mistake>) {
    let mut relations = Relations { entries, mistakes };
    relations.autoscale();
    relations.disruption();
    relations.commands();
    relations.rolling();
    relations.resources();
    relations.build();
    relations.dockerfile();
    relations.lock();
    relations.registry();
    relations.notify();
}

struct Relations<'a> {
    entries: &'a Entries,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Relations<'a> {
    fn entry(&self, key: &str) -> Option<&'a Entry> {
        let path: Vec<String> = key.split('.').map(str::to_string).collect();
        self.entries.get(&path)
    }

    /// The value that is set, else the default.
    fn text(&self, key: &str) -> Option<String> {
        let default = || shape::root().leaves().into_iter().find(|leaf| leaf.key() == key)?.default.clone();
        self.entry(key).map(|entry| entry.value.clone()).or_else(default).map(|value| plain(&value))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.text(key)?.parse().ok()
    }

    /// A mistake of the first of these keys that somebody set.
    fn wrong(&mut self, keys: &[&str], what: String, fix: &str) {
        let Some((key, entry)) = keys.iter().find_map(|key| Some((*key, self.entry(key)?))) else { return };
        self.mistake(key, entry, what, fix);
    }

    fn mistake(&mut self, key: &str, entry: &Entry, what: String, fix: &str) {
        let (source, place) = (entry.source.to_string(), entry.place.clone());
        self.mistakes.push(Mistake { code: Code::SettingInvalid, setting: key.to_string(), source, place, what, fix: fix.to_string() });
    }

    fn autoscale(&mut self) {
        let (min, max) = ("kubernetes.autoscale.min", "kubernetes.autoscale.max");
        if let (Some(least), Some(most)) = (self.number(min), self.number(max))
            && least > most
        {
            self.wrong(&[min, max], format!("{min} is {least}, more than {max}, which is {most}"), "make max at least as great as min");
        }
    }

    /// Kubernetes takes one of the two.
    fn disruption(&mut self) {
        let (away, stay) = ("kubernetes.disruption.max_unavailable", "kubernetes.disruption.min_available");
        if self.entry(away).is_some() && self.entry(stay).is_some() {
            self.wrong(&[stay, away], format!("{away} and {stay} are both set"), "set one of them");
        }
    }

    fn commands(&mut self) {
        if self.entry("scale.to").is_some() && self.text("scale.reset").as_deref() == Some("true") {
            self.wrong(&["scale.to"], "scale.to and scale.reset are both set".to_string(), "set one of them");
        }
        if self.entry("logs.to").is_some() && self.text("logs.follow").as_deref() == Some("true") {
            self.wrong(&["logs.to"], "logs.to and logs.follow are both set: an archive has an end".to_string(), "set one of them");
        }
    }

    fn rolling(&mut self) {
        let (surge, unavailable) = ("kubernetes.rolling.max_surge", "kubernetes.rolling.max_unavailable");
        let nothing = |text: Option<String>| text.is_some_and(|text| matches!(text.as_str(), "0" | "0%"));
        if nothing(self.text(surge)) && nothing(self.text(unavailable)) {
            self.wrong(
                &[surge, unavailable],
                format!("{surge} and {unavailable} are both 0, so no pod could ever be replaced"),
                "make one of them 1 or more",
            );
        }
        let (timeout, ready) = ("kubernetes.rolling.timeout", "kubernetes.rolling.min_ready_seconds");
        let limit = self.text(timeout).and_then(|text| units::parse_duration(&text));
        if let (Some(limit), Some(seconds)) = (limit, self.number(ready))
            && limit.as_secs() <= u64::try_from(seconds).unwrap_or(0)
        {
            self.wrong(
                &[timeout, ready],
                format!("{timeout} ends before a pod was ready for {seconds} seconds"),
                "raise the timeout, or lower min_ready_seconds",
            );
        }
        for budget in ["image_pull", "unschedulable", "scale_up", "refused", "init"] {
            let key = format!("kubernetes.rolling.budgets.{budget}");
            let given = self.entry(&key).and_then(|entry| units::parse_duration(&plain(&entry.value)));
            if let (Some(given), Some(limit)) = (given, limit)
                && given > limit
            {
                let what = format!("{key} is longer than the whole rollout may take, which is {}", units::format_duration(limit));
                self.wrong(&[&key], what, "raise kubernetes.rolling.timeout, or lower the budget");
            }
        }
    }

    fn resources(&mut self) {
        for resource in ["cpu", "memory"] {
            let (request, limit) = (format!("kubernetes.resources.requests.{resource}"), format!("kubernetes.resources.limits.{resource}"));
            let (Some(asked), Some(most)) = (self.text(&request), self.text(&limit)) else { continue };
            if let (Some(a), Some(b)) = (units::parse_quantity(&asked), units::parse_quantity(&most))
                && a > b
            {
                self.wrong(
                    &[&request, &limit],
                    format!("{request} is {asked}, more than the limit, which is {most}"),
                    "raise the limit, or lower the request",
                );
            }
        }
    }

    fn build(&mut self) {
        let library = self.text("kind").as_deref() == Some("library");
        if self.entry("build.command").is_some()
            && self.entry("build.artifact").is_none()
            && !library
            && self.entry("image.dockerfile").is_none()
        {
            self.wrong(
                &["build.command"],
                "build.command is set, but not what it makes".to_string(),
                "set build.artifact to the jar, or image.dockerfile",
            );
        }
    }

    /// The generated Dockerfile has no ARG and one stage.
    fn dockerfile(&mut self) {
        if self.entry("image.dockerfile").is_some() {
            return;
        }
        let own = |path: &[String]| path[0] == "image" && matches!(path[1].as_str(), "build_args" | "target");
        for (path, entry) in self.entries.iter().filter(|(path, _)| path.len() > 1 && own(path)) {
            let key = path.join(".");
            let what = format!("{key} is for a Dockerfile of your own, and image.dockerfile is not set");
            self.mistake(
                &key,
                entry,
                what,
                "set image.dockerfile, or remove it: image.env, image.jvm and image.args go into the generated one",
            );
        }
    }

    /// The credentials of one registry must not go to another.
    fn registry(&mut self) {
        let (certificate, key) = ("registry.client_certificate", "registry.client_key");
        if self.entry(certificate).is_some() != self.entry(key).is_some() {
            self.wrong(&[certificate, key], format!("only one of {certificate} and {key} is set"), "set both, or none");
        }
        let (url, repository) = ("registry.url", "image.repository");
        let (Some(registry), Some(name)) = (self.text(url), self.text(repository)) else { return };
        let hub = |host: &str| if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host }.to_string();
        let host = hub(registry.split('/').next().unwrap_or_default());
        if let Ok(image) = name.parse::<ImageReference>()
            && image.registry != host
        {
            let what = format!("{repository} is on {}, but {url} is {registry}", image.registry);
            self.wrong(&[repository, url], what, &format!("write {repository} with {registry}/ in front, or remove one of the two"));
        }
    }

    fn notify(&mut self) {
        if self.entry("notify.secret").is_some() && self.entry("notify.url").is_none() {
            self.wrong(&["notify.secret"], "notify.secret is set, but not where the message goes".to_string(), "set notify.url");
        }
        if self.text("notify.url").is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            self.wrong(&["notify.url"], "notify.url is not an address".to_string(), "write it like https://host.example.test/hook");
        }
    }

    fn lock(&mut self) {
        let zookeeper = self.text("lock.backend").as_deref() == Some("zookeeper");
        let center = self.text("center.url").unwrap_or_default();
        if zookeeper && !center.starts_with("zookeeper://") {
            self.wrong(
                &["lock.backend"],
                "lock.backend is zookeeper, but center.url names none".to_string(),
                "set center.url to zookeeper://HOST:PORT",
            );
        }
        if !center.is_empty() && center != "kubernetes" && !center.starts_with("zookeeper://") {
            self.wrong(
                &["center.url"],
                "center.url is no configuration centre".to_string(),
                "write kubernetes, or zookeeper://HOST:PORT/PATH",
            );
        }
        let ttl = self.entry("lock.ttl").and_then(|entry| units::parse_duration(entry.value.as_str()?));
        if ttl.is_some_and(|ttl| ttl.as_secs() < 5) {
            self.wrong(&["lock.ttl"], "lock.ttl is too short to be renewed in time".to_string(), "write 5s or more");
        }
    }
}

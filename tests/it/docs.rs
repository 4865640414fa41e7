//! The documentation holds: its links lead somewhere, its files are accepted, its commands are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;

use crate::support::{
    pipeline::{Server, steps},
    shipway::shipway,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page that people read: `docs/`, the examples, and those at the top.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].iter().map(|name| root().join(name)).collect();
    for folder in ["docs", "ci-examples", "plugin"] {
        collect(&root().join(folder), &mut pages);
    }
    pages
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

fn events(text: &str) -> Vec<Event<'_>> {
    Parser::new_ext(text, Options::ENABLE_TABLES).collect()
}

/// Where the links of a page lead.
fn links(text: &str) -> Vec<String> {
    let to = |event: Event<'_>| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.into_string()),
        _ => None,
    };
    events(text).into_iter().filter_map(to).collect()
}

/// The code blocks of a page: language and text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let (mut found, mut open) = (Vec::new(), None);
    for event in events(text) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => open = Some((language.into_string(), String::new())),
            Event::Text(text) => {
                if let Some((_, block)) = &mut open {
                    block.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => found.extend(open.take()),
            _ => {}
        }
    }
    found
}

/// The names that `#name` can lead to: ids that are written out, and those that headings get.
fn anchors(text: &str) -> BTreeSet<String> {
    let written = text.split("id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_')).collect::<String>().replace(' ', "-")
    });
    written.chain(headings).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let there =
                target.exists() && (anchor.is_empty() || fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor)));
            // the site of the book has nothing but its own pages
            let docs = root().join("docs");
            let leaves = page.starts_with(&docs) && !target.canonicalize().is_ok_and(|target| target.starts_with(&docs));
            if !there || leaves {
                broken.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_summary_lists_every_page() {
    let docs = root().join("docs");
    let listed: BTreeSet<PathBuf> =
        links(&fs::read_to_string(docs.join("SUMMARY.md")).unwrap()).iter().map(|link| docs.join(link)).collect();
    let mut there = Vec::new();
    collect(&docs, &mut there);
    let there: BTreeSet<PathBuf> = there.into_iter().filter(|path| !path.ends_with("SUMMARY.md")).collect();
    assert_eq!(listed, there);
}

/// What the settings name has to be there.
fn stand_ins(folder: &Path, settings: &str) {
    for named in shipway::settings::named(settings, "shipway.yaml") {
        let path = folder.join(&named.path);
        let text = match named.key.as_str() {
            "image.dockerfile" => "FROM scratch AS runtime\n",
            "kubernetes.manifests" => "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\n",
            "kubernetes.patches" => "kind: Deployment\nmetadata: {labels: {a: b}}\n",
            _ => "text\n",
        };
        let folder = named.path.ends_with('/') || named.key == "image.context";
        let file = if folder { path.join("file.yaml") } else { path };
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
}

/// A file of settings is one whose first line names it.
#[test]
fn the_settings_in_the_pages_are_accepted() {
    let mut checked = 0;
    for page in pages() {
        for (language, block) in blocks(&fs::read_to_string(&page).unwrap()) {
            if language == "yaml" && block.starts_with("# shipway.yaml") {
                let folder = tempfile::tempdir().unwrap();
                fs::write(folder.path().join("shipway.yaml"), &block).unwrap();
                stand_ins(folder.path(), &block);
                let done = shipway(folder.path()).arg("check").run();
                assert_eq!(done.code, 0, "{}:\n{block}\n{}", page.display(), done.text());
                checked += 1;
            }
        }
    }
    assert!(checked > 5, "only {checked} were found");
}

#[test]
fn the_steps_in_the_pages_are_accepted() {
    let mut checked = 0;
    for page in pages() {
        for (_, block) in blocks(&fs::read_to_string(&page).unwrap()) {
            let server = match block.lines().next() {
                Some("# .drone.yml") => Server::Drone,
                Some("# .woodpecker.yml") => Server::Woodpecker,
                _ => continue,
            };
            for step in steps(&block, server) {
                let folder = tempfile::tempdir().unwrap();
                fs::write(folder.path().join("shipway.yaml"), "{}\n").unwrap();
                let secrets = BTreeMap::from([
                    ("registry_password", "secret-1".to_owned()),
                    ("cluster_token", "secret-2".to_owned()),
                    ("forge_token", "secret-3".to_owned()),
                ]);
                let job = step.environment(&secrets).iter().fold(shipway(folder.path()), |job, (name, value)| job.env(name, value));
                let done = job.env("PLUGIN_COMMAND", "check").run();
                assert_eq!(done.code, 0, "{}, step {}:\n{}", page.display(), step.name, done.text());
                checked += 1;
            }
        }
    }
    assert!(checked > 2, "only {checked} were found");
}

/// Every job of a pipeline of GitLab: what it calls is there, and what it sets is a setting.
#[test]
fn the_jobs_in_the_pages_are_accepted() {
    let mut checked = 0;
    for page in pages() {
        for (_, block) in blocks(&fs::read_to_string(&page).unwrap()) {
            if block.lines().next() == Some("# .gitlab-ci.yml") {
                let pipeline: Value = serde_saphyr::from_str(&block).unwrap_or_else(|error| panic!("{}: {error}\n{block}", page.display()));
                for (name, job) in pipeline.as_object().unwrap().iter().filter(|(_, job)| job.is_object()) {
                    check_job(job, &format!("{}, job {name}", page.display()));
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 8, "only {checked} were found");
}

fn check_job(job: &Value, at: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shipway.yaml"), "{}\n").unwrap();
    let set = job["variables"].as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("SHIPWAY_"));
    // what the CI puts in the place of its own variables
    let expanded = |text: &str| text.replace("$CI_JOB_URL", "https://git.example.test/jobs/1").replace("$CI_MERGE_REQUEST_IID", "7");
    let checking = set.fold(shipway(folder.path()).env("SHIPWAY_COMMAND", "check"), |checking, (name, value)| {
        checking.env(name, value.as_str().map_or_else(|| value.to_string(), expanded))
    });
    let done = checking.run();
    assert!(done.code == 0 && !done.text().contains("is not a setting"), "{at}:\n{}", done.text());
    let script = &job["script"];
    let lines = script.as_str().into_iter().chain(script.as_array().into_iter().flatten().filter_map(Value::as_str));
    for line in lines.filter(|line| line.starts_with("shipway")) {
        let (image, command) = (job["image"].as_str().unwrap_or_default(), line.split_whitespace().nth(1).unwrap_or("run"));
        let builds = matches!(command, "run" | "build" | "image" | "dockerfile") || command.starts_with('-');
        assert!(!builds || !image.starts_with("shipway:"), "{at}: {line} builds, and {image} has no Maven");
        let words = line.split(" && ").next().unwrap().split_whitespace().skip(1).map(|word| word.trim_matches('"').to_owned());
        let done = shipway(folder.path()).args(words.chain(["--help".to_owned()])).run();
        assert_eq!(done.code, 0, "{at}: {line}\n{}", done.text());
    }
}

/// `--help` at the end of a command line (before the command that another one runs) is answered only when all before it is known.
#[test]
fn the_commands_in_the_pages_are_there() {
    let mut checked = BTreeSet::new();
    for page in pages() {
        for (language, block) in blocks(&fs::read_to_string(&page).unwrap()) {
            for line in block.lines().filter(|line| language == "sh" && line.starts_with("shipway")) {
                let words = line.split_whitespace().skip(1).take_while(|word| *word != "--");
                let arguments = words.chain(["--help"]);
                let done = shipway(root()).args(arguments).run();
                assert_eq!(done.code, 0, "{}: {line}\n{}", page.display(), done.text());
                checked.insert(line.to_owned());
            }
        }
    }
    assert!(checked.len() > 4, "{checked:?}");
}

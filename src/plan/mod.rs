//! Settings + facts → plan: everything that a run needs to know before it acts. Pure: no file, no network, no clock.

mod decision;
mod names;
mod probes;
mod workload;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use self::decision::Publish;
use crate::{
    domain::{
        commit::Commit,
        image_source::{ImageSource, LayoutReference},
        problem::{Code, Problem, Result},
        project::Project,
        reference::{DEFAULT_REGISTRY, ImageReference},
        secret::Credentials,
    },
    settings::{Auto, Ci, Host, Kind, Loaded, Settings, Source, Sourced},
};

/// Java versions that base images exist of: the long-term ones.
const LTS: &[u32] = &[8, 11, 17, 21, 25];

/// What was found in the checkout and on the machine.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Where the run was started: its report goes below it.
    pub work_dir: PathBuf,
    /// The checkout: `work_dir`, or a fresh clone below it.
    pub dir: PathBuf,
    /// This run made the checkout.
    pub cloned: bool,
    /// Name of the checkout's folder.
    pub folder: Option<String>,
    pub commit: Option<Commit>,
    /// None without a pom.xml.
    pub project: Option<Project>,
    /// Now, seconds since the epoch; used only where neither pipeline nor commit is known.
    pub now: i64,
}

/// A run, resolved.
#[derive(Clone)]
pub struct Plan {
    /// As loaded; what depends on more than the settings stands resolved beside it.
    pub settings: Settings,
    pub ci: Ci,
    pub host: Host,
    pub facts: Facts,
    pub app: String,
    pub line: String,
    /// Where the image goes, with its tag; on `localhost` when there is no registry and it becomes an OCI layout.
    pub target: ImageReference,
    /// There is a registry to push to.
    pub pushes: bool,
    /// The tag was not set, so it may give way to a longer one.
    pub tag_is_default: bool,
    /// A ready image: nothing is built.
    pub ready_image: Option<ImageReference>,
    /// A ready image in an OCI layout: it is pushed as it is.
    pub ready_layout: Option<LayoutReference>,
    pub publish: Publish,
    pub namespace: String,
    /// Name of Deployment, Service and autoscaler.
    pub name: String,
    /// `deploy` is Maven's goal.
    pub deploys: bool,
    /// Report folder, absolute or relative to the current one.
    pub report_dir: PathBuf,
    /// Every key with its value and source.
    pub sources: Vec<Sourced>,
}

/// The application's name, as the plan will have it.
pub fn app_name(loaded: &Loaded, facts: &Facts) -> Result<String> {
    match &loaded.settings.app {
        Some(app) => Ok(app.clone()),
        None => names::app(&loaded.ci, facts).map(|(app, _)| app),
    }
}

impl Plan {
    pub fn new(loaded: Loaded, facts: Facts) -> Result<Plan> {
        let Loaded { settings, ci, host, sources, .. } = loaded;
        let mut sources = Sources(sources);
        let app = sources.or_found("app", &settings.app, || names::app(&ci, &facts))?;
        let line = sources.or_found("line", &settings.line, || Ok(names::line(&ci, &facts, &app)))?;
        let tag = sources.or_found("image.tag", &settings.image.tag, || Ok(names::tag(&ci, &facts)))?;
        let repository = match &settings.image.repository {
            Some(repository) => Some(repository.clone()),
            None => names::repository(&settings, &ci, &line, &app).map(|found| sources.found("image.repository", found)),
        };
        let pushes = repository.is_some() && !lacks_secrets(&settings, &ci);
        let target: ImageReference = repository.unwrap_or_else(|| format!("localhost/{line}/{app}")).parse()?;
        let (ready_image, ready_layout) = match settings.image.reference.as_deref().map(str::parse).transpose()? {
            Some(ImageSource::Registry(reference)) => (Some(reference), None),
            Some(ImageSource::Layout(layout)) => (None, Some(layout)),
            None => (None, None),
        };
        let default = |value: &str, why: &str| Ok((value.to_string(), Source::Detected(why.to_string())));
        let name = sources.or_found("kubernetes.name", &settings.kubernetes.name, || default(&app, "app"))?;
        let namespace = sources.or_found("kubernetes.namespace", &settings.kubernetes.namespace, || default(&line, "line"))?;
        Ok(Plan {
            publish: decision::decide(&settings, &ci, &host, &facts)?,
            deploys: deploys(&settings, &ci, &facts),
            report_dir: below(&facts.work_dir, &settings.report.dir),
            target: target.with_tag(&tag),
            tag_is_default: settings.image.tag.is_none(),
            sources: sources.0,
            app,
            line,
            pushes,
            ready_image,
            ready_layout,
            namespace,
            name,
            settings,
            ci,
            host,
            facts,
        })
    }

    /// A plan without what may be wrong with it, for those who are told that the run ends before it began.
    pub fn that_does_nothing(mut loaded: Loaded, facts: Facts) -> Option<Plan> {
        let settings = &mut loaded.settings;
        settings.publish = Auto::No;
        settings.registry.url = None;
        (settings.image.repository, settings.image.reference) = (None, None);
        Plan::new(loaded, facts).ok()
    }

    /// Whether the run changes a cluster.
    pub fn publishes(&self) -> bool {
        self.publish == Publish::Cluster && !self.is_library()
    }

    /// This is a fork's merge request: its settings name a registry's user, but the CI gave it no password.
    pub fn lacks_secrets(&self) -> bool {
        lacks_secrets(&self.settings, &self.ci)
    }

    /// Whether the image is there already, so that nothing is built.
    pub fn has_ready_image(&self) -> bool {
        self.ready_image.is_some() || self.ready_layout.is_some()
    }

    /// Whether any setting names a cluster.
    pub fn has_cluster(&self) -> bool {
        decision::has_cluster(&self.settings, &self.host)
    }

    /// Base image: the one that is set, else Temurin's JRE of the Java that the application asks for, rounded up to a long-term version;
    /// `compiled_with` counts when the pom does not say, and never is it older than the classes that were built.
    pub fn base(&self, compiled_with: Option<u32>, classes: Option<u32>) -> Result<ImageSource> {
        if let Some(base) = &self.settings.image.base {
            return base.parse();
        }
        let asked = self.settings.build.jdk.or_else(|| self.facts.project.as_ref()?.java).or(compiled_with).max(classes);
        let java = asked.ok_or_else(|| {
            Problem::new(Code::SettingMissing, "no base image: neither the pom nor build.jdk says a Java version").hint("set image.base")
        })?;
        let long_term = LTS.iter().copied().find(|lts| *lts >= java).unwrap_or(java);
        format!("{DEFAULT_REGISTRY}/library/eclipse-temurin:{long_term}-jre").parse()
    }

    /// Time of everything in the image, seconds since the epoch: SOURCE_DATE_EPOCH, else the commit's.
    pub fn created(&self) -> i64 {
        let commit = self.facts.commit.as_ref().map(|commit| commit.time);
        self.host.source_date_epoch.or(commit).or(self.ci.commit.time).unwrap_or(0)
    }

    /// Grows from publish to publish: the CI's pipeline, else the commit's time. Numbers of different kinds are not compared.
    pub fn sequence(&self) -> (&'static str, u64) {
        let commit = self.facts.commit.as_ref().map(|commit| commit.time).or(self.ci.commit.time);
        match (self.ci.pipeline_id, commit) {
            (Some(pipeline), _) => (self.ci.kind.name(), pipeline),
            (None, Some(time)) => ("commit", time.try_into().unwrap_or(0)),
            (None, None) => ("clock", self.facts.now.try_into().unwrap_or(0)),
        }
    }

    /// The tag that is used when the default tag already holds another digest: a running digest never loses its tag.
    pub fn longer_tag(&self) -> Option<String> {
        let tag = self.target.tag.as_deref()?;
        self.tag_is_default.then(|| format!("{}-{}", tag.get(..100).unwrap_or(tag), self.sequence().1))
    }

    /// Tag of the image of the branch's last commit, where the CI says which that was and tags are commits.
    pub fn previous_tag(&self) -> Option<String> {
        let before = self.ci.commit.before.as_deref().filter(|_| self.tag_is_default)?;
        Some(names::commit_tag(before).to_string())
    }

    /// Labels of the image: the OCI image-spec's annotations, and those that are set.
    pub fn labels(&self, version: &str) -> Vec<(String, String)> {
        let mut labels = self.annotations(version);
        let others = self.settings.image.labels.iter().filter(|(key, _)| !labels.iter().any(|(known, _)| known == *key));
        let others: Vec<_> = others.map(|(key, value)| (key.clone(), value.clone())).collect();
        labels.extend(others);
        labels
    }

    /// The OCI image-spec's annotations that are known of the image; one that is set as a label (`image.labels`) has that value.
    pub fn annotations(&self, version: &str) -> Vec<(String, String)> {
        let commit = self.facts.commit.as_ref();
        let revision = commit.map(|commit| commit.sha.clone()).or_else(|| self.ci.commit.sha.clone());
        let source = self.ci.project.url.clone().or_else(|| commit?.remote.clone());
        let created = Timestamp::from_second(self.created()).ok().map(|created| created.to_string());
        let annotations = [
            ("title", Some(self.app.clone())),
            ("source", source),
            ("revision", revision),
            ("created", created),
            ("version", Some(version.to_string())),
        ];
        let named = annotations.into_iter().map(|(key, value)| (format!("org.opencontainers.image.{key}"), value));
        let set = &self.settings.image.labels;
        named.filter_map(|(key, value)| set.get(&key).cloned().or(value).map(|value| (key, value))).collect()
    }

    /// What the cluster pulls with, when both halves are set.
    pub fn pull_credentials(&self) -> Option<Credentials> {
        let registry = &self.settings.registry;
        let (username, password) = (registry.pull_username.clone()?, registry.pull_password.clone()?);
        Some(Credentials { username, password })
    }

    /// Who holds the publish lock: the job's page, else the user at the machine.
    pub fn holder(&self) -> String {
        let person = || {
            let user = self.host.user.as_deref().unwrap_or("someone");
            format!("{user}@{}", self.host.hostname.as_deref().unwrap_or("somewhere"))
        };
        self.ci.job_url.clone().unwrap_or_else(person)
    }

    pub fn is_library(&self) -> bool {
        self.settings.kind == Some(Kind::Library)
    }
}

fn lacks_secrets(settings: &Settings, ci: &Ci) -> bool {
    ci.is_fork() && settings.registry.username.is_some() && settings.registry.password.is_none()
}

/// A path for messages, too: `./shipway-report` reads better without its dot.
fn below(dir: &Path, path: &Path) -> PathBuf {
    let path = dir.join(path);
    path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path)
}

/// `build.deploy`: auto is on the default branch and tags, when a Maven repository is configured.
fn deploys(settings: &Settings, ci: &Ci, facts: &Facts) -> bool {
    let tag = ci.commit.tag.is_some() || facts.commit.as_ref().is_some_and(|commit| commit.tag.is_some());
    match settings.build.deploy {
        Auto::Yes => true,
        Auto::No => false,
        Auto::Auto => settings.maven.url.is_some() && (ci.on_default_branch() || tag),
    }
}

/// The sources of all values; what is found is added.
struct Sources(Vec<Sourced>);

impl Sources {
    fn or_found(&mut self, key: &str, set: &Option<String>, find: impl FnOnce() -> Result<names::Found>) -> Result<String> {
        match set {
            Some(value) => Ok(value.clone()),
            None => Ok(self.found(key, find()?)),
        }
    }

    fn found(&mut self, key: &str, (value, source): names::Found) -> String {
        self.0.push(Sourced { key: key.to_string(), value: value.clone(), source });
        value
    }
}

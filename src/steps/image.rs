//! From context to image: built without a daemon, pushed, known by its digest.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
    sync::PoisonError,
    time::Duration,
};

use super::{
    access::cache_dir,
    build::Built,
    dockerfile::{Context, own_path},
    engine,
    run::{Done, Run, cancelled},
};
use crate::{
    domain::{
        application::{Application, ImageFacts},
        digest::Digest,
        dockerfile::{self, Dockerfile, Instruction, Scope},
        image_source::{ImageSource, LayoutReference},
        problem::{Code, Problem, Result},
        reference::ImageReference,
        step::Step,
        units::format_bytes,
    },
    image,
    plan::Plan,
    registry::{self, Push},
    report,
    settings::Kind,
};

/// Where the image goes when there is no registry, below the report folder.
const LAYOUT_FOLDER: &str = "image";
/// A registry that does not answer for so long is looked at again after the build.
const LOOK: Duration = Duration::from_secs(30);

/// Build arguments that RUN sees without an ARG (Dockerfile reference, "Predefined ARGs").
const PREDEFINED: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH"];

/// An image that can be published.
pub(super) struct Published {
    /// Name and tag, for people.
    pub reference: ImageReference,
    pub digest: Digest,
    pub facts: ImageFacts,
    pub application: Option<Application>,
}

impl Published {
    /// What is deployed: the digest, whatever becomes of the tag.
    pub fn by_digest(&self) -> ImageReference {
        self.reference.with_digest(&self.digest)
    }
}

pub(super) async fn run(run: &Run, context: &Context, built: Built) -> Result<Published> {
    run.step(Step::Image, async {
        let scratch = scratch(run)?;
        let build = build_of(run, context, scratch.path())?;
        let image = engine::build(run, &build).await?;
        if let Some(application) = &built.application {
            check_java(run, &image, application, scratch.path()).await;
        }
        let done = match run.plan.pushes {
            true => push(run, image, built.application).await?,
            false => write_layout(run, image, built.application).await?,
        };
        if context.generated {
            fs::remove_dir_all(&context.dir).map_err(|error| Problem::io("remove", &context.dir, &error))?;
        }
        Ok(done)
    })
    .await
}

/// What can be known of the image before the long part of a run: whether the project's own Dockerfile can be built, and whether the
/// target's repository lets us in.
pub(super) async fn foresee(run: &Run) -> Result<()> {
    if run.plan.is_library() {
        return Ok(());
    }
    if let Some(own) = &run.plan.settings.image.dockerfile {
        refuse_secrets(run)?;
        let path = own_path(&run.plan, own);
        // The build may make it.
        if path.is_file() {
            let parsed = own_dockerfile(&run.plan, &path)?;
            engine::foresee(run, &parsed, own).await?;
        }
    }
    look(run).await
}

/// Looks at the target's repository: a password that is refused must not be found out after the build. What it sees spares the push its own
/// look.
async fn look(run: &Run) -> Result<()> {
    let plan = &run.plan;
    if !plan.pushes {
        return Ok(());
    }
    let (earlier, base) = (earlier(run), base(plan));
    let looking = run.registry.look(&plan.target, &earlier, &base);
    let found = tokio::select! {
        found = tokio::time::timeout(LOOK, looking) => found,
        () = run.cancel.cancelled() => return Err(cancelled("the look at the registry")),
    };
    match found {
        Ok(Ok(look)) => *run.look.lock().unwrap_or_else(PoisonError::into_inner) = Some(look),
        // Whether a library that nobody calls one needs the registry shows after the build.
        Ok(Err(problem)) if registry::is_lasting(&problem) && is_service(plan) => return Err(problem),
        Ok(Err(problem)) => tracing::debug!("the look at the registry failed: {problem}"),
        Err(_) => tracing::debug!("the registry gave no answer within {LOOK:?}"),
    }
    Ok(())
}

/// Whether the build will surely make an image.
fn is_service(plan: &Plan) -> bool {
    let boot = plan.facts.project.as_ref().is_some_and(|project| project.spring_boot);
    let settings = &plan.settings;
    boot || settings.kind == Some(Kind::Service) || settings.image.dockerfile.is_some() || settings.build.artifact.is_some()
}

/// Images of the target's repository that are most like the one to come, the likeliest first: what the cache remembers, the target's own
/// tag, the branch's last one.
fn earlier(run: &Run) -> Vec<ImageReference> {
    let (plan, target) = (&run.plan, &run.plan.target);
    let last = run.registry.last_pushed(target).filter(|last| last.tag != target.tag);
    let last = last.and_then(|last| Some(target.with_digest(last.digest.as_ref()?)));
    let tags = plan.previous_tag().into_iter().chain(plan.settings.image.extra_tags.first().cloned());
    last.into_iter().chain([target.clone()]).chain(tags.map(|tag| target.with_tag(&tag))).collect()
}

/// The base, as far as it is known before the build: its layers may be mounted.
fn base(plan: &Plan) -> Vec<ImageReference> {
    match &plan.settings.image.dockerfile {
        Some(_) => Vec::new(),
        None => plan.base(None, None).ok().and_then(|base| base.registry().cloned()).into_iter().collect(),
    }
}

/// A folder for layers until they are pushed or written.
pub(super) fn scratch(run: &Run) -> Result<tempfile::TempDir> {
    let temp = &run.plan.host.temp;
    tempfile::tempdir_in(temp).map_err(|error| Problem::io("make a folder in", temp, &error))
}

fn build_of(run: &Run, context: &Context, scratch: &Path) -> Result<image::Build> {
    let plan = &run.plan;
    let version = plan.target.tag.clone().unwrap_or_default();
    // The generated one has its labels, and no ARG.
    let mut labels = BTreeMap::new();
    if !context.generated {
        let parsed = own_dockerfile(plan, &context.dockerfile)?;
        warn_of_unused(run, &parsed);
        labels = own_labels(plan, &version, &parsed);
    }
    Ok(image::Build {
        context: context.dir.clone(),
        borrowed: context.borrowed.clone(),
        dockerfile: context.dockerfile.clone(),
        args: plan.settings.image.build_args.clone(),
        target: plan.settings.image.target.clone(),
        generated: context.generated,
        roles: context.roles.clone(),
        created: plan.created(),
        platforms: plan.settings.image.platforms.clone(),
        base_registry: plan.settings.image.base_registry.clone(),
        hidden: std::iter::once(plan.report_dir.clone()).chain(cache_dir(plan)).collect(),
        scratch: scratch.to_path_buf(),
        packed: run.look().map(|look| look.layers().clone()).unwrap_or_default(),
        root: plan.facts.dir.clone(),
        labels,
        annotations: plan.annotations(&version).into_iter().collect(),
    })
}

/// A Dockerfile up to the stage that is wanted (image.target).
pub(super) fn own_dockerfile(plan: &Plan, path: &Path) -> Result<Dockerfile> {
    let text = fs::read_to_string(path).map_err(|error| Problem::io("read", path, &error))?;
    let file = path.display().to_string();
    image::until(dockerfile::parse(&text, &file)?, plan.settings.image.target.as_deref(), &file)
}

/// Build arguments stay in an image's history, where no secret may stand.
fn refuse_secrets(run: &Run) -> Result<()> {
    let mut given = run.plan.settings.image.build_args.iter();
    let Some((name, _)) = given.find(|(_, value)| run.redactor.redact(value) != value.as_str()) else { return Ok(()) };
    let what = format!("image.build_args.{name} holds a secret, and build arguments stand in the image's history for all to read");
    Err(Problem::new(Code::SettingInvalid, what).hint("fetch what needs the secret in the Maven build, and COPY the result"))
}

/// A build argument that nothing declares is a mistake of its name.
fn warn_of_unused(run: &Run, dockerfile: &Dockerfile) {
    let declared = dockerfile.arguments();
    for name in run.plan.settings.image.build_args.keys() {
        let upper = name.to_ascii_uppercase();
        let known = declared.contains(name.as_str()) || PREDEFINED.contains(&upper.as_str()) || upper.starts_with("BUILDKIT_");
        // Another frontend has arguments of its own.
        if !known && dockerfile.syntax.is_none() {
            let text = format!("image.build_args.{name} has no effect: no ARG of this Dockerfile has the name");
            run.events.warning(text, "correct the name, or remove the setting");
        }
    }
}

/// Labels for an image of the project's own Dockerfile: those that are set, and those of the OCI image-spec that it does not set itself.
fn own_labels(plan: &Plan, version: &str, dockerfile: &Dockerfile) -> BTreeMap<String, String> {
    let scope = Scope::default();
    let names = dockerfile.lines.iter().filter_map(|line| match &line.instruction {
        Instruction::Label(pairs) => Some(pairs.iter().filter_map(|(name, _)| scope.expand(name).ok())),
        _ => None,
    });
    let taken: HashSet<String> = names.flatten().collect();
    let known = plan.annotations(version).into_iter().filter(|(name, _)| !taken.contains(name));
    known.chain(plan.settings.image.labels.clone()).collect()
}

/// Classes that the image's Java is too old for are told before anything is pushed. A base that cannot be looked into tells nothing.
async fn check_java(run: &Run, image: &image::Image, application: &Application, scratch: &Path) {
    let Some(needs) = application.java else { return };
    let has = match image::java_of(image, &image.facts(), &run.registry, scratch).await {
        Ok(Some(has)) => has,
        Ok(None) => return,
        Err(problem) => return tracing::debug!("the Java of the base is not known: {problem}"),
    };
    if has < needs {
        let name = application.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let base = image.base.as_ref().map(|base| format!(" of {}", without_digest(base))).unwrap_or_default();
        let text = format!("{name} has classes for Java {needs}, and the image{base} has Java {has}: it will not start");
        run.events.warning(text, format!("set image.base to a Java {needs} image, or compile for Java {has} (maven.compiler.release)"));
    }
}

fn without_digest(source: &ImageSource) -> String {
    let text = source.to_string();
    text.split_once('@').map_or(text.clone(), |(name, _)| name.to_string())
}

pub(super) async fn push(run: &Run, image: image::Image, application: Option<Application>) -> Result<Done<Published>> {
    let digest = image_digest(&image)?;
    let facts = image.facts();
    let target = &run.plan.target;
    let push = Push {
        target: target.clone(),
        extra_tags: run.plan.settings.image.extra_tags.clone(),
        blobs: image.blobs,
        manifests: image.manifests,
        instead: run.plan.longer_tag(),
        look: run.look(),
    };
    let pushed = run.registry.push(&push, &run.events).await?;
    if pushed.reference != *target {
        let (tag, other) = (target.tag.as_deref().unwrap_or_default(), pushed.reference.tag.as_deref().unwrap_or_default());
        run.events.note(format!("tag {tag} holds another image; {other} is used"));
    }
    let requests = run.registry.requests();
    let record = report::Image {
        reference: pushed.reference.to_string(),
        digest: Some(digest.clone()),
        size: image.size,
        requests,
        layers: Vec::new(),
        base: image.base.as_ref().map(ToString::to_string),
        layout: None,
    };
    run.recorder.record(|draft| draft.image(record));
    let requests = if requests == 1 { "1 request".to_string() } else { format!("{requests} requests") };
    let summary = format!("{}, {}, {} sent in {requests}", pushed.reference, format_bytes(image.size), format_bytes(pushed.bytes_sent));
    Ok(Done::new(Published { reference: pushed.reference, digest, facts, application }, summary))
}

async fn write_layout(run: &Run, image: image::Image, application: Option<Application>) -> Result<Done<Published>> {
    let dir = run.plan.report_dir.join(LAYOUT_FOLDER);
    remove_old(&dir)?;
    let target = run.plan.target.clone();
    image::write_layout(&image, &target, &dir, &run.registry).await?;
    let digest = image_digest(&image)?;
    let record = report::Image {
        reference: target.to_string(),
        digest: Some(digest.clone()),
        size: image.size,
        base: image.base.as_ref().map(ToString::to_string),
        layout: Some(dir.display().to_string()),
        ..report::Image::default()
    };
    let not_pushed = match run.plan.lacks_secrets() {
        true => report::NotDone::no_secrets(&dir.display().to_string()),
        false => report::NotDone::no_registry(&dir.display().to_string()),
    };
    run.recorder.record(|draft| {
        draft.image(record);
        draft.not_done(not_pushed);
    });
    let summary = format!("{} as an OCI layout at {}", format_bytes(image.size), dir.display());
    Ok(Done::new(Published { reference: target, digest, facts: image.facts(), application }, summary))
}

fn remove_old(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Problem::io("remove", dir, &error)),
        _ => Ok(()),
    }
}

pub(super) fn image_digest(image: &image::Image) -> Result<Digest> {
    let last: Option<&registry::Manifest> = image.manifests.last();
    last.map(|manifest| manifest.digest.clone()).ok_or_else(|| Problem::bug("the image has no manifest"))
}

/// A ready image: `image.ref`, or what an earlier job of the pipeline left in SHIPWAY_OUT_IMAGE; its tag becomes a digest.
pub(super) async fn ready(run: &Run) -> Result<Published> {
    run.step(Step::Image, async {
        if let Some(layout) = &run.plan.ready_layout {
            return from_layout(run, layout).await;
        }
        let earlier = || run.plan.host.earlier_image.as_deref().map(str::parse).transpose();
        let reference: ImageReference = match run.plan.ready_image.clone() {
            Some(reference) => reference,
            None => earlier()?.ok_or_else(|| {
                Problem::new(Code::SettingMissing, "there is no image to publish")
                    .hint("set image.ref (--image), or take over SHIPWAY_OUT_IMAGE from the job that built it")
            })?,
        };
        let manifest = run.registry.current_manifest(&reference).await.map_err(absent)?;
        let facts = image::facts_of(&reference, &manifest, &run.registry).await?;
        let record = report::Image { reference: reference.to_string(), digest: Some(manifest.digest.clone()), ..report::Image::default() };
        run.recorder.record(|draft| draft.image(record));
        let summary = format!("{reference} is {}", manifest.digest);
        let published = Published { reference, digest: manifest.digest, facts, application: None };
        Ok(Done::new(published, summary))
    })
    .await
}

/// An image that an earlier run wrote as an OCI layout, pushed as it is: its digest stays.
async fn from_layout(run: &Run, layout: &LayoutReference) -> Result<Done<Published>> {
    let image = image::read_layout(layout, &run.plan.facts.dir)?;
    if !run.plan.pushes {
        return Err(Problem::new(
            Code::SettingMissing,
            format!("image.ref is the OCI layout {layout}, and there is no registry to push it to"),
        )
        .hint("set registry.url or image.repository"));
    }
    push(run, image, None).await
}

/// The registry takes every image that it cannot find for a base; this one is what was to be published.
fn absent(problem: Problem) -> Problem {
    match problem.code {
        Code::BaseImageMissing => Problem { code: Code::ImageMissing, ..problem }
            .hint("correct image.ref (--image), or take over SHIPWAY_OUT_IMAGE from the job that built it"),
        _ => problem,
    }
}

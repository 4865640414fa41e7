//! From context to image: built without a daemon, pushed, known by its digest.

use std::{fs, path::Path};

use super::{
    build::Built,
    dockerfile::Context,
    run::{Done, Run},
};
use crate::{
    domain::{
        application::{Application, ImageFacts},
        digest::Digest,
        problem::{Code, Problem, Result},
        reference::ImageReference,
        step::Step,
        units::format_bytes,
    },
    image,
    registry::{self, Push},
    report,
    settings::Engine,
};

/// Where the image goes when there is no registry, below the report folder.
const LAYOUT_FOLDER: &str = "image";

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
        let engine = run.plan.settings.image.engine;
        if !matches!(engine, Engine::Auto | Engine::Native) {
            return Err(Problem::new(Code::DockerfileUnsupported, "image.engine: only the native engine is there")
                .hint("leave image.engine out; build images that need RUN in a job of their own and publish them by image.ref"));
        }
        let scratch =
            tempfile::tempdir_in(&run.plan.host.temp).map_err(|error| Problem::io("make a folder in", &run.plan.host.temp, &error))?;
        let build = image::Build {
            context: context.dir.clone(),
            dockerfile: context.dockerfile.clone(),
            roles: context.roles.clone(),
            created: run.plan.created(),
            platforms: run.plan.settings.image.platforms.clone(),
            base_registry: run.plan.settings.image.base_registry.clone(),
            hidden: vec![run.plan.report_dir.clone()],
            scratch: scratch.path().to_path_buf(),
        };
        let image = image::build(&build, &run.registry, &run.events).await?;
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

async fn push(run: &Run, image: image::Image, application: Option<Application>) -> Result<Done<Published>> {
    let digest = image_digest(&image)?;
    let facts = image.facts();
    let target = choose_tag(run, &digest).await?;
    let push = Push {
        target: target.clone(),
        extra_tags: run.plan.settings.image.extra_tags.clone(),
        blobs: image.blobs,
        manifests: image.manifests,
        previous: None,
    };
    let pushed = run.registry.push(&push, &run.events).await?;
    let record = report::Image {
        reference: target.to_string(),
        digest: Some(digest.clone()),
        size: image.size,
        requests: pushed.requests,
        layers: Vec::new(),
        base: image.base.as_ref().map(ToString::to_string),
        layout: None,
    };
    run.recorder.record(|draft| draft.image(record));
    let requests = if pushed.requests == 1 { "1 request".to_string() } else { format!("{} requests", pushed.requests) };
    let summary = format!("{target}, {}, {} sent in {requests}", format_bytes(image.size), format_bytes(pushed.bytes_sent));
    Ok(Done::new(Published { reference: target, digest, facts, application }, summary))
}

/// The default tag, unless another digest has it: then a longer one, so that what runs never loses its tag.
async fn choose_tag(run: &Run, digest: &Digest) -> Result<ImageReference> {
    let target = &run.plan.target;
    let Some(longer) = run.plan.longer_tag() else { return Ok(target.clone()) };
    match run.registry.head(target).await? {
        Some(there) if there != *digest => {
            run.events.note(format!("tag {} holds another image; {longer} is used", target.tag.as_deref().unwrap_or_default()));
            Ok(target.with_tag(&longer))
        }
        _ => Ok(target.clone()),
    }
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
    run.recorder.record(|draft| {
        draft.image(record);
        draft.not_done(report::NotDone::no_registry(&dir.display().to_string()));
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

fn image_digest(image: &image::Image) -> Result<Digest> {
    let last: Option<&registry::Manifest> = image.manifests.last();
    last.map(|manifest| manifest.digest.clone()).ok_or_else(|| Problem::bug("the image has no manifest"))
}

/// A ready image: `image.ref`, or what an earlier job of the pipeline left in SHIPWAY_OUT_IMAGE; its tag becomes a digest.
pub(super) async fn ready(run: &Run) -> Result<Published> {
    run.step(Step::Image, async {
        let earlier = || run.plan.host.earlier_image.as_deref().map(str::parse).transpose();
        let reference: ImageReference = match run.plan.ready_image.clone() {
            Some(reference) => reference,
            None => earlier()?.ok_or_else(|| {
                Problem::new(Code::SettingMissing, "there is no image to publish")
                    .hint("set image.ref (--image), or take over SHIPWAY_OUT_IMAGE from the job that built it")
            })?,
        };
        let manifest = run.registry.manifest(&reference).await.map_err(absent)?;
        let facts = image::facts_of(&reference, &manifest, &run.registry).await?;
        let record = report::Image { reference: reference.to_string(), digest: Some(manifest.digest.clone()), ..report::Image::default() };
        run.recorder.record(|draft| draft.image(record));
        let summary = format!("{reference} is {}", manifest.digest);
        let published = Published { reference, digest: manifest.digest, facts, application: None };
        Ok(Done::new(published, summary))
    })
    .await
}

/// The registry takes every image that it cannot find for a base; this one is what was to be published.
fn absent(problem: Problem) -> Problem {
    match problem.code {
        Code::BaseImageMissing => Problem { code: Code::ImageMissing, ..problem }
            .hint("correct image.ref (--image), or take over SHIPWAY_OUT_IMAGE from the job that built it"),
        _ => problem,
    }
}
